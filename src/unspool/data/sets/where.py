"""Where the files of a set are: in the folder of the data sets, in the cache, or at their source."""

import gzip
import io
import os
import re
import tempfile
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from ...errors import DataError
from .table import SETS, File, Row

# The recordings that are part of the set: digit, speaker and number.
RECORDING = re.compile(r"(\d)_(george|jackson|nicolas|theo|yweweler)_(\d+)\.wav")


def row_of(name: str) -> Row:
    """The row of a set; raise DataError if there is none."""
    if name not in SETS:
        raise DataError(f"name must be one of {', '.join(SETS)}; got {name!r:.80}")
    return SETS[name]


def fetch(name: str) -> dict[str, Path]:
    """The files of a set, by name; a file `name.gz` may be in the place of `name`.

    They are in the folder of the set in `UNSPOOL_DATA`, or in the cache, or else they are fetched into the cache. A set
    that is built in has none.

    Raises:
        DataError: there is no such set; a file cannot be fetched; or its contents have another checksum.
    """
    row = row_of(name)
    own = own_folder(name)
    if own is not None:
        there = {file.name: _present(own, file) for file in row.files}
        for file in row.files:
            _check(there[file.name], file)
        return there
    return {file.name: _cached(name, file) for file in row.files}


def own_folder(name: str) -> Path | None:
    """The folder of a set in `UNSPOOL_DATA`, if that has one with all its files."""
    folder = os.environ.get("UNSPOOL_DATA")
    if not folder:
        return None
    own = Path(folder) / name
    return own if all(_present(own, file).is_file() for file in row_of(name).files) else None


def place(name: str) -> str:
    """Where a set is, in one or two words."""
    row = row_of(name)
    if not row.files:
        return "built in"
    if own_folder(name) is not None or all((_cache(name) / file.name).is_file() for file in row.files):
        return "here"
    return "to fetch" if all(file.url for file in row.files) else "not to be fetched"


def recordings(path: Path | io.BytesIO) -> Iterator[tuple[str, bytes]]:
    """The name and the bytes of each recording of spoken digits in a zip, in the order of their names."""
    with zipfile.ZipFile(path) as packed:
        found = {Path(name).name: name for name in packed.namelist()}
        for name in sorted(filter(RECORDING.fullmatch, found)):
            yield name, packed.read(found[name])


def _present(folder: Path, file: File) -> Path:
    packed = folder / f"{file.name}.gz"
    return packed if packed.is_file() else folder / file.name


def _cache(name: str) -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("LOCALAPPDATA") if os.name == "nt" else None)
    return Path(root or Path.home() / ".cache") / "unspool" / name


def _cached(name: str, file: File) -> Path:
    path = _cache(name) / file.name
    if path.is_file():
        _check(path, file)
        return path
    if file.url is None:
        raise DataError(f"{file.name} of {name} cannot be fetched: set UNSPOOL_DATA to a folder that has {name}/")
    contents = _contents(_download(file.url, name), file)
    _check_contents(contents, file, file.url)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as new:
        new.write(contents)
    os.replace(new.name, path)
    return path


def _download(url: str, name: str) -> bytes:
    import pooch
    from requests.exceptions import RequestException

    pooch.get_logger().setLevel("WARNING")
    with tempfile.TemporaryDirectory() as folder:
        try:
            return Path(pooch.retrieve(url, None, fname="file", path=folder)).read_bytes()
        except RequestException as error:
            why = " ".join(str(error).split())
            raise DataError(
                f"{url} cannot be fetched: {why:.200}. Get it by another way, and set UNSPOOL_DATA to the folder that "
                f"has the folder {name}/ with it"
            ) from None


def _contents(data: bytes, file: File) -> bytes:
    """What a file has once it is unpacked, as the set's folder would have it."""
    if file.member is not None:
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as packed:
                inside = [name for name in packed.namelist() if Path(name).name == file.member]
                data = packed.read(inside[0]) if inside else b""
        except zipfile.BadZipFile:
            data = b""
    elif data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    for _ in range(file.header):
        data = data.partition(b"\n")[2]
    return data


def _check(path: Path, file: File) -> None:
    data = path.read_bytes()
    try:
        data = gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError):
        data = b""
    _check_contents(data, file, str(path))


def _check_contents(data: bytes, file: File, where: str) -> None:
    """Raise DataError unless the contents are those that were published."""
    found = sha256(data).hexdigest()
    if file.name == "recordings.zip":
        try:
            found = digest(io.BytesIO(data))
        except zipfile.BadZipFile:
            found = "no zip"
    if found != file.sha256:
        raise DataError(
            f"{where}: expected {file.name} with SHA-256 {file.sha256:.12}…; got {found:.12}…, damaged data"
        )


def digest(recorded: io.BytesIO) -> str:
    """The SHA-256 of the recordings in a zip, each with its name before it, however they are packed."""
    together = sha256()
    for name, data in recordings(recorded):
        together.update(name.encode() + data)
    return together.hexdigest()
