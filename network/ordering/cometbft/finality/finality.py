"""What proves a block final: a header of CometBFT and the validators' votes for it.

The app hash after CometBFT's height H stands in the header of H + 1, and no byte of H itself shows
that H was decided. So header and commit of H + 1 arrive after a block and are kept beside it, as
evidence of the kind `finality` (`name(x)` is the length of x as u32, big-endian, and x):

    name("qist/finality/1") ‖ name(SignedHeader)

`SignedHeader` is CometBFT's message in the one form that its own encoder gives: fields in order,
nothing unknown, the parts that are always there always there. The validators of H + 1 follow from
the configuration in force before the block, so they are not in the record; and the set of H + 2,
which the header names as the next one, from the configuration after it.

How a commit is judged, which is stricter than CometBFT's own light client:

1. header and commit are of this chain and of one height, and the commit names the header's hash;
2. the header names the expected set, and there is one entry for each validator, in their order;
3. every vote that is there, for the block or for nothing, bears its validator's address and a
   signature that verifies; an entry without a vote is empty;
4. more than two thirds of the power voted for the block.

So no byte of a record can change without its failing.

Invariants: pure; whoever has the configuration needs nobody else to verify.

Absent: whether the app hash is that of a block (`proofs.py`, `keeper.py`), and evidence of double
votes, which is CometBFT's own business.

Source: CometBFT v0.38 types/{block,canonical,vote,validation}.go, libs/protoio.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import BytesValue, Int64Value, StringValue

from ledger.varints import encode_varint
from network.errors import FinalityError, SignatureError
from network.ordering.cometbft.finality.vote_signature import SIGNATURE_BYTES, verify_vote_signature
from network.ordering.cometbft.messages import types_pb2, validator_pb2
from network.ordering.cometbft.validators import Validator, merkle_root, validators_hash

__all__ = [
    "FINALITY",
    "Finality",
    "decode_record",
    "decode_signed_header",
    "encode_record",
    "encode_signed_header",
    "header_hash",
    "verify_signed_header",
    "vote_sign_bytes",
]

FINALITY: Final = "finality"
"""Kind of evidence under which a record is filed beside its block."""
BLOCK_PROTOCOL: Final = 11
"""CometBFT's version of headers and votes whose rules are these."""

TAG: Final = b"qist/finality/1"
HASH_BYTES: Final = 32

_ABSENT: Final = validator_pb2.BLOCK_ID_FLAG_ABSENT
_FOR_BLOCK: Final = validator_pb2.BLOCK_ID_FLAG_COMMIT
_FOR_NOTHING: Final = validator_pb2.BLOCK_ID_FLAG_NIL
# Go's zero time, the year 1, stands where nobody voted.
_NO_TIME: Final = Timestamp(seconds=-62_135_596_800)
_PRECOMMIT: Final = b"\x08\x02"
_U32 = struct.Struct(">I")
_S64 = struct.Struct("<q")


@dataclass(frozen=True, slots=True)
class Finality:
    """What a verified header and commit say.

    Attributes:
        height: CometBFT's height of the header.
        header_hash: 32 bytes, by which CometBFT names it.
        app_hash: the one after the height before.
        next_validators_hash: of the set that signs the height after.
        time: of the header, UTC, to the microsecond.
        signers: the validators that voted for it, in their order.
        validators: all that could have.
    """

    height: int
    header_hash: bytes
    app_hash: bytes
    next_validators_hash: bytes
    time: datetime
    signers: tuple[Validator, ...]
    validators: tuple[Validator, ...]


def header_hash(header: types_pb2.Header) -> bytes:
    """Return the hash (32 bytes) by which CometBFT names a header.

    It is the Merkle root over the header's 14 fields; a number, a text or bytes alone are encoded
    as protobuf's wrapper of their kind, which leaves out what is empty.
    """
    return merkle_root(
        [
            header.version.SerializeToString(),
            StringValue(value=header.chain_id).SerializeToString(),
            Int64Value(value=header.height).SerializeToString(),
            header.time.SerializeToString(),
            header.last_block_id.SerializeToString(),
            *(
                BytesValue(value=each).SerializeToString()
                for each in (
                    header.last_commit_hash,
                    header.data_hash,
                    header.validators_hash,
                    header.next_validators_hash,
                    header.consensus_hash,
                    header.app_hash,
                    header.last_results_hash,
                    header.evidence_hash,
                    header.proposer_address,
                )
            ),
        ]
    )


def vote_sign_bytes(chain_id: str, commit: types_pb2.Commit, place: int) -> bytes:
    """Return the bytes that a validator signed with its vote: a delimited `CanonicalVote`.

    Args:
        chain_id: the chain.
        commit: the commit.
        place: of the validator's entry in it; it holds a vote.
    """
    entry = commit.signatures[place]
    parts = [_PRECOMMIT, b"\x11" + _S64.pack(commit.height)]
    if commit.round:
        parts.append(b"\x19" + _S64.pack(commit.round))
    if entry.block_id_flag == _FOR_BLOCK:
        # CanonicalBlockID has the same fields as BlockID, so the bytes are the same.
        parts.append(_delimited(b"\x22", commit.block_id.SerializeToString()))
    parts.append(_delimited(b"\x2a", entry.timestamp.SerializeToString()))
    parts.append(_delimited(b"\x32", chain_id.encode()))
    return _delimited(b"", b"".join(parts))


def _delimited(tag: bytes, content: bytes) -> bytes:
    return tag + encode_varint(len(content)) + content


