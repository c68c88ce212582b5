"""Says a case's findings in coded terms, for the structured report."""

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
    DIAMETER,
    LEFT,
    LENGTH,
    MILLILITRE,
    MILLIMETRE,
    NO,
    NOT_ATTEMPTED,
    PERCENT,
    PMMA,
    RATIO,
    RIGHT,
    VOLUME,
    YES,
    Term,
    vertebra_term,
)
from cemscope_pipelines.export import private_terms as terms
from cemscope_pipelines.export.case_record import CaseContent
from cemscope_pipelines.export.comparison_words import comparison_sentences
from cemscope_pipelines.export.lucency_items import lucency_items
from cemscope_pipelines.export.machine_words import (
    LEVEL_CHANGED,
    evidence_owner,
    leak_differences,
    machine_leak,
    machine_level,
    machine_screw,
    machine_vertebra,
    machine_volume_ml,
    readers_names,
    screw_differences,
    vertebra_differences,
)
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
)

SPINE = Term("421060004", "SCT", "Spine")
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
        texts += [
            TextItem(terms.COMPARISON, sentence[:_TEXT_LIMIT])
            for sentence in comparison_sentences(self._content, self._machine)
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

    def _cement(self, entry: VertebraEntry) -> tuple[tuple[str, ...], ...]:
        """All that a vertebra's volume counts: cement within it, and its leaks."""
        uid = self._names.uid
        own = [uid("vertebra", entry.level), *(uid("leak", k.id) for k in entry.leaks)]
        return (tuple(own), *self._body(entry.level))

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
        one = self._add_decision("vertebra", entry.level, numbers, codes, texts)
        if one is not None:
            machine = machine_vertebra(self._machine, one)
            texts += _beside(vertebra_differences(entry, machine))
        return FindingGroup(
            self._names.identifier("vertebra", entry.level),
            self._names.uid("vertebra", entry.level),
            PMMA, vertebra_term(entry.level),
            numbers=tuple(numbers), codes=tuple(codes), texts=tuple(texts),
            shown_by=self._cement(entry),
        )  # fmt: skip

    def leak(self, leak: LeakEntry, level: str) -> FindingGroup:
        numbers = [
            NumberItem(VOLUME, leak.volume_ml, MILLILITRE, terms.PARTIAL_VOLUME),
            NumberItem(terms.LEAK_DISTANCE, leak.max_distance_mm, MILLIMETRE),
        ]
        codes = _leak_codes(
            leak, terms.LEAK_TYPE, terms.LEAK_CERTAINTY, terms.LEAK_PLACE
        )
        texts = [
            TextItem(terms.PLACE_TEXT, place.replace("_", " "))
            for place in leak.locations
            if place not in terms.LEAK_PLACES
        ]
        share = leak.canal_encroachment_percent
        if isinstance(share, NotAssessedEntry):
            texts.append(
                TextItem(terms.NOT_ASSESSED_WHY, f"share of the canal: {share.reason}")
            )
        else:
            numbers.append(NumberItem(terms.CANAL_SHARE, share, PERCENT))
        one = self._add_decision("leak", leak.id, numbers, codes, texts)
        machine = machine_leak(self._machine, one)
        differences = leak_differences(leak, machine)
        if machine is not None and differences:
            codes += _leak_codes(
                machine, terms.MACHINE_LEAK_TYPE, terms.MACHINE_LEAK_CERTAINTY,
                terms.MACHINE_LEAK_PLACE,
            )  # fmt: skip
            texts += _beside(differences)
        texts.append(self._evidence(leak, machine, one))
        return FindingGroup(
            self._names.identifier("leak", leak.id),
            self._names.uid("leak", leak.id),
            CEMENT_LEAK, vertebra_term(level),
            numbers=tuple(numbers), codes=tuple(codes), texts=tuple(texts),
            shown_by=((self._names.uid("leak", leak.id),), *self._body(level)),
        )  # fmt: skip

    def _evidence(
        self, leak: LeakEntry, machine: LeakEntry | None, one: FindingDecision | None
    ) -> TextItem:
        """Give the argument for a type, marked where it is not for the reader's."""
        evidence = leak.evidence
        if not isinstance(evidence, LeakEvidenceEntry):
            return TextItem(terms.NOT_ASSESSED_WHY, evidence.reason)
        told = one is not None and one.finding_id in self._content.told_leaks
        owner = evidence_owner(leak, machine, told_by_reader=told)
        if not owner:
            return TextItem(terms.EVIDENCE, evidence.sentence[:_TEXT_LIMIT])
        words = f"{owner}: {evidence.sentence}"[:_TEXT_LIMIT]
        return TextItem(terms.MACHINE_EVIDENCE, words)

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
        lucency_numbers, lucency_codes, lucency_texts = lucency_items(screw.lucency)
        numbers += lucency_numbers
        codes += lucency_codes
        texts += lucency_texts
        one = self._add_decision("screw", screw.id, numbers, codes, texts)
        if one is not None:
            machine = machine_screw(self._machine, one)
            texts += _beside(screw_differences(screw, machine))
        return FindingGroup(
            self._names.identifier("screw", screw.id),
            self._names.uid("screw", screw.id),
            BONE_SCREW, vertebra_term(screw.level),
            laterality=LEFT if screw.side == "left" else RIGHT,
            numbers=tuple(numbers), codes=tuple(codes), texts=tuple(texts),
            shown_by=((self._names.uid("screw", screw.id),), *self._body(screw.level)),
        )  # fmt: skip

    def elsewhere(self, entry: CementElsewhereEntry, index: int) -> FindingGroup:
        finding_id = self._content.findings.elsewhere_id_at(index)
        numbers = [NumberItem(VOLUME, entry.volume_ml, MILLILITRE)]
        codes: list[CodeItem] = []
        texts = [TextItem(terms.PLACE_TEXT, entry.location.replace("_", " "))]
        self._add_decision("elsewhere", finding_id, numbers, codes, texts)
        return FindingGroup(
            finding_id, self._names.uid("elsewhere", finding_id),
            CEMENT_ELSEWHERE, SPINE,
            numbers=tuple(numbers), codes=tuple(codes), texts=tuple(texts),
            shown_by=(
                (self._names.uid("elsewhere", finding_id),), *self._everywhere()
            ),
        )  # fmt: skip

    def rejected(self) -> list[FindingGroup]:
        """List what the reader took out: a later reader should see that it was seen."""
        groups = []
        names = readers_names(self._content.decisions)
        for one in self._content.decisions:
            if one.decision != "rejected" or one.result_id is not None:
                continue
            codes = [CodeItem(terms.DECISION, terms.DECISIONS["rejected"])]
            texts = [TextItem(terms.DECISION_REASON, one.reason)] if one.reason else []
            was = machine_level(self._machine, one)
            level = names.get(was, was)
            if level != was:
                texts += _beside((f"{LEVEL_CHANGED}{level}; machine: {was}",))
            machine = machine_leak(self._machine, one)
            if machine is not None:
                codes += _leak_codes(
                    machine, terms.MACHINE_LEAK_TYPE, terms.MACHINE_LEAK_CERTAINTY,
                    terms.MACHINE_LEAK_PLACE,
                )  # fmt: skip
            finding = {"leak": CEMENT_LEAK, "screw": BONE_SCREW}.get(one.kind, PMMA)
            groups.append(
                FindingGroup(
                    self._names.identifier_of_rejected(one),
                    self._names.uid_of_rejected(one),
                    finding,
                    vertebra_term(level) if level else SPINE,
                    numbers=tuple(self._machine_volume(one)),
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
    ) -> FindingDecision | None:
        """Add what the reader said; returns the decision, None where there is none."""
        one = decision_of(self._content.decisions, kind, result_id)
        if one is None:
            return None
        word = "added" if one.added_by_reader else one.decision
        codes.append(CodeItem(terms.DECISION, terms.DECISIONS[word]))
        if one.reason:
            texts.append(TextItem(terms.DECISION_REASON, one.reason[:_TEXT_LIMIT]))
        # A rejected leak changes its vertebra's volume, though that was accepted.
        before = self._machine_volume(one)
        told = [item.value for item in numbers if item.name is VOLUME]
        if one.decision != "accepted" or [item.value for item in before] != told:
            numbers += before
        return one

    def _machine_volume(self, one: FindingDecision) -> list[NumberItem]:
        volume = machine_volume_ml(self._machine, one)
        if volume is None:
            return []
        return [NumberItem(terms.MACHINE_VOLUME, volume, MILLILITRE)]


def _leak_codes(
    leak: LeakEntry, kind: Term, certainty: Term, place: Term
) -> list[CodeItem]:
    """Types, certainty and places of a leak under the given concepts."""
    types = [terms.LEAK_TYPES[one] for one in leak.types] or [terms.LEAK_TYPE_NOT_TOLD]
    places = [terms.LEAK_PLACES.get(one, terms.OTHER_PLACE) for one in leak.locations]
    return [
        *(CodeItem(kind, one) for one in types),
        CodeItem(certainty, terms.CERTAINTIES[leak.certainty]),
        *(CodeItem(place, one) for one in dict.fromkeys(places)),
    ]


def _beside(sentences: tuple[str, ...]) -> list[TextItem]:
    return [TextItem(terms.READER_AND_MACHINE, one) for one in sentences]


def _interval(interval_ml: tuple[float, float]) -> tuple[NumberItem, NumberItem]:
    low, high = interval_ml
    return (
        NumberItem(terms.CEMENT_LOW, low, MILLILITRE),
        NumberItem(terms.CEMENT_HIGH, high, MILLILITRE),
    )


def _warning_words(warning: WarningEntry) -> str:
    return f"{warning.code}: {warning.message}"[:_TEXT_LIMIT]
