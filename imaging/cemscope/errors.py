"""The errors a user can meet, as one small tree.

A message says what was expected, what was found (with numbers and units) and
what to do. It never holds a patient's name, identifier or birth date.
"""


class CemscopeError(Exception):
    """Base of every error that cemscope raises on purpose."""


class SeriesError(CemscopeError, ValueError):
    """The files are not one CT series that can be measured."""


class NoSeriesError(SeriesError):
    """Nothing in the input is a readable CT series."""


class NotCTError(SeriesError):
    """The series has another modality, or its values are not Hounsfield units."""


class MixedSeriesError(SeriesError):
    """Different slices share a series, or different patients an input."""


class DuplicateSliceError(SeriesError):
    """Two slices claim the same position."""


class UnevenSpacingError(SeriesError):
    """Slices are missing, or the distance between them changes."""


class GantryTiltError(SeriesError):
    """The slices are sheared against their normal (gantry tilt)."""


class UnsupportedTransferSyntaxError(SeriesError):
    """The pixels are compressed in a way that no installed decoder reads."""


class UnreadablePixelsError(SeriesError):
    """The pixel data of a slice are missing, cut short or inconsistent."""


class GeometryMismatchError(CemscopeError, ValueError):
    """Two images that must share one grid do not."""


class LabelMapError(CemscopeError, ValueError):
    """An imported vertebra label map cannot be used."""


class SegmentationError(CemscopeError):
    """A structure could not be segmented on an accepted scan."""


class NoVertebraFoundError(SegmentationError):
    """No vertebra was found in the field of view."""


class ConfigError(CemscopeError, ValueError):
    """A setting is unknown, out of range or of the wrong type."""


class ExportError(CemscopeError):
    """A result could not be written."""


class EvidenceError(CemscopeError, ValueError):
    """The DICOM objects at hand are not those that a result was measured on."""


class SignatureError(CemscopeError, ValueError):
    """A case cannot be signed as it stands."""


class AuditError(CemscopeError):
    """A case is not what its audit trail says."""


class PacsError(CemscopeError):
    """A PACS cannot be reached, or did not take or give what was asked for."""
