"""The messages in which nodes speak of private data: Fabric's gossip messages, over our own calls.

Each is a ``gossip.GossipMessage`` of one channel. A *push* carries the set of one collection of one
transaction (``PrivateDataMessage``) and is answered with an ``Acknowledgement``. A *pull* names
sets by digests (``RemotePvtDataRequest``) and is answered with those that the asked node holds
and the caller may have (``RemotePvtDataResponse``).

Everything decoded here is foreign: bounded, and refused with the rule that it breaks.

Source: fabric-protos, gossip/message.proto; Fabric, gossip/privdata/{distributor,pull}.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from fabric_protos.gossip import message_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from google.protobuf.message import DecodeError as ProtobufDecodeError

from chaincode.simulator import Limits
from ledger.errors import Refusal
from ledger.transactions.private import PrivateWrite

__all__ = ["BoundedMessage", "Digest", "PrivateMessageRefusal", "Pushed"]

SERVICE: Final = "qist.PrivateData"
PUSH: Final = f"/{SERVICE}/Push"
PULL: Final = f"/{SERVICE}/Pull"
MOST_DIGESTS: Final = 256
"""Of one request; a node that lacks more asks again."""
MOST_ANSWER_BYTES: Final = 4 * 1024 * 1024
"""Of the sets in one answer, the first one apart; what does not fit is asked for again."""
MOST_REQUEST_BYTES: Final = 256 * 1024
"""Of a pull; a longer one is not parsed."""
MOST_PUSH_BYTES: Final = 20 * 1024 * 1024
"""Of a push; a longer one is not parsed. No simulation writes more (`chaincode.simulator`)."""
MOST_RESPONSE_BYTES: Final = MOST_ANSWER_BYTES + MOST_PUSH_BYTES
"""Of an answer with everything around it, whose first set may be as long as one that is pushed."""
MOST_WRITES: Final = 2 * Limits().writes
"""Of a pushed set: twice what a simulation may write. Every entitled node keeps and indexes each,
also of a transaction that turns out invalid; where endorsers allow more, it is pulled at commit."""
MOST_DEFINITION_BYTES: Final = 64 * 1024
"""Of the definition that comes with a push."""
MOST_SETS: Final = 128
"""Of one digest in an answer: a holder has one, or before the block some that differ."""
_MOST_NAME_BYTES: Final = 1024


class PrivateMessageRefusal(Refusal):
    """A message about private data does not say what it should."""


class BoundedMessage:
    """``gossip.GossipMessage`` as it is parsed: its length is looked at first.

    Args:
        most_bytes: a longer one is refused.
    """

    DESCRIPTOR = message_pb2.GossipMessage.DESCRIPTOR

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes

    def FromString(self, raw: bytes) -> Any:
        """Parse a message; raises PrivateMessageRefusal, or protobuf's DecodeError."""
        if len(raw) > self._most_bytes:
            raise PrivateMessageRefusal(
                f"a message of {len(raw)} bytes is longer than {self._most_bytes}; ask for less, "
                "or write less in one transaction"
            )
        return message_pb2.GossipMessage.FromString(raw)


class Digest(NamedTuple):
    """Which set is meant: a collection's, of one transaction of one block."""

    tx_id: str
    namespace: str
    collection: str
    block_num: int
    tx_num: int


class Pushed(NamedTuple):
    """A set that another node pushed: what an endorsed transaction will write."""

    tx_id: str
    write: PrivateWrite
    height: int


def encode_push(channel_id: str, pushed: Pushed, config: bytes) -> bytes:
    """Return a push.

    Args:
        channel_id: of the channel.
        pushed: the set, and the sender's height when it was endorsed.
        config: the collection's marshalled ``StaticCollectionConfig``.
    """
    message = _message(channel_id)
    payload = message.private_data.payload
    payload.tx_id = pushed.tx_id
    payload.namespace = pushed.write.namespace
    payload.collection_name = pushed.write.collection
    payload.private_rwset = pushed.write.rwset
    payload.private_sim_height = pushed.height
    payload.collection_configs.config.add().static_collection_config.MergeFromString(config)
    raw: bytes = message.SerializeToString()
    return raw


def read_push(message: Any, channel_id: str) -> Pushed:
    """Read a push.

    Raises:
        PrivateMessageRefusal: it is none, or of another channel, or a part is missing.
    """
    _verify_channel(message, channel_id)
    if message.WhichOneof("content") != "private_data":
        raise PrivateMessageRefusal("a push must carry private_data; send a PrivateDataMessage")
    payload = message.private_data.payload
    if not payload.private_rwset:
        raise PrivateMessageRefusal("a push carries no private write set; send one collection's")
    _verify_names(payload.tx_id, payload.namespace, payload.collection_name)
    write = PrivateWrite(payload.namespace, payload.collection_name, payload.private_rwset)
    return Pushed(payload.tx_id, write, payload.private_sim_height)


