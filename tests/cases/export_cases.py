"""Small cases with a CT series, as `analyze` and `review` leave them."""

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset

from cemscope.dicom.parts import made_up_uid
from cemscope.dicom.patient_key import patient_digest_of
from cemscope.dicom.series import SeriesSummary
from cemscope.geometry import VoxelGeometry
from cemscope.testing.dicom_writer import SeriesIdentity, write_series
from cemscope.volume import Acquisition, CTVolume, LabelMap
from cemscope_pipelines.case_folder import (
    MATERIALS_FILE,
    PROVENANCE_FILE,
    REPORT_FILE,
    VERTEBRAE_FILE,
)
from cemscope_pipelines.export.case_pictures import CasePictures
from cemscope_pipelines.label_files import write_label_map
from cemscope_pipelines.provenance import InputRecord, Provenance
from cemscope_pipelines.report import (
    CementEntry,
    LeakEntry,
    LeakEvidenceEntry,
    NotAssessedEntry,
    Report,
    ScrewEntry,
    SeriesEntry,
    SoftwareEntry,
    TotalsEntry,
    VertebraEntry,
    WarningEntry,
)
from cemscope_pipelines.report_builder import software_version
from cemscope_pipelines.review.review_document import (
    FindingId,
    ReviewDocument,
    finding_ids,
)
from cemscope_pipelines.review.review_session import ReviewSession
from cemscope_pipelines.review.review_state import ReviewState

IDENTITY = SeriesIdentity(
    patient_name="Müller^Jörg",
    patient_id="EXPORT-1",
    study_date="20260102",
    study_key="export",
)
GEOMETRY = VoxelGeometry.from_axes((24, 64, 64), (2.0, 1.0, 1.0), (-32.0, -32.0, -10.0))
CONFIG_HASH = "c" * 64

L2, L3, L3_ARCH = 21, 22, 122
CEMENT, LEAK, SCREW, ROD = 1, 2, 3, 4


def vertebra_labels() -> np.ndarray:
    labels = np.zeros(GEOMETRY.shape, np.uint8)
    labels[2:11, 10:34, 16:48] = L3
    labels[2:11, 44:56, 20:44] = L3_ARCH
    labels[13:22, 10:34, 16:48] = L2
    return labels


def material_labels() -> np.ndarray:
    labels = np.zeros(GEOMETRY.shape, np.uint8)
    labels[4:8, 16:26, 20:30] = CEMENT
    labels[15:19, 18:24, 30:40] = CEMENT
    labels[5:7, 34:38, 30:34] = LEAK
    labels[6:8, 20:50, 40:43] = SCREW
    labels[1:22, 56:59, 10:13] = ROD
    return labels


def hounsfield() -> np.ndarray:
    hu = np.full(GEOMETRY.shape, 40, np.int16)
    hu[vertebra_labels() > 0] = 250
    materials = material_labels()
    hu[(materials == CEMENT) | (materials == LEAK)] = 1800
    hu[materials >= SCREW] = 8000
    return hu


def _point(z: float, y: float, x: float) -> tuple[float, float, float]:
    found = GEOMETRY.index_to_lps((z, y, x))
    return float(found[0]), float(found[1]), float(found[2])


def _evidence() -> LeakEvidenceEntry:
    return LeakEvidenceEntry(
        sentence="leaves the posterior wall in the midline through an opening of 4 mm",
        candidates=(), exit_lps_mm=_point(5.5, 33.5, 31.5), exit_wall="posterior",
        exit_height=0.5, midline_mm=0.0, midline_share=0.0, opening_mm=4.0,
        cortex_gap=0.1, length_mm=4.0, width_mm=4.0, elongation=1.0, slope_deg=0.0,
        off_surface_mm=2.0, track_mm=NotAssessedEntry(reason="no track was told"),
        canal_depth_mm=4.0,
    )  # fmt: skip


