"""Where the vertebrae of a case come from: found here, by a program, or from a file."""

from pathlib import Path

from cemscope.anatomy_schemes import LabelScheme, scheme_from_name
from cemscope.dicom.seg import is_segmentation, read_segmentation
from cemscope.errors import ConfigError
from cemscope.segmentation.vertebra_import import (
    ImportRequest,
    ImportSettings,
    spine_from_labels,
)
from cemscope.segmentation.vertebrae import VertebraSettings, find_vertebrae
from cemscope.spine import LevelAnchor, Spine, VertebraSource
from cemscope.volume import CTVolume, LabelMap
from cemscope_pipelines.label_files import read_label_map
from cemscope_pipelines.totalsegmentator import run_totalsegmentator

EMBEDDED = "embedded"
TOTALSEGMENTATOR = "totalsegmentator"


def load_vertebrae(
    ct: CTVolume,
    choice: str,
    label_scheme: str | None = None,
    anchor: LevelAnchor | None = None,
    settings: VertebraSettings | None = None,
    import_settings: ImportSettings | None = None,
) -> Spine:
    """Get the vertebrae of a CT from the chosen source.

    Parameters
    ----------
    ct
        The scan.
    choice
        "embedded", "totalsegmentator", or the path of a NIfTI or NRRD label map or
        of a DICOM Segmentation on any grid in the same patient space.
    label_scheme
        Numbering of the file, e.g. "verse"; None detects it.
    anchor
        The user's word on one level.
    settings
        Tunables of the embedded finder.
    import_settings
        Tunables of the import of labels.

    Raises
    ------
    ConfigError
        If the choice or the scheme is unknown, or a needed package is missing.
    LabelMapError
        If the labels cannot be used.
    SegmentationError
        If nothing is found, or TotalSegmentator fails.
    """
    scheme = _scheme(label_scheme)
    if choice == EMBEDDED:
        if scheme is not None:
            raise ConfigError(
                "--label-scheme says how a label map is numbered; the embedded finder "
                "reads none. Give a file with --vertebrae"
            )
        return find_vertebrae(ct, settings or VertebraSettings(), anchor)
    tunables = import_settings or ImportSettings()
    if choice == TOTALSEGMENTATOR:
        source = VertebraSource.TOTALSEGMENTATOR
        scheme = LabelScheme.TOTALSEGMENTATOR
        labels = run_totalsegmentator(ct)
    else:
        source = VertebraSource.IMPORTED
        labels = read_vertebra_labels(Path(choice))
    request = ImportRequest(scheme, anchor, source, tunables)
    return spine_from_labels(labels, ct.geometry, request, ct)


def read_vertebra_labels(path: Path) -> LabelMap:
    """Read a label map from NIfTI, NRRD or DICOM, told apart by content.

    Raises
    ------
    ConfigError
        If nothing lies at the path.
    LabelMapError
        If the file cannot be used.
    """
    if path.is_dir():
        files = [file for file in sorted(path.iterdir()) if file.is_file()]
        if len(files) != 1:
            raise ConfigError(
                f"expected one label map file for --vertebrae, found a folder with "
                f"{len(files)} files"
            )
        path = files[0]
    if not path.is_file():
        raise ConfigError(
            f"expected 'embedded', 'totalsegmentator' or the path of a label map for "
            f"--vertebrae, found {str(path)!r}, where no file lies"
        )
    if is_segmentation(path):
        return read_segmentation(path)
    return read_label_map(path)


def _scheme(name: str | None) -> LabelScheme | None:
    if name is None:
        return None
    try:
        return scheme_from_name(name)
    except ValueError as error:
        raise ConfigError(str(error)) from error
