"""Dense matter that may be bone: where brightness does not tell it from cement.

Bone islands (enostoses) read 900 HU and more and reach what weakly opaque cement reads
(Ulano 2016, doi:10.2214/AJR.15.15729); most are smaller than 1 cm. A scan's cement is
of one mixture: what is far darker than it, and no brighter than bone, is taken for bone
with what it would hold as upper end; what is larger than islands are is neither, and is
not assessed. Where the only dense matter is that dark and that small, the interval
reaches down to nothing.
"""

from dataclasses import replace

from cemscope.findings import CementVolume, Interval, NotAssessed
from cemscope.segmentation.cement.cement_level import CementLevel
from cemscope.spine import Spine
from cemscope.volume import Notice

BONE_LIKE_HU = 1200.0
"""Bone islands reach this; weakly opaque cement may lie below it [our choice]."""

ISLAND_ML = 0.6
"""A ball of 1 cm holds 0.52 mL: larger islands are rare."""


def doubt_bone(
    measured: tuple[CementVolume | None, ...],
    level: CementLevel,
    dark_levels: frozenset[str],
    faint_cut: frozenset[str] = frozenset(),
) -> tuple[CementVolume | NotAssessed | None, ...]:
    """Say with the interval what may be bone, and what cannot be told.

    Parameters
    ----------
    measured
        Volumes as if all were cement.
    level
        Cement of this scan.
    dark_levels
        Names of vertebrae whose dense matter is far darker than this.
    faint_cut
        Those of `faint_cut_levels`.
    """
    return tuple(
        NotAssessed(
            "the end of the scan cuts this vertebra, and its cortex may be as bright "
            f"as this scan's cement ({level.hu:.0f} HU)"
        )
        if value is not None and value.level in faint_cut
        else _doubted(value, level, dark_levels)
        for value in measured
    )


def faint_cut_levels(level: CementLevel | None, spine: Spine) -> frozenset[str]:
    """Vertebrae that the scan cuts, where cement is as faint as dense bone.

    Their outlines are unsure: oblique cortex beside one, as of a sacrum, reads as
    cement within and as a leak outside.
    """
    if level is None or not _like_bone(level):
        return frozenset()
    return frozenset(v.level.name for v in spine.vertebrae if not v.complete)


def _like_bone(level: CementLevel) -> bool:
    return not level.clipped and level.hu < BONE_LIKE_HU


def _doubted(
    value: CementVolume | None, level: CementLevel, dark_levels: frozenset[str]
) -> CementVolume | NotAssessed | None:
    if value is None:
        return None
    if value.level in dark_levels and value.volume_ml >= ISLAND_ML:
        return NotAssessed(
            f"dense matter ({value.volume_ml:.1f} mL if it is cement) is far darker "
            "than this scan's cement and larger than bone islands are: cement of "
            "another mixture, or sclerosis"
        )
    if value.level in dark_levels:
        return CementVolume(
            level=value.level,
            volume_ml=0.0,
            interval=Interval(0.0, value.interval.high_ml),
            threshold_volume_ml=value.threshold_volume_ml,
            intrabody_ml=0.0,
            leaked_ml=0.0,
            fill_ratio=0.0,
        )
    if _like_bone(level) and value.volume_ml < ISLAND_ML:
        return replace(value, interval=Interval(0.0, value.interval.high_ml))
    return value


def bone_notices(
    level: CementLevel | None, dark_levels: frozenset[str]
) -> tuple[Notice, ...]:
    """Tell a reader what was taken for bone, or may be."""
    notices = [
        Notice(
            "dense_bone",
            f"Dense matter in {name} is far darker than this scan's cement and no "
            "brighter than bone: it was not counted as cement (bone island, "
            "sclerosis). Its interval reaches to what it would hold as cement, unless "
            "it is too large for an island: then it is not assessed.",
        )
        for name in sorted(dark_levels)
    ]
    if level is not None and _like_bone(level):
        notices.append(
            Notice(
                "cement_like_bone",
                f"What was measured as cement reads only {level.hu:.0f} HU: dense bone "
                "(bone island, sclerosis) can be as bright. Check it on the images.",
            )
        )
    return tuple(notices)
