"""Keeps what pydicom says about a header away from logs and the terminal.

pydicom quotes values in its warnings ("Invalid value for VR DA: 'Jane born 1950'"),
so nothing of it may pass the edge.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pydicom.config

_LOGGERS = (
    *("pydicom", "pydicom.pixels.decoders.base", "pydicom.pixels.utils"),
    *("openjpeg", "openjpeg.utils", "openjpeg.decode", "pylibjpeg", "pylibjpeg.utils"),
    *("jpeg_ls", "rle"),
)
"""pydicom's loggers and its decoders'; a filter works on its own logger only."""


class _Refuse(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return False


@contextmanager
def silenced_pydicom() -> Iterator[None]:
    """Drop pydicom's warnings and log records while a header is read.

    Values are not validated meanwhile: cemscope checks the few that it uses.
    Warnings are a setting of the whole process; the context restores it.
    """
    refuse = _Refuse()
    settings = pydicom.config.settings
    mode = settings.reading_validation_mode
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(refuse)
    settings.reading_validation_mode = pydicom.config.IGNORE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        settings.reading_validation_mode = mode
        for logger in loggers:
            logger.removeFilter(refuse)
