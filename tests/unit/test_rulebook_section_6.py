"""Rulebook 6: what every function gives, shown on one life that calls each of them."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest

from tests.support.book_ledger import pseudonym
from tests.support.case_ledger import CaseLedger
from tests.support.memory_state import Outcome
from tests.support.rulebook import functions_that_write, missing_tests
from tests.support.whole_life import whole_life

SHOWN = [
    (
        "a typed result, as the page says",
        "test_functions_on_the_page_are_those_of_the_contract "
        "test_arguments_of_the_books_functions_are_those_on_the_page",
    ),
    (
        "a refusal that names the record, the rule, the way out",
        "test_notified_too_early_says_from_when_on "
        "test_bulk_with_records_out_of_form_refuses_each_by_itself "
        "test_bulk_about_what_does_not_exist_is_refused",
    ),
    (
        "no clock, file, socket, or value that differs between endorsers",
        "test_endorsers_with_equal_state_give_equal_bytes test_machine_clock_and_zone_are_refused "
        "test_order_of_set_that_shows_is_refused",
    ),
]

MADE_TO_BE_READ = re.compile(r"\(rulebook [1-7]\)")


def test_section_6_names_tests_that_exist() -> None:
    """What is shown elsewhere is shown."""
    assert missing_tests(SHOWN) == []


class Witness(CaseLedger):
    """A ledger that sends every request twice and keeps what came of both."""

    def __init__(self, **options: Any) -> None:
        self.calls: list[tuple[str, str, Outcome, Outcome]] = []
        super().__init__(**options)

    def submit(self, contract: str, function: str, *args: Any, **options: Any) -> Outcome:
        first = super().submit(contract, function, *args, **options)
        again = super().submit(contract, function, *args, **options)
        self.calls.append((contract, function, first, again))
        return first


@cache
def _witness() -> Witness:
    ledger = Witness()
    whole_life(ledger)
    return ledger


FUNCTIONS = sorted(
    (namespace, name)
    for namespace in ("enforcement", "instalments")
    for name in functions_that_write(namespace)
)


def _calls(namespace: str, function: str) -> list[tuple[Outcome, Outcome]]:
    found = [
        (first, again)
        for contract, name, first, again in _witness().calls
        if (contract, name) == (namespace, function)
    ]
    assert found, f"the life calls no {function}"
    return found


def _verdicts(outcome: Outcome) -> list[dict[str, Any]]:
    value = outcome.value
    return list(value.get("verdicts", ())) if isinstance(value, dict) else []


@pytest.mark.parametrize(("namespace", "function"), FUNCTIONS)
def test_same_request_twice_does_nothing_twice(namespace: str, function: str) -> None:
    """Sent again at once, every function writes nothing and sets no event; it answers with success
    and `written: false`, or says why not.
    """
    for first, again in _calls(namespace, function):
        assert first.status == 200, first.message
        assert first.result.writes, function
        assert not again.result.writes, (function, again.value)
        assert again.event is None
        assert again.status == 200 or MADE_TO_BE_READ.search(again.message)
        for verdict in _verdicts(again):
            assert not verdict["written"]
            assert verdict["ok"] or MADE_TO_BE_READ.search(verdict["message"]), verdict


REFUSED_AGAIN = {"Found", "ReissueReleases", "ResumeOrders"}
"""Where nothing is left to be done, which is no success: founded, re-issued, running already."""


@pytest.mark.parametrize(("namespace", "function"), FUNCTIONS)
def test_same_request_twice_is_a_success(namespace: str, function: str) -> None:
    """Whoever sends a request again because the answer was lost learns that it stands."""
    oks = [
        again.status == 200 and all(verdict["ok"] for verdict in _verdicts(again))
        for _, again in _calls(namespace, function)
    ]
    assert all(oks) or function in REFUSED_AGAIN


@pytest.mark.parametrize(("namespace", "function"), FUNCTIONS)
def test_function_sets_one_versioned_event(namespace: str, function: str) -> None:
    """Its name is the function's; the payload has version, function, day and what was written."""
    for first, _ in _calls(namespace, function):
        assert first.event is not None
        name, payload = first.event
        assert (name, payload["version"], payload["function"]) == (function, 1, function)
        assert set(payload) == {"version", "function", "day", "records"}
        assert payload["records"]
        assert all({"id", "state"} <= set(record) for record in payload["records"])


@pytest.mark.parametrize(("namespace", "function"), FUNCTIONS)
def test_event_lists_what_was_written_and_nothing_of_a_person(
    namespace: str, function: str
) -> None:
    """One record for each that was written, by its id; no amount, no borrower, no SIM."""
    people = {pseudonym(f"A{number}/{who}") for number in (1, 2) for who in ("borrower", "sim")}
    for first, _ in _calls(namespace, function):
        assert first.event is not None
        payload = first.event[1]
        written = [each["id"] for each in _verdicts(first) if each["written"]]
        if written:
            assert [record["id"] for record in payload["records"]] == written
        text = str(payload)
        assert "paisa" not in text
        assert not [name for name in people if name in text]


@pytest.mark.parametrize(("namespace", "function"), FUNCTIONS)
def test_function_writes_in_its_own_namespace_only(namespace: str, function: str) -> None:
    """What `enforcement` decides and what `instalments` ends never mix in one write set."""
    for first, _ in _calls(namespace, function):
        assert set(first.result.namespaces) == {namespace}


def test_life_calls_every_function_that_writes() -> None:
    """A new function comes with its step here."""
    called = {(contract, name) for contract, name, _, _ in _witness().calls}
    assert called == set(FUNCTIONS)
