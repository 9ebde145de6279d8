"""Files to sequences: one module for each format, and the table that chooses among them.

What is text may be gzip-compressed. Each reader gives `Sequences`, or raises DataError with file, line and column, and
takes no more memory than a fixed multiple of what it reads: no size that a header declares is believed, and a
compressed file may unpack to 200 times its size.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from ...errors import DataError
from ..sequences import Sequences
from .source import suffix

# The module and the function for each ending of a name; a module is imported when it is needed.
_READERS = {
    ".csv": ("tables", "read_csv"),
    ".tsv": ("tables", "read_csv"),
    ".tab": ("tables", "read_csv"),
    ".parquet": ("frames", "read_parquet"),
    ".jsonl": ("jsonl", "read_jsonl"),
    ".ndjson": ("jsonl", "read_jsonl"),
    ".conllu": ("conll", "read_conllu"),
    ".conll": ("conll", "read_conll"),
    ".ts": ("ts", "read_ts"),
    ".txt": ("plain", "read_lines"),
    ".npy": ("arrays", "read_npy"),
    ".npz": ("arrays", "read_npz"),
}


def read(path: str | Path, **options: Any) -> Sequences:
    """A file, by the reader that its name calls for; `options` are that reader's.

    Raises:
        DataError: no reader is known for the name, or as the reader does.
    """
    kind = suffix(path)
    if kind not in _READERS:
        raise DataError(f"{path}: expected a name with one of {', '.join(_READERS)}; got {kind or 'no'!r}")
    module, function = _READERS[kind]
    return getattr(import_module(f"{__name__}.{module}"), function)(path, **options)
