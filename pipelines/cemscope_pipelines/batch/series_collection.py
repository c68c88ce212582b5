"""Series of several folders, each once, and which of a study is preferred."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from cemscope.dicom import SeriesSummary, choose_series
from cemscope.errors import MixedSeriesError, SeriesError
from cemscope_pipelines.batch.folders import may_be_zip
from cemscope_pipelines.batch.found_series import FoundSeries


@dataclass(frozen=True, slots=True)
class Candidate:
    """A series as `choose_series` wants it, without its slices, and as it is told.

    Attributes
    ----------
    summary : SeriesSummary
        Without headers: thousands of them would be kept for nothing.
    found : FoundSeries
        As it is told.
    unit : Path
        Folder or archive that was searched.
    """

    summary: SeriesSummary
    found: FoundSeries
    unit: Path


@dataclass(frozen=True, slots=True)
class _StudyChoice:
    """What `choose_series` says of a study.

    Attributes
    ----------
    preferred : str
        Name of a series, "" if none can be.
    why : dict of str to str
        Why it is, or is not, preferred, by name.
    mixed : frozenset of str
        UIDs of series that hold several acquisitions of one region.
    """

    preferred: str
    why: dict[str, str]
    mixed: frozenset[str]


def _mixed_series(series: Iterable[SeriesSummary]) -> dict[str, str]:
    """UIDs of series that hold several acquisitions of one region, and the reason."""
    parts: dict[str, list[SeriesSummary]] = {}
    for one in series:
        parts.setdefault(one.series_instance_uid, []).append(one)
    mixed = {}
    for uid, members in parts.items():
        try:
            choose_series(members)
        except MixedSeriesError as error:
            mixed[uid] = str(error)
        except SeriesError:
            continue
    return mixed


def _choose(series: list[SeriesSummary]) -> _StudyChoice:
    """Choose of a study; a series that mixes acquisitions costs only itself."""
    preferred, why, mixed = "", {}, {}
    try:
        choice = choose_series(series)
    except SeriesError as error:
        why = {s.name: str(error) for s in series}
        mixed = _mixed_series(series)
    else:
        preferred = choice.chosen.name
        why = {r.series.name: r.reason for r in choice.rejected}
        why[preferred] = choice.reason
        if choice.ambiguous:
            mixed = _mixed_series(series)
    for one in series:
        why[one.name] = mixed.get(one.series_instance_uid, why[one.name])
    return _StudyChoice(preferred, why, frozenset(mixed))


def _hashes(candidates: Iterable[Candidate]) -> set[str]:
    return {c.found.input_hash for c in candidates}


def _slices(candidates: Iterable[Candidate]) -> int:
    return sum(c.summary.slices for c in candidates)


def with_preferences(candidates: Iterable[Candidate]) -> Iterator[FoundSeries]:
    """Say of every series whether ``analyze`` would take it of its study, and why."""
    studies: dict[tuple[str, str], dict[str, Candidate]] = {}
    for one in candidates:
        # Without a study UID, nothing says that two series are of one study.
        study = one.found.study_uid or one.summary.series_instance_uid
        members = studies.setdefault((study, one.found.patient_key), {})
        members[one.found.name] = one
    for members in studies.values():
        # A series in pieces is refused here; its pieces alone could be measured.
        told_alike = (
            m.summary
            for m in members.values()
            if m.found.measurable == m.summary.measurable
        )
        choice = _choose(list(told_alike))
        for name, member in members.items():
            told: dict[str, object] = {"preferred": name == choice.preferred}
            if member.found.measurable:
                mixed = member.summary.series_instance_uid in choice.mixed
                told |= {"reason": choice.why[name], "mixed": mixed}
            yield member.found.model_copy(update=told)


@dataclass(slots=True)
class SeriesCollection:
    """Series of several units, each once.

    Attributes
    ----------
    candidates : dict of str to Candidate
        By name.
    copies : int
        Series that lie there several times; the first counts, or of different copies
        in archives the one with the most slices.
    split : dict of str to set of Path
        Series whose slices are spread over several units, by UID.
    """

    candidates: dict[str, Candidate] = field(default_factory=dict)
    copies: int = 0
    split: dict[str, set[Path]] = field(default_factory=dict)
    _names: dict[str, list[str]] = field(default_factory=dict)

    def add(self, candidates: Iterable[Candidate]) -> None:
        """Take the series of a unit."""
        of_uid: dict[str, list[Candidate]] = {}
        for one in candidates:
            of_uid.setdefault(one.summary.series_instance_uid, []).append(one)
        for uid, found in of_uid.items():
            known = self._of(uid)
            if not known:
                self._take(found)
            elif _hashes(known) == _hashes(found):
                self.copies += 1
            elif any(may_be_zip(Path(c.found.path)) for c in (*known, *found)):
                # A series is not spread over archives: this is another copy of it.
                self.copies += 1
                if _slices(found) > _slices(known):
                    self._drop({uid})
                    self._take(found)
            else:
                units = self.split.setdefault(uid, set())
                units |= {c.unit for c in (*known, *found)}

    def _of(self, uid: str) -> list[Candidate]:
        names = self._names.get(uid, ())
        return [self.candidates[name] for name in names]

    def _take(self, found: Iterable[Candidate]) -> None:
        for one in found:
            self.candidates[one.found.name] = one
            names = self._names.setdefault(one.summary.series_instance_uid, [])
            names.append(one.found.name)

    def _drop(self, uids: Iterable[str]) -> None:
        for uid in uids:
            for name in self._names.pop(uid, ()):
                del self.candidates[name]

    def settle_split(
        self, linked: set[Path], scan: Callable[[Path], list[Candidate] | None]
    ) -> None:
        """Put the series as a whole in the place of its pieces.

        Parameters
        ----------
        linked
            Units that links lead to; no folder holds them and others.
        scan
            Lists the series of a folder; None if that cannot be done.
        """
        places: dict[Path, set[str]] = {}
        for uid, units in self.split.items():
            if units & linked:
                self._refuse(uid, "some of them behind a link to a folder")
            else:
                place = Path(os.path.commonpath([str(unit) for unit in units]))
                places.setdefault(place, set()).add(uid)
        for place, uids in places.items():
            found = scan(place)
            if found is None:
                for uid in uids:
                    self._refuse(uid, "and reading them together failed")
            else:
                self._replace(uids, found)

    def _replace(self, uids: set[str], found: Iterable[Candidate]) -> None:
        whole = [c for c in found if c.summary.series_instance_uid in uids]
        self._drop({c.summary.series_instance_uid for c in whole})
        self._take(whole)

    def _refuse(self, uid: str, why: str) -> None:
        first = self._of(uid)[0]
        refused = {
            "name": uid,
            "measurable": False,
            "intended": True,
            "reason_code": "split_series",
            "reason": f"the slices of series {uid} lie in several folders, {why}. "
            "Put them in one folder",
        }
        self._drop({uid})
        self._take([replace(first, found=first.found.model_copy(update=refused))])

    def series(self) -> Iterator[FoundSeries]:
        """All series, with their preferences."""
        return with_preferences(self.candidates.values())
