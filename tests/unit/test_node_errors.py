"""Every error of ours has a gRPC code, and what a client reads of it fits into a header."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from urllib.parse import quote

import grpc
import pytest
from fabric_protos.gateway import gateway_pb2
from google.rpc import status_pb2

import qist
from chaincode.errors import ContractFault
from ledger.errors import CorruptionError, Fatal, LedgerError, Refusal, Unavailable
from network.errors import OrderingRefusal
from nodes.errors import (
    AccessDenied,
    ChannelHalted,
    NodeError,
    TooManyRequests,
    exit_code,
    grpc_status,
)
from nodes.rpc.concurrency import ConcurrencyLimit
from nodes.rpc.failures import DETAILS_KEY, Detail, RpcFailure, shorten, trailing_metadata

MODULES = (
    "ledger.errors",
    "network.errors",
    "chaincode.errors",
    "nodes.errors",
    "nodes.clock",
    "nodes.configuration",
    "nodes.deliver.seek",
    "nodes.endorser.proposals",
    "nodes.gateway.layouts",
    "nodes.gateway.members",
    "nodes.operations.backup",
)
Code = grpc.StatusCode


def all_errors(kind: type[LedgerError] = LedgerError) -> Iterator[type[LedgerError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from all_errors(below)


def of_kind(kind: type[LedgerError]) -> list[type[LedgerError]]:
    for name in MODULES:
        importlib.import_module(name)
    known = set(MODULES)
    return sorted(
        {each for each in all_errors(kind) if each.__module__ in known}, key=lambda each: str(each)
    )


def an(kind: type[LedgerError], message: str = "words") -> LedgerError:
    made = kind.__new__(kind)
    Exception.__init__(made, message)
    return made


def test_every_error_is_of_one_kind_and_every_kind_has_a_code() -> None:
    """Refusal, unavailable and fatal are never mixed, and each has its gRPC code."""
    kinds = (Refusal, Unavailable, Fatal, NodeError, ContractFault)
    for error in of_kind(LedgerError):
        if error is not LedgerError:
            assert sum(issubclass(error, kind) for kind in kinds) == 1, error
        code, _words = grpc_status(an(error))
        if issubclass(error, Fatal):
            assert code is Code.INTERNAL, error
        if issubclass(error, Unavailable):
            assert code in (Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED), error
        if issubclass(error, Refusal):
            assert code in (
                Code.PERMISSION_DENIED,
                Code.ABORTED,
                Code.INVALID_ARGUMENT,
            ), error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AccessDenied("no"), Code.PERMISSION_DENIED),
        (OrderingRefusal(400, "no"), Code.ABORTED),
        (TooManyRequests("no", again_ms=1), Code.RESOURCE_EXHAUSTED),
        (ChannelHalted("no"), Code.UNAVAILABLE),
    ],
)
def test_error_of_a_node_has_the_code_that_fabric_gives(error: LedgerError, code: Code) -> None:
    """The narrower class decides."""
    assert grpc_status(error) == (code, "no")


def test_fatal_errors_words_are_for_the_log_alone() -> None:
    """A client learns that it happened, not where in the files."""
    code, words = grpc_status(CorruptionError("offset 17 of segment 3"))
    assert code is Code.INTERNAL
    assert "17" not in words


def test_details_of_a_failure_travel_as_gos_grpc_sends_them_and_fit_into_headers() -> None:
    """A google.rpc.Status with Fabric's ErrorDetail messages, cut to a few kilobytes."""
    details = [Detail(f"host:{n}", "BankMSP", "x" * 10_000) for n in range(20)]
    failure = RpcFailure(Code.ABORTED, "y" * 10_000 + "; send fewer", details)
    ((key, value),) = trailing_metadata(failure)
    assert key == DETAILS_KEY
    assert len(value) < 6000
    status = status_pb2.Status.FromString(value)
    assert status.code == Code.ABORTED.value[0]
    assert " … y" in status.message
    assert status.message.endswith("y; send fewer")
    first = gateway_pb2.ErrorDetail()
    assert status.details[0].Unpack(first)
    assert (first.address, first.msp_id) == ("host:0", "BankMSP")
    assert trailing_metadata(RpcFailure(Code.ABORTED, "alone")) == ()


PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


@pytest.mark.parametrize("character", ["y", "%", "قسط", "\n", "\U0001f600"])
@pytest.mark.parametrize("count", [1, 100, 700, 5_000, 1_000_000])
def test_message_is_cut_to_its_size_in_a_header_and_keeps_its_end(
    character: str, count: int
) -> None:
    """gRPC percent-encodes all but plain ASCII; what to do stands at the end of a message."""
    text = "refused: " + character * count + "; send fewer"
    words = shorten(text)
    assert len(quote(words, safe=PRINTABLE)) <= 1200
    assert words == text or (" … " in words and words.startswith("refused: "))
    assert words.endswith("; send fewer")


async def test_concurrency_limit_refuses_one_call_too_many_and_frees_its_places() -> None:
    """A place is free again however the call ended."""
    limit = ConcurrencyLimit("gateway", 1)
    with (
        limit.enter(),
        pytest.raises(TooManyRequests, match=r"too many requests for gateway, .*\(1\)"),
        limit.enter(),
    ):
        pytest.fail("entered")
    with pytest.raises(ZeroDivisionError), limit.enter():
        raise ZeroDivisionError
    await limit.idle()
    assert limit.at_work == 0


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ((), qist.OK),
        ((Refusal("words"),), qist.REFUSED),
        ((Unavailable("words"),), qist.UNAVAILABLE),
        ((CorruptionError("words"),), qist.FATAL),
        ((Unavailable("words"), Refusal("words")), qist.REFUSED),
        ((Refusal("words"), Unavailable("words"), CorruptionError("words")), qist.FATAL),
        ((LedgerError("words"),), qist.REFUSED),
    ],
)
def test_exit_code_of_a_node_is_the_command_lines_for_the_worst_of_its_errors(
    errors: tuple[LedgerError, ...], code: int
) -> None:
    """Damage counts more than a refusal, and a refusal more than what may be tried again."""
    assert exit_code(errors) == code
