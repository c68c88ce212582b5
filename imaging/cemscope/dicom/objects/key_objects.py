"""Writes the selection of slices that show the leaks (Key Object Selection)."""

from collections.abc import Sequence

import highdicom as hd
from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from cemscope.dicom.objects.source_images import SourceImages
from cemscope.dicom.objects.stamp import MANUFACTURER, MODEL, ObjectStamp
from cemscope.dicom.privacy import silenced_pydicom
from cemscope.findings import PointLPS


def slice_indices(
    source: SourceImages, points_lps_mm: Sequence[PointLPS]
) -> tuple[int, ...]:
    """Slices that hold the points, each once, in order; points beyond are left out."""
    if not points_lps_mm:
        return ()
    found = source.geometry.lps_to_index(points_lps_mm)[:, 0].round().astype(int)
    slices = source.geometry.shape[0]
    return tuple(sorted({int(i) for i in found if 0 <= i < slices}))


def key_object_selection(
    points_lps_mm: Sequence[PointLPS],
    description: str,
    source: SourceImages,
    stamp: ObjectStamp,
) -> Dataset | None:
    """Select the CT slices through some points.

    Returns
    -------
    Dataset or None
        None where no slice is selected.
    """
    indices = slice_indices(source, points_lps_mm)
    if not indices:
        return None
    single = len(source.datasets) == source.geometry.shape[0]
    chosen = [source.datasets[i] for i in indices] if single else [source.first]
    with silenced_pydicom():
        device = sr.ObserverContext(
            codes.DCM.Device,
            sr.DeviceObserverIdentifyingAttributes(
                uid=stamp.device_uid, name="cemscope"
            ),
        )
        dataset = hd.ko.KeyObjectSelectionDocument(
            evidence=chosen,
            content=hd.ko.KeyObjectSelection(
                document_title=codes.DCM.OfInterest,
                referenced_objects=chosen,
                observer_device_context=device,
                description=description,
            ),
            series_instance_uid=stamp.series_uid("key objects"),
            series_number=400,
            sop_instance_uid=stamp.instance_uid("key objects"),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=MODEL,
        )
        stamp.finish(dataset, source.first, "cemscope leak slices")
    return dataset
