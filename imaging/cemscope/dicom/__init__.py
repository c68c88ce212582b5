"""The DICOM edge: files to volumes, and results to DICOM objects."""
