"""Identities, signatures and configurations of the recorded chain, judged as Fabric judged them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fabric_protos.common import common_pb2, configtx_pb2, configuration_pb2, policies_pb2
from fabric_protos.msp import msp_config_pb2, msp_principal_pb2
from fabric_protos.orderer import configuration_pb2 as orderer_pb2
from fabric_protos.peer import configuration_pb2 as peer_pb2
from google.protobuf import unknown_fields
from google.protobuf.message import Message

from ledger.blocks.block import Block
from ledger.blocks.metadata import LAST_CONFIG, SIGNATURES
from ledger.errors import BlockError
from ledger.transactions.codes import TxValidationCode
from network.configuration import ChannelConfiguration, config_of_block
from network.errors import IdentityError, SignatureError
from network.ordering.block_signature import verify_block_signature
from tests.support.members import Member, genesis
from tests.support.recording import FOLDER, RecordedBlock, recorded_blocks

CHANNEL = "qist-raft"
CONFIG_BLOCKS = [
    each.block.number
    for each in recorded_blocks()
    if each.expected["transactions"] and each.transactions[0].header_type == common_pb2.CONFIG
]


def configurations() -> Iterator[tuple[RecordedBlock, ChannelConfiguration]]:
    """Yield every block after genesis with the configuration in force before it."""
    blocks = recorded_blocks()
    configuration = ChannelConfiguration.from_block(blocks[0].block)
    for recorded in blocks[1:]:
        yield recorded, configuration
        found = config_of_block(recorded.block)
        if found is not None:
            configuration = ChannelConfiguration.from_config_envelope(found[1], found[0])


def _creator_stands(configuration: ChannelConfiguration, transaction) -> bool:
    if transaction.channel_id != configuration.channel_id:
        return False
    try:
        identity = configuration.msps.deserialize(transaction.creator)
        identity.verify(transaction.payload, transaction.signature)
    except (IdentityError, SignatureError):
        return False
    return True


def test_creators_are_judged_as_recorded() -> None:
    """BAD_CREATOR_SIGNATURE exactly where Fabric's peer gave it, over all transactions.

    Among them: Ed25519 clients, a revoked client, another channel, a high S, a CA as creator.
    """
    judged, bad = 0, 0
    for recorded, configuration in configurations():
        for transaction, code in zip(recorded.transactions, recorded.codes, strict=True):
            if transaction.format_code is not None:
                continue
            judged += 1
            stands = _creator_stands(configuration, transaction)
            assert stands == (code is not TxValidationCode.BAD_CREATOR_SIGNATURE), (
                recorded.block.number,
                transaction.tx_id,
            )
            bad += not stands
    assert (judged, bad) == (242, 8)


def test_endorsements_of_valid_transactions_verify() -> None:
    """Each endorser signed the response and its own identity, and is a peer of its member."""
    checked = 0
    for recorded, configuration in configurations():
        for transaction, code in zip(recorded.transactions, recorded.codes, strict=True):
            if code is not TxValidationCode.VALID or not transaction.endorsements:
                continue
            valid = 0
            for each in transaction.endorsements:
                signed = transaction.proposal_response_payload + each.endorser
                try:
                    identity = configuration.msps.deserialize(each.endorser)
                    identity.verify(signed, each.signature)
                except (IdentityError, SignatureError):
                    continue  # a valid transaction may carry a bad endorsement beside good ones
                assert "peer" in identity.roles
                valid += 1
            assert valid >= 1
            checked += valid
    assert checked > 200


def test_every_recorded_block_is_signed_by_the_orderer() -> None:
    """Under the BlockValidation policy of the configuration before it."""
    for recorded, configuration in configurations():
        verify_block_signature(recorded.block, configuration)


def test_block_with_a_changed_header_is_refused() -> None:
    """The signature covers number, previous hash and data hash."""
    recorded, configuration = next(iter(configurations()))
    message = recorded.block.to_message()
    message.header.data_hash = bytes(32)
    with pytest.raises(BlockError, match="BlockValidation"):
        verify_block_signature(Block.from_message(message), configuration)


def test_block_without_readable_signatures_is_refused() -> None:
    """No entry, an empty one, and one that is no Metadata."""
    recorded, configuration = next(iter(configurations()))
    for entries in ((), (b"",), (b"\xff\xff",)):
        block = Block(recorded.block.header, recorded.block.data, entries)
        with pytest.raises(BlockError):
            verify_block_signature(block, configuration)


@pytest.mark.parametrize("name", ["signed-by-client", "no-signature", "signature-damaged"])
def test_block_that_fabric_refused_for_its_signature_is_refused(name) -> None:
    """In the recording's words: 0 sub-policies of 'Writers' were satisfied."""
    *_, (_, configuration) = configurations()
    block = Block.decode((FOLDER / "refused" / f"{name}.block").read_bytes())
    with pytest.raises(BlockError, match=r"0 sub-policies were satisfied.*1 of the 'Writers'"):
        verify_block_signature(block, configuration)


