"""Whom a node asks for private data first, and whom it asks last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from fabric_protos.gossip import message_pb2

from nodes.gateway.members import MemberRefused
from nodes.private_data import pulling
from nodes.private_data.digests import (
    MOST_ANSWER_BYTES,
    MOST_PUSH_BYTES,
    MOST_RESPONSE_BYTES,
    BoundedMessage,
    Digest,
    encode_response,
    read_request,
)
from nodes.private_data.pulling import Pulling

LIAR, HONEST = "LiarMSP", "HonestMSP"
PLACES = [Digest("", "book", "terms", number, 0) for number in range(3)]


class FakeMember:
    """A member's node that gives some of what it is asked for.

    Attributes:
        asked: what each call asked for.
    """

    is_up = True
    pads_with = 0

    def __init__(self, msp_id: str, holds: Sequence[Digest], *, refuses: bool = False) -> None:
        self.msp_id = msp_id
        self._holds = holds
        self._refuses = refuses
        self.asked: list[list[Digest]] = []

    async def ask(self, _method: str, request: bytes, _timeout_s: float) -> bytes:
        digests = read_request(message_pb2.GossipMessage.FromString(request), "qist")
        self.asked.append(digests)
        if self._refuses:
            raise MemberRefused("not today")
        found = [(each, [b"set"]) for each in digests if each in self._holds]
        raw: bytes = encode_response("qist", found).SerializeToString()
        # Field 15 of a GossipMessage is none.
        return raw + b"\x7a\x00" * (self.pads_with // 2)


class FakeMembers:
    """The other members of a channel."""

    def __init__(self, *members: FakeMember) -> None:
        self._members = {each.msp_id: each for each in members}

    def others(self) -> dict[str, Any]:
        return dict(self._members)


async def take(_msp_id: str, sent: Mapping[Digest, Sequence[bytes]]) -> set[Digest]:
    return set(sent)


async def pull(made: Pulling) -> set[Digest]:
    return await made.pull(dict.fromkeys(PLACES, (LIAR, HONEST)), take, 5.0, 1.0)


@pytest.mark.parametrize("refuses", [False, True])
@pytest.mark.parametrize("drops", [0, 1])
async def test_member_that_lets_others_wait_for_next_to_nothing_is_asked_last(
    monkeypatch: pytest.MonkeyPatch, drops: int, refuses: bool
) -> None:
    """It is left after one answer, and the next block does not wait for it at all."""
    monkeypatch.setattr(pulling, "SLOW_S", -1.0)
    liar = FakeMember(LIAR, PLACES[:drops], refuses=refuses)
    honest = FakeMember(HONEST, PLACES)
    made = Pulling("qist", FakeMembers(liar, honest))  # type: ignore[arg-type]
    for _block in range(2):
        assert await pull(made) == set(PLACES)
    assert liar.asked == [PLACES]
    assert honest.asked[-1] == PLACES


async def test_member_that_is_slow_and_alone_is_asked_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Asked last is not never asked; who gives everything is forgiven."""
    monkeypatch.setattr(pulling, "SLOW_S", -1.0)
    alone = FakeMember(HONEST, PLACES[:1])
    made = Pulling("qist", FakeMembers(alone))  # type: ignore[arg-type]
    for _block in range(2):
        assert await pull(made) == set(PLACES[:1])
    assert len(alone.asked) == 2


async def test_answer_longer_than_any_honest_one_is_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Parts that say nothing take far more memory than bytes; the next member is asked."""
    monkeypatch.setattr(pulling, "_ANSWER", BoundedMessage(1000))
    liar, honest = FakeMember(LIAR, PLACES), FakeMember(HONEST, PLACES)
    liar.pads_with = 2000
    made = Pulling("qist", FakeMembers(liar, honest))  # type: ignore[arg-type]
    assert await pull(made) == set(PLACES)
    assert (len(liar.asked), len(honest.asked)) == (1, 1)


def test_answers_may_be_as_long_as_what_is_sent() -> None:
    """The first set of an answer may be as long as one that was pushed."""
    assert MOST_RESPONSE_BYTES >= MOST_PUSH_BYTES + MOST_ANSWER_BYTES
