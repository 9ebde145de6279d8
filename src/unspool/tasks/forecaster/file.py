"""Files of series, for the command line. No PyTorch."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ...data.sets.loaders import BUILT_IN
from ...data.text import STDIN
from ...errors import DataError
from ...options import option
from ..files import Training, Watch, note
from ..source import Source, digest
from .columns import Table, table_of
from .layout import Laid, Layout

ROAD_TRAFFIC = "road-traffic"
_MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "-", "?")
_SEEN = 50  # cells of a column of which it is taken how fractions are written
_COMMA = re.compile(r"[ \t]*[+-]?[0-9]+,[0-9]+[ \t]*")  # a fraction, in a table whose fields are apart by another mark


@dataclass(frozen=True)
class SeriesFile:
    """A file of series."""

    what: ClassVar[str] = (
        "series: a table in CSV, TSV or Parquet, with a row a step, or a row a series as the M4 competition has them; "
        f"{ROAD_TRAFFIC} is built in, and {STDIN} is standard input"
    )

    file: str
    target: str | None = option(None, "the column to forecast, or several with commas between them", "data")
    time: str | None = option(None, "the column of the times, which may be integers", "data")
    series: str | None = option(None, "the column that tells the series apart", "data")
    known: str | None = option(None, "the columns whose values are known of the future, too, with commas", "data")
    past: str | None = option(None, "the columns whose values are known up to the present, with commas", "data")
    static: str | None = option(None, "the columns with one value for each series, with commas", "data")
    delimiter: str | None = option(None, "the character between the fields of a CSV or TSV table", "data")
    skip_bad: int = option(0, "the number of bad lines to skip, at most", "data", least=0)

    @staticmethod
    def place(file: str) -> str:
        """The name of the file, which is also valid in another working directory."""
        return file if file in (STDIN, ROAD_TRAFFIC) else str(Path(file).absolute())

    def training_data(self, options: Any, validation: float | str, watch: Watch | None = None) -> Training:
        """What a forecaster is to be trained on; the validation part is the end of each series."""
        if isinstance(validation, str):
            raise DataError("--validation must be a part of the file, as 0.1; the end of each series is held out")
        table = self.table()
        layout = Layout.of(table, **self.roles(), report=self._report)
        data = {"sha256": digest(self.path), "validation": validation}
        return Training(Laid(layout, layout.to_series(table, self._report)), None, validation, data)

    @property
    def path(self) -> str:
        return str(BUILT_IN / "road-traffic.csv.xz") if self.file == ROAD_TRAFFIC else self.file

    def roles(self) -> dict[str, Any]:
        """The columns that are named, as `Layout.of` takes them."""
        lists = {name: _names(getattr(self, name)) for name in ("target", "known", "past", "static")}
        return lists | {"target": lists["target"] or None, "time": self.time, "series": self.series}

    def table(self, report: Callable[[str], object] = note) -> Table:
        """The columns of the file; raise DataError if it cannot be read."""
        source = Source.of(self.path, "numbers", self.delimiter)
        if source.kind == "parquet":
            return _parquet(self.path)
        if source.kind != "table":
            raise DataError(f"{source.name}: must be a table in CSV, TSV or Parquet")
        return self._csv(source, report)

    def _csv(self, source: Source, report: Callable[[str], object]) -> Table:
        from ...data.readers.source import Excerpt
        from ...data.readers.tables import read_csv

        path = Excerpt(source.name, b"".join(source.blocks())) if self.file == STDIN else self.path
        seen = [cell for column in source.cells if column.text for cell in column.values[:_SEEN].tolist()]
        comma = source.delimiter != "," and any(map(_COMMA.fullmatch, seen))
        how: dict[str, Any] = {"decimal": ",", "thousands": "."} if comma else {}
        how |= {"delimiter": source.delimiter, "header": source.header, "missing": _MISSING, "skip_bad": self.skip_bad}
        found = read_csv(path, **how)
        for complaint in found.skipped:
            report(f"skipped: {complaint}")
        return table_of({name: _cells(getattr(column, "values", column)) for name, column in found.columns.items()})

    @staticmethod
    def _report(said: str) -> None:
        note(re.sub(r"change it by .*", "change it by --target, --time, --series, --known, --past or --static", said))


def _parquet(path: str) -> Table:
    from ...data.readers.frames import library

    arrow, parquet = library("pyarrow"), library("pyarrow.parquet")
    try:
        table = parquet.read_table(path)
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as Parquet ({str(error).strip():.120})") from None
    return table_of(table)._replace(library="dict")


def _cells(values: Any) -> Any:
    """The cells of a column; of texts None for those that are empty."""
    if values.dtype.kind == "O":
        values[[not cell.strip() for cell in values.tolist()]] = None
    return values


def _names(given: str | None) -> tuple[str, ...]:
    return () if given is None else tuple(name.strip() for name in given.split(","))