def verify_pushed_set(rwset: bytes) -> None:
    """Look at a pushed set before it is kept.

    Raises:
        PrivateMessageRefusal: it is no set of writes, or of more than are taken.
    """
    try:
        message = kv_rwset_pb2.KVRWSet.FromString(rwset)
    except ProtobufDecodeError as error:
        raise PrivateMessageRefusal(
            f"a push carries {len(rwset)} bytes that are no kvrwset.KVRWSet ({error})"
        ) from error
    count = len(message.writes) + len(message.metadata_writes)
    if count > MOST_WRITES:
        raise PrivateMessageRefusal(
            f"a push carries a set of {count} writes, and at most {MOST_WRITES} are taken; write "
            "less in one transaction"
        )
    if not all(each.key for each in (*message.writes, *message.metadata_writes)):
        raise PrivateMessageRefusal("a push carries a write to an empty key")


def encode_acknowledgement(channel_id: str) -> Any:
    """Return the answer to a push that was taken."""
    message = _message(channel_id)
    message.ack.SetInParent()
    return message


def encode_request(channel_id: str, digests: Iterable[Digest]) -> bytes:
    """Return a pull for *digests*, at most `MOST_DIGESTS`."""
    message = _message(channel_id)
    message.privateReq.SetInParent()
    for each in digests:
        _fill(message.privateReq.digests.add(), each)
    raw: bytes = message.SerializeToString()
    return raw


def read_request(message: Any, channel_id: str) -> list[Digest]:
    """Read a pull.

    Raises:
        PrivateMessageRefusal: it is none, of another channel, or asks for nothing or too much.
    """
    _verify_channel(message, channel_id)
    if message.WhichOneof("content") != "privateReq":
        raise PrivateMessageRefusal("a pull must carry privateReq; send a RemotePvtDataRequest")
    asked = message.privateReq.digests
    if not 0 < len(asked) <= MOST_DIGESTS:
        raise PrivateMessageRefusal(
            f"a pull asks for 1 to {MOST_DIGESTS} sets, this one for {len(asked)}; ask again for "
            "the rest"
        )
    digests = []
    for each in asked:
        digest = _digest(each)
        if digest.tx_id:
            _verify_names(digest.tx_id, digest.namespace, digest.collection)
        else:
            _verify_names(digest.namespace, digest.collection)
        digests.append(digest)
    return digests


def encode_response(channel_id: str, found: Iterable[tuple[Digest, Sequence[bytes]]]) -> Any:
    """Return the answer to a pull: what was found, each with its digest."""
    message = _message(channel_id)
    message.privateRes.SetInParent()
    for digest, rwsets in found:
        element = message.privateRes.elements.add(payload=rwsets)
        _fill(element.digest, digest)
    return message


def read_response(message: Any, channel_id: str) -> dict[Digest, list[bytes]]:
    """Read the answer to a pull; what is in it is not verified yet.

    Raises:
        PrivateMessageRefusal: it is none.
    """
    _verify_channel(message, channel_id)
    if message.WhichOneof("content") != "privateRes":
        raise PrivateMessageRefusal("the answer to a pull carries no privateRes")
    elements = message.privateRes.elements
    if len(elements) > MOST_DIGESTS or any(len(each.payload) > MOST_SETS for each in elements):
        raise PrivateMessageRefusal(
            f"the answer to a pull holds more than {MOST_DIGESTS} digests, or more than "
            f"{MOST_SETS} sets for one"
        )
    found: dict[Digest, list[bytes]] = {}
    for element in elements:
        found.setdefault(_digest(element.digest), []).extend(element.payload)
    return found


def _message(channel_id: str) -> Any:
    return message_pb2.GossipMessage(
        channel=channel_id.encode(), tag=message_pb2.GossipMessage.CHAN_ONLY
    )


def _verify_channel(message: Any, channel_id: str) -> None:
    if message.channel != channel_id.encode():
        raise PrivateMessageRefusal(
            f"the message is not of channel {channel_id}, the one that this node keeps"
        )


def _verify_names(*names: str) -> None:
    if not all(0 < len(each) <= _MOST_NAME_BYTES for each in names):
        raise PrivateMessageRefusal(
            "a transaction id, namespace or collection is missing or longer than "
            f"{_MOST_NAME_BYTES} characters; name all three"
        )


def _fill(message: Any, digest: Digest) -> None:
    message.tx_id = digest.tx_id
    message.namespace = digest.namespace
    message.collection = digest.collection
    message.block_seq = digest.block_num
    message.seq_in_block = digest.tx_num


def _digest(message: Any) -> Digest:
    return Digest(
        message.tx_id,
        message.namespace,
        message.collection,
        message.block_seq,
        message.seq_in_block,
    )
