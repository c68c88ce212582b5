"""What a reader of the numbers of a scan should know."""

from cemscope.findings import CementVolume, NotAssessed
from cemscope.segmentation.cement.cement_level import CementLevel
from cemscope.segmentation.implants.screws import ScrewModel
from cemscope.segmentation.tissue_levels import TissueLevels
from cemscope.spine import Spine
from cemscope.volume import Notice


def scan_notices(
    levels: TissueLevels,
    screws: tuple[ScrewModel, ...],
    level: CementLevel | None,
) -> tuple[Notice, ...]:
    """Tell what limits all figures of a scan, and screws with a hidden tip."""
    notices: list[Notice] = []
    if level is not None and level.clipped:
        notices.append(
            Notice(
                "cement_clipped",
                f"Cement reaches the ceiling of the scale ({levels.ceiling_hu} HU): "
                "its own brightness was estimated from its flanks.",
            )
        )
    if levels.reference_count == 0:
        notices.append(
            Notice(
                "no_reference_bone",
                "No vertebra in view shows bone that is surely free of implants: the "
                "limit between bone and cement comes from general values, not from "
                "this patient.",
            )
        )
    notices.extend(
        Notice(
            "tip_hidden",
            f"The tip of the {screw.side} screw of {screw.level} is hidden in cement "
            "as bright as metal: its place is known to "
            f"+/- {screw.tip_uncertainty_mm:.1f} mm.",
        )
        for screw in screws
        if screw.tip_uncertainty_mm > 2.0
    )
    return tuple(notices)


def cut_notices(
    spine: Spine, measured: tuple[CementVolume | NotAssessed | None, ...]
) -> tuple[Notice, ...]:
    """Name the vertebrae of which only a part was measured."""
    return tuple(
        Notice(
            "cement_cut",
            f"{vertebra.level.name} is outlined in part only: its cement is that "
            "of this part.",
        )
        for vertebra, value in zip(spine.vertebrae, measured, strict=True)
        if isinstance(value, CementVolume) and not vertebra.complete
    )
