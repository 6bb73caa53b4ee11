"""Make what follows from the Typer app: docs/reference.md, the man page, and the completion scripts.

    python docs/generate.py            write them
    python docs/generate.py --check    only say which are stale; exit code 1 if any is

Each function returns text and depends on nothing but the app, so a test can compare.
"""

from __future__ import annotations

import enum
import re
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import typer
from typer.testing import CliRunner

from styleclip_cli import __version__
from styleclip_cli.cli.app import app
from styleclip_cli.errors import ExitCode, StyleClipError

ROOT = Path(__file__).parent.parent
PROGRAM = "styleclip"
_SHELLS = {
    "bash": "share/bash-completion/completions/styleclip",
    "zsh": "share/zsh/site-functions/_styleclip",
    "fish": "share/fish/vendor_completions.d/styleclip.fish",
}
_KINDS = {int: "INTEGER", float: "NUMBER", str: "TEXT", Path: "PATH"}
# First words of a command line: an example that goes on in the next line begins with none of them.
_FIRST_WORDS = re.compile(r"(\w+=\S+ )*(styleclip|torchrun|cat|find|ls|python)\b")
_CODES = {
    ExitCode.OK: "Success.",
    ExitCode.BUG: "A bug in styleclip.",
    ExitCode.INTERRUPTED: "Interrupted (Ctrl-C).",
    ExitCode.TERMINATED: "Terminated (SIGTERM).",
}
# Variables that no option stands for.
_VARIABLES = {
    "STYLECLIP_HOME": "Folder of the weights, of config.toml and of your own packs, instead of the "
    "platform's data and config folders.",
    "STYLECLIP_CACHE_DIR": "Cache folder (measurements, inversions, built kernels), instead of the "
    "platform's cache folder.",
    "STYLECLIP_MIRROR": "Address to try before the published ones when weights are downloaded.",
    "STYLECLIP_TIMEOUT": "Timeout of a server's response, in seconds; 30 by default.",
    "STYLECLIP_DEBUG": "Show tracebacks and warnings.",
    "HF_HUB_OFFLINE": "Same as STYLECLIP_OFFLINE.",
    "HTTPS_PROXY, HTTP_PROXY, NO_PROXY": "Proxies for downloads.",
    "CXX": "C++ compiler that builds the CPU kernels.",
    "OMP_NUM_THREADS": "Threads per process; with several processes, give each its share of the cores.",
    "STYLECLIP_KEEP_FREED": "0: return freed memory to the system, which makes rendering on a CPU slower.",
    "NO_COLOR": "No colours.",
}
_FILES = {
    "config.toml": 'The default model pack (models = "NAME") and defaults of options ([edit] alpha = 3). In '
    "the config folder, which styleclip doctor shows.",
    "packs/NAME.toml": "Your own packs, next to config.toml.",
    "pack.toml": "Description of the pack in a folder that is given to --models.",
}


@dataclass(frozen=True)
class Parameter:
    """An option or an argument.

    Attributes:
        names: As they are typed: "--out", "-o"; an argument's is its metavar.
        metavar: Its value; empty for switches.
        text: What it does.
        default: What holds without it; empty if that says nothing.
        variable: Environment variable that stands for it; empty for none.
        panel: Heading that it stands under.
    """

    names: tuple[str, ...]
    metavar: str
    text: str
    default: str
    variable: str
    panel: str


@dataclass(frozen=True)
class Page:
    """What is to be said of one command.

    Attributes:
        name: In full: "styleclip models pull".
        usage: Its usage line.
        paragraphs: Its help text.
        examples: Command lines.
        arguments: What it takes.
        panels: Its options by heading.
        group: Whether it has commands of its own.
    """

    name: str
    usage: str
    paragraphs: tuple[str, ...]
    examples: tuple[str, ...]
    arguments: tuple[Parameter, ...]
    panels: Mapping[str, tuple[Parameter, ...]]
    group: bool

    @property
    def summary(self) -> str:
        """Its first sentence, or paragraph."""
        return self.paragraphs[0] if self.paragraphs else ""


def pages() -> list[Page]:
    """The program and all its commands, in the order of its help."""
    return list(_walk(typer.main.get_command(app), PROGRAM))


