"""``qist.Consensus`` on the node port: what members' nodes ask and tell about CometBFT.

    Ask      one question of CometBFT's light client, in JSON; its answer, in JSON
    Prove    nothing; a proof of the last block of the newest snapshot that this node gives
    Record   the number of a block, 8 bytes; its finality record, empty if this node has none
    Give     a bundle that the caller's node has made; empty, whatever becomes of it

All messages are ``google.protobuf.BytesValue``. Each CometBFT serves its RPC to its own node
alone, over a unix socket, and this is the only way to it for others
(`network.ordering.cometbft.joining.relay`). That it is away is said in the answer, since the node
is there.

Invariants: members only; questions are few, bounded and change nothing
(`network.ordering.cometbft.joining.light_rpc`); one member cannot keep the others out, nor by what
it gives (`network.ordering.cometbft.bundles.passing`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import grpc
from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import BytesValue

from ledger.errors import Refusal, Unavailable
from network.ordering.cometbft.bundles.passing import LONGEST_BYTES
from network.ordering.cometbft.errors import CometRefusal, CometUnavailable
from network.ordering.cometbft.finality.finality import FINALITY
from network.ordering.cometbft.finality.proof_making import make_proof
from network.ordering.cometbft.joining.light_rpc import (
    MAX_ANSWER_BYTES,
    MAX_QUESTION_BYTES,
    decode_question,
    encode_question,
)
from nodes.channel import Channel
from nodes.gateway.members import Members
from nodes.rpc.concurrency import ConcurrencyLimit, MemberShares
from nodes.rpc.connections import calling_member
from nodes.rpc.handlers import Guard, unary

__all__ = ["ConsensusService", "OtherMembersComets", "ServedComet", "add_consensus_service"]

SERVICE: Final = "qist.Consensus"
ASK: Final = f"/{SERVICE}/Ask"
PROVE: Final = f"/{SERVICE}/Prove"
RECORD: Final = f"/{SERVICE}/Record"
GIVE: Final = f"/{SERVICE}/Give"
ANSWER_S: Final = 5.0
PROOF_S: Final = 60.0
AT_ONCE: Final = 32
_MEMBERS_PART: Final = 4
_FRAME_BYTES: Final = 16
_NUMBER_BYTES: Final = 8


class ServedComet(Protocol):
    """The CometBFT of this node, and the snapshots it gives."""

    async def call(self, method: str, params: Mapping[str, Any]) -> Any:
        """Return the result of a method of CometBFT's RPC.

        Raises:
            CometUnavailable: CometBFT does not answer, or there is none.
            CometRefusal: it answers with an error.
        """

    async def newest_snapshot(self) -> int:
        """Return the number of the last block of the newest snapshot, 0 if there is none."""

    def take_bundle(self, msp_id: str, raw: bytes) -> None:
        """Take a bundle that a member's node gives (`network.ordering.cometbft.bundles`)."""


class _Bounded:
    """``BytesValue`` as it is parsed: its length is looked at first."""

    DESCRIPTOR = BytesValue.DESCRIPTOR

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes

    def FromString(self, raw: bytes) -> Any:
        """Parse a message; raises Refusal, or protobuf's DecodeError."""
        if len(raw) > self._most_bytes + _FRAME_BYTES:
            raise Refusal(
                f"a message of {len(raw)} bytes is longer than {self._most_bytes} bytes, the most "
                f"that {SERVICE} takes of its kind: send a shorter one"
            )
        return BytesValue.FromString(raw)


