"""Which of several centre lines through one pedicle follow a shaft."""

from cemscope.segmentation.implants.screw_fit import AxisFit, fit_axis
from cemscope.segmentation.implants.screw_search import BrightLine
from cemscope.segmentation.implants.screw_settings import Brightness, ScrewSettings
from cemscope.segmentation.scan_region import ScanRegion

SearchedLines = list[tuple[BrightLine, Brightness]]
"""Bright lines, and what counted as bright when they were found."""


def different_fits(
    region: ScanRegion, lines: SearchedLines, settings: ScrewSettings
) -> list[AxisFit]:
    """Fit lines and keep one fit per shaft, the one that explains most metal.

    Starved rays hollow a shaft out: a line along one of its bright edges shows a thin
    rod that can be longer than what is seen of the shaft, but never as large. A
    neighbouring vertebra's screw can be in reach, too: which vertebra holds a shaft is
    told later. Sections are steadied along the axis only where nothing fits as it is.
    """
    plain = [
        fit_axis(region, line.axis, brightness, settings) for line, brightness in lines
    ]
    kept = _largest([fit for fit in plain if fit is not None])
    return kept or _largest(steadied_fits(region, lines, settings))


def steadied_fits(
    region: ScanRegion, lines: SearchedLines, settings: ScrewSettings
) -> list[AxisFit]:
    """Fit lines to sections that are steadied along the axis, against streaks.

    All of them: which one ends in a head is told later.
    """
    fits = [
        fit_axis(region, line.axis, brightness, settings, streaky=True)
        for line, brightness in lines
    ]
    return [fit for fit in fits if fit is not None]


def _largest(fits: list[AxisFit]) -> list[AxisFit]:
    kept: list[AxisFit] = []
    for fit in sorted(fits, key=_size_mm3, reverse=True):
        line = BrightLine(0.0, fit.axis)
        if not any(line.resembles(BrightLine(0.0, k.axis)) for k in kept):
            kept.append(fit)
    return kept


def _size_mm3(fit: AxisFit) -> float:
    """Size of the free shaft, but for a factor of pi."""
    return fit.free_length_mm * fit.typical_mm**2
