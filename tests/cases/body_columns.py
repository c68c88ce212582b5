"""Columns of vertebral bodies with known surfaces, as the finder's working volume."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from cemscope.geometry import VoxelGeometry
from cemscope.segmentation.bodies.body_surface import BodyScene, BodySettings
from cemscope.segmentation.spine_working_volume import WorkingVolume
from cemscope.spine import VertebraFrame

HALF_WIDTH_MM, HALF_DEPTH_MM, BACK_MM = 22.0, 16.0, 13.0
"""An ellipse, cut flat behind."""

BODY_MM, DISC_MM = 26.0, 9.0
SHELL_MM, COMPACT_HU, SOFT_HU, DISC_HU, BLUR_MM = 0.45, 1250.0, 45.0, 90.0, 0.55
PEDICLE_LEFT_MM, PEDICLE_HEIGHT_MM = (9.0, 16.0), (0.0, 11.0)
COUNT = 3


@dataclass(frozen=True, slots=True)
class Column:
    """Three bodies and their discs.

    Attributes
    ----------
    marrow_hu : float
        Cancellous bone.
    turn_deg : tuple of float
        Lean to the left and to the front.
    middle_height_mm : float
        Height of the middle body's front and centre; the others have `BODY_MM`.
    vessel_hu : float or None
        A vessel of this density on the front of the middle body.
    cement : bool
        Whether a ball of cement lies across the middle body's left wall.
    """

    marrow_hu: float = 110.0
    turn_deg: tuple[float, float] = (0.0, 0.0)
    middle_height_mm: float = BODY_MM
    vessel_hu: float | None = None
    cement: bool = False

    def frames(self) -> tuple[VertebraFrame, ...]:
        """Axes of the bodies, from the lowest to the highest."""
        lean, nod = np.radians(self.turn_deg)
        superior = np.array([np.sin(lean), -np.sin(nod), 1.0])
        superior /= np.linalg.norm(superior)
        back = np.array([0.0, 1.0, 0.0])
        back -= (back @ superior) * superior
        back /= np.linalg.norm(back)
        left = np.cross(back, superior)
        return tuple(
            VertebraFrame(k * (BODY_MM + DISC_MM) * superior, left, back, superior)
            for k in (-1, 0, 1)
        )

    def heights_mm(self) -> tuple[float, ...]:
        """Heights of the bodies."""
        return BODY_MM, self.middle_height_mm, BODY_MM

    def depth_mm(self, index: int, points_lps_mm: np.ndarray) -> np.ndarray:
        """Signed depth in a body without its arch, positive inside."""
        local = self.frames()[index].to_local_mm(points_lps_mm)
        left, posterior, height = np.moveaxis(local, -1, 0)
        scaled = np.hypot(left / HALF_WIDTH_MM, posterior / HALF_DEPTH_MM)
        scaled = np.maximum(scaled, 1e-3)
        slope = np.hypot(left / HALF_WIDTH_MM**2, posterior / HALF_DEPTH_MM**2)
        wall = (1.0 - scaled) * scaled / np.maximum(slope, 1e-3)
        plates = self.heights_mm()[index] / 2 - np.abs(height)
        return np.minimum(np.minimum(wall, BACK_MM - posterior), plates)

    def scene(self) -> BodyScene:
        """The column as it is scanned."""
        shape = (132, 96, 92)
        first = (-45.5, -46.0, -65.5)
        geometry = VoxelGeometry.from_axes(shape, (1.0,) * 3, first)
        index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
        points = geometry.index_to_lps(index)
        frame = self.frames()[1]
        left, posterior, height = np.moveaxis(frame.to_local_mm(points), -1, 0)
        hu = np.full(shape, SOFT_HU)
        round_axis = np.hypot(left / HALF_WIDTH_MM, posterior / HALF_DEPTH_MM) < 0.98
        hu[round_axis & (posterior < BACK_MM)] = DISC_HU
        if self.vessel_hu is not None:
            vessel = np.hypot(left - 6.0, posterior + HALF_DEPTH_MM + 9.0) < 9.0
            hu[vessel] = self.vessel_hu
        for k in range(COUNT):
            depth = self.depth_mm(k, points)
            own = self.frames()[k].to_local_mm(points)
            side, low = np.abs(own[..., 0]), own[..., 2]
            pedicle = np.minimum.reduce(
                [
                    side - PEDICLE_LEFT_MM[0],
                    PEDICLE_LEFT_MM[1] - side,
                    low - PEDICLE_HEIGHT_MM[0],
                    PEDICLE_HEIGHT_MM[1] - low,
                    own[..., 1],
                    30.0 - own[..., 1],
                ]
            )
            bone = np.maximum(depth, pedicle)
            outer = np.clip(bone + 0.5, 0.0, 1.0)
            inner = np.clip(bone - SHELL_MM + 0.5, 0.0, 1.0)
            compact = outer - inner
            hu = (1 - outer) * hu + compact * COMPACT_HU + inner * self.marrow_hu
        implants = None
        if self.cement:
            ball = np.linalg.norm(
                np.stack([left - HALF_WIDTH_MM + 2.0, posterior, height], -1), axis=-1
            )
            share = np.clip(6.0 - ball + 0.5, 0.0, 1.0)
            hu = hu * (1 - share) + 1400.0 * share
            implants = ndimage.gaussian_filter(share, BLUR_MM).astype(np.float32)
        values = ndimage.gaussian_filter(hu, BLUR_MM)
        rng = np.random.default_rng(4)
        values = (values + rng.normal(0.0, 12.0, shape)).astype(np.float32)
        volume = WorkingVolume(values, np.ones(shape, np.float32), geometry)
        front = np.arange(-60.0, 61.0, 2.0)[:, None] * frame.superior
        return BodyScene(
            volume,
            front + (BACK_MM + 0.5) * frame.posterior,
            BodySettings(),
            None if implants is None else replace(volume, hu=implants),
        )