class ConsensusService:
    """Answers Ask, Prove, Record and Give.

    Args:
        channel: of the node.
        comet: the node's CometBFT.
    """

    def __init__(self, channel: Channel, comet: ServedComet) -> None:
        self._channel = channel
        self._comet = comet
        self.limit = ConcurrencyLimit("consensus", AT_ONCE)
        self._shares = MemberShares("consensus", AT_ONCE // _MEMBERS_PART)
        self._proving = MemberShares("proofs", 1)

    async def ask(self, message: Any, context: Any) -> Any:
        """Put one question to CometBFT."""
        caller = calling_member(context, self._channel.configuration)
        with self.limit.enter(), self._shares.enter(caller):
            method, params = decode_question(message.value)
            try:
                answer = {"result": await self._comet.call(method, params)}
            except CometRefusal as refused:
                answer = {"error": {"code": refused.code, "data": refused.data}}
            except CometUnavailable as away:
                answer = {"away": str(away)}
            return BytesValue(value=json.dumps(answer).encode())

    async def prove(self, _message: Any, context: Any) -> Any:
        """Prove the last block of the newest snapshot."""
        caller = calling_member(context, self._channel.configuration)
        with self.limit.enter(), self._proving.enter(caller):
            number = await self._comet.newest_snapshot()
            if not number:
                raise Unavailable(
                    "this node gives no snapshot: its chain is too short for one, or records of "
                    "finality are missing; ask another member's node"
                )
            proof = await asyncio.to_thread(make_proof, self._channel.ledger, number)
            return BytesValue(value=proof)

    async def record(self, message: Any, context: Any) -> Any:
        """Give the finality record of a block."""
        caller = calling_member(context, self._channel.configuration)
        with self.limit.enter(), self._shares.enter(caller):
            if len(message.value) != _NUMBER_BYTES:
                raise Refusal(f"a block is named by its number in {_NUMBER_BYTES} bytes")
            number = int.from_bytes(message.value)
            found = await asyncio.to_thread(self._channel.evidence, number, FINALITY)
            return BytesValue(value=found or b"")

    async def give(self, message: Any, context: Any) -> Any:
        """Take a bundle; it is looked at when this has been answered."""
        caller = calling_member(context, self._channel.configuration)
        self._comet.take_bundle(caller, message.value)
        return BytesValue()


def add_consensus_service(server: grpc.aio.Server, service: ConsensusService, guard: Guard) -> None:
    """Offer *service* on *server* to callers that pass *guard*."""
    question = _Bounded(MAX_QUESTION_BYTES)
    handlers = {
        "Ask": unary("Ask", question, service.ask, guard),
        "Prove": unary("Prove", question, service.prove, guard),
        "Record": unary("Record", question, service.record, guard),
        "Give": unary("Give", _Bounded(LONGEST_BYTES), service.give, guard),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


class OtherMembersComets:
    """`OtherComets`, `RecordGivers`, `BundleTakers` of `network.ordering.cometbft`, by node ports.

    Args:
        members: returns the other members' nodes.
    """

    def __init__(self, members: Callable[[], Members]) -> None:
        self._members = members

    def msp_ids(self) -> Sequence[str]:
        """The other members whose nodes have an address."""
        return tuple(self._members().others())

    async def ask(self, msp_id: str, method: str, params: Mapping[str, Any]) -> Any:
        """Return the result of a method of a member's CometBFT."""
        raw = await self._call(msp_id, ASK, encode_question(method, params), ANSWER_S)
        if len(raw) > MAX_ANSWER_BYTES:
            raise CometUnavailable(f"{msp_id} answers {method} with {len(raw)} bytes")
        try:
            answer = json.loads(raw)
            if "away" in answer:
                raise CometUnavailable(f"{msp_id} answers: {answer['away']}")
            error = answer.get("error")
            if error is None:
                return answer["result"]
            code, data = int(error["code"]), str(error["data"])
        except (
            ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError
        ) as broken:  # fmt: skip
            raise CometUnavailable(f"{msp_id} does not answer {method} in its form") from broken
        raise CometRefusal(f"{msp_id}'s CometBFT refuses {method}: {data}", code=code, data=data)

    async def prove(self, msp_id: str) -> bytes:
        """Return a member's proof of the last block of its newest snapshot."""
        return await self._call(msp_id, PROVE, b"", PROOF_S)

    async def record(self, msp_id: str, number: int) -> bytes:
        """Return a member's finality record of a block."""
        raw = await self._call(msp_id, RECORD, number.to_bytes(_NUMBER_BYTES), ANSWER_S)
        if len(raw) > MAX_ANSWER_BYTES:
            raise Unavailable(f"{msp_id} gives a finality record of {len(raw)} bytes")
        return raw

    async def give(self, msp_id: str, raw: bytes) -> None:
        """Give a member's node a bundle, unless it is known not to answer."""
        member = self._members().others().get(msp_id)
        if member is not None and member.is_up:
            # Endorsements do not depend on it: the bundle may be long, or its node an older one.
            await self._call(msp_id, GIVE, raw, ANSWER_S, marks=False)

    async def _call(
        self, msp_id: str, method: str, content: bytes, timeout_s: float, *, marks: bool = True
    ) -> bytes:
        member = self._members().others().get(msp_id)
        if member is None:
            raise Unavailable(f"{msp_id} has no node")
        request = BytesValue(value=content).SerializeToString()
        raw = await member.ask(method, request, timeout_s, marks=marks)
        try:
            value: bytes = BytesValue.FromString(raw).value
        except DecodeError as error:
            raise Unavailable(f"the node of {msp_id} does not answer in our form") from error
        return value
