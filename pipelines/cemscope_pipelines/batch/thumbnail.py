"""A small picture of a case for the overview page."""

import io
from pathlib import Path

from cemscope_pipelines.case_folder import PREVIEW_FILE

_WIDTH, _HEIGHT = 240, 180
_SHOWN = (0.646, 0.955)
"""Of the preview's width and height: the coronal and sagittal views, no legend."""

_QUALITY = 60


def case_thumbnail(case_folder: Path) -> bytes:
    """Shrink the preview of a case to a JPEG of a few kB; b"" where there is none."""
    from PIL import Image

    try:
        with Image.open(case_folder / PREVIEW_FILE) as picture:
            width, height = picture.size
            box = (0, 0, int(_SHOWN[0] * width), int(_SHOWN[1] * height))
            small = picture.crop(box).convert("RGB")
    except OSError:
        return b""
    small.thumbnail((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS, reducing_gap=2.0)
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=_QUALITY, optimize=True)
    return stream.getvalue()
