"""A photo's faces edited and put back, stage by stage, without the job around them."""

from __future__ import annotations

from typing import Any

from PIL import Image

from styleclip_cli import Engine
from styleclip_cli.edits.edit import Edit
from styleclip_cli.photo.portrait import Edited, find_faces, put_back
from styleclip_cli.settings import DEFAULT_COMPOSITE


def edit_photo(
    engine: Engine, photo: Image.Image, edit: Edit, alpha: float, which: str = "largest", mode: Any = None
) -> Edited:
    found = find_faces(engine, photo, which)
    edited = [edit.edited(one.face, [alpha])[0] for one in found]
    return put_back(engine, photo, found, edited, mode or DEFAULT_COMPOSITE)
