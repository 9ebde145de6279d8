"""Texts: read from a file, or from the running interpreter's standard library, and split into two parts."""

import hashlib
import io
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..errors import DataError
from .opening import EXPANSION, most
from .readers.source import Complaints, blocks_of, decode, suffix, whole

STDLIB = "python-stdlib"
STDIN = "-"
_NOT_LIBRARY = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}

AnyText = TypeVar("AnyText", str, bytes)


def standard_library() -> list[str]:
    """The sources of the running interpreter's standard library, one text per file, without tests and other packages.

    They are in the order of the hashes of the files' names: shuffled, and the same on every machine.
    """
    root = Path(sysconfig.get_path("stdlib"))
    names = [p.relative_to(root) for p in root.rglob("*.py")]
    names = [n for n in names if not _NOT_LIBRARY.intersection(n.parts)]
    names.sort(key=lambda n: hashlib.sha256(n.as_posix().encode()).digest())
    sources = []
    for name in names:
        try:
            sources.append(_decode((root / name).read_bytes(), Complaints(root / name)).rstrip() + "\n\n")
        except DataError:  # a few libraries keep a source in another encoding
            continue
    if len(sources) < 2:
        raise DataError(f"{STDLIB}: {root} has no Python sources; give a text file instead")
    return sources


def read(
    source: str | Path,
    level: str = "char",
    *,
    column: str | None = None,
    delimiter: str | None = None,
    skip_bad: int = 0,
    report: Callable[[str], object] = lambda complaint: None,
) -> list[str] | list[bytes]:
    """The texts of a source: one for a file, many for `python-stdlib` and for a table.

    Args:
        source: the path of a file, which may be compressed, or of a pipe; `-` for standard input; or `python-stdlib`.
        level: `byte` takes any bytes; `char` and `word` need UTF-8.
        column: read a table, in CSV, TSV, JSON lines or Parquet, in which each cell of this column is a text.
        delimiter: the character between the fields of a CSV or TSV table, a tab also as \\t; None: as its name says.
        skip_bad: the number of bad lines or rows to skip, at most.
        report: receives the complaint about each of them.
    Raises:
        DataError: the file cannot be read, is empty, or is not text; the message has the line and the column.
    """
    if column is not None:
        texts = _column(source, column, delimiter, skip_bad, report)
    elif delimiter is not None:
        raise DataError(f"{source}: delimiter is for a table; name the column of the texts, too")
    elif str(source) == STDLIB:
        texts = standard_library()
    else:
        data = _bytes(source)
        if level == "byte":
            if skip_bad:
                raise DataError(f"{source}: skip_bad has no use at level 'byte', where no line is bad; leave it out")
            return [data]
        complaints = Complaints(source, skip_bad)
        texts = [_decode(data, complaints)]
        for complaint in complaints.skipped:
            report(complaint)
    return [t.encode() for t in texts] if level == "byte" else texts


def _bytes(source: str | Path) -> bytes:
    try:
        if str(source) == STDIN:
            data = _unpacked(sys.stdin.buffer.read(), "standard input")
        elif Path(source).is_fifo():  # such as a shell's <(…), or a piped /dev/stdin
            data = _unpacked(Path(source).read_bytes(), source)
        else:
            data = whole(source)
    except DataError as error:
        raise DataError(f"{error}; give a text file, or {STDLIB}") from None
    if not data:
        raise DataError(f"{source}: the file is empty; give a text to learn from")
    return data


def _unpacked(data: bytes, name: str | Path) -> bytes:
    """What a pipe has brought, which may be compressed as a file may."""
    return b"".join(blocks_of(io.BytesIO(data), len(data), name))


def _column(
    source: str | Path, column: str, delimiter: str | None, skip_bad: int, report: Callable[[str], object]
) -> list[str]:
    """The texts of a table, each with a newline at its end."""
    from . import readers  # imported here, as that takes longer than most commands run

    options: dict[str, Any] = {"columns": [column], "skip_bad": skip_bad}
    kind = suffix(source)
    if delimiter is not None:
        if kind not in (".csv", ".tsv", ".tab"):
            raise DataError(f"{source}: delimiter is for CSV and TSV tables; leave it out")
        options["delimiter"] = delimiter.replace("\\t", "\t")
    match kind:
        case ".jsonl" | ".ndjson":
            pass
        case ".csv" | ".tsv" | ".tab":
            options |= {"wide": True, "text": [column]}
        case ".parquet":
            options |= {"wide": True}
        case _:
            raise DataError(
                f"{source}: a column was named, so the name must end in .csv, .tsv, .tab, .jsonl, .ndjson or .parquet"
            )
    found = readers.read(source, **options)
    cells: list[Any] = [] if column in found.per_step else list(found[column])
    if sum(len(cell) for cell in cells if isinstance(cell, str)) > most(Path(source).stat().st_size):
        raise DataError(
            f"{source}: unpacks to more than {EXPANSION} times its size; if that is right, write it as text"
        )
    texts = [cell if cell.endswith("\n") else cell + "\n" for cell in cells if isinstance(cell, str)]
    if len(texts) < len(found):
        raise DataError(f"{source}: column {column!r} must have a text in each row")
    for complaint in found.skipped:
        report(complaint)
    return texts


def split(texts: Sequence[AnyText], fraction: float) -> tuple[AnyText, AnyText]:
    """The training part and the validation part: the end of one text, or the last of many texts, which stay whole."""
    nothing = texts[0][:0]
    total = sum(map(len, texts))
    if len(texts) == 1:
        cut = total - max(2, round(fraction * total))
        return texts[0][: max(cut, 0)], texts[0][max(cut, 0) :]
    held_out, size = len(texts), 0
    while held_out > 1 and size < fraction * total:
        held_out -= 1
        size += len(texts[held_out])
    return nothing.join(texts[:held_out]), nothing.join(texts[held_out:])


def digest(texts: Sequence[str] | Sequence[bytes]) -> str:
    """The SHA-256 of texts, by which they can be recognised."""
    total = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        total.update(len(data).to_bytes(8, "little") + data)
    return total.hexdigest()


def _decode(data: bytes, complaints: Complaints) -> str:
    """The text of UTF-8 data, without a byte-order mark; a line that is not UTF-8 is bad."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if text and "\0" not in text:
        return text
    remedy = "convert the file to UTF-8, or take its bytes as they are with level 'byte'"
    lines = [decode(number, line, complaints, remedy) for number, line in enumerate(data.split(b"\n"), 1)]
    text = "\n".join(line for line in lines if line is not None)
    if not text:
        raise complaints.refuse(None, None, "no line of the file can be used; give a text to learn from")
    return text
