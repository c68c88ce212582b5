"""How fast a large case is reviewed: opening, slice steps, recount, memory.

Makes a case of 512 x 512 x 600 voxels by spreading the sample case over a larger grid
(its voxels stay as they are, soft tissue around them) and works on it in napari's
window. Run under a screen or ``xvfb-run``:

    python tests/benchmarks/review_napari.py --case demo_case [--series sample_dicom/baseline]
"""  # noqa: E501 - a command

import argparse
import json
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import psutil

from cemscope.dicom import read_series
from cemscope.geometry import VoxelGeometry
from cemscope.testing.dicom_writer import SeriesIdentity, write_series
from cemscope.volume import CTVolume, LabelMap
from cemscope_pipelines.label_files import read_label_map, write_label_map
from cemscope_pipelines.report import Report
from cemscope_pipelines.report_builder import series_entry
from cemscope_pipelines.review.review_document import FindingId

SHAPE = (600, 512, 512)


def enlarged(array: np.ndarray, fill: int, start: tuple[int, ...]) -> np.ndarray:
    """Put an array into the middle of a larger one."""
    large = np.full(SHAPE, fill, array.dtype)
    box = tuple(slice(s, s + n) for s, n in zip(start, array.shape, strict=True))
    large[box] = array
    return large


def write_large_case(case: Path, series: Path, root: Path) -> tuple[Path, Path]:
    """Write the enlarged case and its scan."""
    ct = read_series(series)
    shape = ct.geometry.shape
    start = tuple((a - b) // 2 for a, b in zip(SHAPE, shape, strict=True))
    affine = ct.geometry.affine_lps.copy()
    affine[:3, 3] = ct.geometry.index_to_lps([-s for s in start])
    geometry = VoxelGeometry(SHAPE, affine, ct.geometry.frame_of_reference_uid)
    large = CTVolume(enlarged(ct.hu, -1000, start), geometry, clipped_at_hu=3071)
    write_series(large, root / "ct", SeriesIdentity())
    folder = root / "case"
    folder.mkdir()
    for name in ("vertebrae", "materials"):
        labels = read_label_map(case / f"{name}.nii.gz").labels
        written = LabelMap(enlarged(labels, 0, start), geometry)
        write_label_map(written, folder / f"{name}.nii.gz")
    report = Report.model_validate_json((case / "report.json").read_text())
    stored = read_series(root / "ct")
    report = report.model_copy(update={"series": series_entry(stored, stored.notices)})
    (folder / "report.json").write_text(report.to_json())
    (folder / "provenance.json").write_text(
        json.dumps({"input": {"path": str(root / "ct")}})
    )
    return folder, root / "ct"


def memory_mib() -> float:
    """Resident memory of this process."""
    return float(psutil.Process().memory_info().rss) / 2**20


def peak_mib() -> float:
    """Highest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Write the case, work on it, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", type=Path, required=True)
    parser.add_argument("--series", type=Path, default=Path("sample_dicom/baseline"))
    parser.add_argument("--made", type=Path, help="a folder made by an earlier run")
    given = parser.parse_args()
    made = given.made or Path(tempfile.mkdtemp(prefix="cemscope-benchmark-"))
    if not (made / "case").exists():
        # In a process of its own, so that its memory does not count.
        made.mkdir(exist_ok=True)
        writer = get_context("spawn").Process(
            target=write_large_case, args=(given.case, given.series, made)
        )
        writer.start()
        writer.join()
    for name in (
        "review.json", "review.edits.jsonl", "review_materials.nii.gz",
    ):  # fmt: skip
        (made / "case" / name).unlink(missing_ok=True)
    print(f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    measure(made / "case")
    if given.made is None:
        shutil.rmtree(made)


def measure(folder: Path) -> None:
    """Open, step, correct."""
    from qtpy.QtWidgets import QApplication

    from cemscope_pipelines.review import cement_corrections
    from cemscope_pipelines.review.voxel_change import CEMENT
    from napari_cemscope.plane import AXIAL, CORONAL, SAGITTAL
    from napari_cemscope.review_app import open_review

    ct_mib = 2 * np.prod(SHAPE) / 2**20
    start = time.perf_counter()
    viewer, widget = open_review(folder)
    widget.window().resize(1366, 768)
    QApplication.processEvents()
    opening = time.perf_counter() - start
    whole = time.time() - psutil.Process().create_time()
    controller = widget.controller
    assert controller is not None
    session, views = controller.session, controller.views
    print(f"opening {opening:.1f} s (limit 10 s); {whole:.1f} s from the start of the "
          f"process, {time.process_time():.1f} s of the processor")  # fmt: skip
    print(f"memory {memory_mib():.0f} MiB, at most {peak_mib():.0f} MiB, the CT "
          f"{ct_mib:.0f} MiB: {memory_mib() / ct_mib:.2f}, at most "
          f"{peak_mib() / ct_mib:.2f} times (limit 4)")  # fmt: skip
    leak = next(r.finding for r in session.rows if r.finding.kind == "leak")
    controller.choose(leak)
    QApplication.processEvents()
    for plane in (AXIAL, SAGITTAL, CORONAL):
        times, used = [], time.process_time()
        for _ in range(40):
            start = time.perf_counter()
            views.step(plane, 1)
            QApplication.processEvents()
            times.append(1000.0 * (time.perf_counter() - start))
            time.sleep(0.005)
        used = 1000.0 * (time.process_time() - used) / len(times)
        print(f"{plane.name} step: median {statistics.median(times):.0f} ms, "
              f"processor {used:.0f} ms, "
              f"95 % {np.quantile(times, 0.95):.0f} ms (limit 100 ms)")  # fmt: skip
    vertebra = next(
        v for v in session.report.vertebrae
        if getattr(v.cement, "volume_ml", 0.0) > 1.0
    )  # fmt: skip
    controller.choose(FindingId("vertebra", vertebra.level))
    # Not by comparing the whole map, whose copy would count as the review's memory.
    inner = session.maps.places_of(CEMENT)
    seed = np.array(np.unravel_index(inner, session.maps.geometry.shape)).T
    level_z = controller.space.to_screen(vertebra.centroid_lps_mm)
    points = [controller.space.to_screen(session.maps.geometry.index_to_lps(s))
              for s in seed[:: max(1, len(seed) // 400)]]  # fmt: skip
    nearest = min(points, key=lambda p: float(np.linalg.norm(np.subtract(p, level_z))))
    strokes = []
    for k in range(8):
        at = np.add(nearest, (0.0, 0.8 * k, 0.0))
        places = controller.space.places_near(at, 2.0, 0)
        start = time.perf_counter()
        act = cement_corrections.erase_cement
        controller.correct(partial(act, session, places))
        QApplication.processEvents()
        strokes.append(time.perf_counter() - start)
        time.sleep(0.005)
    print(f"the first stroke, with the levels of the scan: {strokes[0]:.2f} s")
    print(f"recount after a stroke: median {statistics.median(strokes[1:]):.2f} s, "
          f"worst {max(strokes[1:]):.2f} s (limit 2 s)")  # fmt: skip
    code = session.state.leak_codes[leak.finding_id]
    voxels = session.maps.places_of(code)
    for k in range(3):
        part, used = voxels[60 * k : 60 * (k + 1)], time.process_time()
        start = time.perf_counter()
        controller.correct(partial(cement_corrections.erase_cement, session, part))
        first = time.perf_counter() - start
        start = time.perf_counter()
        session.follow_routes()
        route = time.perf_counter() - start
        used = time.process_time() - used
        print(f"stroke on a leak: volumes {first:.2f} s, its route after {route:.2f} "
              f"s: together {first + route:.2f} s (limit 2 s), processor "
              f"{used:.2f} s")  # fmt: skip
    start = time.perf_counter()
    session.save()
    print(f"saving the maps {time.perf_counter() - start:.2f} s")
    print(f"memory at the end {memory_mib():.0f} MiB, at most {peak_mib():.0f} MiB: "
          f"{peak_mib() / ct_mib:.2f} times the CT (limit 4)")  # fmt: skip
    widget.shut()
    viewer.close()


if __name__ == "__main__":
    sys.exit(main())
