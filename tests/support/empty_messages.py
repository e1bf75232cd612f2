"""Messages of many parts that say nothing, and how much memory it takes to read them.

    python -m tests.support.empty_messages      prints for each kind how many times its size

A process of its own, since a peak of memory is a process's; each kind in a child of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
from collections.abc import Callable
from typing import Any

from fabric_protos.common import common_pb2
from fabric_protos.peer import proposal_pb2, proposal_response_pb2, transaction_pb2

from ledger.transactions.parse import compute_tx_id, parse_transaction
from ledger.varints import encode_varint
from network.msp import MSPManager
from network.policy import SignaturePolicy

COUNT = 300_000


def part(number: int, raw: bytes) -> bytes:
    """Return a length-delimited field."""
    return encode_varint(number << 3 | 2) + encode_varint(len(raw)) + raw


def envelope(results: bytes, endorsements: bytes = b"", actions: bytes = b"") -> bytes:
    """Return an endorser transaction around a read/write set."""
    extension = proposal_pb2.ChaincodeHeaderExtension()
    extension.chaincode_id.name = "shop"
    channel = common_pb2.ChannelHeader(
        type=3,
        channel_id="c",
        tx_id=compute_tx_id(b"nonce", b"creator"),
        extension=extension.SerializeToString(),
    ).SerializeToString()
    signature = common_pb2.SignatureHeader(creator=b"creator", nonce=b"nonce").SerializeToString()
    action = proposal_pb2.ChaincodeAction(results=results)
    action.chaincode_id.name = "shop"
    action.chaincode_id.version = "1"
    response = proposal_response_pb2.ProposalResponsePayload(
        proposal_hash=hashlib.sha256(channel + signature + b"p").digest(),
        extension=action.SerializeToString(),
    ).SerializeToString()
    endorsed = transaction_pb2.ChaincodeEndorsedAction(
        proposal_response_payload=response
    ).SerializeToString()
    inner = part(1, b"p") + part(2, endorsed + endorsements)
    payload = common_pb2.Payload(data=part(1, part(1, signature) + part(2, inner)) + actions)
    payload.header.channel_header = channel
    payload.header.signature_header = signature
    raw: bytes = common_pb2.Envelope(
        payload=payload.SerializeToString(), signature=b"s"
    ).SerializeToString()
    return raw


def in_namespace(raw: bytes) -> bytes:
    return part(2, part(1, b"shop") + raw)


EMPTY: dict[str, Callable[[], bytes]] = {
    "reads": lambda: envelope(in_namespace(part(2, part(1, b"") * COUNT))),
    "reads of version 0": lambda: envelope(in_namespace(part(2, part(1, part(2, b"")) * COUNT))),
    "ranges": lambda: envelope(in_namespace(part(2, part(2, b"") * COUNT))),
    "results of a range": lambda: envelope(
        in_namespace(part(2, part(2, part(4, part(1, b"") * COUNT))))
    ),
    "hashes of a range": lambda: envelope(
        in_namespace(part(2, part(2, part(5, part(3, b"") * COUNT))))
    ),
    "summaries": lambda: envelope(in_namespace(part(2, part(2, part(5, b"")) * COUNT))),
    "writes": lambda: envelope(in_namespace(part(2, part(3, b"") * COUNT))),
    "writes of metadata": lambda: envelope(in_namespace(part(2, part(4, part(2, b"")) * COUNT))),
    "entries of metadata": lambda: envelope(in_namespace(part(2, part(4, part(2, b"") * COUNT)))),
    "collections": lambda: envelope(in_namespace(part(3, b"") * COUNT)),
    "hashed reads": lambda: envelope(in_namespace(part(3, part(2, part(1, b"") * COUNT)))),
    "hashed writes": lambda: envelope(in_namespace(part(3, part(2, part(2, b"") * COUNT)))),
    "hashed metadata": lambda: envelope(
        in_namespace(part(3, part(2, part(3, part(2, b"") * COUNT))))
    ),
    "namespaces": lambda: envelope(part(2, b"") * COUNT),
    "endorsements": lambda: envelope(b"", part(2, b"") * COUNT),
    "actions": lambda: envelope(b"", b"", part(1, b"") * COUNT),
}


POLICIES: dict[str, Callable[[], bytes]] = {
    "principals": lambda: part(2, b"\x12\x02\x08\x00") + part(3, b"") * COUNT,
    "rules": lambda: part(2, part(2, part(2, b"\x08\x00") * COUNT)) + part(3, b""),
    "gates": lambda: part(2, part(2, part(2, part(2, b"")) * COUNT)) + part(3, b""),
}


def measure(name: str) -> float:
    """Return how many times its size a message took at most."""
    of_policy = name in POLICIES
    raw: Any = POLICIES[name]() if of_policy else EMPTY[name]()
    msps = MSPManager([])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if of_policy:
        SignaturePolicy(raw, msps)
    else:
        parse_transaction(raw)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (after - before) * 1024 / len(raw)


def measure_in_child(name: str) -> float:
    """Do so in a child, whose peak begins where the parent stands now."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write_end, str(measure(name)).encode())
        os._exit(0)
    os.close(write_end)
    os.waitpid(child, 0)
    with os.fdopen(read_end) as answer:
        return float(answer.read())


if __name__ == "__main__":
    print(json.dumps({name: measure_in_child(name) for name in (*EMPTY, *POLICIES)}))  # noqa: T201  its answer
