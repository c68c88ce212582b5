"""Says a case's findings in coded terms, for the structured report."""

from typing import Any

from cemscope.dicom.objects.finding_group import (
    CodeItem,
    FindingGroup,
    NumberItem,
    TextItem,
)
from cemscope.dicom.objects.terms import (
    BONE_SCREW,
    CEMENT_ELSEWHERE,
    CEMENT_LEAK,
    DEGREE,
    DIAMETER,
    LEFT,
    LENGTH,
    LUCENCY,
    MILLILITRE,
    MILLIMETRE,
    NOT_ATTEMPTED,
    PERCENT,
    PMMA,
    RATIO,
    RIGHT,
    VOLUME,
    Term,
    vertebra_term,
)
from cemscope_pipelines.export import private_terms as terms
from cemscope_pipelines.export.case_record import CaseContent
from cemscope_pipelines.export.tracking import TrackingNames, decision_of
from cemscope_pipelines.report import (
    CementElsewhereEntry,
    CementEntry,
    LeakEntry,
    LeakEvidenceEntry,
    NotAssessedEntry,
    Report,
    ScrewEntry,
    VertebraEntry,
    WarningEntry,
)
from cemscope_pipelines.review.review_document import (
    FindingDecision,
    FindingKind,
    elsewhere_id,
)

SPINE = Term("421060004", "SCT", "Spine")
YES = Term("373066001", "SCT", "Yes")
NO = Term("373067005", "SCT", "No")
ONE = Term("1", "UCUM", "no units")

_TEXT_LIMIT = 1000


def finding_groups(
    content: CaseContent, machine: Report, names: TrackingNames
) -> tuple[FindingGroup, ...]:
    """List all findings of a content, then those that the reader rejected.

    Parameters
    ----------
    content
        What is reported.
    machine
        What the machine said: its volume stands beside a modified one.
    names
        Gives the tracking identifiers.
    """
    teller = _Teller(content, machine, names)
    groups = [teller.whole_scan()]
    for vertebra in content.findings.vertebrae:
        groups.append(teller.vertebra(vertebra))
        groups.extend(teller.leak(leak, vertebra.level) for leak in vertebra.leaks)
    groups.extend(teller.screw(screw) for screw in content.findings.screws)
    groups.extend(
        teller.elsewhere(entry, index)
        for index, entry in enumerate(content.findings.cement_elsewhere)
    )
    groups.extend(teller.rejected())
    return tuple(groups)


