"""Deadlines, and calls and streams that their caller gives up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import grpc

from qist import (
    AsyncGateway,
    CommitStatusError,
    EndorseError,
    EvaluateError,
    EventsError,
    GatewayError,
    SubmitError,
    Timeouts,
    TxValidationCode,
)
from tests.support.python_client.world import (
    TIMEOUTS,
    World,
    equal,
    fail,
    failure,
    scenario,
    verify,
)

SOON_S = 0.5
AT_ONCE_S = 5.0
# Before the call begins, so that no answer can be fast enough.
EXPIRED = Timeouts(evaluate_s=-1, endorse_s=-1, submit_s=-1, commit_status_s=-1)


def _is_late(kind: type[GatewayError], call: Callable[[], object], tx_id: str) -> None:
    error = failure(kind, call)
    equal((error.code, error.tx_id), (grpc.StatusCode.DEADLINE_EXCEEDED, tx_id))


@scenario
def query_until_a_deadline(world: World) -> None:
    draft = world.contract().new_proposal("WhoAmI")
    with world.member().connect(timeouts=EXPIRED) as hasty:
        _is_late(EvaluateError, lambda: hasty.evaluate(draft), draft.tx_id)
    equal(world.gateway().evaluate(draft).decode(), world.home)


@scenario
def endorse_until_a_deadline(world: World) -> None:
    draft = world.contract().new_proposal("Put", world.key("too late"), "x")
    with world.member().connect(timeouts=EXPIRED) as hasty:
        _is_late(EndorseError, lambda: hasty.endorse(draft), draft.tx_id)
    world.gateway().endorse(draft)


@scenario
def submit_until_a_deadline(world: World) -> None:
    gateway = world.gateway()
    draft = world.contract().new_proposal("Put", world.key("submitted too late"), "x")
    transaction = gateway.endorse(draft)
    with world.member().connect(timeouts=EXPIRED) as hasty:
        _is_late(SubmitError, lambda: hasty.submit(transaction), draft.tx_id)
    status = gateway.commit_status(gateway.submit(transaction))
    equal(status.code, TxValidationCode.VALID)


@scenario
def status_until_a_deadline(world: World) -> None:
    late, question = world.unsubmitted("never")
    soon = Timeouts(commit_status_s=SOON_S)
    with world.member().connect(timeouts=soon) as hasty:
        _is_late(CommitStatusError, lambda: hasty.commit_status(question), late.tx_id)


@scenario
def events_until_a_deadline(world: World) -> None:
    far = world.next_block() + 1000
    stream = world.network().chaincode_events(
        world.settings.contract, start_block=far, timeout_s=SOON_S
    )
    _is_late(EventsError, lambda: next(stream), "")


@scenario
def blocks_until_a_deadline(world: World) -> None:
    stream = world.network().block_events(start_block=world.next_block(), timeout_s=SOON_S)
    _is_late(EventsError, lambda: next(stream), "")


@scenario
def cancelled_status(world: World) -> None:
    # The blocking face gives up by its deadline alone; asyncio's tasks can be cancelled.
    _late, question = world.unsubmitted("given up")
    member = world.member()

    async def give_up() -> None:
        async with AsyncGateway(member.endpoint, member.signer, timeouts=TIMEOUTS) as gateway:
            asked = asyncio.create_task(gateway.commit_status(question))
            done, _waiting = await asyncio.wait({asked}, timeout=SOON_S)
            verify(not done, "it should wait")
            asked.cancel()
            done, _waiting = await asyncio.wait({asked}, timeout=AT_ONCE_S)
            verify(done and asked.cancelled(), "it did not end")
            contract = gateway.network(world.settings.channel).contract(world.settings.contract)
            equal((await contract.evaluate("WhoAmI")).decode(), world.home)

    asyncio.run(give_up())


def _is_closed_at_once(world: World, stream: Any) -> None:
    ended = threading.Thread(target=stream.close, daemon=True)
    ended.start()
    ended.join(AT_ONCE_S)
    verify(not ended.is_alive(), "it did not end")
    if next(stream, None) is not None:
        fail("it goes on")
    equal(world.contract().evaluate("WhoAmI").decode(), world.home)


@scenario
def cancelled_chaincode_events(world: World) -> None:
    last = world.add("given up events", 1)[0]
    stream = world.network().chaincode_events(world.settings.contract, start_block=last.block_num)
    equal(next(stream).tx_id, last.tx_id)
    _is_closed_at_once(world, stream)


@scenario
def cancelled_block_events(world: World) -> None:
    start = world.next_block() - 1
    stream = world.network().block_events(start_block=start)
    equal(next(stream).header.number, start)
    _is_closed_at_once(world, stream)
