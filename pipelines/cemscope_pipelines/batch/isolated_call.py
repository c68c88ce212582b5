"""What goes to a process of its own and what comes back; light to import.

The parent of a batch must stay small and cannot be brought down by a case, so all
that reads scans or writes tables runs behind these types.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Self


class EndKind(StrEnum):
    """How a call ended."""

    DONE = "done"
    REFUSED = "refused"
    """The input is no series that can be measured."""
    CONFIG = "config"
    """A setting is wrong."""
    FAILED = "failed"
    """The function failed on accepted input."""
    MEMORY = "memory"
    """It needed more memory than allowed."""
    TIMEOUT = "timeout"
    """It took longer than allowed."""
    KILLED = "killed"
    """The process was killed, or crashed."""
    INTERRUPTED = "interrupted"
    """The user stopped it."""


class MessageKind(StrEnum):
    """What a child says while it runs."""

    STAGE = "stage"
    RECORD = "record"
    END = "end"


@dataclass(frozen=True, slots=True)
class Message:
    """One line from the child.

    Attributes
    ----------
    kind : MessageKind
        What it is.
    text : str
        Name of the stage, a record as JSON, or an `EndKind`.
    share : float
        Share (0 ... 1) of the stage that is done.
    detail : str
        Of an end: the result, or the reason why there is none.
    code : str
        Of an end: name of the error.
    """

    kind: MessageKind
    text: str
    share: float = 0.0
    detail: str = ""
    code: str = ""

    def to_line(self) -> bytes:
        """One line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Self | None:
        """Read a line; None if it is none of ours."""
        try:
            found = json.loads(line)
            return cls(
                MessageKind(found["kind"]),
                str(found["text"]),
                float(found["share"]),
                str(found["detail"]),
                str(found["code"]),
            )
        except (ValueError, KeyError, TypeError):
            return None


Report = Callable[[Message], None]
"""How a function in the child speaks to its parent."""


@dataclass(frozen=True, slots=True)
class IsolatedCall:
    """A function to be run in a process of its own.

    Attributes
    ----------
    function : str
        ``module:name`` of a function ``(payload: str, report: Report) -> str``.
    payload : str
        Its argument; goes through a pipe, because command lines can be read by
        everybody on the machine and paths can name a patient.
    """

    function: str
    payload: str

    def to_line(self) -> bytes:
        """One line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """Read what `to_line` wrote."""
        return cls(**json.loads(line))


@dataclass(frozen=True, slots=True)
class CallLimits:
    """What a call may take.

    Attributes
    ----------
    memory_gib : float or None
        Resident memory of the process and all it started.
    timeout_s : float or None
        Wall-clock time.
    """

    memory_gib: float | None = None
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class CallEnd:
    """How a call ended and what it cost.

    Attributes
    ----------
    kind : EndKind
        How.
    result : str
        What the function returned, "" if it did not.
    reason : str
        Why there is no result, a sentence without a patient's name.
    code : str
        Stable word for the reason, e.g. "UnevenSpacingError" or "timeout".
    stage : str
        Last stage that was told.
    seconds : float
        Wall-clock time.
    peak_memory_mib : float
        Largest resident memory of the process and all it started, as sampled.
    """

    kind: EndKind
    result: str = ""
    reason: str = ""
    code: str = ""
    stage: str = ""
    seconds: float = 0.0
    peak_memory_mib: float = 0.0
