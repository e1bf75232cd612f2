"""A finality record proves something only if every rule about header and votes holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.varints import encode_varint
from network.errors import FinalityError
from network.ordering.cometbft.finality.finality import (
    decode_record,
    decode_signed_header,
    encode_record,
    encode_signed_header,
    header_hash,
    verify_signed_header,
    vote_sign_bytes,
)
from network.ordering.cometbft.messages import canonical_pb2, types_pb2
from network.ordering.cometbft.validators import Validator, address_of
from tests.support.voted_chain import Keys, new_key, vote

CHAIN_ID = "qist-0123456789abcdef"
KEYS: Keys = {}


def _validator(name: str, power: int = 1) -> Validator:
    public = new_key(KEYS).public_key().public_bytes_raw()
    return Validator(name, public, power, address_of(public), "00" * 20, "localhost", 7052)


VALIDATORS = tuple(sorted(map(_validator, "ABCD"), key=lambda each: each.address))
A, B, C, D = (each.msp_id for each in VALIDATORS)


def new_header(height: int = 7) -> types_pb2.Header:
    """A header of this chain."""
    header = types_pb2.Header(
        chain_id=CHAIN_ID, height=height, app_hash=b"a" * 32, next_validators_hash=b"n" * 32
    )
    header.version.block, header.version.app = 11, 1
    header.time.seconds = 1_790_000_000
    header.last_block_id.hash = b"h" * 32
    header.last_block_id.part_set_header.total = 1
    header.last_block_id.part_set_header.hash = b"p" * 32
    return header


def decided(
    *, absent: str = "", against: str = "", round_number: int = 0
) -> types_pb2.SignedHeader:
    """A header with its commit."""
    return vote(
        new_header(), VALIDATORS, KEYS, absent=absent, against=against, round_number=round_number
    )


def refused(signed: types_pb2.SignedHeader, reason: str) -> None:
    """Check that it proves nothing, for that reason."""
    with pytest.raises(FinalityError, match=reason):
        verify_signed_header(signed, CHAIN_ID, VALIDATORS)


@pytest.mark.parametrize(
    ("absent", "against", "signers"),
    [("", "", A + B + C + D), (D, "", A + B + C), ("", A, B + C + D), (C, "", A + B + D)],
    ids=["all", "the last is absent", "the first votes for nothing", "the third is absent"],
)
def test_header_with_more_than_two_thirds_of_the_votes_is_proved(
    absent: str, against: str, signers: str
) -> None:
    """One of four may be away, or have voted for nothing."""
    found = verify_signed_header(decided(absent=absent, against=against), CHAIN_ID, VALIDATORS)
    assert "".join(each.msp_id for each in found.signers) == signers
    assert (found.height, found.app_hash, found.validators) == (7, b"a" * 32, VALIDATORS)
    assert found.time.isoformat() == "2026-09-21T14:13:20+00:00"


@pytest.mark.parametrize(
    ("absent", "against"),
    [(A + B, ""), ("", A + B), (A, B), (A + B + C + D, "")],
    ids=["two absent", "two for nothing", "one of each", "nobody"],
)
def test_header_with_two_thirds_or_fewer_votes_is_refused(absent: str, against: str) -> None:
    """Two of four are not enough; votes for nothing do not count."""
    refused(decided(absent=absent, against=against), "more than two thirds must")


def test_exactly_two_thirds_are_not_enough() -> None:
    """Two of three decide nothing."""
    three = VALIDATORS[:3]
    signed = vote(new_header(), three, KEYS, absent=three[0].msp_id)
    with pytest.raises(FinalityError, match="power 2 of 3"):
        verify_signed_header(signed, CHAIN_ID, three)
    verify_signed_header(vote(new_header(), three, KEYS), CHAIN_ID, three)


def test_power_is_what_counts_and_not_the_number_of_votes() -> None:
    """A validator of power 5 against three of power 1."""
    heavy = (replace(VALIDATORS[0], power=5), *VALIDATORS[1:])
    signed = vote(new_header(), heavy, KEYS, absent=B + C)
    assert len(verify_signed_header(signed, CHAIN_ID, heavy).signers) == 2
    with pytest.raises(FinalityError, match="power 3 of 8"):
        verify_signed_header(vote(new_header(), heavy, KEYS, absent=A), CHAIN_ID, heavy)


def test_votes_of_a_later_round_are_signed_with_it() -> None:
    """The round is in what is signed, if it is not zero."""
    signed = decided(round_number=2)
    verify_signed_header(signed, CHAIN_ID, VALIDATORS)
    signed.commit.round = 1
    refused(signed, "the signature in the entry")


Change = Callable[[types_pb2.SignedHeader], None]


def _set(path: str, value: object) -> Change:
    def change(signed: types_pb2.SignedHeader) -> None:
        *parts, name = path.split(".")
        message: object = signed
        for part in parts:
            found = getattr(message, part.partition("[")[0])
            message = found[int(part[-2])] if part.endswith("]") else found
        setattr(message, name, value)

    return change


def _swap(signed: types_pb2.SignedHeader) -> None:
    entries = [types_pb2.CommitSig() for _ in range(2)]
    for place in range(2):
        entries[place].CopyFrom(signed.commit.signatures[1 - place])
    for place in range(2):
        signed.commit.signatures[place].CopyFrom(entries[place])


def _drop_last(signed: types_pb2.SignedHeader) -> None:
    del signed.commit.signatures[-1]


def _add(signed: types_pb2.SignedHeader) -> None:
    signed.commit.signatures.add().CopyFrom(signed.commit.signatures[0])


BROKEN: dict[str, tuple[Change, str]] = {
    "another block protocol": (_set("header.version.block", 12), "block protocol 12"),
    "another chain": (_set("header.chain_id", "qist-ffff"), "is of chain 'qist-ffff'"),
    "no height": (_set("header.height", 0), "has the height 0"),
    "another set": (_set("header.validators_hash", b"v" * 32), "validators are not those"),
    "another app hash": (_set("header.app_hash", b"b" * 32), "names another header"),
    "another time": (_set("header.time.nanos", 1), "names another header"),
    "another next set": (_set("header.next_validators_hash", b"m" * 32), "names another header"),
    "another height of the commit": (_set("commit.height", 8), "commit is of height 8"),
    "a round below zero": (_set("commit.round", -1), "commit is of height 7"),
    "another block of the commit": (_set("commit.block_id.hash", b"x" * 32), "another header"),
    "no parts": (_set("commit.block_id.part_set_header.total", 0), "another header"),
    "a short hash of the parts": (
        _set("commit.block_id.part_set_header.hash", b"x"),
        "another header",
    ),
    "other parts": (_set("commit.block_id.part_set_header.total", 2), "signature in the entry"),
    "another time of a vote": (
        _set("commit.signatures[2].timestamp.nanos", 9),
        "signature in the entry",
    ),
    "another address": (
        _set("commit.signatures[1].validator_address", VALIDATORS[2].address),
        "bears another address",
    ),
    "a short signature": (_set("commit.signatures[1].signature", b"s" * 63), "no signature of 64"),
    "an unknown kind of vote": (_set("commit.signatures[0].block_id_flag", 0), "unknown kind 0"),
    "a vote turned into one for nothing": (
        _set("commit.signatures[3].block_id_flag", 3),
        "signature in the entry",
    ),
    "a vote said to be absent": (
        _set("commit.signatures[3].block_id_flag", 1),
        "is not empty",
    ),
    "votes in another order": (_swap, "bears another address"),
    "a vote too few": (_drop_last, "3 entries for 4 validators"),
    "a vote too many": (_add, "5 entries for 4 validators"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_record_that_breaks_a_rule_is_refused(name: str) -> None:
    """Each rule by itself: the message names it."""
    change, reason = BROKEN[name]
    signed = decided()
    change(signed)
    refused(signed, reason)


@pytest.mark.parametrize(
    "change",
    [
        _set("commit.signatures[0].signature", b"s" * 64),
        _set("commit.signatures[0].validator_address", b"a" * 20),
        _set("commit.signatures[0].timestamp.seconds", 0),
    ],
)
def test_absent_vote_that_is_not_empty_is_refused(change: Change) -> None:
    """What nobody signed must not hold bytes that anybody could change."""
    signed = decided(absent=A)
    change(signed)
    refused(signed, "says that there is no vote, and is not empty")


def test_one_bad_signature_spoils_a_record_that_has_enough_good_ones() -> None:
    """Stricter than CometBFT's light client, so that no byte of a record is free."""
    signed = decided()
    other = Ed25519PrivateKey.generate()
    signed.commit.signatures[3].signature = other.sign(vote_sign_bytes(CHAIN_ID, signed.commit, 3))
    refused(signed, f"the entry of {D}'s validator")


