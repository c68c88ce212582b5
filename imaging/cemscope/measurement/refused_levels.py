"""Levels whose cement cannot be measured beside metal, and why."""

from collections.abc import Mapping
from dataclasses import dataclass

from cemscope.findings import CementVolume, NotAssessed
from cemscope.materials import CORTICAL_BONE_MAX_HU
from cemscope.segmentation.cement.cement_level import CementLevel
from cemscope.segmentation.implants.implant_metals import (
    BRIGHTEST_CEMENT_SHARE,
    titanium_hu,
)
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.implants.shaft_glare import shaft_glare_hu
from cemscope.segmentation.implants.unexplained_metal import UnexplainedMetal
from cemscope.segmentation.scan_region import ScanRegion
from cemscope.volume import Notice

HALF_WAY, NEARLY_HALF_WAY = 0.5, 0.4
"""Streaks above half of the way from marrow to cement count as cement. Where they do at
one level, those of the same metal at other levels are not trusted much below that: how
bright they get is known to some 10 to 20 % only [ours]."""


@dataclass(frozen=True, slots=True)
class MetalDoubts:
    """Where metal forbids to measure.

    Attributes
    ----------
    unexplained : tuple of UnexplainedMetal
        Sides with what may be a screw that was not fitted.
    glare_hu : mapping of str to float
        Streaks beside the shafts of each level with screws.
    levels : frozenset of str
        All levels of the scan.
    brightest_hu : float
        Cement reads no more than this.
    """

    unexplained: tuple[UnexplainedMetal, ...]
    glare_hu: Mapping[str, float]
    levels: frozenset[str] = frozenset()
    brightest_hu: float = float("inf")

    @classmethod
    def of(
        cls,
        region: ScanRegion,
        screws: tuple[ScrewModel, ...],
        unexplained: tuple[UnexplainedMetal, ...],
        levels: frozenset[str],
        kvp: float | None,
    ) -> "MetalDoubts":
        """Look at the surroundings of all shafts."""
        glare: dict[str, float] = {}
        for screw in screws:
            seen = shaft_glare_hu(region, screw)
            glare[screw.level] = max(seen, glare.get(screw.level, seen))
        return cls(
            unexplained, glare, levels, BRIGHTEST_CEMENT_SHARE * titanium_hu(kvp)
        )

    @property
    def unclear_levels(self) -> frozenset[str]:
        """Levels at which cement is not to be judged by its brightness."""
        names = {item.level for item in self.unexplained}
        names |= {k for k, v in self.glare_hu.items() if v >= CORTICAL_BONE_MAX_HU}
        return frozenset(names)

    def refused_levels(
        self, level: CementLevel | None, marrow_hu: float
    ) -> frozenset[str]:
        """Levels without a volume, given what the scan's cement reads."""
        if self._is_metal(level):
            return self.levels
        names = {item.level for item in self.unexplained}
        return frozenset(names | self._glaring(level, marrow_hu))

    def judged(
        self,
        name: str,
        value: CementVolume | NotAssessed,
        level: CementLevel | None,
        marrow_hu: float,
    ) -> CementVolume | NotAssessed:
        """Put the reason in the place of a volume that cannot be told."""
        sides = [item.side.value for item in self.unexplained if item.level == name]
        if sides:
            return NotAssessed(
                f"dense matter in the {' and the '.join(sides)} pedicle has metal "
                "behind it, but no screw could be fitted: a screw would be counted as "
                "cement"
            )
        if name in self._glaring(level, marrow_hu):
            return NotAssessed(
                f"streaks beside the screws reach {self.glare_hu[name]:.0f} HU, nearly "
                "as much as cement: the metal is too strong for this scan"
            )
        if level is not None and self._is_metal(level):
            return NotAssessed(
                f"the dense matter of this scan reads {level.hu:.0f} HU, more than "
                f"cement can ({self.brightest_hu:.0f} HU at this tube voltage): it is "
                "metal that no shape was fitted to"
            )
        return value

    def _is_metal(self, level: CementLevel | None) -> bool:
        """Tell whether what sets the level of cement is too bright for it.

        On a clipped scale the level is an estimate: it must be so for certain.
        """
        if level is None:
            return False
        doubt_hu = level.spread_hu if level.clipped else 0.0
        return level.hu - doubt_hu > self.brightest_hu

    def bright_notices(self, level: CementLevel | None) -> tuple[Notice, ...]:
        """Tell of a clipped level that seems too bright for cement, but is not sure."""
        if level is None or self._is_metal(level) or level.hu <= self.brightest_hu:
            return ()
        return (
            Notice(
                "metal_or_cement",
                f"What was measured as cement seems to read {level.hu:.0f} HU "
                "(estimated from its flanks on a clipped scale), more than cement can "
                f"({self.brightest_hu:.0f} HU at this tube voltage): it may be metal. "
                "Check it on the images.",
            ),
        )

    def _glaring(self, level: CementLevel | None, marrow_hu: float) -> set[str]:
        """Levels whose streaks cannot be told from cement."""
        if level is None:
            return set()

        def beyond(share: float, least_hu: float) -> set[str]:
            limit_hu = max(marrow_hu + share * (level.hu - marrow_hu), least_hu)
            return {name for name, hu in self.glare_hu.items() if hu >= limit_hu}

        if not beyond(HALF_WAY, CORTICAL_BONE_MAX_HU):
            return set()
        return beyond(NEARLY_HALF_WAY, 0.0)
