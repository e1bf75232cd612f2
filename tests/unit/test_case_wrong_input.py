"""Every function of cases and releases on wrong input: a refusal with its reason, and no write."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from chaincode.contract import Creator
from tests.support.book_ledger import officer, salted
from tests.support.case_ledger import TRIGGER, CaseLedger, verdicts

DUE = [("2026-04-05", 100), ("2026-05-05", 100)]
DAY = TRIGGER.isoformat()
NOTICE = {
    "case": "C-A1-1", "delivered_on": DAY, "channel": "sms", "language": "ur", "proof": salted("p"),
}  # fmt: skip
HOLD = {"agreement": "A1", "kind": "stolen", "evidence": salted("e"), "until": DAY}

# function → (namespace, role that may call it, a record that would be of its form)
BULK: dict[str, tuple[str, tuple[str, str], Any]] = {
    "Sweep": ("enforcement", ("MakerMSP", "auditor"), "A1"),
    "ServeNotices": ("enforcement", ("BankMSP", "lending"), NOTICE),
    "ProposeCases": (
        "enforcement", ("BankMSP", "lending"), {"case": "C-A1-1", "tier": 1, "reason": "arrears"},
    ),
    "CastBallots": (
        "enforcement", ("PtaMSP", "enforcement"),
        {"case": "C-A1-1", "choice": "yes", "reason": "seen"},
    ),
    "FreeWaiting": ("enforcement", ("MakerMSP", "auditor"), "C-A1-1"),
    "AcknowledgeOrders": (
        "enforcement", ("OperatorMSP", "executor"), {"order": "O-A1-1-1", "step": "SUBMITTED"},
    ),
    "CloseCases": ("enforcement", ("MakerMSP", "auditor"), "C-A1-1"),
    "PlaceHolds": ("instalments", ("BankMSP", "lending"), HOLD),
    "LiftHolds": ("instalments", ("BankMSP", "lending"), {"hold": "H-A1-1", "reason": "x"}),
    "AnswerDisputes": (
        "instalments", ("BankMSP", "lending"), {"hold": "H-A1-1", "evidence": salted("a")},
    ),
    "ConfirmHolds": ("instalments", ("PtaMSP", "enforcement"), {"hold": "H-A1-1"}),
    "WithdrawCases": ("instalments", ("BankMSP", "lending"), {"case": "C-A1-1", "reason": "x"}),
    "EndBlocksByTerm": ("instalments", ("MakerMSP", "auditor"), "C-A1-1"),
    "AcknowledgeReleases": (
        "instalments", ("OperatorMSP", "executor"), {"order": "O-A1-1-1", "step": "SUBMITTED"},
    ),
    "ReissueReleases": ("instalments", ("MakerMSP", "auditor"), "O-A1-1-1"),
    "EscalateReleases": ("instalments", ("MakerMSP", "auditor"), "O-A1-1-1"),
}  # fmt: skip

# A number of a person in every place where a name may stand: it is never repeated.
CNIC = "35202-1234567-1"
PHONE = "03001234567"


@cache
def _ledger() -> CaseLedger:
    """One ledger for all: nothing here is ever written."""
    ledger = CaseLedger()
    ledger.open("A1", instalments=DUE)
    ledger.today(TRIGGER)
    return ledger


def _call(ledger: CaseLedger, function: str, records: Any, by: Any = None) -> Any:
    namespace, caller, _ = BULK[function]
    creator = by or officer(*caller)
    return ledger.submit(namespace, function, records, creator=creator)


def _wrong(record: Any) -> list[Any]:
    """Records that are not of their form, in many ways."""
    if isinstance(record, str):
        return ["", "a1", "A" * 60, 7, None, {}, [], CNIC.lower() + "x"]
    bad: list[Any] = ["", 7, None, [], {}, record | {"more": 1}]
    for name in record:
        without = {key: value for key, value in record.items() if key != name}
        bad += [without, record | {name: {}}, record | {name: "ü" * 5000}, record | {name: -1}]
    return bad


@pytest.mark.parametrize("function", BULK)
def test_bulk_with_records_out_of_form_refuses_each_by_itself(function: str) -> None:
    """A record that is not of its form is refused by itself, with a rule and a message that does
    not hold its value; nothing is written and no event set.
    """
    ledger = _ledger()
    wrong = _wrong(BULK[function][2])[:50]
    outcome = _call(ledger, function, wrong)
    assert outcome.status == 200, outcome.message
    found = outcome.value["verdicts"]
    assert len(found) == len(wrong)
    for verdict, record in zip(found, wrong, strict=True):
        assert not verdict["ok"], record
        assert verdict["rule"].startswith("rulebook ")
        assert verdict["message"]
        assert "ü" not in verdict["message"] + verdict["id"]
    assert (outcome.result.writes, outcome.event) == (False, None)


@pytest.mark.parametrize("function", BULK)
def test_bulk_about_what_does_not_exist_is_refused(function: str) -> None:
    """No case, order or hold of that name: a refusal that says where to look, and no write."""
    record = BULK[function][2]
    if function == "Sweep":
        record = "A99"
    elif function == "PlaceHolds":
        record = record | {"agreement": "A99"}
    outcome = _call(_ledger(), function, [record])
    found = verdicts(outcome)[0]
    assert (found["ok"], outcome.result.writes) == (False, False)
    assert found["message"]


@pytest.mark.parametrize("number", [CNIC, PHONE, "4111111111111111", "C-" + CNIC + "-1"])
@pytest.mark.parametrize("function", BULK)
def test_bulk_never_repeats_a_number_of_a_person(function: str, number: str) -> None:
    """Where an id looks like somebody's number, neither verdict nor message holds it."""
    record = BULK[function][2]
    if isinstance(record, str):
        given = number
    else:
        given = record | {next(iter(record)): number}
    outcome = _call(_ledger(), function, [given])
    said = outcome.message + str(outcome.value)
    digits = "".join(character for character in said if character.isdigit())
    assert "".join(filter(str.isdigit, CNIC)) not in digits
    assert number not in said


