"""Describe one leak anew: its types, places and how far it reaches."""

from dataclasses import replace

import numpy as np

from cemscope.findings import Leak
from cemscope.measurement.leakage import LeakageSettings, find_leaks
from cemscope.segmentation.scan_region import ScanRegion
from cemscope_pipelines.report import LeakEntry, NotAssessedEntry
from cemscope_pipelines.report_builder import LENGTH_DECIMALS, leak_entry
from cemscope_pipelines.review.case_maps import CaseMaps
from cemscope_pipelines.review.level_recount import (
    cement_box,
    cement_cluster,
)
from cemscope_pipelines.review.review_state import ReviewState
from cemscope_pipelines.review.scan_context import ScanContext, screw_model
from cemscope_pipelines.review.voxel_change import is_leak

NOT_FOLLOWED = (
    "the way from the bone to this piece, drawn or divided by the reader, was not found"
)


def describe_leak(
    context: ScanContext,
    maps: CaseMaps,
    state: ReviewState,
    leak_id: str,
    volume_ml: float,
) -> LeakEntry:
    """Measure a leak's route with the library, on the voxels that the reader gave it.

    Parameters
    ----------
    context
        The scan.
    maps, state
        As they are now; the leak stands in both.
    leak_id
        Which leak.
    volume_ml
        Its volume; the description does not change it.

    Returns
    -------
    LeakEntry
        Types and places that the reader gave stay. Types are empty and the certainty
        is indeterminate where the library finds no way from the bone to the piece.
    """
    _, before = state.leak(leak_id)
    described = _described(context, maps, state, leak_id, volume_ml)
    kept: dict[str, object] = {}
    if leak_id in state.types_told:
        kept |= {"types": before.types, "certainty": before.certainty}
    if leak_id in state.places_told:
        kept |= {"locations": before.locations}
    return described.model_copy(update=kept)


def _described(
    context: ScanContext,
    maps: CaseMaps,
    state: ReviewState,
    leak_id: str,
    volume_ml: float,
) -> LeakEntry:
    level, before = state.leak(leak_id)
    code = state.leak_codes[leak_id]
    found = _found(context, maps, state, level, code)
    if found is not None:
        entry = leak_entry(found)
        return entry.model_copy(update={"id": leak_id, "volume_ml": volume_ml})
    missing = NotAssessedEntry(reason=NOT_FOLLOWED)
    return before.model_copy(
        update={
            "types": (),
            "certainty": "indeterminate",
            "volume_ml": volume_ml,
            "centroid_lps_mm": _centre(maps, code) or before.centroid_lps_mm,
            "canal_encroachment_percent": missing,
            "evidence": missing,
        }
    )


def _found(
    context: ScanContext, maps: CaseMaps, state: ReviewState, level: str, code: int
) -> Leak | None:
    box = cement_box(context, maps, state, level)
    cluster = None if box is None else cement_cluster(context, maps, state, box)
    if cluster is None:
        return None
    place = [entry.level for entry in state.vertebrae].index(level) + 1
    others = is_leak(cluster.leak_numbers) & (cluster.leak_numbers != code)
    fractions = replace(
        cluster.fractions,
        fraction=np.where(others, np.float32(0.0), cluster.fractions.fraction),
        halo=cluster.fractions.halo & ~others,
    )
    owner = np.where(cluster.owners.owner == place, cluster.owners.owner, 0)
    owners = replace(cluster.owners, owner=owner.astype(np.uint8))
    settings: LeakageSettings = context.settings.leakage
    spine = context.spine(maps, state)
    depth, height, width = context.ct.hu.shape
    whole = (slice(0, depth), slice(0, height), slice(0, width))
    leaks, numbers, _ = find_leaks(
        fractions,
        owners,
        spine,
        tuple(screw_model(s) for s in state.screws if s.level == level),
        settings,
        (0,) * len(state.vertebrae),
        whole=ScanRegion.of_box(context.ct, spine.labels, whole),
    )
    if not leaks:
        return None
    held = np.bincount(numbers[cluster.leak_numbers == code], minlength=len(leaks) + 1)[
        1:
    ]
    best = int(np.argmax(held))
    return leaks[best] if held[best] > 0 else None


def _centre(maps: CaseMaps, code: int) -> tuple[float, float, float] | None:
    places = maps.places_of(code)
    if not len(places):
        return None
    index = np.array(np.unravel_index(places, maps.geometry.shape)).T
    x, y, z = maps.geometry.index_to_lps(index).mean(axis=0)
    return (
        round(float(x), LENGTH_DECIMALS),
        round(float(y), LENGTH_DECIMALS),
        round(float(z), LENGTH_DECIMALS),
    )
