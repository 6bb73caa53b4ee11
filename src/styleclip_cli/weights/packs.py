"""Model packs: which weight files belong together, where they come from, and whether they are here.

A pack is a TOML file. Components that name addresses are published files, which `install` downloads and
converts; those without lie beside the TOML:

    format = "styleclip-pack-1"
    name = "ffhq"
    title = "Faces, the generator of the paper"
    resolution = 1024                  # side of the pictures in pixels
    alignment = "ffhq"                 # how photos must be aligned: ffhq, square, car, frame or none
    licence = "non-commercial use only: ..."
    restricted = true                  # the licence has to be accepted before the first download

    [components.generator]             # generator, clip, encoder, identity, landmarks, detector, judge;
                                       # optional: judge_clip, second_identity, parser
    file = "stylegan2-ffhq-config-f.pkl"
    urls = ["https://..."]             # tried in order
    sha256 = "..."                     # or git_sha1; without either the first download's is recorded
    size = 381673535                   # bytes
    others = [{urls = [...], ...}]     # other files of the same weights, with hashes of their own
    licence = "Nvidia Source Code License-NC"
    class = 3                          # which class a conditional generator draws
    activation = "gelu"                # of a CLIP that was trained with it, as LAION's; else quickgelu

    [data.relevance]                   # relevance, statistics
    ...
    [mappers.afro]                     # latent mappers by name, each fetched on its own
    ...
    [defaults]                         # settings that suit it: alpha, channels, layers, steps, ...
    [expected]                         # what `styleclip models check` measures it by (weights/expected.py)

Packs that come with the program lie in `published/` and in the toy world; people's own are
`packs/NAME.toml` in the config folder, or any folder with a pack.toml. Imports nothing heavy.
"""

from __future__ import annotations

import hashlib
import itertools
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from styleclip_cli import toml
from styleclip_cli.errors import BadInputError, WeightsError, one_line, shortened
from styleclip_cli.fingerprints import Fingerprint
from styleclip_cli.weights import described as checked
from styleclip_cli.weights import store
from styleclip_cli.weights.expected import Expected, parse
from styleclip_cli.weights.fetch import Source
from styleclip_cli.weights.store import PackFile

FORMAT = "styleclip-pack-1"
PACK_FILE = "pack.toml"
OPTIONAL = {"judge_clip": "clip", "second_identity": "identity", "parser": "parser"}
"""Networks that hardly any edit needs, fetched when they are asked for, and what each is.

The first two only judge edits; the parser says where parts of a face are (--only)."""
COMPONENTS = ("generator", "clip", "encoder", "identity", "landmarks", "detector", "judge", *OPTIONAL)
DATA = ("relevance", "statistics")
Alignment = Literal["ffhq", "square", "car", "none", "frame"]
Activation = Literal["gelu", "quickgelu"]
ESSENTIAL = ("generator", "clip")
"""What no edit can do without."""

TOY = "toy"
USUAL = "ffhq"
WORLDS = ("toy", "people")
"""Worlds whose truth is known (`truth.worlds`)."""
_FLOORS = ("floor", "identity_floor", "progress_floor")
_PUBLISHED = Path(__file__).parent / "published"
_TOY_FOLDER = Path(__file__).parent.parent / "toyworld" / "pack"


@dataclass(frozen=True)
class Entry:
    """One part of a pack, as its file describes it.

    Attributes:
        part: What it is: generator, clip, ... or relevance, statistics; a judge_clip is a clip.
        source: Where it is published; None if it lies beside the pack's file.
        file: Where it is; None if it is not installed.
        licence: Its licence.
        class_index: Which class a conditional generator draws.
        activation: Of a CLIP whose file does not say it: gelu or quickgelu; empty for what the file says.
        role: What an optional part is to the pack, such as judge_clip; empty for the others.
    """

    part: str
    source: Source | None
    file: PackFile | None
    licence: str = ""
    class_index: int = 0
    activation: str = ""
    role: str = ""

    @property
    def title(self) -> str:
        """What it is to a person."""
        return self.role or self.part

    @property
    def variant(self) -> str:
        """What tells it from others that are read from the same file."""
        if self.class_index:
            return f"class{self.class_index}"
        return self.activation if self.activation == "gelu" else ""


