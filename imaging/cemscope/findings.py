"""What was found and measured: frozen values without arrays or DICOM.

Volumes are mL, lengths mm, positions LPS mm. A thing that was not measured is a
`NotAssessed` with its reason, never 0 or NaN.
"""

from dataclasses import dataclass
from enum import StrEnum

PointLPS = tuple[float, float, float]
"""(x, y, z) in DICOM LPS, mm."""


@dataclass(frozen=True, slots=True)
class NotAssessed:
    """A measurement that was not made, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval in mL.

    Raises
    ------
    ValueError
        If the limits are negative or in the wrong order.
    """

    low_ml: float
    high_ml: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.low_ml <= self.high_ml:
            raise ValueError(
                f"expected 0 <= low <= high, found {self.low_ml} and {self.high_ml} mL"
            )


class LeakType(StrEnum):
    """Route of a leak.

    B, S and C follow Yeom 2003 (J Bone Joint Surg Br 85:83-9); D (disc) and I
    (along the screw or needle) are additions of later authors.
    """

    BASIVERTEBRAL = "B"
    SEGMENTAL = "S"
    CORTICAL = "C"
    DISC = "D"
    INSTRUMENT = "I"


class Certainty(StrEnum):
    """How sure the leak's type is."""

    DEFINITE = "definite"
    INDETERMINATE = "indeterminate"


class ExitWall(StrEnum):
    """Where leaked cement left the bone."""

    ANTERIOR = "anterior"
    LEFT = "left"
    RIGHT = "right"
    POSTERIOR = "posterior"
    SUPERIOR_ENDPLATE = "superior_endplate"
    INFERIOR_ENDPLATE = "inferior_endplate"
    ARCH = "arch"


class Side(StrEnum):
    """The patient's side."""

    LEFT = "left"
    RIGHT = "right"