def _walk(command: Any, name: str) -> Iterator[Page]:
    yield _page(command, name)
    for word, inner in getattr(command, "commands", {}).items():
        if not inner.hidden:
            yield from _walk(inner, f"{name} {word}")


def _page(command: Any, name: str) -> Page:
    kinds = _annotations(command.callback)
    found = [(p, _parameter(p, kinds.get(p.name))) for p in command.params if not p.hidden]
    arguments = [(p, one) for p, one in found if p.param_type_name == "argument"]
    panels: dict[str, list[Parameter]] = {}
    for parameter, one in found:
        if parameter.param_type_name != "argument":
            panels.setdefault(one.panel, []).append(one)
    group = hasattr(command, "commands")
    words = [name, "[OPTIONS]", *(_placed(p, one) for p, one in arguments)]
    if group:
        words.append("[COMMAND] ..." if command.invoke_without_command else "COMMAND ...")
    paragraphs, examples = _told(command.help or "")
    return Page(
        name=name,
        usage=" ".join(words),
        paragraphs=paragraphs,
        examples=examples,
        arguments=tuple(one for _, one in arguments),
        panels={panel: tuple(options) for panel, options in panels.items()},
        group=group,
    )


def _annotations(callback: Any) -> dict[str, Any]:
    """What kinds of values a command's function takes, by name."""
    if callback is None:
        return {}
    try:
        return typing.get_type_hints(callback)
    except NameError:  # names that only a type checker knows: then the metavar has to do
        return {}


def _parameter(parameter: Any, kind: Any) -> Parameter:
    switch = bool(getattr(parameter, "is_flag", False))
    if parameter.param_type_name == "argument":
        names = ((parameter.metavar or parameter.name.upper()).removesuffix("..."),)
        metavar = ""
    else:
        names = (*parameter.opts, *parameter.secondary_opts)
        metavar = "" if switch else parameter.metavar or _kind(kind)
    variable = parameter.envvar or ""
    text = _plain(parameter.help or "")
    if not switch:
        text = _limited(text, parameter.min, parameter.max)
    return Parameter(
        names=names,
        metavar=metavar,
        text=text,
        default=_default(parameter, switch),
        variable=variable if isinstance(variable, str) else ", ".join(variable),
        panel=parameter.rich_help_panel or "Options",
    )


def _limited(text: str, least: float | None, most: float | None) -> str:
    """A help text with the limits of its number."""
    if least is None and most is None:
        return text
    if least is None or most is None:
        limits = f"at most {most:g}" if least is None else f"{least:g} or more"
    else:
        limits = f"{least:.10g} to {most:.10g}"
    return f"{text.removesuffix('.')} ({limits})."


def _kind(annotation: Any) -> str:
    """What a value without a metavar is called."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return "|".join(map(str, inner))
    if origin in (typing.Union, types.UnionType, list, tuple):
        return next((_kind(one) for one in inner if one is not type(None)), "TEXT")
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return "|".join(str(one.value) for one in annotation)
    return _KINDS.get(annotation, "TEXT")


def _default(parameter: Any, switch: bool) -> str:
    shown, value = parameter.show_default, parameter.default
    if isinstance(shown, str):
        return shown
    if not shown or value is None or (switch and not parameter.secondary_opts) or callable(value):
        return ""
    if switch:
        return (parameter.opts if value else parameter.secondary_opts)[0]
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value.value if isinstance(value, enum.Enum) else value)


def _placed(parameter: Any, one: Parameter) -> str:
    """An argument as a usage line has it."""
    word = one.names[0] if parameter.required else f"[{one.names[0]}]"
    return f"{word}..." if parameter.nargs != 1 else word


def _told(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A help text's paragraphs, each one line, and its examples."""
    paragraphs: list[str] = []
    examples: list[str] = []
    for block in re.split(r"\n\s*\n", text.replace("\b", "").strip()):
        match = re.match(r"Examples?:\s*", block)
        if match is None:
            paragraphs.append(_plain(block))
            continue
        for line in block[match.end() :].splitlines():
            line = line.strip().removesuffix("\\").rstrip()
            if examples and not _FIRST_WORDS.match(line):
                examples[-1] += f" {line}"
            else:
                examples.append(line)
    return tuple(filter(None, paragraphs)), tuple(map(_plain, examples))


