"""What the shell calls, `unspool` or `python -m unspool`: the command line, or one line on what it needs."""

import sys


def main() -> None:
    from .verbs import VERBS, run, speak_utf8

    if sys.argv[1:2] and sys.argv[1] in VERBS:
        speak_utf8()
        sys.exit(run(sys.argv[1:]))
    try:
        from .cli import app

        app()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "unspool":
            raise
        print(f"unspool: {error.name} is not installed; pip install 'unspool[train]' brings it", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
