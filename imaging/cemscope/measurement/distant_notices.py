"""What the search for distant cement says about its own limits."""

from dataclasses import dataclass

from cemscope.measurement.distant_places import VeinsInView
from cemscope.measurement.distant_rules import Verdict
from cemscope.volume import Notice

MOST_NOTICES = 5
"""So many doubtful objects are told one by one."""

_PLACE_WORDS = {
    "azygos": "the course of the azygos vein",
    "hemiazygos": "the course of the hemiazygos vein",
    "vena_cava": "the course of the inferior vena cava",
    "lung_left": "the left lung",
    "lung_right": "the right lung",
    "paravertebral_left": "soft tissue left of the spine",
    "paravertebral_right": "soft tissue right of the spine",
    "soft_tissue": "soft tissue",
}


@dataclass(frozen=True, slots=True)
class SearchedRoom:
    """What of a scan could be searched.

    Attributes
    ----------
    veins : VeinsInView
        Levels with the great veins in view.
    lung_ml : float
        Aerated lung in view.
    lung_cut : bool
        Whether the lungs go on beyond the scan.
    contrast_medium : bool
        Whether vessels are enhanced.
    cement_above_bone : bool
        Whether this scan's cement is brighter than calcification.
    """

    veins: VeinsInView
    lung_ml: float
    lung_cut: bool
    contrast_medium: bool
    cement_above_bone: bool


def unsearched_notice() -> Notice:
    """Without cement in a vertebra nobody knows how bright cement is."""
    return Notice(
        "elsewhere_not_searched",
        "Cement away from the vertebrae (great veins, lungs) was not assessed: no "
        "vertebra in view shows surely how bright cement is in this scan. An empty "
        "list of cement elsewhere does not exclude it.",
    )


def room_notices(room: SearchedRoom) -> tuple[Notice, ...]:
    """Say what was not in view, and where nothing can be told."""
    missing = []
    if room.lung_ml <= 0.0:
        missing.append("the lungs")
    elif room.lung_cut:
        missing.append(f"the lungs but for {room.lung_ml:.0f} mL in view")
    if room.veins.azygos:
        missing.append(f"the azygos vein but for {_span(room.veins.azygos)}")
    else:
        missing.append("the azygos vein")
    if room.veins.cava:
        missing.append(f"the vena cava but for {_span(room.veins.cava)}")
    else:
        missing.append("the vena cava")
    notices = [
        Notice(
            "elsewhere_not_in_view",
            "Cement elsewhere: not assessed, because not in the field of view: "
            f"{'; '.join(missing)}. Heart, pulmonary arteries and bowel are never "
            "assessed: valves, stents and their contents are as bright.",
        )
    ]
    if room.contrast_medium:
        notices.append(
            Notice(
                "elsewhere_contrast_medium",
                "The scan was made with contrast medium: cement in veins and soft "
                "tissue away from the vertebrae is not told from it, and not listed.",
            )
        )
    elif not room.cement_above_bone:
        notices.append(
            Notice(
                "elsewhere_faint_cement",
                "This scan's cement is no brighter than calcification can be: cement "
                "in veins and soft tissue away from the vertebrae is not listed.",
            )
        )
    return tuple(notices)


def _span(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def uncertain_notices(doubtful: tuple[Verdict, ...]) -> tuple[Notice, ...]:
    """Tell each object that may be cement, the largest first."""
    ordered = sorted(doubtful, key=lambda one: -one.found.volume_ml)
    notices = [
        Notice("elsewhere_uncertain", _sentence(one)) for one in ordered[:MOST_NOTICES]
    ]
    rest = len(ordered) - MOST_NOTICES
    if rest > 0:
        notices.append(
            Notice(
                "elsewhere_uncertain",
                f"{rest} smaller dense objects may be cement or not, too.",
            )
        )
    return tuple(notices)


def _sentence(verdict: Verdict) -> str:
    found, place = verdict.found, verdict.place
    x, y, z = (float(v) for v in found.centre_lps_mm)
    return (
        f"A dense object ({found.core_hu:.0f} HU, {found.volume_ml:.2f} mL within half "
        f"of that) in {_PLACE_WORDS[place.location]} at the height of {place.level}, "
        f"LPS ({x:.0f}, {y:.0f}, {z:.0f}) mm, may be cement: {verdict.doubt}. It is "
        "not in the list; look at the images."
    )
