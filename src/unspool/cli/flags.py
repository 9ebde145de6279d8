"""Flags of the command line, made from the options of a class, which have the name, type, default, bounds and help."""

import argparse
from collections.abc import Sequence
from dataclasses import Field
from typing import Any, NoReturn, get_args

from .complaints import UsageError

GROUPS = ("data", "network", "training", "run")


class Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line, and groups its flags."""

    def __init__(self, verb: str, description: str):
        super().__init__(f"unspool {verb}", description=description, allow_abbrev=False, formatter_class=_Formatter)
        self.groups = {name: self.add_argument_group(name) for name in GROUPS}  # help leaves out empty groups

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[0].upper()}{message[1:]}. Try '{self.prog} --help'.")


class _Formatter(argparse.HelpFormatter):
    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=32, width=100)


def add(parser: Parser, options: Sequence[Field], defaults: dict[str, Any], aliases: dict[str, str]) -> None:
    """Add a flag for each option; a flag that is not given is absent from what is parsed.

    Args:
        parser: the parser to add to.
        options: the fields that are the options.
        defaults: the defaults that help shows, by name, where they are not the field's own.
        aliases: other names of options, each with the option's name.
    """
    for group in GROUPS:
        for f in (f for f in options if f.metadata["option"].group == group):
            names = [f.name, *(alias for alias, name in aliases.items() if name == f.name)]
            default = defaults.get(f.name, f.default)
            parser.groups[group].add_argument(
                *(f"--{name.replace('_', '-')}" for name in names),
                dest=f.name,
                default=argparse.SUPPRESS,
                help=_help(f, default),
                **_kind(f),
            )


def _kind(f: Field) -> dict[str, Any]:
    """The arguments by which argparse parses an option's values."""
    if f.type is bool:
        return {"action": argparse.BooleanOptionalAction if f.default else "store_true"}
    if f.type == bool | None:
        return {"action": argparse.BooleanOptionalAction}
    choices = f.metadata["option"].choices
    if choices:
        return {"choices": choices, "metavar": "WORD"}
    if f.type == float | str:
        return {"type": number_or_name, "metavar": "X|FILE"}
    if str in get_args(f.type):
        return {"type": str, "metavar": "NAME"}
    kinds = {int: int, int | None: int, float: float, float | None: float, str: str}
    if f.type in kinds:
        kind = kinds[f.type]
        return {"type": kind, "metavar": {int: "N", float: "X", str: "NAME"}[kind]}
    return {"type": numbers, "metavar": "N[,N]"}


def _help(f: Field, default: Any) -> str:
    known = f.metadata["option"]
    words = f": {', '.join(known.choices)}" if known.choices else ""
    shown = "" if default is None or f.type is bool else f" ({default})"
    return f"{known.sentence}{words}{shown}".replace("%", "%%")


def number_or_name(word: str) -> float | str:
    """A number if it is one, or else a name."""
    try:
        return float(word)
    except ValueError:
        return word


def numbers(word: str) -> int | list[int]:
    """One integer, or several with commas between them."""
    try:
        found = [int(part) for part in word.split(",")]
    except ValueError:
        what = f"expected an integer, or two with a comma between them; got {word!r:.80}"
        raise argparse.ArgumentTypeError(what) from None
    return found[0] if len(found) == 1 else found
