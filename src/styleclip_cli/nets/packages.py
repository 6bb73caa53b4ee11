"""Modules of other packages, loaded one by one, without what their packages need as wholes.

clip-anytorch's `__init__` needs `pkg_resources` and torchvision; face-alignment's needs OpenCV (and with its
usual build the libraries of a desktop), numba and scikit-image. Nothing here uses those. Other distributions
have a package `clip`, too: one may come first on the path, and OpenAI's own is often installed over the same
folder. So modules are found by what a distribution says of itself.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType
from typing import Any

from styleclip_cli.errors import WeightsError, one_line


class Package:
    """The modules of a distribution.

    Args:
        distribution: Its name, as pip knows it.
        folder: The folder of its package.
    """

    def __init__(self, distribution: str, folder: str) -> None:
        self.name, self._folder = distribution, folder
        self._modules: dict[str, ModuleType] = {}

    def member(self, module: str, name: str) -> Any:
        """A class or function of a module.

        Args:
            module: Path of the module in the package's folder, without its suffix.
            name: What is wanted of it.

        Returns:
            The class or function.

        Raises:
            WeightsError: If it is not there.
        """
        found = getattr(self._module(module), name, None)
        if found is None:
            raise self.in_the_way(f"{module}.py", f"it has no {name}")
        return found

    def is_own(self, file: str) -> bool:
        """Whether a file is as the distribution has it; False where nothing is recorded.

        Args:
            file: Path in the package's folder.

        Returns:
            True if its hash is the recorded one.

        Raises:
            WeightsError: If the distribution is not installed.
        """
        for entry in self._distribution().files or ():
            if entry.as_posix() == f"{self._folder}/{file}" and entry.hash is not None:
                try:
                    digest = hashlib.new(entry.hash.mode, self._path(file).read_bytes()).digest()
                except (OSError, ValueError):
                    return False
                return base64.urlsafe_b64encode(digest).decode().rstrip("=") == entry.hash.value
        return False

    def in_the_way(self, file: str, reason: object) -> WeightsError:
        """The error for a file of the package that cannot be used.

        Args:
            file: Path in the package's folder.
            reason: Why not.

        Returns:
            The error, to be raised.
        """
        what = "damaged" if self.is_own(file) else f"not as {self.name} has it, perhaps another package's"
        return WeightsError(
            f"{self._path(file)}: {what} ({one_line(reason, 120)})",
            f"pip install --force-reinstall --no-deps {self.name}",
        )

    def _module(self, name: str) -> ModuleType:
        if name in self._modules:
            return self._modules[name]
        path = self._path(f"{name}.py")
        known = f"_{self.name}_{name}".replace("-", "_").replace("/", "_")
        spec = importlib.util.spec_from_file_location(known, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[known] = module
        try:
            spec.loader.exec_module(module)
        except ModuleNotFoundError as error:
            hint = f"pip install {error.name}"
            raise WeightsError(f"{self.name} needs the package {error.name}", hint) from None
        except Exception as error:  # whatever is in the place of the file
            raise self.in_the_way(f"{name}.py", error) from None
        self._modules[name] = module
        return module

    def _path(self, file: str) -> Path:
        return Path(str(self._distribution().locate_file(f"{self._folder}/{file}")))

    def _distribution(self) -> Distribution:
        try:
            return distribution(self.name)
        except PackageNotFoundError:
            hint = f"pip install {self.name}"
            raise WeightsError(f"the package {self.name} is not installed", hint) from None


CLIP = Package("clip-anytorch", "clip")
FACE_ALIGNMENT = Package("face-alignment", "face_alignment")
