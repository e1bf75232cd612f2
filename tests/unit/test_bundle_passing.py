"""Bundles on the short way: to all that order, a few at once, and nothing depends on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from ledger.errors import Unavailable
from network.ordering.cometbft.bundles.passing import (
    AT_ONCE,
    LONGEST_BYTES,
    BundlePassing,
    GivenBundles,
)
from network.ordering.cometbft.errors import AbciError
from tests.support.scripted_comet import Checked

BANK, MAKER, PTA, OTHER = "BankMSP", "MakerMSP", "PtaMSP", "OtherMSP"
DEADLINE_S = 30.0


class Takers:
    """The other members' nodes; each answers when its gate is open."""

    def __init__(self, *msp_ids: str) -> None:
        self.given: list[tuple[str, bytes]] = []
        self.answered: list[str] = []
        self.gates = {each: asyncio.Event() for each in msp_ids}
        self.fails = False

    def msp_ids(self) -> Sequence[str]:
        return tuple(self.gates)

    async def give(self, msp_id: str, raw: bytes) -> None:
        self.given.append((msp_id, raw))
        if self.fails:
            raise Unavailable(f"the node of {msp_id} does not answer")
        await self.gates[msp_id].wait()
        self.answered.append(msp_id)


async def settle() -> None:
    """Let every task do what it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_bundle_is_given_to_every_other_member_that_orders() -> None:
    """Neither to this node's own nor to one that orders nothing."""
    takers = Takers(MAKER, PTA, OTHER)
    passing = BundlePassing(takers, lambda: [BANK, MAKER, PTA])
    passing.pass_on(b"bundle")
    await settle()
    assert sorted(takers.given) == [(MAKER, b"bundle"), (PTA, b"bundle")]
    await passing.stop()


async def test_member_that_does_not_answer_is_given_a_few_and_keeps_nobody_waiting() -> None:
    """What it was not given it has from CometBFT."""
    takers = Takers(MAKER, PTA)
    takers.gates[PTA].set()
    passing = BundlePassing(takers, lambda: [MAKER, PTA])
    for number in range(AT_ONCE + 2):
        passing.pass_on(bytes([number]))
        await settle()
    to_maker = [raw for msp_id, raw in takers.given if msp_id == MAKER]
    assert to_maker == [bytes([number]) for number in range(AT_ONCE)]
    assert takers.answered == [PTA] * (AT_ONCE + 2)
    takers.gates[MAKER].set()
    await settle()
    passing.pass_on(b"later")
    await settle()
    assert (MAKER, b"later") in takers.given
    await passing.stop()


async def test_member_that_fails_is_given_the_next_one_all_the_same() -> None:
    """Whoever waits for the bundle's block hears nothing of it."""
    takers = Takers(PTA)
    takers.fails = True
    passing = BundlePassing(takers, lambda: [PTA])
    for _ in range(AT_ONCE + 1):
        passing.pass_on(b"bundle")
        await settle()
    assert len(takers.given) == AT_ONCE + 1
    await passing.stop()


async def test_error_in_giving_is_told_and_keeps_no_bundle_from_being_ordered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever looks for the other members' nodes may fail; nothing depends on it."""

    class Broken(Takers):
        def msp_ids(self) -> Sequence[str]:
            raise ZeroDivisionError("a mistake")

    passing = BundlePassing(Broken(), lambda: [PTA])
    for _ in range(AT_ONCE + 1):
        passing.pass_on(b"bundle")
        await settle()
    assert caplog.text.count("ZeroDivisionError: a mistake") == AT_ONCE + 1
    await passing.stop()


async def test_long_bundle_goes_by_comet_alone() -> None:
    """Neither given nor taken."""
    takers = Takers(PTA)
    passing = BundlePassing(takers, lambda: [PTA])
    passing.pass_on(bytes(LONGEST_BYTES + 1))
    checked: list[bytes] = []
    given = GivenBundles(keeping(checked))
    given.take(PTA, bytes(LONGEST_BYTES + 1))
    await settle()
    assert not takers.given
    assert not checked
    passing.pass_on(bytes(LONGEST_BYTES))
    given.take(PTA, bytes(LONGEST_BYTES))
    await settle()
    assert len(takers.given) == len(checked) == 1
    await passing.stop()


def keeping(checked: list[bytes], code: int = 0) -> Callable[[bytes], Awaitable[Checked]]:
    async def check(raw: bytes) -> Checked:
        checked.append(raw)
        return Checked(code)

    return check


async def test_one_member_has_few_bundles_checked_at_once() -> None:
    """However many it gives; another one's turn comes all the same."""
    gate = asyncio.Event()
    checked: list[bytes] = []

    async def check(raw: bytes) -> Checked:
        checked.append(raw)
        await gate.wait()
        return Checked()

    given = GivenBundles(check)
    for number in range(AT_ONCE + 5):
        given.take(BANK, bytes([number]))
    given.take(PTA, b"of another")
    await settle()
    assert checked == [*(bytes([number]) for number in range(AT_ONCE)), b"of another"]
    gate.set()
    await settle()
    given.take(BANK, b"later")
    await settle()
    assert checked[-1] == b"later"
    await given.stop()


async def test_member_whose_bundles_are_refused_is_listened_to_less() -> None:
    """Garbage costs more to look at than to make; another member's turn comes all the same."""
    checked: list[bytes] = []
    given = GivenBundles(keeping(checked, code=1), rest_s=0.05)
    for number in range(AT_ONCE + 5):
        given.take(BANK, bytes([number]))
        await settle()
    given.take(PTA, b"of another")
    await settle()
    assert checked == [*(bytes([number]) for number in range(AT_ONCE)), b"of another"]
    async with asyncio.timeout(DEADLINE_S):
        while checked[-1] != b"later":
            given.take(BANK, b"later")
            await asyncio.sleep(0.005)
    await given.stop()


async def test_bundle_given_to_an_application_that_has_failed_is_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The failure is told by whoever it happened to."""

    async def check(_raw: bytes) -> Checked:
        raise AbciError("the application had failed")

    given = GivenBundles(check)
    with caplog.at_level("DEBUG"):
        given.take(BANK, b"bundle")
        await settle()
    assert "not checked: the application had failed" in caplog.text
    await given.stop()


async def test_stop_ends_what_is_under_way() -> None:
    """Nobody is given anything by a node that leaves."""
    takers = Takers(PTA)
    passing = BundlePassing(takers, lambda: [PTA])
    passing.pass_on(b"bundle")
    await settle()
    async with asyncio.timeout(DEADLINE_S):
        await passing.stop()
    takers.gates[PTA].set()
    await settle()
    assert not takers.answered
