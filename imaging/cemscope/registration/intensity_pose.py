"""Registration of one vertebra by its image (SimpleITK).

Normalised correlation over the bone and a band around it, metal and cement masked.
Every voxel is used and one thread sums them up: the same scans give the same pose.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk

from cemscope.geometry import VoxelGeometry
from cemscope.registration.bone_edges import even_grid
from cemscope.registration.registration_settings import RegistrationSettings
from cemscope.registration.rigid_pose import RigidPose
from cemscope.registration.vertebra_patch import VertebraPatch
from cemscope.segmentation.scan_region import within_mm
from cemscope.volume import BoolArray

LEVER_MM = 30.0
"""Typical distance of bone from the centre: a turn of 1 rad moves it this far."""

SMALLEST_STEP_MM = 0.01

LEAST_VOXELS = 400
"""Fewer voxels of bone away from implants tell no pose."""


@dataclass(frozen=True, slots=True, eq=False)
class ImagePose:
    """A pose and how alike the images are on it (-1 to 1)."""

    pose: RigidPose
    likeness: float


def register_image(
    baseline: VertebraPatch,
    followup: VertebraPatch,
    starts: Sequence[RigidPose],
    settings: RegistrationSettings,
) -> tuple[ImagePose, ...]:
    """Find the poses on which the images of a vertebra agree.

    Parameters
    ----------
    baseline, followup
        The vertebra in both scans.
    starts
        First guesses; each is improved.
    settings
        Grids and margins.

    Returns
    -------
    tuple of ImagePose
        Different ones, the best first; empty where too little bone is seen.
    """
    moving = _image(followup)
    visible = _mask(followup.geometry, ~followup.hidden)
    metric = _Metric.of(baseline, moving, visible, settings)
    if metric is None:
        return ()
    found = sorted(
        (metric.improved(start, settings.iterations) for start in starts),
        key=lambda one: -one.likeness,
    )
    kept: list[ImagePose] = []
    for one in found:
        if all(_differ(one.pose, other.pose) for other in kept):
            kept.append(one)
    return tuple(kept)


def _differ(first: RigidPose, second: RigidPose) -> bool:
    angle_deg, away_mm = first.difference(second)
    return angle_deg > 2.0 or away_mm > 1.0


@dataclass(frozen=True, slots=True, eq=False)
class _Metric:
    fixed: Any
    fixed_mask: Any
    moving: Any
    moving_mask: Any

    @classmethod
    def of(
        cls,
        baseline: VertebraPatch,
        moving: Any,
        visible: Any,
        settings: RegistrationSettings,
    ) -> "_Metric | None":
        grid_mm = settings.grid_mm
        geometry = even_grid(baseline.geometry, grid_mm)
        points = geometry.index_to_lps(
            np.moveaxis(np.indices(geometry.shape), 0, -1).reshape(-1, 3)
        )
        hu = np.nan_to_num(baseline.sample(points), nan=0.0).reshape(geometry.shape)
        own = baseline.near(baseline.own, points).reshape(geometry.shape)
        if not own.any():
            return None
        hidden = baseline.near(baseline.hidden, points).reshape(geometry.shape)
        foreign = baseline.near(baseline.foreign, points).reshape(geometry.shape)
        band = within_mm(own, settings.band_mm, geometry.spacing_mm)
        used = band & ~hidden & ~foreign
        if used.sum() * grid_mm**3 < LEAST_VOXELS:
            return None
        fixed = sitk.GetImageFromArray(hu.astype(np.float32))
        _place(fixed, geometry)
        return cls(fixed, _mask(geometry, used), moving, visible)

    def improved(self, start: RigidPose, iterations: int) -> ImagePose:
        """Climb from a pose."""
        # SimpleITK ships no annotations: its constructors return Any.
        method: Any = _new(sitk.ImageRegistrationMethod)
        method.SetNumberOfThreads(1)
        method.SetMetricAsCorrelation()
        method.SetMetricFixedMask(self.fixed_mask)
        method.SetMetricMovingMask(self.moving_mask)
        method.SetMetricSamplingStrategy(method.NONE)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=1.0,
            minStep=SMALLEST_STEP_MM,
            numberOfIterations=iterations,
            relaxationFactor=0.6,
            gradientMagnitudeTolerance=1e-8,
        )
        method.SetOptimizerScales([LEVER_MM**2] * 3 + [1.0] * 3)
        transform: Any = _new(sitk.VersorRigid3DTransform)
        transform.SetCenter(start.centre_mm.tolist())
        transform.SetMatrix(start.rotation.ravel().tolist(), 1e-6)
        transform.SetTranslation(start.shift_mm.tolist())
        method.SetInitialTransform(transform, inPlace=True)
        try:
            method.Execute(self.fixed, self.moving)
            likeness = -float(method.GetMetricValue())
        except RuntimeError:  # the images do not overlap there
            return ImagePose(start, -1.0)
        rotation = np.array(transform.GetMatrix()).reshape(3, 3)
        shift = np.array(transform.GetTranslation())
        return ImagePose(RigidPose(rotation, shift, start.centre_mm), likeness)


def _new(kind: Any) -> Any:
    return kind()


def _image(patch: VertebraPatch) -> Any:
    image = sitk.GetImageFromArray(patch.hu)
    _place(image, patch.geometry)
    return image


def _mask(geometry: VoxelGeometry, used: BoolArray) -> Any:
    image = sitk.GetImageFromArray(used.astype(np.uint8))
    _place(image, geometry)
    return image


def _place(image: Any, geometry: VoxelGeometry) -> None:
    image.SetSpacing(tuple(reversed(geometry.spacing_mm)))
    image.SetOrigin(tuple(geometry.origin_lps_mm.tolist()))
    image.SetDirection(geometry.directions_lps[::-1].T.ravel().tolist())
