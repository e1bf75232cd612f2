"""What another member's node says when it takes no more calls, as the gateway takes it."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from network.calls import CallFailed
from nodes.gateway.members import Member, MemberBusy, MemberUnavailable
from nodes.rpc.failures import AGAIN_KEY
from nodes.rpc.pace import LONGEST_PAUSE_S

Code = grpc.StatusCode


class Line:
    """Fails every call in one way."""

    def __init__(self, failure: CallFailed) -> None:
        self.failure = failure

    async def call(self, *_: Any) -> Any:
        raise self.failure


def member(*metadata: tuple[str, str]) -> Any:
    made: Any = Member("MakerMSP", "localhost:7", None)  # type: ignore[arg-type]  # never used
    made._line = Line(CallFailed(Code.RESOURCE_EXHAUSTED, "too many", metadata))
    return made


@pytest.mark.parametrize(
    ("asked_ms", "taken_ms"), [("250", 250), ("9999999", int(1000 * LONGEST_PAUSE_S))]
)
async def test_pause_that_a_busy_member_asks_for_is_bounded(asked_ms: str, taken_ms: int) -> None:
    """Our clients are told of it, and would wait for as long as that member likes."""
    busy = member((AGAIN_KEY, asked_ms))
    with pytest.raises(MemberBusy) as refused:
        await busy.ask("/qist.Test/Ask", b"", 1.0)
    assert refused.value.again_ms == taken_ms
    assert busy.is_up


async def test_member_that_does_not_say_when_to_come_again_is_down_for_a_moment() -> None:
    """It may be anything that answers so."""
    silent = member()
    with pytest.raises(MemberUnavailable) as away:
        await silent.ask("/qist.Test/Ask", b"", 1.0)
    assert not isinstance(away.value, MemberBusy)
    assert not silent.is_up
