"""Coded terms of the objects that cemscope writes.

SNOMED CT and DICOM codes stand where the dictionaries of the standard have them; bone
cement, its leaks and what is measured on them have none there and carry codes of the
private scheme 99CEMSCOPE, which every object identifies. No SNOMED number is made up.
"""

from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from cemscope.anatomy import CRANIOCAUDAL_ORDER, VertebraLevel

PRIVATE_SCHEME = "99CEMSCOPE"
"""Designator of the private coding scheme (PS3.16 chapter 8: it begins with 99)."""

PRIVATE_SCHEME_UID = "2.25.68508225003301168584567211460416941293"
"""Identifies the scheme among all schemes of that designator."""


@dataclass(frozen=True, slots=True)
class Term:
    """A coded concept.

    Attributes
    ----------
    value : str
        Code, at most 16 characters.
    scheme : str
        Coding scheme designator: SCT, DCM, UCUM, LN or 99CEMSCOPE.
    meaning : str
        What it means, at most 64 characters.
    """

    value: str
    scheme: str
    meaning: str

    def __post_init__(self) -> None:
        if not (1 <= len(self.value) <= 16 and 1 <= len(self.meaning) <= 64):
            raise ValueError(
                f"expected a code of 1-16 and a meaning of 1-64 characters, found "
                f"{len(self.value)} and {len(self.meaning)}"
            )

    @property
    def code(self) -> Code:
        """The same for highdicom."""
        return Code(self.value, self.scheme, self.meaning)


def private_term(value: str, meaning: str) -> Term:
    """Make a term of the scheme 99CEMSCOPE."""
    return Term(value, PRIVATE_SCHEME, meaning)


VOLUME = Term("118565006", "SCT", "Volume")
DIAMETER = Term("81827009", "SCT", "Diameter")
LENGTH = Term("410668003", "SCT", "Length")
LEFT = Term("7771000", "SCT", "Left")
RIGHT = Term("24028007", "SCT", "Right")
VERTEBRA = Term("51282000", "SCT", "Vertebra")
ARCH_OF_VERTEBRA = Term("40265002", "SCT", "Arch of vertebra")
VERTEBRAL_CANAL = Term("61853006", "SCT", "Vertebral canal")
SACRUM = Term("54735007", "SCT", "Sacrum")
BONE_SCREW = Term("68183006", "SCT", "Bone Screw")
IMPLANT = Term("40388003", "SCT", "Implant")
INDETERMINATE = Term("82334004", "SCT", "Indeterminate")
PHYSICAL_OBJECT = Term("260787004", "SCT", "Physical object")
ANATOMICAL_STRUCTURE = Term("91723000", "SCT", "Anatomical structure")
SPATIAL_CONCEPT = Term("309825002", "SCT", "Spatial and relational concept")
LUCENCY = Term("112084", "DCM", "Lucency")
YES = Term("373066001", "SCT", "Yes")
NO = Term("373067005", "SCT", "No")
NOT_ATTEMPTED = Term("114007", "DCM", "Measurement not attempted")
CT_REPORTED = Term("25045-6", "LN", "CT unspecified body region")

MILLILITRE = Term("ml", "UCUM", "ml")
MILLIMETRE = Term("mm", "UCUM", "mm")
PERCENT = Term("%", "UCUM", "%")
DEGREE = Term("deg", "UCUM", "deg")
RATIO = Term("{ratio}", "UCUM", "ratio")

PMMA = private_term("PMMA", "Polymethyl methacrylate bone cement")
CEMENT_LEAK = private_term("CEMENTLEAK", "Bone cement outside the vertebral body")
CEMENT_ELSEWHERE = private_term("CEMELSEWHERE", "Bone cement away from any vertebra")
FIXATION_ROD = private_term("SPINEROD", "Fixation rod or other metal")


def vertebra_term(level: str) -> Term:
    """Code of a vertebra; a private one where SNOMED CT as shipped has none.

    Parameters
    ----------
    level
        "C1" ... "S1", or "V1", "V2", ... where the level cannot be told.
    """
    known = VertebraLevel(level).snomed_code
    if level == "S1":
        return SACRUM
    if known is None:
        return private_term(f"LEVEL-{level}", f"Vertebra {level}")
    return Term(known, "SCT", f"{level} vertebra")


def all_vertebra_terms() -> tuple[Term, ...]:
    """Terms of all named levels."""
    return tuple(vertebra_term(level) for level in CRANIOCAUDAL_ORDER)


def scheme_identification() -> Dataset:
    """Item of CodingSchemeIdentificationSequence for the private scheme."""
    item = Dataset()
    item.CodingSchemeDesignator = PRIVATE_SCHEME
    item.CodingSchemeUID = PRIVATE_SCHEME_UID
    item.CodingSchemeName = "cemscope bone cement terms"
    item.CodingSchemeResponsibleOrganization = "The cemscope authors"
    return item
