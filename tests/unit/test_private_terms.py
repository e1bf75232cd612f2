"""Terms are private: what a member outside the lender's collection can endorse, ask and find."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from hashlib import sha256
from typing import Any

import pytest

from chaincode.contract import Creator
from chaincode.simulator import SimulationResult
from ledger.state.ports import VersionedValue
from tests.support.book_ledger import (
    BANK,
    MAKER,
    OPERATOR,
    PTA,
    SALT,
    BookLedger,
    agreement,
    payment,
    salted,
    terms_of,
)
from tests.support.case_ledger import CaseLedger
from tests.support.memory_state import MemoryState
from tests.support.rulebook import functions_that_write
from tests.support.whole_life import whole_life

CIRCLE = frozenset({"BankMSP", "OperatorMSP", "PtaMSP"})
NEED_MONEY = {
    "PostPayments", "RefundCredit", "ReversePayments", "ReviseSchedule", "ReviseSchedules",
    "RecordIdentifiers",
}  # fmt: skip
"""What only a member of the lender's collection can endorse, besides an agreement sent again."""


class Outside:
    """The state as a node has it that is in no collection: hashes, and nothing in plain.

    Args:
        lacks: the one private key that is not there; "": all of them.
    """

    def __init__(self, state: MemoryState, lacks: str = "") -> None:
        self._state = state
        self._lacks = lacks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)

    def get_private(self, namespace: str, collection: str, key: str) -> VersionedValue | None:
        if self._lacks in ("", key):
            return None
        return self._state.get_private(namespace, collection, key)

    def get_private_many(
        self, namespace: str, collection: str, keys: Sequence[str]
    ) -> list[VersionedValue | None]:
        return [self.get_private(namespace, collection, key) for key in keys]

    def range_private(self, *_: str) -> Iterator[tuple[str, VersionedValue]]:
        return iter(())


class MembersOnly:
    """memberOnlyRead and memberOnlyWrite: the creator's member is in the circle or it is not."""

    def __init__(self, creator: Creator) -> None:
        self._is_member = creator.msp_id in CIRCLE

    def exists(self, namespace: str, collection: str) -> bool:
        return True

    def may_read(self, namespace: str, collection: str) -> bool:
        return self._is_member

    def may_write(self, namespace: str, collection: str) -> bool:
        return self._is_member


class Watched(CaseLedger):
    """A ledger whose every proposal is simulated by a member and by an outsider as well."""

    def __init__(self, **options: Any) -> None:
        self.seen: list[tuple[str, SimulationResult, SimulationResult]] = []
        super().__init__(**options)

    def simulate(
        self, contract: str, function: str, *args: Any, **options: Any
    ) -> tuple[str, SimulationResult]:
        tx_id, result = super().simulate(contract, function, *args, **options)
        self._nonce -= 1
        state: Any = self.state
        self.state = Outside(state)  # type: ignore[assignment]
        try:
            _, outside = super().simulate(contract, function, *args, **options)
        finally:
            self.state = state
        self.seen.append((function, result, outside))
        return tx_id, result


@cache
def _watched() -> Watched:
    ledger = Watched()
    whole_life(ledger)
    return ledger


# ---- endorsing ----------------------------------------------------------------------------------


def test_life_seen_from_outside_calls_every_function_that_writes() -> None:
    """What follows is about all of them."""
    called = {function for function, _, _ in _watched().seen}
    assert called >= functions_that_write("instalments") | functions_that_write("enforcement")


@pytest.mark.parametrize(
    "function",
    sorted(
        (functions_that_write("instalments") | functions_that_write("enforcement")) - NEED_MONEY
    ),
)
def test_outsider_endorses_what_needs_no_money_with_the_same_bytes(function: str) -> None:
    """Cases, votes, orders, holds, releases, write-offs, certificates, sales: all but money."""
    for name, member, outside in _watched().seen:
        if name == function:
            assert outside == member


