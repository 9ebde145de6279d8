"""The errors. Each message names what is wrong, and says what was expected, what came, and what to do."""

from typing import Any


class UnspoolError(ValueError):
    """An argument cannot be used. This is the base class of the others. The message is one line, whatever it quotes."""

    def __init__(self, message: str):
        super().__init__(printable(message))


class ArgumentTypeError(UnspoolError, TypeError):
    """An argument is of a wrong type. It is a TypeError, too, which users of torch.nn expect."""


class DataError(UnspoolError):
    """A text or a file of data cannot be used."""


class FolderError(UnspoolError):
    """A saved folder cannot be read, or cannot be written."""


class DivergedError(UnspoolError):
    """Training stopped because a loss or a gradient was no longer finite; `outcome` is how far it came."""

    def __init__(self, message: str, outcome: Any = None):
        super().__init__(message)
        self.outcome = outcome


def printable(text: str) -> str:
    """The text in one line of printable characters, whatever a file has put into it: others are escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def shown(value: object) -> str:
    """The value as a message shows it, cut short."""
    try:
        text = repr(value)
    except RecursionError:
        text = f"a {type(value).__name__} that is nested too deeply"
    return text if len(text) <= 43 else text[:40] + "..."
