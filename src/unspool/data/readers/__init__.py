"""Files to sequences: one module for each format, and the table that chooses among them.

Text files may be compressed with gzip, bz2, xz, or as the only file of a zip (and with zstd from Python 3.14 on), which
their first bytes show. Lines that are empty, or of spaces and tabs, are skipped wherever they stand, except where they
say something: they end a sentence of CoNLL, are a text among plain lines, and an empty cell in a table of one column.

Each reader returns `Sequences`, or raises DataError with file, line and column. Only what was asked for is checked:
fields and columns that are not wanted may hold anything. A pipe or a device is refused, and never waited for.

No reader trusts a size that a header declares. It refuses a compressed file, or a Parquet file, that unpacks to more
than 200 times its size, unless that is less than a 64th of the machine's memory. Beside that, it takes a multiple of
the file's size: up to 3 times for text, and for numbers of several digits; 4 to 10 times where each line or cell has
one character; and never more than 100 times plus 4 MiB. Each column takes some 600 bytes more.

Columns of numbers that together have more than 64 MiB lie in temporary files, which the system deletes when they are
not needed; TMPDIR says where. So a table whose rows are in order, with numbers for each row and with a column that
names its sequence, takes some 100 MiB and 200 bytes a sequence, and the file may be larger than memory. Texts of each
row, and rows that are in another order, take 8 to 16 bytes a row besides; Parquet files are read whole.

A table is read in blocks of rows, and JSON lines in blocks of lines. A block in which all is plain is converted at
once; any other is read again with care, cell by cell or line by line, which finds the bad one and names it.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from ...errors import DataError
from ..sequences import Sequences
from .source import suffix

# The module and the function for each suffix of a name; a module is imported when it is needed.
_READERS = {
    ".csv": ("tables", "read_csv"),
    ".tsv": ("tables", "read_csv"),
    ".tab": ("tables", "read_csv"),
    ".parquet": ("frames", "read_parquet"),
    ".jsonl": ("jsonl", "read_jsonl"),
    ".ndjson": ("jsonl", "read_jsonl"),
    ".conllu": ("conll", "read_conllu"),
    ".conllup": ("conll", "read_conllu"),
    ".conll": ("conll", "read_conll"),
    ".ts": ("ts", "read_ts"),
    ".txt": ("plain", "read_lines"),
    ".npy": ("arrays", "read_npy"),
    ".npz": ("arrays", "read_npz"),
    ".wav": ("sound", "read_wav"),
}


def read(path: str | Path, **options: Any) -> Sequences:
    """Read a file with the reader for its name's suffix; `options` are that reader's.

    Raises:
        DataError: there is no reader for the name, or the reader raises it.
    """
    kind = suffix(path)
    if kind not in _READERS:
        raise DataError(f"{path}: expected a name with one of {', '.join(_READERS)}; got {kind or 'no'!r}")
    module, function = _READERS[kind]
    return getattr(import_module(f"{__name__}.{module}"), function)(path, **options)
