"""Sound: `.wav` files, and folders of them.

A file is taken apart here, as the standard library's `wave` reads a file that is cut short as if it were whole, and
before Python 3.12 refuses the header that files of 24 bits or of many channels mostly have.
"""

import struct
from pathlib import Path

import numpy as np

from ...errors import DataError
from ..ragged import Ragged
from ..sequences import Column, Places, Sequences
from .growing import Growing
from .source import suffix, whole

_PCM, _EXTENSIBLE = 1, 0xFFFE
_GUID = bytes.fromhex("000000001000800000aa00389b71")  # of a format that an extensible header names, after its number


def read_wav(path: str | Path) -> Sequences:
    """The samples of a `.wav` file: column `value`, float32 (T,) from -1 to 1, and `rate`, the samples a second.

    Samples are integers of 8, 16, 24 or 32 bits, which are divided by half their range. Several channels are averaged.

    Args:
        path: the file, compressed by gzip or the like or not.
    Raises:
        DataError: the file cannot be read, is no such `.wav` file, is cut short, or has no samples.
    """
    data = whole(path)
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise DataError(f"{path}: expected a .wav file, which begins with RIFF and WAVE; got {data[:12]!r}")
    head, samples = _chunks(path, data)
    if len(head) < 16:
        raise DataError(f"{path}: is damaged: it does not say how its sound is written; copy it again")
    kind, channels, rate, _, frame, bits = struct.unpack("<HHIIHH", head[:16])
    if kind == _EXTENSIBLE and head[26:] == _GUID:
        kind = int.from_bytes(head[24:26], "little")
    if kind != _PCM or bits not in (8, 16, 24, 32):
        raise DataError(
            f"{path}: expected integers of 8, 16, 24 or 32 bits (PCM, format 1); got format {kind} of {bits} bits: "
            f"convert it"
        )
    if not channels or not rate or frame != channels * bits // 8:
        raise DataError(
            f"{path}: is damaged: it says that it has {channels} channels of {bits} bits in {frame} bytes, "
            f"{rate} times a second; copy it again"
        )
    if len(samples) < frame:
        raise DataError(f"{path}: has no samples")
    values = _values(samples[: len(samples) // frame * frame], bits)
    if channels > 1:
        values = values.reshape(-1, channels).mean(1)
    columns = {"value": Ragged(values, np.array([0, len(values)])), "rate": np.array([rate])}
    return Sequences(columns, Places.of_files([str(path)]))


def read_sounds(path: str | Path, *, skip_bad: int = 0) -> Sequences:
    """The sounds of a folder, or of one file: columns `value` and `rate`, as `read_wav` has them.

    If the files are in folders in it, their names are the column `label`. A folder without sound is listed in
    `skipped`.

    Args:
        path: the folder or the file.
        skip_bad: the number of bad files to skip, at most; they are listed in `skipped`.
    Raises:
        DataError: a file cannot be read, is of another rate than the first, lies beside the folders of the labels, or
            has a name that is not UTF-8.
    """
    files = in_folder(path) if Path(path).is_dir() else {"": [Path(path)]}
    labelled = any(found for label, found in files.items() if label)
    if labelled and files[""]:
        raise DataError(f"{files[''][0]}: lies beside the folders of the labels; put it into one of them")
    skipped = [
        f"{path}/{label}: has no .wav files" for label, found in files.items() if labelled and label and not found
    ]
    skip_bad += len(skipped)
    value, good, lengths, labels = Growing(), [], [], []
    rate = None
    for label, file in ((label, file) for label, found in files.items() for file in found):
        try:
            found = _of_rate(file, rate, good)
        except DataError as error:
            if len(skipped) == skip_bad:
                raise
            skipped.append(str(error))
            continue
        rate = int(found["rate"][0])
        value.add(found.steps("value").values)
        lengths += found.lengths.tolist()
        good.append(str(file))
        labels.append(label)
    if not good:
        raise DataError(f"{path}: expected a .wav file that can be used; got none")
    columns: dict[str, Column] = {"value": value.ragged(lengths), "rate": np.full(len(good), rate)}
    if labelled:
        columns["label"] = np.array(labels, object)
    return Sequences(columns, Places.of_files(good), tuple(skipped))


def in_folder(folder: str | Path) -> dict[str, list[Path]]:
    """The `.wav` files in each folder of a folder by its name, the label; and those in none, by an empty name.

    What begins with a dot is passed over.

    Raises:
        DataError: one lies deeper, so that it is in doubt which folder is its label.
    """
    folder = Path(folder)
    found = {"": _sounds(folder)}
    for inner in (p for p in _visible(folder) if p.is_dir()):
        deep = next((p for d in _visible(inner) if d.is_dir() for p in d.rglob("*") if suffix(p) == ".wav"), None)
        if deep is not None:
            raise DataError(f"{deep}: lies too deep; expected folders of .wav files in {folder}, one for each label")
        found[inner.name] = _sounds(inner)
    return found


def _sounds(folder: Path) -> list[Path]:
    return [p for p in _visible(folder) if suffix(p) == ".wav" and not p.is_dir()]


def _visible(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if not p.name.startswith("."))


def _of_rate(file: Path, rate: int | None, others: list[str]) -> Sequences:
    """What is in a file; raise DataError if it is of another rate than the others, or has a name that is not UTF-8."""
    if any("\ud800" <= c <= "\udfff" for c in str(file)):
        raise DataError(f"{file}: has a name that is not UTF-8; rename it")
    found = read_wav(file)
    if rate not in (None, found["rate"][0]):
        raise DataError(
            f"{file}: has {found['rate'][0]:,} samples a second, but {others[0]} has {rate:,}; resample one of them"
        )
    return found


def _chunks(path: str | Path, data: bytes) -> tuple[bytes, memoryview]:
    """What the header has, and the bytes of the samples: the contents of the chunks `fmt ` and `data`."""
    at, head = 12, b""
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8
        if name == b"data":
            if at + size > len(data):
                raise DataError(
                    f"{path}: is cut short: expected {size:,} bytes of sound; got {len(data) - at:,}: copy it again"
                )
            return head, memoryview(data)[at : at + size]
        if name == b"fmt ":
            head = data[at : at + min(size, 40)]
        at += size + size % 2
    raise DataError(f"{path}: is cut short: expected a chunk of samples; got none: copy it again")


def _values(samples: memoryview, bits: int) -> np.ndarray:
    """Integers in little-endian order, those of 8 bits from 0 to 255 and all others signed, as float32."""
    if bits == 8:
        return (np.frombuffer(samples, np.uint8).astype(np.float32) - 128) / 128
    if bits == 24:
        wide = np.zeros((len(samples) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(samples, np.uint8).reshape(-1, 3)
        numbers = wide.view("<i4")[:, 0]  # 256 times as large
    else:
        numbers = np.frombuffer(samples, f"<i{bits // 8}")
    return numbers.astype(np.float32) / np.float32(2 ** (15 if bits == 16 else 31))
