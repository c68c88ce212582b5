"""Fit the screws of an earlier scan again and read their rims, as today's methods do.

A case folder holds the ends of a screw, not its fit: a rim can only be compared with
one that was measured by the same method.
"""

from cemscope.findings import Lucency, Screw
from cemscope.measurement.augmentation import SPINE_MARGIN_MM, AugmentationSettings
from cemscope.measurement.followup_scan import FollowedScrew
from cemscope.measurement.lucency_surface import LucencyMap
from cemscope.measurement.screw_cement import screw_findings
from cemscope.measurement.screw_lucency import LUCENCY, add_lucency
from cemscope.registration.vertebra_patch import ScannedSpine
from cemscope.segmentation.implants.metal import metal_core_level_hu
from cemscope.segmentation.implants.screw_model import ScrewModel
from cemscope.segmentation.implants.screws import search_screws
from cemscope.segmentation.scan_region import ScanRegion, box_around


def followed_screws(
    models: tuple[ScrewModel, ...],
    screws: tuple[Screw, ...],
    surfaces: tuple[LucencyMap | None, ...],
) -> tuple[FollowedScrew, ...]:
    """Join the fits, findings and rims of a scan, given in one order."""
    return tuple(
        FollowedScrew(
            screw.screw_id,
            model,
            surface,
            "" if isinstance(screw.lucency, Lucency) else screw.lucency.reason,
        )
        for model, screw, surface in zip(models, screws, surfaces, strict=True)
    )


def refit_screws(
    scan: ScannedSpine, settings: AugmentationSettings
) -> tuple[FollowedScrew, ...]:
    """Fit the screws of a scan whose vertebrae and cement are known.

    Parameters
    ----------
    scan
        With the vertebrae and materials of its case.
    settings
        Those of the scan it is to be compared with.
    """
    box = box_around(scan.spine.labels.labels > 0, scan.ct.geometry, SPINE_MARGIN_MM)
    if box is None:
        return ()
    region = ScanRegion.of_box(scan.ct, scan.spine.labels, box)
    core = metal_core_level_hu(region, scan.ct.clipped_at_hu, settings.metal)
    models = search_screws(scan.ct, scan.spine, core, settings.screws).screws
    findings = screw_findings(models, [], scan.spine, frozenset())
    # A copy without the rims that were painted: they are measured anew.
    materials = scan.materials.labels.copy()
    materials[materials == LUCENCY] = 0
    screws, surfaces = add_lucency(
        scan.ct,
        scan.spine,
        materials,
        models,
        findings,
        settings.lucency,
    )
    return followed_screws(models, screws, surfaces)
