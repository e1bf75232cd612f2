"""Headers, commits and validators as CometBFT's RPC writes them, read into its protobuf messages.

The RPC answers in JSON: integers of 64 bits and hashes as text (hexadecimal), other bytes in
base64, times in RFC 3339 with up to nine decimals. What is read here is signed by validators, so it
is read exactly: a field that is missing or of another form is refused, never guessed.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from ledger.errors import DecodeError
from network.ordering.cometbft.messages import keys_pb2, types_pb2, validator_pb2

__all__ = ["parse_signed_header", "parse_timestamp", "parse_validator"]

_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")


def parse_signed_header(found: Any) -> types_pb2.SignedHeader:
    """Read what `/commit` calls `signed_header`.

    Raises:
        DecodeError: it is not what it should be.
    """
    try:
        return types_pb2.SignedHeader(
            header=_header(found["header"]), commit=_commit(found["commit"])
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _unreadable("signed header", error) from error


def parse_validator(found: Any) -> validator_pb2.Validator:
    """Read one of what `/validators` calls `validators`.

    Raises:
        DecodeError: it is not what it should be.
    """
    try:
        key = found["pub_key"]
        if key["type"] != "tendermint/PubKeyEd25519":
            raise ValueError("a key that is not Ed25519")
        return validator_pb2.Validator(
            address=bytes.fromhex(found["address"]),
            pub_key=keys_pb2.PublicKey(ed25519=_base64(key["value"])),
            voting_power=int(found["voting_power"]),
            proposer_priority=int(found["proposer_priority"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _unreadable("validator", error) from error


def parse_timestamp(text: str) -> Timestamp:
    """Read a time to the nanosecond.

    Raises:
        ValueError: it is none.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError("a time that is not in RFC 3339, UTC")
    whole = datetime.fromisoformat(found[1]).replace(tzinfo=UTC)
    # The year 1, Go's zero time, lies before what `timestamp()` can give on some systems.
    seconds = (whole - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    return Timestamp(seconds=seconds, nanos=int((found[2] or "").ljust(9, "0")))


def _header(found: Any) -> types_pb2.Header:
    header = types_pb2.Header(
        chain_id=found["chain_id"],
        height=int(found["height"]),
        time=parse_timestamp(found["time"]),
        last_block_id=_block_id(found["last_block_id"]),
    )
    header.version.block = int(found["version"]["block"])
    # An application's version of 0 is left out of the JSON.
    header.version.app = int(found["version"].get("app", "0"))
    for name in (
        "last_commit_hash",
        "data_hash",
        "validators_hash",
        "next_validators_hash",
        "consensus_hash",
        "app_hash",
        "last_results_hash",
        "evidence_hash",
        "proposer_address",
    ):
        setattr(header, name, bytes.fromhex(found[name]))
    return header


def _commit(found: Any) -> types_pb2.Commit:
    return types_pb2.Commit(
        height=int(found["height"]),
        round=int(found["round"]),
        block_id=_block_id(found["block_id"]),
        signatures=[_signature(each) for each in found["signatures"]],
    )


def _signature(found: Any) -> types_pb2.CommitSig:
    signature = types_pb2.CommitSig(
        block_id_flag=validator_pb2.BlockIDFlag.Name(int(found["block_id_flag"])),
        validator_address=bytes.fromhex(found["validator_address"]),
        timestamp=parse_timestamp(found["timestamp"]),
    )
    if found["signature"] is not None:
        signature.signature = _base64(found["signature"])
    return signature


def _block_id(found: Any) -> types_pb2.BlockID:
    parts = found["parts"]
    return types_pb2.BlockID(
        hash=bytes.fromhex(found["hash"]),
        part_set_header=types_pb2.PartSetHeader(
            total=int(parts["total"]), hash=bytes.fromhex(parts["hash"])
        ),
    )


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("bytes that are not in base64") from error


def _unreadable(what: str, error: Exception) -> DecodeError:
    return DecodeError(
        f"CometBFT's {what} cannot be read ({type(error).__name__}: {error}); "
        "run the CometBFT that `make cometbft` installs"
    )
