"""Terms of the private scheme for what cemscope measures; see `docs/export.md`."""

from collections.abc import Mapping
from types import MappingProxyType

from cemscope.dicom.objects.terms import (
    INDETERMINATE,
    VERTEBRAL_CANAL,
    Term,
    private_term,
)

BODY_VOLUME = private_term("BODYVOL", "Volume of the vertebral body")
CEMENT_LOW = private_term("CEMVOLLOW", "Cement volume, lower limit of 95 % interval")
CEMENT_HIGH = private_term("CEMVOLHIGH", "Cement volume, upper limit of 95 % interval")
CEMENT_THRESHOLD = private_term("CEMVOLTHRESH", "Cement volume over a plain threshold")
CEMENT_IN_BODY = private_term("CEMVOLBODY", "Cement volume within the vertebral body")
CEMENT_LEAKED = private_term("CEMVOLLEAKED", "Cement volume outside the vertebral body")
FILL_RATIO = private_term("FILLRATIO", "Cement in the body per volume of the body")
LEVEL_CONFIDENCE = private_term("LEVELCONF", "Confidence of the level's name")
PARTIAL_VOLUME = private_term("PARTVOL", "Partial volume summation within an outline")
SCREW_CEMENT = private_term("SCREWCEM", "Cement volume at the screw")
SCREW_CEMENTED = private_term("SCREWCEMENTED", "Cement touches the screw")
VERTEBRA_COUNT = private_term("VERTCOUNT", "Number of vertebrae with cement")

LEAK_TYPE = private_term("LEAKTYPE", "Cement leak type (Yeom 2003, extended)")
LEAK_TYPES: Mapping[str, Term] = MappingProxyType(
    {
        "B": private_term("LEAK-B", "B: through the basivertebral vein"),
        "S": private_term("LEAK-S", "S: through a segmental vein"),
        "C": private_term("LEAK-C", "C: through a cortical defect"),
        "D": private_term("LEAK-D", "D: into an intervertebral disc"),
        "I": private_term("LEAK-I", "I: along the screw or needle track"),
    }
)
LEAK_TYPE_NOT_TOLD = private_term("LEAK-NONE", "Type not told")
LEAK_CERTAINTY = private_term("LEAKCERT", "Certainty of the leak type")
CERTAINTIES: Mapping[str, Term] = MappingProxyType(
    {"definite": private_term("DEFINITE", "Definite"), "indeterminate": INDETERMINATE}
)
LEAK_PLACE = private_term("LEAKPLACE", "Location of the leak")
LEAK_PLACES: Mapping[str, Term] = MappingProxyType(
    {
        "epidural": VERTEBRAL_CANAL,
        "disc_superior": private_term("PLACE-DISC-SUP", "Disc above the vertebra"),
        "disc_inferior": private_term("PLACE-DISC-INF", "Disc below the vertebra"),
        "foraminal_left": private_term("PLACE-FORAMEN-L", "Left neural foramen"),
        "foraminal_right": private_term("PLACE-FORAMEN-R", "Right neural foramen"),
        "prevertebral": private_term("PLACE-PREVERT", "Prevertebral tissue"),
        "paravertebral": private_term("PLACE-PARA", "Paravertebral tissue"),
        "paravertebral_left": private_term("PLACE-PARA-L", "Left paravertebral tissue"),
        "paravertebral_right": private_term(
            "PLACE-PARA-R", "Right paravertebral tissue"
        ),
        "needle_track": private_term("PLACE-TRACK", "Needle or screw track"),
    }
)
OTHER_PLACE = private_term("PLACE-OTHER", "Other place; see the text")
PLACE_TEXT = private_term("PLACETEXT", "Location in words")
LEAK_DISTANCE = private_term("LEAKDIST", "Largest distance of the leak from the body")
CANAL_SHARE = private_term("CANALSHARE", "Largest share of the canal taken by cement")
EVIDENCE = private_term("LEAKEVIDENCE", "Evidence for the type of the leak")

LUCENCY_GRADES: Mapping[str, Term] = MappingProxyType(
    {
        "none": private_term("LUC-NONE", "No lucent rim"),
        "suspicious": private_term("LUC-SUSP", "Lucent rim, suspicious of loosening"),
        "loose": private_term("LUC-LOOSE", "Lucent rim of the grade 'loose'"),
    }
)
LUCENCY_MAX_WIDTH = private_term("LUCMAXWIDTH", "Largest width of the lucent rim")
LUCENCY_MEAN_WIDTH = private_term("LUCMEANWIDTH", "Mean width of the lucent rim")
LUCENCY_ARC = private_term("LUCARC", "Arc of the lucent rim around the screw")
LUCENCY_LENGTH = private_term("LUCLENGTH", "Share of the screw's length with a rim")
LUCENCY_SEEN = private_term("LUCSEEN", "Share of the screw's surface that was seen")
LUCENCY_COVERED = private_term(
    "LUCCOVERED", "Share of the screw's surface that cement covers"
)
LUCENCY_PEDICLE_WIDTH = private_term(
    "LUCWIDTHPED", "Largest width of the rim in the pedicle"
)
LUCENCY_BODY_WIDTH = private_term(
    "LUCWIDTHBODY", "Largest width of the rim in the body"
)
DOUBLE_HALO = private_term("DOUBLEHALO", "A sclerotic rim bounds the lucent one")
LUCENCY_GROWTH = private_term("LUCGROWTH", "Growth of the rim since the baseline")

NOT_ASSESSED_WHY = private_term("NOTASSESSED", "Reason why it was not assessed")
ASSESSMENT = private_term("ASSESSMENT", "Whether it was measured")
DECISION = private_term("DECISION", "Reader's decision on the machine's finding")
DECISIONS: Mapping[str, Term] = MappingProxyType(
    {
        "accepted": private_term("ACCEPTED", "Accepted as it is"),
        "modified": private_term("MODIFIED", "Modified by the reader"),
        "rejected": private_term("REJECTED", "Rejected by the reader"),
        "open": private_term("NOTJUDGED", "Not judged"),
        "added": private_term("ADDED", "Added by the reader"),
    }
)
DECISION_REASON = private_term("REASON", "Reason of the reader's decision")
MACHINE_VOLUME = private_term("MACHINEVOL", "Volume in the machine's report")
MACHINE_LEAK_TYPE = private_term("MACHINETYPE", "Type in the machine's report")
MACHINE_LEAK_CERTAINTY = private_term(
    "MACHINECERT", "Certainty of the type in the machine's report"
)
MACHINE_LEAK_PLACE = private_term("MACHINEPLACE", "Location in the machine's report")
MACHINE_EVIDENCE = private_term(
    "MACHINEEVIDENCE", "Evidence of the machine, not for the reader's type"
)
READER_AND_MACHINE = private_term(
    "READERMACHINE", "What the reader says and what the machine said"
)
COMPARISON = private_term(
    "COMPARISON", "Change since the baseline, as the machine tells it"
)
SCAN_WARNING = private_term("WARNING", "What a reader should know")
CONTENT_HASH = private_term("CONTENTHASH", "SHA-256 of the report and its label maps")