class _Teller:
    """Puts findings into terms, with what the reader said about each."""

    def __init__(
        self, content: CaseContent, machine: Report, names: TrackingNames
    ) -> None:
        self._content = content
        self._machine = machine
        self._names = names

    def whole_scan(self) -> FindingGroup:
        totals = self._content.findings.totals
        numbers: tuple[NumberItem, ...] = ()
        codes: tuple[CodeItem, ...] = ()
        texts = [TextItem(terms.CONTENT_HASH, self._content.key)]
        if isinstance(totals.cement_ml, NotAssessedEntry):
            codes = (CodeItem(terms.ASSESSMENT, NOT_ATTEMPTED),)
            texts.append(TextItem(terms.NOT_ASSESSED_WHY, totals.cement_ml.reason))
        else:
            numbers = (
                NumberItem(VOLUME, totals.cement_ml, MILLILITRE, terms.PARTIAL_VOLUME),
            )
        if not isinstance(totals.interval_ml, NotAssessedEntry):
            numbers += _interval(totals.interval_ml)
        if not isinstance(totals.leaked_ml, NotAssessedEntry):
            numbers += (NumberItem(terms.CEMENT_LEAKED, totals.leaked_ml, MILLILITRE),)
        if not isinstance(totals.vertebrae_augmented, NotAssessedEntry):
            count = float(totals.vertebrae_augmented)
            numbers += (NumberItem(terms.VERTEBRA_COUNT, count, ONE),)
        texts += [
            TextItem(terms.SCAN_WARNING, _warning_words(one))
            for one in self._machine.series.warnings
        ]
        return FindingGroup(
            "whole scan cement", self._names.uid("scan", "whole"), PMMA, SPINE,
            numbers=numbers, codes=codes, texts=tuple(texts),
            shown_by=self._everywhere(),
        )  # fmt: skip

    def _everywhere(self) -> tuple[tuple[str, ...], ...]:
        """All cement, else all vertebral bodies, in which it was looked for."""
        vertebrae, uid = self._content.findings.vertebrae, self._names.uid
        cement = [uid("vertebra", one.level) for one in vertebrae]
        cement += [uid("leak", leak.id) for one in vertebrae for leak in one.leaks]
        return tuple(cement), tuple(uid("body", one.level) for one in vertebrae)

    def _body(self, level: str) -> tuple[tuple[str, ...], ...]:
        """Vertebral body, for what has no segment of its own, e.g. cement of 0 mL."""
        return ((self._names.uid("body", level),), *self._everywhere())

    def vertebra(self, entry: VertebraEntry) -> FindingGroup:
        numbers: list[NumberItem] = []
        codes: list[CodeItem] = []
        texts: list[TextItem] = []
        cement = entry.cement
        if isinstance(cement, CementEntry):
            numbers += [
                NumberItem(VOLUME, cement.volume_ml, MILLILITRE, terms.PARTIAL_VOLUME),
                *_interval(cement.interval_ml),
                NumberItem(terms.CEMENT_IN_BODY, cement.intrabody_ml, MILLILITRE),
                NumberItem(terms.CEMENT_LEAKED, cement.leaked_ml, MILLILITRE),
                NumberItem(
                    terms.CEMENT_THRESHOLD, cement.threshold_volume_ml, MILLILITRE
                ),
                NumberItem(terms.FILL_RATIO, cement.fill_ratio, RATIO),
            ]
        else:
            codes.append(CodeItem(terms.ASSESSMENT, NOT_ATTEMPTED))
            texts.append(TextItem(terms.NOT_ASSESSED_WHY, cement.reason))
        numbers += [
            NumberItem(terms.BODY_VOLUME, entry.body_volume_ml, MILLILITRE),
            NumberItem(terms.LEVEL_CONFIDENCE, entry.level_confidence, RATIO),
        ]
        self._add_decision("vertebra", entry.level, numbers, codes, texts)
        return FindingGroup(
            self._names.identifier("vertebra", entry.level),
            self._names.uid("vertebra", entry.level),
            PMMA, vertebra_term(entry.level),
            numbers=tuple(numbers), codes=tuple(codes), texts=tuple(texts),
            shown_by=self._body(entry.level),
        )  # fmt: skip

    def leak(self, leak: LeakEntry, level: str) -> FindingGroup:
        numbers = [
            NumberItem(VOLUME, leak.volume_ml, MILLILITRE, terms.PARTIAL_VOLUME),
            NumberItem(terms.LEAK_DISTANCE, leak.max_distance_mm, MILLIMETRE),
        ]
        kinds = [terms.LEAK_TYPES[kind] for kind in leak.types]
        codes = [
            *(CodeItem(terms.LEAK_TYPE, kind) for kind in kinds),
            *([] if kinds else [CodeItem(terms.LEAK_TYPE, terms.LEAK_TYPE_NOT_TOLD)]),
            CodeItem(terms.LEAK_CERTAINTY, terms.CERTAINTIES[leak.certainty]),
        ]
        texts: list[TextItem] = []
        for place in leak.locations:
            term = terms.LEAK_PLACES.get(place, terms.OTHER_PLACE)
            codes.append(CodeItem(terms.LEAK_PLACE, term))
            if term is terms.OTHER_PLACE:
                texts.append(TextItem(terms.PLACE_TEXT, place.replace("_", " ")))
        share = leak.canal_encroachment_percent
        if isinstance(share, NotAssessedEntry):
            texts.append(
                TextItem(terms.NOT_ASSESSED_WHY, f"share of the canal: {share.reason}")
            )
        else:
            numbers.append(NumberItem(terms.CANAL_SHARE, share, PERCENT))
        evidence = leak.evidence
        if isinstance(evidence, LeakEvidenceEntry):
            texts.append(TextItem(terms.EVIDENCE, evidence.sentence[:_TEXT_LIMIT]))
        else:
            texts.append(TextItem(terms.NOT_ASSESSED_WHY, evidence.reason))
        self._add_decision("leak", leak.id, numbers, codes, texts)
        return FindingGroup(
            self._names.identifier("leak", leak.id),
            self._names.uid("leak", leak.id),
            CEMENT_LEAK, vertebra_term(level),
            numbers=tuple(numbers), codes=tuple(codes), texts=tuple(texts),
            shown_by=self._body(level),
        )  # fmt: skip

    def screw(self, screw: ScrewEntry) -> FindingGroup:
        numbers = [
            NumberItem(DIAMETER, screw.diameter_mm, MILLIMETRE),
            NumberItem(LENGTH, screw.length_mm, MILLIMETRE),
        ]
        codes = [CodeItem(terms.SCREW_CEMENTED, YES if screw.cemented else NO)]
        texts: list[TextItem] = []
        if isinstance(screw.cement_volume_ml, NotAssessedEntry):
            reason = screw.cement_volume_ml.reason
            texts.append(TextItem(terms.NOT_ASSESSED_WHY, f"cement: {reason}"))
        else:
            numbers.append(
                NumberItem(terms.SCREW_CEMENT, screw.cement_volume_ml, MILLILITRE)
            )
        lucency_numbers, code, lucency_texts = lucency_items(screw.lucency)
        numbers += lucency_numbers
        codes.append(code)
        texts += lucency_texts
        self._add_decision("screw", screw.id, numbers, codes, texts)
        return FindingGroup(
            self._names.identifier("screw", screw.id),
            self._names.uid("screw", screw.id),
            BONE_SCREW, vertebra_term(screw.level),
            laterality=LEFT if screw.side == "left" else RIGHT,
            numbers=tuple(numbers), codes=tuple(codes), texts=tuple(texts),
            shown_by=self._body(screw.level),
        )  # fmt: skip

    def elsewhere(self, entry: CementElsewhereEntry, index: int) -> FindingGroup:
        finding_id = elsewhere_id(index)
        numbers = [NumberItem(VOLUME, entry.volume_ml, MILLILITRE)]
        codes: list[CodeItem] = []
        texts = [TextItem(terms.PLACE_TEXT, entry.location.replace("_", " "))]
        self._add_decision("elsewhere", finding_id, numbers, codes, texts)
        return FindingGroup(
            finding_id, self._names.uid("elsewhere", finding_id),
            CEMENT_ELSEWHERE, SPINE,
            numbers=tuple(numbers), codes=tuple(codes), texts=tuple(texts),
            shown_by=self._everywhere(),
        )  # fmt: skip

    def rejected(self) -> list[FindingGroup]:
        """List what the reader took out: a later reader should see that it was seen."""
        groups = []
        for one in self._content.decisions:
            if one.decision != "rejected" or one.result_id is not None:
                continue
            codes = [CodeItem(terms.DECISION, terms.DECISIONS["rejected"])]
            texts = [TextItem(terms.DECISION_REASON, one.reason)] if one.reason else []
            numbers = self._machine_volume(one)
            level = self._level_of(one)
            finding = {"leak": CEMENT_LEAK, "screw": BONE_SCREW}.get(one.kind, PMMA)
            groups.append(
                FindingGroup(
                    f"{self._names.identifier(one.kind, one.finding_id)}, rejected",
                    self._names.uid(one.kind, one.finding_id),
                    finding,
                    vertebra_term(level) if level else SPINE,
                    numbers=tuple(numbers),
                    codes=tuple(codes),
                    texts=tuple(texts),
                    shown_by=self._body(level) if level else self._everywhere(),
                )
            )
        return groups

    def _add_decision(
        self,
        kind: FindingKind,
        result_id: str,
        numbers: list[NumberItem],
        codes: list[CodeItem],
        texts: list[TextItem],
    ) -> None:
        one = decision_of(self._content.decisions, kind, result_id)
        if one is None:
            return
        word = "added" if one.added_by_reader else one.decision
        codes.append(CodeItem(terms.DECISION, terms.DECISIONS[word]))
        if one.reason:
            texts.append(TextItem(terms.DECISION_REASON, one.reason[:_TEXT_LIMIT]))
        # A rejected leak changes its vertebra's volume, though that was accepted.
        before = self._machine_volume(one)
        told = [item.value for item in numbers if item.name is VOLUME]
        if one.decision != "accepted" or [item.value for item in before] != told:
            numbers += before

    def _machine_volume(self, one: FindingDecision) -> list[NumberItem]:
        volume = machine_volume_ml(self._machine, one)
        if volume is None:
            return []
        return [NumberItem(terms.MACHINE_VOLUME, volume, MILLILITRE)]

    def _level_of(self, one: FindingDecision) -> str:
        """Vertebra of a finding in the machine's report; "" for none."""
        for vertebra in self._machine.vertebrae:
            if vertebra.level == one.finding_id or any(
                leak.id == one.finding_id for leak in vertebra.leaks
            ):
                return vertebra.level
        for screw in self._machine.screws:
            if screw.id == one.finding_id:
                return screw.level
        return ""