def _plain(text: str) -> str:
    """One line, without the escapes of rich's markup."""
    return " ".join(text.replace(r"\[", "[").split())


def _exit_codes() -> dict[ExitCode, str]:
    """What each exit code means: the words of the errors that end in it."""
    said = dict(_CODES)
    for error in StyleClipError.__subclasses__():
        said.setdefault(error.exit_code, (error.__doc__ or "").strip().splitlines()[0])
    return {code: said[code] for code in ExitCode}


def _variables(found: Sequence[Page]) -> dict[str, str]:
    """Environment variables: those that stand for options, and the others."""
    named: dict[str, str] = {}
    for page in found:
        for one in (option for options in page.panels.values() for option in options):
            if one.variable:
                named.setdefault(
                    one.variable, f"Same as {one.names[0]}: {one.text[:1].lower()}{one.text[1:]}"
                )
    return {**dict(sorted(named.items())), **_VARIABLES}


def reference() -> str:
    """docs/reference.md."""
    found = pages()
    lines = [
        "# Command reference",
        "",
        "Generated from the program by `python docs/generate.py`: change the program, not this file. "
        "`styleclip COMMAND --help` shows the same in a terminal.",
        "",
        "| command | what it does |",
        "|---|---|",
        *(f"| [`{page.name}`](#{slug(page.name)}) | {_cell(page.summary)} |" for page in found[1:]),
        "",
        "Also: [exit codes](#exit-codes), [environment variables](#environment-variables), [files](#files).",
    ]
    for page in found:
        depth = min(page.name.count(" ") + 1, 3)
        lines += ["", f"{'#' * max(depth, 2)} {page.name}", "", "```text", page.usage, "```"]
        for paragraph in page.paragraphs:
            lines += ["", _marked(paragraph)]
        if page.examples:
            lines += ["", "```sh", *page.examples, "```"]
        if page.arguments:
            lines += ["", "| argument | default | what it is |", "|---|---|---|", *map(_row, page.arguments)]
        for panel, options in page.panels.items():
            lines += ["", f"**{panel}**", "", "| option | default | what it does |", "|---|---|---|"]
            lines += map(_row, options)
        if page.name == PROGRAM:
            lines += ["", "Every command accepts `-h` and `--help`."]
    lines += ["", "## Exit codes", "", "| code | meaning |", "|---|---|"]
    lines += (f"| {int(code)} | {_cell(text)} |" for code, text in _exit_codes().items())
    lines += ["", "## Environment variables", "", "An option on the command line takes precedence."]
    lines += ["", "| variable | meaning |", "|---|---|"]
    for names, text in _variables(found).items():
        code = ", ".join(f"`{name}`" for name in names.split(", "))
        lines.append(f"| {code} | {_cell(text)} |")
    lines += ["", "## Files", "", "| file | what it is |", "|---|---|"]
    lines += (f"| `{name}` | {_cell(text)} |" for name, text in _FILES.items())
    return "\n".join([*lines, ""])


def _row(one: Parameter) -> str:
    names = ", ".join(one.names) + (f" {one.metavar}" if one.metavar else "")
    text = _cell(one.text)
    if one.variable:
        text += f" Environment: `{one.variable}`."
    # A | ends a cell, even inside code.
    return f"| `{names.replace('|', chr(92) + '|')}` | {_cell(one.default)} | {text} |"


def _cell(text: str) -> str:
    return _marked(text).replace("|", r"\|")


def _marked(text: str) -> str:
    """A help text as Markdown: options and command lines as code, nothing else with a meaning of its own."""
    pieces = text.split("`")  # every second piece is code already
    for place in range(0, len(pieces), 2):
        piece = re.sub(r"([*<])", r"\\\1", pieces[place])
        pieces[place] = re.sub(r"(?<![\w-])(--[a-z][\w-]*)", r"`\1`", piece)
    return "`".join(pieces)


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


