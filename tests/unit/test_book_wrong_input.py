"""Every function of the book × every argument and field, missing or of another type.

The refusal is clear and never holds the value: it may be a person's number. What is tried stands in
for one: a text and a number of 14 digits.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from chaincode.contract import Creator
from chaincode.instalments.book.functions import BookFunctions
from chaincode.instalments.book.queries import BookQueries
from chaincode.instalments.identifiers import imei_with_check_digit
from chaincode.simulator import SimulationResult
from tests.support.book_ledger import (
    BANK,
    MAKER,
    OPERATOR,
    PTA,
    SALT,
    TAC,
    THREE_EQUAL,
    BookLedger,
    agreement,
    device,
    payment,
    pseudonym,
    salted,
    terms_of,
)

NUMBER = 35209900176148
TEXT = str(NUMBER)
MISSING = object()
WRONG: tuple[Any, ...] = (
    MISSING, None, True, NUMBER, 3.5, TEXT, "", [TEXT], {TEXT: NUMBER}, [], {},
)  # fmt: skip

Path = tuple[int | str, ...]


@dataclass(frozen=True)
class Example:
    """A call that passes, from which one value at a time is spoilt.

    Attributes:
        fine: (path, value) pairs that are legitimate after all, the path without list places.
    """

    function: str
    args: list[Any]
    by: Creator = BANK
    transient: dict[str, Any] = field(default_factory=dict)
    fine: tuple[tuple[Path, tuple[Any, ...]], ...] = ()


DEVICE = [pseudonym("A/0")]
STATEMENT = {"statement": salted("A"), "language": "ur", "block": True}
REVISION = {"agreement": "A", "version": 2, "reason": "eased", "consent": STATEMENT}
NUMBERS = {
    "salt": SALT,
    "imeis": [imei_with_check_digit(f"{TAC}00000{place}") for place in range(2)],
    "msisdn": "+923001234567",
}
LATER = {"instalments": [{"due": "2026-07-05", "amount_paisa": 300}]}
ABSENT = (MISSING, None)
ANY_DAY = ("",)

EXAMPLES = [
    Example(
        "RegisterTacs", [[{"tac": "86071505", "maker": "M", "registrants": ["MakerMSP"]}]], PTA
    ),
    Example(
        "RegisterDevices",
        [[device("N")]],
        MAKER,
        {"identifiers": [{"imeis": ["35209900176148", "35209900176149"]}]},
        ((("transient", "identifiers", "imeis"), (TEXT,)), (("transient", "identifiers"), (None,))),
    ),
    Example(
        "ExchangeDevices", [[{"old": DEVICE, "new": [pseudonym("F/0")], "reason": "r"}]], MAKER
    ),
    Example("ExchangeDevice", [{"old": DEVICE, "new": [pseudonym("F/0")], "reason": "r"}], MAKER),
    Example(
        "OpenAgreements",
        [[agreement("N", device=[pseudonym("F/0")], imported=True)]],
        BANK,
        {"terms": [terms_of(THREE_EQUAL)]},
        (((0, "consent"), ABSENT), ((0, "imported"), (True,)), ((0, "consent", "block"), (True,))),
    ),
    Example("ConfirmSales", [[{"agreement": "A", "handed_over_on": "2026-03-06"}]], MAKER),
    Example(
        "PostPayments",
        [[payment("A", "2026-05-02") | {"institution": "OperatorMSP"}]],
        OPERATOR,
        {"amounts": [100]},
        (((0, "institution"), ABSENT),),
    ),
    Example("RefundCredit", [[{"agreement": "P", "reference": "R-1"}]], BANK, {"amounts": [10]}),
    Example(
        "ReversePayments",
        [[{"institution": "OperatorMSP", "reference": "P-1", "evidence": salted("e")}]],
        OPERATOR,
        fine=(((0, "institution"), ABSENT),),
    ),
    Example(
        "ReviseSchedules",
        [[REVISION]],
        BANK,
        {"terms": [LATER]},
        (((0, "consent"), ABSENT), ((0, "consent", "block"), (True,))),
    ),
    Example(
        "ReviseSchedule",
        [REVISION],
        BANK,
        {"terms": [LATER]},
        (((0, "consent"), ABSENT), ((0, "consent", "block"), (True,))),
    ),
    Example(
        "EndAgreements", [[{"agreement": "A", "kind": "written_off", "evidence": salted("e")}]]
    ),
    Example("IssueClearance", [[{"agreement": "P"}]]),
    Example(
        "RecordIdentifiers",
        [[{"agreement": "A"}]],
        BANK,
        {"identifiers": [NUMBERS]},
        (
            (("transient", "identifiers", "imeis"), (TEXT,)),
            (("transient", "identifiers", "msisdn"), (MISSING, "")),
        ),
    ),
    Example("PurgeIdentifiers", [[{"agreement": "C"}]]),
    Example("Agreement", ["A"]),
    Example("Agreements", [["A"]]),
    Example("Schedules", ["A"]),
    Example("Payments", ["A"]),
    Example("Payment", ["OperatorMSP", "P-1"]),
    Example("Standing", ["A", "2026-05-01"], fine=(((1,), ANY_DAY),)),
    Example("Standings", [["A"], "2026-05-01"], fine=(((1,), ANY_DAY),)),
    Example("Due", ["2026-05-01", 1, 10, ""], fine=(((0,), ANY_DAY), ((3,), ANY_DAY))),
    Example("DeviceStatus", [DEVICE]),
    Example("IsEncumbered", [DEVICE]),
    Example("Clearance", ["A"]),
    Example("Confirmation", ["A"]),
    Example("Tac", ["35209900"]),
    Example("Totals", ["BankMSP", "2026-05-01"], fine=(((1,), ANY_DAY),)),
]
BY_NAME = {example.function: example for example in EXAMPLES}
# A name of something that there is not is answered with null or nothing, by the documentation.
ANSWERS_NOTHING = {"Clearance", "Confirmation", "Tac", "Totals", "Agreements", "Standings"}
EMPTY_LISTS_ARE_FINE = {
    "RegisterTacs", "RegisterDevices", "ExchangeDevices", "OpenAgreements", "ConfirmSales",
    "PostPayments", "RefundCredit", "ReversePayments", "ReviseSchedules", "EndAgreements",
    "IssueClearance", "RecordIdentifiers", "PurgeIdentifiers", "Agreements", "Standings",
    "DeviceStatus", "IsEncumbered",
}  # fmt: skip


@pytest.fixture(scope="module")
def book() -> BookLedger:
    """Of the bank: A with a payment, P paid with credit, C closed; a phone F from stock."""
    ledger = BookLedger()
    ledger.open("A")
    ledger.open("P")
    ledger.open("C")
    ledger.register("F")
    ledger.today("2026-05-10")
    ledger.pay("A", 100, "2026-05-01", OPERATOR, reference="P-1")
    ledger.pay("P", 350, "2026-05-01", OPERATOR, reference="P-2")
    ledger.verdicts("EndAgreements", [{"agreement": "C", "kind": "death", "evidence": salted("e")}])
    return ledger


def run(book: BookLedger, example: Example, args: list[Any], transient: dict[str, Any]):
    """Simulate; texts as they are, everything else as JSON."""
    raw = [arg if isinstance(arg, str | bytes) else json.dumps(arg).encode() for arg in args]
    packed = {name: json.dumps(value).encode() for name, value in transient.items()}
    return book.simulate(
        "instalments", example.function, *raw, creator=example.by, transient=packed
    )[1]


def accepted(example: Example, result: SimulationResult) -> bool:
    """Say whether a call passed: its status, and of a bulk the verdict on its one record."""
    if result.status >= 400:
        return False
    value = json.loads(result.payload)
    if isinstance(value, dict) and "verdicts" in value:
        return all(verdict["ok"] for verdict in value["verdicts"])
    return bool(value.get("ok", True)) if isinstance(value, dict) else True


def said(result: SimulationResult) -> str:
    """Everything a refusal says."""
    return result.message + result.payload.decode()


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Every place in a JSON value, the whole of it first."""
    yield path
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for name, item in items:
        yield from paths(item, (*path, name))


