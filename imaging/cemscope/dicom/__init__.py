"""The DICOM edge: files to volumes, and results to DICOM objects."""

from cemscope.dicom.hounsfield import HounsfieldSettings
from cemscope.dicom.kernel import KernelSharpness
from cemscope.dicom.limits import InputLimits
from cemscope.dicom.patient_marks import PatientMarks, patient_numbers
from cemscope.dicom.reader import ReadSettings, read_series
from cemscope.dicom.series import InputScan, SeriesSummary, list_series, scan_input
from cemscope.dicom.series_finding import FindingCode, SeriesFinding
from cemscope.dicom.stack import StackSettings
from cemscope.dicom.suitability import RejectedSeries, SeriesChoice, choose_series

__all__ = [
    "FindingCode",
    "HounsfieldSettings",
    "InputLimits",
    "InputScan",
    "KernelSharpness",
    "PatientMarks",
    "ReadSettings",
    "RejectedSeries",
    "SeriesChoice",
    "SeriesFinding",
    "SeriesSummary",
    "StackSettings",
    "choose_series",
    "list_series",
    "patient_numbers",
    "read_series",
    "scan_input",
]
