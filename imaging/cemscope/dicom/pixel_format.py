"""How the pixels of one slice are stored, and where in the file they lie."""

from dataclasses import dataclass

from pydicom.config import IGNORE
from pydicom.uid import UID

from cemscope.dicom.attributes import registered_name


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How the pixels of one slice are stored.

    Attributes
    ----------
    slope, intercept : float or None
        Hounsfield unit = slope x stored + intercept; None where missing.
    rescale_type : str
        "HU", "" (means HU on CT), or another unit.
    padding : tuple of int or None
        Lowest and highest stored value that stand for padding.
    lossy : bool
        Whether the pixels went through lossy compression.
    """

    transfer_syntax_uid: str
    bits_allocated: int
    bits_stored: int
    signed: bool
    samples_per_pixel: int
    photometric: str
    slope: float | None
    intercept: float | None
    rescale_type: str
    padding: tuple[int, int] | None
    lossy: bool

    @property
    def transfer_syntax_name(self) -> str:
        """Name of the transfer syntax in DICOM PS3.6."""
        return registered_name(self.transfer_syntax_uid)

    @property
    def is_compressed(self) -> bool:
        """Whether a decoder is needed; an unknown syntax counts as compressed."""
        syntax = UID(self.transfer_syntax_uid, IGNORE)
        return not syntax.is_transfer_syntax or bool(syntax.is_encapsulated)

    @property
    def is_little_endian(self) -> bool:
        """Order of the bytes of native pixels."""
        syntax = UID(self.transfer_syntax_uid, IGNORE)
        return not syntax.is_transfer_syntax or bool(syntax.is_little_endian)

    @property
    def stored_range(self) -> tuple[int, int]:
        """Lowest and highest value that fit the stored bits."""
        if self.signed:
            return -(2 ** (self.bits_stored - 1)), 2 ** (self.bits_stored - 1) - 1
        return 0, 2**self.bits_stored - 1


@dataclass(frozen=True, slots=True)
class PixelElement:
    """Where the value of PixelData lies in a file.

    Attributes
    ----------
    offset : int
        First byte of the value; of the offset table where it is encapsulated.
    length : int or None
        Bytes; None where encapsulated.
    available : int or None
        Bytes of the file from there on; None where only reading can tell.
    """

    offset: int
    length: int | None
    available: int | None
