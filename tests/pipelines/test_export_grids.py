"""DICOM objects of tilted scans, of a real scanner's series and of the sample."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest

from cases.dicom_validators import dciodvfy_errors, sr_tree
from cases.export_cases import (
    GEOMETRY,
    IDENTITY,
    hounsfield,
    make_report,
    material_labels,
    series_input,
    study_uid_of,
    vertebra_labels,
    write_case_folder,
)
from cemscope.dicom import SeriesSummary, list_series, read_series
from cemscope.dicom.objects import terms as standard_terms
from cemscope.dicom.objects.segmentation_object import (
    SegmentationJob,
    SegmentMeaning,
    segmentation_object,
)
from cemscope.dicom.objects.source_images import ExpectedSeries, read_source_images
from cemscope.dicom.objects.stamp import ObjectStamp, write_object
from cemscope.geometry import VoxelGeometry
from cemscope.testing.dicom_writer import write_series
from cemscope.volume import CTVolume, LabelMap
from cemscope_pipelines.export.case_objects import ObjectChoice
from cemscope_pipelines.export.export_case import ExportJob, export_case
from cemscope_pipelines.label_files import write_label_map
from cemscope_pipelines.report import Report

EVERYTHING = ObjectChoice(pdf=True, pictures=True, key_objects=True)


def sheared(geometry: VoxelGeometry, shift_mm: float) -> VoxelGeometry:
    affine = geometry.affine_lps.copy()
    affine[1, 0] += shift_mm
    return VoxelGeometry(geometry.shape, affine, geometry.frame_of_reference_uid)


def test_labels_of_a_tilted_scan_lie_on_its_own_slices(tmp_path: Path) -> None:

    from cases.export_cases import GEOMETRY

    tilted = sheared(GEOMETRY, 0.6)
    write_series(CTVolume(hounsfield(), tilted), tmp_path / "ct", IDENTITY)
    ct = read_series(tmp_path / "ct")
    assert ct.source is not None
    assert ct.source.scanned_geometry is not None
    labels = LabelMap((ct.hu > 1500).astype(np.uint8), ct.geometry)
    source = read_source_images(
        tmp_path / "ct",
        ExpectedSeries(
            ct.source.study_instance_uid, ct.source.series_instance_uid,
            ct.geometry.frame_of_reference_uid, ct.source.sop_instance_uids,
        ),
    )  # fmt: skip
    meaning = SegmentMeaning(
        1, "dense", standard_terms.PHYSICAL_OBJECT, standard_terms.IMPLANT, (),
        "dense", "2.25.1", (1.0, 0.0, 0.0),
    )  # fmt: skip
    stamp = ObjectStamp("key", datetime(2026, 1, 1, tzinfo=UTC), "0")
    written = segmentation_object(
        SegmentationJob("dense", labels, (meaning,)), source, stamp
    )
    assert written is not None
    path = tmp_path / "seg.dcm"
    write_object(written.dataset, path)
    assert dciodvfy_errors(path) == []
    seg = pydicom.dcmread(path)
    truth = hounsfield() > 1500
    frames = seg.pixel_array.astype(bool)
    wrong = 0
    for frame, groups in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        position = groups.PlanePositionSequence[0].ImagePositionPatient
        index = round((float(position[2]) + 10.0) / 2.0)
        expected = tilted.index_to_lps((index, 0, 0))
        assert np.allclose(np.asarray(position, float), expected, atol=1e-3)
        source_image = groups.DerivationImageSequence[0].SourceImageSequence[0]
        assert source_image.ReferencedSOPInstanceUID == IDENTITY.sop_instance_uid(index)
        wrong += int((frame ^ truth[index]).sum())
    # moved there and back by fractions of a pixel: at most a rim of one voxel
    assert wrong < 0.25 * truth.sum()


def case_on(series: SeriesSummary, folder: Path, root: Path) -> Path:
    """A case with small made-up findings in the middle of a series."""
    assert series.geometry is not None
    geometry = series.geometry
    middle = [n // 2 for n in geometry.shape]
    x, y, z = (float(c) for c in geometry.index_to_lps(middle))
    report = moved_to(make_report(IDENTITY), (x, y, z))
    told = report.series.model_copy(
        update={
            "study_instance_uid": study_uid_of(series),
            "series_instance_uid": series.series_instance_uid,
        }
    )
    report = report.model_copy(update={"series": told})
    made_from = series_input(series, folder)
    case = write_case_folder(root / "case", report, GEOMETRY, made_from)
    box = (
        slice(middle[0] - 5, middle[0] + 5),
        slice(middle[1] - 32, middle[1] + 32),
        slice(middle[2] - 32, middle[2] + 32),
    )
    for name, small in (
        ("vertebrae", vertebra_labels()),
        ("materials", material_labels()),
    ):
        labels = np.zeros(geometry.shape, np.uint8)
        labels[box] = small[4:14]
        write_label_map(LabelMap(labels, geometry), case / f"{name}.nii.gz")
    return case


def moved_to(report: Report, point: tuple[float, float, float]) -> Report:
    vertebrae = tuple(
        vertebra.model_copy(
            update={
                "centroid_lps_mm": point,
                "leaks": tuple(
                    leak.model_copy(update={"centroid_lps_mm": point})
                    for leak in vertebra.leaks
                ),
            }
        )
        for vertebra in report.vertebrae
    )
    return report.model_copy(update={"vertebrae": vertebrae})


@pytest.mark.real_data
def test_objects_of_a_real_series_are_valid(
    cemscope_data: Path, tmp_path: Path
) -> None:
    """Headers of a Siemens scanner, without most of their UIDs."""
    folder = cemscope_data / "real-siemens-t11-t12"
    case = case_on(list_series(folder)[0], folder, tmp_path)
    export_case(ExportJob(case, tmp_path / "out", choice=EVERYTHING))
    files = sorted((tmp_path / "out").glob("*.dcm"))
    assert len(files) == 7
    assert {p.name: e for p in files if (e := dciodvfy_errors(p))} == {}
    assert "VERIFIED" in sr_tree(tmp_path / "out" / "report_sr.dcm")


@pytest.mark.sample
def test_objects_of_the_sample_patient_are_valid(
    sample_dicom: Path, tmp_path: Path
) -> None:
    folder = sample_dicom / "baseline"
    case = case_on(list_series(folder)[0], folder, tmp_path)
    export_case(ExportJob(case, tmp_path / "out", choice=EVERYTHING))
    files = sorted((tmp_path / "out").glob("*.dcm"))
    assert len(files) == 7
    assert {p.name: e for p in files if (e := dciodvfy_errors(p))} == {}