@dataclass(frozen=True)
class Pack:
    """A set of networks that were made for each other.

    Attributes:
        name: Name of the pack.
        path: The TOML file it was read from.
        title: What it draws, in a few words.
        resolution: Side of its pictures in pixels.
        alignment: How photos must be aligned: ffhq, square (the middle square), car, frame (the square that
            its landmarks network says), or none.
        licence: Licence of the weights, in a sentence.
        restricted: Whether the licence restricts what the pictures may be used for.
        entries: Its parts by name.
        mappers: Latent mappers that are published for it, by name; no edit but theirs needs them.
        defaults: Settings that suit it, by name (alpha, channels, steps, ...).
        quality: What was measured when it was made.
        subject: What it draws, in a few words, for warnings about photos of something else.
        floor: Likeness (`portrait.likeness`) that inversions of such photos hardly ever fall under; None if
            unknown.
        identity_floor: Identity before and after an edit under which it is doubted.
        progress_floor: Progress toward a sentence under which an edit is doubted.
        null_range: The largest |relevance| of texts that say nothing (`edits.confidence.null_range`): median
            and 99th percentile, with the pack's own relevance; None if it is to be measured.
        world: The world of drawn people that it is of, one of `WORLDS`; empty for all others.
        words: Sentences that it understands, to choose from; empty if nobody listed them.
        expected: What checks of it should measure.
    """

    name: str
    path: Path
    title: str
    resolution: int
    alignment: str
    licence: str
    restricted: bool
    entries: Mapping[str, Entry]
    mappers: Mapping[str, Entry] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    quality: Mapping[str, Any] = field(default_factory=dict)
    subject: str = ""
    floor: float | None = None
    identity_floor: float = 0.4
    progress_floor: float = 0.0
    null_range: tuple[float, float] | None = None
    world: str = ""
    words: tuple[str, ...] = ()
    expected: Expected = field(default_factory=Expected)

    @property
    def address(self) -> str:
        """What it is found by again: its name, or its folder."""
        return str(self.folder) if self.path.name == PACK_FILE and self.folder != _TOY_FOLDER else self.name

    @property
    def folder(self) -> Path:
        """Where its file lies."""
        return self.path.parent

    @property
    def components(self) -> dict[str, PackFile]:
        """Installed networks by part."""
        return {
            part: entry.file
            for part, entry in self.entries.items()
            if part in COMPONENTS and entry.file is not None
        }

    @property
    def all_entries(self) -> list[Entry]:
        """Its parts, and its mappers."""
        return [*self.entries.values(), *self.mappers.values()]

    @property
    def missing(self) -> list[str]:
        """Parts that are not installed; measurements without an address are made here where they lack."""
        return [
            part
            for part, entry in self.entries.items()
            if entry.file is None
            and part not in OPTIONAL
            and (part not in DATA or entry.source is None or bool(entry.source.all_urls))
        ]

    def missing_with(self, optional: Iterable[str]) -> list[str]:
        """Parts that are not installed, some optional ones among them.

        Raises:
            WeightsError: If the pack has no such optional part.
        """
        chosen = list(dict.fromkeys(optional))
        for part in chosen:
            if part not in OPTIONAL or part not in self.entries:
                has = ", ".join(name for name in OPTIONAL if name in self.entries) or "none"
                raise WeightsError(
                    f"the model pack {self.name} has no optional part {shortened(part, 40)!r}",
                    f"its optional parts: {has}",
                )
        return [*self.missing, *(part for part in chosen if self.entries[part].file is None)]

    @property
    def usable(self) -> bool:
        """Whether what no edit can do without is installed."""
        return all(part in self.components for part in ESSENTIAL)

    @property
    def fingerprint(self) -> Fingerprint:
        """SHA-256 over all installed components, in hex: what results of the whole pack are keyed by."""
        return self.fingerprint_of(*(part for part in self.components if part not in OPTIONAL))

    def fingerprint_of(self, *parts: str) -> Fingerprint:
        """SHA-256 over what the named components are, in hex: the same wherever they were installed.

        Raises:
            WeightsError: If the pack has no such component, or it is not installed.
        """
        files = {part: self._file(part) for part in sorted(parts)}

        def over(hashes: Iterable[str]) -> str:
            lines = (f"{part}={each}\n" for part, each in zip(files, hashes, strict=True))
            return hashlib.sha256("".join(lines).encode()).hexdigest()

        return Fingerprint(
            over(file.identity for file in files.values()),
            lambda: map(over, itertools.product(*(file.earlier for file in files.values()))),
        )

    def component(self, part: str) -> Path:
        """Locate a weight file and make sure that it is the right one.

        Raises:
            WeightsError: If the pack has no such component, or its file is missing or another one.
        """
        found = self._file(part)
        found.verify(self.name)
        return found.path

    def published(self, kind: str) -> Path | None:
        """Locate published measurements ("statistics", "relevance"); None if there are none here.

        Raises:
            WeightsError: If the file is missing or another one.
        """
        entry = self.entries.get(kind)
        if entry is None or entry.file is None:
            return None
        entry.file.verify(self.name)
        return entry.file.path

    def how_to_pull(self, part: str) -> str:
        """The command that installs a part."""
        chosen = f" --with {part}" if part in OPTIONAL else ""
        return f"styleclip models pull {shlex.quote(self.address)}{chosen}"

    def _file(self, part: str) -> PackFile:
        entry = self.entries.get(part)
        if entry is None or part not in COMPONENTS:
            has = ", ".join(sorted(name for name in self.entries if name in COMPONENTS))
            raise WeightsError(f"the model pack {self.name} has no {part}", f"it has: {has}")
        if entry.file is None:
            raise WeightsError(
                f"the {part} of the model pack {self.name} is not installed",
                self.how_to_pull(part),
            )
        return entry.file


