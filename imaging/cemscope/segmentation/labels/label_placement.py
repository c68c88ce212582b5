"""Whether imported labels lie where the bone of the CT lies.

Labels of another scan, of another patient space or with exchanged axes are the
mistake that looks most plausible in a table. The outlines are held against the edges
of bone, here and where they would lie if they were shifted or mirrored.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cemscope.errors import LabelMapError
from cemscope.geometry import FloatArray, VoxelGeometry
from cemscope.segmentation.labels.label_edges import (
    EdgeImage,
    LabelSurface,
    ShareByLabel,
    best_shift_mm,
    edge_shares,
    surface_of_labels,
)
from cemscope.volume import CTVolume, LabelMap, Notice

_OUTSIDE_SHARE = 0.98
"""Labels of which more than this lies outside the CT belong to another place."""

_MIRROR_REACH_MM = 24.0
"""A mirrored row of vertebrae is tried this far around its own centre."""

_ORIGIN_REACH_MM = 12.0
"""Exchanged signs put labels near to a place that is known."""


@dataclass(frozen=True, slots=True)
class PlacementSettings:
    """Tunables of the check against bone.

    'Edge share' is the share of an outline at which the CT is denser inside than
    outside: above 0.9 in the right place (0.75 where slices of 3.6 mm, noise and
    osteoporosis meet), 0.55-0.8 at 5 mm beside it, 0.6 and less elsewhere (measured on
    real and simulated scans).

    Attributes
    ----------
    search_mm
        How far around their place the labels are tried.
    sure_edge_share
        From this on the labels lie in their place and no other place is tried.
    poor_edge_share
        Labels below this are told to fit poorly.
    min_edge_share
        Labels below this do not lie on bone and are refused.
    better_by_share
        Lead in edge share that another place needs to count as better.
    told_shift_mm, refused_shift_mm
        A better place this far away is told, or makes the labels unusable.
    """

    search_mm: float = 45.0
    sure_edge_share: float = 0.9
    poor_edge_share: float = 0.72
    min_edge_share: float = 0.6
    better_by_share: float = 0.08
    told_shift_mm: float = 2.5
    refused_shift_mm: float = 6.0


@dataclass(frozen=True, slots=True)
class PlacementFinding:
    """What the check against bone found.

    Attributes
    ----------
    notices : tuple of Notice
        What is worth telling.
    off_bone : frozenset of int
        Labels that do not lie on bone although the others do.
    """

    notices: tuple[Notice, ...] = ()
    off_bone: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """Another place for the labels: how to say it, and how well it fits."""

    words: str
    distance_mm: float
    mirrored: bool
    share: float


def require_overlap(
    labels: LabelMap, geometry: VoxelGeometry, ct: CTVolume | None = None
) -> tuple[Notice, ...]:
    """Refuse labels that lie outside the CT or in another frame of reference.

    Parameters
    ----------
    labels
        On any grid.
    geometry
        Grid of the CT.
    ct
        With it, the refusal tells where the labels would fit.

    Returns
    -------
    tuple of Notice
        Telling how much of the labels lies outside, if any does.

    Raises
    ------
    LabelMapError
        With the distance in mm, or both frames of reference.
    """
    own = labels.geometry.frame_of_reference_uid
    theirs = geometry.frame_of_reference_uid
    if own is not None and theirs is not None and own != theirs:
        raise LabelMapError(
            f"the labels refer to another frame of reference ({own}) than the CT "
            f"({theirs}): they were drawn on another scan. Register them first"
        )
    indices = np.argwhere(labels.labels)
    points = labels.geometry.index_to_lps(indices[:: max(1, len(indices) // 200_000)])
    index = geometry.lps_to_index(points)
    beyond = np.maximum(-0.5 - index, index - (np.array(geometry.shape) - 0.5))
    outside = (beyond > 0).any(axis=1)
    share = float(outside.mean())
    if share > _OUTSIDE_SHARE:
        gap_mm = np.linalg.norm(np.maximum(beyond, 0) * geometry.spacing_mm, axis=1)
        centre = points.mean(axis=0)
        middle = geometry.corners_lps_mm().mean(axis=0)
        place = None if ct is None else _better_place(labels, ct, PlacementSettings())
        raise LabelMapError(
            f"the labels lie outside the CT: {share:.0%} of their volume, on average "
            f"{gap_mm.mean():.0f} mm away. Centre of the labels (LPS) "
            f"{_point(centre)} mm, of the CT {_point(middle)} mm. "
            + (
                "Is the map of another scan, or were its axes exchanged (RAS against "
                "LPS)?"
                if place is None
                else f"They would fit the bone {place.words}"
            )
        )
    if share > 0.001:
        return (
            Notice(
                "labels_outside_ct",
                f"{share:.0%} of the imported labels lie outside the CT and are "
                "left out.",
            ),
        )
    return ()


def check_placement(
    labels: LabelMap, ct: CTVolume, settings: PlacementSettings | None = None
) -> PlacementFinding:
    """Hold the outlines of labels against the edges of bone in the CT.

    Parameters
    ----------
    labels
        Vertebrae on any grid, at least partly inside the CT.
    ct
        The CT.
    settings
        Tunables.

    Raises
    ------
    LabelMapError
        If the labels do not lie on bone, or would fit much better shifted or mirrored:
        with the share of their outline on bone and the better place in mm.
    """
    settings = settings or PlacementSettings()
    surface = surface_of_labels(labels)
    if not len(surface.numbers):
        return PlacementFinding()
    image = EdgeImage.of(ct, surface.points_lps_mm, settings.search_mm)
    shares = edge_shares(image, surface)
    here = _overall(shares)
    if here >= settings.sure_edge_share:
        return PlacementFinding(*_single_labels(shares, here, settings, labels))
    place = _better_place(labels, ct, settings)
    better = place is not None and place.share >= here + settings.better_by_share
    hint = f"; {place.share:.0%} would, {place.words}" if place and better else ""
    if here < settings.min_edge_share:
        raise LabelMapError(
            f"the labels do not lie on bone: {here:.0%} of their outline lies on an "
            f"edge of bone, expected at least {settings.min_edge_share:.0%}{hint}. Is "
            "the map of another scan or in another patient space?"
        )
    if place is not None and better and place.mirrored:
        raise LabelMapError(
            f"the labels are mirrored or turned: {here:.0%} of their outline lies on "
            f"an edge of bone{hint}. Write them again with the axes of the CT"
        )
    if place is not None and better and place.distance_mm >= settings.refused_shift_mm:
        raise LabelMapError(
            f"the labels are displaced: {here:.0%} of their outline lies on an edge "
            f"of bone{hint}. Were they drawn on this scan?"
        )
    notices, off_bone = _single_labels(shares, here, settings, labels)
    if place is not None and better and place.distance_mm >= settings.told_shift_mm:
        told = Notice(
            "labels_displaced",
            f"{here:.0%} of the imported outlines lie on an edge of bone{hint}: "
            "volumes inside and outside the bodies are off by as much.",
        )
        notices = (told, *notices)
    elif here < settings.poor_edge_share:
        told = Notice(
            "labels_fit_poorly",
            f"Only {here:.0%} of the imported outlines lie on an edge of bone "
            f"(usually over {settings.sure_edge_share:.0%}): check them in the "
            "pictures.",
        )
        notices = (told, *notices)
    return PlacementFinding(notices, off_bone)


def _overall(shares: ShareByLabel) -> float:
    """Edge share of the row; 0 where no label can be judged inside the CT."""
    return float(np.median(list(shares.values()))) if shares else 0.0


def _single_labels(
    shares: ShareByLabel, here: float, settings: PlacementSettings, labels: LabelMap
) -> tuple[tuple[Notice, ...], frozenset[int]]:
    """Labels that leave the bone while the row as a whole lies on it."""
    if here < settings.poor_edge_share:
        return (), frozenset()
    off = [n for n, share in shares.items() if share < settings.min_edge_share]
    notices = [
        Notice(
            "label_off_bone",
            f"The imported label of {labels.names.get(number, number)} does not lie "
            f"on bone: {shares[number]:.0%} of its outline lies on an edge of bone, "
            f"{here:.0%} in the row.",
        )
        for number in off
    ]
    return tuple(notices), frozenset(off)


def _better_place(
    labels: LabelMap, ct: CTVolume, settings: PlacementSettings
) -> _Place | None:
    """Best of all shifted and mirrored places; None where none fits well."""
    surface = surface_of_labels(labels)
    places = []
    for words, moved, reach_mm, mirrored in _trials(surface, ct, settings):
        index = ct.geometry.lps_to_index(moved.points_lps_mm)
        inside = (index > -0.5) & (index < np.array(ct.geometry.shape) - 0.5)
        if inside.all(axis=1).mean() < 0.3:
            continue
        image = EdgeImage.of(ct, moved.points_lps_mm, reach_mm)
        shift = best_shift_mm(image, moved, reach_mm)
        there = edge_shares(image, moved.moved(np.eye(3), shift))
        distance_mm = float(np.linalg.norm(shift))
        share = _overall(there)
        said = words or f"{distance_mm:.0f} mm away (x, y, z: {_point(shift)} mm)"
        places.append(_Place(said, distance_mm, mirrored, share))
        if share >= settings.sure_edge_share:
            break
    fitting = [p for p in places if p.share >= settings.poor_edge_share - 0.05]
    return max(fitting, key=lambda place: place.share, default=None)


def _trials(
    surface: LabelSurface, ct: CTVolume, settings: PlacementSettings
) -> Iterator[tuple[str, LabelSurface, float, bool]]:
    """Places worth a try: how to say it, the outlines there, reach, mirrored."""
    centre = surface.points_lps_mm.mean(axis=0)
    middle = ct.geometry.corners_lps_mm().mean(axis=0)
    origin = np.zeros(3)
    yield "", surface, settings.search_mm, False
    for words, signs in (
        ("mirrored left to right", (-1, 1, 1)),
        ("mirrored front to back", (1, -1, 1)),
        ("turned half-way round (x and y of the opposite sign, as when RAS is taken "
         "for LPS)", (-1, -1, 1)),
        ("turned head to feet", (1, 1, -1)),
    ):  # fmt: skip
        matrix = np.diag(np.array(signs, dtype=float))
        for pivot, reach_mm in (
            (origin, _ORIGIN_REACH_MM),
            (middle, _ORIGIN_REACH_MM),
            (centre, _MIRROR_REACH_MM),
        ):
            moved = surface.moved(matrix, pivot - matrix @ pivot)
            yield words, moved, reach_mm, True


def _point(point: FloatArray) -> str:
    return ", ".join(f"{value:.0f}" for value in point)
