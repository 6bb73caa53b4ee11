"""Defaults of options from config.toml: what is typed, and the environment, come before them."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import typer

from styleclip_cli import toml
from styleclip_cli.errors import BadInputError, one_line
from styleclip_cli.job.request import EXCLUSIONS, Exclusion, Options, words, words_of_method
from styleclip_cli.weights import store


def option_defaults(group: Any) -> dict[str, Any]:
    """What config.toml says of options, as Typer takes it.

    Tables are called as commands and hold options by their long names, without the dashes before them; those
    in [common] are for every command that has them:

        [common]
        device = "cpu"
        [edit]
        alpha = 3
        skip-existing = true

    Args:
        group: All commands.

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
    commands = _commands(group)
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


# More options of which a default gives way to one that was typed.
_GIVE_WAY = (
    Exclusion("--recipe", ("--auto", "--alpha", "--beta", "--channels", "--method", "--literal", "--layers")),
    Exclusion("--recipe", ("--prompt", "--mapper", "--neutral", "--relevance")),
    Exclusion("--auto", ("--beta", "--method")),
    Exclusion("--prompt", ("--mapper", "--direction")),
    Exclusion("--method", ("--mapper", "--direction")),
    Exclusion("--mapper", ("--direction",)),
    Exclusion("--steps", ("--inversion-steps",)),  # typed by its former name
)
# What other defaults give way to, even if it is by default.
_STATES = {"no --auto", "--out -", "--method mapper", "a saved direction"}


def settle(context: typer.Context) -> None:
    """Let options of config.toml give way where ones that were typed have no use for them.

    Args:
        context: Of the command; its parameters are changed.
    """
    values = context.params
    defaults = {name: value for name, value in values.items() if _is_default(context, name)}
    said = _words(defaults)

    def give_way(to: set[str]) -> None:
        for option, others, *_ in (*EXCLUSIONS, *_GIVE_WAY):
            excluded = {*others} if option in to else set()
            excluded |= {option} if to & {*others} else set()
            for word in excluded & said:
                name = word.split()[0].removeprefix("--").replace("-", "_")
                if name in defaults:
                    values[name] = next(one for one in context.command.params if one.name == name).default

    give_way(_words({name: value for name, value in values.items() if name not in defaults}) - {"no --auto"})
    give_way(_words(values) & _STATES)  # now that some have gone


def _words(values: Mapping[str, Any]) -> set[str]:
    """Options as `EXCLUSIONS` names them, with the way to edit that they say."""
    given = Options(values)
    method = "mapper" if given["mapper"] else given["method"]
    return words(given) | words_of_method(given, method, repeated=False)


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
        if "inversion-steps" in options:
            options["steps"] = options["inversion-steps"]  # its former name
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
