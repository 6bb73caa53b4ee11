"""One generator, tuned for the photos of one person together (`--same-person`)."""

from __future__ import annotations

from styleclip_cli.errors import BadInputError, UsageError
from styleclip_cli.job.faces import read_item
from styleclip_cli.job.stages import Tools
from styleclip_cli.photo.portrait import portraits

MOST = 32
"""Photos of one person: their crops are in memory at the same time."""


def tune(tools: Tools) -> None:
    """Invert the faces of all photos together; the stages then find them inverted.

    Photos that cannot be read, or have no such face, are left to the stages, which say so.

    Raises:
        UsageError: If there are too many photos, or fewer than two faces.
    """
    request, engine = tools.plan.request, tools.engine
    crops = []
    for item in (planned.item for planned in tools.plan.work if planned.item.error is None):
        try:
            photo = read_item(item, request.max_megapixels)
            if photo is not None:
                crops += portraits(engine, photo.image, request.face, request.align)
        except BadInputError:
            continue
        if len(crops) > MOST:
            raise UsageError(f"--same-person takes {MOST} photos at the most", "the most different ones")
    if len(crops) < 2:
        raise UsageError("--same-person needs two photos or more", "leave it out for one")
    images, encoder_inputs = [crop.image for crop in crops], [crop.encoder_input for crop in crops]
    engine.inverter.invert_together(images, encoder_inputs, tools.inversion)
    tools.tell(f"one generator is tuned for {len(crops)} photos")