def names() -> list[str]:
    """Names of all packs: those that come with the program, then people's own."""
    own = sorted(path.stem for path in own_dir().glob("*.toml"))
    built_in = [TOY, USUAL, *sorted(p.stem for p in _PUBLISHED.glob("*.toml") if p.stem != USUAL)]
    return built_in + [name for name in own if name not in built_in]


def own_dir() -> Path:
    """Folder of people's own packs."""
    return store.config_dir() / "packs"


def is_built_in(name: str) -> bool:
    """Whether a pack comes with the program."""
    return name == TOY or (_PUBLISHED / f"{name}.toml").is_file()


def find_pack(name: str) -> Pack:
    """Find a pack by name or folder and read its file.

    Raises:
        WeightsError: If there is no such pack, or its file cannot be used.
    """
    path = _locate(name)
    try:
        return _parse(toml.load(path), path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else one_line(error)
        raise WeightsError(
            f"{path}: not a usable model pack ({reason})", "install the pack again, or correct the file"
        ) from None


def readable(told: Callable[[WeightsError], None] | None = None) -> Iterator[Pack]:
    """All packs whose files can be used.

    Args:
        told: Called with what is wrong with each of the others.
    """
    for name in names():
        try:
            found = find_pack(name)
        except WeightsError as error:
            if told is not None:
                told(error)
        else:
            yield found


def default_name() -> str | None:
    """The pack to use when none is named: the one in config.toml, else ffhq if it is installed.

    Raises:
        BadInputError: If config.toml cannot be read.
    """
    path = store.config_dir() / "config.toml"
    try:
        chosen = toml.load(path).get("models")
        if chosen is not None and not isinstance(chosen, str):
            raise ValueError("models is not a name")
    except FileNotFoundError:
        chosen = None
    except (OSError, ValueError) as error:
        raise BadInputError(
            f"{path}: cannot be used ({one_line(error)})", 'such as: models = "toy"'
        ) from None
    if chosen is not None:
        return chosen
    return USUAL if find_pack(USUAL).usable else None


def usual_name() -> str:
    """The pack to use when none is named.

    Raises:
        WeightsError: If there is none.
    """
    name = default_name()
    if name is None:
        raise WeightsError(
            f"no model pack is chosen, and {USUAL} is not installed", how_to_get(find_pack(USUAL))
        )
    return name


def wanted(pack: Pack, optional: Collection[str] = ()) -> list[list[Entry]]:
    """Missing parts of a pack, and some optional ones, those that come from one file together."""
    groups: dict[Source, list[Entry]] = {}
    for part in pack.missing_with(optional):
        entry = pack.entries[part]
        assert entry.source is not None  # a part beside the pack's file always has its place
        groups.setdefault(entry.source, []).append(entry)
    return list(groups.values())


def download_bytes(pack: Pack, optional: Collection[str] = ()) -> tuple[int, int]:
    """How much of a pack is still to be downloaded.

    Returns:
        Bytes, and the number of files whose size is not published.
    """
    sources = [entries[0].source for entries in wanted(pack, optional)]
    sizes = [source.size if source is not None else None for source in sources]
    return sum(size or 0 for size in sizes), sum(1 for size in sizes if not size)


def download_size(pack: Pack, optional: Collection[str] = ()) -> str:
    """The same in words: "2.2 GB and 1 file of unpublished size"."""
    known, unknown = download_bytes(pack, optional)
    text = f"{known / 1e9:.1f} GB" if known >= 1e9 else f"{known / 1e6:.0f} MB"
    if unknown:
        text += f" and {unknown} file{'s' if unknown > 1 else ''} of unpublished size"
    return text


def how_to_get(pack: Pack) -> str:
    """What to do about a pack that is not installed: the command, what it fetches, and its licence."""
    accepted = " --accept-licence" if pack.restricted else ""
    command = f"styleclip models pull {shlex.quote(pack.address)}{accepted}"
    licence = "; non-commercial use only" if pack.restricted else ""
    return f"{command} ({download_size(pack)}{licence}), or --models {TOY} (drawn faces, built in)"


def _locate(name: str) -> Path:
    if name == TOY:
        return _TOY_FOLDER / PACK_FILE
    if name and Path(name).name == name:
        for folder in (_PUBLISHED, own_dir()):
            path = folder / f"{name}.toml"
            if _is_file(path, name):
                return path
    folder = Path(name)
    if _is_file(folder / PACK_FILE, name):
        return folder / PACK_FILE
    if folder.is_dir() and name:
        raise WeightsError(
            f"{folder}: no {PACK_FILE} in this folder", "a folder with a model pack, or a name"
        )
    raise WeightsError(
        f"no model pack {name!r}", f"--models {', '.join(names())}, or a folder with a {PACK_FILE}"
    )


def _is_file(path: Path, name: str) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError) as error:  # a name too long, a folder that may not be searched
        raise WeightsError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


