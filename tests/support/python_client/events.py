"""Events: of the contract, of blocks, filtered blocks and blocks with private data."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from ledger.blocks.block import BlockHeader
from qist import CommitStatus, EventsError, FileCheckpointer, InMemoryCheckpointer, TxValidationCode
from tests.support.python_client.world import (
    World,
    command,
    equal,
    failure,
    first,
    scenario,
    take,
    verify,
)


def _events(world: World, start_block: int) -> Iterator[Any]:
    return world.network().chaincode_events(world.settings.contract, start_block=start_block)


@scenario
def chaincode_events_from_a_block(world: World) -> None:
    statuses = world.add("heard", 3)
    taken = take(_events(world, statuses[0].block_num), lambda taken: len(taken) == 3)
    equal(
        [(each.block_num, each.tx_id) for each in taken],
        [(each.block_num, each.tx_id) for each in statuses],
    )
    equal([each.payload for each in taken], [b"1", b"2", b"3"])
    equal({(each.name, each.chaincode) for each in taken}, {("Added", world.settings.contract)})


@scenario
def chaincode_events_from_now(world: World) -> None:
    stream = world.network().chaincode_events(world.settings.contract)
    ids = set()
    with ThreadPoolExecutor(1) as pool:
        heard = pool.submit(first, stream)
        # The client says nothing when the stream stands; so it is told again until it hears.
        while not heard.done():
            ids.add(world.add("now", 1)[0].tx_id)
        verify(heard.result().tx_id in ids, "an event of before")


@scenario
def chaincode_events_of_valid_transactions_only(world: World) -> None:
    valid, _invalid = world.conflict("only valid")
    last = world.add("after the conflict", 1)[0].tx_id
    taken = take(_events(world, valid.block_num), lambda taken: taken[-1].tx_id == last)
    equal([each.tx_id for each in taken], [valid.tx_id, last])


def _listen(
    world: World, msp_id: str, file: Path, statuses: list[CommitStatus], count: int
) -> list[str]:
    """Take some events at a member's gateway, from the file's checkpoint on; return their ids."""
    checkpoint = FileCheckpointer(file)
    with world.member(msp_id).connect() as gateway:
        stream = world.network(gateway).chaincode_events(
            world.settings.contract, start_block=statuses[0].block_num, checkpoint=checkpoint
        )
        taken = take(stream, lambda taken: len(taken) == count)
    checkpoint.checkpoint(taken[-1].block_num, taken[-1].tx_id)
    return [each.tx_id for each in taken]


@scenario
def chaincode_events_from_a_checkpoint(world: World) -> None:
    statuses = world.add("checkpoint", 4)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "listener.json"
        # Two runs of a listener, each with a connection and a reading of the file of its own.
        heard = _listen(world, world.home, file, statuses, 2)
        heard += _listen(world, world.home, file, statuses, 2)
    equal(heard, [each.tx_id for each in statuses])


@scenario
def chaincode_events_after_a_restart(world: World) -> None:
    restart = world.settings.restart
    statuses = world.add("restart", 2)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "listener.json"
        heard = _listen(world, restart.mspId, file, statuses, 1)
        # A stream that is open when the peer stops must end.
        with world.member(restart.mspId).connect() as gateway:
            stream = world.network(gateway).chaincode_events(
                world.settings.contract, start_block=statuses[0].block_num
            )
            equal(next(stream).tx_id, statuses[0].tx_id)
            command(restart.stop)
            ended = failure(EventsError, lambda: list(stream))
            equal(ended.code, grpc.StatusCode.UNAVAILABLE)
            statuses += world.add("restart", 2)
            command(restart.start)
            heard += _listen(world, restart.mspId, file, statuses, 3)
            gateway.wait_until_ready(40)
            equal(world.contract(gateway).evaluate("WhoAmI").decode(), restart.mspId)
    equal(heard, [each.tx_id for each in statuses])


@scenario
def block_events(world: World) -> None:
    status = world.add("in a block", 1)[0]
    start = world.settings.firstBlock
    stream = world.network().block_events(start_block=start, stop_block=status.block_num)
    blocks = list(stream)
    equal([each.header.number for each in blocks], list(range(start, status.block_num + 1)))
    before = None
    for block in blocks:
        header = block.header
        equal(header.data_hash, hashlib.sha256(b"".join(block.data.data)).digest())
        if before is not None:
            equal(header.previous_hash, before)
        before = BlockHeader(header.number, header.previous_hash, header.data_hash).hash()
    verify(any(status.tx_id.encode() in each for each in blocks[-1].data.data))


@scenario
def block_events_from_a_checkpoint(world: World) -> None:
    one, _other = world.add("blocks from a checkpoint", 2)
    checkpoint = InMemoryCheckpointer()
    checkpoint.checkpoint(one.block_num + 1, "")
    stream = world.network().filtered_block_events(start_block=0, checkpoint=checkpoint)
    equal(first(stream).number, one.block_num + 1)


@scenario
def filtered_block_events(world: World) -> None:
    valid, invalid = world.conflict("filtered")
    stream = world.network().filtered_block_events(
        start_block=valid.block_num, stop_block=invalid.block_num
    )
    codes = {}
    for block in stream:
        equal(block.channel_id, world.settings.channel)
        for each in block.filtered_transactions:
            codes[each.txid] = each.tx_validation_code
            for action in each.transaction_actions.chaincode_actions:
                equal(action.chaincode_event.payload, b"")
    equal(codes[valid.tx_id], TxValidationCode.VALID)
    equal(codes[invalid.tx_id], TxValidationCode.MVCC_READ_CONFLICT)


@scenario
def events_of_an_unknown_channel(world: World) -> None:
    network = world.gateway().network("elsewhere")
    for stream in (
        network.chaincode_events(world.settings.contract, start_block=0),
        network.block_events(start_block=0),
    ):
        error = failure(EventsError, partial(first, stream))
        told = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED)
        verify(error.code in told, error)
