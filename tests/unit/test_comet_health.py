"""Whether a node's CometBFT takes part, as far as can be seen, and what is told of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from network.configuration import ChannelConfiguration
from network.ordering.cometbft.errors import CometUnavailable
from network.ordering.cometbft.process import health
from network.ordering.cometbft.process.health import CometHealth
from network.ordering.cometbft.process.process import LogLine
from network.ordering.cometbft.process.rpc import CometProgress, CometStatus
from network.ordering.cometbft.running import divergence_in, is_clock_behind, last_word
from network.ordering.cometbft.validators import validators_of
from tests.support.bundles import comet_channel

DEADLINE_S = 10.0
OWN = "BankMSP"


@dataclass
class View:
    """A CometBFT of which a test says what it answers."""

    configuration: ChannelConfiguration = field(default_factory=comet_channel)
    linked: list[str] = field(default_factory=lambda: ["MakerMSP", "OperatorMSP", "PtaMSP"])
    catching_up: bool = False
    away: bool = False
    looks: int = 0
    waiting: int = 0
    reasons: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.validators = validators_of(self.configuration)
        self.health = CometHealth(
            self, OWN, lambda: self.validators, lambda: self.waiting, self._changed
        )

    def _changed(self) -> None:
        self.reasons.append(self.health.reason)

    async def status(self) -> CometStatus:
        self.looks += 1
        if self.away:
            raise CometUnavailable("CometBFT does not answer")
        return CometStatus(12, 1, self.catching_up, b"", None)

    async def peers(self) -> tuple[str, ...]:
        ids = {each.msp_id: each.node_id for each in self.validators}
        return (*(ids[each] for each in self.linked), "f" * 40)

    async def progress(self) -> CometProgress:
        return CometProgress(2, 21)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Watch until a condition holds."""
        running = asyncio.create_task(self.health.run())
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not condition():  # noqa: ASYNC110 - what it says has no event
                    await asyncio.sleep(0.001)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OFTEN_S", "SELDOM_S"):
        monkeypatch.setattr(health, name, 0.001)


async def test_all_in_touch_is_no_reason_to_refuse() -> None:
    """It says so once."""
    view = View()
    assert view.health.reason == "CometBFT is being started"
    await view.until(lambda: view.looks > 3)
    assert view.reasons == [""]
    seen = view.health.observed
    assert seen is not None
    assert (seen.reachable, seen.missing, seen.has_quorum) == (4, (), True)
    assert seen.peers == ("MakerMSP", "OperatorMSP", "PtaMSP")


@pytest.mark.parametrize(
    ("linked", "missing"),
    [
        (["MakerMSP"], "OperatorMSP, PtaMSP are missing"),
        ([], "MakerMSP, OperatorMSP, PtaMSP are missing"),
    ],
)
async def test_fewer_than_two_thirds_in_touch_are_named_as_the_reason(
    linked: list[str], missing: str
) -> None:
    """With three of four there is still an agreement."""
    view = View(linked=["MakerMSP", "PtaMSP"])
    await view.until(lambda: not view.health.reason)
    view.linked = linked
    await view.until(lambda: bool(view.health.reason))
    assert view.health.reason.endswith(f"more than two thirds are needed: {missing}")
    view.linked = ["MakerMSP", "OperatorMSP"]
    await view.until(lambda: not view.health.reason)
    assert len(view.reasons) == 3


async def test_node_that_catches_up_takes_nothing() -> None:
    """It would not see what becomes of it."""
    view = View(catching_up=True)
    await view.until(lambda: "catching up" in view.health.reason)
    seen = view.health.observed
    assert seen is not None
    assert (seen.height, seen.decided) == (12, 20)
    view.catching_up = False
    await view.until(lambda: not view.health.reason)


async def test_what_waits_without_being_ordered_is_a_reason(monkeypatch) -> None:
    """Links may look whole while nobody hears the other; a block shows that they are."""
    monkeypatch.setattr(health, "STALLED_S", 0.02)
    view = View(waiting=1)
    await view.until(lambda: "nothing has been ordered" in view.health.reason)
    assert view.health.observed is not None
    assert view.health.observed.round == 2
    view.waiting = 0
    await view.until(lambda: not view.health.reason)
    monkeypatch.setattr(health, "STALLED_S", 1000.0)
    view.waiting = 1
    view.health.progressed()
    looks = view.looks
    await view.until(lambda: view.looks > looks + 3)
    assert not view.health.reason


async def test_cometbft_that_is_away_is_a_reason_until_it_answers() -> None:
    """In the words of whoever noticed."""
    view = View()
    await view.until(lambda: not view.health.reason)
    view.away = True
    view.health.lost("CometBFT ended")
    assert view.health.observed is None
    looks = view.looks
    await view.until(lambda: view.looks > looks + 2)
    assert view.health.reason == "CometBFT ended"
    view.away = False
    await view.until(lambda: not view.health.reason)


async def test_cometbft_that_takes_no_part_any_more_is_a_reason_until_another_is_started() -> None:
    """It goes on answering, so only what it said when it failed tells."""
    view = View()
    await view.until(lambda: not view.health.reason)
    view.health.failed("its consensus failed: no space left on device")
    looks = view.looks
    await view.until(lambda: view.looks > looks + 2)
    assert view.health.reason == "its consensus failed: no space left on device"
    view.health.begins()
    await view.until(lambda: not view.health.reason)


