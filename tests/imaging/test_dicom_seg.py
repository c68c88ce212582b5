from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from cemscope.anatomy import VertebraLevel
from cemscope.dicom.seg import is_segmentation, read_segmentation
from cemscope.errors import LabelMapError
from cemscope.geometry import VoxelGeometry
from cemscope.resampling import resample_labels_nearest
from cemscope.testing.dicom_writer import SeriesIdentity, write_series
from cemscope.volume import CTVolume

FRAME_UID = "1.2.826.0.1.3680043.8.498.77"


@dataclass(frozen=True)
class Segment:
    label: str
    code: Code = codes.SCT.Bone


def coded(name: str) -> Segment:
    code = VertebraLevel(name).snomed_code
    assert code is not None
    return Segment("segment", Code(code, "SCT", f"{name} vertebra"))


def description(number: int, segment: Segment) -> Any:
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.label,
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=segment.code,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )


@pytest.fixture(scope="module")
def ct() -> CTVolume:
    axes = np.array([[0, 0.1, 1], [0, 1, -0.1], [1, 0, 0]], dtype=float)
    axes /= np.linalg.norm(axes, axis=1)[:, None]
    geometry = VoxelGeometry.from_axes(
        (12, 10, 9), (2.5, 0.8, 0.8), (-30, 40, 900), axes, FRAME_UID
    )
    return CTVolume(np.zeros(geometry.shape, dtype=np.int16), geometry)


def labels_of(ct: CTVolume) -> npt.NDArray[np.uint8]:
    array = np.zeros(ct.geometry.shape, dtype=np.uint8)
    array[2:4, 2:6, 3:7] = 1  # slices 4 to 6 stay empty and are not stored
    array[7:10, 1:8, 2:5] = 2
    return array


def written(
    ct: CTVolume,
    folder: Path,
    segments: tuple[Segment, ...],
    labels: npt.NDArray[Any],
    kind: str = "BINARY",
) -> Path:
    files = write_series(ct, folder / "ct", SeriesIdentity())
    source = [pydicom.dcmread(file) for file in reversed(files)]
    volume = hd.get_volume_from_series(source, dtype=np.int32)
    # highdicom sorts the slices its own way: bring ours to its grid by position.
    theirs = VoxelGeometry(volume.spatial_shape, volume.affine)
    index = np.rint(
        ct.geometry.lps_to_index(
            theirs.index_to_lps(np.argwhere(np.ones(theirs.shape, dtype=bool)))
        )
    ).astype(int)
    moved = labels[tuple(index.T)].reshape(*theirs.shape, *labels.shape[3:])
    if kind == "FRACTIONAL":
        moved = np.stack([moved == n for n in (1, 2)], -1).astype(np.float32) * 0.8
    seg = hd.seg.Segmentation(
        source_images=source,
        pixel_array=volume.with_array(moved, channels=None)
        if moved.ndim == 3
        else moved,
        segmentation_type=kind,
        segment_descriptions=[
            description(number + 1, segment) for number, segment in enumerate(segments)
        ],
        series_instance_uid=hd.UID(),
        series_number=100,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="test",
        manufacturer_model_name="test",
        software_versions="1",
        device_serial_number="0",
        omit_empty_frames=True,
    )
    path = folder / "seg"
    seg.save_as(path)
    return path


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
@pytest.mark.parametrize(
    "segments",
    [
        (coded("L3"), coded("L2")),
        (Segment("vertebrae_L3"), Segment("vertebrae_L2")),
        (Segment("L3 vertebra"), Segment("Second lumbar vertebra")),
    ],
    ids=["code", "class name", "text"],
)
def test_segments_lie_where_they_were_drawn(
    ct: CTVolume, tmp_path: Path, segments: tuple[Segment, ...], kind: str
) -> None:
    labels = labels_of(ct)
    path = written(ct, tmp_path, segments, labels, kind)
    assert is_segmentation(path)
    found = read_segmentation(path)
    assert found.geometry.frame_of_reference_uid == FRAME_UID
    on_ct = resample_labels_nearest(found, ct.geometry).labels
    assert np.array_equal(on_ct, np.choose(labels, [0, 22, 21]))
    assert {found.names[n] for n in (22, 21)} == {"L3", "L2"}


def test_empty_slices_between_stored_ones_keep_their_place(
    ct: CTVolume, tmp_path: Path
) -> None:
    path = written(ct, tmp_path, (coded("L3"), coded("L2")), labels_of(ct))
    stored = pydicom.dcmread(path)
    assert int(stored.NumberOfFrames) == 5
    found = read_segmentation(path)
    assert found.geometry.shape == (8, 10, 9)
    assert found.geometry.spacing_mm == pytest.approx((2.5, 0.8, 0.8))


def test_one_frame(ct: CTVolume, tmp_path: Path) -> None:
    labels = np.zeros(ct.geometry.shape, dtype=np.uint8)
    labels[5, 2:6, 3:7] = 1
    path = written(ct, tmp_path, (coded("L3"),), labels)
    found = read_segmentation(path)
    assert found.geometry.shape == (1, 10, 9)
    on_ct = resample_labels_nearest(found, ct.geometry).labels
    assert np.array_equal(on_ct, labels * 22)


def test_body_and_arch_segments_get_two_numbers(ct: CTVolume, tmp_path: Path) -> None:
    segments = (Segment("L3 body"), Segment("L3 arch"))
    found = read_segmentation(written(ct, tmp_path, segments, labels_of(ct)))
    assert set(np.unique(found.labels)) == {0, 22, 122}
    assert dict(found.names) == {22: "L3", 122: "L3 arch"}


def test_other_segments_are_left_out(ct: CTVolume, tmp_path: Path) -> None:
    segments = (Segment("aorta"), coded("L2"))
    found = read_segmentation(written(ct, tmp_path, segments, labels_of(ct)))
    assert set(np.unique(found.labels)) == {0, 21}


def test_without_vertebra_names_the_numbers_stay(ct: CTVolume, tmp_path: Path) -> None:
    segments = (Segment("one"), Segment("two"))
    found = read_segmentation(written(ct, tmp_path, segments, labels_of(ct)))
    assert set(np.unique(found.labels)) == {0, 1, 2}


def test_one_vertebra_twice_is_refused(ct: CTVolume, tmp_path: Path) -> None:
    path = written(ct, tmp_path, (coded("L3"), Segment("L3")), labels_of(ct))
    with pytest.raises(LabelMapError, match=r"two segments .* L3"):
        read_segmentation(path)


def test_uneven_frames_are_refused_in_mm(ct: CTVolume, tmp_path: Path) -> None:
    path = written(ct, tmp_path, (coded("L3"), coded("L2")), labels_of(ct))
    dataset = pydicom.dcmread(path)
    frame = dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0]
    frame.ImagePositionPatient = [v + 0.9 for v in frame.ImagePositionPatient]
    dataset.save_as(path)
    with pytest.raises(LabelMapError, match=r"no regular grid: up to \d\.\d\d mm"):
        read_segmentation(path)


def test_ct_slice_and_text_are_no_segmentation(ct: CTVolume, tmp_path: Path) -> None:
    file = write_series(ct, tmp_path / "ct", SeriesIdentity())[0]
    assert not is_segmentation(file)
    with pytest.raises(LabelMapError, match=r"another DICOM object \(modality CT\)"):
        read_segmentation(file)
    text = tmp_path / "notes"
    text.write_text("no DICOM")
    assert not is_segmentation(text)
    with pytest.raises(LabelMapError, match="no readable DICOM"):
        read_segmentation(text)