def machine_volume_ml(machine: Report, one: FindingDecision) -> float | None:
    """Cement volume that the machine's report gives for a finding; None for none."""
    if one.kind == "vertebra":
        for vertebra in machine.vertebrae:
            if vertebra.level == one.finding_id:
                cement = vertebra.cement
                return cement.volume_ml if isinstance(cement, CementEntry) else None
    if one.kind == "leak":
        for vertebra in machine.vertebrae:
            for leak in vertebra.leaks:
                if leak.id == one.finding_id:
                    return leak.volume_ml
    if one.kind == "elsewhere":
        for index, entry in enumerate(machine.cement_elsewhere):
            if elsewhere_id(index) == one.finding_id:
                return entry.volume_ml
    return None


def lucency_items(lucency: Any) -> tuple[list[NumberItem], CodeItem, list[TextItem]]:
    """Lucency of a screw in terms, assessed or not.

    Parameters
    ----------
    lucency
        ``lucency`` of a screw in either form of report.json.
    """
    if isinstance(lucency, NotAssessedEntry):
        return (
            [],
            CodeItem(LUCENCY, NOT_ATTEMPTED),
            [TextItem(terms.NOT_ASSESSED_WHY, f"lucency: {lucency.reason}")],
        )
    numbers = []
    texts = []
    for field, term, unit in (
        ("max_width_mm", terms.LUCENCY_MAX_WIDTH, MILLIMETRE),
        ("mean_width_mm", terms.LUCENCY_MEAN_WIDTH, MILLIMETRE),
        ("arc_deg", terms.LUCENCY_ARC, DEGREE),
        ("length_fraction", terms.LUCENCY_LENGTH, RATIO),
        ("growth_mm", terms.LUCENCY_GROWTH, MILLIMETRE),
    ):
        value = getattr(lucency, field, None)
        if isinstance(value, NotAssessedEntry):
            texts.append(TextItem(terms.NOT_ASSESSED_WHY, f"{field}: {value.reason}"))
        elif value is not None:
            numbers.append(NumberItem(term, float(value), unit))
    grade = terms.LUCENCY_GRADES[str(lucency.grade)]
    return numbers, CodeItem(LUCENCY, grade), texts


def _interval(interval_ml: tuple[float, float]) -> tuple[NumberItem, NumberItem]:
    low, high = interval_ml
    return (
        NumberItem(terms.CEMENT_LOW, low, MILLILITRE),
        NumberItem(terms.CEMENT_HIGH, high, MILLILITRE),
    )


def _warning_words(warning: WarningEntry) -> str:
    return f"{warning.code}: {warning.message}"[:_TEXT_LIMIT]
