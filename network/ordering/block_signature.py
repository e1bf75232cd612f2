"""Signatures of orderers over blocks.

A block's SIGNATURES metadata is a `common.Metadata` whose value is a marshalled
`OrdererBlockMetadata` (number of the last configuration block) and whose signatures each cover

    metadata value ‖ signature header ‖ header bytes (ASN.1 DER)

LAST_CONFIG repeats the number of the last configuration block, as Fabric's orderers write it.
Source: Fabric, orderer/common/multichannel/blockwriter.go `addBlockSignature`, `addLastConfig`, and
protoutil/blockutils.go `BlockHeaderBytes`, `BlockSignatureVerifier`.

Who may sign is the channel policy /Channel/Orderer/BlockValidation. The genesis block carries no
signature: it is trusted because its operator was given it.
"""

from __future__ import annotations

import secrets

from fabric_protos.common import common_pb2
from google.protobuf.message import DecodeError

from ledger.blocks import metadata as index
from ledger.blocks.block import METADATA_ENTRIES, Block, BlockHeader
from ledger.errors import BlockError
from network.configuration import ChannelConfiguration
from network.errors import PolicyError
from network.msp import SigningIdentity
from network.policy import SignedData

__all__ = ["BLOCK_VALIDATION_POLICY", "sign_block", "verify_block_signature"]

BLOCK_VALIDATION_POLICY = "/Channel/Orderer/BlockValidation"
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
    number = block.header.number
    entry = common_pb2.Metadata()
    try:
        entry.ParseFromString(b"".join(block.metadata[: index.SIGNATURES + 1]))
    except DecodeError:
        raise BlockError(
            f"block {number}: the SIGNATURES metadata is not a common.Metadata; "
            "fetch the block from the orderer again"
        ) from None
    signed = []
    for signature in entry.signatures:
        identity = common_pb2.SignatureHeader()
        try:
            identity.ParseFromString(signature.signature_header)
        except DecodeError:
            continue
        signed.append(
            SignedData(
                data=entry.value + signature.signature_header + block.header.encode_asn1(),
                identity=identity.creator,
                signature=signature.signature,
            )
        )
    try:
        configuration.policies.evaluate(BLOCK_VALIDATION_POLICY, signed)
    except PolicyError as refused:
        raise BlockError(
            f"block {number}: its signatures do not satisfy {BLOCK_VALIDATION_POLICY} ({refused}); "
            "accept blocks only from the channel's orderers"
        ) from refused
