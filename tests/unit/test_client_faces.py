"""The SDK's two faces, compared without a connection, and what its errors and codes say."""

from __future__ import annotations

import inspect
from typing import Any

import grpc
import pytest

from clients.gateway import asynchronous, blocking
from clients.gateway.errors import (
    CommitError,
    CommitStatusError,
    EndorseError,
    ErrorDetail,
    EvaluateError,
    GatewayError,
    SubmitError,
)
from clients.gateway.explanations import explain_code
from clients.gateway.retry import RetryPolicy, is_mismatch
from ledger.errors import LedgerError
from ledger.transactions.codes import TxValidationCode

PAIRS = [
    (blocking.Gateway, asynchronous.AsyncGateway),
    (blocking.Network, asynchronous.AsyncNetwork),
    (blocking.Contract, asynchronous.AsyncContract),
]


def public(face: type) -> dict[str, Any]:
    """Public methods and properties of a class, inherited ones too, and how it is made."""
    members = {
        name: member for name, member in inspect.getmembers(face) if not name.startswith("_")
    }
    return {**members, "__init__": inspect.getattr_static(face, "__init__")}


def shape(method: Any) -> list[tuple[str, Any, Any]]:
    """Names, kinds and defaults of a method's parameters."""
    parameters = inspect.signature(method).parameters.values()
    return [(each.name, each.kind, each.default) for each in parameters]


@pytest.mark.parametrize(("waits", "awaits"), PAIRS, ids=lambda face: face.__name__)
def test_faces_offer_the_same_names_with_the_same_parameters(waits: type, awaits: type) -> None:
    """Whoever knows one face knows the other: names, parameters, defaults."""
    one, other = public(waits), public(awaits)
    assert one.keys() == other.keys()
    for name, member in one.items():
        if callable(member):
            assert shape(member) == shape(other[name]), f"{waits.__name__}.{name}"


@pytest.mark.parametrize(("waits", "awaits"), PAIRS, ids=lambda face: face.__name__)
def test_faces_say_the_same_about_each_method(waits: type, awaits: type) -> None:
    """One documentation for both: a method's docstring is the same in both faces."""
    one, other = public(waits), public(awaits)
    for name, member in one.items():
        if callable(member) and name != "__init__":
            assert member.__doc__, f"{waits.__name__}.{name}"
            assert member.__doc__ == other[name].__doc__, f"{waits.__name__}.{name}"


def test_code_of_any_verdict_has_a_reason_and_a_way_out() -> None:
    """Validation codes explain themselves."""
    for code in TxValidationCode:
        why, way_out = explain_code(code)
        assert why
        assert way_out
        message = str(CommitError("t", code, 7))
        assert code.name in message
        assert "block 7" in message
        assert way_out in message


def test_commit_error_with_a_cause_names_it_in_the_place_of_the_general_reason() -> None:
    """Where the conflicting key is known, the message says which."""
    error = CommitError("t", TxValidationCode.MVCC_READ_CONFLICT, 7).because("key a was changed")
    assert "key a was changed" in str(error)
    assert "something it had read" not in str(error)
    assert error.code is TxValidationCode.MVCC_READ_CONFLICT


@pytest.mark.parametrize(
    ("message", "details", "expected"),
    [
        ("chaincode response 400, no such case; look", (), (400, "no such case; look")),
        (
            "see attached details",
            (ErrorDetail("p:1", "PtaMSP", "chaincode response 413, too many, send fewer"),),
            (413, "too many, send fewer"),
        ),
        ("failed to find any endorsing peers", (), (0, "")),
    ],
)
def test_error_tells_what_the_contract_itself_said(
    message: str, details: tuple[ErrorDetail, ...], expected: tuple[int, str]
) -> None:
    """The contract's status and words can be taken apart from the gateway's."""
    error = EndorseError(message, code=grpc.StatusCode.UNKNOWN, tx_id="t", details=details)
    assert (error.chaincode_status, error.chaincode_message) == expected


@pytest.mark.parametrize(
    "kind", [EvaluateError, EndorseError, SubmitError, CommitStatusError], ids=lambda k: k.__name__
)
def test_error_of_a_stage_names_stage_transaction_and_code(kind: type[GatewayError]) -> None:
    """One error a stage, all of one family."""
    error = kind("told so", code=grpc.StatusCode.ABORTED, tx_id="abc")
    assert isinstance(error, LedgerError)
    assert error.stage in str(error)
    assert "abc" in str(error)
    assert error.code is grpc.StatusCode.ABORTED


def test_retry_pauses_stay_between_bounds_and_grow() -> None:
    """Losers of a conflict wait longer each time, at random, and never beyond the bound."""
    policy = RetryPolicy(first_pause_s=0.1, longest_pause_s=1.0)
    for attempt in range(1, 2000):
        bound = min(1.0, 0.1 * 2.0 ** min(attempt - 1, 30))
        assert bound / 4 <= policy.pause_s(attempt) <= bound


def test_retry_allows_conflicts_up_to_its_attempts_and_nothing_else() -> None:
    """Only a conflict of the read set is endorsed again."""
    policy = RetryPolicy(attempts=3)
    for code in TxValidationCode:
        conflict = code.name.endswith("READ_CONFLICT")
        assert policy.allows(code, 1) is conflict
        assert policy.allows(code, 2) is conflict
        assert policy.allows(code, 3) is False


def test_retry_has_patience_only_with_what_may_pass() -> None:
    """A refusal stays one; a gateway that is away may come back."""
    patient, plain = RetryPolicy(patience_s=10.0), RetryPolicy()
    away = SubmitError("gone", code=grpc.StatusCode.UNAVAILABLE, outcome_definite=False)
    refused = EndorseError("no", code=grpc.StatusCode.PERMISSION_DENIED)
    assert patient.allows_after(away, 99, 9.9)
    assert not patient.allows_after(away, 1, 10.0)
    assert not plain.allows_after(away, 1, 0.0)
    assert not patient.allows_after(refused, 1, 0.0)
    differs = EndorseError(
        "collect",
        code=grpc.StatusCode.ABORTED,
        details=[ErrorDetail("p:1", "A", "ProposalResponsePayloads do not match")],
    )
    assert is_mismatch(differs)
    assert plain.allows_after(differs, 1, 0.0)
    assert not plain.allows_after(differs, plain.attempts, 0.0)
