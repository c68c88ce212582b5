"""Cement away from the vertebrae is no leak of a vertebra in the reader's map."""

import numpy as np

from cases.reports import LevelCase, ReportCase, made_report
from cemscope.geometry import VoxelGeometry
from cemscope_pipelines.report import CementElsewhereEntry
from cemscope_pipelines.review.case_maps import number_leaks
from cemscope_pipelines.review.voxel_change import FIRST_LEAK, LEAKED


def test_its_voxels_keep_the_number_of_leaked_cement() -> None:
    level = LevelCase("L3", 3.0, leaks=((("B",), ("epidural",), 0.2),))
    report = made_report(ReportCase("1.2", "1.3", (level,)))
    (leak,) = report.vertebrae[0].leaks
    away = CementElsewhereEntry(
        location="vena_cava", volume_ml=0.1, centroid_lps_mm=(30.0, 20.0, 10.0)
    )
    report = report.model_copy(update={"cement_elsewhere": (away,)})
    geometry = VoxelGeometry.from_axes((60, 60, 60), (1.0, 1.0, 1.0), (-10, -10, -10))
    working = np.zeros(geometry.shape, np.uint8)
    places = []
    for entry in (leak, away):
        index = np.rint(geometry.lps_to_index(entry.centroid_lps_mm)).astype(int)
        places.append(tuple(slice(k - 1, k + 2) for k in index))
        working[places[-1]] = LEAKED
    number_leaks(working, geometry, report, {leak.id: FIRST_LEAK})
    assert (working[places[0]] == FIRST_LEAK).all()
    assert (working[places[1]] == LEAKED).all()