def spoilt(value: Any, path: Path, wrong: Any) -> Any:
    """Return a copy with one place changed or left out."""
    if not path:
        return wrong
    copied = copy.deepcopy(value)
    place = copied
    for step in path[:-1]:
        place = place[step]
    if wrong is MISSING:
        del place[path[-1]]
    else:
        place[path[-1]] = wrong
    return copied


def named_path(path: Path) -> Path:
    """The path without places inside lists; the first step is the argument."""
    return (path[0], *(step for step in path[1:] if isinstance(step, str)))


def is_fine(example: Example, path: Path, wrong: Any) -> bool:
    """Say whether the value is legitimate there, by the documentation."""
    for fine, values in example.fine:
        if named_path(path) == fine and any(wrong is value or wrong == value for value in values):
            return type(wrong) is not bool or any(wrong is value for value in values)
    return False


def trials(example: Example) -> Iterator[tuple[Path, Any, list[Any], dict[str, Any]]]:
    for place, argument in enumerate(example.args):
        for path in paths(argument):
            for wrong in WRONG:
                if not path and wrong is MISSING:
                    continue  # the number of arguments has a test of its own
                if isinstance(argument, str) and not isinstance(wrong, str):
                    continue  # a text argument is taken as it comes: whatever is sent is a text
                args = [*example.args]
                args[place] = spoilt(argument, path, wrong)
                yield (place, *path), wrong, args, example.transient
    for path in paths(example.transient):
        if not path:
            continue
        for wrong in WRONG:
            yield ("transient", *path), wrong, example.args, spoilt(example.transient, path, wrong)


