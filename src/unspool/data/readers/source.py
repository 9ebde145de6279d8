"""Text files as lines, compressed or not, and the complaints about them."""

import io
import re
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ...arguments import integer
from ...errors import DataError, printable
from ..opening import EXPANSION, most, ordinary

LONGEST_LINE = 2**26  # bytes
_BLOCK = 2**16
# The module that unpacks a file, by its first bytes; zstd has one from Python 3.14 on.
_PACKED = (
    (re.compile(rb"\x1f\x8b"), "gzip"),
    (re.compile(rb"BZh[1-9]1AY&SY"), "bz2"),
    (re.compile(rb"\xfd7zXZ\0"), "lzma"),
    (re.compile(rb"\x28\xb5\x2f\xfd"), "compression.zstd"),
    (re.compile(rb"PK\x03\x04"), "zipfile"),
)
_PACKED_NAMES = (".gz", ".bz2", ".xz", ".zst", ".zip")
_DAMAGE = (OSError, EOFError, ValueError, RuntimeError, MemoryError, zlib.error, zipfile.BadZipFile)


class Excerpt(str):
    """The name of a file, of which a reader is to read only these lines, as if they were all that it had.

    data: whole lines, not compressed.
    line: the number that the first of them has in the file.
    """

    data: bytes
    line: int

    def __new__(cls, name: str, data: bytes, line: int = 1) -> "Excerpt":
        made = super().__new__(cls, name)
        made.data, made.line = data, line
        return made


class Watched(str):
    """The name of a file; `watch` receives which part of its bytes, 0 to 1, has been read."""

    watch: Callable[[float], object]

    def __new__(cls, name: str, watch: Callable[[float], object]) -> "Watched":
        made = super().__new__(cls, name)
        made.watch = watch
        return made


class Complaints:
    """What is wrong with the rows of a file: at most `skip_bad` bad rows are skipped, and listed in `skipped`.

    Raises:
        DataError: at the next bad row, with file, line and column, what was expected and what came.
    """

    def __init__(self, name: str | Path, skip_bad: int = 0, unit: str = "line"):
        self.name, self.unit = str(name), unit
        self.skip_bad = integer("skip_bad", skip_bad, 0)
        self.skipped: list[str] = []

    def bad(self, line: int, column: int | str | None, what: str) -> None:
        """Skip a row that cannot be used, or raise DataError if it is one too many."""
        message = self.place(line, column, what)
        if len(self.skipped) == self.skip_bad:
            others = f" (after {self.skip_bad} other bad rows that were skipped)" if self.skip_bad else ""
            raise DataError(message + others)
        self.skipped.append(message)

    def refuse(self, line: int | None, column: int | str | None, what: str) -> DataError:
        """An error after which the file cannot be read any further."""
        return DataError(self.place(line, column, what))

    def place(self, line: int | None, column: int | str | None, what: str) -> str:
        where = "" if line is None else f", {self.unit} {line}"
        where += "" if column is None else f", column {column!s:.80}"
        return self.name + printable(f"{where}: {what}")


def blocks(path: str | Path) -> Iterator[bytes]:
    """The bytes of a file, block by block, unpacked if its first bytes are those of gzip, bz2, xz, zstd or zip.

    Raises:
        DataError: the file cannot be read, is damaged, or unpacks to much more than its size.
    """
    if isinstance(path, Excerpt):
        yield path.data
        return
    with ordinary(path) as (file, size):
        for block in blocks_of(file, size, path):
            yield block
            if isinstance(path, Watched):
                path.watch(file.tell() / size)


def whole(path: str | Path) -> bytes:
    """The bytes of a file, as `blocks` gives them, but at once."""
    if isinstance(path, Excerpt):
        return path.data
    with ordinary(path) as (file, size):
        return file.read() if _module(file) is None else b"".join(blocks_of(file, size, path))


def blocks_of(file: BinaryIO, size: int, path: str | Path) -> Iterator[bytes]:
    """The bytes of an open file of this size, as `blocks` gives them; `path` is its name in complaints."""
    module = _module(file)
    if module is not None:
        yield from _unpacked(file, path, module, most(size))
        return
    while block := file.read(_BLOCK):
        yield block


def _module(file: BinaryIO) -> str | None:
    """The module that unpacks an open file, if its first bytes say that it is compressed."""
    begin = file.read(10)
    file.seek(0)
    return next((module for pattern, module in _PACKED if pattern.match(begin)), None)


def suffix(path: str | Path) -> str:
    """The suffix of a name in lower case, with its dot, without one of a compressed file after it."""
    name = Path(str(path).lower())
    return Path(name.stem).suffix if name.suffix in _PACKED_NAMES else name.suffix


def first_line(path: str | Path) -> int:
    """The number of the first line that is to be read."""
    return path.line if isinstance(path, Excerpt) else 1


def blank(line: str) -> bool:
    """Whether a line is empty, or of spaces and tabs only."""
    return not line.strip(" \t")


def line_blocks(path: str | Path, complaints: Complaints) -> Iterator[list[tuple[int, str]]]:
    """The number and the text of each line of a UTF-8 file, without a byte-order mark and the line end, \\n or \\r\\n.

    They come in blocks: of many lines, or of one where a line near it is bad.

    Raises:
        DataError: as `blocks`, or a line is not UTF-8, has a NUL, or is longer than 64 MiB.
    """
    number = first_line(path)
    for data, count in _pieces(path, complaints):
        first, number = number, number + count
        try:
            text = data[:-1].decode("utf-8-sig" if first == 1 else "utf-8")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" not in text:
            found = text.split("\n")
            yield list(enumerate([line.removesuffix("\r") for line in found] if "\r" in text else found, first))
            continue
        for n, line in enumerate(data[:-1].split(b"\n"), first):
            decoded = decode(n, line, complaints)
            if decoded is not None:
                yield [(n, decoded.removesuffix("\r"))]


