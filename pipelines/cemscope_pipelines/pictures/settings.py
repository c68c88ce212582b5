"""How pictures are made."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PictureSettings:
    """How pictures are made.

    Attributes
    ----------
    window_centre_hu, window_width_hu : float
        Grey scale; the default is a bone window that keeps cement below white.
    slab_mm : float
        Thickness of the coronal and sagittal slabs.
    axial_slab_mm : float
        Thickness of the axial views.
    margin_mm : float
        Shown above the highest and below the lowest vertebra of interest.
    max_axial_views, max_leak_views : int
        At most so many axial views and pictures of leaks in the HTML report.
    curved_depth_mm : float
        Thickness of the curved pictures along the spine.
    unsure_below : float
        Names with less confidence are written with a question mark.
    unlike_share : float
        A height or volume that differs from that of the neighbours by more than this
        share is drawn as unlike them.
    """

    window_centre_hu: float = 450.0
    window_width_hu: float = 1700.0
    slab_mm: float = 12.0
    axial_slab_mm: float = 3.0
    margin_mm: float = 22.0
    max_axial_views: int = 24
    max_leak_views: int = 40
    curved_depth_mm: float = 4.0
    unsure_below: float = 0.7
    unlike_share: float = 0.3

    def __post_init__(self) -> None:
        positive = ("window_width_hu", "slab_mm", "axial_slab_mm", "curved_depth_mm")
        for name in (*positive, "unlike_share"):
            if getattr(self, name) <= 0.0:
                raise ValueError(f"expected {name} > 0, found {getattr(self, name)}")
        if min(self.margin_mm, self.max_axial_views, self.max_leak_views) < 0:
            raise ValueError("expected margin_mm and numbers of views of at least 0")
        if self.unsure_below < 0.0:
            raise ValueError(f"expected unsure_below >= 0, found {self.unsure_below}")

    @property
    def window_hu(self) -> tuple[float, float]:
        """Black and white end of the grey scale."""
        half = self.window_width_hu / 2.0
        return self.window_centre_hu - half, self.window_centre_hu + half
