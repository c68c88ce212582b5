"""What the landmarks of one vertebra say for and against each place in the spine.

A reading is never certain: each is turned into soft memberships (ala or none; rib,
pelvis or short process), and each place in the spine expects each of them with a
stated probability. A reading that nobody expects weighs no more than `LEAST_EXPECTED`
allows, so that no single mistake can settle a name.
"""

import math
from dataclasses import dataclass
from enum import Enum

from cemscope.segmentation.levels.level_landmarks import LevelLandmarks, SideLandmarks

LEAST_EXPECTED = 0.02
"""Least probability of any reading at any place: the share of readings that are wrong
for a reason that no table foresees (metal, streaks, a wall found wrong)."""

SIDES_AS_ONE = 0.75
"""Weight of two sides that agree, against two independent readings: one artefact or
one anomaly often touches both."""

LIKELY = 0.5
"""A soft reading above this counts as seen."""

VIEW_MARGIN_MM = 4.0
"""Bone that ends this near to the border of the view may go on beyond it."""


class Place(Enum):
    """Places that look different, from the sacrum upwards."""

    BELOW_S1 = "below the first sacral segment"
    S1 = "first sacral segment"
    LOWEST_LUMBAR = "lowest lumbar vertebra"
    SECOND_LUMBAR = "second lowest lumbar vertebra"
    LUMBAR = "lumbar vertebra"
    HIGHEST_LUMBAR = "highest lumbar vertebra"
    LOWEST_RIBS = "vertebra with the lowest ribs"
    RIBS = "vertebra with ribs"
    CERVICAL = "cervical vertebra"


@dataclass(frozen=True, slots=True)
class Expected:
    """Probability of each reading at a place.

    Attributes
    ----------
    ala : float
        Bone beside the body like an ala of the sacrum.
    rib, pelvis : float
        Bone that goes on far to the side: a bar, or a plate.
    stub : float
        A transverse process that ends early; the rest are longer ones.
    head : float
        Bone where the head of a rib lies.
    """

    ala: float
    rib: float
    pelvis: float
    stub: float
    head: float

    @property
    def process(self) -> float:
        """Bone that ends like a long transverse process."""
        return 1.0 - self.rib - self.pelvis - self.stub


EXPECTED = {
    Place.BELOW_S1: Expected(0.80, rib=0.04, pelvis=0.70, stub=0.10, head=0.4),
    Place.S1: Expected(0.95, rib=0.04, pelvis=0.70, stub=0.10, head=0.4),
    Place.LOWEST_LUMBAR: Expected(0.05, rib=0.08, pelvis=0.48, stub=0.12, head=0.4),
    Place.SECOND_LUMBAR: Expected(0.02, rib=0.06, pelvis=0.22, stub=0.17, head=0.25),
    Place.LUMBAR: Expected(0.02, rib=0.04, pelvis=0.04, stub=0.25, head=0.17),
    Place.HIGHEST_LUMBAR: Expected(0.02, rib=0.04, pelvis=0.03, stub=0.63, head=0.17),
    Place.LOWEST_RIBS: Expected(0.02, rib=0.83, pelvis=0.02, stub=0.05, head=0.7),
    Place.RIBS: Expected(0.02, rib=0.92, pelvis=0.03, stub=0.02, head=0.7),
    Place.CERVICAL: Expected(0.02, rib=0.04, pelvis=0.02, stub=0.85, head=0.1),
}
"""Alae: fused or wide processes of the lowest lumbar vertebra (Castellvi II-IV) on a
side in some 5 % (Nardo 2012, doi:10.1148/radiol.12112747: 10.6 % of patients, half of
them on one side). Ribs: short (< 38 mm) or missing twelfth ribs in 8-13 %
(doi:10.1007/s00256-025-04952-z: 12.6 %), lumbar ribs in 1-6 %
(doi:10.1007/s13244-013-0286-0). Stubs: L1 has the shortest processes, L3 the longest
(Panjabi 1992, doi:10.1097/00007632-199203000-00010). All else (pelvis, heads, and how
often a reading errs) is the authors' estimate, kept well away from 0 and 1."""


@dataclass(frozen=True, slots=True)
class EvidenceSettings:
    """Borders between the readings; lengths as in a middle-sized adult.

    Attributes
    ----------
    ala_above, no_ala_below : float
        Section of bone beside a body, as a share of the body's own, that is an ala
        of the sacrum, and that certainly is none.
    rib_beyond_mm, process_within_mm : float
        Bone that reaches beyond the first is no transverse process; within the second
        it is one.
    stub_within_mm, process_beyond_mm : float
        A process that ends within the first is that of L1 rather than of L2 to L4;
        beyond the second it is rather one of theirs, or a short rib.
    plate_above_mm2, bar_below_mm2 : float
        Section of the outer part of such bone that is the wing of the ilium, and that
        is a rib.
    head_above, no_head_below : float
        Share of bone where the head of a rib lies, if there is one, and if not.
    """

    ala_above: float = 0.24
    no_ala_below: float = 0.17
    rib_beyond_mm: float = 62.0
    process_within_mm: float = 54.0
    stub_within_mm: float = 40.0
    process_beyond_mm: float = 46.0
    plate_above_mm2: float = 230.0
    bar_below_mm2: float = 130.0
    head_above: float = 0.18
    no_head_below: float = 0.06