def lines(path: str | Path, complaints: Complaints) -> Iterator[tuple[int, str]]:
    """The lines of `line_blocks`, one by one."""
    return chain.from_iterable(line_blocks(path, complaints))


class Lines:
    """The lines of a file: many at once as bytes, or one by one as `lines` gives them, but with \\r where there is one.

    opened: lines that were taken at once, and put back to be given one by one.
    """

    def __init__(self, path: str | Path, complaints: Complaints):
        self.complaints = complaints
        self.opened: deque[tuple[int, bytes]] = deque()
        self._pieces = _pieces(path, complaints)
        self._data, self._at, self._number, self._count = b"", 0, first_line(path), 0
        self._error: DataError | None = None

    def take(self, n: int) -> tuple[int, bytes]:
        """The number of the next line, and the next n lines, each with its newline; fewer at the end of the file."""
        parts = []
        while self._count < n and self._error is None:
            try:
                part, count = next(self._pieces)
            except StopIteration:
                break
            except DataError as error:
                self._error = error  # raised when the lines before it were taken
            else:
                parts.append(part)
                self._count += count
        if not self._count and self._error is not None:
            raise self._error
        if parts:
            self._data, self._at = b"".join([self._data[self._at :], *parts]), 0
        number, n, begin = self._number, min(n, self._count), self._at
        if n == self._count:
            self._at = len(self._data)
        elif n == 1:
            self._at = self._data.index(b"\n", begin) + 1
        else:
            newlines = np.flatnonzero(np.frombuffer(self._data, np.uint8, offset=begin) == 10)
            self._at += int(newlines[n - 1]) + 1
        self._number, self._count = number + n, self._count - n
        return number, self._data[begin : self._at]

    def put_back(self, number: int, data: bytes) -> None:
        """Give lines that were taken one by one."""
        self.opened.extend(enumerate(data.split(b"\n")[:-1], number))

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> tuple[int, str]:
        while True:
            if not self.opened:
                self.put_back(*self.take(1))
            if not self.opened:
                raise StopIteration
            number, line = self.opened.popleft()
            text = decode(number, line, self.complaints)
            if text is not None:
                return number, text


def decode(number: int, data: bytes, complaints: Complaints, remedy: str = "convert the file to UTF-8") -> str | None:
    """The text of a line, the first without a byte-order mark; None if it is bad and was skipped."""
    try:
        text = data.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        start = error.start + (3 if number == 1 and data.startswith(b"\xef\xbb\xbf") else 0)
        return complaints.bad(number, start + 1, f"byte 0x{data[start]:02x} is not UTF-8; {remedy}")
    if "\0" in text:
        return complaints.bad(number, data.index(0) + 1, f"a NUL byte is not text; {remedy}")
    return text


def _unpacked(file: BinaryIO, path: str | Path, module: str, limit: int) -> Iterator[bytes]:
    total = 0
    try:
        with _opened(file, path, module) as unpacked:
            while block := unpacked.read(_BLOCK):
                total += len(block)
                if total > limit:
                    raise DataError(
                        f"{path}: unpacks to more than {EXPANSION} times its size; if that is right, unpack it first"
                    )
                yield block
    except DataError:
        raise
    except (*_DAMAGE, *_errors(module)) as error:
        reason = printable(f"{error!s:.120}")
        raise DataError(f"{path}: is damaged after {total} unpacked bytes ({reason}); copy it again") from None


@contextmanager
def _opened(file: BinaryIO, path: str | Path, module: str) -> Iterator[io.BufferedIOBase]:
    """What unpacks a compressed file: a zip file must have one file in it."""
    try:
        library = import_module(module)
    except ModuleNotFoundError:
        raise DataError(f"{path}: is compressed with {module.rpartition('.')[2]}; unpack it first") from None
    if module != "zipfile":
        with library.open(file) as unpacked:
            yield unpacked
        return
    with zipfile.ZipFile(file) as archive:
        members = [i for i in archive.infolist() if not i.is_dir()]
        if len(members) != 1:
            raise DataError(f"{path}: is a zip file of {len(members)} files; expected one, or unpack it first")
        with archive.open(members[0]) as unpacked:
            yield unpacked  # pyright: ignore


def _errors(module: str) -> tuple[type[Exception], ...]:
    """The exceptions of a module that are its own."""
    library = import_module(module)
    return tuple(e for e in (getattr(library, name, None) for name in ("LZMAError", "ZstdError")) if e is not None)


def _pieces(path: str | Path, complaints: Complaints) -> Iterator[tuple[bytes, int]]:
    """Some lines at a time, and how many; each has a newline, which the last one may lack in the file."""
    number, begun, size = first_line(path), [], 0
    for block in blocks(path):
        cut = block.rfind(b"\n") + 1
        if cut:
            count = block.count(b"\n")
            yield b"".join([*begun, block[:cut]]), count
            number, begun, size = number + count, [], 0
        begun.append(block[cut:])
        size += len(block) - cut
        if size > LONGEST_LINE:
            raise complaints.refuse(number, None, f"is longer than {LONGEST_LINE} bytes; is this a file of text?")
    if size:
        yield b"".join([*begun, b"\n"]), 1
