"""Texts: read from a file, or from the running interpreter's own library, and split into two parts."""

import hashlib
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from ..errors import DataError
from .source import GZIP, blocks

STDLIB = "python-stdlib"
_NOT_LIBRARY = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}

AnyText = TypeVar("AnyText", str, bytes)


def standard_library() -> list[str]:
    """The sources of the running interpreter's standard library, a text a file, tests and installed packages left out.

    The order is that of the hashes of the files' names: shuffled, and the same for everyone.
    """
    root = Path(sysconfig.get_path("stdlib"))
    names = [p.relative_to(root) for p in root.rglob("*.py")]
    names = [n for n in names if not _NOT_LIBRARY.intersection(n.parts)]
    names.sort(key=lambda n: hashlib.sha256(n.as_posix().encode()).digest())
    sources = []
    for name in names:
        try:
            sources.append(_decode((root / name).read_bytes(), str(root / name)).rstrip() + "\n\n")
        except DataError:  # a few libraries keep a source in another encoding
            continue
    if len(sources) < 2:
        raise DataError(f"{STDLIB}: {root} has no Python sources; give a text file instead")
    return sources


def read(source: str | Path, level: str = "char") -> list[str] | list[bytes]:
    """The texts of a source: one for a file, many for `python-stdlib`.

    Args:
        source: path of a file, which may be gzip-compressed, or `python-stdlib`.
        level: `byte` reads the bytes as they are; `char` and `word` want UTF-8.
    Raises:
        DataError: the file cannot be read, is empty, or is not text; with line and column.
    """
    if str(source) == STDLIB:
        texts = standard_library()
        return [t.encode() for t in texts] if level == "byte" else texts
    try:
        data = Path(source).read_bytes()
    except FileNotFoundError:
        raise DataError(f"{source}: no such file; give a text file, or {STDLIB}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{source}: cannot be read ({reason}); give a text file, or {STDLIB}") from None
    if not data:
        raise DataError(f"{source}: the file is empty; give a text to learn from")
    if level == "byte":
        return [data]
    return [_decode(b"".join(blocks(source)) if data.startswith(GZIP) else data, str(source))]


def split(texts: Sequence[AnyText], fraction: float) -> tuple[AnyText, AnyText]:
    """Training part and validation part: the end of one text, or the last of many texts, each kept whole."""
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
    """SHA-256 of texts, so that a text can be known again."""
    total = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        total.update(len(data).to_bytes(8, "little") + data)
    return total.hexdigest()


def _decode(data: bytes, name: str) -> str:
    """UTF-8, without a byte-order mark; a complaint has the line and the column."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _refuse(data, error.start, name, f"byte 0x{data[error.start]:02x} is not UTF-8")
    if "\0" in text:
        _refuse(data, data.index(0), name, "a NUL byte is not text")
    return text


def _refuse(data: bytes, at: int, name: str, what: str):
    line = data.count(b"\n", 0, at) + 1
    column = at - data.rfind(b"\n", 0, at)
    raise DataError(
        f"{name}, line {line}, column {column}: {what}; convert the file to UTF-8, "
        f"or take its bytes as they are with level 'byte'"
    )
