"""What DICOM files say about the software that wrote them (PS3.10, 7.1)."""

from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID

IMPLEMENTATION_CLASS_UID = "2.25.262142831773990235062111471099104625707"
"""Made of a name-based UUID (PS3.5, B.2)."""

IMPLEMENTATION_VERSION_NAME = "CEMSCOPE"


def name_implementation(meta: FileMetaDataset) -> None:
    """Say in a file's meta group that cemscope wrote the file; in place."""
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
