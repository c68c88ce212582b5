"""From a folder of DICOM files to a case folder: configuration, cases, command line."""
