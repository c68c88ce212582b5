"""Results of a case for other systems: DICOM objects, documents, tables, label maps."""