@pytest.mark.parametrize("function", sorted(BY_NAME))
def test_example_of_every_function_passes(book: BookLedger, function: str) -> None:
    """What is spoilt below is right to begin with."""
    example = BY_NAME[function]
    result = run(book, example, example.args, example.transient)
    assert accepted(example, result), said(result)


@pytest.mark.parametrize("function", sorted(BY_NAME))
def test_wrong_value_anywhere_is_refused_without_it(book: BookLedger, function: str) -> None:
    """Every field, every wrong type: a refusal by the contract's own words, without the value."""
    example = BY_NAME[function]
    tried = 0
    for path, wrong, args, transient in trials(example):
        result = run(book, example, args, transient)
        place = f"{function} {path} {'missing' if wrong is MISSING else wrong!r}: {said(result)}"
        assert result.status in (200, 400), place
        if result.status == 400 or not accepted(example, result):
            assert TEXT not in said(result), place
            assert len(said(result)) > 20, place
            tried += 1
            continue
        harmless = (
            is_fine(example, path, wrong)
            or (wrong in ([], MISSING) and len(path) <= 2 and function in EMPTY_LISTS_ARE_FINE)
            or function in ANSWERS_NOTHING
            or _is_empty_optional(path, wrong)
        )
        assert harmless, place
    assert tried or function in ANSWERS_NOTHING


def _is_empty_optional(path: Path, wrong: Any) -> bool:
    """A transient list that may be left out, and lists of whom there need be no more than some."""
    return (path[:2] == ("transient", "identifiers") and wrong is MISSING) or (
        path[1:2] == (0,) and path[2:3] == ("receiving_institutions",) and wrong is MISSING
    )


@pytest.mark.parametrize("function", sorted(BY_NAME))
def test_number_of_arguments_or_bytes_that_are_none_are_refused(
    book: BookLedger, function: str
) -> None:
    """Too few, too many, no JSON, no UTF-8."""
    example = BY_NAME[function]
    for args in (
        example.args[:-1],
        [*example.args, TEXT],
        [b"{" + TEXT.encode(), *example.args[1:]],
        [b"\xff" + TEXT.encode(), *example.args[1:]],
    ):
        if args and isinstance(example.args[0], str) and args[0][:1] in (b"{",):
            continue
        result = run(book, example, args, example.transient)
        assert result.status == 400, args
        assert TEXT not in said(result)


@pytest.mark.parametrize(
    "function", sorted(name for name, example in BY_NAME.items() if example.transient)
)
def test_transient_data_missing_or_no_json_is_refused(book: BookLedger, function: str) -> None:
    """What is transient is asked for by name; the refusal holds nothing of it."""
    example = BY_NAME[function]
    missing = run(book, example, example.args, {})
    if function != "RegisterDevices":
        assert missing.status == 400
        assert "send it as transient data" in missing.message
    name = next(iter(example.transient))
    packed = {name: b"[" + TEXT.encode()}
    raw = [json.dumps(arg).encode() for arg in example.args]
    spoiled = book.simulate("instalments", function, *raw, creator=example.by, transient=packed)[1]
    assert spoiled.status == 400
    assert f"transient data {name!r}" in spoiled.message
    assert TEXT not in spoiled.message


@pytest.mark.parametrize("function", sorted(n for n in BY_NAME if BY_NAME[n].by is not None))
def test_stranger_may_not_write(book: BookLedger, function: str) -> None:
    """What writes is a member's; what reads is anybody's."""
    example = BY_NAME[function]
    stranger = Example(
        function, example.args, Creator("NobodyMSP", "x", {"qist.role": "lending"}),
        example.transient,
    )  # fmt: skip
    result = run(book, stranger, example.args, example.transient)
    is_query = hasattr(BookQueries, snake_case(function))
    assert (result.status == 200) is is_query
    if not is_query:
        assert "is no member" in result.message


def snake_case(name: str) -> str:
    return "".join("_" + letter.lower() if letter.isupper() else letter for letter in name)[1:]


def test_examples_cover_every_function_of_the_book() -> None:
    """A new function comes with its row here."""
    offered = {
        name
        for kind in (BookFunctions, BookQueries)
        for name, member in vars(kind).items()
        if hasattr(member, "__contract_function__")
    }
    assert {snake_case(name) for name in BY_NAME} == offered
