"""A second look at doubtful bodies, led by their neighbours.

The bodies of one person resemble each other, and each fills the space between its
neighbours but for two discs. Where an outline is doubtful - its discs were placed
wrongly, a vessel, cement or streaks drew it away - it is fitted again where the
neighbours leave room for it, and with their size. The better outline is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from cemscope.geometry import FloatArray
from cemscope.segmentation.bodies.body_outline import BodyOutline
from cemscope.segmentation.bodies.body_surface import BodyScene, BodySurface, on_plate
from cemscope.segmentation.bodies.outline_measures import (
    beside_neighbours,
    outline_measures,
)
from cemscope.segmentation.bodies.outline_quality import (
    WHOLE,
    OutlineQuality,
    QualitySettings,
    UsualSize,
    judged,
    outline_qualities,
    usual_size,
)
from cemscope.segmentation.bodies.vertebral_bodies import body_surface
from cemscope.segmentation.bodies.walled_gap import with_walled_gaps
from cemscope.segmentation.discs.disc_room import PlateRooms
from cemscope.spine import VertebraFrame

USUAL_DISC_MM = 9.0
"""Height of a disc where none is known between two trusted bodies (lumbar discs are 7
to 14 mm high, thoracic ones 3 to 6 mm)."""

LEAST_ROOM_MM = 8.0
"""Less room than this between two neighbours holds no body."""


@dataclass(frozen=True, slots=True)
class PriorSettings:
    """Tunables of the second look.

    Attributes
    ----------
    trusted : float
        Score from which an outline leads its neighbours and is left alone.
    much_better : float
        A neighbour whose score exceeds that of a body by this leads it all the same.
    better : float
        By how much the score of a new outline must exceed that of the old one.
    quality : QualitySettings
        How outlines are judged.
    """

    trusted: float = 0.7
    much_better: float = 0.5
    better: float = 0.1
    quality: QualitySettings = field(default_factory=QualitySettings)


def refined_bodies(
    scene: BodyScene,
    surfaces: Sequence[BodySurface],
    rooms: Sequence[PlateRooms] | None = None,
    settings: PriorSettings | None = None,
) -> tuple[BodySurface, ...]:
    """Fit doubtful bodies again, led by their trusted neighbours.

    Parameters
    ----------
    scene
        Where the bodies were found.
    surfaces
        Their first outlines from the lowest to the highest, without the sacrum.
    rooms
        Where the discs that were seen let their endplates lie.
    settings
        Tunables; the defaults if None.

    Returns
    -------
    tuple of BodySurface
        As many outlines, in the same order.
    """
    settings = settings or PriorSettings()
    current = list(surfaces)
    qualities = list(outline_qualities(scene, current, settings.quality))
    doubtful = [
        k
        for k, q in enumerate(qualities)
        if q.score < settings.trusted and q.measures.in_view >= WHOLE
    ]
    # Those that have the most trusted neighbours first: they may lead the others.
    doubtful.sort(key=lambda k: -len(_trusted(qualities, k, settings)))
    for k in doubtful:
        leaders = _trusted(qualities, k, settings)
        if not leaders:
            continue
        size = usual_size([qualities[j].measures for j in (*leaders, k)], len(leaders))
        if size is None:
            continue
        first = _judged(scene, current, k, current[k], size, settings)
        best = first.score + settings.better
        room = (None, None) if rooms is None else rooms[k]
        for frame, height_mm in _frames(current, leaders, k, size):
            usual = BodyOutline(size.width_mm / 2, size.depth_mm / 2, 0.0, 0.0, 1.0)
            surface = body_surface(scene, frame, height_mm, usual, room)
            quality = _judged(scene, current, k, surface, size, settings)
            if quality.score > best:
                current[k], best = surface, quality.score
        qualities = list(outline_qualities(scene, current, settings.quality))
    return tuple(current)


def _trusted(
    qualities: Sequence[OutlineQuality], index: int, settings: PriorSettings
) -> list[int]:
    """Direct neighbours that can be trusted, or much more so than the body itself."""
    least = min(settings.trusted, qualities[index].score + settings.much_better)
    return [
        k
        for k in (index - 1, index + 1)
        if 0 <= k < len(qualities) and qualities[k].score >= least
    ]


def _judged(
    scene: BodyScene,
    surfaces: Sequence[BodySurface],
    index: int,
    surface: BodySurface,
    size: UsualSize,
    settings: PriorSettings,
) -> OutlineQuality:
    below = surfaces[index - 1] if index > 0 else None
    above = surfaces[index + 1] if index + 1 < len(surfaces) else None
    own = outline_measures(scene, surface)
    beside = beside_neighbours(own, surface, below, above)
    measures = with_walled_gaps(beside, scene, surface, below, above)
    return judged(measures, size, settings.quality)


def _frames(
    surfaces: Sequence[BodySurface], leaders: list[int], index: int, size: UsualSize
) -> list[tuple[VertebraFrame, float]]:
    """Where the neighbours leave room for a body, and the body's own place."""
    own = surfaces[index]
    middle = float(np.median((own.upper_mm + own.lower_mm) / 2))
    frames = [
        (
            _at(own.frame, own.frame.to_lps_mm(np.array([0.0, 0.0, middle]))),
            size.height_mm + USUAL_DISC_MM,
        )
    ]
    if len(leaders) == 2:
        low = _plate_middle(surfaces[index - 1], upper=True)
        high = _plate_middle(surfaces[index + 1], upper=False)
        room = float(np.linalg.norm(high - low))
        if room >= LEAST_ROOM_MM:
            superior = (high - low) / room
            back = surfaces[index - 1].frame.posterior
            back = back + surfaces[index + 1].frame.posterior
            # The room holds the body and two discs; a frame takes half of each.
            height = max((room + min(size.height_mm, room)) / 2, LEAST_ROOM_MM)
            frames.append((_upright((low + high) / 2, superior, back), height))
    for leader in leaders:
        up = leader < index
        frame = surfaces[leader].frame
        start = _plate_middle(surfaces[leader], upper=up)
        sign = 1.0 if up else -1.0
        way = sign * (USUAL_DISC_MM + size.height_mm / 2)
        frames.append(
            (_at(frame, start + way * frame.superior), size.height_mm + USUAL_DISC_MM)
        )
    return frames


def _plate_middle(surface: BodySurface, *, upper: bool) -> FloatArray:
    plate = surface.upper_mm if upper else surface.lower_mm
    height = on_plate(plate, np.zeros(1), np.zeros(1))[0]
    return surface.frame.to_lps_mm(np.array([0.0, 0.0, height]))


def _at(frame: VertebraFrame, origin_lps_mm: FloatArray) -> VertebraFrame:
    return VertebraFrame(origin_lps_mm, frame.left, frame.posterior, frame.superior)


def _upright(
    origin_lps_mm: FloatArray, superior: FloatArray, back: FloatArray
) -> VertebraFrame:
    posterior = back - (back @ superior) * superior
    posterior = posterior / np.linalg.norm(posterior)
    return VertebraFrame(
        origin_lps_mm, np.cross(posterior, superior), posterior, superior
    )