@pytest.mark.parametrize("function", sorted(NEED_MONEY))
def test_outsider_cannot_endorse_money_and_says_that_another_may(function: str) -> None:
    """A fault of this node, not a refusal: a gateway asks a member.

    Only the first identifiers of an agreement are new to everybody, and so the same for all.
    """
    found = [pair for name, *pair in _watched().seen if name == function]
    if function == "RecordIdentifiers":
        member, outside = found.pop(0)
        assert outside == member
    assert found
    for member, outside in found:
        assert member.private_reads
        assert outside.status == 500
        assert "private data matching public hash version is not available" in outside.message


# ---- asking -------------------------------------------------------------------------------------

DUES = ("2026-04-05", "2026-05-05", "2026-06-05")
AMOUNTS = (7_318_521, 7_318_523, 7_318_527)
DOWN = 4_410_011
PARTS = (7_318_521, 1_200_307, 911_213)
REFUND = 333_337
NO_MONEY = ("arrears_paisa", "paid_paisa", "credit_paisa", "outstanding_paisa", "currency")


@cache
def _book() -> BookLedger:
    """An agreement with unusual amounts, paid in parts, revised, reversed, refunded."""
    book = BookLedger()
    book.access_of = MembersOnly
    book.seen = []  # type: ignore[attr-defined]
    book.register("A")
    terms = terms_of(list(zip(DUES, AMOUNTS, strict=True)), DOWN)
    _do(book, "OpenAgreements", [agreement("A")], BANK, terms=[terms])
    _do(book, "ConfirmSales", [{"agreement": "A", "handed_over_on": "2026-03-05"}], MAKER)
    book.today("2026-05-20")
    for place, part in enumerate(PARTS):
        given = [payment("A", f"2026-04-{10 + place}", reference=f"R-{place}")]
        _do(book, "PostPayments", given, OPERATOR, amounts=[part])
    reversal = [{"reference": "R-1", "evidence": salted("e")}]
    _do(book, "ReversePayments", reversal, OPERATOR)
    lower = terms_of([(DUES[0], AMOUNTS[0] - 1), (DUES[1], PARTS[2] - REFUND - 11)])
    given = [{"agreement": "A", "version": 2, "reason": "waived"}]
    _do(book, "ReviseSchedules", given, BANK, terms=[{"instalments": lower["instalments"]}])
    _do(book, "RefundCredit", [{"agreement": "A", "reference": "B-1"}], BANK, amounts=[REFUND])
    return book


def _do(book: BookLedger, function: str, records: Any, by: Creator, **transient: Any) -> None:
    outcome = book.call(function, records, by, transient)
    assert outcome.valid, outcome.message
    assert all(each["written"] for each in outcome.value["verdicts"]), outcome.value
    book.seen.append(outcome.result)  # type: ignore[attr-defined]


def ask(by: Creator, function: str, *args: Any) -> Any:
    """What a query answers to somebody on a member's node."""
    return _book().evaluate("instalments", function, *args, creator=by)


def test_standing_is_told_to_everybody_and_money_to_members() -> None:
    """Rivals see that an agreement exists and how far it is overdue."""
    inside, outside = (ask(by, "Standing", "A", "2026-05-10").value for by in (PTA, MAKER))
    assert inside["arrears_paisa"] == AMOUNTS[1] - PARTS[1] - PARTS[2] + PARTS[1]
    assert {name: outside[name] for name in NO_MONEY} == dict.fromkeys(NO_MONEY)
    assert outside | {name: inside[name] for name in NO_MONEY} == inside
    assert (outside["unpaid_instalments"], outside["days_past_due"]) == (1, 5)
    assert ask(MAKER, "Standings", ["A", "X"], "2026-05-10").value == [outside, None]


