"""How good edits are, where the truth is known: drawn faces, inverted from pixels, and an independent judge.

The judge is a network that reads all attributes off a picture; no editing method ever sees it, and it is not
the CLIP that the edits are made with. For each prompt, faces that do not have the wanted attributes are drawn
by the renderer, inverted from their pixels, edited, and read by the judge before and after. "Before" is the
inverted picture, so that the numbers are the edit's; what inversion itself loses is given separately.

At the default strength, unless it says otherwise, averages over faces:

success       share in which the judge reads what was wanted, all of it.
clean         share in which it does, and no other attribute in sight moved by more than 0.25.
broken        how many others moved so far.
ceiling       clean, of the same persons drawn with the wanted attributes changed and nothing else: what is
              missing to 1 is misread by the judge, and no edit's fault.
leak          mean absolute change of the other attributes in sight at equal target, which is at the strength,
              found between those of the curve, at which the judge reads just what is wanted.
reached       share of the faces that come there; `leak` leaves out the others.
leak_default  the same change at the default strength, over all faces.
identity      cosine of the identity network's embeddings, before and after.
background    change, in 255ths, of what is backdrop before and after the true change.
seconds       of an edit, with rendering and without inversion.
ghost, kept, db  on photos; see `photos`.

Attributes that the words bring along in the population are no others (`cases.implied_shifts`); how far they
moved is reported apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from styleclip_cli.errors import UsageError
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.settings import InversionSettings, Inverter
from styleclip_cli.truth.cases import SPLITS, Case, SplitName, Target, chosen_cases
from styleclip_cli.truth.judging import (
    WORST,
    at_default,
    average,
    backdrop,
    background_change,
    clean,
    drawn,
    embed_all,
    in_sight,
    moved,
    over_strength,
    psnr,
    read_all,
    shares,
    show_all,
    weighted,
)
from styleclip_cli.truth.methods import Editor, editor_of, has_mapper
from styleclip_cli.truth.photos import ghosts
from styleclip_cli.truth.worlds import load_judge, world_of

if TYPE_CHECKING:
    from styleclip_cli.engine import Engine

FIRST_SEED = SPLITS["dev"].faces
"""Of the faces, where nothing else is said."""
STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Of the curves, in parts of the default."""
COLUMNS = (
    *("success", "clean", "broken", "ceiling", "leak", "reached", "leak_default"),
    *("identity", "background", "seconds"),
)
"""Figures of a row that have a mean."""
GHOSTS = ("ghost", "kept", "db")
Row = dict[str, Any]
_BATCH = 64


@dataclass(frozen=True)
class Outcome:
    """What was measured.

    Attributes:
        rows: One per prompt, those with the fewest clean edits first. success, clean, broken, ceiling, leak
            and so on are explained above; `curve` has a point for each of `STRENGTHS`; `moved`,
            `misread` and `implied` are shares or changes by attribute.
        mean: Averages of `COLUMNS` over prompts; the lowest success; and what inversion alone changes
            (inversion: mean change of what the judge reads; psnr in dB).
    """

    rows: list[Row]
    mean: dict[str, float | None]


def evaluate(
    engine: Engine,
    n: int = 40,
    prompts: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    inverter: Inverter | None = None,
    limit: int = 40,
    method: str = "global",
    faces: Faces | None = None,
    split: SplitName = "dev",
    photos: int = 0,
) -> Outcome:
    """Edit n faces by each prompt and measure; the figures are explained at the head of this module.

    Args:
        engine: Edits with its defaults.
        n: Faces per prompt: without the wanted attributes, and with them in sight.
        prompts: Only these of the world's.
        progress: Called with (done, total) cases.
        inverter: How faces are inverted; None takes the pack's.
        limit: Draw at most this many times 64 faces; cases then have fewer than n, where they are rare.
        method: How they are edited. Mappers are those of the pack and those that were trained for it, under
            the prompt's name; prompts without one are left out.
        faces: Faces that were drawn before.
        split: Which persons, where no faces are given; and which photos.
        photos: Photos per prompt, of those prompts for which there are some.

    Returns:
        The measurements.

    Raises:
        UsageError: If a prompt is not one whose truth is known, the pack has no judge, or no mapper.
    """
    world = world_of(engine.pack)
    judge = load_judge(engine)
    cases = chosen_cases(world.cases, prompts)
    if method == "mapper":
        cases = [case for case in cases if has_mapper(engine, case)]
        if not cases:
            raise UsageError(
                f"the model pack {engine.pack.name} has no mapper for these prompts",
                "styleclip train-mapper, with one of the prompts",
            )
    settings = engine.settings_for_inversion(inverter)
    faces = faces or Faces(engine, judge, settings, limit, SPLITS[split].faces)
    rows = []
    for done, case in enumerate(cases):
        if progress is not None:
            progress(done, len(cases))
        editor = editor_of(engine, case, method)
        row = _row(engine, judge, case, faces, n, editor)
        if photos:
            row |= ghosts(engine, world, case, editor, photos, SPLITS[split].photos, settings)
        rows.append(row)
    if progress is not None:
        progress(len(cases), len(cases))
    rows.sort(key=lambda row: (row["clean"] is None, row["clean"], row["success"], row["prompt"]))
    mean = {name: average(row[name] for row in rows) for name in COLUMNS}
    mean |= {name: average(row.get(name) for row in rows) for name in GHOSTS if photos}
    mean["lowest_success"] = min((row["success"] for row in rows if row["n"]), default=None)
    return Outcome(rows, mean | faces.inversion())


