"""Review of a cemscope case in napari."""
