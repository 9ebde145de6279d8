"""What can be wrong with what was given. Each message names it, says what was expected, what came, and what to do."""

from typing import Any


class UnspoolError(ValueError):
    """An argument cannot be used; the base of the others."""


class ArgumentTypeError(UnspoolError, TypeError):
    """An argument is of a wrong type. It is a TypeError, too, which users of torch.nn expect."""


class DataError(UnspoolError):
    """A text or a file of data cannot be used."""


class FolderError(UnspoolError):
    """A saved folder cannot be read, or cannot be written."""


class DivergedError(UnspoolError):
    """Training stopped because a loss or a gradient was no longer finite; `outcome` says how far it came."""

    def __init__(self, message: str, outcome: Any = None):
        super().__init__(message)
        self.outcome = outcome


def printable(text: str) -> str:
    """One line, whatever a file has put into it."""
    return text if text.isprintable() else repr(text)[1:-1]


def shown(value: object) -> str:
    """What came, cut short."""
    text = repr(value)
    return text if len(text) <= 43 else text[:40] + "..."