@dataclass(frozen=True, slots=True)
class SideReading:
    """How much a side looks like what: each 0 to 1, None where it was not in view.

    Attributes
    ----------
    ala : float or None
        Like an ala of the sacrum.
    far, plate : float or None
        Bone goes on beyond any transverse process; and if so, like the ilium.
    stub : float or None
        If not, it ends as early as at L1.
    head : float or None
        Like the head of a rib.
    """

    ala: float | None
    far: float | None
    plate: float | None
    stub: float | None
    head: float | None

    @property
    def rib(self) -> float | None:
        """Like a rib."""
        if self.far is None:
            return None
        return self.far * (1.0 - (self.plate or 0.0))


@dataclass(frozen=True, slots=True)
class LevelReading:
    """Both sides of a vertebra."""

    left: SideReading
    right: SideReading

    @property
    def sides(self) -> tuple[SideReading, SideReading]:
        """Left, right."""
        return self.left, self.right

    def log_likelihood(self, place: Place) -> float:
        """How well the readings fit a place; 0 if nothing was in view."""
        expected = EXPECTED[place]
        return SIDES_AS_ONE * sum(
            _side_log_likelihood(side, expected) for side in self.sides
        )

    def surprise(self, place: Place) -> float:
        """How much better the readings fit another place; 0 if none."""
        best = max(self.log_likelihood(other) for other in Place)
        return best - self.log_likelihood(place)


def read_level(landmarks: LevelLandmarks, settings: EvidenceSettings) -> LevelReading:
    """Turn the landmarks beside a vertebra into soft memberships."""
    return LevelReading(
        _read_side(landmarks.left, settings), _read_side(landmarks.right, settings)
    )


def _read_side(side: SideLandmarks, settings: EvidenceSettings) -> SideReading:
    reach_mm = side.process_reach_mm
    far: float | None = _member(
        reach_mm, settings.process_within_mm, settings.rib_beyond_mm
    )
    ends_in_view = reach_mm < side.seen_to_mm - VIEW_MARGIN_MM
    if not ends_in_view and reach_mm < settings.rib_beyond_mm:
        far = None
    plate, stub = None, None
    if far is not None:
        stub = 1.0 - _member(
            reach_mm, settings.stub_within_mm, settings.process_beyond_mm
        )
    if far is not None and side.process_section_mm2 is not None:
        plate = _member(
            side.process_section_mm2, settings.bar_below_mm2, settings.plate_above_mm2
        )
    head = None
    if side.rib_head is not None:
        head = _member(side.rib_head, settings.no_head_below, settings.head_above)
    ala = None
    if side.ala is not None:
        ala = _member(side.ala, settings.no_ala_below, settings.ala_above)
    return SideReading(ala, far, plate, stub, head)


def _member(value: float, no: float, yes: float) -> float:
    """0.12 at the border of 'no', 0.88 at that of 'yes', S-shaped."""
    slope = 4.0 / (yes - no)
    argument = slope * (value - (no + yes) / 2)
    return 1.0 / (1.0 + math.exp(-max(min(argument, 30.0), -30.0)))


def _side_log_likelihood(side: SideReading, expected: Expected) -> float:
    total = 0.0
    if side.ala is not None:
        total += _log_mixture((side.ala, expected.ala))
    if side.far is not None:
        plate, stub = side.plate or 0.0, side.stub or 0.0
        # What goes on beyond an ala is the ilium or the rest of the sacrum.
        total += (1.0 - (side.ala or 0.0)) * _log_mixture(
            (side.far * (1 - plate), expected.rib),
            (side.far * plate, expected.pelvis),
            ((1 - side.far) * stub, expected.stub),
        )
    if side.head is not None:
        total += _log_mixture((side.head, expected.head))
    return total


def _log_mixture(*parts: tuple[float, float]) -> float:
    """Log probability of a soft reading; what is left over is 'none of these'."""
    rest = 1.0 - sum(member for member, _ in parts)
    none = 1.0 - sum(expected for _, expected in parts)
    probability = rest * none + sum(member * expected for member, expected in parts)
    return math.log(max(probability, LEAST_EXPECTED))
