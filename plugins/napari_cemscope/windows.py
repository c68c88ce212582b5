"""Grey scale windows that radiologists know."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Window:
    """A grey scale.

    Attributes
    ----------
    name : str
        On the button.
    level_hu, width_hu : float
        Middle and width.
    """

    name: str
    level_hu: float
    width_hu: float

    @property
    def limits_hu(self) -> tuple[float, float]:
        """Black and white end."""
        half = 0.5 * self.width_hu
        return self.level_hu - half, self.level_hu + half


BONE = Window("Bone", 450.0, 2000.0)
SOFT_TISSUE = Window("Soft tissue", 50.0, 400.0)
METAL = Window("Metal", 1500.0, 5000.0)
WINDOWS = (BONE, SOFT_TISSUE, METAL)
"""Presets; the keys 1, 2 and 3 choose them."""
