"""Private data: in a collection, and with blocks."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from qist import CommitStatus, EvaluateError
from tests.support.python_client.world import (
    World,
    contains,
    equal,
    failure,
    first,
    scenario,
    verify,
)


def _put(world: World, name: str) -> tuple[str, Any, CommitStatus]:
    """Put a value that nobody else has into the collection."""
    gateway, value = world.gateway(), os.urandom(16).hex()
    draft = world.contract().new_proposal(
        "PutPrivate", world.settings.collection, world.key(name), transient={"value": value}
    )
    transaction = gateway.endorse(draft)
    status = gateway.commit_status(gateway.submit(transaction))
    verify(status.is_valid, status)
    return value, transaction, status


def _block(world: World, msp_id: str, number: int) -> Any:
    """A block with private data as a member's user gets it."""
    network = world.network(world.gateway(msp_id))
    taken = first(network.private_block_events(start_block=number))
    equal(taken.block.header.number, number)
    return taken


@scenario
def private_data(world: World) -> None:
    value, transaction, status = _put(world, "private")
    raw = transaction.encode()
    verify(value.encode() not in raw, "it is in the transaction")
    for msp_id in world.members:
        is_member = msp_id in (world.home, world.second)
        equal((msp_id, msp_id.encode() in raw), (msp_id, is_member))
    arguments = (world.settings.collection, world.key("private"))
    for msp_id in (world.home, world.second):
        contract = world.contract(world.gateway(msp_id))
        equal(contract.evaluate("GetPrivate", *arguments).decode(), value)
    # Another organisation's peer may have the block a little later.
    _block(world, world.third, status.block_num)
    answer = world.contract(world.gateway(world.third)).evaluate("HashPrivate", *arguments)
    equal(answer.decode(), hashlib.sha256(value.encode()).hexdigest())


@scenario
def private_data_of_others(world: World) -> None:
    _put(world, "not yours")
    contract = world.contract(world.gateway(world.third))
    arguments = (world.settings.collection, world.key("not yours"))
    error = failure(EvaluateError, lambda: contract.evaluate("GetPrivate", *arguments))
    contains(error, "does not have read access permission on privatedata")


@scenario
def private_block_events(world: World) -> None:
    status = world.add("without private data", 1)[0]
    taken = first(world.network().private_block_events(start_block=status.block_num))
    equal(taken.block.header.number, status.block_num)
    places = [
        place for place, each in enumerate(taken.block.data.data) if status.tx_id.encode() in each
    ]
    equal(len(places), 1)
    verify(places[0] not in taken.private_data_map, "there should be none")


@scenario
def private_block_events_with_data(world: World) -> None:
    value, _transaction, status = _put(world, "with a block")
    taken = _block(world, world.home, status.block_num)
    for place, each in enumerate(taken.block.data.data):
        if status.tx_id.encode() in each:
            (namespace,) = taken.private_data_map[place].ns_pvt_rwset
            (found,) = namespace.collection_pvt_rwset
            equal(found.collection_name, world.settings.collection)
            verify(value.encode() in found.rwset, "it is not in its set")
    verify(value.encode() not in taken.block.SerializeToString(), "it is in the block")
    others = _block(world, world.third, status.block_num)
    verify(value.encode() not in others.SerializeToString(), "another organisation gets it")
