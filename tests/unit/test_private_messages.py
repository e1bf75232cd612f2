"""The messages in which nodes speak of private data: what is read back, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fabric_protos.gossip import message_pb2
from fabric_protos.peer import collection_pb2

from ledger.transactions.private import PrivateWrite
from nodes.private_data.digests import (
    MOST_DIGESTS,
    BoundedMessage,
    Digest,
    PrivateMessageRefusal,
    Pushed,
    encode_push,
    encode_request,
    encode_response,
    read_push,
    read_request,
    read_response,
)

CHANNEL = "qist"
DIGEST = Digest("ab" * 32, "book", "terms", 7, 2)
PUSHED = Pushed("ab" * 32, PrivateWrite("book", "terms", b"\x1a\x00"), 9)
CONFIG = collection_pb2.StaticCollectionConfig(name="terms").SerializeToString()


def parse(raw: bytes) -> Any:
    """As the service parses."""
    return message_pb2.GossipMessage.FromString(raw)


def test_push_encoded_is_read_back() -> None:
    """A push carries the set, its place, the sender's height and the collection's definition."""
    message = parse(encode_push(CHANNEL, PUSHED, CONFIG))
    assert read_push(message, CHANNEL) == PUSHED
    configs = message.private_data.payload.collection_configs.config
    assert [each.static_collection_config.name for each in configs] == ["terms"]


def test_request_and_response_encoded_are_read_back() -> None:
    """A pull names sets; its answer holds them by the same names."""
    digests = [DIGEST, DIGEST._replace(tx_id="", block_num=3)]
    assert read_request(parse(encode_request(CHANNEL, digests)), CHANNEL) == digests
    response = encode_response(CHANNEL, [(DIGEST, [b"one", b"two"])])
    assert read_response(response, CHANNEL) == {DIGEST: [b"one", b"two"]}


def _without(change: Callable[[Any], None]) -> Any:
    message = parse(encode_push(CHANNEL, PUSHED, CONFIG))
    change(message.private_data.payload)
    return message


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (_without(lambda payload: payload.ClearField("private_rwset")), "no private write set"),
        (_without(lambda payload: payload.ClearField("tx_id")), "name all three"),
        (_without(lambda payload: payload.ClearField("namespace")), "name all three"),
        (_without(lambda payload: setattr(payload, "collection_name", "c" * 2000)), "longer than"),
        (parse(encode_push("another", PUSHED, CONFIG)), "not of channel qist"),
        (parse(encode_request(CHANNEL, [DIGEST])), "send a PrivateDataMessage"),
        (message_pb2.GossipMessage(), "not of channel"),
    ],
)
def test_push_that_breaks_a_rule_is_refused(message: Any, words: str) -> None:
    """Foreign messages are refused with the rule they break."""
    with pytest.raises(PrivateMessageRefusal, match=words):
        read_push(message, CHANNEL)


@pytest.mark.parametrize(
    ("digests", "words"),
    [
        ([], "for 0"),
        ([DIGEST] * (MOST_DIGESTS + 1), "ask again for the rest"),
        ([DIGEST._replace(namespace="")], "name all three"),
        ([DIGEST._replace(tx_id="x" * 5000)], "longer than"),
    ],
)
def test_pull_that_breaks_a_rule_is_refused(digests: list[Digest], words: str) -> None:
    """A pull is bounded, and names what it wants."""
    with pytest.raises(PrivateMessageRefusal, match=words):
        read_request(parse(encode_request(CHANNEL, digests)), CHANNEL)


def test_message_longer_than_its_bound_is_not_parsed() -> None:
    """Its length is looked at before anything is made of it."""
    raw = encode_request(CHANNEL, [DIGEST])
    assert BoundedMessage(len(raw)).FromString(raw) == parse(raw)
    with pytest.raises(PrivateMessageRefusal, match="ask for less"):
        BoundedMessage(len(raw) - 1).FromString(raw)


@pytest.mark.parametrize(
    "found",
    [
        [(DIGEST._replace(tx_num=number), [b"x"]) for number in range(MOST_DIGESTS + 1)],
        [(DIGEST, [b"x"] * 200)],
    ],
)
def test_answer_with_more_than_was_asked_for_is_refused(
    found: list[tuple[Digest, list[bytes]]],
) -> None:
    """No answer holds more digests than a request, or sets without number."""
    with pytest.raises(PrivateMessageRefusal, match="holds more than"):
        read_response(encode_response(CHANNEL, found), CHANNEL)


def test_pull_answered_with_something_else_is_refused() -> None:
    """What is no answer counts for nothing."""
    with pytest.raises(PrivateMessageRefusal, match="no privateRes"):
        read_response(parse(encode_request(CHANNEL, [DIGEST])), CHANNEL)
