"""Small CT series as files: sound ones, and ones that are broken in a known way."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from cemscope.errors import (
    DuplicateSliceError,
    GantryTiltError,
    MixedSeriesError,
    NotCTError,
    SeriesError,
    UnevenSpacingError,
    UnreadablePixelsError,
)
from cemscope.geometry import FloatArray, VoxelGeometry
from cemscope.testing.dicom_writer import (
    SeriesIdentity,
    WriteOptions,
    slice_dataset,
    write_dataset,
)
from cemscope.volume import Acquisition, CTVolume

SHAPE = (20, 12, 16)
SPACING_MM = (1.0, 0.8, 0.7)
ORIGIN_LPS_MM = (-40.0, -60.0, -310.0)
SIGNED_12 = WriteOptions(signed=True, rescale_intercept=0.0)


def phantom_ct(
    shape: tuple[int, int, int] = SHAPE,
    spacing_mm: tuple[float, float, float] = SPACING_MM,
    origin_lps_mm: tuple[float, float, float] = ORIGIN_LPS_MM,
    directions_lps: FloatArray | None = None,
) -> CTVolume:
    """Random voxels: no axis can be swapped or flipped unnoticed."""
    hu = np.random.default_rng(7).integers(-1000, 3000, shape).astype(np.int16)
    axes = ((0, 0, 1), (0, 1, 0), (1, 0, 0))
    geometry = VoxelGeometry.from_axes(
        shape,
        spacing_mm,
        origin_lps_mm,
        axes if directions_lps is None else directions_lps,
        "1.2.3.4",
    )
    return CTVolume(hu, geometry, acquisition=Acquisition(120.0, "Br40", spacing_mm[0]))


def sheared_ct(degrees: float) -> CTVolume:
    """Slices whose positions drift towards the back, as under a tilted gantry."""
    ct = phantom_ct()
    affine = ct.geometry.affine_lps.copy()
    affine[1, 0] = np.tan(np.radians(degrees)) * SPACING_MM[0]
    return replace(ct, geometry=VoxelGeometry(SHAPE, affine, "1.2.3.4"))


def datasets(
    ct: CTVolume | None = None,
    identity: SeriesIdentity | None = None,
    options: WriteOptions | None = None,
) -> list[Dataset]:
    """Slices of a series, uncompressed, to be edited."""
    ct = ct or phantom_ct()
    return [
        slice_dataset(ct, i, identity or SeriesIdentity(), options or WriteOptions())
        for i in range(ct.geometry.shape[0])
    ]


def save(
    slices: Sequence[Dataset], folder: Path, options: WriteOptions | None = None
) -> Path:
    """Write slices in a fixed shuffled order, under names that tell nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    start = len(list(folder.iterdir()))
    order = np.random.default_rng(3).permutation(len(slices))
    for number, index in enumerate(order):
        path = folder / f"{start + number:04d}"
        write_dataset(slices[index], path, options or WriteOptions())
    return folder


def _edit(change: Callable[[Dataset], None], *indices: int) -> list[Dataset]:
    slices = datasets()
    for index in indices or range(len(slices)):
        change(slices[index])
    return slices


def _move(dataset: Dataset, axis: int, by_mm: float) -> None:
    position = [float(v) for v in dataset.ImagePositionPatient]
    position[axis] += by_mm
    dataset.ImagePositionPatient = position


def _without(*indices: int) -> list[Dataset]:
    return [d for i, d in enumerate(datasets()) if i not in indices]


def _duplicate() -> list[Dataset]:
    slices = datasets()
    copy = datasets()[11]
    copy.SOPInstanceUID = "2.25.1"
    copy.PixelData = copy.PixelData[::-1]
    return [*slices, copy]


def _uneven() -> list[Dataset]:
    slices = datasets()
    for index, dataset in enumerate(slices[10:]):
        _move(dataset, 2, 1.0 * (index + 1))
    return slices


def _set(**values: object) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        for name, value in values.items():
            setattr(dataset, name, value)

    return change


def _drop(name: str) -> Callable[[Dataset], None]:
    return lambda dataset: dataset.__delattr__(name)


