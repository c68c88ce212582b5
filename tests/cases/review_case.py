"""A tiny case folder with its scan: two vertebrae, cement, a leak, a blob, a screw.

Cement is drawn as solid bodies and blurred, so that volumes are known from geometry.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from cemscope.anatomy import VertebraLevel
from cemscope.dicom import read_series
from cemscope.geometry import VoxelGeometry
from cemscope.testing.dicom_writer import SeriesIdentity, write_series
from cemscope.volume import CTVolume, LabelMap
from cemscope_pipelines.label_files import write_label_map
from cemscope_pipelines.report import (
    CementElsewhereEntry,
    CementEntry,
    LeakEntry,
    MetalEntry,
    NotAssessedEntry,
    Report,
    ScrewEntry,
    SoftwareEntry,
    TotalsEntry,
    VertebraEntry,
)
from cemscope_pipelines.report_builder import series_entry
from cemscope_pipelines.review.reviewed_result import totals_of

SHAPE = (60, 76, 64)
SPACING_MM = (1.0, 0.8, 0.8)
ORIGIN_MM = (-25.6, -24.0, -300.0)
CEMENT_HU, BONE_HU, TISSUE_HU, METAL_HU = 2000, 200, 40, 3000

LEAK_ID = "L4-1"
BLOB_ML = 4.0 / 3.0 * np.pi * 3.0**3 / 1000.0
"""Of the false blob in L3, a ball of 3 mm."""


@dataclass(frozen=True)
class TinyCase:
    """Where the parts lie.

    Attributes
    ----------
    folder, series : Path
        Case folder and DICOM folder.
    blob_lps_mm : tuple of float
        Middle of the false blob in L3.
    leak_lps_mm : tuple of float
        Middle of the leak of L4.
    """

    folder: Path
    series: Path
    blob_lps_mm: tuple[float, float, float]
    leak_lps_mm: tuple[float, float, float]


GEOMETRY = VoxelGeometry.from_axes(SHAPE, SPACING_MM, ORIGIN_MM)
BODY_CENTRES = {"L4": (0.0, -8.0, -286.0), "L3": (0.0, -8.0, -258.0)}
BLOB = (7.0, -8.0, -258.0)
LEAK = (-19.0, -8.0, -286.0)
AWAY, AWAY_RADIUS_MM = (-17.0, 28.0, -270.0), 4.0
"""Cement in the muscle, in cases that have some."""

AWAY_ML = 4.0 / 3.0 * np.pi * AWAY_RADIUS_MM**3 / 1000.0


def _points() -> np.ndarray:
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), -1)
    return GEOMETRY.index_to_lps(grid)


def _ball(points: np.ndarray, centre: tuple[float, ...], radius: float) -> np.ndarray:
    return np.asarray(((points - centre) ** 2).sum(-1) <= radius**2)


def write_case(root: Path, with_cement_elsewhere: bool = False) -> TinyCase:
    """Write the scan and the case folder."""
    points = _points()
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    vertebrae = np.zeros(SHAPE, np.uint8)
    hu = np.full(SHAPE, TISSUE_HU, np.float32)
    for level, (cx, cy, cz) in BODY_CENTRES.items():
        number = VertebraLevel(level).number
        near = np.abs(z - cz) <= 11.0
        body = near & (((x - cx) / 16.0) ** 2 + ((y - cy) / 12.0) ** 2 <= 1.0)
        ring = near & (np.hypot(x - cx, y - cy - 22.0) <= 13.0)
        ring &= (np.hypot(x - cx, y - cy - 22.0) >= 9.0) & ~body
        vertebrae[body] = number
        vertebrae[ring] = number + 100
        hu[body | ring] = BONE_HU
        wall = body & ~ndimage.binary_erosion(body)
        hu[wall] = 500.0
    cement = _ball(points, (-5.0, -8.0, -286.0), 7.0)
    channel = (np.hypot(y + 8.0, z + 286.0) <= 1.6) & (x < -5.0) & (x > -20.0)
    leak = _ball(points, LEAK, 3.5)
    blob = _ball(points, BLOB, 3.0)
    away = _ball(points, AWAY, AWAY_RADIUS_MM) & with_cement_elsewhere
    all_cement = cement | channel | leak | blob | away
    hu[all_cement] = CEMENT_HU
    shaft = (np.hypot(x - 9.0, z + 258.0) <= 2.5) & (y >= 4.0) & (y <= 28.0)
    hu[shaft] = METAL_HU
    sigma = 0.6 / np.array(SPACING_MM)
    hu = ndimage.gaussian_filter(hu, sigma)
    hu += np.random.default_rng(7).normal(0.0, 12.0, SHAPE)
    outside = (vertebrae == 0) & (leak | channel)
    materials = np.zeros(SHAPE, np.uint8)
    materials[all_cement] = 1
    materials[outside | away] = 2
    materials[shaft] = 3
    ct = CTVolume(np.rint(hu).astype(np.int16), GEOMETRY)
    series = root / "ct"
    write_series(ct, series, SeriesIdentity())
    folder = root / "case"
    folder.mkdir(parents=True)
    write_label_map(LabelMap(vertebrae, GEOMETRY), folder / "vertebrae.nii.gz")
    write_label_map(LabelMap(materials, GEOMETRY), folder / "materials.nii.gz")
    ml = GEOMETRY.voxel_volume_mm3 / 1000.0
    leaked = float(outside.sum()) * ml
    report = _report(read_series(series), vertebrae, (cement | channel) & ~outside,
                     leaked, ml, shaft)  # fmt: skip
    if with_cement_elsewhere:
        entry = CementElsewhereEntry(
            location="paravertebral_right",
            volume_ml=round(AWAY_ML, 3),
            centroid_lps_mm=AWAY,
        )
        report = report.model_copy(update={"cement_elsewhere": (entry,)})
    (folder / "report.json").write_text(report.to_json(), encoding="utf-8")
    (folder / "provenance.json").write_text(
        json.dumps({"input": {"path": str(series)}}), encoding="utf-8"
    )
    return TinyCase(folder, series, BLOB, LEAK)


def _cement(inside: float, leaked: float, body: float) -> CementEntry:
    volume = round(inside + leaked, 3)
    return CementEntry(
        volume_ml=volume,
        interval_ml=(round(0.9 * volume, 3), round(1.1 * volume, 3)),
        threshold_volume_ml=volume,
        intrabody_ml=round(inside, 3),
        leaked_ml=round(leaked, 3),
        fill_ratio=round(inside / body, 4),
    )


def _report(
    ct: CTVolume,
    vertebrae: np.ndarray,
    own: np.ndarray,
    leaked: float,
    ml: float,
    shaft: np.ndarray,
) -> Report:
    missing = NotAssessedEntry(reason="not measured in this test")
    leak = LeakEntry(
        id=LEAK_ID,
        types=("B",),
        certainty="definite",
        locations=("paravertebral_right",),
        volume_ml=round(leaked, 3),
        max_distance_mm=6.5,
        centroid_lps_mm=LEAK,
        canal_encroachment_percent=0.0,
        evidence=missing,
    )
    entries = []
    for level, cement_ml, leaks in (
        ("L4", float(own.sum()) * ml, (leak,)),
        ("L3", BLOB_ML, ()),
    ):
        body = float((vertebrae == VertebraLevel(level).number).sum()) * ml
        entries.append(
            VertebraEntry(
                level=level,
                level_confidence=0.9,
                source="embedded",
                complete=True,
                centroid_lps_mm=BODY_CENTRES[level],
                body_volume_ml=round(body, 3),
                cement=_cement(cement_ml, leaked if leaks else 0.0, body),
                leaks=leaks,
            )
        )
    screw = ScrewEntry(
        id="L3-left",
        level="L3",
        side="left",
        head_lps_mm=(9.0, 28.0, -258.0),
        tip_lps_mm=(9.0, 4.0, -258.0),
        diameter_mm=5.0,
        length_mm=24.0,
        cemented=False,
        cement_volume_ml=0.0,
        lucency=missing,
    )
    vertebrae_entries = tuple(entries)
    totals: TotalsEntry = totals_of(vertebrae_entries)
    return Report(
        software=SoftwareEntry(version="test", config_hash="0" * 64),
        series=series_entry(ct, ct.notices),
        vertebrae=vertebrae_entries,
        screws=(screw,),
        cement_elsewhere=(),
        metal=(MetalEntry(kind="screw", volume_ml=round(float(shaft.sum()) * ml, 3)),),
        totals=totals,
    )
