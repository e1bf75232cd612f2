"""Chaincode events for applications: where a stream starts, and what belongs into it.

Rules (Fabric internal/pkg/gateway/chaincodeevents.go, event/*): only VALID transactions; one
response for a block that has a match, in order; blocks without one send nothing. A transaction id
to continue after decides the first block if the ledger knows it, and everything up to and including
that transaction's event is left out.

A stream ends as soon as its caller has no access any more, also while there is nothing to send.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc
from fabric_protos.gateway import gateway_pb2

from ledger.transactions.codes import TxValidationCode
from nodes.channel import Channel, CommittedBlock
from nodes.rpc.access import CallerAccess
from nodes.rpc.failures import RpcFailure


@dataclass(frozen=True, slots=True)
class EventRequest:
    """What a client wants to hear.

    Attributes:
        chaincode: whose events.
        start: first block.
        after_tx_id: leave out everything up to this transaction; empty for nothing left out.
    """

    chaincode: str
    start: int
    after_tx_id: str

    @classmethod
    def read(cls, channel: Channel, asked: Any) -> EventRequest:
        """Understand a ``gateway.ChaincodeEventsRequest``.

        Raises:
            RpcFailure: the start position is none that can be started from.
        """
        after = asked.after_transaction_id
        location = channel.ledger.transaction(after) if after else None
        if location is not None:
            return cls(asked.chaincode_id, location.block_num, after)
        kind = asked.start_position.WhichOneof("Type")
        if kind == "specified":
            return cls(asked.chaincode_id, asked.start_position.specified.number, after)
        if kind in (None, "next_commit"):
            return cls(asked.chaincode_id, channel.height, after)
        raise RpcFailure(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"invalid start position type: {kind}; ask for a block number or the next commit",
        )


async def chaincode_events(
    channel: Channel, request: EventRequest, access: CallerAccess
) -> AsyncIterator[Any]:
    """Yield a ``gateway.ChaincodeEventsResponse`` for each block with a match, for ever.

    Raises:
        RpcFailure: PERMISSION_DENIED, as soon as the caller has no access any more.
    """
    waiting_for = request.after_tx_id
    number = request.start
    while True:
        committed = await channel.block(number)
        if committed is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(access.wait_s()):
                    await channel.wait_above(number, access.sequence)
            access.verify()
            continue
        access.verify()
        number += 1
        response = None
        for event in _events_of(committed):
            if waiting_for:
                if event.tx_id == waiting_for:
                    waiting_for = ""
                continue
            if event.chaincode_id != request.chaincode:
                continue
            if response is None:
                response = gateway_pb2.ChaincodeEventsResponse(block_number=committed.number)
            response.events.add(
                chaincode_id=event.chaincode_id,
                tx_id=event.tx_id,
                event_name=event.event_name,
                payload=event.payload,
            )
        if response is not None:
            yield response


def _events_of(committed: CommittedBlock) -> list[Any]:
    return [
        transaction.event
        for transaction, code in zip(committed.transactions, committed.codes, strict=True)
        if code == TxValidationCode.VALID
        and transaction.event is not None
        and transaction.event.chaincode_id
        and transaction.event.event_name
        and transaction.event.tx_id
    ]
