"""The faces that are evaluated: photos, latents or seeds, loaded a few at a time."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from styleclip_cli.errors import BadInputError, UsageError
from styleclip_cli.evaluation.metrics import eight_bits
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.job.faces import latent_of, read_item
from styleclip_cli.job.inputs import LATENT_SUFFIXES, Item, expand
from styleclip_cli.job.values import parse_seeds
from styleclip_cli.photo.portrait import portraits
from styleclip_cli.settings import InversionSettings
from styleclip_cli.weights.store import sha256_of

if TYPE_CHECKING:
    from styleclip_cli.engine import Engine

PIECE = 8
"""Faces that are measured together: each piece is kept when it is done. Not a matter of the machine."""


@dataclass(frozen=True)
class Inputs:
    """What is evaluated.

    Attributes:
        kind: Where the faces come from.
        items: The faces.
        contents: What each is, whatever it is called: hashes of files, or seeds.
        failures: Why others cannot be used, by name.
    """

    kind: Literal["photos", "latents", "seeds"]
    items: tuple[Item, ...]
    contents: tuple[str, ...]
    failures: tuple[tuple[str, str], ...] = ()

    @property
    def sha256(self) -> str:
        """SHA-256 over all contents, in hex."""
        return hashlib.sha256("".join(f"{each}\n" for each in self.contents).encode()).hexdigest()

    @property
    def told(self) -> str:
        """How many there are of what, such as "1 photo"."""
        count = len(self.items)
        return f"{count} {self.kind if count != 1 else self.kind[:-1]}"

    def pieces(self) -> Iterator[slice]:
        """Which faces are measured together."""
        yield from (slice(start, start + PIECE) for start in range(0, len(self.items), PIECE))


def photos(folder: str, limit: int | None = None) -> Inputs:
    """The photos of a folder; the largest face of each.

    Args:
        folder: A folder, or anything else that `styleclip edit` takes for photos.
        limit: Take at most this many.

    Raises:
        BadInputError: If none can be used.
    """
    found = expand([folder])
    usable = [item for item in found if item.error is None and item.path is not None and item.row is None]
    failures = tuple((item.name, item.error.message) for item in found if item.error is not None)
    if not usable:
        raise BadInputError(f"{folder}: no photo can be used", "--photos FOLDER; --latents FILE for latents")
    items = tuple(usable[:limit])
    return Inputs("photos", items, tuple(sha256_of(item.path) for item in items if item.path), failures)


def latents(path: Path, limit: int | None = None) -> Inputs:
    """The latents of a file, such as StyleCLIP's test_faces.pt.

    Args:
        path: A latent file of this program or of StyleCLIP.
        limit: Take at most this many.

    Raises:
        UsageError: If it is no latent file by its name.
        BadInputError: If it cannot be read.
    """
    if path.suffix.lower() not in LATENT_SUFFIXES:
        raise UsageError(f"{path}: not a latent file", f"it ends in {', '.join(sorted(LATENT_SUFFIXES))}")
    items = tuple(expand([str(path)])[:limit])
    digest = sha256_of(path)
    return Inputs("latents", items, tuple(f"{digest}[{item.row}]" for item in items))


def seeds(text: str, limit: int | None = None) -> Inputs:
    """Generated faces.

    Args:
        text: Seeds: 7, or 1-8, or 1-8,20.
        limit: Take at most this many.

    Raises:
        UsageError: If the text is no list of seeds.
    """
    items = tuple(
        Item(f"seed:{seed}", f"seed{seed}", seed=seed) for seed in dict.fromkeys(parse_seeds(text))
    )[:limit]
    return Inputs("seeds", items, tuple(item.name for item in items))


@dataclass(frozen=True, eq=False)
class Loaded:
    """A face.

    Attributes:
        face: Its latent.
        image: What it was inverted from, [1, 3, R, R] in [-1, 1]; None if it is a latent.
        seconds: What the inversion took; None if there was none.
    """

    face: FaceLatent
    image: Tensor | None = None
    seconds: float | None = None


class Faces:
    """A few faces, loaded and rendered when they are first asked for.

    Args:
        engine: Networks.
        items: The faces.
        settings: How photos are inverted.
        align: Whether faces are looked for in photos.
    """

    def __init__(
        self, engine: Engine, items: Sequence[Item], settings: InversionSettings, align: bool
    ) -> None:
        self._engine, self._items = engine, items
        self._settings, self._align = settings, align

    def __len__(self) -> int:
        return len(self._items)

    @cached_property
    def _all(self) -> list[Loaded | BadInputError]:
        return [self._load(item) for item in self._items]

    @property
    def failures(self) -> dict[str, str]:
        """Why faces cannot be used, by name."""
        pairs = zip(self._items, self._all, strict=True)
        return {item.name: one.message for item, one in pairs if isinstance(one, BadInputError)}

    @property
    def usable(self) -> Tensor:
        """Whether each can be used, [N], bool."""
        return torch.tensor([isinstance(one, Loaded) for one in self._all])

    @property
    def loaded(self) -> list[Loaded]:
        """Those that can be used."""
        return [one for one in self._all if isinstance(one, Loaded)]

    @property
    def latents(self) -> list[FaceLatent]:
        """The latents of those that can be used."""
        return [one.face for one in self.loaded]

    @cached_property
    def shown(self) -> Tensor:
        """The generator's images of those that can be used, [n, 3, R, R] in [0, 1], of eight bits."""
        return shown(self._engine, self.latents)

    def _load(self, item: Item) -> Loaded | BadInputError:
        if item.seed is not None or item.row is not None:
            return Loaded(latent_of(self._engine, item))
        self._engine.check_photos(self._align)
        try:
            photo = read_item(item)
            assert photo is not None
            crop = portraits(self._engine, photo.image, "largest", self._align)[0]
            return inverted(self._engine, crop.image, self._settings, crop.encoder_input)
        except BadInputError as error:  # concerns this face alone
            return error

    def reinverted(self) -> list[Loaded]:
        """Those that can be used as inversions: of photos as they are, of others from their images."""
        found = []
        for one, image in zip(self.loaded, self.shown.split(1), strict=True):
            if one.image is not None:
                found.append(one)
            else:
                found.append(inverted(self._engine, image * 2 - 1, self._settings))
        return found


def shown(engine: Engine, faces: Sequence[FaceLatent]) -> Tensor:
    """The generator's images of faces as files hold them, [N, 3, R, R] in [0, 1]."""
    if not faces:
        return torch.zeros(0, 3, engine.pack.resolution, engine.pack.resolution)
    return eight_bits(engine.render(faces))


def inverted(
    engine: Engine, image: Tensor, settings: InversionSettings, encoder_input: Tensor | None = None
) -> Loaded:
    """Invert an image, with the time that takes: the encoder is always asked again, as it is quick.

    Args:
        engine: Networks.
        image: [1, 3, R, R] in [-1, 1].
        settings: The method.
        encoder_input: The same at the encoder's size; None: `image`.
    """
    _warm(engine)
    began = time.perf_counter()
    keep = settings.inverter != "encoder"
    face = engine.invert(image, settings, keep, encoder_input)
    seconds = time.perf_counter() - began
    if face.quality is not None:
        seconds = face.quality.seconds
    return Loaded(replace(face, quality=None), image, seconds)


@lru_cache(maxsize=1)
def _warm(engine: Engine) -> None:
    """Load the encoder and ask it once: the first time takes far longer than all others."""
    side = engine.encoder_input
    engine.invert_w_plus(torch.zeros(1, 3, side, side), keep=False, inverter="encoder")
