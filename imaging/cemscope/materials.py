"""Physical constants of the materials in a postoperative CT, each with its source.

No constant here decides alone what is cement: thresholds are derived from each scan.
These values bound them and give the simulation its materials.
"""

CLIP_CEILING_12_BIT_HU = 3071
"""Highest value of the usual 12-bit CT scale (-1024 ... 3071 HU)."""

FAT_HU = -100.0
"""Typical adipose tissue; Kalender, Computed Tomography, 3rd ed. 2011, ch. 1."""

SOFT_TISSUE_HU = 50.0
"""Typical muscle without contrast; Kalender, as above."""

CORTICAL_BONE_MAX_HU = 1600.0
"""Dense compact bone at 120 kVp: ICRU cortical bone (1.92 g/cm3) self-hardened along
5-20 mm computes to 1470-1560 HU."""

UNFILLED_PMMA_HU = 115.0
"""PMMA without opacifier at 120 kVp, computed from its composition (1.18 g/cm3)."""
