"""Before and after under one slider, as a page that needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from styleclip_cli.errors import UsageError
from styleclip_cli.pictures.drawing import as_image
from styleclip_cli.pictures.page import img, text, write_page
from styleclip_cli.pictures.sheets import thumbnail
from styleclip_cli.save import Mark

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

_SIDE, _SIDE_OF_MANY = 2048, 1280
_KEYS = "Drag across a picture, or use the arrow keys."
# The range lies over the picture, unseen, as wide as half its own knob beyond both edges: so the knob's
# middle is exactly where the pictures meet. All that assistive technology needs is its own.
_STYLE = """.pairs { display: grid; gap: 2rem 1.5rem; }
.pairs.many { grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); }
.pair { min-width: 0; }
.stage { --at: 50%; --knob: 44px; position: relative; overflow: clip; border-radius: 3px; }
.stage { width: min(100%, calc((100vh - 11rem) * var(--shape)), var(--most)); }
.stage img { width: 100%; user-select: none; }
.stage .after { position: absolute; inset: 0; height: 100%; clip-path: inset(0 0 0 var(--at)); }
.stage .line { position: absolute; inset: 0 auto 0 var(--at); width: 2px; margin-left: -1px;
  background: #fff; box-shadow: 0 0 4px rgb(0 0 0 / 0.55); pointer-events: none; }
.stage .line::after { content: "\\2039\\2009\\203a"; position: absolute; top: 86%; left: 50%;
  translate: -50% -50%; width: 2.1rem; height: 2.1rem; border-radius: 50%; background: #fff; color: #2e2c2a;
  font: 600 1.1rem/1.95rem system-ui, sans-serif; text-align: center;
  box-shadow: 0 1px 5px rgb(0 0 0 / 0.45); }
.stage .side { position: absolute; top: 0.6rem; padding: 0.05rem 0.55rem; border-radius: 1rem;
  font-size: 0.8rem; background: rgb(250 249 246 / 0.85); pointer-events: none; transition: opacity 0.15s; }
.stage .side.first { left: 0.6rem; }
.stage .side.second { right: 0.6rem; }
.stage .hidden { opacity: 0; }
.stage input { position: absolute; top: 0; left: calc(var(--knob) / -2); width: calc(100% + var(--knob));
  height: 100%; margin: 0; opacity: 0; cursor: ew-resize; appearance: none; -webkit-appearance: none;
  touch-action: pan-y; }
.stage input::-webkit-slider-runnable-track { height: 100%; }
.stage input::-webkit-slider-thumb { -webkit-appearance: none; width: var(--knob); height: 100%; }
.stage input::-moz-range-thumb { width: var(--knob); height: 100%; border: 0; border-radius: 0; }
.stage:focus-within .line::after { outline: 3px solid var(--accent); outline-offset: 2px; }
@media print { .stage input, .stage .line { display: none; } }"""
_WITHOUT_SCRIPT = """<noscript><style>.stage .after { position: static; clip-path: none; }
.stage .line, .stage input { display: none; } .stage .second { top: calc(50% + 0.6rem); }
</style></noscript>"""
_SCRIPT = """
"use strict";
for (const stage of document.querySelectorAll(".stage")) {
  const range = stage.querySelector("input");
  const [first, second] = stage.querySelectorAll(".side");
  const show = () => {
    const at = Number(range.value);
    stage.style.setProperty("--at", at + "%");
    first.classList.toggle("hidden", at < 12);
    second.classList.toggle("hidden", at > 88);
    range.setAttribute("aria-valuetext", Math.round(at) + " % " + first.textContent);
  };
  range.addEventListener("input", show);
  show();
}
"""


def slider_html(
    path: Path,
    items: Iterable[tuple[str, Image.Image | Tensor, Image.Image | Tensor]],
    *,
    title: str,
    note: str = "",
    labels: tuple[str, str] = ("original", "edited"),
    marks: tuple[Mark | None, Mark | None] = (None, "edited"),
) -> None:
    """Write a page that shows originals and their edits under a slider, with everything inside.

    A single pair is shown as large as the window allows, up to 2048 pixels; several stand in columns, each
    up to 1280 pixels. Pictures are encoded one by one, as they come.

    Args:
        path: The file (.html), written atomically.
        items: Caption, picture before, picture after; those of a pair should have one size (the second is
            stretched to the first).
        title: Title of the page.
        note: A line below it; may be empty.
        labels: Names of the two sides.
        marks: Whether a network edited or generated them, written into the pictures.

    Raises:
        OutputError: If it cannot be written.
        UsageError: If there are no pairs.
    """
    rest = iter(items)
    first = list(islice(rest, 2))
    if not first:
        raise UsageError("nothing to compare", "at least one picture and its edit")
    many = len(first) > 1

    def blocks() -> Iterable[str]:
        yield f'<p class="note">{text(note)}{"<br>" if note else ""}{_KEYS}</p>'
        yield _WITHOUT_SCRIPT
        yield f'<div class="pairs{" many" if many else ""}">'
        for caption, before, after in chain(first, rest):
            yield _figure(caption, before, after, _SIDE_OF_MANY if many else _SIDE, labels, marks)
        yield "</div>"

    write_page(path, title, blocks(), style=_STYLE, script=_SCRIPT)


def _figure(
    caption: str,
    before: Image.Image | Tensor,
    after: Image.Image | Tensor,
    side: int,
    labels: tuple[str, str],
    marks: tuple[Mark | None, Mark | None],
) -> str:
    first = thumbnail(before, side)
    second = as_image(after)
    if second.size != first.size:
        second = second.resize(first.size, reducing_gap=3.0)
    shape = f"--shape: {first.width / first.height:.4f}; --most: {max(2 * first.width, 640)}px"
    names = f"{labels[0]} / {labels[1]}"
    return f"""<figure class="pair">
<div class="stage" style="{shape}">
{img(first, f"{labels[0]}: {caption}", mark=marks[0], name="before")}
{img(second, f"{labels[1]}: {caption}", mark=marks[1], name="after")}
<span class="side first">{text(labels[0])}</span><span class="side second">{text(labels[1])}</span>
<span class="line"></span>
<input type="range" min="0" max="100" step="any" value="50" aria-label="{text(names)}: {text(caption)}">
</div>
<figcaption>{text(caption)}</figcaption>
</figure>"""
