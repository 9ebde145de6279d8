"""The command line, `unspool` or `python -m unspool`: the table of verbs, and how one is chosen.

What a verb needs is imported when it runs, so that the verbs that run saved networks start without PyTorch.
"""

import io
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from ..tasks import TASKS
from . import fit, predict, run, sets
from .complaints import UsageError, guarded
from .flags import Parser


class Verb(NamedTuple):
    """The function that runs a verb, the one that adds its arguments to a parser, and its description in help."""

    call: Callable[..., int | None]
    add_arguments: Callable[[Parser], None]
    sentence: str


def _saved(call: Callable[..., int | None], add_arguments: Callable[[Parser], None]) -> Verb:
    return Verb(call, add_arguments, call.__doc__ or "")


VERBS = {
    **{
        f"fit {word}": Verb(partial(fit.fit, word), partial(fit.add_arguments, task=task), task.sentence)
        for word, task in TASKS.items()
    },
    "predict": _saved(predict.predict, predict.add_predict),
    "generate": _saved(run.generate, run.add_generate),
    "evaluate": _saved(run.evaluate, run.add_evaluate),
    "pack": _saved(run.pack, run.add_pack),
    "export": _saved(run.export, run.add_export),
    "data list": _saved(sets.show, sets.add_show),
    "data get": _saved(sets.get, sets.add_get),
    "reproduce": _saved(sets.reproduce, sets.add_reproduce),
}


def main() -> None:
    """Run the command line of this process, and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # text is UTF-8, whatever the locale is
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    sys.exit(execute(sys.argv[1:]))


def execute(arguments: list[str]) -> int:
    """Run a command, and return its exit status."""
    return guarded(lambda: _execute(arguments))


def _execute(arguments: list[str]) -> int | None:
    words = next((n for n in (2, 1) if " ".join(arguments[:n]) in VERBS), 0)
    if not words:
        return _overview(arguments)
    name = " ".join(arguments[:words])
    parser = Parser(name, VERBS[name].sentence)
    VERBS[name].add_arguments(parser)
    try:
        given: dict[str, Any] = vars(parser.parse_args(arguments[words:]))
    except SystemExit as end:  # --help
        return int(end.code or 0)
    return VERBS[name].call(**given)


def _overview(arguments: list[str]) -> int:
    """Print the version, or the verbs that begin with the given words, if that was asked for; else raise UsageError."""
    first = arguments[0] if arguments else ""
    if first == "--version":
        from importlib.metadata import version

        print(f"unspool {version('unspool')}")
        return 0
    beginning = f"{first} " if any(name.startswith(f"{first} ") for name in VERBS) else ""
    if not {"--help", "-h"} & {first, *arguments[1:2]}:
        if beginning and len(arguments) > 1:
            raise UsageError(f"There is no '{first} {arguments[1]}'. Try 'unspool {first} --help'.")
        raise UsageError(
            f"There is no verb {first!r}. Try 'unspool --help'."
            if first and not beginning
            else f"A verb is missing. Try 'unspool {beginning}--help'."
        )
    shown = {name: verb for name, verb in VERBS.items() if name.startswith(beginning)}
    print(f"usage: unspool {beginning or 'VERB '}...\n\nRecurrent networks for sequences: train them, and run them.\n")
    for name, verb in shown.items():
        print(f"  {name:<13}{verb.sentence}")
    print(f"\n'unspool {next(iter(shown))} --help' has the arguments of a verb.")
    return 0
