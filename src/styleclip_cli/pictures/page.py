"""One HTML file with everything inside: it works offline, and asks nothing of anyone."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL.PngImagePlugin import PngInfo

from styleclip_cli.machine.atomic import atomic
from styleclip_cli.pictures.drawing import as_image, plain
from styleclip_cli.save import PROGRAM, Mark, xmp_packet

if TYPE_CHECKING:
    from jinja2 import Environment
    from PIL import Image
    from torch import Tensor

_SMALL = 256 * 256
"""Pixels up to which a picture is embedded as PNG, which such small ones need."""
_QUALITY = 92


def write_page(path: Path, template: str, title: str, **content: Any) -> None:
    """Write a page, atomically, piece by piece: what is iterated over in `content` is taken one by one.

    Args:
        path: The file (.html); missing folders are made.
        template: Name of a template beside this module that extends `page.html`.
        title: Its title, any text.
        **content: What the template shows. Texts may be any: they are brought on one line and escaped.

    Raises:
        OutputError: If it cannot be written.
    """
    pieces = _environment().get_template(template).generate(title=title, **content)
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(pieces)


@cache
def _environment() -> Environment:
    """Where templates are found, and what all of them can use."""
    import jinja2
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    def img(picture: Image.Image | Tensor, alt: str, mark: Mark | None = None, name: str = "") -> Markup:
        """An <img> with the picture inside; what it shows is told to who cannot see it."""
        image = as_image(picture)
        named = Markup(' class="{}"').format(name) if name else ""
        tag = Markup('<img{} src="{}" width="{}" height="{}" alt="{}">')
        return tag.format(named, data_uri(image, mark), image.width, image.height, plain(alt))

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals |= {"img": img, "program": PROGRAM}
    environment.filters["digest"] = _digest
    return environment


def _digest(text: str) -> str:
    """SHA-256 of a script, as a browser is told it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def data_uri(image: Image.Image, mark: Mark | None = None) -> str:
    """A picture as a data URI: PNG if it is small, else JPEG.

    Args:
        image: The picture.
        mark: Whether a network edited or generated it; written inside, as `save.save_image` does.
    """
    file = BytesIO()
    image = image.convert("RGB")
    image.info.clear()
    xmp = None if mark is None else xmp_packet(mark)
    if image.width * image.height <= _SMALL:
        kind, info = "png", PngInfo()
        if xmp is not None:
            info.add_itxt("XML:com.adobe.xmp", xmp)
        image.save(file, "PNG", optimize=True, pnginfo=info)
    else:
        kind = "jpeg"
        extra = {} if xmp is None else {"xmp": xmp.encode()}
        image.save(file, "JPEG", quality=_QUALITY, subsampling="4:4:4", optimize=True, **extra)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