def _parse(content: dict[str, Any], path: Path) -> Pack:
    if content["format"] != FORMAT:
        raise ValueError(f"format {content['format']!r}, expected {FORMAT!r}")
    resolution = content["resolution"]
    if not isinstance(resolution, int) or not 4 <= resolution <= 8192:
        raise ValueError(f"resolution {resolution!r}")
    alignment = content.get("alignment", "none")
    if alignment not in get_args(Alignment):
        raise ValueError(f"alignment {alignment!r}, expected one of {', '.join(get_args(Alignment))}")
    entries = {}
    for table, allowed in (("components", COMPONENTS), ("data", DATA)):
        for part, described in content.get(table, {}).items():
            if part not in allowed:
                raise ValueError(f"[{table}.{part}]: expected one of {', '.join(allowed)}")
            entry = _entry(OPTIONAL.get(part, part), described, path.parent)
            entries[part] = replace(entry, role=part) if part in OPTIONAL else entry
    mappers = {}
    for mapper, described in content.get("mappers", {}).items():
        if not mapper.replace("-", "").replace("_", "").isalnum():
            raise ValueError(f"a mapper named {mapper!r}")
        mappers[mapper] = _entry("mapper", described, path.parent)
    name = str(content["name"])
    if not checked.is_plain(name):
        raise ValueError(f"name {shortened(name, 80)!r}")
    if path.name != PACK_FILE and name != path.stem:
        raise ValueError(f"it is named {name!r}, but its file {path.stem!r}")
    return Pack(
        name=name,
        path=path,
        title=checked.said(content, "title"),
        resolution=resolution,
        alignment=alignment,
        licence=checked.said(content, "licence"),
        restricted=bool(content.get("restricted", False)),
        entries=entries,
        mappers=mappers,
        defaults=dict(content.get("defaults", {})),
        quality=dict(content.get("quality", {})),
        subject=checked.said(content, "subject") if "subject" in content else "",
        **{name: _cosine(content, name) for name in _FLOORS if name in content},
        null_range=_null_range(content),
        world=_world(content, entries),
        words=tuple(shortened(str(word), 100) for word in content.get("words", ())),
        expected=parse(content.get("expected", {})),
    )