def test_header_of_a_time_that_no_calendar_has_is_refused() -> None:
    """Validators could sign it; nothing falls over."""
    header = new_header()
    header.time.seconds = 1 << 60
    refused(vote(header, VALIDATORS, KEYS), "no time that a calendar has")


def test_sign_bytes_are_cometbfts_canonical_vote() -> None:
    """Written here field by field, they are what the message of that name gives."""
    signed = decided(against=B, round_number=3)
    for place in range(4):
        entry = signed.commit.signatures[place]
        expected = canonical_pb2.CanonicalVote(
            type=types_pb2.SIGNED_MSG_TYPE_PRECOMMIT,
            height=7,
            round=3,
            timestamp=entry.timestamp,
            chain_id=CHAIN_ID,
        )
        if entry.block_id_flag == 2:
            block_id = signed.commit.block_id
            expected.block_id.hash = block_id.hash
            expected.block_id.part_set_header.total = block_id.part_set_header.total
            expected.block_id.part_set_header.hash = block_id.part_set_header.hash
        raw = expected.SerializeToString(deterministic=True)
        written = vote_sign_bytes(CHAIN_ID, signed.commit, place)
        assert written == encode_varint(len(raw)) + raw


def test_sign_bytes_of_the_first_round_leave_the_round_out() -> None:
    """What is zero is not written; a vote for nothing names no block."""
    signed = decided(against=A)
    raw = vote_sign_bytes("c", signed.commit, 0)
    assert raw[1:13] == bytes.fromhex("0802 11 0700000000000000 2a")
    assert (raw[0], raw[-3:]) == (len(raw) - 1, b"\x32\x01c")