@dataclass(frozen=True)
class Chosen:
    """Persons of one case, N of them.

    Attributes:
        faces: Inverted from their drawings.
        people: The truth, as the world has it: [N, K or more], their attributes first.
        drawn: What the judge reads off the drawings, [N, K].
        read: What it reads off the inverted pictures, [N, K].
        drawings: The drawings, [N, 3, R, R].
        pictures: The inverted pictures, [N, 3, R, R].
        embedded: Identity embeddings of the inverted pictures, [N, D].
        free: Where the drawings have nothing but the backdrop, [N, 1, R, R].
    """

    faces: Sequence[FaceLatent]
    people: Tensor
    drawn: Tensor
    read: Tensor
    drawings: Tensor
    pictures: Tensor
    embedded: Tensor
    free: Tensor


class Ceiling(NamedTuple):
    """What the judge makes of persons in whom the true change is drawn.

    Attributes:
        clean: Share in which it reads that and no other.
        misread: Attributes that it says to have moved, or to fall short of the bar: shares by name.
        drawings: The drawings, [N, 3, R, R].
    """

    clean: float | None
    misread: dict[str, float]
    drawings: Tensor


class _Seen(NamedTuple):
    """What is kept of a person that was chosen."""

    drawing: Tensor
    picture: Tensor
    embedded: Tensor
    free: Tensor