def test_orderers_metadata_has_the_recorded_form() -> None:
    """SIGNATURES holds OrdererBlockMetadata, and LAST_CONFIG the same number, in every block."""
    last_config = 0
    for recorded in recorded_blocks()[1:]:
        if recorded.block.number in CONFIG_BLOCKS:
            last_config = recorded.block.number
        signatures = common_pb2.Metadata.FromString(recorded.block.metadata[SIGNATURES])
        value = common_pb2.OrdererBlockMetadata.FromString(signatures.value)
        entry = common_pb2.Metadata.FromString(recorded.block.metadata[LAST_CONFIG])
        assert value.last_config.index == last_config
        assert common_pb2.LastConfig.FromString(entry.value).index == last_config


def test_recorded_genesis_is_read_as_configtxgen_wrote_it() -> None:
    """Members, policies, batches, capabilities and endpoints of a real network."""
    configuration = ChannelConfiguration.from_block(recorded_blocks()[0].block)
    assert configuration.channel_id == CHANNEL
    assert list(configuration.organisations) == ["BankMSP", "OperatorMSP", "PtaMSP"]
    assert configuration.orderer_organisations == ("OrdererMSP",)
    assert configuration.consensus_type == "etcdraft"
    assert configuration.consensus_metadata
    assert [msp_id for msp_id, _, _ in configuration.orderer_endpoints] == ["OrdererMSP"]
    assert configuration.capabilities.channel == {"V2_0"}
    assert configuration.capabilities.orderer == {"V2_0"}
    assert configuration.capabilities.application == {"V2_5"}
    assert not configuration.is_rehearsal
    configuration.verify_capabilities()
    for path in (
        "/Channel/Readers",
        "/Channel/Application/LifecycleEndorsement",
        "/Channel/Orderer/BlockValidation",
        "/Channel/Application/BankMSP/Endorsement",
        "/Channel/Orderer/OrdererOrg/Writers",
    ):
        assert path in configuration.policies.paths


def test_recorded_configuration_blocks_show_what_the_readme_says() -> None:
    """Batch timeout, anchor peer, capability V3_0, a new member, a list: 55 to 58, 61."""
    found = [
        ChannelConfiguration.from_block(recorded_blocks()[number].block) for number in CONFIG_BLOCKS
    ]
    assert [configuration.sequence for configuration in found] == list(range(len(found)))
    before, timeout, anchors, capability, member, revocation = found[0], *found[-5:]
    assert timeout.batch.timeout_s != before.batch.timeout_s
    peers = {msp_id: each.anchor_peers for msp_id, each in anchors.organisations.items()}
    assert peers != {msp_id: each.anchor_peers for msp_id, each in timeout.organisations.items()}
    assert "V3_0" in capability.capabilities.channel
    assert set(member.organisations) - set(capability.organisations) == {"MakerMSP"}
    assert revocation.organisations == member.organisations


# ---- nothing unknown

_VALUES = {
    "MSP": msp_config_pb2.MSPConfig,
    "AnchorPeers": peer_pb2.AnchorPeers,
    "ACLs": peer_pb2.ACLs,
    "Endpoints": configuration_pb2.OrdererAddresses,
    "OrdererAddresses": configuration_pb2.OrdererAddresses,
    "Capabilities": configuration_pb2.Capabilities,
    "HashingAlgorithm": configuration_pb2.HashingAlgorithm,
    "BlockDataHashingStructure": configuration_pb2.BlockDataHashingStructure,
    "Consortium": configuration_pb2.Consortium,
    "ConsensusType": orderer_pb2.ConsensusType,
    "BatchSize": orderer_pb2.BatchSize,
    "BatchTimeout": orderer_pb2.BatchTimeout,
    "ChannelRestrictions": orderer_pb2.ChannelRestrictions,
}
_POLICIES = {1: policies_pb2.SignaturePolicyEnvelope, 3: policies_pb2.ImplicitMetaPolicy}


