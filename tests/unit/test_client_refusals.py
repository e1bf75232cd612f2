"""What the SDK does with a call that an overloaded gateway refused."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import grpc
import pytest

from clients.gateway.bulk import submit_bulk
from clients.gateway.connection import gateway_error
from clients.gateway.errors import EndorseError, GatewayError, SubmitError
from clients.gateway.retry import LONGEST_REFUSED_PAUSE_S, Refusals, RetryPolicy
from network.calls import CallFailed

Code = grpc.StatusCode
OVERLOADED = (("qist-outcome", "nothing-was-done"), ("grpc-retry-pushback-ms", "250"))


def refusal(
    metadata: tuple[tuple[str, str], ...] = OVERLOADED, kind: type[GatewayError] = SubmitError
) -> GatewayError:
    return gateway_error(kind, CallFailed(Code.RESOURCE_EXHAUSTED, "too many", metadata), "tx")


def test_refusal_tells_when_to_come_again_and_that_nothing_was_done() -> None:
    """Both words must be there: a message that is too large has the same code."""
    assert refusal().again_in_s == 0.25
    assert refusal().outcome_definite
    for metadata in ((), OVERLOADED[:1], OVERLOADED[1:], (OVERLOADED[0], (OVERLOADED[1][0], "x"))):
        assert refusal(metadata).again_in_s is None


def test_pauses_begin_with_what_is_asked_for_and_grow_to_a_bound() -> None:
    """Random around that, so that those who were refused together come at different times."""
    refusals = Refusals(1e9)
    pauses = [refusals.pause_s(refusal()) or 0.0 for _ in range(40)]
    for times, pause_s in enumerate(pauses):
        usual = min(LONGEST_REFUSED_PAUSE_S, 0.25 * 2**times)
        assert 0.5 * usual <= pause_s <= 1.5 * usual
    assert len(set(pauses)) == len(pauses)


def test_patience_ends_and_is_only_for_refusals() -> None:
    """As many seconds of pauses as are given; any other failure is the caller's at once."""
    refusals, paused_s = Refusals(2.0), 0.0
    while (pause_s := refusals.pause_s(refusal())) is not None:
        paused_s += pause_s
    assert paused_s == pytest.approx(2.0)
    assert Refusals(0).pause_s(refusal()) is None
    assert Refusals(60).pause_s(refusal(())) is None
    broken = gateway_error(SubmitError, CallFailed(Code.UNAVAILABLE, "broke", OVERLOADED[:1]), "tx")
    assert Refusals(60).pause_s(broken) is None


def test_gateway_that_asks_for_no_pause_is_not_called_without_end() -> None:
    """Each refusal spends some patience, whatever the gateway says."""
    refusals, at_once = Refusals(2.0), (OVERLOADED[0], (OVERLOADED[1][0], "0"))
    assert refusal(at_once).again_in_s == 0
    pauses: list[float] = []
    while (pause_s := refusals.pause_s(refusal(at_once))) is not None and len(pauses) < 100:
        pauses.append(pause_s)
    assert sum(pauses) == pytest.approx(2.0)
    assert len(pauses) < 20


def refused_each_time(
    operation: Generator[Any, Any, Any], metadata: tuple[tuple[str, str], ...]
) -> tuple[int, Any]:
    """Refuse every call of an operation; return how many it made, and its result."""
    next(operation)
    for made in range(1, 100):
        try:
            operation.throw(refusal(metadata, EndorseError))
        except StopIteration as ended:
            return made, ended.value
    raise AssertionError("it goes on for ever")


@pytest.mark.parametrize(("metadata", "calls"), [(OVERLOADED, 1), ((), 7)])
def test_bulk_that_an_overloaded_gateway_refuses_is_not_halved(
    metadata: tuple[tuple[str, str], ...], calls: int
) -> None:
    """Halves would be more work for it; what is too large for it is halved to single records."""

    class Draft:
        tx_id = channel_id = "x"
        endorsing_organisations = ()

        def signed(self) -> None:
            return None

    new_draft: Any = lambda _start, _stop: Draft()  # noqa: E731
    operation: Generator[Any, Any, Any] = submit_bulk(new_draft, 4, 4, RetryPolicy())
    made, outcome = refused_each_time(operation, metadata)
    assert made == calls
    assert all(part.error is not None for part in outcome.parts)