@pytest.mark.parametrize("function", BULK)
def test_bulk_longer_than_allowed_is_refused_as_a_whole(function: str) -> None:
    """At most 500 records, 50 in a sweep."""
    most = 50 if function == "Sweep" else 500
    outcome = _call(_ledger(), function, [BULK[function][2]] * (most + 1))
    assert outcome.status == 400
    assert f"at most {most}" in outcome.message


@pytest.mark.parametrize("argument", [b"", b"{}", b"[", b"null", b"\xff", b'"A1"', b"[NaN]"])
@pytest.mark.parametrize("function", BULK)
def test_bulk_that_is_no_list_is_refused_as_a_whole(function: str, argument: bytes) -> None:
    """Anything but a JSON list refuses the transaction."""
    outcome = _call(_ledger(), function, argument)
    assert outcome.status == 400
    assert outcome.message


@pytest.mark.parametrize("function", BULK)
def test_empty_bulk_does_nothing(function: str) -> None:
    """An empty list is answered with no verdict."""
    outcome = _call(_ledger(), function, [])
    assert (outcome.value, outcome.result.writes) == ({"verdicts": []}, False)


@pytest.mark.parametrize("function", BULK)
def test_bulk_of_a_stranger_is_refused_as_a_whole(function: str) -> None:
    """Who is no member, or carries no role, changes nothing."""
    role = BULK[function][1][1]
    for by in (Creator("StrangeMSP", "x", {"qist.role": role}), Creator("BankMSP", "x")):
        outcome = _call(_ledger(), function, [BULK[function][2]], by)
        assert outcome.status == 400
        assert "rulebook 1" in outcome.message


ROLES = {"lending", "enforcement", "executor", "governance", "auditor"}
ALLOWED = {
    "ServeNotices": {"lending"},
    "ProposeCases": {"lending"},
    "CastBallots": {"enforcement"},
    "AcknowledgeOrders": {"executor"},
    "PlaceHolds": {"lending", "enforcement"},
    "LiftHolds": {"lending", "enforcement"},
    "AnswerDisputes": {"lending"},
    "ConfirmHolds": {"enforcement"},
    "WithdrawCases": {"lending"},
    "AcknowledgeReleases": {"executor"},
}


@pytest.mark.parametrize("role", sorted(ROLES))
@pytest.mark.parametrize("function", BULK)
def test_bulk_takes_its_roles_and_no_other(function: str, role: str) -> None:
    """Each function takes the roles that the documentation names."""
    outcome = _call(_ledger(), function, [], officer("PtaMSP", role))
    allowed = ALLOWED.get(function, ROLES)
    assert (outcome.status == 200) is (role in allowed)
