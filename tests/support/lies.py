"""Members that lie, and clocks that are wrong: more perturbations (`tests.support.perturbations`).

One of four members does it, with its own keys; the others make progress, none of them stops, and
when it is honest again it has their chain.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from chaincode.instalments.calendar import pkt_date
from clients.gateway.connection import Timeouts
from clients.gateway.errors import EvaluateError
from clients.gateway.retry import RetryPolicy
from ledger.transactions.codes import TxValidationCode
from network.ordering.cometbft.bundles.quota import BUNDLES_PER_MEMBER
from network.ordering.cometbft.process.rpc import CometRpc
from tests.support import skewed_comet
from tests.support.node_network import CHANNEL, MEMBERS
from tests.support.odd_node import SAID, Oddity
from tests.support.payment_load import PAISA, Load
from tests.support.perturbations import PERTURBATIONS, Faulty, Perturbation, Scene
from tests.support.perturbed_network import TWIN, PerturbedNetwork
from tests.support.tampering import tamper

PLACES = (*MEMBERS, TWIN)
"""What the links of a network with these perturbations must have."""

LIES_SEEN = 3
"""Bad proposals that every honest member must have rejected. Of those that come late, as on a busy
machine, nobody hears before the next proposer's turn."""
REJECTED_S = 240.0
"""Within which they must be; a busy machine needs long for heights whose first proposal is bad."""
IN_STEP_S = 2.0
"""For how long they go on between two pauses; who is late falls behind again within it."""
FLOODED_TIMES = 100
"""So often a flooding member has sent `odd_node.AT_ONCE` bundles."""
AN_HOUR_S = 3600.0
WITHHELD_S = 2.0
NEAR_S = 60.0
BEHIND = "the clock of this machine is a minute or more behind"
"""What a node says where CometBFT finds the time of an agreed block too far ahead."""


def _others(victim: str) -> list[str]:
    return [each for each in MEMBERS if each != victim]


def _said(network: PerturbedNetwork, msp_id: str, begin: str) -> list[str]:
    """Lines of the newest process of a node that begin so."""
    messages = [str(each.get("message", "")) for each in network.log(msp_id)]
    return [each for each in messages if each.startswith(begin)]


async def _waiting(network: PerturbedNetwork, msp_id: str) -> int:
    """How many bundles wait in the pool of a member's CometBFT."""
    async with _rpc(network, msp_id) as rpc:
        return int((await rpc.call("num_unconfirmed_txs"))["total"])


@asynccontextmanager
async def _rpc(network: PerturbedNetwork, msp_id: str) -> AsyncIterator[CometRpc]:
    """A member's CometBFT."""
    rpc = CometRpc(network.node(msp_id) / "comet" / "rpc.sock")
    try:
        yield rpc
    finally:
        await rpc.close()


async def _unasked(scene: Scene, height: int, msp_id: str) -> dict[str, TxValidationCode]:
    """What stands in a member's blocks from *height* on that no client of the load submitted."""
    network, load = scene.network, scene.load
    await load.pause()
    try:
        now = network.height(msp_id)
        async with network.gateway(msp_id) as gateway:
            blocks = gateway.network(CHANNEL).filtered_block_events(
                start_block=height, stop_block=now - 1
            )
            stored = {
                each.txid: TxValidationCode(each.tx_validation_code)
                async for block in blocks
                for each in block.filtered_transactions
            }
    finally:
        load.resume()
    asked = {each.tx_id for each in load.attempts}
    return {tx_id: code for tx_id, code in stored.items() if tx_id not in asked}


# ---- one key twice


@asynccontextmanager
async def _signed_twice(scene: Scene) -> AsyncIterator[Faulty]:
    """A member's node and a copy of it, each in touch with other members, vote for other things."""
    network, links = scene.network, scene.network.links
    assert links is not None
    (victim,) = scene.victims()
    others = _others(victim)
    apart = scene.chance.choice(others)
    await asyncio.to_thread(network.stop, victim)
    with network.twin(victim) as start_twin:
        links.partition((victim,), (apart,))
        links.partition((TWIN,), [each for each in MEMBERS if each != apart])
        try:
            start_twin()
            await asyncio.to_thread(network.restart, victim)
            yield [victim]

            def is_proven() -> bool:
                return all(_misbehaviour(network, each).get(victim, 0) for each in others)

            # Who is late votes in no height that the others still count.
            await _seen_in_step(
                scene.load, f"that every other member says what {victim} did", is_proven
            )
            for each in others:
                assert set(_misbehaviour(network, each)) == {victim}
                scene.notes.append(f"{each} counts {_misbehaviour(network, each)[victim]}")
        finally:
            links.heal()


def _misbehaviour(network: PerturbedNetwork, msp_id: str) -> dict[str, int]:
    found: dict[str, int] = network.status(msp_id)["ordering"]["consensus"]["misbehaviour"]
    return found


