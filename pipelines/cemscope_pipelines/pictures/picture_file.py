"""Write PNG files of limited size."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

MAX_BYTES = 400_000
"""A report holds its pictures in itself and must still go through a mail."""

BITS = (8, 6, 5, 4)
"""Bits per channel that are tried: coarser ones leave out the noise, not the lines."""


def figure_rgb(figure: Figure) -> npt.NDArray[np.uint8]:
    """Draw a figure; returns its pixels, shape (rows, columns, 3)."""
    canvas: Any = FigureCanvasAgg(figure)  # matplotlib does not annotate it
    canvas.draw()
    rgba: npt.NDArray[np.uint8] = np.asarray(canvas.buffer_rgba())
    return rgba[..., :3]


def small_png(rgb: npt.NDArray[np.uint8], max_bytes: int = MAX_BYTES) -> bytes:
    """Write a picture with as many bits as its size allows.

    Parameters
    ----------
    rgb
        Shape (rows, columns, 3).
    max_bytes
        Kept if the fewest bits allow it.
    """
    png = b""
    for bits in BITS:
        step = 1 << (8 - bits)
        coarse = (rgb // step).astype(np.float32) * (255.0 / (256 // step - 1))
        buffer = io.BytesIO()
        image = Image.fromarray(np.rint(coarse).astype(np.uint8))
        image.save(buffer, format="PNG", compress_level=6)
        png = buffer.getvalue()
        if len(png) <= max_bytes:
            break
    return png