def test_agreement_schedules_and_payment_are_told_without_amounts() -> None:
    """Due dates are part of the standing; prices and amounts are null."""
    inside, outside = (ask(by, "Agreement", "A").value for by in (BANK, MAKER))
    assert inside["terms"]["price_paisa"] == sum(AMOUNTS) + DOWN
    assert outside == inside | {"terms": None}
    assert ask(MAKER, "Agreements", ["A"]).value == [outside]
    schedules = ask(MAKER, "Schedules", "A").value
    assert [[each["due"] for each in version["instalments"]] for version in schedules] == [
        list(DUES),
        list(DUES[:2]),
    ]
    assert {each["amount_paisa"] for v in schedules for each in v["instalments"]} == {None}
    told = ask(PTA, "Schedules", "A").value
    assert [each["amount_paisa"] for each in told[0]["instalments"]] == list(AMOUNTS)
    inside, outside = (ask(by, "Payment", "OperatorMSP", "R-0").value for by in (OPERATOR, MAKER))
    assert inside["amount_paisa"] == PARTS[0]
    assert outside == inside | {"amount_paisa": None}


def test_account_is_refused_to_an_outsider_with_the_way_out() -> None:
    """It is nothing but money."""
    assert len(ask(BANK, "Payments", "A").value) == len(PARTS) + 2
    outcome = ask(MAKER, "Payments", "A")
    assert outcome.status == 400
    assert "terms-BankMSP" in outcome.message
    assert "ask the node of a member" in outcome.message


def test_due_lists_an_agreement_without_its_arrears_to_an_outsider() -> None:
    """Anybody may sweep, so anybody finds what is overdue."""
    book = BookLedger()
    book.access_of = MembersOnly
    book.open("A", list(zip(DUES, AMOUNTS, strict=True)))
    book.today("2026-05-10")
    rows = [
        book.evaluate("instalments", "Due", "", 1, 5, "", creator=by).value["rows"]
        for by in (PTA, MAKER)
    ]
    assert rows[0][0]["arrears_paisa"] == AMOUNTS[0] + AMOUNTS[1]
    assert rows[1] == [rows[0][0] | {"arrears_paisa": None}]
    assert rows[1][0]["unpaid_instalments"] == 2


def test_member_whose_node_lacks_the_data_is_told_the_standing_without_money() -> None:
    """A node that has not fetched everything yet does not fail a query."""
    book = _book()
    state: Any = book.state
    book.state = Outside(state)  # type: ignore[assignment]
    try:
        found = book.evaluate("instalments", "Standing", "A", "", creator=PTA).value
    finally:
        book.state = state
    assert found["arrears_paisa"] is None
    assert found["schedule_version"] == 2


def test_one_account_that_is_missing_hides_no_other() -> None:
    """Until it is fetched, the rest of a list is told as ever; what is endorsed waits for it."""
    book = BookLedger()
    for name in ("A", "B"):
        book.open(name, list(zip(DUES, AMOUNTS, strict=True)))
    book.today("2026-05-10")
    state: Any = book.state
    book.state = Outside(state, "account/B")  # type: ignore[assignment]
    found = book.evaluate("instalments", "Standings", ["A", "B"], "", creator=PTA).value
    assert [each["arrears_paisa"] for each in found] == [AMOUNTS[0] + AMOUNTS[1], None]
    assert [each["days_past_due"] for each in found] == [35, 35]
    paid = [payment("A", "2026-05-01"), payment("B", "2026-05-01")]
    _, result = book.simulate(
        "instalments", "PostPayments", paid, creator=OPERATOR, transient={"amounts": [1, 1]}
    )
    assert result.status == 500


def test_money_from_an_outsider_is_a_verdict_of_its_own() -> None:
    """Who is in no circle is told so record by record, and nothing is written."""
    outcome = _book().call(
        "PostPayments", [payment("A", "2026-05-01")], MAKER, {"amounts": [AMOUNTS[0]]}
    )
    (verdict,) = outcome.value["verdicts"]
    assert not verdict["ok"]
    assert "has its terms in terms-BankMSP, which is closed to the caller" in verdict["message"]
    assert not outcome.result.writes


# ---- finding ------------------------------------------------------------------------------------


