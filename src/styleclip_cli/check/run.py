"""All checks of a pack, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from styleclip_cli import __version__
from styleclip_cli.bench.timing import machine
from styleclip_cli.check import channels, faces, inverting, words
from styleclip_cli.check.report import Check, Report, Value
from styleclip_cli.check.samples import Amounts, NotApplicableError, Samples
from styleclip_cli.engine import Engine
from styleclip_cli.errors import DeviceError, StyleClipError, one_line
from styleclip_cli.machine.progress import Advance, Progress, silent
from styleclip_cli.pictures.sheets import contact_sheet

if TYPE_CHECKING:
    from PIL import Image

_CELL = 160


@dataclass(frozen=True)
class Item:
    """A check that can be made.

    Attributes:
        name: What should hold.
        measure: Measures it.
        bars: Expectations that it needs.
        parts: Parts of a pack that it depends on.
        optional: Parts that it uses if there are any.
        probably: What is probably wrong if it fails.
        hint: What to do then.
    """

    name: str
    measure: Callable[[Samples], list[Value]]
    bars: tuple[str, ...]
    parts: tuple[str, ...]
    probably: str
    optional: tuple[str, ...] = ()
    hint: str = "styleclip models verify {pack}; if its files are right, report this with --json"


ITEMS: tuple[Item, ...] = (
    Item(
        "samples are faces",
        faces.found,
        ("faces",),
        ("generator", "detector", "landmarks"),
        "the generator's weights are read wrongly, if the samples on the sheet are no faces; else the "
        "face detector",
    ),
    Item(
        "landmarks are where faces have them",
        faces.landmarks,
        ("landmarks",),
        ("landmarks", "detector"),
        "the landmarks network is another one, or its points are in another order",
    ),
    Item(
        "aligning leaves samples where they are",
        faces.alignment,
        ("alignment",),
        ("landmarks", "detector"),
        "the landmarks network is another one, or photos are cropped in another way than the generator's "
        "training images",
    ),
    Item(
        "identity tells faces apart",
        faces.identity,
        ("identity",),
        ("identity",),
        "the identity network is another one, or sees faces cropped or coloured in another way than it was "
        "trained on",
    ),
    Item(
        "the encoder finds faces again",
        inverting.encoder,
        ("encoder_psnr",),
        ("encoder", "generator"),
        "the encoder was trained for another generator, or its mean latent is another one",
        ("identity",),
    ),
    Item(
        "refining comes closer",
        inverting.refine,
        ("refine_gain",),
        ("encoder", "generator"),
        "the derivatives of the generator, or the perceptual distance of the identity network",
        ("identity",),
    ),
    Item(
        "CLIP sees what the pack draws",
        words.subject,
        ("subject",),
        ("clip", "generator"),
        "CLIP is another one, or its tokenizer is; or the generator's images are damaged",
    ),
    Item(
        "CLIP reads sentences as it should",
        words.sentences,
        ("sentences",),
        ("clip",),
        "CLIP's text encoder, its activation (gelu or quickgelu) or its tokenizer is another one",
    ),
    Item(
        "CLIP's words agree with what is seen",
        words.words,
        ("words",),
        ("clip", "landmarks"),
        "CLIP's text encoder or its tokenizer belongs to another network",
    ),
    Item(
        "edits go toward their sentences",
        words.similarity,
        ("similarity",),
        ("clip", "generator"),
        "the relevance belongs to another generator or another CLIP",
        ("relevance", "statistics"),
    ),
    Item(
        "edits keep the person",
        words.kept,
        ("kept",),
        ("identity",),
        "the statistics are too large, or the identity network is another one",
        ("relevance", "statistics"),
    ),
    Item(
        "edits change the right place",
        words.region,
        (),
        ("clip", "generator", "landmarks"),
        "the rows of the relevance are in another order than the generator's channels, the statistics have "
        "another scale, or CLIP's text encoder is another one",
        ("relevance", "statistics"),
    ),
    Item(
        "statistics are the generator's",
        channels.statistics,
        ("statistics",),
        ("statistics", "generator"),
        "the statistics are of another generator or of another truncation, or its mapping network is read "
        "wrongly",
    ),
    Item(
        "relevance is the generator's",
        channels.relevance,
        ("relevance",),
        ("relevance", "generator", "clip"),
        "the relevance is of another generator, or its rows are in another order; or CLIP is another one "
        "(if the other activation fits better: styleclip models add --clip-activation)",
        ("statistics",),
    ),
    Item(
        "mappers work",
        channels.mapper,
        ("mapper",),
        ("mapper", "generator"),
        "the mapper was trained for another generator, or its layers are in another order",
        ("clip",),
    ),
)


def check_pack(
    pack: str | Path | Engine,
    *,
    seed: int = 0,
    progress: Progress = silent,
    device: str = "auto",
    amounts: Amounts | None = None,
    items: Sequence[Item] = ITEMS,
) -> Report:
    """Check that a pack does what its file expects (`weights.expected`), on samples of its generator.

    Args:
        pack: Name of a pack, a folder with one, or an engine with it.
        seed: Of the first sample.
        progress: Reports long steps.
        device: Where to compute, unless an engine is given.
        amounts: How much is looked at; None fits it to the resolution.
        items: The checks to make.

    Returns:
        What was found.

    Raises:
        WeightsError: If there is no such pack, or its generator or CLIP is not installed.
        DeviceError: If the machine has no such device, or too little memory.
    """
    engine = pack if isinstance(pack, Engine) else Engine(pack, device=device, progress=progress)
    engine.pack.fingerprint_of("generator", "clip")
    samples = Samples(engine, seed, amounts)
    done = []
    with progress(f"checking {engine.pack.name}") as advance:
        for number, item in enumerate(items):
            advance(number, len(items), item.name)
            samples.advance = _within(advance, number, len(items), item.name)
            done.append(_made(item, samples))
        advance(len(items), len(items))
    return Report(engine.pack.name, tuple(done), seed, about(engine), sheet(samples))


def _within(advance: Advance, number: int, count: int, name: str) -> Advance:
    """Tells of how far a check is in the note of how many are done."""

    def within(done: int, total: int, note: str = "") -> None:
        advance(number, count, f"{name}: {note and note + ' '}{done} of {total}")

    return within


def _made(item: Item, samples: Samples) -> Check:
    """Make a check; one that cannot be made does not keep others from being made."""
    pack, began = samples.engine.pack, time.monotonic()
    has = {**pack.entries, **({"mapper": None} if pack.mappers else {})}
    optional = tuple(part for part in item.optional if part in has)
    parts = (*item.parts, *optional)

    def result(status: Any, **others: Any) -> Check:
        return Check(item.name, status, parts=parts, seconds=time.monotonic() - began, **others)

    why = _why_not(item, samples)
    if why:
        return result("not applicable", told=why)
    hint = item.hint.replace("{pack}", pack.name)
    try:
        values = tuple(item.measure(samples))
    except NotApplicableError as error:
        return result("not applicable", told=str(error))
    except DeviceError:
        raise
    except StyleClipError as error:
        return result("failed", told=error.message, probably=item.probably, hint=error.hint or hint)
    except Exception as error:  # whatever a network does with wrong weights, the rest is told all the same
        told = f"{type(error).__name__}: {one_line(error)}"
        return result("failed", told=told, probably=item.probably, hint=hint)
    if all(value.good for value in values):
        return result("passed", values=values)
    return result("failed", values=values, probably=item.probably, hint=hint)


def _why_not(item: Item, samples: Samples) -> str:
    """Why a check cannot be made of a pack; empty if it can."""
    pack = samples.engine.pack
    for part in item.parts:
        if part == "mapper":
            if not pack.mappers:
                return "the pack has no mapper"
        elif part not in pack.entries:
            return f"the pack has no {part}"
        elif pack.entries[part].file is None:
            return f"its {part} is not installed"
    lacking = [bar for bar in item.bars if bar not in samples.expected.bars]
    if item.measure is faces.landmarks and not samples.expected.places:
        lacking.append("places")
    return f"the pack states no expectation ({', '.join(lacking)})" if lacking else ""


def about(engine: Engine) -> dict[str, Any]:
    """The program, the machine and the weights, as JSON can hold it: what a bug report has to say."""
    pack = engine.pack
    files = {part: entry.file.identity for part, entry in pack.entries.items() if entry.file is not None}
    return {
        "version": __version__,
        "machine": machine(engine.device),
        "fingerprint": str(pack.fingerprint),
        "weights": files,
        "missing": pack.missing,
    }


def sheet(samples: Samples) -> Image.Image | None:
    """What was looked at, a row for each check; None if there is nothing."""
    rows = samples.pictures
    if not rows:
        return None
    return contact_sheet(list(rows.values()), list(rows), cell=_CELL)
