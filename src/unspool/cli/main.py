"""What the shell calls, `unspool` or `python -m unspool`: the command line, or one line on what it needs."""

import sys

from .run import VERBS, speak_utf8
from .run import run as run_saved


def main() -> None:
    """What the shell calls."""
    speak_utf8()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run a command; its exit status."""
    if arguments and arguments[0] in VERBS:
        return run_saved(arguments)
    try:
        from . import fit

        return fit.run(arguments)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "unspool":
            raise
        print(f"unspool: {error.name} is not installed; pip install 'unspool[train]' brings it", file=sys.stderr)
        return 2
