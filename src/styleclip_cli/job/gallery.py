"""Images in addition to the results: a sheet and a page of a whole batch, heat maps, an animation."""

from __future__ import annotations

import io as streams
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from styleclip_cli.errors import BadInputError, UsageError
from styleclip_cli.job.faces import latent_of, source_name
from styleclip_cli.job.inputs import Item
from styleclip_cli.job.outputs import check_picture
from styleclip_cli.machine.progress import Progress, silent

if TYPE_CHECKING:
    from PIL import Image

    from styleclip_cli.engine import Engine
    from styleclip_cli.save import Mark

_ON_PAGES = 1280
"""Longer side of the images that are kept for a page."""


@dataclass(frozen=True)
class Pair:
    """The data kept of one result: a caption, whether it is a photo, and the encoded images."""

    caption: str
    photo: bool
    before: bytes
    after: bytes


@dataclass
class Gallery:
    """Images that are made in addition to the results.

    Attributes:
        sheet: A contact sheet of all, or None.
        page: A page with a slider for each, or None.
        difference: Whether a heat map is written next to each result.
        animation: A morph of the only result, or None.
        missing: Results of an earlier run whose originals have to be rendered.
    """

    sheet: Path | None = None
    page: Path | None = None
    difference: bool = False
    animation: Path | None = None
    pairs: dict[Path, Pair] = field(default_factory=dict)
    missing: list[tuple[Item, Path]] = field(default_factory=list)
    _order: list[Path] = field(default_factory=list)

    def __bool__(self) -> bool:
        return self.compares or self.animation is not None

    @property
    def compares(self) -> bool:
        """Whether images before the edit are needed."""
        return self.sheet is not None or self.page is not None or self.difference

    def planned(self, paths: Sequence[Path]) -> list[Path]:
        """All files that are written in addition to results."""
        own = [path for path in (self.sheet, self.page, self.animation) if path is not None]
        return own + ([difference_of(path) for path in paths] if self.difference else [])

    def of_one(self, path: Path) -> list[Path]:
        """Files that belong to one result."""
        own = [difference_of(path)] if self.difference else []
        return own + ([self.animation] if self.animation is not None else [])

    def files(self, paths: Sequence[Path]) -> list[Path]:
        """All files that will be written in addition to results.

        Args:
            paths: The results.

        Raises:
            UsageError: If something would be written twice, or cannot be written.
        """
        own = self.planned(paths)
        if self.sheet is not None:
            check_picture(self.sheet)
        if self.page is not None and self.page.suffix.lower() not in (".html", ".htm"):
            raise UsageError(f"{self.page}: a page is written as .html", "--slider compare.html")
        if self.animation is not None:
            from styleclip_cli.pictures.animate import check_animation

            check_animation(self.animation)
        self._order = list(paths)
        names = [str(path.absolute()).lower() for path in [*own, *paths]]
        times = Counter(names)
        for path, name in zip(own, names, strict=False):
            if times[name] > 1:
                raise UsageError(f"{path}: is written as something else already", "another name")
        return own

    def draw(
        self,
        caption: str,
        before: Image.Image | None,
        after: Image.Image,
        path: Path,
        frames: Mapping[int, Image.Image],
        photo: bool,
    ) -> Pair | None:
        """Draw the images that belong to one result, next to it.

        Args:
            caption: What the input is called.
            before: The image before; None if it cannot be compared (a strip).
            after: The result.
            path: Where it is.
            frames: Of its animation.
            photo: Whether it is an edited photo, and not a generated face.

        Returns:
            What `keep` takes; None for nothing.

        Raises:
            OutputError: If something cannot be written.
        """
        from styleclip_cli.save import save_image

        mark: Mark = "edited" if photo else "generated"
        if self.animation is not None and frames:
            from styleclip_cli.pictures.animate import save_loop

            save_loop(self.animation, [frames[n] for n in sorted(frames)], mark=mark)
        if before is None or not self.compares:
            return None
        if before.size != after.size:
            before = before.resize(after.size, reducing_gap=3.0)
        if self.difference:
            from styleclip_cli.pictures.difference import difference

            found = difference(before, after)
            save_image(difference_of(path), found.heat_map(), mark=mark)
        if self.sheet is None and self.page is None:
            return None
        return Pair(caption, photo, *(self._kept(picture) for picture in (before, after)))

    def keep(self, pair: Pair | None, path: Path | None) -> None:
        """Keep a result for the sheet and the page."""
        if pair is not None and path is not None:
            self.pairs[path] = pair

    def found(self, item: Item, path: Path) -> None:
        """Keep a result of an earlier run; generated faces wait for `recall`."""
        if self.sheet is None and self.page is None:
            return
        if item.path is None or item.row is not None:
            self.missing.append((item, path))
            return
        from styleclip_cli.photo.read import read_image

        with suppress(BadInputError):
            pictures = [self._kept(read_image(one)) for one in (item.path, path)]
            self.pairs[path] = Pair(source_name(item.name), True, *pictures)

    def recall(self, engine: Engine) -> None:
        """Render the originals of the generated faces among the results of an earlier run."""
        from styleclip_cli.photo.read import read_image
        from styleclip_cli.save import to_image

        for item, path in self.missing:
            with suppress(BadInputError):
                before = to_image(engine.render([latent_of(engine, item)]))
                self.pairs[path] = Pair(item.name, False, self._kept(before), self._kept(read_image(path)))

    def finish(self, title: str, progress: Progress = silent) -> Iterator[Path]:
        """Write the sheet and the page of all that was kept.

        Args:
            title: Of the page.
            progress: Reports the drawing.

        Yields:
            Each file when it is written.

        Raises:
            OutputError: If one cannot be written.
        """
        if not self.pairs:
            return
        if self.sheet is not None:
            from styleclip_cli.pictures.sheets import pairs
            from styleclip_cli.save import save_image

            with progress("drawing the sheet"):
                save_image(self.sheet, pairs(self._decoded()), mark=self._mark)
            yield self.sheet
        if self.page is not None:
            from styleclip_cli.pictures.compare import slider_html

            own: Mark | None = "generated" if self._mark == "generated" else None
            marks = (own, self._mark)
            slider_html(self.page, self._decoded(), title=title, marks=marks)
            yield self.page

    @property
    def _mark(self) -> Mark:
        """Edited photos, or faces that were generated altogether."""
        return "edited" if any(pair.photo for pair in self.pairs.values()) else "generated"

    def _kept(self, picture: Image.Image) -> bytes:
        from styleclip_cli.pictures.sheets import pair_side, thumbnail

        side = _ON_PAGES if self.page is not None else pair_side(len(self._order))
        small = thumbnail(picture, side)
        buffer = streams.BytesIO()
        if max(small.size) > 300:  # a long batch of large ones is kept in the memory of a few
            small.save(buffer, "JPEG", quality=95, subsampling=0)
        else:
            small.save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()

    def _decoded(self) -> Iterator[tuple[str, Image.Image, Image.Image]]:
        from PIL import Image

        for path in self._order:
            if path not in self.pairs:
                continue
            pair = self.pairs[path]
            before, after = (Image.open(streams.BytesIO(data)) for data in (pair.before, pair.after))
            yield pair.caption, before, after


def difference_of(path: Path) -> Path:
    """Path of the heat map of a result."""
    return path.with_name(f"{path.stem}_diff.png")
