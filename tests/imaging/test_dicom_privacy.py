"""Nothing that identifies a patient may leave the reader but in the DICOM objects."""

import logging
import warnings
from pathlib import Path

import pydicom
import pytest
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset

from cases.ingest_inputs import INPUT_CASES, OTHER_PATIENT, REFUSED_INPUTS
from cases.ingest_read import ReadCase
from cases.ingest_refused import RefusedCase
from cases.series import BROKEN_SERIES, BrokenSeries, datasets, phantom_ct, save
from cemscope.dicom import SeriesSummary, list_series, read_series
from cemscope.dicom.files import InputFiles
from cemscope.dicom.patient_key import read_patient_key
from cemscope.dicom.patient_match import compare_patients
from cemscope.dicom.patient_pseudonym import read_patient_pseudonym
from cemscope.dicom.privacy import silenced_pydicom
from cemscope.errors import CemscopeError
from cemscope.testing.dicom_writer import PixelEncoding, WriteOptions
from cemscope_pipelines.cli import main

CANARY = "Canary"
"""Stands in every field that can hold a person, and in folder names."""


TEXT_VRS = ("PN", "LO", "SH", "ST", "LT", "UT", "UC", "AE", "UR", "CS", "AS")
TOLD = frozenset(
    (
        # What the report tells by contract, and codes on which the reading depends.
        *("ConvolutionKernel", "Manufacturer", "Modality", "ImageType"),
        *("PhotometricInterpretation", "SpecificCharacterSet", "RescaleType"),
        *("LossyImageCompression", "FrameType"),
    )
)


def _marked_tags() -> tuple[tuple[int, str], ...]:
    """Every standard attribute that can hold a text: those of DICOM PS3.15, too."""
    marked = []
    for tag, (vr, _, _, retired, keyword) in DicomDictionary.items():
        group = tag >> 16
        if not keyword or retired or keyword in TOLD or group in (0x0000, 0x0002):
            continue
        if any(v in TEXT_VRS for v in vr.split(" or ")):
            marked.append((tag, vr.split(" or ")[0]))
    return tuple(marked)


MARKED_TAGS = _marked_tags()


PERSON_GROUPS = (0x0008, 0x0010, 0x0032, 0x0040)
"""Where scanners put what identifies a patient; the other groups hold techniques."""


def _plant(slices: list[Dataset], groups: tuple[int, ...] = ()) -> list[Dataset]:
    """Put the canary into every text attribute, into a private one, and a sequence."""
    marked = Dataset()
    with silenced_pydicom():
        for tag, vr in MARKED_TAGS:
            if groups and tag >> 16 not in groups:
                continue
            marked.add_new(tag, vr, f"{CANARY}^Jane"[:16])
        block = marked.private_block(0x0019, f"{CANARY} maker", create=True)
        block.add_new(0x01, "LO", f"{CANARY} 1950")
        physician = Dataset()
        physician.PersonAddress = f"{CANARY} street"
        marked.PhysiciansOfRecordIdentificationSequence = [physician]
    for dataset in slices:
        dataset.update(marked)
    return slices


def test_the_canary_stands_in_every_identifying_tag() -> None:
    """Names, numbers, addresses, places, comments: DICOM PS3.15, table E.1-1."""
    (dataset, *_) = _plant(datasets())
    assert len(MARKED_TAGS) > 1300
    for keyword in ("PatientName", "PatientID", "OtherPatientNames", "PatientAddress",
                    "AccessionNumber", "InstitutionName", "InstitutionAddress",
                    "ReferringPhysicianName", "OperatorsName", "StationName",
                    "DeviceSerialNumber", "PatientComments", "StudyDescription",
                    "SeriesDescription", "ProtocolName", "ImageComments", "StudyID",
                    "RequestingPhysician", "MilitaryRank", "Occupation",
                    "PatientTelephoneNumbers", "IssuerOfPatientID"):  # fmt: skip
        assert CANARY in str(dataset[keyword].value)


def _spoil(folder: Path) -> None:
    """Put words where dates and numbers belong: pydicom's warnings quote them."""
    for path in folder.iterdir():
        data = path.read_bytes()
        for proper in (b"20260101", b"19500101", b"120000", b"120.0 "):
            assert proper in data
            data = data.replace(proper, f"{CANARY}50"[: len(proper)].encode())
        path.write_bytes(data)


