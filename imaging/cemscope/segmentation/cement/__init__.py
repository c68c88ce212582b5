"""Which voxels hold cement, and how bright it is pure."""
