"""The two endplates of a disc among the edges along a line through it."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import ndimage

from cemscope.geometry import FloatArray
from cemscope.segmentation.discs.plate_pair import (
    HEIGHTS_MM,
    PlateProfile,
    best_plates,
)

FINE_MM = 0.05
FULL_EDGE_HU = 250.0
"""Contrast that counts as an edge of 1 in these profiles."""


@dataclass(frozen=True)
class Spine:
    """Bodies and discs along a line, blurred as by slices."""

    name: str
    body_mm: float = 26.0
    disc_mm: float = 6.0
    plate_mm: float = 1.0
    plate_hu: float = 700.0
    marrow_hu: float = 90.0
    disc_hu: float = 80.0
    blur_mm: float = 0.5
    middle_mm: float = 0.0

    def hu(self, height_mm: FloatArray) -> FloatArray:
        pitch = self.body_mm + self.disc_mm
        fine = np.arange(-60.0, 60.0, FINE_MM)
        off = np.abs((fine - self.middle_mm + pitch / 2) % pitch - pitch / 2)
        plate = (off >= self.disc_mm / 2) & (off < self.disc_mm / 2 + self.plate_mm)
        value = np.where(off < self.disc_mm / 2, self.disc_hu, self.marrow_hu)
        value = np.where(plate, self.plate_hu, value)
        blurred = ndimage.gaussian_filter1d(value, self.blur_mm / FINE_MM)
        found: FloatArray = np.interp(height_mm, fine, blurred)
        return found

    def profiles(self) -> tuple[PlateProfile, PlateProfile]:
        """Contrast over 2 mm on either side, as ends and as beginnings of bone."""
        below, above = (
            np.mean([self.hu(HEIGHTS_MM + s * d) for d in (0.5, 1.0, 1.5)], axis=0)
            for s in (-1.0, 1.0)
        )
        edge = np.clip((below - above) / FULL_EDGE_HU, -1.0, 1.0)
        slopes = np.zeros((len(edge), 2))
        ends, begins = np.maximum(edge, -0.3), np.maximum(-edge, -0.3)
        return PlateProfile(ends, ends, slopes), PlateProfile(begins, begins, slopes)


CASES = (
    Spine("usual"),
    Spine("bright marrow", marrow_hu=250.0),
    Spine("disc off by 4 mm", middle_mm=4.0),
    Spine("thin disc", disc_mm=3.0, middle_mm=-2.0),
    Spine("thoracic, 2 mm slices", body_mm=17.0, disc_mm=3.0, blur_mm=1.1),
    Spine("thoracic, 3 mm slices", body_mm=17.0, disc_mm=3.0, blur_mm=1.6),
    Spine("low bodies, 3 mm slices", body_mm=15.0, disc_mm=3.5, blur_mm=1.6),
    Spine("3 mm slices, 1.5 mm off", 17.0, 3.0, blur_mm=1.6, middle_mm=1.5),
    # One of the plates lies nearer to the middle than the disc itself.
    Spine("dark marrow, off", 19.0, 5.0, 2.0, 450.0, 30.0, 220.0, 1.1, -4.0),
    Spine("high lumbar disc", body_mm=28.0, disc_mm=13.0, middle_mm=2.0),
)


@pytest.mark.parametrize("spine", CASES, ids=lambda spine: spine.name)
def test_plates_lie_on_both_sides_of_the_disc(spine: Spine) -> None:
    plates = best_plates(*spine.profiles())
    assert plates is not None
    end, begin = (float(HEIGHTS_MM[k]) for k in plates)
    # Heights come in steps of 0.5 mm, one on either side.
    assert (end + begin) / 2 == pytest.approx(spine.middle_mm, abs=0.5)


@pytest.mark.parametrize("spine", CASES, ids=lambda spine: spine.name)
def test_a_mirrored_spine_has_mirrored_plates(spine: Spine) -> None:
    lower, upper = spine.profiles()
    flipped = [
        PlateProfile(p.score[::-1], p.edge[::-1], p.slopes[::-1])
        for p in (upper, lower)
    ]
    plates, mirrored = best_plates(lower, upper), best_plates(*flipped)
    assert plates is not None
    assert mirrored is not None
    middle = sum(float(HEIGHTS_MM[k]) for k in plates)
    assert sum(float(HEIGHTS_MM[k]) for k in mirrored) == pytest.approx(-middle)


def test_nothing_is_found_where_there_is_no_edge() -> None:
    flat = np.zeros(len(HEIGHTS_MM))
    profile = PlateProfile(flat, flat, np.zeros((len(flat), 2)))
    assert best_plates(profile, profile) is None
