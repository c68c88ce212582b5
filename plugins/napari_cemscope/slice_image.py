"""One slice of a scan with its marks as pictures for Qt: plain numpy, no OpenGL."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from qtpy.QtGui import QImage

from napari_cemscope.layers import LayerData
from napari_cemscope.plane import Plane

Window2D = tuple[slice, slice]
"""Rows and columns of a slice that are shown."""

OUTLINED = "vertebrae"
"""The layer that is drawn as an outline."""

_LOWEST_HU = -32768


def grey_table(limits_hu: tuple[float, float]) -> npt.NDArray[np.uint8]:
    """Grey value of every int16; look up with the bits as uint16, shape (65536,)."""
    low, high = limits_hu
    values = np.arange(-32768, 32768, dtype=np.float32)
    grey = np.clip((values - low) * (255.0 / max(high - low, 1e-6)), 0, 255)
    table: npt.NDArray[np.uint8] = np.roll(grey.astype(np.uint8), _LOWEST_HU)
    return table


def colour_table(layer: LayerData) -> npt.NDArray[np.uint32]:
    """Premultiplied ARGB of every code of a label layer, shape (256,)."""
    _, keywords, _ = layer
    table = np.zeros(256, np.uint32)
    for code, colour in keywords["colormap"].color_dict.items():
        if code is None:
            continue
        alpha = float(colour[3]) * float(keywords["opacity"])
        red, green, blue = (round(255.0 * alpha * float(c)) for c in colour[:3])
        table[code] = round(255 * alpha) << 24 | red << 16 | green << 8 | blue
    return table


def outline_of(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Tell which labelled pixels have a neighbour of another label."""
    edge = np.zeros(labels.shape, np.bool_)
    down, across = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    return edge & (labels > 0)


@dataclass(slots=True, eq=False)
class SliceImage:
    """Pictures of the slices along one plane.

    Attributes
    ----------
    plane : Plane
        Which way the slices lie.
    """

    plane: Plane
    _ct: npt.NDArray[np.int16] | None = None
    _grey: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    _labels: dict[str, npt.NDArray[np.uint8]] = field(default_factory=dict)
    _tables: dict[str, npt.NDArray[np.uint32]] = field(default_factory=dict)
    _hidden: set[str] = field(default_factory=set)
    _key: tuple[object, ...] = ()
    _held: list[npt.NDArray[np.generic]] = field(default_factory=list)
    _images: tuple[QImage, QImage] | None = None

    def take(self, layers: list[LayerData]) -> None:
        """Take the arrays of layers over, in the order (z, y, x)."""
        for layer in layers:
            data, keywords, kind = layer
            if kind == "image":
                self._ct = data
                self.set_window(keywords["contrast_limits"])
            else:
                self._labels[keywords["name"]] = data
                self._tables[keywords["name"]] = colour_table(layer)
        self.forget()

    @property
    def shape(self) -> tuple[int, int]:
        """Pixels of a whole slice: rows, columns."""
        if self._ct is None:
            return 0, 0
        _, rows, columns = self.plane.order
        return self._ct.shape[rows], self._ct.shape[columns]

    def set_window(self, limits_hu: tuple[float, float]) -> None:
        """Choose the grey scale."""
        self._grey = grey_table(limits_hu)
        self.forget()

    def set_visible(self, name: str, visible: bool) -> None:
        """Show or hide a layer."""
        if visible:
            self._hidden.discard(name)
        else:
            self._hidden.add(name)
        self.forget()

    def forget(self) -> None:
        """Draw anew: arrays or colours have changed."""
        self._key = ()

    def pictures(self, index: int, window: Window2D) -> tuple[QImage, QImage] | None:
        """Draw a part of a slice: the scan, and what is marked on it.

        Parameters
        ----------
        index
            Slice along the plane's axis.
        window
            Rows and columns; row 0 is drawn at the bottom where the plane's vertical
            axis grows upwards.
        """
        key = (index, window[0].start, window[0].stop, window[1].start, window[1].stop)
        if key == self._key and self._images is not None:
            return self._images
        if self._ct is None:
            return None
        hu = np.ascontiguousarray(self._cut(self._ct, index, window))
        grey = self._grey[hu.view(np.uint16)]
        marks = np.zeros(grey.shape, np.uint32)
        cuts: dict[int, npt.NDArray[np.uint8]] = {}
        for name, data in self._labels.items():
            if name in self._hidden:
                continue
            place = data.__array_interface__["data"][0]
            if place not in cuts:  # the materials share one array
                cuts[place] = np.ascontiguousarray(self._cut(data, index, window))
            labels = cuts[place]
            if not labels.any():
                continue
            colours = self._tables[name][labels]
            if name == OUTLINED:
                colours[~outline_of(labels)] = 0
            marks = np.where(colours > 0, colours, marks)
        self._held = [grey, marks]  # the pictures lie on these arrays
        height, width = grey.shape
        self._images = (
            QImage(
                grey.data, width, height, width, QImage.Format.Format_Grayscale8
            ),
            QImage(
                marks.data, width, height, 4 * width,
                QImage.Format.Format_ARGB32_Premultiplied,
            ),
        )  # fmt: skip
        self._key = key
        return self._images

    def _cut(
        self, data: npt.NDArray[np.generic], index: int, window: Window2D
    ) -> npt.NDArray[np.generic]:
        part: npt.NDArray[np.generic] = data.transpose(self.plane.order)[index][window]
        return part[::-1] if self.plane.up else part