class Faces:
    """Persons, drawn and inverted as cases need them; each depends on its place in the row alone.

    Args:
        engine: Inverts them; its pack says of which world they are.
        judge: Reads them.
        settings: How they are inverted; None takes the pack's.
        limit: At most this many times 64.
        first: Seed of the first 64; None takes `FIRST_SEED`.
    """

    def __init__(
        self,
        engine: Engine,
        judge: nn.Module,
        settings: InversionSettings | None = None,
        limit: int = 40,
        first: int | None = None,
    ) -> None:
        self._engine, self._judge, self._limit = engine, judge, limit
        self._world = world_of(engine.pack)
        self._settings = settings or engine.default_inversion
        self._first = FIRST_SEED if first is None else first
        self._faces: list[FaceLatent] = []
        self._people: list[Tensor] = []
        self._drawn: list[Tensor] = []
        self._read: list[Tensor] = []
        self._decibels: list[Tensor] = []
        self._seen: dict[int, _Seen] = {}
        self._ceilings: dict[tuple[str, int], Ceiling] = {}

    def for_case(self, case: Case, n: int) -> Chosen:
        """The first n persons, of at most `limit` * 64, that the prompt makes sense for."""
        for count in range(1, self._limit + 1):
            while len(self._people) < count:
                self._draw()
            people, read = torch.cat(self._people), torch.cat(self._read)
            fits = case.fits(people[:, : read.shape[1]])
            found = (fits & case.lacks(read)).nonzero().flatten()[:n]
            if len(found) == n:
                break
        faces = [self._faces[i] for i in found.tolist()]
        seen = self._look(found.tolist(), people)
        return Chosen(faces, people[found], torch.cat(self._drawn)[found], read[found], *seen)

    def ceiling(self, case: Case, chosen: Chosen) -> Ceiling:
        """The judge's own ceiling for a case on its persons."""
        key = case.prompt, len(chosen.faces)
        if key not in self._ceilings:
            drawings = drawn(self._world, case.changed(chosen.people))
            read = read_all(self._judge, drawings)
            wrong = moved(case, chosen.drawn, read)
            for target, margin in zip(case.targets, case.margins(read), strict=True):
                wrong[:, case.attributes.index[target.attribute]] = margin < 0
            share = average(clean(case, chosen.drawn, read).tolist())
            self._ceilings[key] = Ceiling(share, shares(case.attributes.names, wrong, WORST), drawings)
        return self._ceilings[key]

    def inversion(self) -> dict[str, float | None]:
        """What inversion alone changes, over all persons drawn."""
        before, after = torch.cat(self._drawn), torch.cat(self._read)
        change = weighted((before - after).abs(), in_sight(self._world.attributes, before, after))
        return {"inversion": float(change.mean()), "psnr": float(torch.cat(self._decibels).mean())}

    def _draw(self) -> None:
        people = self._world.people(self._first + len(self._people), _BATCH)
        drawings = drawn(self._world, people)
        if self._settings.inverter == "encoder":
            w_plus = self._engine.invert_w_plus(drawings, keep=False, inverter="encoder")
            faces = FaceLatent(w_plus).split()
        else:
            faces = [self._engine.invert(one, self._settings, keep=False) for one in drawings.split(1)]
        pictures = show_all(self._engine, faces)
        self._faces += faces
        self._people.append(people)
        self._drawn.append(read_all(self._judge, drawings))
        self._read.append(read_all(self._judge, pictures))
        self._decibels.append(psnr(drawings, pictures))

    def _look(self, which: Sequence[int], people: Tensor) -> _Seen:
        """Pictures and embeddings of some persons; what was seen of them before is known."""
        new = [i for i in which if i not in self._seen]
        if new:
            drawings, free = drawn(self._world, people[new]), backdrop(self._world, people[new])
            pictures = show_all(self._engine, [self._faces[i] for i in new])
            embedded = embed_all(self._engine, pictures)
            for i, *each in zip(new, drawings, pictures, embedded, free, strict=True):
                self._seen[i] = _Seen(*each)
        if not which:
            side = self._engine.pack.resolution
            empty = torch.zeros(0, 3, side, side)
            return _Seen(empty, empty, torch.zeros(0, 1), empty[:, :1])
        return _Seen(*(torch.stack(each) for each in zip(*(self._seen[i] for i in which), strict=True)))


def _entries(target: Target) -> dict[str, Any]:
    return {name: value for name, value in asdict(target).items() if value is not None}


def _row(engine: Engine, judge: nn.Module, case: Case, faces: Faces, n: int, editor: Editor) -> Row:
    """Edit the persons of a case and measure."""
    chosen = faces.for_case(case, n)
    n = len(chosen.faces)
    told: Row = {
        "prompt": case.prompt,
        "neutral": case.neutral,
        "targets": [_entries(target) for target in case.targets],
        "attribute": case.attribute,
        "alpha": editor.alpha,
        "n": n,
        **{name: value for name, value in editor.entries.items() if value is not None},
    }
    if not n:
        return told | dict.fromkeys(COLUMNS) | {"curve": [], "moved": {}, "misread": {}, "implied": {}}
    began = time.monotonic()
    edited = editor.edited(chosen.faces, STRENGTHS)
    usual = STRENGTHS.index(1.0)
    pictures = show_all(engine, [strengths[usual] for strengths in edited])
    seconds = (time.monotonic() - began) / n
    others = [k for k in range(len(STRENGTHS)) if k != usual]
    more = show_all(engine, [strengths[k] for k in others for strengths in edited])
    read = read_all(judge, more).unflatten(0, (len(others), n))
    reads = torch.cat([read[:usual], read_all(judge, pictures)[None], read[usual:]])
    ceiling = faces.ceiling(case, chosen)
    drawings = chosen.drawings, ceiling.drawings
    changed = background_change(chosen.free, drawings, (chosen.pictures, pictures))
    identity = (embed_all(engine, pictures) * chosen.embedded).sum(dim=1)
    return {
        **told,
        **at_default(case, chosen.read, reads[usual]),
        **over_strength(case, chosen.read, reads, STRENGTHS),
        "ceiling": ceiling.clean,
        "misread": ceiling.misread,
        "identity": average(identity.tolist()),
        "background": average(changed.tolist()),
        "seconds": seconds,
    }