def encode_signed_header(signed: types_pb2.SignedHeader) -> bytes:
    """Return the bytes that CometBFT's own encoder gives for header and commit."""
    whole = types_pb2.SignedHeader()
    whole.CopyFrom(signed)
    whole.DiscardUnknownFields()
    for part in (whole.header.version, whole.header.time, whole.header.last_block_id):
        part.SetInParent()
    whole.header.last_block_id.part_set_header.SetInParent()
    whole.commit.block_id.part_set_header.SetInParent()
    for each in whole.commit.signatures:
        each.timestamp.SetInParent()
    return whole.SerializeToString(deterministic=True)


def decode_signed_header(raw: bytes) -> types_pb2.SignedHeader:
    """Read header and commit in their one form.

    Raises:
        FinalityError: no such message, or another encoding of one.
    """
    try:
        signed = types_pb2.SignedHeader.FromString(raw)
    except DecodeError as error:
        raise _refused("it holds no SignedHeader") from error
    if encode_signed_header(signed) != raw:
        raise _refused("its SignedHeader is not encoded as CometBFT encodes one")
    return signed


def encode_record(signed: types_pb2.SignedHeader) -> bytes:
    """Return the finality record of a header and its commit."""
    return _name(TAG) + _name(encode_signed_header(signed))


def decode_record(raw: bytes) -> types_pb2.SignedHeader:
    """Read a finality record.

    Raises:
        FinalityError: not of this form.
    """
    prefix = _name(TAG)
    content = raw[len(prefix) + _U32.size :]
    if raw != prefix + _name(content):
        raise _refused(f"{len(raw)} bytes are not of the form of a finality record")
    return decode_signed_header(content)


def _name(part: bytes) -> bytes:
    return _U32.pack(len(part)) + part


def verify_signed_header(
    signed: types_pb2.SignedHeader, chain_id: str, validators: Sequence[Validator]
) -> Finality:
    """Check that more than two thirds of *validators* decided on a header.

    Args:
        signed: header and commit, from `decode_record` or from a CometBFT.
        chain_id: the chain.
        validators: the set of that height, in CometBFT's order.
    Returns:
        what the header says, and who voted for it.
    Raises:
        FinalityError: naming the rule that is broken.
    """
    header, commit = signed.header, signed.commit
    hashed = header_hash(header)
    _verify_header(header, chain_id, validators)
    if commit.height != header.height or commit.round < 0:
        raise _refused(f"its commit is of height {commit.height}, its header of {header.height}")
    parts = commit.block_id.part_set_header
    if commit.block_id.hash != hashed or len(parts.hash) != HASH_BYTES or not parts.total:
        raise _refused("its commit names another header than the one beside it")
    if len(commit.signatures) != len(validators):
        raise _refused(
            f"its commit has {len(commit.signatures)} entries for {len(validators)} validators"
        )
    signers = tuple(
        validator
        for place, validator in enumerate(validators)
        if _verify_entry(chain_id, commit, place, validator)
    )
    power, total = (sum(each.power for each in them) for them in (signers, validators))
    if 3 * power <= 2 * total:
        raise _refused(
            f"votes with power {power} of {total} stand for it, and more than two thirds must"
        )
    return Finality(
        height=header.height,
        header_hash=hashed,
        app_hash=header.app_hash,
        next_validators_hash=header.next_validators_hash,
        time=_time_of(header),
        signers=signers,
        validators=tuple(validators),
    )


def _verify_header(
    header: types_pb2.Header, chain_id: str, validators: Sequence[Validator]
) -> None:
    if header.version.block != BLOCK_PROTOCOL:
        raise _refused(
            f"its header is of CometBFT's block protocol {header.version.block}, and only "
            f"{BLOCK_PROTOCOL} is known here"
        )
    if header.chain_id != chain_id:
        raise _refused(f"it is of chain {header.chain_id[:80]!r}, and {chain_id!r} was asked for")
    if header.height < 1:
        raise _refused(f"its header has the height {header.height}")
    if header.validators_hash != validators_hash(validators):
        raise _refused(
            "its validators are not those of the channel configuration in force before the block"
        )


def _verify_entry(
    chain_id: str, commit: types_pb2.Commit, place: int, validator: Validator
) -> bool:
    """Check one entry of a commit; return whether it is a vote for the block."""
    entry = commit.signatures[place]
    where = f"the entry of {validator.msp_id}'s validator {validator.address.hex()}"
    if entry.block_id_flag == _ABSENT:
        if entry.validator_address or entry.signature or entry.timestamp != _NO_TIME:
            raise _refused(f"{where} says that there is no vote, and is not empty")
        return False
    if entry.block_id_flag not in (_FOR_BLOCK, _FOR_NOTHING):
        raise _refused(f"{where} is of the unknown kind {entry.block_id_flag}")
    if entry.validator_address != validator.address or len(entry.signature) != SIGNATURE_BYTES:
        raise _refused(f"{where} bears another address, or no signature of {SIGNATURE_BYTES} bytes")
    try:
        verify_vote_signature(
            validator.public_key, vote_sign_bytes(chain_id, commit, place), entry.signature
        )
    except SignatureError as error:
        raise _refused(f"the signature in {where} does not verify") from error
    return entry.block_id_flag == _FOR_BLOCK


def _time_of(header: types_pb2.Header) -> datetime:
    try:
        return header.time.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise _refused("its header bears no time that a calendar has") from error


def _refused(reason: str) -> FinalityError:
    return FinalityError(
        f"the finality record does not hold: {reason}; take it from another member's node"
    )
