"""Before an endorsement: private write sets are kept here and pushed to entitled members' nodes.

For each collection the other members that its policy names are asked, at most ``maxPeerCount`` of
them, those that are up first. An endorsement needs ``requiredPeerCount`` acknowledgements; a member
that does not answer is replaced by another where there is one, and one that is known to be down is
not even asked where the others suffice. What members miss so they pull at commit.

Invariants: the own store has the sets on disk, and every member that acknowledged has them on its
disk, before the endorsement is signed; a set is sent to members of its collection only.

Source of rules and words: Fabric, gossip/privdata/distributor.go; gossip/service/gossip_service.go
`DistributePrivateData`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Final

from ledger.errors import Refusal, Unavailable
from ledger.transactions.private import PrivateWrite, decode_tx_private
from nodes.channel import Channel
from nodes.gateway.members import Member, MemberRefused, Members, MemberUnavailable
from nodes.private_data.access import Collection, Collections
from nodes.private_data.digests import PUSH, Pushed, encode_push
from nodes.private_data.transient import TransientStore

__all__ = ["Distribution", "DistributionFailed"]

log = logging.getLogger(__name__)

ACKNOWLEDGEMENT_S: Final = 3.0
"""How long one member's node may take to acknowledge (Fabric's pushAckTimeout)."""
GRACE_S: Final = 0.2
"""How long an endorsement waits for members beyond those that had to acknowledge."""
LONGEST_S: Final = 6.0
"""How long an endorsement waits for all acknowledgements together."""


class DistributionFailed(Unavailable):
    """Too few members took the private data; nothing was endorsed."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """To whom the set of one collection is pushed.

    Attributes:
        message: the marshalled push.
        first: members asked at once.
        spare: members asked in the place of those that fail.
        required: acknowledgements without which nothing is endorsed.
    """

    write: PrivateWrite
    message: bytes
    first: Sequence[Member]
    spare: Sequence[Member]
    required: int


class Distribution:
    """Distributes for the endorser of one node.

    Args:
        channel: of the node.
        own: MSP id of this node's member.
        transient: the node's own store.
        members: the other members' nodes.
        threads: where the disk is written.
    """

    def __init__(
        self,
        channel: Channel,
        own: str,
        transient: TransientStore,
        members: Members,
        threads: Executor,
    ) -> None:
        self._channel = channel
        self._own = own
        self._transient = transient
        self._members = members
        self._threads = threads
        self._pushing: set[asyncio.Task[bool]] = set()

    async def distribute(
        self, collections: Collections, tx_id: str, private: bytes, creator: str
    ) -> None:
        """Keep *private* and push it; see `nodes.endorser.ports.PrivateData`."""
        writes = decode_tx_private(private)
        height = self._channel.height
        other = "" if creator == self._own else creator
        if other:
            # First, or what is not kept here would still be pushed in this member's name.
            self._transient.verify_room(other, len(private))
        try:
            plans = self._plan(collections, tx_id, height, writes)
            keep = partial(self._transient.put, tx_id, height, writes, creator=other)
            stored = asyncio.get_running_loop().run_in_executor(self._threads, keep)
            try:
                outcomes = await asyncio.gather(*(self._push(plan) for plan in plans))
            finally:
                await stored
            missed = [plan for plan, taken in zip(plans, outcomes, strict=True) if not taken]
            if missed:
                names = ", ".join(f"{p.write.namespace}/{p.write.collection}" for p in missed)
                raise DistributionFailed(
                    f"Failed disseminating {len(missed)} out of {len(plans)} private dissemination "
                    f"plans: too few members of {names} took the data; try again when their nodes "
                    "are back"
                )
        except DistributionFailed as error:
            raise DistributionFailed(
                f"failed to distribute private collection, txID {tx_id}, channel "
                f"{self._channel.channel_id}: {error}"
            ) from error

    def _plan(
        self, collections: Collections, tx_id: str, height: int, writes: Sequence[PrivateWrite]
    ) -> list[_Plan]:
        state = self._channel.snapshot()
        try:
            found = [collections.find(state, each.namespace, each.collection) for each in writes]
        finally:
            state.close()
        plans = []
        for write, collection in zip(writes, found, strict=True):
            if collection is None:
                raise Refusal(
                    f"no collection config for chaincode {write.namespace} and collection "
                    f"{write.collection}; commit a definition that has it"
                )
            plans.append(self._plan_one(collection, tx_id, height, write))
        return plans

    def _plan_one(
        self, collection: Collection, tx_id: str, height: int, write: PrivateWrite
    ) -> _Plan:
        others = self._members.others()
        eligible = [others[each] for each in collection.members if each in others]
        required = collection.required_peer_count
        if len(eligible) < required:
            raise DistributionFailed(
                "could not build private data dissemination plan for chaincode "
                f"{write.namespace} and collection {write.collection}: required to disseminate to "
                f"at least {required} peers, but know of only {len(eligible)} eligible peers"
            )
        # Transactions begin with different members, so that each gets its share.
        turn = int.from_bytes(tx_id.encode()[-2:], "big") % (len(eligible) or 1)
        eligible = eligible[turn:] + eligible[:turn]
        up = [each for each in eligible if each.is_up]
        down = [each for each in eligible if not each.is_up]
        most = max(collection.maximum_peer_count, required)
        # Those that are down are asked only if the others are too few.
        first = up[:most]
        if len(first) < required:
            first += down[: required - len(first)]
        spare = [each for each in up + down if each not in first]
        message = encode_push(
            self._channel.channel_id, Pushed(tx_id, write, height), collection.config
        )
        return _Plan(write, message, first, spare, required)

    async def _push(self, plan: _Plan) -> bool:
        """Push the set of one collection; say whether enough members took it.

        Once they have, the others have a moment more and then go on by themselves, so that a member
        that hangs delays nobody.
        """
        now = asyncio.get_running_loop().time
        end, taken, spare = now() + LONGEST_S, 0, list(plan.spare)
        waiting = {self._start(each, plan) for each in plan.first}
        try:
            while waiting and taken < plan.required and now() < end:
                done, waiting = await asyncio.wait(
                    waiting, timeout=end - now(), return_when=asyncio.FIRST_COMPLETED
                )
                taken += sum(task.result() for task in done)
                lacking = max(0, plan.required - taken - len(waiting))
                waiting |= {self._start(each, plan) for each in spare[:lacking]}
                spare = spare[lacking:]
            if waiting and taken >= plan.required:
                await asyncio.wait(waiting, timeout=GRACE_S)
        except BaseException:
            for task in waiting:
                task.cancel()
            raise
        return taken >= plan.required

    def _start(self, member: Member, plan: _Plan) -> asyncio.Task[bool]:
        """Push to one member, in a task that may outlive the endorsement by a few seconds."""
        task = asyncio.create_task(self._push_to(member, plan, ACKNOWLEDGEMENT_S))
        self._pushing.add(task)
        task.add_done_callback(self._pushing.discard)
        return task

    async def _push_to(self, member: Member, plan: _Plan, timeout_s: float) -> bool:
        try:
            await member.ask(PUSH, plan.message, timeout_s)
        except MemberUnavailable:
            # Logged once, when the member went down, and not for every push.
            return False
        except MemberRefused as error:
            log.warning(
                "private data of %s/%s were not taken by %s: %s",
                plan.write.namespace, plan.write.collection, member.msp_id, error,
            )  # fmt: skip
            return False
        return True
