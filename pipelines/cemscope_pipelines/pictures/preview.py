"""Compose the pictures of a case: the preview and the axial views."""

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cemscope.findings import Leak
from cemscope.measurement.augmentation import Augmentation
from cemscope.spine import Spine, Vertebra
from cemscope.volume import CTVolume
from cemscope_pipelines.pictures.drawing import draw_legend, draw_view, new_figure
from cemscope_pipelines.pictures.plane import (
    SpineCourse,
    axial_plane,
    coronal_plane,
    sagittal_plane,
)
from cemscope_pipelines.pictures.view import (
    CEMENT,
    LEAKED,
    MATERIALS,
    PictureSettings,
    PictureView,
    level_texts,
    make_view,
)

CORONAL_HALF_WIDTH_MM = 68.0
SAGITTAL_RANGE_MM = (-52.0, 88.0)
"""In front of and behind the centres of the bodies."""

AXIAL_HALF_WIDTH_MM = 62.0
AXIAL_BACK_SHIFT_MM = 18.0
"""The view's centre lies behind the body's, so that screw heads are in it."""

MIN_HEIGHT_MM = 130.0
PREVIEW_HEIGHT_PX = 1060
FOOTER_PX = 54


@dataclass(frozen=True, slots=True, eq=False)
class CaseImages:
    """What the pictures are made from."""

    ct: CTVolume
    spine: Spine
    augmentation: Augmentation
    settings: PictureSettings
