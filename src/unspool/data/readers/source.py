"""Text files as lines, gzip-compressed or not, and the complaints about them."""

import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ...arguments import integer
from ...errors import DataError, printable

GZIP = b"\x1f\x8b"
LONGEST_LINE = 2**26  # bytes
EXPANSION, ALLOWANCE = 200, 2**20  # a compressed file may unpack to this many times its size, plus this many bytes
_BLOCK = 2**16


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
    """The bytes of a file, block by block, unpacked if the first two bytes are those of gzip.

    Raises:
        DataError: the file cannot be read, is damaged, or unpacks to much more than its size.
    """
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise DataError(f"{path}: is not an ordinary file; write the data to one")
            if file.read(2) == GZIP:
                file.seek(0)
                yield from _unpacked(file, path, EXPANSION * status.st_size + ALLOWANCE)
                return
            file.seek(0)
            while block := file.read(_BLOCK):
                yield block
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except DataError:
        raise
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


def suffix(path: str | Path) -> str:
    """The suffix of a name in lower case, with its dot, without a `.gz` after it."""
    return Path(str(path).lower().removesuffix(".gz")).suffix


def lines(path: str | Path, complaints: Complaints, keep: str = "") -> Iterator[tuple[int, str]]:
    """The number and the text of each line of a UTF-8 file, without a byte-order mark and the line end, \\n or \\r\\n.

    With `keep` a \\r at the end of a line is kept.

    Raises:
        DataError: as `blocks`, or a line is not UTF-8, has a NUL, or is longer than 64 MiB.
    """
    for number, data in enumerate(_split(path, complaints), 1):
        text = decode(number, data, complaints)
        if text is not None:
            yield number, text if keep else text.removesuffix("\r")


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


def _unpacked(file: BinaryIO, path: str | Path, limit: int) -> Iterator[bytes]:
    total = 0
    try:
        with gzip.GzipFile(fileobj=file) as unpacked:
            while block := unpacked.read(_BLOCK):
                total += len(block)
                if total > limit:
                    raise DataError(
                        f"{path}: unpacks to more than {EXPANSION} times its size; if that is right, unpack it first"
                    )
                yield block
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: is damaged after {total} unpacked bytes ({error}); copy it again") from None


def _split(path: str | Path, complaints: Complaints) -> Iterator[bytes]:
    """The lines as bytes, without the newline, which the last one may lack."""
    number, begun, size = 1, [], 0
    for block in blocks(path):
        *whole, rest = block.split(b"\n")
        if whole:
            yield b"".join([*begun, whole[0]])
            yield from whole[1:]
            number, begun, size = number + len(whole), [], 0
        begun.append(rest)
        size += len(rest)
        if size > LONGEST_LINE:
            raise complaints.refuse(number, None, f"is longer than {LONGEST_LINE} bytes; is this a file of text?")
    if size:
        yield b"".join(begun)
