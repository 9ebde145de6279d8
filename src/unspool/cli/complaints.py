"""How the command line reports: by lines of printable characters, whatever a file has put into them; and errors by one
line on standard error, and an exit status.
"""

import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

from ..errors import UnspoolError, printable

# The extra that installs each library that a verb may need.
_EXTRAS = {
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "pyarrow": "parquet",
    **dict.fromkeys(("lightning_fabric", "narwhals", "pooch", "rich", "scipy", "sklearn", "torch"), "train"),
}


class UsageError(Exception):
    """The command line has a wrong or a missing argument."""


def guarded(call: Callable[[], Any]) -> int:
    """Call a function; return an exit status: 2, after one line on standard error, if a user can correct the error.

    A warning is a line on standard error, too.
    """
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: note(str(message))
        return _guarded(call)


def _guarded(call: Callable[[], Any]) -> int:
    try:
        status = call()
        sys.stdout.flush()
        return status or 0
    except (UsageError, UnspoolError) as error:
        return complain(str(error))
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        return complain(f"{error.name} is not installed; install it with pip install 'unspool[{extra}]'")
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "can't allocate memory" not in str(error):
            raise
        return complain("there is not enough memory for this; make the network, its batches or the text smaller")
    except BrokenPipeError:  # the reader of the output has closed it
        _drop_output()
        return 1
    except OSError as error:
        if error.filename is None:
            _drop_output()
        return complain(
            f"{error.filename or 'standard output'}: {error.strerror or error}; make room, or write to another place"
        )
    except KeyboardInterrupt:
        return 130


def complain(message: str) -> int:
    """Print the message in one line, and return the exit status."""
    note(" ".join(message.split()))
    return 2


def note(message: str) -> None:
    """Print a line on standard error."""
    print("unspool:", printable(message), file=sys.stderr)


def say(lines: str) -> None:
    """Print lines on standard output."""
    for line in lines.split("\n"):
        print(printable(line))


def _drop_output() -> None:
    """Discard what is left in the buffer: it could not be written, and must not be tried again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
