"""The outer side of a thin cortex is found in spite of the blur."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.special import erf

from cemscope.segmentation.bodies.edge_refinement import outer_cortex

EDGE_MM = 7.3
COMPACT_HU = 1250.0


@dataclass(frozen=True)
class Bone:
    """Marrow, a shell of compact bone, soft tissue; blurred by a Gaussian."""

    name: str
    marrow_hu: float
    shell_mm: float
    soft_hu: float
    blur_mm: float
    bound_mm: float

    def hu(self, height_mm: np.ndarray) -> np.ndarray:
        outer = 0.5 * (1 - erf((height_mm - EDGE_MM) / (np.sqrt(2) * self.blur_mm)))
        inside = height_mm - EDGE_MM + self.shell_mm
        inner = 0.5 * (1 - erf(inside / (np.sqrt(2) * self.blur_mm)))
        return (
            self.soft_hu
            + (COMPACT_HU - self.soft_hu) * (outer - inner)
            + (self.marrow_hu - self.soft_hu) * inner
        ).astype(np.float32)


BONES = (
    Bone("osteoporotic wall", 90.0, 0.4, 40.0, 0.7, 0.12),
    Bone("endplate beside a disc", 90.0, 0.8, 90.0, 0.7, 0.12),
    Bone("marrow as dark as fat", -20.0, 0.4, -20.0, 0.7, 0.12),
    Bone("dense marrow, fat outside", 250.0, 0.5, -60.0, 0.7, 0.15),
    Bone("sharp kernel", 90.0, 0.4, 40.0, 0.5, 0.15),
    Bone("no shell", 300.0, 0.0, 40.0, 0.8, 0.45),
    # The mixture of shell and drop is told less well the wider the blur.
    Bone("slices of 2 mm", 130.0, 0.5, 0.0, 1.1, 0.4),
)


@pytest.mark.parametrize("bone", BONES, ids=lambda b: b.name)
@pytest.mark.parametrize("start_mm", [5.6, 7.3, 9.0])
def test_outer_side_of_the_cortex(bone: Bone, start_mm: float) -> None:
    rng = np.random.default_rng(5)

    def sample(height_mm: np.ndarray) -> np.ndarray:
        noise = rng.normal(0.0, 15.0, height_mm.shape)
        return (bone.hu(height_mm) + noise).astype(np.float32)

    start = np.full((16, 12), start_mm)
    found = outer_cortex(start, sample, np.ones_like(start))
    error = found.height_mm - EDGE_MM
    assert abs(float(np.median(error))) < bone.bound_mm
    assert float(np.abs(error).max()) < bone.bound_mm + 0.5
    assert float(np.median(found.clearness)) > 0.75


def test_half_of_the_drop_would_be_too_far_out() -> None:
    bone = BONES[0]
    x = np.arange(EDGE_MM - 1.0, EDGE_MM + 3.0, 0.01)
    hu = bone.hu(x)
    top = int(hu.argmax())
    half = x[top:][hu[top:] < (hu.max() + bone.soft_hu) / 2][0]
    assert half - EDGE_MM > 0.5


def test_without_trust_the_surface_follows_its_neighbours() -> None:
    start = np.full((16, 12), EDGE_MM + 1.0)
    trust = np.ones_like(start)
    trust[4:8, 4:8] = 0.0
    found = outer_cortex(start, BONES[0].hu, trust)
    assert np.abs(found.height_mm - EDGE_MM)[trust == 1.0].max() < 0.4
    assert np.abs(found.height_mm - EDGE_MM)[trust == 0.0].max() < 0.9
    nowhere = outer_cortex(start, BONES[0].hu, np.zeros_like(start))
    np.testing.assert_allclose(nowhere.height_mm, start, atol=0.05)


def test_noise_has_no_clear_cortex() -> None:
    rng = np.random.default_rng(8)

    def sample(height_mm: np.ndarray) -> np.ndarray:
        return rng.normal(60.0, 30.0, height_mm.shape).astype(np.float32)

    start = np.full((16, 12), EDGE_MM)
    found = outer_cortex(start, sample, np.ones_like(start))
    assert float(np.median(found.clearness)) < 0.5
    # Nothing pulls the surface as a whole.
    assert abs(float((found.height_mm - EDGE_MM).mean())) < 0.5


def test_the_seam_of_a_circle_is_no_border() -> None:
    angle = np.arange(48) * (2 * np.pi / 48)
    true = np.repeat((EDGE_MM + 0.8 * np.cos(angle))[:, None], 12, axis=1)

    def sample(height_mm: np.ndarray) -> np.ndarray:
        return BONES[0].hu(height_mm - (true - EDGE_MM)[..., None])

    turned = [
        outer_cortex(
            np.full(true.shape, EDGE_MM),
            lambda h, k=shift: np.roll(sample(np.roll(h, k, axis=0)), -k, axis=0),
            np.ones(true.shape),
            closed_first_axis=True,
        ).height_mm
        for shift in (0, 24)
    ]
    np.testing.assert_allclose(turned[0], np.roll(turned[1], 24, axis=0), atol=0.1)
