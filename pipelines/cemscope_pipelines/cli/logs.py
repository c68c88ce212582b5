"""Logging of a command: to stderr, without anything that may name a patient."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_HEADER_READERS = frozenset({"pydicom", "highdicom", "pynetdicom", "py"})
"""Libraries that quote header values in their messages; "py" is `py.warnings`."""


class WithholdHeaderValues(logging.Filter):
    """Replace the messages of libraries that quote DICOM headers.

    pydicom's warnings hold the value they complain about, and that may be a name. The
    filter stands on the handlers: a filter on a logger does not see the records of
    its children.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep every record; strip the text of those that may quote a header."""
        if record.name.split(".")[0] in _HEADER_READERS:
            record.msg = "a message was withheld: it may quote the DICOM header"
            record.args = None
            record.exc_info = None
            record.exc_text = None
            record.stack_info = None
        return True


@contextmanager
def logging_to_stderr(verbosity: int, quiet: bool) -> Iterator[None]:
    """Send log records to stderr while a command runs.

    Parameters
    ----------
    verbosity
        0 warnings, 1 progress of the stages, 2 details.
    quiet
        Errors only.
    """
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    handler.addFilter(WithholdHeaderValues())
    root = logging.getLogger()
    ours = [logging.getLogger(name) for name in ("cemscope", "cemscope_pipelines")]
    before = [(logger, logger.level) for logger in (root, *ours)]
    root.addHandler(handler)
    root.setLevel(logging.ERROR if quiet else logging.WARNING)
    for logger in ours:
        logger.setLevel(logging.ERROR if quiet else level)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.removeHandler(handler)
        for logger, old in before:
            logger.setLevel(old)
