"""Write rows as CSV and Parquet, with their units, and a data dictionary."""

import csv
import dataclasses
import types
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

DICTIONARY_FILE = "data_dictionary.csv"

_BATCH_ROWS = 2000

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet would run a text that begins so; texts can come from a header."""


@dataclass(frozen=True, slots=True)
class TableColumn:
    """One column of a table.

    Attributes
    ----------
    name : str
        With its unit.
    kind : str
        "text", "number", "count" or "truth".
    unit : str
        "" for none.
    meaning : str
        A sentence.
    """

    name: str
    kind: str
    unit: str
    meaning: str


_KINDS = {str: "text", float: "number", int: "count", bool: "truth"}


def table_columns(row_class: type) -> tuple[TableColumn, ...]:
    """Columns of a row class, in the order of its fields."""
    hints = typing.get_type_hints(row_class)
    columns = []
    for field in dataclasses.fields(row_class):
        kind = hints[field.name]
        if isinstance(kind, types.UnionType):
            kind = next(k for k in typing.get_args(kind) if k is not type(None))
        columns.append(
            TableColumn(
                field.name,
                _KINDS[kind],
                field.metadata["unit"],
                field.metadata["meaning"],
            )
        )
    return tuple(columns)


def csv_cell(value: object) -> str:
    """Text of a cell; "" for None, yes and no for truth values."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    return str(value)


class TableWriter:
    """Writes rows to ``<name>.csv`` and ``<name>.parquet``; a context manager.

    Both files are put in place together at the end, and not at all after an error.

    Parameters
    ----------
    folder
        Where the files go.
    name
        Of the table.
    row_class
        Dataclass of the rows, fields made with `rows.column`.
    """

    def __init__(self, folder: Path, name: str, row_class: type) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._columns = table_columns(row_class)
        arrow = {
            "text": pa.string(),
            "number": pa.float64(),
            "count": pa.int64(),
            "truth": pa.bool_(),
        }
        self._schema = pa.schema(
            [
                pa.field(
                    c.name,
                    arrow[c.kind],
                    metadata={"unit": c.unit, "meaning": c.meaning},
                )
                for c in self._columns
            ]
        )
        self._targets = (folder / f"{name}.csv", folder / f"{name}.parquet")
        self._parts = tuple(p.with_name(f".{p.name}.part") for p in self._targets)
        self._stream = self._parts[0].open("w", encoding="utf-8", newline="")
        self._csv = csv.writer(self._stream, lineterminator="\n")
        self._csv.writerow([c.name for c in self._columns])
        self._parquet = pq.ParquetWriter(
            self._parts[1], self._schema, compression="zstd"
        )
        self._waiting: list[tuple[Any, ...]] = []

    def add(self, rows: Iterable[object]) -> None:
        """Write rows."""
        for row in rows:
            values = tuple(getattr(row, c.name) for c in self._columns)
            self._csv.writerow([csv_cell(v) for v in values])
            self._waiting.append(values)
        if len(self._waiting) >= _BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._waiting:
            columns = list(zip(*self._waiting, strict=True))
            arrays = [
                pa.array(values, type=field.type)
                for values, field in zip(columns, self._schema, strict=True)
            ]
            self._parquet.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
            self._waiting.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._flush()
        self._stream.close()
        self._parquet.close()
        for part, target in zip(self._parts, self._targets, strict=True):
            if error is None:
                part.replace(target)
            else:
                part.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class DescribedTable:
    """A table of the data dictionary."""

    name: str
    row_class: type


def write_dictionary(path: Path, tables: Sequence[DescribedTable]) -> None:
    """Write what every column of every table means."""
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["table", "column", "type", "unit", "meaning"])
        for table in tables:
            for c in table_columns(table.row_class):
                writer.writerow([table.name, c.name, c.kind, c.unit, c.meaning])
    part.replace(path)
