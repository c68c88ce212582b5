"""Places on the walls of a simulated vertebral body."""

import numpy as np
import numpy.typing as npt

from cemscope.findings import Side
from cemscope.testing.lumbar_anatomy import VertebraShape
from cemscope.testing.scalar_field import ScalarField

FloatArray = npt.NDArray[np.float64]

STEP_MM = 0.1
"""Walls are found to this."""

LONGEST_WAY_MM = 48.0
"""Search for a wall ends at this distance."""


class BodyRuler:
    """Finds places on the walls of a body, in its own frame."""

    def __init__(self, shape: VertebraShape) -> None:
        self.shape, self.frame = shape, shape.frame
        inside = shape.body.values < 0
        points = shape.body.lattice.points_mm()[inside]
        local = self.frame.to_local_mm(points)
        self.low, self.high = np.percentile(local, [1.0, 99.0], axis=0)
        self.middle, self.half = (
            0.5 * (self.low + self.high),
            0.5 * (self.high - self.low),
        )

    def column(self, left: float, posterior: float) -> tuple[float, float]:
        """Height of the lower and upper endplate at a place."""
        s = np.arange(self.low[2] - 4.0, self.high[2] + 4.0, 0.2)
        line = np.column_stack([np.full_like(s, left), np.full_like(s, posterior), s])
        inside = self.shape.body.at(self.frame.to_lps_mm(line)) < 0
        if not inside.any():
            return float(self.low[2]), float(self.high[2])
        return float(s[inside][0]), float(s[inside][-1])

    def around(
        self, side: Side, angle_deg: float, height: float, offset_mm: float
    ) -> FloatArray:
        """Give a place on the wall, at an angle from the side to the front."""
        sign = 1.0 if side is Side.LEFT else -1.0
        a = np.radians(angle_deg)
        flat = np.array([sign * np.cos(a), -np.sin(a)]) * self.half[:2]
        inner = self.middle[:2] + 0.6 * flat
        low, high = self.column(float(inner[0]), float(inner[1]))
        start = np.array([*inner, low + height * (high - low)])
        return self.outwards(start, np.array([*flat, 0.0]), offset_mm)

    def behind(self, left: float, height: float, offset_mm: float) -> FloatArray:
        """Give a place on the posterior wall."""
        low, high = self.column(left, float(self.middle[1] + 0.6 * self.half[1]))
        start = np.array([left, self.middle[1], low + height * (high - low)])
        return self.outwards(start, np.array([0.0, 1.0, 0.0]), offset_mm)

    def plate(
        self, left: float, posterior: float, offset_mm: float, *, upper: bool
    ) -> FloatArray:
        """Give a place on an endplate."""
        low, high = self.column(left, posterior)
        start = np.array([left, posterior, 0.5 * (low + high)])
        up = np.array([0.0, 0.0, 1.0 if upper else -1.0])
        return self.outwards(start, up, offset_mm)

    def outwards(
        self,
        start: FloatArray,
        direction: FloatArray,
        offset_mm: float,
        field: ScalarField | None = None,
    ) -> FloatArray:
        """Go from a point inside to the surface, or some way beyond."""
        unit = direction / np.linalg.norm(direction)
        steps = np.arange(0.0, LONGEST_WAY_MM, STEP_MM)
        line = start + steps[:, None] * unit
        chosen = self.shape.body if field is None else field
        depth = chosen.at(self.frame.to_lps_mm(line))
        return np.asarray(line[int(np.argmax(depth > offset_mm))])
