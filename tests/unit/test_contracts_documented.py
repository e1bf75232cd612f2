"""docs/contracts.md is what clients read: its functions are the contracts', name by name."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from chaincode.contract import Contract
from chaincode.contract.functions import CompiledContract
from chaincode.instalments.book import inputs, views
from chaincode.instalments.contracts import EnforcementContract, InstalmentsContract

PAGE = Path(__file__).parents[2] / "docs" / "contracts.md"
CONTRACTS: tuple[type[Contract], ...] = (InstalmentsContract, EnforcementContract)
BOOK = "## Namespace `instalments`: devices, agreements, payments"

Row = list[str]


def rows_of(text: str) -> dict[str, Row]:
    """The rows of all tables whose first cell is a function's name, with their cells."""
    rows = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells and (name := re.fullmatch(r"`([A-Z][A-Za-z]+)`", cells[0])):
            rows[name[1]] = cells
    return rows


def documented(namespace: str) -> dict[str, Row]:
    """The functions that the page has under the headings of a namespace."""
    sections = re.split(r"(?m)^(?=## )", PAGE.read_text(encoding="utf-8"))
    found: dict[str, Row] = {}
    for section in sections:
        if section.startswith(f"## Namespace `{namespace}`"):
            found |= rows_of(section)
    return found


def metadata(contract: type[Contract]) -> dict[str, Any]:
    """The transactions of a contract's machine-readable metadata, by name."""
    document = json.loads(CompiledContract(contract()).metadata)
    described = document["contracts"][contract.name]["transactions"]
    return {each["name"]: each for each in described}


@pytest.mark.parametrize("contract", CONTRACTS)
def test_functions_on_the_page_are_those_of_the_contract(contract: type[Contract]) -> None:
    """No function without its row, no row without its function."""
    assert sorted(documented(contract.name)) == sorted(metadata(contract))


def section_of_the_book() -> str:
    text = PAGE.read_text(encoding="utf-8")
    start = text.index(BOOK)
    end = text.find("\n## ", start + 1)
    return text[start:end] if end > 0 else text[start:]


def test_arguments_of_the_books_functions_are_those_on_the_page() -> None:
    """The names of the arguments, in their order, open the second cell."""
    described = metadata(InstalmentsContract)
    for name, cells in rows_of(section_of_the_book()).items():
        parameters = [each["name"] for each in described[name]["parameters"]]
        if cells[1].startswith("one of these"):
            assert len(parameters) == 1
            continue
        plain = re.sub(r"\([^)]*\)", "", cells[1].partition("; `statement`")[0])
        names = re.findall(r"`([a-z_]+)`", plain)
        assert names[: len(parameters)] == parameters, name


def test_functions_that_write_are_tagged_to_be_submitted() -> None:
    """The page has them in a table of their own; Fabric's clients go by the tag."""
    described = metadata(InstalmentsContract)
    writing, reading = section_of_the_book().split("### Queries")
    assert all("SUBMIT" in described[name]["tag"] for name in rows_of(writing))
    assert all("EVALUATE" in described[name]["tag"] for name in rows_of(reading))


RECORDS = {
    "RegisterTacs": inputs.TacInput,
    "RegisterDevices": inputs.DeviceInput,
    "ExchangeDevices": inputs.ExchangeInput,
    "OpenAgreements": inputs.AgreementInput,
    "ConfirmSales": inputs.ConfirmationInput,
    "PostPayments": inputs.PaymentInput,
    "RefundCredit": inputs.RefundInput,
    "ReversePayments": inputs.ReversalInput,
    "ReviseSchedules": inputs.RevisionInput,
    "EndAgreements": inputs.EndingInput,
    "IssueClearance": inputs.ClearanceInput,
    "Agreement": views.AgreementView,
    "Payment": views.PaymentView,
    "Standing": views.StandingAnswer,
    "DeviceStatus": views.DeviceStatusView,
    "Clearance": views.ClearanceView,
    "Confirmation": views.ConfirmationView,
    "Tac": views.TacView,
    "IsEncumbered": views.EncumbranceView,
}


@pytest.mark.parametrize("function", sorted(RECORDS))
def test_fields_of_the_books_records_are_those_on_the_page(function: str) -> None:
    """Every field of what is sent and answered stands in the row, and no other."""
    kind = RECORDS[function]
    cells = rows_of(section_of_the_book())[function]
    is_query = "EVALUATE" in metadata(InstalmentsContract)[function]["tag"]
    cell = cells[2] if is_query else cells[1]
    own = {field.name for field in dataclasses.fields(kind)}
    nested = {
        field.name
        for hint in get_type_hints(kind).values()
        for part in (hint, *getattr(hint, "__args__", ()))
        if dataclasses.is_dataclass(part)
        for field in dataclasses.fields(part)
    }
    words = set(re.findall(r'"([a-z_]+)"', cell))
    assert own <= words
    assert words - VALUES <= own | nested | {"due", "amount_paisa"}


VALUES = {
    "conventional", "murabaha", "musawamah", "ijarah", "qardh_e_hasna", "written_off", "death",
    "paid_off", "regular", "substandard", "loss", "none", "ordered", "blocked", "releasing",
}  # fmt: skip
"""Words in quotation marks that are values, not names of fields."""
