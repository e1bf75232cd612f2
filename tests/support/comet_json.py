"""CometBFT's messages as its RPC writes them in JSON."""

from __future__ import annotations

import base64
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from network.ordering.cometbft.messages import types_pb2

HASHES = (
    "last_commit_hash",
    "data_hash",
    "validators_hash",
    "next_validators_hash",
    "consensus_hash",
    "app_hash",
    "last_results_hash",
    "evidence_hash",
    "proposer_address",
)


def signed_header_json(signed: types_pb2.SignedHeader) -> dict[str, Any]:
    """What `/commit` calls `signed_header`."""
    header, commit = signed.header, signed.commit
    return {
        "header": {
            "version": {"block": str(header.version.block), "app": str(header.version.app)},
            "chain_id": header.chain_id,
            "height": str(header.height),
            "time": _time(header.time),
            "last_block_id": _block_id(header.last_block_id),
            **{name: getattr(header, name).hex().upper() for name in HASHES},
        },
        "commit": {
            "height": str(commit.height),
            "round": commit.round,
            "block_id": _block_id(commit.block_id),
            "signatures": [
                {
                    "block_id_flag": each.block_id_flag,
                    "validator_address": each.validator_address.hex().upper(),
                    "timestamp": _time(each.timestamp),
                    "signature": base64.b64encode(each.signature).decode() or None,
                }
                for each in commit.signatures
            ],
        },
    }


def _block_id(block_id: types_pb2.BlockID) -> dict[str, Any]:
    parts = block_id.part_set_header
    return {
        "hash": block_id.hash.hex().upper(),
        "parts": {"total": parts.total, "hash": parts.hash.hex().upper()},
    }


def _time(stamp: Timestamp) -> str:
    return str(stamp.ToJsonString())