def _no_unknown_fields(message: Message, path: str) -> None:
    assert len(unknown_fields.UnknownFieldSet(message)) == 0, path
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            continue
        if descriptor.message_type.GetOptions().map_entry:
            inner = descriptor.message_type.fields_by_name["value"].message_type
            parts = list(value.values()) if inner is not None else []
        elif hasattr(value, "ListFields"):
            parts = [value]
        else:
            parts = list(value)
        for part in parts:
            _no_unknown_fields(part, f"{path}/{descriptor.name}")


def decode_whole_group(group, path: str) -> int:
    """Decode every value and policy by the official messages; return how many there were."""
    count = 0
    for name, entry in group.values.items():
        message = _VALUES[name].FromString(entry.value)
        _no_unknown_fields(message, f"{path}/{name}")
        if name == "MSP":
            fabric = msp_config_pb2.FabricMSPConfig.FromString(message.config)
            _no_unknown_fields(fabric, f"{path}/{name}/config")
        count += 1
    for name, entry in group.policies.items():
        message = _POLICIES[entry.policy.type].FromString(entry.policy.value)
        _no_unknown_fields(message, f"{path}/{name}")
        for principal in getattr(message, "identities", ()):
            role = msp_principal_pb2.MSPRole.FromString(principal.principal)
            _no_unknown_fields(role, f"{path}/{name}/principal")
        count += 1
    for name, inner in group.groups.items():
        count += decode_whole_group(inner, f"{path}/{name}")
    return count


def _decode_whole(block: Block) -> int:
    envelope = common_pb2.Envelope.FromString(block.data[0])
    payload = common_pb2.Payload.FromString(envelope.payload)
    config = configtx_pb2.ConfigEnvelope.FromString(payload.data)
    for message in (envelope, payload, config):
        _no_unknown_fields(message, "block")
    return decode_whole_group(config.config.channel_group, "Channel")


def _shape(group, path: str = "/Channel") -> dict[str, tuple[str, ...]]:
    """Return the names of values and policies of every group, by its path."""
    found = {path: (*sorted(group.values), "|", *sorted(group.policies))}
    for name, inner in group.groups.items():
        found.update(_shape(inner, f"{path}/{name}"))
    return found


@pytest.mark.parametrize("rehearsal", [False, True])
def test_our_genesis_is_decoded_whole_by_the_official_messages(rehearsal) -> None:
    """Nothing in it is unknown to Fabric's tools; a rehearsal is the name of a capability."""
    members = [Member(name) for name in ("BankMSP", "OperatorMSP", "MakerMSP", "PtaMSP")]
    block = genesis(
        members, rehearsal=rehearsal, acls={"peer/Propose": "/Channel/Application/Readers"}
    )
    again = Block.decode(block.encode())
    assert again == block
    assert _decode_whole(again) > 40


def test_recorded_genesis_is_decoded_whole_by_the_same_walk() -> None:
    """So the walk of the test above knows a real configuration."""
    assert _decode_whole(recorded_blocks()[0].block) > 40


def test_our_genesis_has_the_shape_of_the_recorded_one() -> None:
    """The same groups, values and policies, by the same names, save what the README explains."""
    names = ("BankMSP", "OperatorMSP", "PtaMSP", "OrdererMSP")
    block = genesis([Member(name) for name in names], orderers=["OrdererMSP"])
    shapes = []
    for each in (block, recorded_blocks()[0].block):
        found = config_of_block(each)
        assert found is not None
        group = configtx_pb2.ConfigEnvelope.FromString(found[1]).config.channel_group
        shapes.append(_shape(group))
    ours, theirs = shapes
    # Here the orderer's member is one of Application too, and groups are named after MSPs.
    del ours["/Channel/Application/OrdererMSP"]
    ours["/Channel/Orderer/OrdererOrg"] = ours.pop("/Channel/Orderer/OrdererMSP")
    for shape in shapes:
        for path, entries in shape.items():
            # Anchor peers came to the recorded network in block 56; a consortium is not needed.
            kept = (each for each in entries if each not in ("AnchorPeers", "Consortium"))
            shape[path] = tuple(kept)
    assert ours == theirs
