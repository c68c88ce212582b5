"""Draws the pictures of a state of a case anew, from its own values and label maps.

The pictures in the case folder show the machine's result; what a reader changed must
not stand beside them.
"""

from dataclasses import dataclass

from cemscope.findings import (
    CementVolume,
    Certainty,
    Interval,
    Leak,
    LeakType,
    NotAssessed,
    Screw,
    Side,
)
from cemscope.spine import Spine
from cemscope.volume import CTVolume
from cemscope_pipelines.export.case_record import CaseContent
from cemscope_pipelines.export.cement_owners import plain_vertebra
from cemscope_pipelines.pictures.composition import CaseImages
from cemscope_pipelines.pictures.preview import (
    LeakPicture,
    render_leak_views,
    render_preview,
)
from cemscope_pipelines.pictures.settings import PictureSettings
from cemscope_pipelines.report import (
    CementEntry,
    LeakEntry,
    NotAssessedEntry,
    ScrewEntry,
)


@dataclass(frozen=True, slots=True)
class CasePictures:
    """Pictures for documents and key images.

    Attributes
    ----------
    overview_png : bytes
        Coronal and sagittal slab and the worst axial view.
    leaks : tuple of LeakPicture
        One of each leak.
    """

    overview_png: bytes
    leaks: tuple[LeakPicture, ...]


def draw_case(content: CaseContent, ct: CTVolume) -> CasePictures | None:
    """Draw the pictures of a content; None where no vertebra is in view."""
    findings = content.findings
    if not findings.vertebrae:
        return None
    images = CaseImages(
        ct=ct,
        spine=Spine(
            content.vertebrae, tuple(plain_vertebra(one) for one in findings.vertebrae)
        ),
        materials=content.materials,
        cement=tuple(
            _cement(one.level, one.cement)
            for one in findings.vertebrae
            if isinstance(one.cement, CementEntry)
        ),
        leaks=tuple(
            _leak(leak, one.level) for one in findings.vertebrae for leak in one.leaks
        ),
        screws=tuple(_screw(one) for one in findings.screws),
        settings=PictureSettings(),
    )
    return CasePictures(render_preview(images), render_leak_views(images))


def _cement(level: str, entry: CementEntry) -> CementVolume:
    return CementVolume(
        level, entry.volume_ml, Interval(*entry.interval_ml),
        entry.threshold_volume_ml, entry.intrabody_ml, entry.leaked_ml,
        entry.fill_ratio,
    )  # fmt: skip


def _leak(entry: LeakEntry, level: str) -> Leak:
    share = entry.canal_encroachment_percent
    return Leak(
        entry.id, level, tuple(LeakType(kind) for kind in entry.types),
        Certainty(entry.certainty), entry.locations, entry.volume_ml,
        entry.max_distance_mm, entry.centroid_lps_mm,
        NotAssessed(share.reason) if isinstance(share, NotAssessedEntry) else share,
    )  # fmt: skip


def _screw(entry: ScrewEntry) -> Screw:
    cement = entry.cement_volume_ml
    return Screw(
        entry.id, entry.level, Side(entry.side), entry.head_lps_mm, entry.tip_lps_mm,
        entry.diameter_mm, entry.length_mm, entry.cemented,
        NotAssessed(cement.reason) if isinstance(cement, NotAssessedEntry) else cement,
    )  # fmt: skip
