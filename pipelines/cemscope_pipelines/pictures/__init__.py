"""Pictures of a case for a reader: slabs along the spine and axial views."""
