"""Reads header attributes so that no odd value can raise or be quoted."""

import re
from typing import Any

import numpy as np
from pydicom.config import IGNORE
from pydicom.dataset import Dataset
from pydicom.uid import UID

_MAX_TEXT = 64


def registered_name(uid: str) -> str:
    """Name of a UID in DICOM PS3.6, or the UID itself; warns of nothing."""
    return str(UID(uid, IGNORE).name)


class AttributeReader:
    """Attributes from several data sets: the first that has a value wins.

    A value that cannot be read counts as missing: it may not stand in an error.

    Parameters
    ----------
    levels
        Searched in turn; for enhanced objects the frame's functional groups, the
        shared ones, and the object itself.
    """

    def __init__(self, levels: tuple[Dataset, ...]) -> None:
        self._levels = levels

    def value(self, name: str) -> Any:
        """Raw value; None where missing, empty or unreadable."""
        for level in self._levels:
            try:
                value = level.get(name)
            except Exception:  # noqa: BLE001, S112 - pydicom raises anything here
                continue
            if value is not None and value != "":
                return value
        return None

    def text(self, name: str) -> str:
        """Printable text without the blanks around it; "" where missing."""
        value = self.value(name)
        if value is None or not isinstance(value, str | int | float):
            return ""
        printable = "".join(c for c in str(value) if c.isprintable())
        return printable.strip()[:_MAX_TEXT]

    def uid(self, name: str) -> str:
        """UID; "" where missing or malformed."""
        text = self.text(name)
        return text if re.fullmatch(r"[0-9.]{1,64}", text) else ""

    def code(self, name: str) -> str:
        """Code string; "UNKNOWN" for what is no code, as errors quote it."""
        text = self.text(name)
        return text if re.fullmatch(r"[A-Z0-9_ ]{0,16}", text) else "UNKNOWN"

    def words(self, name: str) -> tuple[str, ...]:
        """All values of a text attribute."""
        value = self.value(name)
        if value is None:
            return ()
        words = [value] if isinstance(value, str) else list(value)
        return tuple(str(w).strip()[:_MAX_TEXT] for w in words if str(w).isprintable())

    def numbers(self, name: str, count: int) -> tuple[float, ...] | None:
        """All values, if there are ``count`` finite ones."""
        try:
            values = tuple(float(v) for v in self.value(name))
        except (TypeError, ValueError):
            return None
        if len(values) != count or not np.isfinite(values).all():
            return None
        return values

    def number(self, name: str) -> float | None:
        """First value as a number, if it is finite."""
        found = self.value(name)
        if isinstance(found, bytes):
            # Implicit VR leaves "US or SS" open; `_padding` settles the sign.
            return float(int.from_bytes(found, "little"))
        try:
            value = float(found)
        except (TypeError, ValueError):
            return None
        return value if np.isfinite(value) else None

    def integer(self, name: str) -> int | None:
        """First value, cut to an integer."""
        value = self.number(name)
        return None if value is None else int(value)
