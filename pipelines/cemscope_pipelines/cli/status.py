"""Exit statuses, as other programs rely on them."""

from enum import IntEnum

from cemscope.errors import (
    CemscopeError,
    ConfigError,
    EvidenceError,
    LabelMapError,
    SeriesError,
    SignatureError,
)


class ExitStatus(IntEnum):
    """How a command ended."""

    DONE = 0
    USAGE = 2
    """Wrong usage or configuration."""
    REFUSED = 3
    """The input is not a CT volume, is unfit, or cannot be read."""
    FAILED = 4
    """The analysis failed on accepted input."""
    BATCH_FAILED = 5
    """A batch finished with failures."""
    INTERRUPTED = 130


def status_of(error: CemscopeError) -> ExitStatus:
    """Exit status of an error that cemscope raised on purpose."""
    if isinstance(error, ConfigError):
        return ExitStatus.USAGE
    if isinstance(error, SeriesError | LabelMapError | EvidenceError | SignatureError):
        return ExitStatus.REFUSED
    return ExitStatus.FAILED
