"""DICOM objects of tilted scans, of a real scanner's series and of the sample."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from cases.dicom_validators import (
    dciodvfy_errors,
    dcmqi_report,
    dcmqi_segments,
    pixelmed_lines,
    sr_tree,
)
from cases.export_cases import (
    GEOMETRY,
    IDENTITY,
    L2,
    L3,
    hounsfield,
    make_report,
    material_labels,
    series_input,
    study_uid_of,
    vertebra_labels,
    write_case_folder,
)
from cases.sr_groups import groups_of, texts_of
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
from cemscope_pipelines.label_files import read_label_map, write_label_map
from cemscope_pipelines.report import Report
from cemscope_pipelines.review.leak_corrections import set_leak_places
from cemscope_pipelines.review.review_session import ReviewSession

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
    report = moved_to(make_report(IDENTITY), geometry, middle)
    told = report.series.model_copy(
        update={
            "study_instance_uid": study_uid_of(series),
            "series_instance_uid": series.series_instance_uid,
            "slices": geometry.shape[0], "rows": geometry.shape[1],
            "columns": geometry.shape[2],
        }
    )  # fmt: skip
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


def moved_to(report: Report, geometry: VoxelGeometry, middle: list[int]) -> Report:
    """Move all points as the label maps are moved: by voxels, to another grid."""
    offset = np.array(middle) - (9, 32, 32)

    def place(point: tuple[float, float, float]) -> tuple[float, float, float]:
        moved = geometry.index_to_lps(GEOMETRY.lps_to_index(point) + offset)
        return float(moved[0]), float(moved[1]), float(moved[2])

    vertebrae = tuple(
        vertebra.model_copy(
            update={
                "centroid_lps_mm": place(vertebra.centroid_lps_mm),
                "leaks": tuple(
                    leak.model_copy(
                        update={"centroid_lps_mm": place(leak.centroid_lps_mm)}
                    )
                    for leak in vertebra.leaks
                ),
            }
        )
        for vertebra in report.vertebrae
    )
    screws = tuple(
        screw.model_copy(
            update={
                "head_lps_mm": place(screw.head_lps_mm),
                "tip_lps_mm": place(screw.tip_lps_mm),
            }
        )
        for screw in report.screws
    )
    return report.model_copy(update={"vertebrae": vertebrae, "screws": screws})


@dataclass(frozen=True)
class MadeCase:
    """A case on a series of real size, and what was exported of it."""

    case: Path
    out: Path

    @property
    def report(self) -> Report:
        return Report.model_validate_json((self.case / "report.json").read_text())


def exported_on(
    folder: Path, root: Path, review: Callable[[Path], None] = lambda case: None
) -> MadeCase:
    case = case_on(list_series(folder)[0], folder, root)
    review(case)
    export_case(ExportJob(case, root / "out", choice=EVERYTHING))
    return MadeCase(case, root / "out")


def review(case: Path) -> None:
    """Judge all, and say another place of the leak than the machine did."""
    session = ReviewSession(case)
    set_leak_places(session, "L3-1", ("prevertebral",))
    while (finding := session.next_open()) is not None:
        session.accept(finding)
    session.save()


@pytest.fixture(scope="module")
def real(cemscope_data: Path, tmp_path_factory: pytest.TempPathFactory) -> MadeCase:
    """Headers of a Siemens scanner, without most of their UIDs."""
    folder = cemscope_data / "real-siemens-t11-t12"
    return exported_on(folder, tmp_path_factory.mktemp("real"))


@pytest.fixture(scope="module")
def sample(sample_dicom: Path, tmp_path_factory: pytest.TempPathFactory) -> MadeCase:
    folder = sample_dicom / "baseline"
    return exported_on(folder, tmp_path_factory.mktemp("sample"), review)


def require_valid(made: MadeCase) -> None:
    files = sorted(made.out.glob("*.dcm"))
    assert len(files) == 7
    assert {p.name: e for p in files if (e := dciodvfy_errors(p))} == {}
    tree = sr_tree(made.out / "report_sr.dcm")
    for words in ("UNVERIFIED", "COMPLETE", "PRELIMINARY", '"L3-1 leak"'):
        assert words in tree
    lines = pixelmed_lines(made.out / "report_sr.dcm")
    assert any("Found" in line or "IOD" in line for line in lines), lines[:5]
    assert [line for line in lines if line.startswith("Error")] == []


def require_read_back(made: MadeCase, folder: Path) -> None:
    """Let dcmqi read voxels, volumes, types and flags, and compare each."""
    volume = read_label_map(made.case / "materials.nii.gz")
    vertebrae = read_label_map(made.case / "vertebrae.nii.gz").labels
    mine = {
        "Cement leak L3-1": volume.labels == 2,
        "Screw L3-left": volume.labels == 3,
        "Rods and other metal": volume.labels == 4,
    }
    bodies = {"L3": L3, "L2": L2}
    found = dcmqi_segments(made.out / "seg_materials.dcm", folder / "materials")
    cement = np.zeros(volume.labels.shape, bool)
    for name, image in found.items():
        voxels = on_grid(image, volume.geometry)
        if name.startswith("Cement in "):
            level = name.removeprefix("Cement in ")
            assert not (voxels & np.isin(vertebrae, list(bodies.values()))
                        & (vertebrae != bodies[level])).any()  # fmt: skip
            cement |= voxels
        else:
            assert np.array_equal(voxels, mine.pop(name)), name
    assert not mine
    assert np.array_equal(cement, volume.labels == 1)
    for name, image in dcmqi_segments(
        made.out / "seg_vertebrae.dcm", folder / "vertebrae"
    ).items():
        number = bodies[name.split()[0]] + (100 if name.endswith("arch") else 0)
        assert np.array_equal(on_grid(image, volume.geometry), vertebrae == number)
    told = dcmqi_report(made.out / "report_sr.dcm", folder)
    assert (told["VerificationFlag"], told["CompletionFlag"]) == (
        "UNVERIFIED", "COMPLETE",
    )  # fmt: skip
    measured = {m["TrackingIdentifier"]: m for m in told["Measurements"]}
    for vertebra in made.report.vertebrae:
        (first, *_) = measured[f"{vertebra.level} cement"]["measurementItems"]
        assert float(first["value"]) == vertebra.cement.volume_ml
        for leak in vertebra.leaks:
            group = measured[f"{leak.id} leak"]
            assert float(group["measurementItems"][0]["value"]) == leak.volume_ml
            codes = {
                (e["conceptCode"]["CodeValue"], e["conceptValue"]["CodeValue"])
                for e in group["qualitativeEvaluations"]
                if isinstance(e["conceptValue"], dict)  # remarks are words
            }
            types = {("LEAKTYPE", f"LEAK-{kind}") for kind in leak.types}
            assert types | {("LEAKCERT", "DEFINITE")} <= codes


def on_grid(image: sitk.Image, geometry: VoxelGeometry) -> np.ndarray:
    """Place the slices that dcmqi gives back into the grid of the scan."""
    array = sitk.GetArrayFromImage(image) > 0
    whole = np.zeros(geometry.shape, bool)
    first = np.rint(geometry.lps_to_index(image.GetOrigin())).astype(int)
    direction = np.array(image.GetDirection()).reshape(3, 3)[:, 2]
    step = 1 if direction @ geometry.directions_lps[0] > 0 else -1
    assert tuple(first[1:]) == (0, 0)
    whole[first[0] + step * np.arange(len(array))] = array
    return whole


@pytest.mark.real_data
def test_objects_of_a_real_series_are_valid(real: MadeCase) -> None:
    require_valid(real)


@pytest.mark.real_data
def test_objects_of_a_real_series_are_read_back(real: MadeCase, tmp_path: Path) -> None:
    require_read_back(real, tmp_path)


@pytest.mark.sample
def test_objects_of_the_sample_patient_are_valid(sample: MadeCase) -> None:
    require_valid(sample)
    leak = groups_of(sample.out / "report_sr.dcm")["L3-1 leak"]
    assert "place: reader: prevertebral; machine: epidural" in texts_of(leak)


@pytest.mark.sample
def test_objects_of_the_sample_patient_are_read_back(
    sample: MadeCase, tmp_path: Path
) -> None:
    require_read_back(sample, tmp_path)