def _cut(dataset: Dataset) -> None:
    dataset.PixelData = dataset.PixelData[:-10]


def _interleaved() -> list[Dataset]:
    """Two acquisitions half a slice apart: together they look like one thin grid."""
    second = datasets(
        phantom_ct(origin_lps_mm=(-40.0, -60.0, -309.5)),
        SeriesIdentity(acquisition_number=2),
    )
    for number, dataset in enumerate(second, start=1):
        dataset.SOPInstanceUID = f"2.25.{number}"
    return [*datasets(), *second]


def _few() -> list[Dataset]:
    return datasets(phantom_ct((4, 12, 16), (5.0, 0.8, 0.7)))


def _thin_slab() -> list[Dataset]:
    return datasets(phantom_ct((6, 12, 16), (0.6, 0.8, 0.7)))


@dataclass(frozen=True, slots=True)
class BrokenSeries:
    """A series that must be refused.

    ``fault`` says how it is broken; ``words`` must all stand in the error message.
    """

    name: str
    fault: str
    slices: Callable[[], list[Dataset]]
    error: type[SeriesError]
    words: tuple[str, ...]
    spacing_mm: tuple[float, float, float] = SPACING_MM


BROKEN_SERIES = (
    BrokenSeries(
        "missing_slices",
        "two slices missing inside",
        lambda: _without(10, 11),
        UnevenSpacingError,
        (
            "2 slices are missing",
            "3.00 mm instead of 1.00 mm",
            "instance 10",
            "18 sl",
            "-63 % to +12 %",
        ),
    ),
    BrokenSeries(
        "two_gaps",
        "several gaps of different size",
        lambda: _without(5, 14, 15, 16),
        UnevenSpacingError,
        ("4 slices are missing", "2.00, 4.00 mm", "instance 5", "instance 14"),
    ),
    BrokenSeries(
        "duplicate",
        "one position twice, with different images",
        _duplicate,
        DuplicateSliceError,
        ("1 slice positions", "instance 12", "different images", "-5.0 %"),
    ),
    BrokenSeries(
        "uneven",
        "distance between slices changes from 1 to 2 mm",
        _uneven,
        UnevenSpacingError,
        ("10 x 2.00 mm", "9 x 1.00 mm"),
    ),
    BrokenSeries(
        "one_slice_off",
        "one slice 0.2 mm out of place",
        lambda: _edit(lambda d: _move(d, 2, 0.2), 14),
        UnevenSpacingError,
        ("1 x 0.80 mm", "1 x 1.20 mm"),
    ),
    BrokenSeries(
        "tilt_and_gap",
        "gantry tilt and a missing slice",
        lambda: [d for i, d in enumerate(datasets(sheared_ct(12.0))) if i != 7],
        UnevenSpacingError,
        ("1 slices are missing", "2.00 mm", "12.0 degrees"),
    ),
    BrokenSeries(
        "steep_tilt",
        "slices sheared by 50 degrees",
        lambda: datasets(sheared_ct(50.0)),
        GantryTiltError,
        ("50.0 degrees", "at most 35 degrees", "gantry 0 degrees"),
    ),
    BrokenSeries(
        "recentred_half_way",
        "field of view moved half way through the scan",
        lambda: _edit(lambda d: _move(d, 0, 6.0), *range(7, 13)),
        MixedSeriesError,
        ("jump sideways by up to 4.20 mm",),
    ),
    BrokenSeries(
        "one_slice_recentred",
        "one slice moved sideways",
        lambda: _edit(lambda d: _move(d, 0, 0.9), 10),
        MixedSeriesError,
        ("jump sideways by up to 0.85 mm",),
    ),
    BrokenSeries(
        "interleaved_acquisitions",
        "two acquisitions half a slice apart under one series UID",
        _interleaved,
        MixedSeriesError,
        ("2 acquisitions of the same region", "#1", "#2", "acquisition number 2"),
    ),
    BrokenSeries(
        "four_slices",
        "four slices only",
        _few,
        SeriesError,
        ("at least 5 slices, found 4",),
        (5.0, 0.8, 0.7),
    ),
    BrokenSeries(
        "single_slice",
        "a single slice",
        lambda: datasets()[:1],
        SeriesError,
        ("at least 5", "found 1"),
    ),
    BrokenSeries(
        "thin_slab",
        "slices cover 3.6 mm only",
        _thin_slab,
        SeriesError,
        ("at least 10 mm, found 3.6",),
        (0.6, 0.8, 0.7),
    ),
    BrokenSeries(
        "too_coarse",
        "12.5 mm between slices",
        lambda: datasets(phantom_ct((8, 12, 16), (12.5, 0.8, 0.7))),
        SeriesError,
        ("at most 10 mm between slices, found 12.5",),
        (12.5, 0.8, 0.7),
    ),
    BrokenSeries(
        "magnetic_resonance",
        "an MR series",
        lambda: _edit(_set(Modality="MR", SOPClassUID="1.2.840.10008.5.1.4.1.1.4")),
        NotCTError,
        ("expected modality CT, found MR",),
    ),
    BrokenSeries(
        "screen_capture",
        "screen captures of a CT",
        lambda: _edit(_set(SOPClassUID="1.2.840.10008.5.1.4.1.1.7")),
        NotCTError,
        ("expected CT images, found Secondary Capture",),
    ),
    BrokenSeries(
        "localizer_only",
        "localizers only",
        lambda: _edit(_set(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])),
        NotCTError,
        ("localizer",),
    ),
    BrokenSeries(
        "maximum_intensity",
        "maximum intensity projections",
        lambda: _edit(_set(ImageType=["DERIVED", "SECONDARY", "AXIAL", "MIP"])),
        NotCTError,
        ("projection (MIP)",),
    ),
    BrokenSeries(
        "iodine_map",
        "iodine map of a dual energy scan",
        lambda: _edit(_set(RescaleType="MGML")),
        NotCTError,
        ("expected values in HU, found MGML",),
    ),
    BrokenSeries(
        "no_position",
        "slices without positions",
        lambda: _edit(_drop("ImagePositionPatient")),
        SeriesError,
        ("ImagePositionPatient in 20 of 20 slices",),
    ),
    BrokenSeries(
        "skewed_orientation",
        "row and column directions not at right angles",
        lambda: _edit(_set(ImageOrientationPatient=[1, 0, 0, 0.5, 1, 0])),
        SeriesError,
        ("ImageOrientationPatient in 20 of 20 slices",),
    ),
    BrokenSeries(
        "no_pixel_spacing",
        "slices without pixel spacing",
        lambda: _edit(_drop("PixelSpacing")),
        SeriesError,
        ("PixelSpacing in 20 of 20 slices",),
    ),
    BrokenSeries(
        "no_slope",
        "two slices without rescale slope",
        lambda: _edit(_drop("RescaleSlope"), 3, 9),
        UnreadablePixelsError,
        ("in 2 of 20 slices", "first: instance 4"),
    ),
    BrokenSeries(
        "slope_zero",
        "rescale slope 0",
        lambda: _edit(_set(RescaleSlope="0")),
        UnreadablePixelsError,
        ("RescaleSlope", "20 of 20"),
    ),
    BrokenSeries(
        "slope_absurd",
        "rescale slope of a million in one slice",
        lambda: _edit(_set(RescaleSlope="1e6"), 0),
        UnreadablePixelsError,
        ("RescaleSlope", "1 of 20"),
    ),
    BrokenSeries(
        "pixels_cut_short",
        "pixel data shorter than rows x columns",
        lambda: _edit(_cut, 4, 5, 6),
        UnreadablePixelsError,
        ("3 of 20 slices", "instance 5", "expected 384 bytes of pixels, found 374"),
    ),
    BrokenSeries(
        "no_pixels",
        "one slice without pixel data",
        lambda: _edit(_drop("PixelData"), 8),
        UnreadablePixelsError,
        ("1 of 20 slices", "instance 9", "missing"),
    ),
    BrokenSeries(
        "more_bits_than_named",
        "values beyond the bits that the header names",
        lambda: _edit(_set(BitsStored=12, HighBit=11), 2),
        UnreadablePixelsError,
        ("1 of 20 slices", "instance 3", "12 bits"),
    ),
)
"""Each is refused by `read_series` with its own error."""
