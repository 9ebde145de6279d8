"""The verbs of the data sets, `unspool data list` and `data get`, and of the published figures, `unspool reproduce`."""

from ..data.sets.table import SETS
from ..data.sets.where import fetch, place
from .complaints import say
from .flags import Parser


def show() -> None:
    """List the data sets."""
    rows = [("NAME", "TASK", "SIZE", "LICENCE", "WHERE")]
    rows += [(name, row.task, row.size, row.licence, place(name)) for name, row in SETS.items()]
    _table(rows)


def add_show(parser: Parser) -> None:
    """It has no arguments."""


def get(name: str) -> None:
    """Fetch the files of a data set, unless they are here."""
    paths = fetch(name)
    if not paths:
        say(f"{name} is built in: unspool.data.load_set({name!r})")
    for path in paths.values():
        say(str(path))


def add_get(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", help="a name of 'unspool data list'")


def reproduce(name: str | None, seeds: int | None, random_state: int) -> int | None:
    """Train what has a published figure, and print ours beside it; without a name, list the figures."""
    from ..reproduce import ROWS, run

    if name is not None:
        return run(name, seeds, random_state)
    _table([("NAME", "FIGURE", "PUBLISHED", "TIME"), *((n, r.figure, r.published, r.time()) for n, r in ROWS.items())])
    return None


def add_reproduce(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="a name of the list that the verb alone prints")
    parser.add_argument(
        "--seeds", type=int, metavar="N", help="how many times to train (each figure has its own number)"
    )
    parser.add_argument(
        "--random-state", "--seed", type=int, default=0, metavar="N", help="the first seed; others follow it (0)"
    )


def _table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
