"""All readers: files to sequences.

    CSV, TSV        read_csv        a row a step, or a row a sequence
    Parquet         read_parquet    the same; from_frame for tables of pandas, polars and arrow
    JSON lines      read_jsonl      an object a sequence
    CoNLL           read_conll      a line a token; read_conllu for CoNLL-U
    UEA, UCR        read_ts         a line a sequence
    plain text      read_lines      a line a sequence; `text.read` for one long text
    NumPy           read_npy, read_npz

What is text may be gzip-compressed. Each gives `Sequences`, or raises DataError with file, line and column, and takes
no more memory than a fixed multiple of what it reads: no size that a header declares is believed, and a compressed file
may unpack to 200 times its size.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import DataError
from .arrays import read_npy as read_npy
from .arrays import read_npz as read_npz
from .conll import read_conll as read_conll
from .conll import read_conllu as read_conllu
from .frames import from_frame as from_frame
from .frames import read_parquet as read_parquet
from .growing import Growing
from .jsonl import read_jsonl as read_jsonl
from .sequences import Places, Sequences
from .source import Complaints, lines, suffix
from .tables import read_csv as read_csv
from .ts import read_ts as read_ts


def read_lines(path: str | Path, *, skip_bad: int = 0) -> Sequences:
    """The lines of a text, each a sequence: column `text`, a str a sequence, an empty one for an empty line.

    Args:
        path: the file, in UTF-8, gzip-compressed or not.
        skip_bad: so many bad lines are let go, and told in `skipped`.
    Raises:
        DataError: the file cannot be read, or a line is not UTF-8 or has a NUL; with line and column.
    """
    complaints = Complaints(path, skip_bad)
    text, numbers = Growing(), Growing()
    for number, line in lines(path, complaints):
        text.add([line])
        numbers.add([number])
    where = numbers.finish()
    if not len(where):
        raise complaints.refuse(None, None, "the file is empty; expected lines of text")
    return Sequences({"text": text.finish()}, Places.of(path, where), tuple(complaints.skipped))


_READERS: dict[str, Callable[..., Sequences]] = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".tab": read_csv,
    ".parquet": read_parquet,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".conllu": read_conllu,
    ".conll": read_conll,
    ".ts": read_ts,
    ".txt": read_lines,
    ".npy": read_npy,
    ".npz": read_npz,
}


def read(path: str | Path, **options: Any) -> Sequences:
    """A file, by the reader that its name calls for; `options` are that reader's.

    Raises:
        DataError: no reader is known for the name, or as the reader does.
    """
    kind = suffix(path)
    if kind not in _READERS:
        raise DataError(f"{path}: expected a name with one of {', '.join(_READERS)}; got {kind or 'no'!r}")
    return _READERS[kind](path, **options)