class MetalKind(StrEnum):
    """Kind of a metal part."""

    SCREW = "screw"
    ROD = "rod"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class LeakEvidence:
    """What speaks for a leak's types.

    Attributes
    ----------
    exit_lps_mm : PointLPS
        Where the cement leaves the bone.
    exit_wall : ExitWall
        Wall of the body, endplate, or the arch with its pedicles.
    exit_height : float
        Height of the exit between the endplates: 0 at the lower, 1 at the upper one.
    midline_mm : float
        Distance of the exit from the midline, positive to the patient's left.
    midline_share : float
        The same against the width of the body; 0.5 is its side.
    opening_mm : float
        Diameter of the cement in the surface of the bone.
    cortex_gap : float or NotAssessed
        Share of the wall around the opening where no cortex is seen, 0 to 1.
    length_mm, width_mm : float
        Longest way within the leak, and diameter of a tube of that length and volume.
    elongation : float
        ``length_mm`` / ``width_mm``; a tube has 3 and more.
    slope_deg : float
        Angle between the course and the planes of the endplates.
    off_surface_mm : float
        Median distance of the leak from the body's surface.
    track_mm : float or NotAssessed
        Median distance of the leak from the shaft of the nearest screw of its level.
    canal_depth_mm : float or NotAssessed
        Largest sagittal diameter of the cement in the canal.
    candidates : tuple of LeakType
        The two types that cannot be told apart; empty where the type is definite.
    sentence : str
        The same in words.
    """

    exit_lps_mm: PointLPS
    exit_wall: ExitWall
    exit_height: float
    midline_mm: float
    midline_share: float
    opening_mm: float
    cortex_gap: float | NotAssessed
    length_mm: float
    width_mm: float
    elongation: float
    slope_deg: float
    off_surface_mm: float
    track_mm: float | NotAssessed
    canal_depth_mm: float | NotAssessed
    candidates: tuple[LeakType, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class Leak:
    """Cement outside the surface of a vertebral body.

    Attributes
    ----------
    leak_id : str
        Unique in the report, e.g. "L3-1".
    level : str
        Vertebra it comes from.
    types : tuple of LeakType
        Several are allowed; empty where the type is not told.
    certainty : Certainty
        Whether the types are definite.
    locations : tuple of str
        "epidural", "foraminal_left", "disc_superior", "paravertebral_left",
        "prevertebral", "needle_track", ...
    volume_ml : float
        Cement outside the body surface only.
    max_distance_mm : float
        Furthest distance from the body surface.
    centroid_lps_mm : PointLPS
        Centre of the leaked cement.
    canal_encroachment_percent : float or NotAssessed
        Worst slice, cement area / canal area.
    evidence : LeakEvidence or NotAssessed
        What the types are argued from.
    """

    leak_id: str
    level: str
    types: tuple[LeakType, ...]
    certainty: Certainty
    locations: tuple[str, ...]
    volume_ml: float
    max_distance_mm: float
    centroid_lps_mm: PointLPS
    canal_encroachment_percent: float | NotAssessed
    evidence: LeakEvidence | NotAssessed = NotAssessed("the route was not followed")


@dataclass(frozen=True, slots=True)
class CementVolume:
    """Cement of one vertebra.

    Attributes
    ----------
    level : str
        Level name.
    volume_ml, interval : float, Interval
        All cement of this level by partial-volume summation, with its 95 % interval.
    threshold_volume_ml : float
        The same cement by counting voxels over a plain threshold, for comparison.
    intrabody_ml, leaked_ml : float
        Inside and outside the surface of the body; their sum may be less than
        ``volume_ml``, because cement in a pedicle or along a screw is neither.
    fill_ratio : float
        ``intrabody_ml`` / volume of the body.
    """

    level: str
    volume_ml: float
    interval: Interval
    threshold_volume_ml: float
    intrabody_ml: float
    leaked_ml: float
    fill_ratio: float


@dataclass(frozen=True, slots=True)
class CementElsewhere:
    """Cement that belongs to no vertebra in view."""

    location: str
    volume_ml: float
    centroid_lps_mm: PointLPS


class LucencyGrade(StrEnum):
    """What the dark rim around a screw suggests; a suspicion, never a diagnosis."""

    NONE = "none"
    SUSPICIOUS = "suspicious"
    LOOSE = "loose"


@dataclass(frozen=True, slots=True)
class LucencyPart:
    """Lucent rim along a part of a shaft.

    Attributes
    ----------
    max_width_mm : float
        Largest width that a patch of the rim keeps; 0 without a rim.
    mean_width_mm : float
        Mean over the lucent part of the rim; 0 without one.
    arc_deg : float
        Usual extent around the shaft where there is a rim.
    length_fraction : float
        Share of the part's seen length that has a rim.
    seen_fraction : float
        Share of the part's surface in bone that was seen.
    length_mm : float
        Length of the part in bone.
    """

    max_width_mm: float
    mean_width_mm: float
    arc_deg: float
    length_fraction: float
    seen_fraction: float
    length_mm: float


@dataclass(frozen=True, slots=True)
class Lucency:
    """Lucent rim around a screw.

    Attributes
    ----------
    grade : LucencyGrade
        By the limits of `cemscope.measurement.lucency.LucencySettings`.
    whole : LucencyPart
        Along the whole shaft in bone, cement left out.
    pedicle, body : LucencyPart or NotAssessed
        The same behind and in the vertebral body.
    double_halo : bool
        Whether a sclerotic rim bounds the lucent one.
    cement_covered_fraction : float
        Share of the shaft's surface in bone that cement covers; no rim there.
    growth_mm : float or NotAssessed
        Increase of the mean width since the baseline.
    """

    grade: LucencyGrade
    whole: LucencyPart
    pedicle: LucencyPart | NotAssessed
    body: LucencyPart | NotAssessed
    double_halo: bool
    cement_covered_fraction: float
    growth_mm: float | NotAssessed = NotAssessed("there is no earlier scan")


@dataclass(frozen=True, slots=True)
class CementRim:
    """Lucent rim around the cement in a vertebral body.

    Attributes
    ----------
    max_width_mm, mean_width_mm : float
        Widest and mean where there is a rim; 0 without one.
    surface_fraction : float
        Share of the seen surface of the cement that has a rim.
    seen_fraction : float
        Share of the cement's surface in bone that was seen.
    surface_mm2 : float
        Surface of the cement in bone.
    """

    max_width_mm: float
    mean_width_mm: float
    surface_fraction: float
    seen_fraction: float
    surface_mm2: float


@dataclass(frozen=True, slots=True)
class Screw:
    """A pedicle screw.

    Attributes
    ----------
    screw_id : str
        Unique in the report, e.g. "L4-left".
    level : str
        Vertebra that it holds in.
    side : Side
        The patient's side.
    head_lps_mm : PointLPS
        Centre of the screw head.
    tip_lps_mm : PointLPS
        Foremost point of the shaft on its axis.
    diameter_mm, length_mm : float
        Of the shaft (corrected for blooming) and from head centre to tip.
    cemented : bool
        Whether cement touches the shaft.
    cement_volume_ml : float or NotAssessed
        Cement nearer to this screw than to any other of the level.
    lucency : Lucency or NotAssessed
        Dark rim around the shaft.
    """

    screw_id: str
    level: str
    side: Side
    head_lps_mm: PointLPS
    tip_lps_mm: PointLPS
    diameter_mm: float
    length_mm: float
    cemented: bool
    cement_volume_ml: float | NotAssessed
    lucency: Lucency | NotAssessed = NotAssessed("the rim was not looked at")


@dataclass(frozen=True, slots=True)
class MetalVolume:
    """Volume of all metal of one kind (one screw, one rod, other parts)."""

    kind: MetalKind
    volume_ml: float
    centroid_lps_mm: PointLPS


@dataclass(frozen=True, slots=True)
class TotalCement:
    """Cement of the whole scan."""

    cement_ml: float
    interval: Interval
    leaked_ml: float
    vertebrae_augmented: int
