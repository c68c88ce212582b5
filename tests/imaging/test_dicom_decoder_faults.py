"""Decoders that hang, crash, are interrupted or cannot start cost one clear error."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cases.series import datasets, phantom_ct, save
from cemscope.dicom import InputLimits, ReadSettings, decode_worker, read_series
from cemscope.dicom.decoder_process import (
    DecoderProcess,
    NoDecoderError,
    close_idle_decoders,
    start_decoders,
)
from cemscope.errors import UnreadablePixelsError
from cemscope.testing.dicom_writer import PixelEncoding, WriteOptions

JPEG2000 = WriteOptions(PixelEncoding.JPEG2000_LOSSLESS)
SYNTAX = JPEG2000.encoding.value
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="signals and groups")

_HANGS = "import time\ntime.sleep(600)\n"
_CRASHES = "import os\nos.abort()\n"
_DAWDLES = (
    "import struct, sys, time\n"
    "while head := sys.stdin.buffer.read(8):\n"
    "    sys.stdin.buffer.read(sum(struct.unpack('<II', head)))\n"
    "    time.sleep(1.3)\n"
    "    sys.stdout.buffer.write(struct.pack('<BI', 1, 0))\n"
    "    sys.stdout.flush()\n"
)
"""As JPEG-LS of a mutated file: seconds on each slice, and nothing to show for it."""
_BABBLES = (
    "import sys\nsys.stdout.buffer.write(b'\\0\\xff\\xff\\xff\\xff' * 99)\n"
    "sys.stdout.flush()\nsys.stdin.buffer.read()\n"
)


@pytest.fixture(autouse=True)
def _no_decoders_of_other_tests() -> Iterator[None]:
    close_idle_decoders()
    yield
    close_idle_decoders()


def _settings(timeout_s: float = 50.0) -> ReadSettings:
    limits = InputLimits(decoder_processes=2, decoder_timeout_s=timeout_s)
    return ReadSettings(limits=limits)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(datasets(phantom_ct((12, 40, 36))), tmp_path / "ct", JPEG2000)


@pytest.mark.parametrize(
    ("program", "timeout_s", "words"),
    [
        (_HANGS, 0.5, r"took over 0\.5 s; \d+ slices were not tried\. Ask the PACS"),
        (
            _DAWDLES,
            3.0,
            r"(cannot read the pixels|took over 3 s); [4-9] slices were not",
        ),
        (_CRASHES, 50.0, r"of 12 slices .* instance 1, the decoder crashed .* Ask the"),
        (_BABBLES, 50.0, r"the pixels of 12 of 12 slices .* crashed .* Ask the PACS"),
    ],
    ids=["hang", "dawdle", "crash", "babble"],
)
def test_a_decoder_gone_wrong_is_one_error(
    program: str,
    timeout_s: float,
    words: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "worker.py").write_text(program)
    monkeypatch.setattr(decode_worker, "__file__", str(tmp_path / "worker.py"))
    start = time.monotonic()
    with pytest.raises(UnreadablePixelsError, match=words):
        read_series(folder, settings=_settings(timeout_s))
    # Not the time limit for each of the slices.
    assert time.monotonic() - start < 40.0


def test_no_process_to_be_had_is_no_fault_of_the_scan(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(NoDecoderError, match="decoder_processes to 1") as refusal:
        read_series(folder, settings=_settings())
    assert "PACS" not in str(refusal.value)


@LINUX
def test_narrow_pipes_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user may widen 64 MiB of pipes only: half a cluster node's decoders."""
    import fcntl

    def refuse(*_: object) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    found = read_series(folder, settings=_settings())
    np.testing.assert_array_equal(found.hu, phantom_ct((12, 40, 36)).hu)


def test_slices_larger_than_the_pipes_pass(tmp_path: Path) -> None:
    ct = phantom_ct((5, 900, 900), (2.5, 0.4, 0.4))
    folder = save(datasets(ct), tmp_path / "ct", JPEG2000)
    assert min(p.stat().st_size for p in folder.iterdir()) > 2**20
    np.testing.assert_array_equal(read_series(folder, settings=_settings()).hu, ct.hu)


