"""Exchange of objects with an archive, by DICOMweb and by DIMSE.

Objects are sent as the bytes that lie on the disk, never decoded and encoded again.
Needs the extra ``cemscope[pacs]``.
"""
