"""The modules of clip-anytorch, found by what its distribution says of them.

Other distributions have a package `clip`, too: one may come first on the path, and OpenAI's own is often
installed over the same folder. The package's `__init__` needs `pkg_resources` and torchvision, which nothing
here uses, so modules are loaded on their own.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import sys
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType
from typing import Any

from styleclip_cli.errors import WeightsError, one_line

_NAME = "clip-anytorch"
_AGAIN = f"pip install --force-reinstall --no-deps {_NAME}"


def member(module: str, name: str) -> Any:
    """A class or function of a module.

    Args:
        module: Name of the module ("model").
        name: What to take of it.

    Returns:
        The class or function.

    Raises:
        WeightsError: If it is not there.
    """
    found = getattr(_module(module), name, None)
    if found is None:
        raise in_the_way(f"{module}.py", f"it has no {name}")
    return found


def is_own(file: str) -> bool:
    """Whether a file of the package is as clip-anytorch has it; False where nothing is recorded.

    Args:
        file: Name in the package's folder.

    Returns:
        True if its hash is the recorded one.

    Raises:
        WeightsError: If clip-anytorch is not installed.
    """
    for entry in _distribution().files or ():
        if entry.as_posix() == f"clip/{file}" and entry.hash is not None:
            try:
                digest = hashlib.new(entry.hash.mode, _path(file).read_bytes()).digest()
            except (OSError, ValueError):
                return False
            return base64.urlsafe_b64encode(digest).decode().rstrip("=") == entry.hash.value
    return False


def in_the_way(file: str, reason: object) -> WeightsError:
    """The error for a file of the package that cannot be used.

    Args:
        file: Name in the package's folder.
        reason: Why not.

    Returns:
        The error, to be raised.
    """
    what = "damaged" if is_own(file) else f"not as {_NAME} has it, perhaps another package's"
    return WeightsError(f"{_path(file)}: {what} ({one_line(reason, 120)})", _AGAIN)


@cache
def _module(name: str) -> ModuleType:
    path = _path(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"_clip_anytorch_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        raise WeightsError(f"{_NAME} needs the package {error.name}", f"pip install {error.name}") from None
    except Exception as error:  # whatever is in the place of the file
        raise in_the_way(f"{name}.py", error) from None
    return module


def _path(file: str) -> Path:
    return Path(str(_distribution().locate_file(f"clip/{file}")))


def _distribution() -> Distribution:
    try:
        return distribution(_NAME)
    except PackageNotFoundError:
        raise WeightsError(f"the package {_NAME} is not installed", f"pip install {_NAME}") from None