@pytest.mark.parametrize("syntax", ["Canary born 1950", "1.2\0003", "\udc80", ""])
def test_a_syntax_that_is_free_text_is_on_no_command_line(
    syntax: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    class Recorded(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, args: list[str], **options: object) -> None:
            started.append(args)
            super().__init__(args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    start_decoders(InputLimits(decoder_processes=1), syntax)
    ((*_, last),) = started
    assert last == ""


def _request(folder: Path) -> bytes:
    """Ask for what is no codestream; the worker answers that it cannot read it."""
    text = json.dumps(
        {
            "transfer_syntax_uid": SYNTAX,
            "plugin": "pylibjpeg",
            "photometric": "MONOCHROME2",
            "signed": False,
            "bits_allocated": 16,
            "bits_stored": 12,
            "rows": 40,
            "columns": 36,
        }
    ).encode()
    codestream = min(folder.iterdir()).read_bytes()[-400:]
    return decode_worker.REQUEST.pack(len(text), len(codestream)) + text + codestream


@LINUX
def test_a_worker_leaves_ctrl_c_to_its_reader(folder: Path) -> None:
    """Else a slice broken off would count as damaged."""
    command = [sys.executable, "-P", decode_worker.__file__, "3072", "60", SYNTAX]
    with subprocess.Popen(  # noqa: S603 - our own worker
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        for _ in range(2):
            worker.stdin.write(_request(folder))
            worker.stdin.flush()
            answer = worker.stdout.read(decode_worker.ANSWER.size)
            assert decode_worker.ANSWER.unpack(answer) == (decode_worker.UNREADABLE, 0)
            worker.send_signal(signal.SIGINT)
        worker.stdin.close()
        assert worker.wait(30) == 0


@LINUX
def test_a_worker_ends_itself_if_its_reader_is_gone(folder: Path) -> None:
    program = (
        "import sys, time\n"
        "from cemscope.dicom import decode_worker\n"
        "decode_worker.decode = lambda *_: time.sleep(600)\n"
        "decode_worker.serve(sys.stdin.buffer, sys.stdout.buffer, 0.2)\n"
    )
    ended = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", program],
        input=_request(folder),
        timeout=60,
        check=False,
    )
    assert ended.returncode == -signal.SIGALRM


_READ = """
import sys
from pathlib import Path
from cemscope.dicom import InputLimits, ReadSettings, decode_worker, read_series
if sys.argv[2]:
    decode_worker.__file__ = sys.argv[2]
limits = InputLimits(decoder_processes=2)
def told(done, of):
    print(done, flush=True)
    if done == of and not sys.argv[2]:
        sys.stdin.read()
try:
    read_series(Path(sys.argv[1]), progress=told, settings=ReadSettings(limits=limits))
except KeyboardInterrupt:
    sys.exit(130)
"""


def _group_is_empty(group: int, within_s: float) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@LINUX
@pytest.mark.parametrize(
    ("end", "hangs"),
    [(signal.SIGINT, False), (signal.SIGINT, True), (signal.SIGKILL, False)],
    ids=["interrupted", "interrupted in a slice that hangs", "killed"],
)
def test_no_decoder_outlives_its_reader(
    end: signal.Signals, hangs: bool, folder: Path, tmp_path: Path
) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(_HANGS)
    with subprocess.Popen(  # noqa: S603 - our own words
        [sys.executable, "-c", _READ, str(folder), str(worker) if hangs else ""],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"1\n"
        if end is signal.SIGINT:
            os.killpg(reader.pid, end)
        else:
            reader.send_signal(end)
        # Far from the 60 s that a decoder may take for one slice.
        assert reader.wait(30) == (130 if end is signal.SIGINT else -end)
        assert _group_is_empty(reader.pid, 30.0)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_read_with_decoders_of_their_own(method: str, folder: Path) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip("not on this system")
    truth = read_series(folder, settings=_settings()).hu
    with multiprocessing.get_context(method).Pool(1) as pool:
        child = pool.apply_async(read_series, (folder, None, None, _settings()))
        again = read_series(folder, settings=_settings())
        np.testing.assert_array_equal(child.get(60).hu, truth)
    np.testing.assert_array_equal(again.hu, truth)


@LINUX
def test_a_limit_of_memory_is_taken_as_far_as_it_can_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import resource

    taken: dict[int, tuple[int, int]] = {}
    monkeypatch.setattr(resource, "setrlimit", taken.__setitem__)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (2**31, 2**31))
    assert decode_worker.limit_memory(3072)
    assert taken[resource.RLIMIT_AS] == (2**31, 2**31)
    assert decode_worker.limit_memory(1024)
    assert taken[resource.RLIMIT_AS] == (2**30, 2**30)

    def refuse(*_: object) -> None:
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert not decode_worker.limit_memory(1024)


@LINUX
def test_nothing_is_left_in_shared_memory_or_temporary_folders(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "tmp"
    own.mkdir()
    monkeypatch.setenv("TMPDIR", str(own))
    mine = f"{os.getpid()}"
    read_series(folder, settings=_settings())
    DecoderProcess(InputLimits(), SYNTAX).close()
    assert not [p for p in Path("/dev/shm").glob("*") if mine in p.name]  # noqa: S108
    assert list(own.iterdir()) == []
