"""Files to sequences: one module for each format, and the table that chooses among them.

Text files may be gzip-compressed. Each reader returns `Sequences`, or raises DataError with file, line and column. It
takes no more memory than a fixed multiple of what it reads: it trusts no size that a header declares, and refuses a
compressed file that unpacks to more than 200 times its size plus 1 MiB.
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
