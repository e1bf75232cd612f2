"""How many calls of one member are at work at once."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from nodes.errors import TooManyRequests
from nodes.rpc.concurrency import MemberShares


def test_member_that_calls_without_end_keeps_nobody_else_out() -> None:
    """Its calls beyond its share are refused at once; the others' are served, and its own later."""
    shares = MemberShares("pulls", 2)
    with ExitStack() as at_work:
        for _ in range(2):
            at_work.enter_context(shares.enter("LiarMSP"))
        for _ in range(2):
            with (
                pytest.raises(
                    TooManyRequests, match=r"requests of LiarMSP for pulls at once \(2\)"
                ),
                shares.enter("LiarMSP"),
            ):
                raise AssertionError("it is at work")
        with shares.enter("HonestMSP"), shares.enter("HonestMSP"):
            pass
    with shares.enter("LiarMSP"), shares.enter("LiarMSP"):
        pass


def test_call_that_fails_gives_its_place_back() -> None:
    """However it ends."""
    shares = MemberShares("pulls", 1)
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"), shares.enter("LiarMSP"):
            raise ValueError("broken")
