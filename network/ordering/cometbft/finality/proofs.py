"""Proofs of a block that need nothing but the channel's genesis block.

A proof walks the configurations: whoever has the one in force knows whose signatures count for the
next block. Up to the block by which the channel became `cometbft` they are those of its orderers,
behind it the votes of the validators that the configuration names.

    genesis block → configuration → … → configuration in force before → the block

Every step is judged as a node judges it: the block's form and data hash, the update inside a
configuration block applied once more, the number of the configuration block that it names. So a
proof needs neither a node nor a network to verify, and no byte of its file can change unseen.

What is proved depends on what the last step rests on (`Basis`): a finality record proves every byte
of the block as nodes store it, verdicts and commit hash too; orderers' signatures, or the record of
a later block, its envelopes and its place in the chain.

Invariants: pure; verifying reads the file and the genesis block alone.

Absent: how one is made (`proof_making.py`), and protection against more than two thirds of a
*former* set of validators who conspire later and kept their keys: a member that leaves or rotates
destroys the old key.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from fabric_protos.common import common_pb2

from ledger.blocks.block import METADATA_ENTRIES, Block
from ledger.blocks.metadata import codes_of, commit_hash_of, last_config_of
from ledger.blocks.structure import (
    is_config_block,
    verify_block_structure,
    verify_envelope_canonical,
)
from ledger.errors import Refusal
from ledger.transactions.codes import TxValidationCode
from network.configuration import ChannelConfiguration, config_of_block, verify_config_envelope
from network.decoding import decode_message
from network.errors import ConfigurationError, FinalityError, PolicyError
from network.msp import split_identity
from network.ordering.block_signature import verify_block_signature, weak_signatures
from network.ordering.cometbft.blocks.app_hash import TAG as APP_HASH_TAG
from network.ordering.cometbft.blocks.app_hash import app_hash_version
from network.ordering.cometbft.finality.finality import (
    Finality,
    decode_record,
    verify_signed_header,
)
from network.ordering.cometbft.finality.proof_file import (
    Basis,
    Covered,
    ProofPart,
    Recorded,
    Signed,
    decode_proof,
)
from network.ordering.cometbft.finality.records import verify_record
from network.ordering.cometbft.genesis import chain_id_of
from network.ordering.cometbft.validators import CONSENSUS_TYPE, validators_of

__all__ = ["ProofVerifier", "ProvedBlock", "verify_proof"]

_ED25519_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class ProvedBlock:
    """What a proof has proved.

    Attributes:
        channel_id: the channel.
        block: header and envelopes; with its metadata where the basis is a record of its own,
            else without.
        basis: what it rests on.
        codes: the verdicts; None where they are not proved.
        commit_hash: 32 bytes; empty where it is not proved.
        comet_height: CometBFT's height of the block; 0 where that is not proved.
        decided_at: time of the header that proves it, where validators decided.
        signers: MSP ids of those whose signatures count, sorted.
        voters: how many could have signed, where validators decided; else 0.
        proved_by: number of the block whose record it is.
        configuration: in force before the block.
    """

    channel_id: str
    block: Block
    basis: Basis
    codes: tuple[TxValidationCode, ...] | None
    commit_hash: bytes
    comet_height: int
    decided_at: datetime | None
    signers: tuple[str, ...]
    voters: int
    proved_by: int
    configuration: ChannelConfiguration


def verify_proof(genesis: Block, raw: bytes) -> ProvedBlock:
    """Check a proof file against the genesis block of a channel; see `ProofVerifier`."""
    return ProofVerifier(genesis).verify(raw)


class ProofVerifier:
    """Checks proofs of one channel.

    Args:
        genesis: the genesis block, as the channel's founders handed it out.
    Raises:
        FinalityError: it is no genesis block that can be used here.
    """

    def __init__(self, genesis: Block) -> None:
        try:
            verify_block_structure(genesis, 0, b"")
            self._configuration = ChannelConfiguration.from_block(genesis)
            self._configuration.verify_capabilities()
        except Refusal as error:
            raise FinalityError(f"the genesis block cannot be used: {error}") from error
        self._genesis = genesis

    def verify(self, raw: bytes) -> ProvedBlock:
        """Check a proof file and return what it proves.

        Raises:
            FinalityError: it proves nothing; the message says where it breaks.
        """
        proof = decode_proof(raw)
        own = self._genesis.header.hash()
        if proof.genesis_hash != own:
            raise FinalityError(
                f"the proof begins with the genesis block {proof.genesis_hash.hex()}, and the one "
                f"given is {own.hex()}: give that of the channel it was made for"
            )
        walk = _Walk(self._genesis, self._configuration)
        try:
            for part in proof.configurations:
                walk.step(part)
            return walk.judge(proof.target)[0]
        except FinalityError:
            raise
        except Refusal as error:
            raise FinalityError(f"the proof does not hold: {error}") from error


class _Walk:
    """The way from the genesis block to the block that is proved."""

    def __init__(self, genesis: Block, configuration: ChannelConfiguration) -> None:
        self._configuration = configuration
        self._newest = 0
        self._comet_height = 0
        self._chain_id = ""
        self._enter(genesis)

    def _enter(self, block: Block) -> None:
        if self._configuration.consensus_type == CONSENSUS_TYPE and not self._chain_id:
            self._chain_id = chain_id_of(self._configuration.channel_id, block)

    def step(self, part: ProofPart) -> None:
        """Take over the configuration in a part."""
        proved, following = self.judge(part)
        if following is None:
            raise _broken(part, "it stands among the configurations and brings none")
        self._configuration = following
        self._newest = part.header.number
        self._comet_height = max(self._comet_height, proved.comet_height)
        self._enter(proved.block)

    def judge(self, part: ProofPart) -> tuple[ProvedBlock, ChannelConfiguration | None]:
        """Check a part under the configuration in force; return the one it brings, if it does."""
        if part.header.number <= self._newest:
            raise _broken(part, f"it does not follow block {self._newest}, whose turn was before")
        by_votes = self._configuration.consensus_type == CONSENSUS_TYPE
        if by_votes == (part.basis is Basis.SIGNATURES):
            raise _broken(
                part,
                f"under the engine {self._configuration.consensus_type!r} it cannot rest on "
                f"{'signatures of orderers' if by_votes else 'votes of validators'}",
            )
        following, why_not = self._following(part)
        if isinstance(part.rests_on, Recorded):
            return self._judge_recorded(part, part.rests_on, following, why_not)
        if why_not:
            raise _broken(part, why_not)
        if isinstance(part.rests_on, Signed):
            return self._judge_signed(part, part.rests_on), following
        return self._judge_covered(part, part.rests_on), following

    def _following(self, part: ProofPart) -> tuple[ChannelConfiguration | None, str]:
        """Check the block's form; return the configuration that it brings, or why it may not."""
        filler = (b"",) * METADATA_ENTRIES
        block = Block(part.header, part.data, filler)
        verify_block_structure(block, part.header.number, part.header.previous_hash)
        for raw in part.data:
            verify_envelope_canonical(raw)
        found = config_of_block(block)
        if found is None:
            return None, ""
        channel_id, envelope = found
        if channel_id != self._configuration.channel_id:
            raise _broken(part, f"its configuration is of channel {channel_id[:80]!r}")
        try:
            following = verify_config_envelope(self._configuration, envelope)
        except (ConfigurationError, PolicyError) as refused:
            return None, f"its configuration may not follow the one before it: {refused}"
        following.verify_capabilities()
        return following, ""

    def _judge_signed(self, part: ProofPart, signed: Signed) -> ProvedBlock:
        entries = (signed.signatures, *(b"",) * (METADATA_ENTRIES - 1))
        block = Block(part.header, part.data, entries)
        signers = _signers(part, signed.signatures, self._configuration)
        verify_block_signature(block, self._configuration)
        weak = weak_signatures(block, self._configuration)
        if weak:
            raise _broken(part, f"{weak[0]}; all that are there must")
        self._verify_last_config(part, block)
        return self._proved(part, signers=signers)

    def _judge_recorded(
        self,
        part: ProofPart,
        recorded: Recorded,
        following: ChannelConfiguration | None,
        why_not: str,
    ) -> tuple[ProvedBlock, ChannelConfiguration | None]:
        block = Block(part.header, part.data, recorded.metadata)
        codes = codes_of(block)
        # A configuration that may not follow is a verdict in the block, and changes nothing.
        is_valid = codes == (TxValidationCode.VALID,)
        if is_valid and why_not:
            raise _broken(part, why_not)
        after = following if is_valid else None
        finality = verify_record(recorded.record, block, self._chain_id, self._configuration, after)
        comet_height = finality.height - 1
        if comet_height <= self._comet_height:
            raise _broken(part, f"CometBFT's height {comet_height} was before an earlier block's")
        self._verify_last_config(part, block)
        proved = self._proved(
            part,
            metadata=recorded.metadata,
            codes=codes,
            commit_hash=commit_hash_of(block),
            comet_height=comet_height,
            finality=finality,
        )
        return proved, after

    def _judge_covered(self, part: ProofPart, covered: Covered) -> ProvedBlock:
        before = part.header
        for header in covered.headers:
            if header.number != before.number + 1 or header.previous_hash != before.hash():
                raise _broken(part, f"block {header.number} does not follow block {before.number}")
            before = header
        if not covered.headers:
            raise _broken(part, "no later block is there on whose record it could rest")
        finality = verify_signed_header(
            decode_record(covered.record), self._chain_id, validators_of(self._configuration)
        )
        version = app_hash_version(self._configuration)
        hashed = before.hash()
        begin = b"".join(
            (APP_HASH_TAG, version.to_bytes(4, "big"), len(hashed).to_bytes(4, "big"), hashed)
        )
        if (
            not covered.app_hash_input.startswith(begin)
            or hashlib.sha256(covered.app_hash_input).digest() != finality.app_hash
        ):
            raise _broken(part, f"the record behind it is not that of block {before.number}")
        return self._proved(part, finality=finality, proved_by=before.number)

    def _verify_last_config(self, part: ProofPart, block: Block) -> None:
        expected = block.number if is_config_block(block) else self._newest
        found = last_config_of(block)
        if found != expected:
            raise _broken(
                part,
                f"it names block {found} as the newest configuration, and the proof leads to block "
                f"{expected}",
            )

    def _proved(
        self,
        part: ProofPart,
        *,
        metadata: tuple[bytes, ...] = (),
        codes: tuple[TxValidationCode, ...] | None = None,
        commit_hash: bytes = b"",
        comet_height: int = 0,
        finality: Finality | None = None,
        signers: tuple[str, ...] = (),
        proved_by: int | None = None,
    ) -> ProvedBlock:
        if finality is not None:
            signers = tuple(sorted(each.msp_id for each in finality.signers))
        return ProvedBlock(
            channel_id=self._configuration.channel_id,
            block=Block(part.header, part.data, metadata),
            basis=part.basis,
            codes=codes,
            commit_hash=commit_hash,
            comet_height=comet_height,
            decided_at=None if finality is None else finality.time,
            signers=signers,
            voters=0 if finality is None else len(finality.validators),
            proved_by=part.header.number if proved_by is None else proved_by,
            configuration=self._configuration,
        )