WRONG = "wrong Block.Header.AppHash.  Expected F6, got 80"


@pytest.mark.parametrize(
    ("message", "error", "diverged"),
    [
        ("CONSENSUS FAILURE!!!", f"precommit step; +2/3 prevoted for an invalid block: {WRONG}", 1),
        ("CONSENSUS FAILURE!!!", f"+2/3 committed an invalid block: {WRONG}", 1),
        (f"panic: +2/3 committed an invalid block: {WRONG}", "", 1),
        (f"panic: precommit step; +2/3 prevoted for an invalid block: {WRONG}", "", 1),
        ("Error in validation", WRONG, 1),
        ("panic: state.AppHash does not match AppHash after replay. Got 80, expected F6.", "", 1),
        # One proposer may say anything.
        ("prevote step: consensus deems this block invalid; prevoting nil", WRONG, 0),
        ("CONSENSUS FAILURE!!!", "failed to write to consensus WAL: no space left on device", 0),
        ("Error in validation", "wrong signature", 0),
    ],
)
def test_only_what_two_thirds_decided_proves_another_state(
    message: str, error: str, diverged: int
) -> None:
    """A single member's word must not stop a node."""
    line = LogLine(logging.ERROR, "consensus", message, {"err": error})
    assert bool(divergence_in(line)) == bool(diverged)


@pytest.mark.parametrize(
    ("module", "message", "error"),
    [
        # A proposer names the chain of its block, and a caller that of its network, as it likes.
        (
            "consensus",
            "prevote step: consensus deems this block invalid; prevoting nil",
            "wrong Block.Header.ChainID. Expected qist, got CONSENSUS FAILURE!!!",
        ),
        (
            "p2p",
            "Error dialing peer",
            f"incompatible: peer is on a different network. Got CONSENSUS FAILURE!!! {WRONG}",
        ),
        ("p2p", "Error dialing peer", f"Got Error in validation {WRONG}"),
        ("p2p", "Error dialing peer", "state.AppHash does not match AppHash after replay"),
    ],
)
def test_others_words_in_what_cometbft_says_stop_no_node(
    module: str, message: str, error: str
) -> None:
    """CometBFT repeats them in its lines; only its own message counts for what has happened."""
    assert divergence_in(LogLine(logging.ERROR, module, message, {"err": error})) == ""
    future = f"+2/3 committed an invalid block: {FUTURE}; Error in validation; panic: "
    assert not is_clock_behind(LogLine(logging.ERROR, module, message, {"err": future}))


def test_words_of_another_state_leave_out_where_cometbft_s_program_stood() -> None:
    """They go into the status, for an operator."""
    fields = {"err": f"+2/3 committed an invalid block: {WRONG}", "stack": "goroutine 85 [running]"}
    line = LogLine(logging.ERROR, "consensus", "CONSENSUS FAILURE!!!", fields)
    assert WRONG in divergence_in(line)
    assert "goroutine" not in divergence_in(line)


async def test_cause_that_is_known_is_the_reason_whatever_is_seen_until_it_is_taken_back() -> None:
    """While CometBFT comes and goes it looks well now and then."""
    view = View()
    await view.until(lambda: not view.health.reason)
    view.health.blame("the clock is behind")
    view.health.lost("CometBFT ended")
    looks = view.looks
    await view.until(lambda: view.looks > looks + 2)
    assert view.health.reason == "the clock is behind"
    view.health.blame("")
    await view.until(lambda: not view.health.reason)
    assert view.reasons == ["", "the clock is behind", ""]


FUTURE = "block time 2026-11-25 23:17:15 UTC is too far in the future (wall clock 22:17:17)"


@pytest.mark.parametrize(
    ("message", "behind"),
    [
        (f"CONSENSUS FAILURE!!! err=+2/3 committed an invalid block: {FUTURE}", 1),
        ("CONSENSUS FAILURE!!! err=anything", 0),
        (f"panic: +2/3 committed an invalid block: {FUTURE}", 1),
        (f"panic: precommit step; +2/3 prevoted for an invalid block: {FUTURE}", 1),
        (f"Error in validation err={FUTURE}", 1),
        # One proposer may say anything.
        (f"prevote step: consensus deems this block invalid; prevoting nil err={FUTURE}", 0),
        (f"panic: +2/3 committed an invalid block: {WRONG}", 0),
    ],
)
def test_only_what_two_thirds_decided_proves_that_the_clock_is_behind(
    message: str, behind: int
) -> None:
    """A single member's block must not have an operator set a clock that is right."""
    assert is_clock_behind(LogLine(logging.ERROR, "", message)) == bool(behind)


def test_last_word_of_a_program_that_broke_is_why() -> None:
    """The places where it stood, which follow, tell an operator nothing; else it is the last."""
    trace = ["panic: no room", "goroutine 30 [running]:", "reactor.go:145 +0x85"]
    assert last_word(["earlier", *trace]) == "panic: no room"
    assert last_word([*trace, "it ends"]) == "it ends"
    assert last_word(["store.go:12 +0x1"]) == "store.go:12 +0x1"
    assert last_word([]) == "nothing"
