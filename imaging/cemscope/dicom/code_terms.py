"""Terms that DICOM defines for codes which messages quote.

A damaged or hand-made header can hold a name where a code belongs; what is no
defined term is told as UNKNOWN.
"""

MODALITIES = frozenset(
    (
        *("CT", "MR", "PT", "NM", "US", "XA", "RF", "CR", "DX", "MG", "IO", "PX"),
        *("SC", "OT", "SR", "SEG", "PR", "KO", "DOC", "REG", "RTIMAGE", "RTDOSE"),
        *("RTSTRUCT", "RTPLAN", "RTRECORD", "ECG", "ES", "XC", "SM", "GM", "OP"),
        *("OPT", "BMD", "BI", "DG", "LS", "TG", "EPS", "HD", "HC", "FID", "RWV"),
        *("SMR", "SRF", "STAIN", "TEXTUREMAP", "VA", "VF", "AU", "BDUS", "CFM"),
        *("ASMT", "AR", "ANN", "CTPROTOCOL", "DMS", "EEG", "EMG", "EOG", "IVOCT"),
        *("IVUS", "KER", "LEN", "M3D", "MA", "OAM", "OCT", "OPM", "OPTBSV", "OPTENF"),
        *("OPV", "OSS", "PA", "PLAN", "POS", "RESP", "RG", "SEGANN", "XAPROTOCOL"),
        *("DF", "PHOTO", "HISTO", "CD", "DD", "ST", "PC", ""),
    )
)
"""Modality, DICOM PS3.3 C.7.3.1.1.1."""

RESCALE_TYPES = frozenset(
    ("", "HU", "HU_MOD", "OD", "US", "MGML", "Z_EFF", "ED", "EDW", "PCT")
)
"""RescaleType, DICOM PS3.3 C.11.1.1.2."""