def _signers(part: ProofPart, raw: bytes, configuration: ChannelConfiguration) -> tuple[str, ...]:
    """Check that the signatures are of the one form that they can have; return their members.

    Signatures over a block leave some freedom in how they are written; here there is none.
    """
    what = "its SIGNATURES metadata"
    entry = decode_message(common_pb2.Metadata, raw, what, FinalityError)
    entry.DiscardUnknownFields()
    if entry.SerializeToString(deterministic=True) != raw:
        raise _broken(part, f"{what} is not in its shortest form")
    by_number = {each.number: each.msp_id for each in reversed(configuration.consenters)}
    found = []
    for each in entry.signatures:
        if bool(each.signature_header) == bool(each.identifier_header):
            raise _broken(part, "a signature in it does not name its signer in one way")
        if not _is_in_one_form(each.signature):
            raise _broken(part, "a signature in it is not in its shortest form")
        if each.identifier_header:
            named = decode_message(
                common_pb2.IdentifierHeader, each.identifier_header, what, FinalityError
            )
            found.append(by_number.get(named.identifier, ""))
        else:
            named = decode_message(
                common_pb2.SignatureHeader, each.signature_header, what, FinalityError
            )
            found.append(split_identity(named.creator)[0])
    return tuple(sorted(found))


def _is_in_one_form(signature: bytes) -> bool:
    """Tell whether no other bytes would be read as the same ECDSA or Ed25519 signature."""
    try:
        return encode_dss_signature(*decode_dss_signature(signature)) == signature
    except ValueError:
        return len(signature) == _ED25519_BYTES


def _broken(part: ProofPart, reason: str) -> FinalityError:
    return FinalityError(
        f"the proof breaks at block {part.header.number}: {reason}; have it made again, by another "
        "member's node"
    )