def _everything_said(series: tuple[SeriesSummary, ...]) -> str:
    return "".join(
        str((s.name, s.part_label, s.acquisition, s.findings, s.notices, s.image_type))
        for s in series
    )


def test_a_sound_series_says_nothing_of_the_patient(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    folder = save(_plant(datasets()), tmp_path / f"{CANARY}^Jane" / "ct")
    ct = read_series(folder)
    said = _everything_said(list_series(folder))
    captured = capfd.readouterr()
    said += caplog.text + captured.out + captured.err
    said += str((ct.notices, ct.acquisition, ct.source))
    assert CANARY not in said


@pytest.mark.parametrize("case", BROKEN_SERIES, ids=lambda c: c.name)
def test_no_refusal_names_the_patient(
    case: BrokenSeries, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    folder = save(
        _plant(case.slices(), PERSON_GROUPS), tmp_path / f"{CANARY}^Jane" / "ct"
    )
    with pytest.raises(CemscopeError) as refusal:
        read_series(folder)
    said = str(refusal.value) + caplog.text
    error: BaseException | None = refusal.value
    while error is not None:
        said += repr(error)
        error = error.__cause__ or (
            None if error.__suppress_context__ else error.__context__
        )
    assert CANARY not in said


def test_values_of_the_wrong_kind_are_not_quoted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    slices = _plant(datasets())
    for dataset in slices:
        dataset.PatientBirthDate = "19500101"
    folder = save(slices, tmp_path / "ct")
    _spoil(folder)
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ct = read_series(folder)
        said = _everything_said(list_series(folder))
    captured = capfd.readouterr()
    said += str((ct.acquisition, ct.notices)) + caplog.text + captured.out
    said += captured.err + "".join(str(w.message) for w in caught)
    assert CANARY not in said
    assert ct.acquisition.acquisition_date is None
    assert ct.acquisition.kvp is None


@pytest.mark.parametrize("keyword", ["Modality", "RescaleType"])
def test_free_text_in_a_code_is_not_quoted(keyword: str, tmp_path: Path) -> None:
    slices = datasets()
    for dataset in slices:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            setattr(dataset, keyword, f"{CANARY} born 1950")
    with pytest.raises(CemscopeError, match="found UNKNOWN") as refusal:
        read_series(save(slices, tmp_path / "ct"))
    assert CANARY not in str(refusal.value)


def test_damaged_compressed_pixels_are_refused_in_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    for encoding in (
        PixelEncoding.JPEG2000_LOSSLESS,
        PixelEncoding.JPEG_LS_LOSSLESS,
        PixelEncoding.RLE,
        PixelEncoding.JPEG_LOSSLESS,
    ):
        folder = save(
            _plant(datasets(phantom_ct((12, 40, 36)))),
            tmp_path / encoding.name,
            WriteOptions(encoding),
        )
        path = sorted(folder.iterdir())[3]
        dataset = pydicom.dcmread(path)
        dataset.PixelData = dataset.PixelData[:60] + bytes(200)
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(path)
        caplog.clear()
        capfd.readouterr()
        with pytest.raises(CemscopeError, match="unreadable") as refusal:
            read_series(folder)
        captured = capfd.readouterr()
        assert CANARY not in str(refusal.value) + captured.out + captured.err
        assert caplog.text == ""


def test_what_pydicom_says_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with silenced_pydicom():
            for logger in ("pydicom", "openjpeg.utils", "pydicom.pixels.utils"):
                logging.getLogger(logger).error("value %s", CANARY)
            Dataset().PatientBirthDate = f"{CANARY} born 1950"
            pydicom.uid.UID(f"{CANARY} born 1950")
            warnings.warn(f"value {CANARY}", stacklevel=1)
    assert CANARY not in caplog.text
    assert not caught


def test_a_transfer_syntax_that_is_free_text_is_not_quoted(tmp_path: Path) -> None:
    folder = save(datasets(), tmp_path / "ct")
    for path in folder.iterdir():
        proper, text = b"1.2.840.10008.1.2.1\0", b"Canary born in 1950\0"
        assert proper in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(proper, text))
    with pytest.raises(CemscopeError) as refusal:
        read_series(folder)
    assert CANARY not in str(refusal.value)


def test_silence_ends_with_the_reading(tmp_path: Path) -> None:
    mode = pydicom.config.settings.reading_validation_mode
    filters = list(logging.getLogger("pydicom").filters)
    read_series(save(datasets(), tmp_path / "ct"))
    assert pydicom.config.settings.reading_validation_mode == mode
    assert logging.getLogger("pydicom").filters == filters


def test_a_time_of_day_is_not_told(tmp_path: Path) -> None:
    """Two scans in one series are told apart by rank: times identify, too."""
    later = datasets(phantom_ct(origin_lps_mm=(-40.0, -60.0, -309.7)))
    for index, dataset in enumerate(later):
        dataset.SOPInstanceUID = f"2.25.{index + 1}"
        dataset.AcquisitionTime = "135917"
    folder = save([*datasets(), *later], tmp_path / "ct")
    with pytest.raises(CemscopeError, match="acquisition time 2 of 2") as refusal:
        read_series(folder)
    assert "135917" not in str(refusal.value) + _everything_said(list_series(folder))


def test_a_name_in_capitals_for_a_code_is_not_quoted(tmp_path: Path) -> None:
    slices = datasets()
    for dataset in slices:
        dataset.Modality = "CANARY JANE"
        dataset.AcquisitionNumber = None
        dataset.add_new("AcquisitionNumber", "LO", "CANARY JANE")
    with pytest.raises(CemscopeError, match="found UNKNOWN") as refusal:
        read_series(save(slices, tmp_path / "ct"))
    assert "CANARY" not in str(refusal.value)


def _replant(folder: Path) -> None:
    """Put the canary into a written input; patients that differ still do."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.suffix == ".zip":
            continue
        with silenced_pydicom():
            dataset = pydicom.dcmread(path)
            number = f"{CANARY} {dataset.get('PatientID', '')}"
            if "DirectoryRecordSequence" in dataset:
                for record in dataset.DirectoryRecordSequence:
                    record.PatientName = record.PatientID = f"{CANARY}^Jane"
            else:
                _plant([dataset], PERSON_GROUPS)
                dataset.PatientID = number
            dataset.save_as(path)


@pytest.mark.parametrize(
    "case", [*INPUT_CASES, *REFUSED_INPUTS], ids=lambda case: case.name
)
def test_no_word_on_patients_or_media_names_one(
    case: ReadCase | RefusedCase,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Marks of patients, notices on media and archives, choices and refusals."""
    caplog.set_level(logging.DEBUG)
    path = case.write(tmp_path / f"{CANARY}^Jane")
    _replant(tmp_path)
    if isinstance(case, ReadCase):
        volume = read_series(path)
        said = str((volume.notices, volume.acquisition, volume.source))
        assert tuple(n.code for n in volume.notices) == case.notices
    else:
        with pytest.raises(case.error) as refusal:
            read_series(path)
        said = f"{refusal.value!r} {refusal.value.__cause__!r}"
    for options in ([], ["--json"], ["-vv"]):
        main(["inspect", str(path), *options])
    captured = capfd.readouterr()
    assert captured.out + captured.err
    assert CANARY not in said + caplog.text + captured.out + captured.err


def test_pseudonyms_and_comparisons_tell_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    first, second = _plant(datasets()), _plant(datasets(identity=OTHER_PATIENT))
    for dataset in second:
        dataset.PatientID = f"{CANARY} two"
    series = [
        list_series(save(slices, tmp_path / CANARY / name))[0]
        for name, slices in (("one", first), ("two", second))
    ]
    said = repr(compare_patients(*series))
    for one in series:
        header = one.headers[0]
        with InputFiles(header.entry.path) as files:
            pseudonym = read_patient_pseudonym(header, files, b"salt")
            said += repr((pseudonym, read_patient_key(header, files, b"salt")))
            assert pseudonym.number
        said += repr(one.patient) + repr(read_series(one).source)
    captured = capfd.readouterr()
    assert CANARY not in said + caplog.text + captured.out + captured.err


def test_inspect_says_nothing_of_the_patient(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = save(_plant(datasets()), tmp_path / f"{CANARY}^Jane" / "ct")
    for options in ([], ["--json"], ["-vv"]):
        assert main(["inspect", str(folder), *options]) == 0
        captured = capfd.readouterr()
        assert captured.out
        assert CANARY not in captured.out + captured.err
