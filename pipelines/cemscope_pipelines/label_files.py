"""Label maps in NIfTI and NRRD files.

The voxels are read through ITK, and so is the position of NRRD files; the position of
NIfTI files is read from their header (see `nifti_header`). DICOM segmentations are not
read here: ITK opens them without an error and with a wrong geometry (see
`cemscope.dicom.seg`).
"""

import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from cemscope.errors import ExportError, LabelMapError
from cemscope.geometry import VoxelGeometry
from cemscope.volume import LabelMap, Notice
from cemscope_pipelines.nifti_header import NiftiHeader, read_nifti_header

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr")
"""File name endings of the label maps that can be read."""

_NIFTI_PARTS = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz")

_WRITABLE = (".nii", ".nii.gz", ".nrrd")

_GZIP_LEVEL = 1
"""Label maps are mostly runs of equal bytes: a higher level costs time for nothing."""

_SHEAR_LIMIT_DEG = 0.2
"""Axes of a label map that are further from right angles are refused; headers hold
single-precision numbers and rounded quaternions."""

_SHEAR_LIMIT = 1e-4
"""Largest cosine between two axes that a NIfTI or NRRD file written by ITK can hold."""


_FORMS_AGREE_MM = 0.5
"""Positions of a NIfTI file that differ by less are one position, rounded."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelFile:
    """A label map and what is worth telling about its file.

    Attributes
    ----------
    labels : LabelMap
        Axes (slice, row, column) as stored in the file; the LPS affine says where
        they point. Named where the file names its labels.
    notices : tuple of Notice
        E.g. that the file gives two positions.
    """

    labels: LabelMap
    notices: tuple[Notice, ...] = ()


def read_label_map(path: Path) -> LabelMap:
    """Read a NIfTI or NRRD label map; `read_label_file` without its notices."""
    return read_label_file(path).labels


def read_label_file(path: Path) -> LabelFile:
    """Read a NIfTI or NRRD label map of any orientation and number type.

    Where a NIfTI file gives two positions, the sform is used, as in nibabel and the
    programs built on it, TotalSegmentator and SPINEPS among them.

    Parameters
    ----------
    path
        File that ends in .nii, .nii.gz, .nrrd or .nhdr.

    Returns
    -------
    LabelFile
        Labels, names from the file's table of names, and notices.

    Raises
    ------
    LabelMapError
        If the file is missing or unreadable, is not three-dimensional, holds
        anything but whole numbers from 0 to 255, its axes are sheared, or a NIfTI
        header tells no position.
    """
    if not path.is_file():
        raise LabelMapError("no label map at this path: the file does not exist")
    if not path.name.lower().endswith(SUFFIXES):
        raise LabelMapError(
            f"expected a label map that ends in {', '.join(SUFFIXES)}, found "
            f"{path.suffix or 'no ending'}"
        )
    header = read_nifti_header(path) if ".nii" in path.name.lower() else None
    if header is not None:
        _require_position(header)
    try:
        image = _read_alone(path)
    except RuntimeError as error:
        raise LabelMapError(
            "the label map cannot be read: it is damaged or no image of its ending"
        ) from error
    image = _three_dimensional(image)
    array = _checked_labels(sitk.GetArrayViewFromImage(image))
    if header is None:
        labels = LabelMap(array, _geometry_of(image), _segment_names(image))
        return LabelFile(labels, _nrrd_notices(image, path))
    labels = LabelMap(array, _nifti_geometry(header, array.shape), header.label_names)
    return LabelFile(labels, _nifti_notices(header))


def write_label_map(label_map: LabelMap, path: Path) -> None:
    """Write a label map as compressed NIfTI or NRRD.

    Parameters
    ----------
    label_map
        The labels; their frame of reference is not stored, the formats have no place.
    path
        File that ends in .nii, .nii.gz or .nrrd; an existing one is replaced.

    Raises
    ------
    ExportError
        If the ending is unknown, the axes are sheared or the file cannot be written.
    """
    if not path.name.lower().endswith(_WRITABLE):
        raise ExportError(
            f"expected a file name that ends in {', '.join(_WRITABLE)}, found "
            f"{path.suffix or 'no ending'}"
        )
    geometry = label_map.geometry
    directions = geometry.directions_lps
    shear = float(np.abs(directions @ directions.T - np.eye(3)).max())
    if shear > _SHEAR_LIMIT:
        raise ExportError(
            "a NIfTI or NRRD label map needs axes at right angles; these are off by "
            f"{np.degrees(np.arcsin(min(shear, 1.0))):.2f} degrees"
        )
    image: Any = sitk.GetImageFromArray(label_map.labels)
    image.SetSpacing(tuple(reversed(geometry.spacing_mm)))
    image.SetOrigin(tuple(geometry.origin_lps_mm.tolist()))
    image.SetDirection(directions[::-1].T.ravel().tolist())
    try:
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            written = Path(folder) / path.name
            sitk.WriteImage(
                image, str(written), useCompression=True, compressionLevel=_GZIP_LEVEL
            )
            written.replace(path)
    except (RuntimeError, OSError) as error:
        raise ExportError(
            "the label map cannot be written: is the folder there, and is there room?"
        ) from error


def _read_alone(path: Path) -> Any:
    """Read one image without its neighbours on the disk.

    The NIfTI library takes the header from X.nii.gz but the voxels from X.nii, X.img
    or the like where such a file lies beside it, and tells nothing.
    """
    stem = path.name.split(".nii")[0]
    beside = [path.with_name(f"{stem}{end}") for end in _NIFTI_PARTS]
    if not any(other != path and other.exists() for other in beside):
        return sitk.ReadImage(str(path))
    with tempfile.TemporaryDirectory(prefix="cemscope-") as folder:
        copy = Path(folder) / path.name
        shutil.copyfile(path, copy)
        return sitk.ReadImage(str(copy))


def _three_dimensional(image: Any) -> Any:
    """Drop a single fourth axis (some tools write one), refuse anything else."""
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise LabelMapError(
            f"expected one number per voxel in the label map, found "
            f"{image.GetNumberOfComponentsPerPixel()} (a colour image or a layered "
            "segmentation): export it as one label map"
        )
    size = image.GetSize()
    if len(size) == 4 and size[3] == 1:
        return image[:, :, :, 0]
    if len(size) != 3:
        raise LabelMapError(
            f"expected a three-dimensional label map, found size {size}"
        )
    return image


def _checked_labels(stored: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    lowest, highest = float(stored.min()), float(stored.max())
    if not np.isfinite([lowest, highest]).all():
        raise LabelMapError(
            "the label map holds values that are no numbers (NaN, infinity)"
        )
    if lowest < 0 or highest > 255:
        raise LabelMapError(
            f"expected labels from 0 to 255 in the label map, found {lowest:g} to "
            f"{highest:g}: is this a label map and not the CT?"
        )
    if stored.dtype.kind != "f":
        return stored.astype(np.uint8)
    labels: npt.NDArray[np.uint8] = np.rint(stored).astype(np.uint8)
    deviation = float(np.abs(stored - labels).max())
    if deviation > 1e-3:
        raise LabelMapError(
            "expected whole numbers in the label map, found values up to "
            f"{deviation:.3f} away from one: a probability map, or labels that "
            "were interpolated. Resample labels with nearest neighbour"
        )
    return labels


def _geometry_of(image: Any) -> VoxelGeometry:
    spacing = np.array(image.GetSpacing())
    directions = np.array(image.GetDirection()).reshape(3, 3)
    affine = np.eye(4)
    affine[:3, :3] = (directions * spacing)[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    columns, rows, slices = image.GetSize()
    return VoxelGeometry((slices, rows, columns), affine)


def _require_position(header: NiftiHeader) -> None:
    form = header.qform_lps if header.sform_lps is None else header.sform_lps
    if form is None:
        raise LabelMapError(
            "the NIfTI header of the label map tells no position in the patient "
            "(qform and sform codes are both 0): write it again from the CT's header"
        )
    axes = form[:3, :3]
    lengths = np.linalg.norm(axes, axis=0)
    if not np.isfinite(form).all() or float(lengths.min()) < 1e-6:
        raise LabelMapError(
            "the NIfTI header of the label map holds no valid position (its axes have "
            f"the lengths {', '.join(f'{v:.3g}' for v in lengths)} mm)"
        )
    cosines = (axes / lengths).T @ (axes / lengths) - np.eye(3)
    shear_deg = float(np.degrees(np.arcsin(min(1.0, float(np.abs(cosines).max())))))
    if shear_deg > _SHEAR_LIMIT_DEG:
        raise LabelMapError(
            f"the axes of the label map are sheared by {shear_deg:.1f} degrees (gantry "
            "tilt, or an affine registration): resample it onto the CT first"
        )


def _nifti_geometry(header: NiftiHeader, shape: tuple[int, ...]) -> VoxelGeometry:
    form = header.qform_lps if header.sform_lps is None else header.sform_lps
    if form is None:
        raise LabelMapError("the NIfTI header of the label map tells no position")
    affine = form.copy()
    affine[:, :3] = form[:, 2::-1]  # array axes run (k, j, i)
    return VoxelGeometry((shape[0], shape[1], shape[2]), affine)


def _nifti_notices(header: NiftiHeader) -> tuple[Notice, ...]:
    apart_mm = header.forms_differ_mm
    if apart_mm < _FORMS_AGREE_MM:
        return ()
    return (
        Notice(
            "nifti_positions_differ",
            f"The label map gives two positions, up to {apart_mm:.1f} mm apart (qform "
            "and sform); the sform was used.",
        ),
    )


def _nrrd_notices(image: Any, path: Path) -> tuple[Notice, ...]:
    nrrd = path.name.lower().endswith((".nrrd", ".nhdr"))
    if not nrrd or image.HasMetaDataKey("NRRD_space"):
        return ()
    return (
        Notice(
            "label_space_unknown",
            "The NRRD file of the labels names no patient space; LPS was assumed.",
        ),
    )


def _segment_names(image: Any) -> Mapping[int, str]:
    """Names of labels in a segmentation of 3D Slicer (.seg.nrrd)."""
    names = {}
    for key in image.GetMetaDataKeys():
        found = re.fullmatch(r"Segment(\d+)_LabelValue", key)
        name = found and f"Segment{found.group(1)}_Name"
        if name and image.HasMetaDataKey(name):
            value = image.GetMetaData(key).strip()
            if value.isdigit():
                names[int(value)] = image.GetMetaData(name).strip()
    return names
