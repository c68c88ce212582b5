"""A box of a body with cement and a leak of each type, on grids of any orientation.

The body is a plain block with rounded sides, its canal and arch are analytic, and so
are exit, volume and place of each leak. Left and right are exchanged by one sign.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy import ndimage

from cemscope.findings import Leak, LeakEvidence, LeakType
from cemscope.measurement.cement_fraction import FractionMap, assign_owners
from cemscope.measurement.leak_doubts import LevelDoubts
from cemscope.measurement.leakage import LeakageSettings, find_leaks
from cemscope.segmentation.cement.cement import CementRegion
from cemscope.segmentation.scan_region import ScanRegion, box_of
from cemscope.spine import Vertebra, VertebraSource
from cemscope.testing.phantom_shapes import Cylinder, Ellipsoid, Solid
from cemscope.testing.phantoms import (
    Contrast,
    Implant,
    Phantom,
    Scanner,
    build_phantom,
)
from cemscope.volume import LabelMap

BODY_CENTRE_MM = (0.0, 0.0, 36.0)
"""Centre of L2, the upper of two vertebrae; 46 x 32 x 26 mm."""


@dataclass(frozen=True)
class LeakCase:
    """A leak and what must be said about it; ``side`` is 1 for the patient's left.

    ``place`` is without its side where it has one.
    """

    name: str
    leak_type: LeakType
    place: str
    wall: str
    pieces: tuple[Solid, ...]
    height: float
    sided: bool = False


def _round_the_body(
    side: int, low_deg: float, high_deg: float, up: float
) -> tuple[Solid, ...]:
    """A tube of 3 mm along the wall, 2 mm off it: 0 degrees at the side, 90 ahead."""
    angles = np.radians(np.arange(low_deg, high_deg + 1.0, 8.0))
    points = [
        (side * 25.5 * float(np.cos(a)), -18.5 * float(np.sin(a)), up) for a in angles
    ]
    return tuple(Cylinder(a, b, 1.5) for a, b in pairwise(points))


def leak_cases(side: int) -> tuple[LeakCase, ...]:
    """One leak of each type and place."""
    x = float(side)
    up = 38.0
    vein = (
        Cylinder((8.0 * x, -2.0, up), (24.5 * x, -3.0, up), 1.3),
        *_round_the_body(side, 8.0, 64.0, up),
    )
    return (
        LeakCase(
            "basivertebral vein",
            LeakType.BASIVERTEBRAL,
            "epidural",
            "posterior",
            (
                Cylinder((2.0 * x, 4.0, up), (1.0 * x, 18.0, up), 1.5),
                Cylinder((1.0 * x, 18.5, up - 5.0), (3.0 * x, 18.5, up + 6.0), 1.6),
            ),
            (up - 23.0) / 26.0,
        ),
        LeakCase(
            "segmental vein",
            LeakType.SEGMENTAL,
            "paravertebral",
            "left" if side > 0 else "right",
            vein,
            (up - 23.0) / 26.0,
            sided=True,
        ),
        LeakCase(
            "cortical defect",
            LeakType.CORTICAL,
            "paravertebral",
            "left" if side > 0 else "right",
            (
                Cylinder((8.0 * x, 0.0, 44.0), (23.0 * x, 1.0, 45.0), 2.2),
                Ellipsoid((25.0 * x, 1.0, 45.0), (3.5, 5.0, 4.0)),
            ),
            (45.0 - 23.0) / 26.0,
            sided=True,
        ),
        LeakCase(
            "disc",
            LeakType.DISC,
            "disc_inferior",
            "inferior_endplate",
            (
                Cylinder((5.0 * x, -2.0, 34.0), (6.0 * x, -3.0, 21.0), 2.0),
                Ellipsoid((6.0 * x, -3.0, 20.5), (6.0, 5.0, 2.5)),
            ),
            0.0,
        ),
        LeakCase(
            "needle track",
            LeakType.INSTRUMENT,
            "needle_track",
            "arch",
            (Cylinder((13.0 * x, 4.0, 40.0), (17.0 * x, 55.0, 40.0), 1.8),),
            (40.0 - 23.0) / 26.0,
        ),
    )


COARSE = Scanner(spacing_mm=(1.0, 0.9, 0.9))
"""Fast enough for unit tests."""


def treated(pieces: tuple[Solid, ...], scanner: Scanner | None = None) -> Phantom:
    """L3 untouched, and L2 with pieces of cement."""
    return build_phantom(
        ("L3", "L2"),
        tuple(Implant(solid, level="L2") for solid in pieces),
        scanner or COARSE,
    )


def leaking(
    case: LeakCase | None,
    scanner: Scanner | None = None,
    side: int = 1,
    source: VertebraSource = VertebraSource.IMPORTED,
    outline_mm: float = 0.0,
) -> Phantom:
    """L3 untouched and L2 with a ball of cement and a leak, mirrored by ``side``.

    The outlines of the bodies lie ``outline_mm`` outside the true surface.
    """
    ball = Ellipsoid((4.0 * side, -2.0, 36.0), (10.0, 9.0, 8.0))
    pieces = (ball, *(case.pieces if case else ()))
    phantom = treated(pieces, scanner)
    vertebrae = tuple(replace(v, source=source) for v in phantom.spine.vertebrae)
    labels = phantom.spine.labels
    if outline_mm:
        labels = _shifted(labels, vertebrae, outline_mm)
    spine = replace(phantom.spine, vertebrae=vertebrae, labels=labels)
    return replace(phantom, spine=spine)


def _shifted(
    labels: LabelMap, vertebrae: tuple[Vertebra, ...], outline_mm: float
) -> LabelMap:
    """Move the outlines of the bodies outwards, or inwards where it is negative."""
    changed = labels.labels.copy()
    for vertebra in vertebrae:
        body = labels.labels == vertebra.level.number
        spacing = labels.geometry.spacing_mm
        out = ndimage.distance_transform_edt(~body, sampling=spacing)
        within = ndimage.distance_transform_edt(body, sampling=spacing)
        if outline_mm > 0:
            changed[(out <= outline_mm) & (changed == 0)] = vertebra.level.number
        else:
            changed[body & (within <= -outline_mm)] = 0
    return LabelMap(changed, labels.geometry, labels.names)


def cement_map(phantom: Phantom) -> FractionMap:
    """Shares of cement as a perfect segmentation would give them, with the blur."""
    geometry = phantom.ct.geometry
    whole = box_of(np.zeros(3, int), np.array(geometry.shape))
    region = ScanRegion.of_box(phantom.ct, phantom.spine.labels, whole)
    sigma = 0.5 / np.array(geometry.spacing_mm)
    share = ndimage.gaussian_filter(phantom.cement_fraction, sigma).astype(np.float32)
    none = np.zeros(geometry.shape, np.bool_)
    part = CementRegion(
        region,
        share >= 0.5,
        none,
        np.zeros(geometry.shape, np.float32),
        phantom.ct.hu,
        none,
        none,
        (),
    )
    level = np.full(geometry.shape, Contrast().cement_hu, np.float32)
    background = np.full_like(level, 100.0)
    return FractionMap(part, share, share > 0.01, none, none, background, level, share)


def leaks_of(phantom: Phantom, doubts: LevelDoubts | None = None) -> tuple[Leak, ...]:
    """Leaks of a phantom whose cement is known; some levels may be refused."""
    fractions = cement_map(phantom)
    owners = assign_owners(fractions, phantom.spine)
    leaks, *_ = find_leaks(
        fractions, owners, phantom.spine, (), LeakageSettings(), (0, 0), doubts
    )
    return leaks


def outside_ml(phantom: Phantom) -> float:
    """True cement outside all bone, by partial volume."""
    bone = phantom.spine.labels.labels > 0
    share = phantom.cement_fraction[~bone]
    return float(share.sum()) * phantom.ct.geometry.voxel_volume_mm3 / 1000.0


def evidence_of(leak: Leak) -> LeakEvidence:
    """Evidence of a leak that must have some."""
    assert isinstance(leak.evidence, LeakEvidence)
    return leak.evidence


def mirrored(names: tuple[str, ...]) -> set[str]:
    """Places with left and right exchanged."""
    swap = {"left": "right", "right": "left"}
    return {
        "_".join(swap.get(part, part) for part in name.split("_")) for name in names
    }
