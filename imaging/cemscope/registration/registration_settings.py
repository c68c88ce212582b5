"""Tunables of the registration of single vertebrae."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RegistrationSettings:
    """How a vertebra of the baseline is found again in the follow-up scan.

    Attributes
    ----------
    grid_mm
        Grid on which the images are compared, before the edges are.
    blur_mm
        Both scans are brought to this resolution (standard deviation).
    band_mm
        Bone is compared with what lies this far around it.
    metal_margin_mm, cement_margin_mm
        So far from metal and cement nothing is compared.
    highest_hu
        Brighter voxels count as this bright: streaks and dense cortex.
    iterations
        Most steps of that stage.
    reach_mm
        Edges of bone are searched this far along their normals, first ...
    final_reach_mm
        ... and last.
    edge_hu_per_mm
        Least steepness of an edge of bone.
    edge_likeness
        Least correlation of an edge's profile in the two scans.
    outlier_mm
        Edges further off than this say nothing about the pose (Tukey).
    least_edges
        Fewer edges tell no pose.
    poor_residual_mm
        A residual above this is refused.
    least_agreement
        So is a pose on which a smaller share of the edges agrees.
    sure_agreement
        With this share, no further starting pose is tried.
    """

    grid_mm: float = 2.0
    blur_mm: float = 0.7
    band_mm: float = 2.5
    metal_margin_mm: float = 5.0
    cement_margin_mm: float = 3.0
    highest_hu: float = 900.0
    iterations: int = 60
    reach_mm: float = 4.0
    final_reach_mm: float = 2.0
    edge_hu_per_mm: float = 60.0
    edge_likeness: float = 0.8
    outlier_mm: float = 1.2
    least_edges: int = 120
    poor_residual_mm: float = 0.8
    least_agreement: float = 0.45
    sure_agreement: float = 0.8
