"""Options: fields of a dataclass. Each field has an option's name, type, default, bounds and description, only once.

Constructors, their documentation, the checks of their arguments, and the flags of the command line are made from them.
"""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import MISSING, Field, field, fields
from typing import Any, NamedTuple, TypeVar

from . import arguments
from .errors import ArgumentTypeError

Class = TypeVar("Class", bound=type)


class Option(NamedTuple):
    """What is known of an option besides its name, type and default.

    sentence: what it does; after a semicolon, "0: …" may say what the value that switches it off means.
    group: the heading under which `--help` shows it.
    choices: the words that it may be.
    least, above, below: the bounds of a number; `least` is allowed, `above` and `below` are not.
    """

    sentence: str
    group: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    above: float | None = None
    below: float | None = None


def option(default: Any, sentence: str, group: str, *, positional: bool = False, **bounds: Any) -> Any:
    """A field that is an option; see `Option`. A constructor takes a positional one without its name, too."""
    metadata = {"option": Option(sentence, group, **bounds)}
    return field(default=default, metadata=metadata, kw_only=False if positional else MISSING)


def like(other: type, name: str, default: Any = MISSING) -> Any:
    """The same option as in another class, perhaps with another default."""
    theirs = next(f for f in options_of(other) if f.name == name)
    return field(default=theirs.default if default is MISSING else default, metadata=theirs.metadata)


def options_of(options: Any) -> list[Field]:
    """The fields of a class or an object that are options."""
    return [f for f in fields(options) if "option" in f.metadata]


def check(options: Any) -> None:
    """Raise UnspoolError unless each option of an object has an allowed value; a default of None is allowed."""
    for f in options_of(options):
        value, known = getattr(options, f.name), f.metadata["option"]
        if value is None and f.default is None:
            continue
        if known.choices and (isinstance(value, str) or f.type in (str, str | None)):
            arguments.one_of(f.name, value, known.choices)
        elif f.type in (str, str | None) and not isinstance(value, str):
            raise ArgumentTypeError(f"{f.name} must be a str; got {value!r:.80}")
        elif f.type in (int, int | None):
            arguments.integer(f.name, value, int(known.least or 0))
        elif f.type in (bool, bool | None):
            arguments.flag(f.name, value)
        elif f.type in (float, float | None) or (f.type == float | str and not isinstance(value, str)):
            _check_number(f.name, value, known)


def _check_number(name: str, value: Any, known: Option) -> None:
    above = known.above is not None
    least = (known.above if above else known.least) or 0.0
    arguments.number(name, value, least=least, above=above, below=math.inf if known.below is None else known.below)


def documented(cls: Class) -> Class:
    """The class, with the sentences of its options in place of {options} in its docstring."""
    if cls.__doc__ and "{options}" in cls.__doc__:
        indent = next(line for line in cls.__doc__.splitlines() if "{options}" in line).partition("{")[0]
        cls.__doc__ = cls.__doc__.replace(f"{indent}{{options}}", "\n".join(_sentences(options_of(cls), indent)))
    return cls


def _sentences(options: Sequence[Field], indent: str) -> list[str]:
    wrap = textwrap.TextWrapper(width=120, initial_indent=indent, subsequent_indent=f"{indent}    ")
    return [wrap.fill(f"{f.name}: {f.metadata['option'].sentence}.{_words(f)}") for f in options]


def _words(f: Field) -> str:
    choices = f.metadata["option"].choices
    return f" One of {', '.join(choices)}." if choices else ""