# ---- another state


@asynccontextmanager
async def _wrong_state(scene: Scene) -> AsyncIterator[Faulty]:
    """A node whose state was changed comes to another outcome, stops and says so; it joins anew."""
    network = scene.network
    (victim,) = scene.victims()
    poster = scene.chance.choice([each for each in scene.load.clients if each.msp_id != victim])
    key = f"standing/{scene.chance.choice(poster.agreements)}"
    await asyncio.to_thread(network.stop, victim)
    tamper(network.node(victim) / "ledger", "instalments", key)
    await asyncio.to_thread(network.restart, victim)
    yield [victim]
    await scene.load.until("that it halts", lambda: bool(network.status(victim)["halted"]))
    status = network.status(victim)
    assert "the validators agreed on another outcome than this node's" in status["halted"]
    assert not status["ready"]
    assert not status["ordering"]["accepting"]
    await scene.load.until("that its CometBFT ends", lambda: not network.has_comet(victim))
    await scene.load.another_round(*_others(victim))
    after = network.status(victim)
    assert (after["height"], after["halted"]) == (status["height"], status["halted"])
    assert not network.has_comet(victim), "CometBFT was started again though the channel halted"
    scene.notes.append(status["halted"])
    # A restart alone mends nothing, and says the same.
    await asyncio.to_thread(network.stop, victim)
    await asyncio.to_thread(network.restart, victim)
    await scene.load.until("that it halts again", lambda: bool(network.status(victim)["halted"]))
    await asyncio.to_thread(network.stop, victim)
    network.forget(victim)
    await asyncio.to_thread(network.restart, victim)


# ---- bad bundles, and too many good ones


@asynccontextmanager
async def _bad_bundles(scene: Scene) -> AsyncIterator[Faulty]:
    """A member proposes and sends what breaks the rules: forged, repeated, oversized, bombs."""
    network = scene.network
    (victim,) = scene.victims()
    others = _others(victim)
    before = network.height(others[0])
    await asyncio.to_thread(network.stop, victim)
    oddity = Oddity(("bad bundles",), first=scene.chance.randrange(100))
    await asyncio.to_thread(network.start_odd, victim, oddity)
    yield [victim]

    def rejected(msp_id: str) -> int:
        return len(set(_said(network, msp_id, f"the proposal of {victim} at")))

    await _seen_in_step(
        scene.load,
        f"{LIES_SEEN} proposals of {victim} rejected by all others",
        lambda: all(rejected(each) >= LIES_SEEN for each in others),
    )
    await scene.load.another_round(*others)
    assert await _unasked(scene, before, others[0]) == {}
    for each in others:
        assert not network.status(each)["halted"]
        assert await _waiting(network, each) <= BUNDLES_PER_MEMBER
    lies = len(_said(network, victim, f"{SAID}it proposes"))
    scene.notes.append(f"{lies} bad proposals, {rejected(others[0])} rejected by {others[0]}")
    await asyncio.to_thread(network.stop, victim)
    await asyncio.to_thread(network.restart, victim)


async def _seen_in_step(load: Load, what: str, condition: Callable[[], bool]) -> None:
    """Wait for a condition with pauses, after each of which everybody is at the same height.

    On a busy machine the liar stays a little behind as long as others order without it: whatever it
    proposes comes when they have given up waiting for it.
    """
    end = time.monotonic() + REJECTED_S
    while not condition():
        assert time.monotonic() < end, f"not within {REJECTED_S:g} s: {what}"
        await load.pause()
        load.resume()
        await asyncio.sleep(IN_STEP_S)


@asynccontextmanager
async def _flood(scene: Scene) -> AsyncIterator[Faulty]:
    """A member sends bundles that keep all the rules, for nothing, as many as it can."""
    network = scene.network
    (victim,) = scene.victims()
    others = _others(victim)
    before = network.height(others[0])
    await asyncio.to_thread(network.stop, victim)
    await asyncio.to_thread(network.start_odd, victim, Oddity(("flood",)))
    sent = f"{SAID}it has sent {FLOODED_TIMES} times"
    await scene.load.until("many bundles for nothing", lambda: bool(_said(network, victim, sent)))
    yield [victim]
    waiting = [await _waiting(network, each) for each in others]
    assert max(waiting) <= BUNDLES_PER_MEMBER * len(MEMBERS), waiting
    await asyncio.to_thread(network.stop, victim)
    useless = await _unasked(scene, before, others[0])
    assert set(useless.values()) <= {TxValidationCode.ENDORSEMENT_POLICY_FAILURE}, useless
    scene.notes.append(f"{len(useless)} useless transactions in blocks; {max(waiting)} waited")
    await asyncio.to_thread(network.restart, victim)


# ---- a gateway that drops what it takes


