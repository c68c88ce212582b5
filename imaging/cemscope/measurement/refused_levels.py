"""Levels whose cement cannot be measured beside metal, and why."""

from collections.abc import Mapping
from dataclasses import dataclass

from cemscope.findings import CementVolume, NotAssessed
from cemscope.materials import CORTICAL_BONE_MAX_HU
from cemscope.segmentation.cement.cement_level import CementLevel
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.implants.shaft_glare import shaft_glare_hu
from cemscope.segmentation.implants.unexplained_metal import UnexplainedMetal
from cemscope.segmentation.scan_region import ScanRegion

HALF_WAY = 0.5
"""Streaks above half of the way from marrow to cement count as cement."""


@dataclass(frozen=True, slots=True)
class MetalDoubts:
    """Where metal forbids to measure.

    Attributes
    ----------
    unexplained : tuple of UnexplainedMetal
        Sides with what may be a screw that was not fitted.
    glare_hu : mapping of str to float
        Streaks beside the shafts of each level with screws.
    """

    unexplained: tuple[UnexplainedMetal, ...]
    glare_hu: Mapping[str, float]

    @classmethod
    def of(
        cls,
        region: ScanRegion,
        screws: tuple[ScrewModel, ...],
        unexplained: tuple[UnexplainedMetal, ...],
    ) -> "MetalDoubts":
        """Look at the surroundings of all shafts."""
        glare: dict[str, float] = {}
        for screw in screws:
            seen = shaft_glare_hu(region, screw)
            glare[screw.level] = max(seen, glare.get(screw.level, seen))
        return cls(unexplained, glare)

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
        names = {item.level for item in self.unexplained}
        for name, glare in self.glare_hu.items():
            if self._glares(glare, level, marrow_hu):
                names.add(name)
        return frozenset(names)

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
        glare = self.glare_hu.get(name)
        if glare is not None and self._glares(glare, level, marrow_hu):
            return NotAssessed(
                f"streaks beside the screws reach {glare:.0f} HU, as much as cement: "
                "the metal is too strong for this scan"
            )
        return value

    @staticmethod
    def _glares(glare_hu: float, level: CementLevel | None, marrow_hu: float) -> bool:
        if glare_hu < CORTICAL_BONE_MAX_HU or level is None:
            return False
        return glare_hu >= marrow_hu + HALF_WAY * (level.hu - marrow_hu)
