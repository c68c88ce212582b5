"""Reads header attributes so that no odd value can raise or be quoted."""

import math
import re
from functools import lru_cache
from typing import Any

from pydicom.config import IGNORE
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID

_MAX_TEXT = 64
_LARGEST = 1e15
_MAX_NUMBER_BYTES = 8
_MAX_CACHED_BYTES = 256
_UID = re.compile(r"[0-9.]{1,64}")


@lru_cache(maxsize=256)
def _tag(name: str) -> BaseTag:
    tag = tag_for_keyword(name)
    if tag is None:
        raise KeyError(name)
    return BaseTag(tag)


@lru_cache(maxsize=4096)
def _converted(
    tag: BaseTag, vr: str | None, value: bytes, is_implicit: bool, is_little: bool
) -> Any:
    """Value of an element; the slices of a series share most of their elements."""
    # Where the element stood in its file does not belong to its value.
    element = RawDataElement(tag, vr, len(value), value, 0, is_implicit, is_little)
    return convert_raw_data_element(element).value


def _value(level: Dataset, element: Any, tag: BaseTag) -> Any:
    if not isinstance(element, RawDataElement):
        return element.value
    found, vr, _, value, _, is_implicit, is_little, *_ = element
    if value is None or len(value) > _MAX_CACHED_BYTES:
        return level[tag].value
    return _converted(found, vr, value, is_implicit, is_little)


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
        self._levels = [(level, dict(level.items())) for level in levels]

    def has(self, name: str) -> bool:
        """Whether the attribute is there, be it empty or unreadable."""
        tag = _tag(name)
        return any(tag in elements for _, elements in self._levels)

    def value(self, name: str) -> Any:
        """Raw value; None where missing, empty or unreadable."""
        tag = _tag(name)
        for level, elements in self._levels:
            element = elements.get(tag)
            if element is None:
                continue
            try:
                value = _value(level, element, tag)
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
        text = str(value)
        if not text.isprintable():
            text = "".join(c for c in text if c.isprintable())
        return text.strip()[:_MAX_TEXT]

    def uid(self, name: str) -> str:
        """UID; "" where missing or malformed."""
        text = self.text(name)
        return text if _UID.fullmatch(text) else ""

    def code(self, name: str, terms: frozenset[str]) -> str:
        """Code string; "UNKNOWN" for what is no defined term, as errors quote it."""
        text = self.text(name)
        return text if text in terms else "UNKNOWN"

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
        except (TypeError, ValueError, OverflowError):
            return None
        if len(values) != count or not all(map(math.isfinite, values)):
            return None
        return values

    def number(self, name: str) -> float | None:
        """First value as a number, if it is finite."""
        found = self.value(name)
        if isinstance(found, bytes) and len(found) <= _MAX_NUMBER_BYTES:
            # Implicit VR leaves "US or SS" open; `_padding` settles the sign.
            return float(int.from_bytes(found, "little"))
        try:
            value = float(found)
        except (TypeError, ValueError, OverflowError):
            return None
        return value if math.isfinite(value) else None

    def integer(self, name: str) -> int | None:
        """First value, cut to an integer; None beyond 15 digits."""
        value = self.number(name)
        return None if value is None or abs(value) > _LARGEST else int(value)
