"""One HTML file with everything inside: it works offline, and asks nothing of anyone."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from PIL.PngImagePlugin import PngInfo

from styleclip_cli.machine.atomic import atomic
from styleclip_cli.pictures.drawing import as_image, plain
from styleclip_cli.pictures.sheets import thumbnail
from styleclip_cli.save import PROGRAM, Mark, xmp_packet

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

_SMALL = 256 * 256
"""Pixels up to which a picture is embedded as PNG, which such small ones need."""
_QUALITY = 92
# The browser itself is told to fetch nothing and to run no script but the one that is hashed here.
_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'; script-src {scripts}; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="{program}">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<main>
"""
_STYLE = """:root { color-scheme: light; --paper: #faf9f6; --ink: #2e2c2a; --faint: #6f6b65; --rule: #d6d2cb;
  --accent: #b05c3c; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 1.5rem clamp(0.75rem, 3vw, 2rem) 3rem; }
h1 { font-size: 1.5rem; font-weight: 600; line-height: 1.25; margin: 0 0 0.35rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; font-weight: 600; margin: 2.25rem 0 0.6rem; }
p { margin: 0 0 1rem; }
.note { color: var(--faint); max-width: 44rem; }
img { display: block; max-width: 100%; height: auto; }
figure { margin: 0; }
figcaption { margin-top: 0.4rem; overflow-wrap: anywhere; }"""


def write_page(path: Path, title: str, blocks: Iterable[str], *, style: str = "", script: str = "") -> None:
    """Write a page, atomically, block by block.

    Args:
        path: The file (.html); missing folders are made.
        title: Its title, any text.
        blocks: HTML, in order; what strangers named must be escaped already.
        style: More CSS.
        script: JavaScript that runs when all is there; it alone may run.

    Raises:
        OutputError: If it cannot be written.
    """
    # The hash is of what stands between the tags, to the letter.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    head = _HEAD.format(
        scripts=f"'sha256-{digest}'" if script else "'none'",
        program=escape(PROGRAM),
        title=text(title),
        style=f"{_STYLE}\n{style}".rstrip(),
    )
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(head)
        file.write(f"<h1>{text(title)}</h1>\n")
        for block in blocks:
            file.write(f"{block}\n")
        file.write("</main>\n")
        if script:
            file.write(f"<script>{script}</script>\n")
        file.write("</body>\n</html>\n")


def text(words: str) -> str:
    """Any text, made safe to stand in HTML, also between quotes."""
    return escape(plain(words), quote=True)


def img(
    picture: Image.Image | Tensor,
    alt: str,
    *,
    side: int | None = None,
    mark: Mark | None = None,
    name: str = "",
) -> str:
    """An <img> with the picture inside.

    Args:
        picture: A picture, or a tensor as `save.to_image` takes.
        alt: What it shows, for who cannot see it; any text.
        side: Its longer side is made no longer than this.
        mark: Whether a network edited or generated it; written inside, as `save.save_image` does.
        name: Its class.
    """
    image = as_image(picture) if side is None else thumbnail(picture, side)
    size = f'width="{image.width}" height="{image.height}"'
    named = f' class="{text(name)}"' if name else ""
    return f'<img{named} src="{data_uri(image, mark)}" {size} alt="{text(alt)}">'


def data_uri(image: Image.Image, mark: Mark | None = None) -> str:
    """A picture as a data URI: PNG if it is small, else JPEG."""
    file = BytesIO()
    image = image.convert("RGB")
    image.info.clear()
    if image.width * image.height <= _SMALL:
        kind = "png"
        image.save(file, "PNG", optimize=True, pnginfo=_png_note(mark))
    else:
        kind = "jpeg"
        extra = {"xmp": xmp_packet(mark).encode()} if mark is not None else {}
        image.save(file, "JPEG", quality=_QUALITY, subsampling="4:4:4", optimize=True, **extra)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def _png_note(mark: Mark | None) -> PngInfo | None:
    if mark is None:
        return None
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp_packet(mark))
    return info
