"""Asking other members' nodes for private write sets that this node lacks.

Each set is asked of one member at a time, the likeliest first, all members at once; what a member
does not have, or sends wrong, is asked of the next one. A member that is known to be down is passed
over, so that a dead one costs time once and then for a moment nothing.

Invariants: only what the caller accepts counts as found, and callers accept what the hashes in the
block say; a whole pull takes no longer than it was given.

Source: Fabric, gossip/privdata/pull.go (`fetchPrivateData`, `assignDigestsToPeers`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import islice, takewhile

from fabric_protos.gossip import message_pb2
from google.protobuf.message import DecodeError

from nodes.gateway.members import Member, MemberRefused, Members, MemberUnavailable
from nodes.private_data.digests import (
    MOST_DIGESTS,
    MOST_REQUEST_BYTES,
    PULL,
    Digest,
    PrivateMessageRefusal,
    encode_request,
    read_response,
)

__all__ = ["Accept", "Pulling"]

log = logging.getLogger(__name__)

Found = Mapping[Digest, Sequence[bytes]]
Accept = Callable[[str, Found], Awaitable[set[Digest]]]
"""Takes what one member (by MSP id) sent, and says which of it is what was asked for."""


class Pulling:
    """Pulls for one channel; used on the event loop.

    Args:
        channel_id: of the channel.
        members: the other members' nodes.
    """

    def __init__(self, channel_id: str, members: Members) -> None:
        self._channel_id = channel_id
        self._members = members

    def is_any_up(self, msp_ids: Iterable[str]) -> bool:
        """Say whether nothing speaks against asking one of these members."""
        others = self._members.others()
        return any(each in others and others[each].is_up for each in msp_ids)

    async def pull(
        self,
        wanted: Mapping[Digest, Sequence[str]],
        accept: Accept,
        deadline_s: float,
        answer_s: float,
    ) -> set[Digest]:
        """Ask for sets until all are found, nobody is left to ask, or the time is over.

        Args:
            wanted: for each set the members that may have it, likeliest first, by MSP id.
            accept: judges and takes over what came.
            deadline_s: for everything together.
            answer_s: for one answer of one member.
        Returns:
            The sets that were accepted.
        """
        left = {digest: list(members) for digest, members in wanted.items()}
        found: set[Digest] = set()
        try:
            async with asyncio.timeout(deadline_s):
                while left:
                    asked = self._assign(left)
                    if not asked:
                        break
                    answers = await asyncio.gather(
                        *(self._ask(member, digests, accept, answer_s) for member, digests in asked)
                    )
                    for accepted in answers:
                        found |= accepted
                        for digest in accepted:
                            left.pop(digest, None)
        except TimeoutError:
            log.warning("%d private write sets were not found within %g s", len(left), deadline_s)
        return found

    def _assign(self, left: dict[Digest, list[str]]) -> list[tuple[Member, list[Digest]]]:
        """Choose for each set the next member that is up; a member that is chosen goes."""
        others = self._members.others()
        asked: dict[str, list[Digest]] = {}
        for digest, members in left.items():
            while members:
                msp_id = members.pop(0)
                if msp_id in others and others[msp_id].is_up:
                    asked.setdefault(msp_id, []).append(digest)
                    break
        return [(others[msp_id], digests) for msp_id, digests in asked.items()]

    async def _ask(
        self, member: Member, digests: list[Digest], accept: Accept, answer_s: float
    ) -> set[Digest]:
        """Ask one member for all of *digests*, in as many requests as it takes."""
        accepted: set[Digest] = set()
        waiting = dict.fromkeys(digests)
        while waiting:
            part = list(takewhile(_Room().has_for, islice(waiting, MOST_DIGESTS)))
            part = part or list(islice(waiting, 1))
            try:
                raw = await member.ask(PULL, encode_request(self._channel_id, part), answer_s)
                message = message_pb2.GossipMessage.FromString(raw)
                answer = read_response(message, self._channel_id)
            except (MemberUnavailable, MemberRefused) as error:
                log.info("%s gives no private data: %s", member.msp_id, error)
                break
            except (DecodeError, PrivateMessageRefusal) as error:
                log.warning("%s sent what is no answer to a pull: %s", member.msp_id, error)
                break
            asked = {digest: sets for digest, sets in answer.items() if digest in waiting and sets}
            accepted |= await accept(member.msp_id, asked)
            # An answer is cut where it grows too large: what it does not hold is asked for again
            # as long as it holds anything.
            for digest in asked or part:
                waiting.pop(digest, None)
        return accepted


class _Room:
    """What one request still has room for; names may be long."""

    _AROUND_BYTES = 64

    def __init__(self) -> None:
        self._left = MOST_REQUEST_BYTES // 2

    def has_for(self, digest: Digest) -> bool:
        self._left -= self._AROUND_BYTES + sum(len(each.encode()) for each in digest[:3])
        return self._left >= 0
