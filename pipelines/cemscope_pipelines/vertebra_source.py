"""Where the vertebrae of a case come from: found here, by a program, or from a file."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cemscope.anatomy_schemes import (
    TOTALSEGMENTATOR_SCHEMES,
    LabelScheme,
    level_from_text,
    scheme_from_name,
)
from cemscope.dicom.seg import is_segmentation, read_segmentation
from cemscope.errors import ConfigError, LabelMapError, SegmentationError
from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.labels.vertebra_import import (
    ImportRequest,
    ImportSettings,
    spine_from_labels,
)
from cemscope.segmentation.vertebrae import VertebraSettings, find_vertebrae
from cemscope.spine import LevelAnchor, Spine, VertebraSource
from cemscope.volume import CTVolume, LabelMap, Notice
from cemscope_pipelines.label_files import LabelFile, read_label_file
from cemscope_pipelines.spineps_files import read_spineps_pair, spineps_pair
from cemscope_pipelines.totalsegmentator import (
    TotalSegmentatorSettings,
    run_totalsegmentator,
)

EMBEDDED = "embedded"
TOTALSEGMENTATOR = "totalsegmentator"


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """Tunables of all sources of vertebrae.

    Attributes
    ----------
    finder
        Of the embedded finder.
    label_import
        Of the import of labels.
    totalsegmentator
        Of the run of that program.
    """

    finder: VertebraSettings = field(default_factory=VertebraSettings)
    label_import: ImportSettings = field(default_factory=ImportSettings)
    totalsegmentator: TotalSegmentatorSettings = field(
        default_factory=TotalSegmentatorSettings
    )


def load_vertebrae(
    ct: CTVolume,
    choice: str,
    label_scheme: str | None = None,
    anchor: LevelAnchor | None = None,
    settings: SourceSettings | None = None,
) -> Spine:
    """Get the vertebrae of a CT from the chosen source.

    Parameters
    ----------
    ct
        The scan.
    choice
        "embedded", "totalsegmentator", or the path of a NIfTI or NRRD label map, of a
        DICOM Segmentation, or of a folder with one of these or with the two maps of
        SPINEPS; on any grid in the same patient space.
    label_scheme
        Numbering of the file, e.g. "verse"; None detects it.
    anchor
        The user's word on one level.
    settings
        Tunables.

    Raises
    ------
    ConfigError
        If the choice or the scheme is unknown, or a needed package is missing.
    LabelMapError
        If the labels of a file cannot be used.
    SegmentationError
        If nothing is found, or TotalSegmentator fails or writes unusable labels.
    """
    settings = settings or SourceSettings()
    scheme = _scheme(label_scheme)
    if choice == EMBEDDED:
        if scheme is not None:
            raise ConfigError(
                "--label-scheme says how a label map is numbered; the embedded finder "
                "reads none. Give a file with --vertebrae"
            )
        return find_vertebrae(ct, settings.finder, anchor)
    if choice == TOTALSEGMENTATOR:
        return _from_totalsegmentator(ct, scheme, anchor, settings)
    path = _only_path(Path(choice))
    file = read_vertebra_labels(path)
    notices = file.notices
    if scheme is not None and path.is_file() and is_segmentation(path):
        named = any(level_from_text(name) for name in file.labels.names.values())
        if named:
            scheme = None
            notices += (_SCHEME_UNUSED,)
    request = ImportRequest(
        scheme, anchor, VertebraSource.IMPORTED, notices, settings.label_import
    )
    return spine_from_labels(file.labels, ct.geometry, request, ct)


_SCHEME_UNUSED = Notice(
    "label_scheme_unused",
    "The DICOM Segmentation names its segments; --label-scheme was not used.",
)


def _from_totalsegmentator(
    ct: CTVolume,
    scheme: LabelScheme | None,
    anchor: LevelAnchor | None,
    settings: SourceSettings,
) -> Spine:
    if scheme not in (None, *TOTALSEGMENTATOR_SCHEMES):
        raise ConfigError(
            f"--vertebrae totalsegmentator is numbered by that program, not by "
            f"'{scheme}'; leave --label-scheme out"
        )
    file = run_totalsegmentator(ct, settings.totalsegmentator)
    request = ImportRequest(
        LabelScheme.TOTALSEGMENTATOR,
        anchor,
        VertebraSource.TOTALSEGMENTATOR,
        file.notices,
        settings.label_import,
    )
    try:
        return spine_from_labels(file.labels, ct.geometry, request, ct)
    except LabelMapError as error:
        # The user gave a scan, and that was accepted: not the input is at fault.
        raise SegmentationError(
            f"the output of TotalSegmentator cannot be used: {error}"
        ) from error


def read_vertebra_labels(path: Path) -> LabelFile:
    """Read a label map from NIfTI, NRRD or DICOM, told apart by content.

    Parameters
    ----------
    path
        A file, or a folder with one file or with the two maps of SPINEPS.

    Raises
    ------
    ConfigError
        If nothing lies at the path.
    LabelMapError
        If the file cannot be used.
    """
    path = _only_path(path)
    if path.is_dir():
        pair = spineps_pair(path)
        if pair is not None:
            return read_spineps_pair(*pair)
        count = len(_files_in(path))
        raise ConfigError(
            "expected one label map file for --vertebrae, or the two maps of SPINEPS "
            f"(seg-vert and seg-spine), found a folder with {count} files"
        )
    if not path.is_file():
        raise ConfigError(
            f"expected 'embedded', 'totalsegmentator' or the path of a label map for "
            f"--vertebrae, found {str(path)!r}, where no file lies"
        )
    if is_segmentation(path):
        return LabelFile(_with_free_ends(read_segmentation(path)))
    return read_label_file(path)


def _with_free_ends(labels: LabelMap) -> LabelMap:
    """Add an empty slice at both ends of a DICOM Segmentation.

    Its writers leave empty frames out, so that the outermost vertebrae always reach
    the end of what is stored; they are not cut there.
    """
    array = np.pad(labels.labels, ((1, 1), (0, 0), (0, 0)))
    geometry = labels.geometry
    affine = geometry.affine_lps.copy()
    affine[:3, 3] = geometry.index_to_lps([-1, 0, 0])
    shape = (array.shape[0], array.shape[1], array.shape[2])
    grid = VoxelGeometry(shape, affine, geometry.frame_of_reference_uid)
    return LabelMap(array, grid, labels.names)


def _only_path(path: Path) -> Path:
    """Return the only file of a folder, or else the path itself."""
    if not path.is_dir():
        return path
    files = _files_in(path)
    return files[0] if len(files) == 1 else path


def _files_in(folder: Path) -> list[Path]:
    return [
        file
        for file in sorted(folder.iterdir())
        if file.is_file() and not file.name.startswith(".")
    ]


def _scheme(name: str | None) -> LabelScheme | None:
    if name is None:
        return None
    try:
        return scheme_from_name(name)
    except ValueError as error:
        raise ConfigError(str(error)) from error
