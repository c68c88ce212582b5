"""Results as DICOM objects: segmentation, structured report, pictures, documents.

Nothing here knows a report or a case folder: the callers say what stands in an object
in plain values, and these modules encode it.
"""
