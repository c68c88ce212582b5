import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from pydantic import ValidationError

from cases.treated_spine import treated_spine
from cemscope.findings import NotAssessed
from cemscope_pipelines.cli.table import report_table
from cemscope_pipelines.config import AnalysisConfig
from cemscope_pipelines.report import Report, report_json_schema
from cemscope_pipelines.report_builder import build_report
from cemscope_pipelines.report_schema import schema_text

REPOSITORY = Path(__file__).resolve().parents[2]
COMMITTED_SCHEMA = REPOSITORY / "docs" / "schema" / "report.schema.json"

# Fields of the contract, written down by hand.
SERIES = {
    "study_instance_uid", "series_instance_uid", "frame_of_reference_uid",
    "acquisition_date", "kvp", "kernel", "rows", "columns", "slices", "spacing_mm",
    "hu_min", "hu_max", "hu_clipped_at", "warnings",
}  # fmt: skip
VERTEBRA = {
    "level", "level_confidence", "source", "complete", "centroid_lps_mm",
    "body_volume_ml", "cement", "cement_rim", "leaks",
}  # fmt: skip
CEMENT = {
    "volume_ml", "interval_ml", "threshold_volume_ml", "intrabody_ml", "leaked_ml",
    "fill_ratio",
}  # fmt: skip
LEAK = {
    "id", "scheme", "types", "certainty", "locations", "volume_ml", "max_distance_mm",
    "centroid_lps_mm", "canal_encroachment_percent", "evidence",
}  # fmt: skip
SCREW = {
    "id", "level", "side", "head_lps_mm", "tip_lps_mm", "diameter_mm", "length_mm",
    "cemented", "cement_volume_ml", "lucency",
}  # fmt: skip


CASE = treated_spine()
REPORT = build_report(CASE.ct, CASE.spine, CASE.augmentation, AnalysisConfig())
SCHEMA = report_json_schema()


def written() -> dict:
    return json.loads(REPORT.to_json())


def test_the_committed_schema_is_that_of_the_models() -> None:
    assert COMMITTED_SCHEMA.read_text(encoding="utf-8") == schema_text(), (
        "python -m cemscope_pipelines.report_schema > docs/schema/report.schema.json"
    )


def test_a_report_has_the_fields_of_the_contract_and_fits_the_schema() -> None:
    data = written()
    jsonschema.validate(data, SCHEMA)
    assert set(data) == {
        "schema_version", "software", "series", "vertebrae", "screws",
        "cement_elsewhere", "metal", "totals",
    }  # fmt: skip
    assert set(data["software"]) == {"name", "version", "config_hash"}
    assert set(data["series"]) == SERIES
    assert all(set(v) == VERTEBRA for v in data["vertebrae"])
    assert all(set(v["cement"]) == CEMENT for v in data["vertebrae"][:2])
    assert [set(leak) for v in data["vertebrae"] for leak in v["leaks"]] == [LEAK]
    assert all(set(s) == SCREW for s in data["screws"])
    assert set(data["cement_elsewhere"][0]) == {
        "location",
        "volume_ml",
        "centroid_lps_mm",
    }
    assert set(data["metal"][0]) == {"kind", "volume_ml"}
    assert set(data["totals"]) == {
        "cement_ml", "interval_ml", "leaked_ml", "vertebrae_augmented",
    }  # fmt: skip


def test_the_numbers_stand_where_they_belong() -> None:
    data = written()
    assert [v["level"] for v in data["vertebrae"]] == ["L5", "L4", "L3"]
    assert [v["complete"] for v in data["vertebrae"]] == [True, True, False]
    cement = data["vertebrae"][1]["cement"]
    assert cement == {
        "volume_ml": 2.444, "interval_ml": [2.1, 2.8], "threshold_volume_ml": 2.6,
        "intrabody_ml": 2.1, "leaked_ml": 0.27, "fill_ratio": 0.0673,
    }  # fmt: skip
    leak = data["vertebrae"][1]["leaks"][0]
    assert leak["types"] == ["B"]
    assert leak["scheme"] == "yeom+"
    assert leak["centroid_lps_mm"] == [0.0, 19.0, 38.0]
    assert data["series"]["spacing_mm"] == [2.0, 2.0, 2.0]
    assert data["series"]["hu_min"] == 40
    assert data["series"]["hu_max"] == 3000
    assert data["totals"]["vertebrae_augmented"] == 1


def test_a_level_without_cement_has_zero_with_an_interval() -> None:
    cement = written()["vertebrae"][0]["cement"]
    assert cement["volume_ml"] == 0.0
    assert cement["interval_ml"] == [0.0, 0.03]


@pytest.mark.parametrize(
    "path",
    [
        ("series", "kernel"),
        ("vertebrae", 2, "cement"),
        ("screws", 0, "lucency"),
        ("screws", 0, "cement_volume_ml"),
        ("vertebrae", 1, "leaks", 0, "canal_encroachment_percent"),
    ],
    ids=str,
)
def test_what_was_not_measured_says_why(path: tuple) -> None:
    entry = written()
    for part in path:
        entry = entry[part]
    assert set(entry) == {"status", "reason"}
    assert entry["status"] == "not_assessed"
    assert len(entry["reason"]) > 10


def test_a_total_of_nothing_is_no_zero() -> None:
    blind = replace(CASE.augmentation, total=NotAssessed("no vertebra is in view"))
    report = build_report(CASE.ct, CASE.spine, blind, AnalysisConfig())
    totals = json.loads(report.to_json())
    jsonschema.validate(totals, SCHEMA)
    missing = {"status": "not_assessed", "reason": "no vertebra is in view"}
    assert totals["totals"] == dict.fromkeys(
        ("cement_ml", "interval_ml", "leaked_ml", "vertebrae_augmented"), missing
    )
    assert "total: not assessed (no vertebra is in view)" in report_table(report)


def test_nothing_but_the_clipping_level_is_null() -> None:
    def nulls(value: object, name: str = "") -> list[str]:
        if value is None:
            return [name]
        if isinstance(value, dict):
            return [n for k, v in value.items() for n in nulls(v, k)]
        if isinstance(value, list):
            return [n for v in value for n in nulls(v, name)]
        return []

    assert nulls(written()) == ["hu_clipped_at"]


def test_a_notice_of_two_stages_is_told_once() -> None:
    codes = [w["code"] for w in written()["series"]["warnings"]]
    assert codes == ["level_from_anchor", "metal_near_cement"]


def test_the_report_survives_a_round_trip() -> None:
    assert Report.model_validate_json(REPORT.to_json()) == REPORT


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0, None, "3"])
def test_a_volume_is_a_number(bad: object) -> None:
    data = written()
    data["totals"]["cement_ml"] = bad
    if bad == "3":  # JSON text is not a number for the schema, whatever Python thinks
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(data, SCHEMA)
        return
    with pytest.raises(ValidationError):
        Report.model_validate(data)


def test_an_unknown_field_is_refused() -> None:
    data = written() | {"patient_name": "X"}
    with pytest.raises(ValidationError):
        Report.model_validate(data)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, SCHEMA)


def test_a_leak_of_a_level_out_of_view_does_not_vanish() -> None:
    fewer = type(CASE.spine)(CASE.spine.labels, CASE.spine.vertebrae[:1])
    with pytest.raises(ValueError, match="L4"):
        build_report(CASE.ct, fewer, CASE.augmentation, AnalysisConfig())
