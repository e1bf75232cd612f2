"""Signatures of orderers over blocks.

A block's SIGNATURES metadata is a `common.Metadata` whose value is a marshalled
`OrdererBlockMetadata` (number of the last configuration block) and whose signatures each cover

    metadata value ‖ signature header ‖ header bytes (ASN.1 DER)

LAST_CONFIG repeats the number of the last configuration block, as Fabric's orderers write it.
Source: Fabric, orderer/common/multichannel/blockwriter.go `addBlockSignature`, `addLastConfig`, and
protoutil/blockutils.go `BlockHeaderBytes`, `BlockSignatureVerifier`.

Where the channel has the capability V3_0, a signature may name its orderer by the number of a
consenter in an identifier header in place of the signature header; that is how a BFT engine signs,
and the header stands where the other one does in what is covered. A number that is no consenter's
does not count.

Who may sign is the channel policy /Channel/Orderer/BlockValidation, judged under the configuration
before the block. A BFT engine's orderers keep it at `bft_block_validation`, so that the policy is
the quorum. The genesis block carries no signature: it is trusted because its operator was given it.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Final

from fabric_protos.common import common_pb2, policies_pb2
from fabric_protos.msp import msp_principal_pb2

from ledger.blocks import metadata as index
from ledger.blocks.block import METADATA_ENTRIES, Block, BlockHeader
from ledger.errors import BlockError
from network.configuration import ChannelConfiguration
from network.configuration.channel import Consenter
from network.decoding import decode_message
from network.errors import PolicyError
from network.msp import SigningIdentity, serialize_identity
from network.policy import SignedData, why_not_valid

__all__ = [
    "BLOCK_VALIDATION_POLICY",
    "bft_block_validation",
    "bft_quorum",
    "has_bft_quorum",
    "sign_block",
    "verify_block_signature",
    "weak_signatures",
]

BLOCK_VALIDATION_POLICY: Final = "/Channel/Orderer/BlockValidation"
BFT_CAPABILITY: Final = "V3_0"
NONCE_BYTES = 24


def sign_block(
    header: BlockHeader, data: tuple[bytes, ...], signer: SigningIdentity, last_config_block: int
) -> Block:
    """Return the block with metadata as an orderer makes it: signed, and not yet validated.

    Args:
        header: number, previous hash and data hash.
        data: the envelopes.
        signer: the orderer's identity.
        last_config_block: number of the newest configuration block up to and including this one.
    """
    last_config = common_pb2.LastConfig(index=last_config_block)
    value = common_pb2.OrdererBlockMetadata(last_config=last_config).SerializeToString()
    signature_header = common_pb2.SignatureHeader(
        creator=signer.serialized, nonce=secrets.token_bytes(NONCE_BYTES)
    ).SerializeToString()
    signature = common_pb2.MetadataSignature(
        signature_header=signature_header,
        signature=signer.sign(value + signature_header + header.encode_asn1()),
    )
    entries = [b""] * METADATA_ENTRIES
    entries[index.SIGNATURES] = common_pb2.Metadata(
        value=value, signatures=[signature]
    ).SerializeToString()
    entries[index.LAST_CONFIG] = common_pb2.Metadata(
        value=last_config.SerializeToString()
    ).SerializeToString()
    return Block(header=header, data=data, metadata=tuple(entries))


def verify_block_signature(block: Block, configuration: ChannelConfiguration) -> None:
    """Verify that orderers of the channel signed *block*.

    Args:
        block: a block with number 1 or more.
        configuration: the channel configuration in force before the block.
    Raises:
        BlockError: the metadata cannot be read, or those who signed do not satisfy the channel's
            BlockValidation policy.
    """
    signed = [each for each in _signed_data(block, configuration) if each is not None]
    try:
        configuration.policies.evaluate(BLOCK_VALIDATION_POLICY, signed)
    except PolicyError as refused:
        raise BlockError(
            f"block {block.number}: its signatures do not satisfy {BLOCK_VALIDATION_POLICY} "
            f"({refused}); accept blocks only from the channel's orderers"
        ) from refused


def weak_signatures(block: Block, configuration: ChannelConfiguration) -> list[str]:
    """Say of each signature over *block* that does not count why it does not.

    A block may carry more signatures than its policy needs, so one that is wrong may do no harm.

    Args:
        block: one that `verify_block_signature` has passed.
        configuration: the same.
    """
    signatures = _signed_data(block, configuration)
    if len(signatures) < 2:
        return []
    found, seen = [], set()
    for place, signed in enumerate(signatures):
        reason = "it names no signer that the configuration has"
        if signed is not None:
            reason = why_not_valid(signed, configuration.msps)
            if not reason:
                identity_id = configuration.msps.deserialize(signed.identity).identity_id
                reason = "it repeats another one's signer" if identity_id in seen else ""
                seen.add(identity_id)
        if reason:
            found.append(f"signature {place} of {len(signatures)} does not count: {reason}")
    return found


def _signed_data(block: Block, configuration: ChannelConfiguration) -> list[SignedData | None]:
    """Return what each signature of the block covers; None where its signer is unknown."""
    entry = _decode(
        common_pb2.Metadata,
        b"".join(block.metadata[: index.SIGNATURES + 1]),
        f"block {block.number}: the SIGNATURES metadata",
    )
    by_number = _consenters(configuration)
    header = block.header.encode_asn1()
    signed: list[SignedData | None] = []
    for place, each in enumerate(entry.signatures):
        where = f"block {block.number}: the header of signature {place}"
        if by_number is not None and not each.signature_header and each.identifier_header:
            named = _decode(common_pb2.IdentifierHeader, each.identifier_header, where)
            identity = by_number.get(named.identifier, b"")
            covered = entry.value + each.identifier_header + header
        else:
            named = _decode(common_pb2.SignatureHeader, each.signature_header, where)
            identity = named.creator
            covered = entry.value + each.signature_header + header
        signed.append(SignedData(covered, identity, each.signature) if identity else None)
    return signed


def _consenters(configuration: ChannelConfiguration) -> dict[int, bytes] | None:
    """Return the identities of the consenters by number; None where blocks are not signed so."""
    if BFT_CAPABILITY not in configuration.capabilities.channel:
        return None
    found: dict[int, bytes] = {}
    for each in configuration.consenters:
        # Of two with one number the first counts, as in Fabric's search.
        found.setdefault(each.number, serialize_identity(each.msp_id, each.identity))
    return found


def _decode(message_type: Any, raw: bytes, what: str) -> Any:
    return decode_message(message_type, raw, what, BlockError)


def bft_quorum(consenters: int) -> int:
    """Return how many of a BFT engine's orderers must sign: ⌈(n+f+1)/2⌉, where f = ⌊(n−1)/3⌋.

    Source: Fabric, common/policies/bft.go `ComputeBFTQuorum`.
    """
    faulty = (consenters - 1) // 3
    return -(-(consenters + faulty + 1) // 2)


def has_bft_quorum(configuration: ChannelConfiguration) -> bool:
    """Tell whether the BlockValidation policy is the one that a BFT engine's orderers demand."""
    group = configuration.config.channel_group.groups["Orderer"]
    name = BLOCK_VALIDATION_POLICY.rpartition("/")[2]
    # Looking at what is absent would put it into the message.
    if name not in group.policies:
        return False
    policy = group.policies[name].policy
    if policy.type != policies_pb2.Policy.SIGNATURE:
        return False
    found = _decode(policies_pb2.SignaturePolicyEnvelope, policy.value, BLOCK_VALIDATION_POLICY)
    demanded = bft_block_validation(configuration.consenters)
    return bool(found == policies_pb2.SignaturePolicyEnvelope.FromString(demanded))


def bft_block_validation(consenters: Sequence[Consenter]) -> bytes:
    """Return the BlockValidation policy that a BFT engine's orderers demand, marshalled.

    It is a signature policy: the quorum out of exactly these identities.
    Source: Fabric, common/policies/bft.go `EncodeBFTBlockVerificationPolicy`.
    """
    envelope = policies_pb2.SignaturePolicyEnvelope()
    for place, each in enumerate(consenters):
        envelope.identities.add(
            principal_classification=msp_principal_pb2.MSPPrincipal.IDENTITY,
            principal=serialize_identity(each.msp_id, each.identity),
        )
        envelope.rule.n_out_of.rules.add().signed_by = place
    envelope.rule.n_out_of.n = bft_quorum(len(consenters))
    raw: bytes = envelope.SerializeToString()
    return raw
