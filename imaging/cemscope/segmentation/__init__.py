"""Vertebrae, metal and cement as masks; pure functions on frozen values.

`vertebrae` finds, outlines and names the vertebrae, from `canal`, `discs`, `bodies` and
`levels`; `labels` takes them from an imported label map instead. `implants` finds
screws, rods and other metal by shape, `cement` what is left of the bright voxels.
"""
