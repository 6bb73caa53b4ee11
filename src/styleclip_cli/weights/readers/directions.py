"""Directions in W that others published: InterFaceGAN's boundaries and GANSpace's components.

What they hold: genforce/interfacegan, boundaries/*.npy and utils/manipulator.py ([1, w_dim], of unit length);
omertov/encoder4editing, editings/interfacegan_directions/*.pt (the same, or one vector for each layer) and
editings/ganspace_pca/*.pt with editings/ganspace.py (comp [n, 1, w_dim], std [n]); harskish/ganspace,
decomposition.py (an .npz with lat_comp [n, 1, w_dim] and lat_stdev [n]).
"""

from __future__ import annotations

import logging
import mmap
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from styleclip_cli.errors import BadInputError, WeightsError
from styleclip_cli.weights.readers import archives
from styleclip_cli.weights.readers.inert import Array, Damaged, Refused
from styleclip_cli.weights.readers.parts import single

_MAX_BYTES = 2**28  # of an array of an .npz archive; 80 components of 512 numbers have a thousandth of it
_COMPONENTS = (("lat_comp", "lat_stdev"), ("comp", "std"))
_KNOWN = (
    "InterFaceGAN's boundaries (.npy, .pt), GANSpace's components (.npz, .pt) and lists of StyleSpace "
    "channels (.json, .toml, .csv) can be read"
)
# Boundaries in Z can only be told by their names: NAME_w_boundary.npy is in W, NAME_boundary.npy in Z;
# later ones are in folders called NAME_w or NAME_z.
_IN_Z = re.compile(r"(pggan|stylegan)_\w+(?<!_w)_boundary")
_OF_OTHERS = re.compile(r"(pggan|stylegan3?)_")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Vectors:
    """Vectors in W, or W+.

    Attributes:
        values: [n, rows, w_dim], float32; one row is meant for all layers.
        stds: [n], float32: the standard deviation of W along each component; None for boundaries, which are
            measured in W itself.
    """

    values: np.ndarray
    stds: np.ndarray | None = None


def read_vectors(path: Path) -> Vectors:
    """Read a boundary, or components.

    Args:
        path: A file of one of the layouts above, which is recognised by its content.

    Returns:
        Finite numbers.

    Raises:
        BadInputError: If it cannot be read, is refused as unsafe, holds something else, or acts on Z.
    """
    if _IN_Z.fullmatch(path.stem) or path.parent.name.endswith("_z"):
        raise BadInputError(
            f"{path}: named as a boundary in Z, which faces of photos have no place in",
            "take the one in W (NAME_w_boundary.npy, or of a folder NAME_w)",
        )
    if _OF_OTHERS.match(path.stem) or _OF_OTHERS.match(path.parent.name):
        _log.warning(
            "warning: %s: named as of another network than StyleGAN2, in whose W it means nothing", path
        )
    try:
        arrays = _archive(path)
        value = archives.read(path).value if arrays is None else arrays
        with np.errstate(all="ignore"):  # what overflows is not finite, and found below
            found = _components(value) or _boundary(value)
        if found is None:
            raise BadInputError(f"{path}: holds no direction", _KNOWN)
    except WeightsError as error:
        raise BadInputError(error.message, error.hint) from None
    except (Damaged, Refused) as error:
        raise BadInputError(f"{path}: not a usable direction ({error})", error.hint) from None
    for each in (found.values, found.stds):
        if each is not None and not np.isfinite(each).all():
            raise BadInputError(f"{path}: not a usable direction (it holds numbers that are not finite)")
    return found


def _archive(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of an .npz archive that are needed; None if it is none.

    Raises:
        BadInputError: If it holds something else.
        Damaged, Refused: If it cannot be read.
    """
    if not path.is_file() or not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as file:
            names = set(file.namelist())
            if not any(name.endswith(".npy") for name in names):
                return None
            if "header.npy" in names:
                raise BadInputError(
                    f"{path}: a file of this program", "a direction is used as it is: edit --direction FILE"
                )
            wanted = [name for name in _COMPONENTS[0] if f"{name}.npy" in names]
            return {name: _member(file, f"{name}.npy") for name in wanted}
    except (Damaged, Refused):
        raise
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, *archives.BROKEN):
        raise Damaged("a broken .npz archive") from None


def _member(file: zipfile.ZipFile, name: str) -> np.ndarray:
    if file.getinfo(name).file_size > _MAX_BYTES:
        raise Refused(f"{name} would take over {_MAX_BYTES // 2**20} MB")
    with file.open(name) as member:
        raw = member.read(_MAX_BYTES + 1)  # more than its header said would be cut off, and noticed
    mapped = mmap.mmap(-1, max(1, len(raw)))
    mapped.write(raw)
    value: np.ndarray = archives.parse(mapped).value
    return value


def _components(value: Any) -> Vectors | None:
    arrays = archives.tensors(value)
    for comp, std in _COMPONENTS:
        if comp in arrays and std in arrays:
            values, stds = single(arrays[comp]), single(arrays[std]).reshape(-1)
            if values.ndim == 2:
                values = values[:, np.newaxis]
            if values.ndim != 3 or values.shape[1] != 1 or len(values) != len(stds) or not values.size:
                raise Damaged(f"components {list(values.shape)} with {len(stds)} standard deviations")
            if (stds == 1).all():  # decomposition.py writes ones for Z
                raise Damaged("its components are in Z: they were made without --use_w")
            return Vectors(values, stds)
    return None


def _boundary(value: Any) -> Vectors | None:
    if isinstance(value, Array):
        value = value.values
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or not value.size or value.ndim > 3:
        return None
    if value.ndim == 3 and len(value) != 1:
        return None
    return Vectors(single(value).reshape(1, -1, value.shape[-1])) if value.ndim else None
