"""Plain text: one line per sequence."""

from pathlib import Path

import numpy as np

from ..sequences import Places, Sequences
from .growing import Growing, numbered
from .source import Complaints, line_blocks


def read_lines(path: str | Path, *, skip_bad: int = 0) -> Sequences:
    """The lines of a text, each a sequence: the column `text` has one str per sequence, empty for an empty line.

    Args:
        path: the file, in UTF-8, gzip-compressed or not.
        skip_bad: the number of bad lines to skip, at most; they are listed in `skipped`.
    Raises:
        DataError: the file cannot be read, or a line is not UTF-8 or has a NUL; the message has line and column.
    """
    complaints = Complaints(path, skip_bad)
    text, numbers = Growing(), Growing()
    for block in line_blocks(path, complaints):
        text.add([line for _, line in block])
        numbers.add(numbered(np.array([number for number, _ in block])))
    where = numbers.finish()
    if not len(where):
        raise complaints.refuse(None, None, "the file is empty; expected lines of text")
    return Sequences({"text": text.finish()}, Places.of(path, where), tuple(complaints.skipped))
