"""Tell patients apart who share a number: two hospitals count from 1."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from cemscope_pipelines.batch.found_series import keyed_letters
from cemscope_pipelines.batch.ledger_case import LedgerCase

Identity = tuple[str, str]
"""Pseudonyms of the issuer of a number and of the birth date; "" where not known."""


def _agree(one: Identity, other: Identity) -> bool:
    """Whether nothing says that two identities are of different patients."""
    return all(not a or not b or a == b for a, b in zip(one, other, strict=True))


def _covers(one: Identity, other: Identity) -> bool:
    """Whether one identity says all that the other says, and more."""
    known = all(not b or a == b for a, b in zip(one, other, strict=True))
    return known and one != other


def _patients(found: Iterable[Identity]) -> dict[Identity, Identity | None]:
    """Which patient each identity belongs to; None: one of several."""
    identities = sorted(set(found))
    if all(_agree(a, b) for a in identities for b in identities):
        return dict.fromkeys(identities, ("", ""))
    whole = [a for a in identities if not any(_covers(b, a) for b in identities)]
    patients: dict[Identity, Identity | None] = {a: a for a in whole}
    for one in identities:
        if one not in patients:
            fitting = [a for a in whole if _covers(a, one)]
            patients[one] = fitting[0] if len(fitting) == 1 else None
    return patients


def told_apart(cases: Sequence[LedgerCase], salt: bytes) -> tuple[LedgerCase, ...]:
    """Give every case the key of its patient, and say where a number is of several.

    Scans with one number are of one patient unless their headers name different
    issuers or different birth dates. Then each such patient has a key of its own; a
    scan whose header tells too little to choose between them belongs to none of them.

    Parameters
    ----------
    cases
        All cases of an output.
    salt
        Of its pseudonyms.
    """
    of_number: dict[str, set[Identity]] = {}
    for case in cases:
        if case.number_key:
            identities = of_number.setdefault(case.number_key, set())
            identities.add((case.issuer_key, case.birth_key))
    patients = {number: _patients(found) for number, found in of_number.items()}
    return tuple(_told(case, patients, salt) for case in cases)


def _told(
    case: LedgerCase,
    patients: dict[str, dict[Identity, Identity | None]],
    salt: bytes,
) -> LedgerCase:
    if not case.number_key:
        return replace(case, patient_key="", patient_note="")
    found = patients[case.number_key]
    identity = (case.issuer_key, case.birth_key)
    patient = found[identity]
    if patient == ("", ""):
        return replace(case, patient_key=case.number_key, patient_note="")
    count = len({p for p in found.values() if p is not None})
    note = f"the patient number is of {count} patients: other issuer or birth date"
    if patient is None:
        patient = identity
        note += "; this header tells too little to choose between them"
    key = keyed_letters("\n".join((case.number_key, *patient)), salt)
    return replace(case, patient_key=f"P-{key}", patient_note=note)
