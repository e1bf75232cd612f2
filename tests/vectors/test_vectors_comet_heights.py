"""Heights that real CometBFTs decided on: hashes, votes and encodings are theirs to the byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from network.errors import FinalityError
from network.ordering.cometbft.finality.finality import (
    decode_record,
    decode_signed_header,
    encode_record,
    encode_signed_header,
    header_hash,
    verify_signed_header,
)
from network.ordering.cometbft.messages import types_pb2
from network.ordering.cometbft.process.conversions import parse_signed_header, parse_validator
from network.ordering.cometbft.validators import (
    Validator,
    address_of,
    merkle_root,
    validator_updates,
    validators_hash,
)

FOLDER = Path(__file__).parent / "cometbft-0.38.25"
CHAIN_ID = "qist-light-blocks"
HEIGHTS = sorted(int(each.stem) for each in (FOLDER / "heights").glob("*.json"))


def recorded(height: int) -> dict[str, Any]:
    """What the RPC answered about a height."""
    found: dict[str, Any] = json.loads((FOLDER / "heights" / f"{height:02}.json").read_text())
    return found


def signed_header(height: int) -> types_pb2.SignedHeader:
    """Header and commit of a height."""
    return parse_signed_header(recorded(height)["signed_header"])


def validators(height: int) -> tuple[Validator, ...]:
    """The validators of a height, in CometBFT's order."""
    return tuple(
        Validator(
            f"Member{place}MSP",
            each.pub_key.ed25519,
            each.voting_power,
            each.address,
            "",
            "localhost",
            1,
        )
        for place, each in enumerate(map(parse_validator, recorded(height)["validators"]))
    )


def test_recorded_heights_are_all_there() -> None:
    """What the table of the README tells is recorded."""
    assert HEIGHTS == [1, 2, 4, 5, 6, 7, 8, 13, 14, 15]


@pytest.mark.parametrize("height", HEIGHTS)
def test_recorded_header_has_the_hash_that_cometbft_names_it_by(height: int) -> None:
    """The Merkle root over the 14 fields of a header is its hash."""
    assert header_hash(signed_header(height).header).hex().upper() == recorded(height)["hash"]


@pytest.mark.parametrize("height", HEIGHTS)
def test_recorded_validators_have_their_addresses_and_the_hash_in_the_header(height: int) -> None:
    """Addresses come of keys, and the set's hash of keys and powers in the order given."""
    found = validators(height)
    assert [address_of(each.public_key) for each in found] == [each.address for each in found]
    assert [each.address for each in found] == sorted(each.address for each in found)
    assert validators_hash(found) == signed_header(height).header.validators_hash


@pytest.mark.parametrize("height", HEIGHTS)
def test_recorded_commit_proves_its_header(height: int) -> None:
    """Every recorded vote verifies, as it stands in a finality record."""
    record = encode_record(signed_header(height))
    finality = verify_signed_header(decode_record(record), CHAIN_ID, validators(height))
    assert finality.height == height
    assert finality.header_hash.hex().upper() == recorded(height)["hash"]
    present = len(finality.validators) - (1 if height in (8, 13, 14, 15) else 0)
    assert len(finality.signers) == present


@pytest.mark.parametrize("before", [1, 4, 5, 6, 7, 13, 14])
def test_recorded_commit_is_encoded_as_the_next_header_hashes_it(before: int) -> None:
    """The next header's LastCommitHash is over the entries of the commit, absent ones too.

    So these encodings are CometBFT's, and with them those inside a finality record.
    """
    commit = signed_header(before).commit
    leaves = [each.SerializeToString(deterministic=True) for each in commit.signatures]
    assert merkle_root(leaves) == signed_header(before + 1).header.last_commit_hash
    assert signed_header(before + 1).header.last_block_id == commit.block_id


def test_recorded_change_of_validators_counts_from_the_second_height_after() -> None:
    """Told at height 4, named by header 5 as the next set, in force at 6."""
    assert [len(validators(height)) for height in (5, 6, 8)] == [4, 3, 4]
    assert signed_header(5).header.next_validators_hash == validators_hash(validators(6))
    assert signed_header(4).header.next_validators_hash == validators_hash(validators(5))
    (gone,) = validator_updates(validators(5), validators(6))
    assert gone.power == 0
    (back,) = validator_updates(validators(6), validators(8))
    assert (back.public_key, back.power) == (gone.public_key, 1)


def test_recorded_commit_of_a_second_round_names_its_round() -> None:
    """Where a proposer is away, the votes are of round 1, and sign it."""
    signed = signed_header(14)
    assert signed.commit.round == 1
    signed.commit.round = 0
    with pytest.raises(FinalityError, match="signature"):
        verify_signed_header(signed, CHAIN_ID, validators(14))


def test_recorded_commit_proves_nothing_under_another_set() -> None:
    """The set of a height is no other's."""
    with pytest.raises(FinalityError, match="validators are not those"):
        verify_signed_header(signed_header(5), CHAIN_ID, validators(6))
    with pytest.raises(FinalityError, match="is of chain 'qist-light-blocks'"):
        verify_signed_header(signed_header(5), "another", validators(5))


@pytest.mark.parametrize("height", [1, 8])
def test_recorded_height_has_one_encoding(height: int) -> None:
    """Parts that CometBFT always writes are written though they are empty, as in height 1."""
    raw = encode_signed_header(signed_header(height))
    assert encode_signed_header(decode_signed_header(raw)) == raw
    if height == 1:
        # last_block_id with an empty part_set_header inside.
        assert b"\x2a\x02\x12\x00" in raw
        without = raw.replace(b"\x2a\x02\x12\x00", b"")
        with pytest.raises(FinalityError):
            decode_signed_header(without)
