"""``qist.PrivateData`` on the node port: other members' nodes push private data here, and pull.

The caller's TLS certificate says which member it is (`nodes.rpc.connections`); what it may have
follows from the policy of the collection, and nothing that the caller says counts.

- *Push* is taken if this node's own member is entitled to the collection, from any member, since
  an endorser need not be a member of it. It is on disk when it is acknowledged.
- *Pull* is answered with the sets whose collection names the caller's member, as it was defined
  before the block or as it is now; a caller that may have none of what it asks for is refused,
  before anything is looked up.

Invariants: no byte of a collection leaves to a member that its policy does not name; requests and
answers are bounded.

Source: Fabric, gossip/privdata/{pull,dataretriever}.go (`filterNotEligible`, `CollectionRWSet`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, TypeVar

import grpc

from ledger.state.ports import StateReader
from ledger.transactions.private import TxPrivate
from nodes.channel import Channel
from nodes.private_data.access import Collection, Collections
from nodes.private_data.digests import (
    MOST_ANSWER_BYTES,
    MOST_DEFINITION_BYTES,
    MOST_PUSH_BYTES,
    MOST_REQUEST_BYTES,
    MOST_SETS,
    SERVICE,
    BoundedMessage,
    Digest,
    PrivateMessageRefusal,
    Pushed,
    encode_acknowledgement,
    encode_response,
    read_push,
    read_request,
    verify_pushed_set,
)
from nodes.private_data.transient import TransientFull, TransientStore
from nodes.rpc.concurrency import ConcurrencyLimit, MemberShares
from nodes.rpc.connections import calling_member
from nodes.rpc.failures import RpcFailure, shorten
from nodes.rpc.handlers import Endpoint, Guard

__all__ = ["PrivateDataService", "add_private_data_service"]

log = logging.getLogger(__name__)

_T = TypeVar("_T")

_MEMBERS_PART = 4
"""One member may have one of so many parts of the calls at once."""
_NAMED = 5
_NAMED_BYTES = 400
"""Collections, and bytes of their names, that a refusal repeats."""


class PrivateDataService:
    """Answers Push and Pull.

    Args:
        channel: of the node.
        own: MSP id of this node's member.
        transient: where pushed sets are kept.
        collections: returns those under the configuration in force.
        threads: where the disk is read and written.
        pushes, pulls: limits of calls at once, of which one member has a part.
    """

    def __init__(
        self,
        channel: Channel,
        own: str,
        transient: TransientStore,
        collections: Callable[[], Collections],
        threads: Executor,
        pushes: ConcurrencyLimit,
        pulls: ConcurrencyLimit,
    ) -> None:
        self._channel = channel
        self._own = own
        self._transient = transient
        self._collections = collections
        self._threads = threads
        self._pushes = pushes
        self._pulls = pulls
        self._shares = {
            each: MemberShares(f"{name} of private data", max(1, each.most // _MEMBERS_PART))
            for name, each in (("pushes", pushes), ("pulls", pulls))
        }

    async def push(self, message: Any, context: Any) -> Any:
        """Keep one pushed set."""
        caller = calling_member(context, self._channel.configuration)
        with self._pushes.enter(), self._shares[self._pushes].enter(caller):
            pushed = read_push(message, self._channel.channel_id)
            configs = message.private_data.payload.collection_configs.SerializeToString()
            if len(configs) > MOST_DEFINITION_BYTES:
                raise PrivateMessageRefusal(
                    f"a push defines its collection in {len(configs)} bytes, and at most "
                    f"{MOST_DEFINITION_BYTES} are read; send that one's definition alone"
                )
            await self._in_thread(self._take, caller, pushed, configs)
            return encode_acknowledgement(self._channel.channel_id)

    async def pull(self, message: Any, context: Any) -> Any:
        """Send the sets that the caller may have and this node holds."""
        caller = calling_member(context, self._channel.configuration)
        with self._pulls.enter(), self._shares[self._pulls].enter(caller):
            digests = read_request(message, self._channel.channel_id)
            found = await self._in_thread(self._answer, caller, digests)
            return encode_response(self._channel.channel_id, found)

    async def _in_thread(self, work: Callable[..., _T], *arguments: Any) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, work, *arguments)

    def _take(self, caller: str, pushed: Pushed, configs: bytes) -> None:
        write = pushed.write
        if self._own not in self._members_of(pushed, configs):
            # The names are the caller's, and may be long.
            named = shorten(f"{write.namespace}/{write.collection}", _NAMED_BYTES)
            log.warning(
                "%s pushed private data of %s, to which %s is not entitled; nothing was kept",
                caller, named, self._own,
            )  # fmt: skip
            raise RpcFailure(
                grpc.StatusCode.PERMISSION_DENIED,
                f"{self._own} is no member of collection {named}; send its data to members only",
            )
        if self._channel.ledger.has_transaction(pushed.tx_id):
            return  # too late: its block is here, and what lacked is asked for already
        verify_pushed_set(write.rwset)
        try:
            self._transient.put(pushed.tx_id, self._channel.height, (write,), sender=caller)
        except TransientFull as error:
            raise RpcFailure(grpc.StatusCode.ABORTED, str(error)) from error

    def _members_of(self, pushed: Pushed, configs: bytes) -> Sequence[str]:
        """The members of a pushed collection, as this node's state defines it.

        Where this node is behind the endorser, the definition that came with the set counts too:
        it may have been committed since.
        """
        write, collections = pushed.write, self._collections()
        state = self._channel.snapshot()
        try:
            found = collections.find(state, write.namespace, write.collection)
        finally:
            state.close()
        if found is not None and self._own in found.members:
            return found.members
        if pushed.height > self._channel.height:
            found = collections.told(configs, write.namespace, write.collection)
        return () if found is None else found.members

    def _answer(
        self, caller: str, digests: Sequence[Digest]
    ) -> list[tuple[Digest, Sequence[bytes]]]:
        state = self._channel.snapshot()
        try:
            allowed = [each for each in digests if self._may_have(state, caller, each)]
        finally:
            state.close()
        if not allowed:
            places = sorted({f"{each.namespace}/{each.collection}" for each in digests})
            # The names are the caller's, and may be long.
            named = shorten(", ".join(places[:_NAMED]), _NAMED_BYTES)
            log.warning("%s asked for private data of %s and got none", caller, named)
            raise RpcFailure(
                grpc.StatusCode.PERMISSION_DENIED,
                f"{caller} is no member of {named}; only a collection's members get its data",
            )
        found: list[tuple[Digest, Sequence[bytes]]] = []
        size = 0
        blocks: dict[int, dict[int, TxPrivate]] = {}
        for digest in dict.fromkeys(allowed):
            rwsets = self._load(digest, blocks)
            size += sum(map(len, rwsets))
            if found and size > MOST_ANSWER_BYTES:
                break
            if rwsets:
                found.append((digest, rwsets))
        return found

    def _may_have(self, state: StateReader, caller: str, digest: Digest) -> bool:
        collections = self._collections()
        place = (digest.namespace, digest.collection)
        found: list[Collection | None] = [collections.find(state, *place)]
        if digest.block_num < state.height:
            found.append(collections.at_block(state, *place, digest.block_num))
        return any(each is not None and caller in each.members for each in found)

    def _load(self, digest: Digest, blocks: dict[int, dict[int, TxPrivate]]) -> list[bytes]:
        """Return the sets that are held: those of a committed block, or else of the endorsed."""
        if digest.block_num >= self._channel.ledger.height:
            rwsets = self._endorsed(digest)
            # In between the block may have been committed, and the store emptied.
            if rwsets or digest.block_num >= self._channel.ledger.height:
                return rwsets
        if digest.block_num not in blocks:
            blocks[digest.block_num] = dict(self._channel.ledger.private_data(digest.block_num))
        return [
            each.rwset
            for each in blocks[digest.block_num].get(digest.tx_num, ())
            if each.namespace == digest.namespace and each.collection == digest.collection
        ]

    def _endorsed(self, digest: Digest) -> list[bytes]:
        """Return sets of an endorsed transaction, as many as one answer may hold.

        Which of them is true the block will tell: others may have pushed any number.
        """
        found: list[bytes] = []
        size = 0
        if digest.tx_id:
            for rwset in self._transient.find(digest.tx_id, digest.namespace, digest.collection):
                size += len(rwset)
                if found and (size > MOST_ANSWER_BYTES or len(found) == MOST_SETS):
                    break
                found.append(rwset)
        return found


def private_data_endpoints(service: PrivateDataService, guard: Guard) -> dict[str, Endpoint]:
    """Return the RPCs of *service*, for callers that pass *guard*, by full name."""
    found = (
        Endpoint("Push", BoundedMessage(MOST_PUSH_BYTES), service.push, guard),
        Endpoint("Pull", BoundedMessage(MOST_REQUEST_BYTES), service.pull, guard),
    )
    return {f"/{SERVICE}/{each.name}": each for each in found}


def add_private_data_service(
    server: grpc.aio.Server, service: PrivateDataService, guard: Guard
) -> None:
    """Offer *service* on *server* to callers that pass *guard*."""
    endpoints = private_data_endpoints(service, guard).values()
    handlers = {each.name: each.handler() for each in endpoints}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