def unusual() -> set[int]:
    """Every amount of the book and every sum that stands anywhere in it."""
    listed = {*AMOUNTS, *PARTS, DOWN, REFUND, AMOUNTS[0] - 1, PARTS[2] - REFUND - 11}
    sums = {sum(AMOUNTS), sum(AMOUNTS) + DOWN, AMOUNTS[0] + AMOUNTS[1]}
    return listed | sums | {PARTS[0] + PARTS[1], sum(PARTS), PARTS[0] + PARTS[2]}


def amounts_in(raw: bytes) -> set[int]:
    """The unusual amounts that stand in some bytes: as digits, or as a fixed or varint number."""
    found = {int(digits) for digits in re.findall(rb"[0-9]+", raw)} & unusual()
    for amount in unusual():
        if any(amount.to_bytes(8, order) in raw for order in ("big", "little")):
            found.add(amount)
    return found


def test_no_amount_stands_in_public_state_blocks_or_answers() -> None:
    """State, read and write sets, events, results, messages: everything that a block holds."""
    book = _book()
    private = b"".join(entry.value for entry in book.private("terms-BankMSP").values())
    assert amounts_in(private) >= {*AMOUNTS, *PARTS, DOWN}
    for namespace in ("instalments", "enforcement"):
        for key, entry in book.state.range(namespace, "", ""):
            assert not amounts_in(key.encode() + entry.value + entry.metadata), key
    for result in book.seen:  # type: ignore[attr-defined]
        event = result.event or b""
        assert not amounts_in(result.rwset + result.payload + event + result.message.encode())


def test_answers_to_an_outsider_hold_no_amount() -> None:
    """No query tells one in another way."""
    for function, args in (
        ("Agreement", ("A",)),
        ("Standing", ("A", "")),
        ("Schedules", ("A",)),
        ("Payment", ("OperatorMSP", "R-2")),
        ("Payments", ("A",)),
        ("Due", ("2026-12-31", 0, 9, "")),
        ("Totals", ("BankMSP", "")),
    ):
        outcome = ask(MAKER, function, *args)
        assert not amounts_in(outcome.result.payload + outcome.message.encode()), function


def test_hash_of_a_private_record_cannot_be_tried_without_its_salt() -> None:
    """An amount has few values; the hash in the block is of a record that holds 128 bits more."""
    book = _book()
    for key, entry in book.private("terms-BankMSP").items():
        record = json.loads(entry.value)
        assert record["salt"] == SALT, key
        public = book.state.get_hashed(
            "instalments", "terms-BankMSP", sha256(key.encode()).digest()
        )
        assert public is not None
        assert public.value == sha256(entry.value).digest()
        bare = {name: value for name, value in record.items() if name != "salt"}
        text = json.dumps(bare, sort_keys=True, separators=(",", ":"))
        assert public.value != sha256(text.encode()).digest()


@pytest.mark.parametrize("salt", ["", "5a", "5A" * 16, "5a" * 33, None])
def test_agreement_without_a_proper_salt_is_refused(salt: str | None) -> None:
    """Without one its price could be found by trying."""
    book = BookLedger()
    book.register("A")
    terms = terms_of([(DUES[0], AMOUNTS[0])])
    given = {name: value for name, value in terms.items() if name != "salt"}
    if salt is not None:
        given["salt"] = salt
    (verdict,) = book.verdicts("OpenAgreements", [agreement("A")], BANK, terms=[given])
    assert not verdict["ok"]
    assert "not of its form" in verdict["message"]


def test_agreement_sent_again_under_another_salt_is_the_same() -> None:
    """The salt is no content."""
    book = BookLedger()
    book.open("A")
    given = [terms_of([("2026-04-05", 100), ("2026-05-05", 100), ("2026-06-05", 100)])]
    given[0]["salt"] = "6b" * 16
    (verdict,) = book.verdicts("OpenAgreements", [agreement("A")], BANK, terms=given)
    assert (verdict["ok"], verdict["written"]) == (True, False)