def make_report(identity: SeriesIdentity, geometry: VoxelGeometry = GEOMETRY) -> Report:
    leak = LeakEntry(
        id="L3-1", types=("B",), certainty="definite", locations=("epidural",),
        volume_ml=0.064, max_distance_mm=4.13, centroid_lps_mm=_point(5.5, 35.5, 31.5),
        canal_encroachment_percent=12.4, evidence=_evidence(),
    )  # fmt: skip
    cement = [
        CementEntry(
            volume_ml=0.871, interval_ml=(0.702, 1.043), threshold_volume_ml=1.012,
            intrabody_ml=0.807, leaked_ml=0.064, fill_ratio=0.0584,
        ),
        CementEntry(
            volume_ml=0.479, interval_ml=(0.401, 0.566), threshold_volume_ml=0.523,
            intrabody_ml=0.479, leaked_ml=0.0, fill_ratio=0.0347,
        ),
    ]  # fmt: skip
    vertebrae = tuple(
        VertebraEntry(
            level=level, level_confidence=0.91, source="embedded", complete=True,
            centroid_lps_mm=centre, body_volume_ml=13.824, cement=amount,
            leaks=(leak,) if level == "L3" else (),
        )
        for level, centre, amount in (
            ("L3", _point(6, 21.5, 31.5), cement[0]),
            ("L2", _point(17, 21.5, 31.5), cement[1]),
        )
    )  # fmt: skip
    screw = ScrewEntry(
        id="L3-left", level="L3", side="left", head_lps_mm=_point(6.5, 50, 41),
        tip_lps_mm=_point(6.5, 20, 41), diameter_mm=5.53, length_mm=30.0, cemented=True,
        cement_volume_ml=0.31, lucency=NotAssessedEntry(reason="not measured here"),
    )  # fmt: skip
    slices, rows, columns = geometry.shape
    return Report(
        software=SoftwareEntry(version=software_version(), config_hash=CONFIG_HASH),
        series=SeriesEntry(
            study_instance_uid=identity.study_instance_uid,
            series_instance_uid=identity.series_instance_uid,
            frame_of_reference_uid=identity.frame_of_reference_uid,
            acquisition_date=identity.study_date, kvp=120.0, kernel="Br59",
            rows=rows, columns=columns, slices=slices, spacing_mm=geometry.spacing_mm,
            hu_min=40, hu_max=8000, hu_clipped_at=None,
            warnings=(WarningEntry(code="levels_unsure", message="Check the names."),),
        ),
        vertebrae=vertebrae, screws=(screw,), cement_elsewhere=(), metal=(),
        totals=TotalsEntry(
            cement_ml=1.35, interval_ml=(1.103, 1.609), leaked_ml=0.064,
            vertebrae_augmented=2,
        ),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class CasePlan:
    """How a case is made; the default is one that nobody has reviewed."""

    identity: SeriesIdentity = IDENTITY
    geometry: VoxelGeometry = GEOMETRY
    reviewed: bool = False
    decisions: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Finding id -> decision and reason; the others are accepted."""
    change: Callable[[Report], Report] = lambda report: report
    """What is told otherwise in the machine's report."""


def make_case(root: Path, plan: CasePlan | None = None) -> Path:
    """Write ``root/ct`` and ``root/case``; returns the case."""
    plan = plan or CasePlan()
    ct = CTVolume(
        hounsfield(), plan.geometry,
        acquisition=Acquisition(kvp=120.0, kernel="Br59", slice_thickness_mm=2.0),
    )  # fmt: skip
    write_series(ct, root / "ct", plan.identity)
    uids = tuple(plan.identity.sop_instance_uid(i) for i in range(ct.hu.shape[0]))
    header = Dataset()
    header.PatientID = plan.identity.patient_id
    case = write_case_folder(
        root / "case",
        plan.change(make_report(plan.identity, plan.geometry)),
        plan.geometry,
        InputRecord(
            path=str(root / "ct"),
            study_instance_uid=plan.identity.study_instance_uid,
            series_instance_uid=plan.identity.series_instance_uid,
            frame_of_reference_uid=plan.identity.frame_of_reference_uid,
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            sop_instance_uids=uids,
            patient_digest=patient_digest_of(
                header, plan.identity.series_instance_uid
            ),
        ),
    )  # fmt: skip
    if plan.reviewed:
        review_case(case, plan.decisions)
    return case


def note_patient(case: Path) -> None:
    """Note in the provenance whom the headers of ``ct`` name now."""
    header = dcmread(next((case.parent / "ct").iterdir()), stop_before_pixels=True)
    path = case / PROVENANCE_FILE
    record = json.loads(path.read_text())
    digest = patient_digest_of(header, str(header.SeriesInstanceUID))
    record["input"]["patient_digest"] = digest
    path.write_text(json.dumps(record))


def write_case_folder(
    folder: Path, report: Report, geometry: VoxelGeometry, made_from: InputRecord
) -> Path:
    folder.mkdir(parents=True)
    (folder / REPORT_FILE).write_text(report.to_json(), encoding="utf-8", newline="\n")
    write_label_map(LabelMap(vertebra_labels(), geometry), folder / VERTEBRAE_FILE)
    write_label_map(LabelMap(material_labels(), geometry), folder / MATERIALS_FILE)
    provenance = Provenance(
        created_utc="2026-01-02T12:30:00+00:00",
        command=("cemscope", "analyze"),
        software_version=report.software.version,
        python_version="3.11.0",
        platform="test",
        package_versions={},
        input=made_from,
        config={},
        config_hash=CONFIG_HASH,
        timings=(),
        peak_memory_mib=0.0,
        outputs_sha256={
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
            for name in (REPORT_FILE, VERTEBRAE_FILE, MATERIALS_FILE)
        },
    )
    (folder / PROVENANCE_FILE).write_text(provenance.to_json(), encoding="utf-8")
    return folder


def review_case(case: Path, decisions: dict[str, tuple[str, str]]) -> ReviewDocument:
    """Judge every finding of a case as a reader would, in a journal.

    The cement of a modified vertebra grows by 0.100 mL; the types of a modified leak
    become C.
    """
    session = ReviewSession(case)
    state = session.state
    for one in finding_ids(session.report):
        decision, reason = decisions.get(one.finding_id, ("accepted", ""))
        if decision == "modified":
            state = _modified(state, one)
        state = state.decided(one, decision, reason)  # type: ignore[arg-type]
    ids = [one.finding_id for one in state.decisions]
    session.history.record("judge all", {}, ids, state)
    return session.save()


def _modified(state: ReviewState, finding: FindingId) -> ReviewState:
    if finding.kind == "leak":
        _, leak = state.leak(finding.finding_id)
        state = state.replace(types_told=(finding.finding_id,))
        return state.with_leak(leak.model_copy(update={"types": ("C",)}))
    if finding.kind != "vertebra":
        return state
    entry = state.vertebra(finding.finding_id)
    assert isinstance(entry.cement, CementEntry)
    volume = round(entry.cement.volume_ml + 0.1, 3)
    cement = entry.cement.model_copy(update={"volume_ml": volume})
    return state.with_vertebra(entry.model_copy(update={"cement": cement}))


def study_uid_of(series: SeriesSummary) -> str:
    """UID of the study as `read_series` gives it."""
    return series.study_instance_uid or made_up_uid("study", series.name)


def series_input(series: SeriesSummary, path: Path) -> InputRecord:
    """Provenance of a case made from a listed series."""
    return InputRecord(
        path=str(path),
        study_instance_uid=study_uid_of(series),
        series_instance_uid=series.series_instance_uid,
        frame_of_reference_uid=series.frame_of_reference_uid or None,
        sop_class_uid=series.headers[0].sop_class_uid,
        sop_instance_uids=tuple(h.sop_instance_uid for h in series.headers),
    )


def draw_nothing(content: object, ct: object) -> CasePictures:
    """Stands in for `draw_case` where a test is about something else."""
    picture = io.BytesIO()
    Image.new("RGB", (60, 40), (90, 90, 90)).save(picture, "PNG")
    return CasePictures(picture.getvalue(), ())
