"""Data: `read` returns the sequences of any file whose format is known, and each reader has a name of its own.

    read                          a file, by the reader that its name calls for
    read_csv                      CSV, TSV: one row per step, or per sequence
    read_parquet, from_frame      Parquet, and tables of pandas, polars and arrow
    read_jsonl                    JSON lines: one object per sequence
    read_conll, read_conllu       CoNLL: one line per token
    read_ts                       UEA and UCR archives: one line per sequence
    read_lines                    plain text: one line per sequence
    read_npy, read_npz            NumPy's arrays
    read_wav                      sound
    load_set, fetch               data sets by name: built in, or fetched once
    time_last                     arrays (n, I, T) of other libraries, with time before features

The readers return `Sequences`, whose columns are arrays, or `Ragged` sequences of unequal lengths.
"""

from typing import TYPE_CHECKING

from ..lazy import attributes

if TYPE_CHECKING:
    from .given import time_last as time_last
    from .ragged import Ragged as Ragged
    from .readers import read as read
    from .readers.arrays import read_npy as read_npy
    from .readers.arrays import read_npz as read_npz
    from .readers.conll import read_conll as read_conll
    from .readers.conll import read_conllu as read_conllu
    from .readers.frames import from_frame as from_frame
    from .readers.frames import read_parquet as read_parquet
    from .readers.jsonl import read_jsonl as read_jsonl
    from .readers.plain import read_lines as read_lines
    from .readers.sound import read_wav as read_wav
    from .readers.tables import read_csv as read_csv
    from .readers.ts import read_ts as read_ts
    from .sequences import Sequences as Sequences
    from .sets import fetch as fetch
    from .sets import load_set as load_set

__getattr__, __dir__ = attributes(
    __name__,
    {
        "Ragged": "ragged",
        "Sequences": "sequences",
        "fetch": "sets",
        "from_frame": "readers.frames",
        "load_set": "sets",
        "read": "readers",
        "read_conll": "readers.conll",
        "read_conllu": "readers.conll",
        "read_csv": "readers.tables",
        "read_jsonl": "readers.jsonl",
        "read_lines": "readers.plain",
        "read_npy": "readers.arrays",
        "read_npz": "readers.arrays",
        "read_parquet": "readers.frames",
        "read_ts": "readers.ts",
        "read_wav": "readers.sound",
        "time_last": "given",
    },
)
