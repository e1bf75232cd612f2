"""What CometBFT's RPC tells in JSON, read exactly or not at all."""

from __future__ import annotations

import base64
import copy
from collections.abc import Iterator
from typing import Any

import pytest

from ledger.errors import DecodeError
from network.ordering.cometbft.messages import validator_pb2
from network.ordering.cometbft.process.conversions import (
    parse_signed_header,
    parse_timestamp,
    parse_validator,
)

HASHES = (
    "last_commit_hash",
    "data_hash",
    "validators_hash",
    "next_validators_hash",
    "consensus_hash",
    "app_hash",
    "last_results_hash",
    "evidence_hash",
)
BLOCK_ID = {"hash": "AB" * 32, "parts": {"total": 3, "hash": "CD" * 32}}
SIGNED_HEADER: dict[str, Any] = {
    "header": {
        "version": {"block": "11", "app": "1"},
        "chain_id": "qist-0123456789abcdef",
        "height": "9007199254740993",
        "time": "2026-11-25T22:13:13.235644491Z",
        "last_block_id": BLOCK_ID,
        **{name: f"{number:02X}" * 32 for number, name in enumerate(HASHES, start=1)},
        "proposer_address": "EF" * 20,
    },
    "commit": {
        "height": "9007199254740993",
        "round": 2,
        "block_id": BLOCK_ID,
        "signatures": [
            {
                "block_id_flag": 2,
                "validator_address": "EF" * 20,
                "timestamp": "2026-11-25T22:13:13.3Z",
                "signature": base64.b64encode(b"s" * 64).decode(),
            },
            {
                "block_id_flag": 1,
                "validator_address": "",
                "timestamp": "0001-01-01T00:00:00Z",
                "signature": None,
            },
        ],
    },
}
VALIDATOR: dict[str, Any] = {
    "address": "EF" * 20,
    "pub_key": {
        "type": "tendermint/PubKeyEd25519",
        "value": base64.b64encode(b"k" * 32).decode(),
    },
    "voting_power": "1",
    "proposer_priority": "-2",
}


def paths(found: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value in JSON, folders first."""
    if before:
        yield before
    if isinstance(found, dict):
        for name, value in found.items():
            yield from paths(value, (*before, name))
    elif isinstance(found, list):
        for place, value in enumerate(found):
            yield from paths(value, (*before, place))


def changed(found: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy in which one value is another; without it where *value* is `...`."""
    made = copy.deepcopy(found)
    place = made
    for name in path[:-1]:
        place = place[name]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return made


def test_signed_header_is_read_to_the_last_digit() -> None:
    """Heights above what a float holds, nanoseconds, and who did not vote."""
    found = parse_signed_header(SIGNED_HEADER)
    header, commit = found.header, found.commit
    assert (header.version.block, header.version.app) == (11, 1)
    assert header.height == commit.height == 9_007_199_254_740_993
    assert header.time.nanos == 235_644_491
    for number, name in enumerate(HASHES, start=1):
        assert getattr(header, name) == bytes([number]) * 32
    assert header.proposer_address == b"\xef" * 20
    assert header.last_block_id.part_set_header.total == 3
    assert (commit.round, commit.block_id.hash) == (2, b"\xab" * 32)
    voted, absent = commit.signatures
    assert voted.block_id_flag == validator_pb2.BLOCK_ID_FLAG_COMMIT
    assert (voted.timestamp.nanos, voted.signature) == (300_000_000, b"s" * 64)
    assert absent.block_id_flag == validator_pb2.BLOCK_ID_FLAG_ABSENT
    assert (absent.validator_address, absent.signature) == (b"", b"")
    assert absent.timestamp.seconds == -62_135_596_800


def test_signed_header_without_an_application_version_has_version_0() -> None:
    """CometBFT leaves a version of 0 out."""
    found = parse_signed_header(changed(SIGNED_HEADER, ("header", "version", "app"), ...))
    assert found.header.version.app == 0


MISSING = [path for path in paths(SIGNED_HEADER) if path[-1] != "app" and isinstance(path[-1], str)]


@pytest.mark.parametrize("path", MISSING, ids=lambda path: ".".join(map(str, path)))
@pytest.mark.parametrize("value", [..., {"what": "else"}, "no such thing"])
def test_signed_header_with_a_field_missing_or_of_another_form_is_refused(
    path: tuple[Any, ...], value: Any
) -> None:
    """Nothing is guessed; what is a mere text may say anything, since it is signed."""
    if path == ("header", "chain_id") and isinstance(value, str):
        assert parse_signed_header(changed(SIGNED_HEADER, path, value)).header.chain_id == value
        return
    with pytest.raises(DecodeError, match="signed header cannot be read"):
        parse_signed_header(changed(SIGNED_HEADER, path, value))


@pytest.mark.parametrize("found", [None, [], "text", 7, {}])
def test_signed_header_or_validator_of_another_kind_is_refused(found: Any) -> None:
    """Also what is no JSON object."""
    with pytest.raises(DecodeError):
        parse_signed_header(found)
    with pytest.raises(DecodeError):
        parse_validator(found)


def test_validator_is_read_with_its_key() -> None:
    """Key, address and weight."""
    found = parse_validator(VALIDATOR)
    assert (found.address, found.pub_key.ed25519) == (b"\xef" * 20, b"k" * 32)
    assert (found.voting_power, found.proposer_priority) == (1, -2)


@pytest.mark.parametrize("path", list(paths(VALIDATOR)), ids=lambda path: ".".join(map(str, path)))
@pytest.mark.parametrize("value", [..., {}, "?"])
def test_validator_with_a_field_missing_or_of_another_form_is_refused(
    path: tuple[Any, ...], value: Any
) -> None:
    """A key of another kind is another form."""
    with pytest.raises(DecodeError, match="validator cannot be read"):
        parse_validator(changed(VALIDATOR, path, value))


@pytest.mark.parametrize(
    ("text", "seconds", "nanos"),
    [
        ("1970-01-01T00:00:00Z", 0, 0),
        ("1970-01-01T00:00:01.000000001Z", 1, 1),
        ("1969-12-31T23:59:59.5Z", -1, 500_000_000),
        ("0001-01-01T00:00:00Z", -62_135_596_800, 0),
    ],
)
def test_timestamp_is_read_to_the_nanosecond(text: str, seconds: int, nanos: int) -> None:
    """As Go writes it: the zeros at the end are left out."""
    found = parse_timestamp(text)
    assert (found.seconds, found.nanos) == (seconds, nanos)


@pytest.mark.parametrize(
    "text", ["", "1970-01-01", "1970-01-01T00:00:00", "1970-01-01T00:00:00+05:00", "1970-13-01T0Z"]
)
def test_timestamp_of_another_form_is_refused(text: str) -> None:
    """Only UTC is read: another zone was never signed."""
    with pytest.raises(ValueError, match="time"):
        parse_timestamp(text)
