"""Asking other members' nodes for private write sets that this node lacks.

Each set is asked of one member at a time, the likeliest first, all members at once; what a member
does not have, or sends wrong, is asked of the next one. A member that is known to be down is passed
over, so that a dead one costs time once and then for a moment nothing. One that is up and lets
others wait for next to nothing is asked after the others for a moment that doubles each time.

Invariants: only what the caller accepts counts as found, and callers accept what the hashes in the
block say; a whole pull takes no longer than it was given.

Source: Fabric, gossip/privdata/pull.go (`fetchPrivateData`, `assignDigestsToPeers`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import islice, takewhile
from typing import Final

from google.protobuf.message import DecodeError

from nodes.gateway.members import Member, MemberRefused, Members, MemberUnavailable
from nodes.private_data.digests import (
    MOST_DIGESTS,
    MOST_REQUEST_BYTES,
    MOST_RESPONSE_BYTES,
    PULL,
    BoundedMessage,
    Digest,
    PrivateMessageRefusal,
    encode_request,
    read_response,
)

__all__ = ["Accept", "Pulling"]

log = logging.getLogger(__name__)

Found = Mapping[Digest, Sequence[bytes]]
SLOW_S: Final = 0.5
"""An answer that takes longer has to be worth it."""
WORTH_BYTES: Final = 64 * 1024
_ANSWER: Final = BoundedMessage(MOST_RESPONSE_BYTES)
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 10.0
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
        # Until when a member is asked last, and for how long that was.
        self._last: dict[str, tuple[float, float]] = {}

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
        now = asyncio.get_running_loop().time()
        asked: dict[str, list[Digest]] = {}
        for digest, members in left.items():
            members[:] = sorted(
                [each for each in members if each in others and others[each].is_up],
                key=lambda each: self._last.get(each, (0.0, 0.0))[0] > now,
            )
            if members:
                asked.setdefault(members.pop(0), []).append(digest)
        return [(others[msp_id], digests) for msp_id, digests in asked.items()]

    async def _ask(
        self, member: Member, digests: list[Digest], accept: Accept, answer_s: float
    ) -> set[Digest]:
        """Ask one member for all of *digests*, in as many requests as it takes."""
        accepted: set[Digest] = set()
        waiting = dict.fromkeys(digests)
        now = asyncio.get_running_loop().time
        while waiting:
            begun = now()
            part = list(takewhile(_Room().has_for, islice(waiting, MOST_DIGESTS)))
            part = part or list(islice(waiting, 1))
            try:
                raw = await member.ask(PULL, encode_request(self._channel_id, part), answer_s)
                answer = read_response(_ANSWER.FromString(raw), self._channel_id)
            except (MemberUnavailable, MemberRefused) as error:
                log.info("%s gives no private data: %s", member.msp_id, error)
                self._judge(member.msp_id, now() - begun, 0)
                break
            except (DecodeError, PrivateMessageRefusal) as error:
                log.warning("%s sent what is no answer to a pull: %s", member.msp_id, error)
                self._judge(member.msp_id, now() - begun, 0)
                break
            asked = {digest: sets for digest, sets in answer.items() if digest in waiting and sets}
            taken = await accept(member.msp_id, asked)
            accepted |= taken
            worth = sum(min(map(len, asked[digest])) for digest in taken)
            is_all = len(taken) == len(part)
            if not self._judge(member.msp_id, now() - begun, WORTH_BYTES if is_all else worth):
                break
            # An answer is cut where it grows too large: what it does not hold is asked for again
            # as long as it holds anything.
            for digest in asked or part:
                waiting.pop(digest, None)
        return accepted

    def _judge(self, msp_id: str, seconds: float, worth: int) -> bool:
        """Say whether an answer was worth waiting for; who lets others wait is asked last."""
        if seconds <= SLOW_S or worth >= WORTH_BYTES:
            if worth:
                self._last.pop(msp_id, None)
            return True
        pause_s = min(max(_FIRST_PAUSE_S, 2 * self._last.get(msp_id, (0, 0))[1]), _LONGEST_PAUSE_S)
        self._last[msp_id] = asyncio.get_running_loop().time() + pause_s, pause_s
        log.info("%s is slow to give next to nothing and is asked last for %g s", msp_id, pause_s)
        return False


class _Room:
    """What one request still has room for; names may be long."""

    _AROUND_BYTES = 64

    def __init__(self) -> None:
        self._left = MOST_REQUEST_BYTES // 2

    def has_for(self, digest: Digest) -> bool:
        self._left -= self._AROUND_BYTES + sum(len(each.encode()) for each in digest[:3])
        return self._left >= 0
