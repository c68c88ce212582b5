"""A CSV file that a user filled in."""

import csv
from dataclasses import dataclass
from pathlib import Path

from cemscope.errors import ConfigError


@dataclass(frozen=True, slots=True)
class UserCSV:
    """Lines of the file.

    Attributes
    ----------
    names : tuple of str
        Columns.
    rows : tuple
        Line number, and cells by column; missing cells at the end are "".
    decimal_comma : bool
        Whether cells are parted by semicolons, so that a comma is a decimal one.
    """

    names: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]
    decimal_comma: bool


def read_user_csv(path: Path, option: str) -> UserCSV:
    """Read a CSV file in UTF-8, with commas or semicolons.

    Parameters
    ----------
    path
        The file.
    option
        Of the command line, for messages.

    Raises
    ------
    ConfigError
        If it is none, or a line has more cells than the header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            head = stream.readline()
            semicolon = head.count(";") > head.count(",")
            stream.seek(0)
            reader = csv.DictReader(
                stream, delimiter=";" if semicolon else ",", restval=""
            )
            names = [(n or "").strip() for n in reader.fieldnames or ()]
            reader.fieldnames = names
            rows = tuple((reader.line_num, row) for row in reader if any(row.values()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(
            f"{option}: expected a CSV file in UTF-8 (save a spreadsheet as CSV), "
            f"and could not read it ({type(error).__name__})"
        ) from None
    for line, row in rows:
        if None in row:
            raise ConfigError(f"{option}: line {line} has more cells than the header")
    return UserCSV(tuple(names), rows, semicolon)
