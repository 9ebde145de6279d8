"""Files of text as lines, gzip-compressed or not, and the complaints about them."""

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
EXPANSION, ALLOWANCE = 200, 2**20  # what a compressed file may unpack to: so many times its size, and so many bytes
_BLOCK = 2**16


class Complaints:
    """What is wrong with the rows of a file: at most `skip_bad` of them are let go, and told in `skipped`.

    Raises:
        DataError: at the next one, with file, line and column, what was expected and what came.
    """

    def __init__(self, name: str | Path, skip_bad: int = 0, unit: str = "line"):
        self.name, self.unit = str(name), unit
        self.skip_bad = integer("skip_bad", skip_bad, 0)
        self.skipped: list[str] = []

    def bad(self, line: int, column: int | str | None, what: str) -> None:
        """A row that cannot be used: left out, or one too many."""
        message = self.place(line, column, what)
        if len(self.skipped) == self.skip_bad:
            others = f" (after {self.skip_bad} other bad rows that skip_bad let go)" if self.skip_bad else ""
            raise DataError(message + others)
        self.skipped.append(message)

    def refuse(self, line: int | None, column: int | str | None, what: str) -> DataError:
        """An error that leaves nothing to go on with."""
        return DataError(self.place(line, column, what))

    def place(self, line: int | None, column: int | str | None, what: str) -> str:
        where = "" if line is None else f", {self.unit} {line}"
        where += "" if column is None else f", column {column!s:.80}"
        return self.name + printable(f"{where}: {what}")


def blocks(path: str | Path) -> Iterator[bytes]:
    """The bytes of a file, block by block, unpacked if they are gzip-compressed, which their beginning says.

    Raises:
        DataError: the file cannot be read, or is damaged, or unpacks to more than it justifies.
    """
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise DataError(f"{path}: is no ordinary file; write the data to one")
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
    """What the name says that a file is, with its dot; it may be gzip-compressed besides."""
    return Path(str(path).lower().removesuffix(".gz")).suffix


def lines(path: str | Path, complaints: Complaints, keep: str = "") -> Iterator[tuple[int, str]]:
    """Number and text of each line without its end, which is \\n or \\r\\n; UTF-8, a byte-order mark left out.

    `keep` may be \\r, which then stays.

    Raises:
        DataError: as `blocks`; a line is not UTF-8, has a NUL, or is longer than 64 MiB.
    """
    for number, data in enumerate(_split(path, complaints), 1):
        text = decode(number, data, complaints)
        if text is not None:
            yield number, text if keep else text.removesuffix("\r")


def decode(number: int, data: bytes, complaints: Complaints, remedy: str = "convert the file to UTF-8") -> str | None:
    """The text of a line, the first without a byte-order mark; None if it is a bad one that was let go."""
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
                        f"{path}: unpacks to more than {EXPANSION} times its size; if that is meant, unpack it first"
                    )
                yield block
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: is damaged after {total} unpacked bytes ({error}); copy it again") from None


def _split(path: str | Path, complaints: Complaints) -> Iterator[bytes]:
    """Lines as bytes; the last one may lack its end."""
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
