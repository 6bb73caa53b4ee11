"""Defaults of options from config.toml: what is typed, and the environment, come before them."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import typer

from styleclip_cli import toml
from styleclip_cli.errors import BadInputError, one_line
from styleclip_cli.weights import store


def option_defaults(app: typer.Typer) -> dict[str, Any]:
    """What config.toml says of options, as Typer takes it.

    Tables are called as commands and hold options by their long names, without the dashes before them; those
    in [common] are for every command that has them:

        [common]
        device = "cpu"
        [edit]
        alpha = 3
        skip-existing = true

    Args:
        app: Whose commands they are.

    Raises:
        BadInputError: If the file cannot be read, or names a command or an option that there is not.
    """
    path = store.config_dir() / "config.toml"
    try:
        tables = {k: v for k, v in toml.load(path).items() if k != "models"}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path}: cannot be used ({one_line(error)})") from None
    if not tables:
        return {}
    commands = _commands(typer.main.get_command(app))
    common = tables.pop("common", {})
    found: dict[str, Any] = {name: {} for name in commands}
    try:
        for name, options in commands.items():
            found[name] |= _values(options, common, strict=False)
        known = {option for parameters in commands.values() for option in parameters}
        for option in common:
            if option not in known:
                raise ValueError(f"no command has --{option}")
        for name, table in tables.items():
            if name not in commands:
                raise ValueError(f"there is no command {name!r}")
            found[name] |= _values(commands[name], table, strict=True)
    except (ValueError, TypeError, AttributeError) as error:
        raise BadInputError(f"{path}: cannot be used ({one_line(error)})", "correct the file") from None
    return {name: values for name, values in found.items() if values}


# Options that exclude each other, by the names of their parameters: if one was typed, a default of the other
# gives way.
_EXCLUDE = (
    ("alpha", "auto"),
    ("auto", "beta"),
    ("auto", "method"),
    ("beta", "channels"),
    ("skip_existing", "overwrite"),
    *((name, "recipe") for name in ("auto", "alpha", "beta", "channels", "method", "literal", "layers")),
    *((name, "recipe") for name in ("prompt", "mapper", "direction", "neutral", "relevance", "manifest")),
    *((name, "mapper") for name in ("prompt", "direction", "method")),
    *((name, "direction") for name in ("prompt", "mapper", "method")),
)
# Options of prompts alone.
_OF_PROMPTS = ("neutral", "beta", "channels", "literal", "layers", "relevance", "seed")
# Options of files alone.
_OF_FILES = ("json", "save_latent", "diff", "name")


def settle(context: typer.Context) -> None:
    """Let options of config.toml give way where ones that were typed have no use for them.

    Args:
        context: Of the command; its parameters are changed.
    """
    values = context.params
    defaults = {name for name in values if _is_default(context, name)}

    def drop(name: str) -> None:
        if name in defaults and values.get(name):
            parameter = next(one for one in context.command.params if one.name == name)
            values[name] = False if getattr(parameter, "is_flag", False) else None

    for pair in _EXCLUDE:
        for name, other in (pair, pair[::-1]):
            if values.get(other) and other not in defaults:
                drop(name)
    if "keep_identity" in values and not values.get("auto"):
        drop("keep_identity")
    if values.get("mapper") or values.get("direction"):
        for name in _OF_PROMPTS:
            drop(name)
    if str(values.get("out")) == "-":
        for name in _OF_FILES:
            drop(name)


def _is_default(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "DEFAULT_MAP"


def _commands(group: Any) -> dict[str, dict[str, Any]]:
    """The options of each command, by their long names."""
    found = {}
    for name, command in group.commands.items():
        options = {}
        for parameter in command.params:
            for text in parameter.opts:
                if text.startswith("--"):
                    options[text[2:]] = parameter
        found[name] = options
    return found


def _values(options: Mapping[str, Any], table: Mapping[str, Any], strict: bool) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name not in options:
            if strict:
                near = get_close_matches(name, options, n=3) or sorted(options)
                raise ValueError(f"there is no --{name}; perhaps --{', --'.join(near)}")
            continue
        parameter = options[name]
        if getattr(parameter, "is_flag", False):
            if not isinstance(value, bool):
                raise ValueError(f"{name} is true or false, not {value!r}")
            values[parameter.name] = value
        elif getattr(parameter, "multiple", False):
            values[parameter.name] = [str(one) for one in (value if isinstance(value, list) else [value])]
        else:
            if isinstance(value, (bool, list, dict)):
                raise ValueError(f"{name} is one text or number, not {value!r}")
            values[parameter.name] = str(value)
    return values