def _world(content: Mapping[str, Any], entries: Mapping[str, Any]) -> str:
    """The world of drawn people that a pack names, or that packs with a judge had before they named one."""
    world = content.get("world", "toy" if "judge" in entries else "")
    if world not in ("", *WORLDS):
        raise ValueError(f"world {world!r}, expected one of {', '.join(WORLDS)}")
    return str(world)


def _cosine(content: Mapping[str, Any], name: str) -> float:
    value = float(content[name])
    if not -1 <= value <= 1:
        raise ValueError(f"{name} {value:g}")
    return value


def _null_range(content: Mapping[str, Any]) -> tuple[float, float] | None:
    if "null_range" not in content:
        return None
    median, high = map(float, content["null_range"])
    if not 0 <= median < high <= 1:
        raise ValueError(f"null_range {median:g}, {high:g}")
    return median, high


def _entry(part: str, described: dict[str, Any], folder: Path) -> Entry:
    name = str(described["file"])
    if not checked.is_plain(name):  # a pack must not reach outside its folder
        raise ValueError(f"file name {shortened(name, 80)!r}")
    sha256 = checked.hash_of(part, described, "sha256", 64, "SHA-256")
    if "urls" not in described:
        if sha256 is None:
            raise ValueError(f"{part}: neither urls nor sha256")
        return Entry(part, None, PackFile(folder / name, sha256))
    source = _source(part, described, name)
    class_index = checked.whole(part, described, "class", 0) or 0
    activation = checked.one_of(part, described, "activation", ("", *get_args(Activation)))
    entry = Entry(part, source, None, checked.said(described, "licence"), class_index, activation)
    return replace(entry, file=store.installed_file(source, part, entry.variant))


def _source(part: str, described: dict[str, Any], name: str) -> Source:
    urls, others = described.get("urls"), described.get("others", [])
    if not isinstance(urls, list):
        raise ValueError(f"{part}: urls is not a list")
    if not isinstance(others, list) or not all(
        isinstance(one, dict) and "others" not in one for one in others
    ):
        raise ValueError(f"{part}: others is not a list of files")
    return Source(
        file=name,
        urls=tuple(checked.address(part, url) for url in urls),
        sha256=checked.hash_of(part, described, "sha256", 64, "SHA-256"),
        git_sha1=checked.hash_of(part, described, "git_sha1", 40, "SHA-1"),
        size=checked.whole(part, described, "size", 1),
        others=tuple(_source(part, one, name) for one in others),
    )
