"""The two maps that SPINEPS writes: which vertebra a voxel is, and which part of it.

Read together they give bodies and arches without a cut. SPINEPS calls the files
``..._seg-vert_msk.nii.gz`` and ``..._seg-spine_msk.nii.gz``.
"""

from pathlib import Path

import numpy as np

from cemscope.anatomy import ARCH_OFFSET
from cemscope.anatomy_schemes import (
    SPINEPS_ARCH_PARTS,
    SPINEPS_BODY_PARTS,
    SPINEPS_OTHER_PARTS,
    LabelScheme,
)
from cemscope.errors import LabelMapError
from cemscope.resampling import resample_labels_nearest
from cemscope.volume import LabelArray, LabelMap
from cemscope_pipelines.label_files import LabelFile, read_label_file

_SUFFIXES = (".nii", ".nii.gz", ".nrrd")


def spineps_pair(folder: Path) -> tuple[Path, Path] | None:
    """Find the vertebra map and the part map in a folder; None unless one of each."""
    maps = [p for p in sorted(folder.iterdir()) if p.name.lower().endswith(_SUFFIXES)]
    vertebrae = [p for p in maps if "seg-vert" in p.name]
    parts = [p for p in maps if "seg-spine" in p.name]
    if len(vertebrae) != 1 or len(parts) != 1:
        return None
    return vertebrae[0], parts[0]


def read_spineps_pair(vertebra_file: Path, part_file: Path) -> LabelFile:
    """Read bodies and arches from the two maps of SPINEPS.

    Returns
    -------
    LabelFile
        Under cemscope's numbers, on the grid of the vertebra map.

    Raises
    ------
    LabelMapError
        If a file cannot be used, or they do not belong together.
    """
    vertebrae, parts = read_label_file(vertebra_file), read_label_file(part_file)
    known = SPINEPS_BODY_PARTS | SPINEPS_ARCH_PARTS | SPINEPS_OTHER_PARTS | {0}
    strange = set(np.unique(parts.labels.labels).tolist()) - known
    if strange:
        raise LabelMapError(
            "expected SPINEPS' map of parts, found the numbers "
            f"{', '.join(str(n) for n in sorted(strange)[:8])} in it"
        )
    grid = vertebrae.labels.geometry
    part = resample_labels_nearest(parts.labels, grid).labels
    array = vertebrae.labels.labels
    levels = LabelScheme.SPINEPS.levels
    is_vertebra = np.isin(array, [n for n in levels if levels[n].name != "S1"])
    named = is_vertebra & (part > 0)
    if named.sum() < 0.5 * is_vertebra.sum():
        raise LabelMapError(
            f"the two maps of SPINEPS do not belong together: {named.sum():,} of "
            f"{is_vertebra.sum():,} voxels of vertebrae have a part"
        )
    result: LabelArray = np.where(is_vertebra | (array == 26), array, 0)
    result = result.astype(np.uint8)
    result[is_vertebra & np.isin(part, sorted(SPINEPS_ARCH_PARTS))] += ARCH_OFFSET
    names = {}
    for number in np.unique(result[result > 0]).tolist():
        arch = number > ARCH_OFFSET
        name = levels[number - ARCH_OFFSET if arch else number].name
        names[number] = f"{name} arch" if arch else name
    notices = tuple(dict.fromkeys((*vertebrae.notices, *parts.notices)))
    return LabelFile(LabelMap(result, grid, names), notices)
