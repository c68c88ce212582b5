"""One of the two scans that are compared, with what was found in it."""

from dataclasses import dataclass

from cemscope.findings import CementVolume, NotAssessed
from cemscope.measurement.lucency_surface import LucencyMap
from cemscope.registration.vertebra_patch import ScannedSpine
from cemscope.segmentation.implants.screw_model import ScrewModel


@dataclass(frozen=True, slots=True, eq=False)
class FollowedScrew:
    """A fitted screw with the unrolled surface of its rim.

    ``surface`` is None where the shaft was not looked at; ``lucency_refused`` says why
    its rim is not assessed, "" where it is.
    """

    screw_id: str
    model: ScrewModel
    surface: LucencyMap | None
    lucency_refused: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class FollowedScan:
    """A scan and its findings.

    Attributes
    ----------
    scanned : ScannedSpine
        Image, vertebrae and implants.
    screws : tuple of FollowedScrew
        Fitted screws.
    cement : dict
        Volume by level.
    """

    scanned: ScannedSpine
    screws: tuple[FollowedScrew, ...]
    cement: dict[str, CementVolume | NotAssessed]