# The one form


def test_record_is_read_as_it_was_written() -> None:
    """Whatever CometBFT's RPC gave, the record holds its one encoding."""
    signed = decided(absent=B)
    record = encode_record(signed)
    assert decode_record(record) == signed
    assert encode_record(decode_record(record)) == record


def test_record_with_unknown_fields_loses_them_when_it_is_written() -> None:
    """Only what is signed is kept."""
    raw = encode_signed_header(decided())
    signed = types_pb2.SignedHeader.FromString(raw + b"\xf8\x07\x01")
    assert encode_signed_header(signed) == raw


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda raw: raw + b"\xf8\x07\x01", id="an unknown field"),
        pytest.param(lambda raw: raw + b"\x0a\x00", id="the header once more"),
        pytest.param(lambda raw: raw[:-1], id="cut short"),
        pytest.param(lambda raw: b"", id="nothing"),
        pytest.param(lambda raw: b"\x0a\x00\x12\x00", id="empty parts"),
        pytest.param(lambda raw: raw.replace(b"\x18\x07", b"\x18\x87\x00", 1), id="a long varint"),
    ],
)
def test_signed_header_in_another_encoding_is_refused(change: Callable[[bytes], bytes]) -> None:
    """Two encodings of one record would be two records."""
    raw = encode_signed_header(decided())
    assert change(raw) != raw
    with pytest.raises(FinalityError, match="SignedHeader"):
        decode_signed_header(change(raw))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda raw: raw + b"\0", id="a byte more"),
        pytest.param(lambda raw: raw[:-1], id="a byte less"),
        pytest.param(lambda raw: raw[1:], id="a byte less in front"),
        pytest.param(lambda raw: raw.replace(b"qist/finality/1", b"qist/finality/2"), id="tag"),
        pytest.param(lambda raw: b"", id="nothing"),
        pytest.param(lambda raw: raw[:19], id="the tag alone"),
    ],
)
def test_record_of_another_form_is_refused(change: Callable[[bytes], bytes]) -> None:
    """Tag and lengths leave no freedom."""
    with pytest.raises(FinalityError, match="form of a finality record"):
        decode_record(change(encode_record(decided())))


@pytest.mark.slow
def test_record_fails_with_every_byte_changed() -> None:
    """No byte of a record is free, a vote for nothing's and the place of an absent one too."""
    for signed, begin in ((decided(against=B), 0), (decided(absent=D), -40)):
        record = encode_record(signed)
        for place in range(len(record))[begin:]:
            changed = bytearray(record)
            changed[place] ^= 1 << place % 8
            with pytest.raises(FinalityError):
                verify_signed_header(decode_record(bytes(changed)), CHAIN_ID, VALIDATORS)


def test_hash_of_a_header_covers_each_of_its_fields() -> None:
    """Change one, and it is another header."""
    known = {header_hash(new_header())}
    changes: list[Change] = [
        _set(f"header.{name}", b"z" * 32)
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
        )
    ]
    changes += [
        _set("header.version.block", 12),
        _set("header.version.app", 2),
        _set("header.chain_id", "z"),
        _set("header.height", 8),
        _set("header.time.seconds", 1),
        _set("header.time.nanos", 1),
        _set("header.last_block_id.hash", b"z" * 32),
        _set("header.last_block_id.part_set_header.total", 2),
        _set("header.last_block_id.part_set_header.hash", b"z" * 32),
    ]
    for change in changes:
        signed = types_pb2.SignedHeader(header=new_header())
        change(signed)
        known.add(header_hash(signed.header))
    assert len(known) == len(changes) + 1
