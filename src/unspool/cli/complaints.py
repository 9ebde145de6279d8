"""What the command line says of what goes wrong: one line on standard error, and an exit status."""

import os
import sys
from collections.abc import Callable
from typing import Any

from ..errors import UnspoolError

# The extra that brings each library which a verb may miss.
_EXTRAS = {
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "pyarrow": "parquet",
    **dict.fromkeys(("lightning_fabric", "narwhals", "rich", "scipy", "sklearn", "torch"), "train"),
}


class UsageError(Exception):
    """A command that was not understood."""


def guarded(call: Callable[[], Any]) -> int:
    """Call it; an exit status. What a person can mend is one line on standard error, and status 2."""
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
        return complain(f"{error.name} is not installed; pip install 'unspool[{extra}]' brings it")
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "can't allocate memory" not in str(error):
            raise
        return complain("there is not enough memory for this; make the network, its batches or the text smaller")
    except BrokenPipeError:  # whoever reads has enough
        _drop_output()
        return 1
    except OSError as error:
        if error.filename is None:
            _drop_output()
        return complain(
            f"{error.filename or 'standard output'}: {error.strerror or error}; make room, or choose another"
        )
    except KeyboardInterrupt:
        return 130


def complain(message: str) -> int:
    """Say it in one line; the exit status."""
    print("unspool:", " ".join(message.split()), file=sys.stderr)
    return 2


def _drop_output() -> None:
    """What is left in the buffer could not be written: it must not be tried again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