@asynccontextmanager
async def _withheld(scene: Scene) -> AsyncIterator[Faulty]:
    """A member's gateway says that it has taken transactions, and drops them."""
    network = scene.network
    (victim,) = scene.victims()
    others = _others(victim)
    await asyncio.to_thread(network.stop, victim)
    await asyncio.to_thread(network.start_odd, victim, Oddity(("withholding",)))
    yield [victim]
    # Nobody else posts payments of these agreements, so nothing comes between.
    (own,) = [each for each in scene.load.clients if each.msp_id == victim]
    payment = {
        "agreement": own.agreements[0],
        "reference": f"W{network.height(victim)}",
        "paid_on": (pkt_date(datetime.now(UTC)) - timedelta(days=1)).isoformat(),
        "channel": "branch",
    }
    times = Timeouts(withheld_s=WITHHELD_S)
    async with network.gateway(victim, stand_ins=others, timeouts=times) as gateway:
        outcome = (
            await gateway.network(CHANNEL)
            .contract("instalments")
            .submit(
                "PostPayments",
                json.dumps([payment]),
                transient={"amounts": json.dumps([PAISA]).encode()},
                endorsing_organisations=(victim, others[0]),
                retry=RetryPolicy(),
            )
        )
    assert outcome.status.is_valid
    dropped = len(_said(network, victim, f"{SAID}it drops"))
    assert dropped
    scene.notes.append(f"{victim} dropped {dropped}; a payment went through another's node")
    await asyncio.to_thread(network.stop, victim)
    await asyncio.to_thread(network.restart, victim)


# ---- clocks


@asynccontextmanager
async def _clock_ahead(scene: Scene) -> AsyncIterator[Faulty]:
    """Its votes count, it endorses nothing, and it says for what."""
    async with _clock_wrong(scene, AN_HOUR_S) as victim:
        yield [victim]
        network = scene.network
        await scene.load.until(
            "that it takes part", lambda: network.status(victim)["ordering"]["accepting"]
        )
        scene.notes.append(await _refused(network, victim))


@asynccontextmanager
async def _clock_behind(scene: Scene) -> AsyncIterator[Faulty]:
    """For it the others' blocks come from the future: it takes none, and says so."""
    async with _clock_wrong(scene, -AN_HOUR_S) as victim:
        yield [victim]
        network = scene.network
        if not skewed_comet.why_not():
            await scene.load.until(
                "that it says why it takes no blocks",
                lambda: BEHIND in network.status(victim)["ordering"]["reason"],
            )
            scene.notes.append(network.status(victim)["ordering"]["reason"])
        scene.notes.append(await _refused(network, victim))


@asynccontextmanager
async def _clock_wrong(scene: Scene, offset_s: float) -> AsyncIterator[str]:
    """The clock of a member's machine is wrong; its node and its CometBFT take it for the time.

    Yields the member.
    """
    network = scene.network
    (victim,) = scene.victims()
    environment: dict[str, str] = {}
    if reason := skewed_comet.why_not():
        scene.notes.append(f"its CometBFT's clock is right, as none can be built: {reason}")
    else:
        environment = {
            "QIST_COMETBFT": str(await asyncio.to_thread(skewed_comet.skewed_comet)),
            skewed_comet.VARIABLE: f"{offset_s:.0f}",
        }
    await asyncio.to_thread(network.stop, victim)
    oddity = Oddity(clock_offset_s=offset_s)
    await asyncio.to_thread(network.start_odd, victim, oddity, environment)
    yield victim
    for each in _others(victim):
        off = datetime.now(UTC) - (await _block_time(network, each))
        assert abs(off.total_seconds()) < NEAR_S, f"blocks of {each} are {off} off"
    await asyncio.to_thread(network.stop, victim)
    await asyncio.to_thread(network.restart, victim)


async def _block_time(network: PerturbedNetwork, msp_id: str) -> datetime:
    """The time of a member's newest block of CometBFT."""
    async with _rpc(network, msp_id) as rpc:
        found = (await rpc.status()).block_time
        assert found is not None
        return found


async def _refused(network: PerturbedNetwork, msp_id: str) -> str:
    """What a node whose clock is wrong says to a client whose clock is right."""
    async with network.gateway(msp_id) as gateway:
        with pytest.raises(EvaluateError, match="more than 15 minutes off") as refused:
            await gateway.network(CHANNEL).contract("enforcement").evaluate("Members")
    return str(refused.value)


LIES = (
    Perturbation("two processes with one consensus key", _signed_twice),
    Perturbation("a changed state", _wrong_state),
    Perturbation("bad proposals and bundles", _bad_bundles),
    Perturbation("a flood of useless bundles", _flood),
    Perturbation("a gateway that drops transactions", _withheld),
    Perturbation("a clock an hour ahead", _clock_ahead),
    Perturbation("a clock an hour behind", _clock_behind),
)
ALL = (*PERTURBATIONS, *LIES)
