"""Decodes the slices of a series straight into one preallocated volume.

Native slices are read into their own place in the volume, compressed ones are decoded
by processes of their own; several at a time.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from cemscope.dicom.decoder_process import (
    DecoderProcess,
    NoDecoderError,
    borrowed_decoder,
    decoder_count,
)
from cemscope.dicom.decoding import read_codestreams, read_native
from cemscope.dicom.files import READ_ERRORS, FileEntry, InputFiles
from cemscope.dicom.header import SliceHeader
from cemscope.dicom.hounsfield import (
    HounsfieldSettings,
    SliceConversion,
    StoredArray,
    convert_slice,
)
from cemscope.dicom.limits import InputLimits
from cemscope.dicom.shear import ShearPlan
from cemscope.errors import UnreadablePixelsError
from cemscope.volume import HUArray

SliceJob = tuple[int, SliceHeader]
"""A slice and its index in the volume."""

Done = Callable[[int], None]
"""Told how many more slices are done."""

NOT_TRIED = "not decoded any more"
"""Failure of the slices that come after damaged ones that took too long."""


@dataclass(frozen=True, slots=True)
class SliceResult:
    """Outcome of one slice: a conversion, or why there is none."""

    header: SliceHeader
    conversion: SliceConversion | None
    failure: str = ""


@dataclass(slots=True)
class _Decoding:
    """Decoders at work on one series, so that all of them can be stopped.

    Attributes
    ----------
    stopped : Event
        No slice may start any more.
    lost_s : float
        Time spent on slices that could not be decoded.
    """

    stopped: threading.Event = field(default_factory=threading.Event)
    lost_s: float = 0.0
    _is_broken_off: bool = False
    _busy: set[DecoderProcess] = field(default_factory=set)

    def break_off(self) -> None:
        """Let no slice start any more, and end the decoders of those under way."""
        self.stopped.set()
        self._is_broken_off = True
        for decoder in tuple(self._busy):
            decoder.kill()

    @contextmanager
    def on(self, decoder: DecoderProcess) -> Iterator[None]:
        """Count a decoder among those at work."""
        self._busy.add(decoder)
        try:
            if self._is_broken_off:
                decoder.kill()
            yield
        finally:
            self._busy.discard(decoder)


@dataclass(frozen=True, slots=True, eq=False)
class VoxelReader:
    """Where voxels come from, and where they go.

    Attributes
    ----------
    files : InputFiles
        The open input.
    hu : ndarray of int16, shape (slices, rows, columns)
        Written in place.
    shear : ShearPlan or None
        How slices are moved; None where they lie on the grid.
    hounsfield : HounsfieldSettings
        Padding and clipping.
    limits : InputLimits
        Sizes, and the processes that decode.
    """

    files: InputFiles
    hu: HUArray
    shear: ShearPlan | None
    hounsfield: HounsfieldSettings
    limits: InputLimits

    def read(self, headers: Sequence[SliceHeader], done: Done) -> list[SliceResult]:
        """Read all slices; a slice that cannot be read is told, not raised."""
        native: list[list[SliceJob]] = []
        compressed: list[list[SliceJob]] = []
        for jobs in _jobs_by_file(headers):
            is_compressed = jobs[0][1].pixels.is_compressed
            (compressed if is_compressed else native).append(jobs)
        results = self._read_native(native, done)
        if compressed:
            results += self._read_compressed(compressed, done)
        return results

    def _read_native(
        self, files: list[list[SliceJob]], done: Done
    ) -> list[SliceResult]:
        """Read uncompressed files, several at a time.

        The system spends more time on fresh memory for the volume than on copying
        the files into it, and does so on all processors if it is asked from several
        threads.
        """
        results: list[SliceResult] = []
        threads = min(decoder_count(self.limits), len(files))
        if threads < 2:
            for jobs in files:
                results += self._read_native_file(jobs)
                done(len(jobs))
            return results
        with ThreadPoolExecutor(threads, thread_name_prefix="read") as pool:
            try:
                for found in pool.map(self._read_native_file, files):
                    results += found
                    done(len(found))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return results

    def _read_native_file(self, jobs: list[SliceJob]) -> list[SliceResult]:
        results: list[SliceResult] = []
        try:
            with self.files.open(jobs[0][1].entry) as stream:
                for index, header in jobs:
                    plane = self._plane(index)
                    try:
                        stored = read_native(stream, header, plane)
                        results.append(self._convert(stored, index, header, plane))
                    except UnreadablePixelsError as error:
                        results.append(SliceResult(header, None, str(error)))
        except READ_ERRORS:
            failed = jobs[len(results) :]
            results += [
                SliceResult(h, None, "the file cannot be opened") for _, h in failed
            ]
        return results

    def _read_compressed(
        self, files: list[list[SliceJob]], done: Done
    ) -> list[SliceResult]:
        count = decoder_count(self.limits)
        results: list[SliceResult] = []
        work = _Decoding()
        # Frames wait in memory until a decoder is free: never more than a few.
        room = threading.Semaphore(2 * count)
        with ThreadPoolExecutor(count, thread_name_prefix="decode") as pool:
            futures: list[Future[SliceResult]] = []
            try:
                for jobs in files:
                    for index, header, codestream in self._codestreams(jobs, results):
                        room.acquire()
                        future = pool.submit(
                            self._decode, codestream, (index, header), work
                        )
                        future.add_done_callback(lambda _: room.release())
                        futures.append(future)
                        done(1)
                results += [future.result() for future in as_completed(futures)]
            except BaseException:
                # Ctrl-C, say: nobody waits for slices that nobody wants.
                work.break_off()
                pool.shutdown(cancel_futures=True)
                raise
        return results

    def _codestreams(
        self, jobs: list[SliceJob], failures: list[SliceResult]
    ) -> Iterator[tuple[int, SliceHeader, bytes]]:
        """Compressed frames of one file; those that cannot be had are failures."""
        wanted = {header.frame_index: (index, header) for index, header in jobs}
        first = jobs[0][1]
        reason = ""
        try:
            with self.files.open(first.entry) as stream:
                frames = read_codestreams(stream, first, self.limits)
                for number, codestream in enumerate(frames):
                    if number in wanted:
                        yield *wanted.pop(number), codestream
        except UnreadablePixelsError as error:
            reason = str(error)
        except READ_ERRORS:
            reason = "the file cannot be opened"
        failures += [
            SliceResult(header, None, reason or "its frame is missing")
            for _, header in wanted.values()
        ]

    def _decode(self, codestream: bytes, job: SliceJob, work: _Decoding) -> SliceResult:
        index, header = job
        if work.stopped.is_set():
            return SliceResult(header, None, NOT_TRIED)
        shape = (header.rows, header.columns)
        start = time.monotonic()
        try:
            syntax = header.pixels.transfer_syntax_uid
            with borrowed_decoder(self.limits, syntax) as decoder, work.on(decoder):
                stored = decoder.decode(codestream, header.pixels, shape)
            return self._convert(stored, index, header, self._plane(index))
        except NoDecoderError:
            raise
        except UnreadablePixelsError as error:
            # Damage can keep a decoder busy: thousands of such slices take days, and
            # the series is refused for the first of them.
            work.lost_s += time.monotonic() - start
            if work.lost_s >= self.limits.decoder_timeout_s:
                work.stopped.set()
            return SliceResult(header, None, str(error))

    def _plane(self, index: int) -> HUArray:
        """Memory for a slice as it was scanned: its place, unless it moves."""
        if self.shear is None:
            plane: HUArray = self.hu[index]
            return plane
        return np.empty(self.shear.source_shape, dtype=np.int16)

    def _convert(
        self, stored: StoredArray, index: int, header: SliceHeader, plane: HUArray
    ) -> SliceResult:
        conversion = convert_slice(stored, header.pixels, plane, self.hounsfield)
        if self.shear is not None:
            padded = self.shear.place(plane, index, self.hu[index])
            conversion = conversion.with_padding(padded)
        return SliceResult(header, conversion)


def _jobs_by_file(headers: Sequence[SliceHeader]) -> list[list[SliceJob]]:
    """Slices by file, and in the order of their frames."""
    files: dict[FileEntry, list[SliceJob]] = {}
    for index, header in enumerate(headers):
        files.setdefault(header.entry, []).append((index, header))
    return [sorted(jobs, key=lambda job: job[1].frame_index) for jobs in files.values()]
