"""Writes ``docs/ingest.md`` from the table of cases.

    PYTHONPATH=tests python -m cases.ingest_document

Every row is made by reading the case with cemscope and with SimpleITK.
"""

import re
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from cases.ingest import INGEST_CASES, IngestCase
from cemscope.dicom import read_series
from cemscope.errors import SeriesError

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "ingest.md"

HEAD = """# Series that reach cemscope, and what becomes of them

`cemscope inspect` names the findings of every series below; `cemscope analyze` reads
what is sound, repairs what can be repaired exactly and says so under
`series.warnings`, and refuses the rest with exit status 3. Each row is a test
(`tests/cases/ingest.py`), and this page is written by those tests
(`PYTHONPATH=tests python -m cases.ingest_document`).

The last column is what SimpleITK {version} makes of the same files
(`GetGDCMSeriesFileNames` and `ReadImage`). Its error is that of a volume measured away
from the fault: the size of a voxel against the true one. Most test series have 20
slices of 12 x 16 voxels, 1 mm apart.

## Read

| series | cemscope | SimpleITK |
|---|---|---|
"""

MIDDLE = """
## Refused

| series | cemscope: error and message | SimpleITK |
|---|---|---|
"""

TAIL = """
## Which series is measured

`cemscope inspect` lists all with the reason for each (`--json` for programs), and
`--series UID` or `--series UID#2` overrules the choice. Of the series that can be
measured, `analyze` takes the first by these rules, in this order:

1. axial slices (within 37 degrees);
2. at least 0.7 of the longest coverage;
3. thin slices, in classes of 1.3, 2.1, 3.1 and 5.1 mm (thickness or distance);
4. the latest day;
5. originals before reformats;
6. smooth kernels before sharp and unknown ones, which overshoot at cement and metal;
7. no metal artefact reduction, which alters HU beside metal;
8. more coverage, then a smaller distance between slices.

Of series that are equal in all of that the first by UID is taken, and the report says
so (`series_tie`). A series that holds two acquisitions of one region is nobody's to
choose from: the next series of that day is taken, and the report says so
(`series_passed_over`); without one, cemscope asks for a name. Of series of two patients
(patient ID, birth date or sex differ) none is taken unless it is named. Zip archives
inside a folder or a zip archive are not opened (`archives_not_opened`).

## Limits

Sizes are checked before anything is allocated, and can be changed under
`reading.limits`: 4096 rows or columns, 20,000 slices or frames, 4 GiB per volume,
64 MiB per header, 2 GiB per compressed object, 128 MiB per deflated data set; in a zip
200,000 files, 64 GiB unpacked, 200 times the packed size. Zip archives are never
unpacked to disk, and names in a DICOMDIR are never opened. Compressed slices are
decoded in processes of their own, one per processor and at most 8, with 1 GiB of memory
(on Linux) and 60 s per slice: a codec that crashes or hangs costs one error message,
and after damaged slices that took so long together no other one is tried. The
processes end with the reader, also if it is interrupted or killed.

What no reader can see: bytes changed inside pixels that still decode, a first or last
slice that was never sent (unless a DICOMDIR lists it), and positions that are wrong in
a regular way, such as a whole series stretched.
"""


def first_series(path: Path) -> list[str]:
    """Files of the largest series that GDCM finds in a folder."""
    reader = sitk.ImageSeriesReader
    if path.is_file():
        return [str(path)]
    found = [
        list(reader.GetGDCMSeriesFileNames(str(path), uid))
        for uid in reader.GetGDCMSeriesIDs(str(path))
    ]
    return max(found, key=len, default=[])


def simpleitk_outcome(path: Path, case: IngestCase) -> str:
    """What SimpleITK makes of an input, in a few words."""
    files = first_series(path)
    if not files:
        return "finds no series"
    try:
        image = sitk.ReadImage(files if len(files) > 1 else files[0])
    except RuntimeError:
        return "raises an error"
    size, spacing = image.GetSize(), image.GetSpacing()
    truth = None if case.truth is None else case.truth()
    true_mm = case.spacing_mm if truth is None else truth.spacing_mm
    true_mm3 = float(np.prod(true_mm))
    if truth is not None:
        true_mm3 = truth.geometry.voxel_volume_mm3
    error = 100 * (float(np.prod(spacing)) / true_mm3 - 1)
    words = f"reads {size[2]} slices at {spacing[2]:.3f} mm"
    if abs(error) > 0.05:
        return f"{words}: volumes {error:+.1f} %"
    array = sitk.GetArrayViewFromImage(image)
    if truth is None or array.shape != truth.hu.shape:
        # Its values are not told: they can come from memory that nobody filled.
        return f"{words} without a word"
    if np.array_equal(array, truth.hu) or np.array_equal(array[::-1], truth.hu):
        return "the same"
    return f"the same grid, other values ({array.min()} to {array.max()})"


def cemscope_outcome(case: IngestCase, path: Path) -> str:
    """What cemscope makes of an input: its notices, or its error."""
    try:
        ct = read_series(path)
    except SeriesError as error:
        text = re.sub(r"^series \S+ \(\d+ slices\) is refused: ", "", str(error))
        return f"`{type(error).__name__}`: {_without_uids(text)}"
    if not ct.notices:
        return "read"
    said = "; ".join(f"`{n.code}`: {n.message}" for n in ct.notices)
    return f"read; {_without_uids(said)}"


def _without_uids(text: str) -> str:
    return re.sub(r"\b[12](?:\.\d+){5,}", "UID", text)


def row(case: IngestCase, folder: Path) -> str:
    """One line of the table."""
    path = case.write(folder)
    ours, theirs = cemscope_outcome(case, path), simpleitk_outcome(path, case)
    return f"| {case.fault} | {ours} | {theirs} |\n"


def ingest_document() -> str:
    """The whole page."""
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    text = HEAD.format(version=sitk.Version.VersionString())
    with tempfile.TemporaryDirectory() as scratch:
        for case in INGEST_CASES:
            if case.error is None:
                text += row(case, Path(scratch, case.name))
        text += MIDDLE
        for case in INGEST_CASES:
            if case.error is not None:
                text += row(case, Path(scratch, case.name))
    return text + TAIL


if __name__ == "__main__":
    DOCUMENT.write_text(ingest_document())
