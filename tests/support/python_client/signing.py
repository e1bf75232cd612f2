"""Offline signing: the key is elsewhere, bytes and digests travel; the gateway signs nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from qist import Gateway, Refusal
from tests.support.python_client.world import (
    Member,
    World,
    contains,
    equal,
    failure,
    first,
    scenario,
)


def _offline(world: World) -> tuple[Gateway, Callable[[bytes], bytes]]:
    member = world.member()
    return member.connect(member.offline), member.sign_digest


@scenario
def offline_signing_needs_a_signature(world: World) -> None:
    gateway, _sign = _offline(world)
    with gateway:
        error = failure(Refusal, lambda: world.contract(gateway).evaluate("WhoAmI"))
        contains(error, "the key of this identity")


@scenario
def offline_signing_of_a_query(world: World) -> None:
    gateway, sign = _offline(world)
    with gateway:
        draft = world.contract(gateway).new_proposal("WhoAmI")
        signed = gateway.new_signed_proposal(draft.encode(), sign(draft.digest))
        equal(gateway.evaluate(signed).decode(), world.home)


def _endorsed_offline(world: World, gateway: Gateway, sign: Any, name: str) -> Any:
    """A transaction that is endorsed and signed, all of it elsewhere."""
    draft = world.contract(gateway).new_proposal("Add", world.key(name), "9")
    endorsed = gateway.endorse(gateway.new_signed_proposal(draft.encode(), sign(draft.digest)))
    equal(endorsed.tx_id, draft.tx_id)
    return gateway.new_signed_transaction(endorsed.encode(), sign(endorsed.digest))


@scenario
def offline_signing_of_a_transaction(world: World) -> None:
    gateway, sign = _offline(world)
    with gateway:
        transaction = _endorsed_offline(world, gateway, sign, "offline")
        unsigned = gateway.submit(transaction)
    # The status is asked by somebody who has a key.
    question = world.gateway().new_signed_commit(unsigned.encode(), b"")
    status = world.gateway().commit_status(question)
    equal((status.is_valid, status.tx_id), (True, transaction.tx_id))


@scenario
def offline_signing_of_a_commit_status(world: World) -> None:
    gateway, sign = _offline(world)
    with gateway:
        transaction = _endorsed_offline(world, gateway, sign, "offline status")
        unsigned = gateway.submit(transaction)
        question = gateway.new_signed_commit(unsigned.encode(), sign(unsigned.digest))
        status = gateway.commit_status(question)
        equal((status.is_valid, status.tx_id), (True, transaction.tx_id))


@scenario
def offline_signing_of_chaincode_events(world: World) -> None:
    status = world.add("signed events", 1)[0]
    gateway, sign = _offline(world)
    with gateway:
        draft = world.network(gateway).new_chaincode_events_request(
            world.settings.contract, start_block=status.block_num
        )
        signature = sign(draft.digest)
        request = gateway.new_signed_chaincode_events_request(draft.encode(), signature)
        equal(first(gateway.chaincode_events(request)).tx_id, status.tx_id)


def _first_block_offline(world: World, kind: str) -> tuple[Any, int]:
    start = world.next_block() - 1
    gateway, sign = _offline(world)
    with gateway:
        draft = getattr(world.network(gateway), f"new_{kind}_events_request")(start_block=start)
        take_up = getattr(gateway, f"new_signed_{kind}_events_request")
        request = take_up(draft.encode(), sign(draft.digest))
        return first(gateway.block_events(request)), start


@scenario
def offline_signing_of_block_events(world: World) -> None:
    block, start = _first_block_offline(world, "block")
    equal(block.header.number, start)


@scenario
def offline_signing_of_filtered_block_events(world: World) -> None:
    block, start = _first_block_offline(world, "filtered_block")
    equal(block.number, start)


@scenario
def offline_signing_of_private_block_events(world: World) -> None:
    taken, start = _first_block_offline(world, "private_block")
    equal(taken.block.header.number, start)


class _Vault:
    """Gets whole messages and hashes them itself, as every signer of this SDK may."""

    def __init__(self, member: Member) -> None:
        self.msp_id = member.msp_id
        self.serialized = member.offline.serialized
        self._member = member

    def sign(self, message: bytes) -> bytes:
        return self._member.sign_digest(hashlib.sha256(message).digest())


@scenario
def the_signer_may_do_the_hashing(world: World) -> None:
    member = world.member()
    with member.connect(_Vault(member)) as gateway:
        equal(world.contract(gateway).evaluate("WhoAmI").decode(), world.home)