def man_page() -> str:
    """share/man/man1/styleclip.1, for groff and mandoc."""
    found = pages()
    root, commands = found[0], found[1:]
    lines = [
        r".\" Made by docs/generate.py.",
        f'.TH STYLECLIP 1 "" "styleclip {__version__}" "User Commands"',
        ".nh",
        ".SH NAME",
        rf"styleclip \- {_roff(root.summary[:1].lower() + root.summary[1:].removesuffix('.'))}",
        ".SH SYNOPSIS",
        r".B styleclip",
        r"[\fIOPTIONS\fR] \fICOMMAND\fR [\fIARGUMENTS\fR]",
        ".SH DESCRIPTION",
        *_paragraphs(root.paragraphs),
        ".PP",
        r"\fBstyleclip\fR \fICOMMAND\fR \fB\-\-help\fR shows the same.",
        ".SH OPTIONS",
        *(line for options in root.panels.values() for one in options for line in _item(one)),
        r".TP",
        r"\fB\-h\fR, \fB\-\-help\fR",
        "Show help; every command accepts it.",
        ".SH COMMANDS",
    ]
    for page in commands:
        lines += [f'.SS "{_roff(page.usage)}"', *_paragraphs(page.paragraphs)]
        if page.examples:
            lines += [".PP", "Example:", ".PP", ".nf", ".RS 4"]
            lines += [*map(_roff, page.examples), ".RE", ".fi"]
        for one in page.arguments:
            lines += _item(one)
        for panel, options in page.panels.items():
            lines += [".PP", rf"\fI{_roff(panel)}\fR"]
            lines += (line for one in options for line in _item(one))
    lines.append(".SH EXIT STATUS")
    for code, text in _exit_codes().items():
        lines += [".TP", rf"\fB{int(code)}\fR", _roff(text)]
    lines.append(".SH ENVIRONMENT")
    for names, text in _variables(found).items():
        lines += [".TP", rf"\fB{_roff(names)}\fR", _roff(text)]
    lines.append(".SH FILES")
    for name, text in _FILES.items():
        lines += [".TP", rf"\fI{_roff(name)}\fR", _roff(text)]
    return "\n".join([*lines, ""])


def _paragraphs(paragraphs: Sequence[str]) -> Iterator[str]:
    for number, paragraph in enumerate(paragraphs):
        if number:
            yield ".PP"
        yield _roff(paragraph)


def _item(one: Parameter) -> Iterator[str]:
    names = ", ".join(rf"\fB{_roff(name)}\fR" for name in one.names)
    text = one.text
    if one.default:
        text += f" Default: {one.default.removesuffix('.')}."
    if one.variable:
        text += f" Environment: {one.variable}."
    yield ".TP"
    yield names + (rf" \fI{_roff(one.metavar)}\fR" if one.metavar else "")
    yield _roff(text)


def _roff(text: str) -> str:
    """A text in which roff sees nothing but characters."""
    escapes = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti", '"': r"\(dq"}
    escaped = "".join(escapes.get(c, c if c.isascii() else rf"\[u{ord(c):04X}]") for c in text)
    return rf"\&{escaped}" if escaped.startswith(".") else escaped


def completion(shell: str) -> str:
    """A completion script: what Typer itself prints for a shell."""
    asked = {"_STYLECLIP_COMPLETE": f"source_{shell}"}
    script = CliRunner().invoke(app, [], prog_name=PROGRAM, env=asked).stdout.strip()
    if shell == "zsh":  # loaded from a folder of functions, the file is run by the first completion itself
        script += '\n\nif [ "$funcstack[1]" = "_styleclip" ]; then\n  _styleclip_completion "$@"\nfi'
    return f"{script}\n"


def texts() -> dict[Path, str]:
    """All generated files."""
    found = {Path("docs/reference.md"): reference(), Path("share/man/man1/styleclip.1"): man_page()}
    return found | {Path(path): completion(shell) for shell, path in _SHELLS.items()}


def stale() -> dict[Path, str]:
    """Files that are not what they would be made to be, and what that is."""
    return {
        path: text
        for path, text in texts().items()
        if not (ROOT / path).is_file() or (ROOT / path).read_text(encoding="utf-8") != text
    }


def main(arguments: Sequence[str]) -> int:
    """Write the files, or with `--check` say which are stale."""
    if list(arguments) not in ([], ["--check"]):
        sys.stderr.write(__doc__ or "")
        return 2
    found = stale()
    for path, text in found.items():
        if arguments:
            sys.stdout.write(f"{path}: stale; run python docs/generate.py\n")
            continue
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path}\n")
    return int(bool(arguments and found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
