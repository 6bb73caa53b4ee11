"""Hashes that say which weights a result belongs to. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property


class Fingerprint(str):
    """SHA-256 in hex over what weights are, which also knows what earlier versions called them.

    Those hashed the converted files, whose notes lay in any order, so that the same weights had several
    names. What was made under one of these still belongs to the weights.
    """

    def __new__(cls, text: str, earlier: Callable[[], Iterable[str]] = tuple) -> Fingerprint:
        """Make one.

        Args:
            text: The hash.
            earlier: Finds the other names; asked only where something goes by another name than `text`.
        """
        made = super().__new__(cls, text)
        made._find = earlier
        return made

    _find: Callable[[], Iterable[str]]

    @cached_property
    def earlier(self) -> frozenset[str]:
        """What earlier versions called the same weights."""
        return frozenset(self._find())

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)  # a copy, in a task or a record, is a text


def same(found: object, wanted: object) -> bool:
    """Whether something that was written down is a value, or an earlier name of it if it is a fingerprint."""
    return found == wanted or (
        isinstance(found, str) and isinstance(wanted, Fingerprint) and found in wanted.earlier
    )
