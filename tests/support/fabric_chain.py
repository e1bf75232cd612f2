"""Chains as Fabric's orderers make them, etcdraft or BFT, for replaying; no code of an orderer.

A chain has a genesis block, and then whatever a test orders: transactions written by hand,
configuration updates signed by whom the test says. Signatures of a BFT orderer are made after
Fabric's source to the byte: an identifier header with number and nonce, an empty signature header,
and over metadata value, identifier header and header bytes the signature.

Source: Fabric, orderer/consensus/smartbft/{signer,chain,assembler}.go, common/genesis/genesis.go,
orderer/common/multichannel/blockwriter.go.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fabric_protos.common import common_pb2, configtx_pb2, configuration_pb2, policies_pb2
from fabric_protos.orderer import configuration_pb2 as orderer_pb2
from fabric_protos.peer import policy_pb2
from fabric_protos.peer.lifecycle import chaincode_definition_pb2, db_pb2

from ledger.blocks.block import Block, BlockHeader, compute_data_hash
from ledger.blocks.metadata import LAST_CONFIG, SIGNATURES, TRANSACTIONS_FILTER
from ledger.transactions.rwset import KVRead, KVWrite, NamespaceRWSet, TxRWSet, encode_tx_rwset
from ledger.varints import encode_varint
from network.configuration import ChannelConfiguration, config_of_block
from network.configuration.channel import Consenter
from network.configuration.difference import compute_update
from network.configuration.elements import build_group, map_elements
from network.msp import SigningIdentity
from network.ordering.block_signature import bft_block_validation, bft_quorum
from network.policy.language import parse_policy
from tests.support.envelopes import transaction_envelope
from tests.support.members import CHANNEL, NOW, Member, genesis, signed_envelope

LIFECYCLE = "_lifecycle"
CONTRACT = "shop"


@dataclass
class FabricChain:
    """One channel, its members, and its blocks so far.

    Attributes:
        members: each with a peer, a client and an admin; the first one has the orderers.
        consenters: signing identities by number; of a BFT chain, else one with number 1.
        bft: whether blocks are signed by number.
        change: what is done to the root group of the genesis configuration before it is used.
    """

    members: Sequence[Member]
    bft: bool = False
    orderers: int = 4
    change: Callable[[Any], None] = lambda root: None
    capabilities: dict[str, Sequence[str]] = field(default_factory=dict)
    blocks: list[Block] = field(init=False)

    def __post_init__(self) -> None:
        first = self.members[0]
        count = self.orderers if self.bft else 1
        self.consenters = {
            number: first.identity(f"orderer{number}", "orderer") for number in range(1, count + 1)
        }
        self.peers = {each.msp_id: each.identity("peer", "peer") for each in self.members}
        self.clients = {each.msp_id: each.identity("client") for each in self.members}
        self.admins = {each.msp_id: each.identity("admin", "admin") for each in self.members}
        self.last_config = 0
        made = genesis(
            self.members,
            consensus="BFT" if self.bft else "etcdraft",
            capabilities=self.capabilities,
        )
        found = config_of_block(made)
        assert found is not None
        envelope = configtx_pb2.ConfigEnvelope.FromString(found[1])
        if self.bft:
            set_consenters(envelope.config.channel_group, self.consenter_list())
        self.change(envelope.config.channel_group)
        payload = common_pb2.Payload.FromString(
            common_pb2.Envelope.FromString(made.data[0]).payload
        )
        payload.data = envelope.SerializeToString(deterministic=True)
        raw = common_pb2.Envelope(payload=payload.SerializeToString()).SerializeToString()
        header = BlockHeader(0, b"", compute_data_hash([raw]))
        entries = list(made.metadata)
        entries[TRANSACTIONS_FILTER] = b"\0"
        self.blocks = [Block(header, (raw,), tuple(entries))]

    # What a block is made of

    def consenter_list(self) -> list[Consenter]:
        """Return the consenters as a configuration names them."""
        return [
            Consenter(number, each.msp_id, each.certificate.pem)
            for number, each in sorted(self.consenters.items())
        ]

    @property
    def configuration(self) -> ChannelConfiguration:
        """The configuration in force."""
        return ChannelConfiguration.from_block(self.blocks[self.last_config])

    @property
    def raw(self) -> list[bytes]:
        """The blocks as an orderer delivers them, the genesis block as a peer does."""
        return [each.encode() for each in self.blocks]

    def header(self, envelopes: Sequence[bytes]) -> BlockHeader:
        """Return the header of the next block."""
        last = self.blocks[-1].header
        return BlockHeader(last.number + 1, last.hash(), compute_data_hash(envelopes))

    def block(
        self,
        envelopes: Sequence[bytes],
        *,
        signers: Sequence[tuple[int, SigningIdentity]] | None = None,
        last_config: int | None = None,
    ) -> Block:
        """Return the next block without adding it.

        Args:
            envelopes: what is in it.
            signers: number and identity of each signature, in order; a quorum if left out.
            last_config: number that is signed as that of the last configuration block.
        """
        header = self.header(envelopes)
        number = self.last_config if last_config is None else last_config
        config = common_pb2.LastConfig(index=number)
        value = common_pb2.OrdererBlockMetadata(
            last_config=config, consenter_metadata=b"\x08\x01\x10" + encode_varint(header.number)
        ).SerializeToString()
        if signers is None:
            quorum = bft_quorum(len(self.consenters))
            signers = list(self.consenters.items())[: quorum if self.bft else 1]
        signatures = [self.sign(value, header, number, identity) for number, identity in signers]
        entries = [b""] * 5
        entries[SIGNATURES] = common_pb2.Metadata(
            value=value, signatures=signatures
        ).SerializeToString()
        entries[LAST_CONFIG] = common_pb2.Metadata(
            value=config.SerializeToString()
        ).SerializeToString()
        return Block(header, tuple(envelopes), tuple(entries))

    def sign(
        self, value: bytes, header: BlockHeader, number: int, identity: SigningIdentity
    ) -> Any:
        """Return one orderer's signature."""
        if self.bft:
            named = common_pb2.IdentifierHeader(
                identifier=number, nonce=os.urandom(24)
            ).SerializeToString()
            signed = identity.sign(value + named + header.encode_asn1())
            return common_pb2.MetadataSignature(signature=signed, identifier_header=named)
        named = common_pb2.SignatureHeader(
            creator=identity.serialized, nonce=os.urandom(24)
        ).SerializeToString()
        signed = identity.sign(value + named + header.encode_asn1())
        return common_pb2.MetadataSignature(signature=signed, signature_header=named)

    def add(self, envelopes: Sequence[bytes], **options: Any) -> Block:
        """Order *envelopes* in the next block."""
        block = self.block(envelopes, **options)
        self.blocks.append(block)
        return block

    # Configuration updates

    def update(self, change: Callable[[Any], None], signers: Sequence[SigningIdentity]) -> bytes:
        """Return the CONFIG envelope of a change to the root group, signed by *signers*."""
        current = self.configuration
        updated = configtx_pb2.Config()
        updated.CopyFrom(current.config)
        change(updated.channel_group)
        update = compute_update(CHANNEL, current.config, updated).SerializeToString()
        signed = configtx_pb2.ConfigUpdateEnvelope(config_update=update)
        for each in signers:
            header = common_pb2.SignatureHeader(
                creator=each.serialized, nonce=os.urandom(24)
            ).SerializeToString()
            signed.signatures.add(signature_header=header, signature=each.sign(header + update))
        last_update = signed_envelope(
            signers[0],
            signed.SerializeToString(),
            header_type=common_pb2.CONFIG_UPDATE,
            nonce=os.urandom(24),
        )
        # The outcome as an orderer would compute it, whether or not the signers may do that.
        following = configtx_pb2.ConfigEnvelope(
            config=_applied(current, update),
            last_update=common_pb2.Envelope.FromString(last_update),
        )
        return signed_envelope(
            next(iter(self.consenters.values())),
            following.SerializeToString(deterministic=True),
            header_type=common_pb2.CONFIG,
            nonce=os.urandom(24),
        )

    def add_update(
        self, change: Callable[[Any], None], members: Sequence[SigningIdentity], **options: Any
    ) -> Block:
        """Order a configuration update, which stands alone in its block."""
        number = len(self.blocks)
        block = self.add([self.update(change, members)], last_config=number, **options)
        self.last_config = number
        return block

    # Transactions

    def transaction(
        self,
        namespaces: Sequence[NamespaceRWSet],
        *,
        contract: str = CONTRACT,
        creator: SigningIdentity | None = None,
        endorsers: Sequence[SigningIdentity] | None = None,
    ) -> bytes:
        """Return a transaction; endorsed by every member's peer unless the test says otherwise."""
        return transaction_envelope(
            contract,
            ["anything"],
            encode_tx_rwset(TxRWSet(tuple(namespaces))),
            version="1.0",
            channel_id=CHANNEL,
            creator=creator or self.clients[self.members[0].msp_id],
            endorsers=list(self.peers.values()) if endorsers is None else endorsers,
            now=NOW,
        )

    def put(self, key: str, value: bytes, **options: Any) -> bytes:
        """Return a transaction that writes one key of the contract."""
        return self.transaction(
            [NamespaceRWSet(CONTRACT, writes=(KVWrite(key, False, value),))], **options
        )

    def definition(
        self,
        policy: str | bytes,
        *,
        contract: str = CONTRACT,
        plugin: str = "vscc",
        sequence: int = 1,
        collections: bytes = b"",
        **options: Any,
    ) -> bytes:
        """Return the transaction that defines a contract.

        Args:
            policy: in words, or a marshalled ApplicationPolicy.
        """
        if isinstance(policy, str):
            envelope = parse_policy(policy)
            policy = policy_pb2.ApplicationPolicy(signature_policy=envelope).SerializeToString()
        endorsing = chaincode_definition_pb2.ChaincodeEndorsementInfo(
            version="1.0", endorsement_plugin="escc"
        )
        validating = chaincode_definition_pb2.ChaincodeValidationInfo(
            validation_plugin=plugin, validation_parameter=policy
        )
        fields = {
            "Sequence": db_pb2.StateData(Int64=sequence),
            "EndorsementInfo": db_pb2.StateData(Bytes=endorsing.SerializeToString()),
            "ValidationInfo": db_pb2.StateData(Bytes=validating.SerializeToString()),
            "Collections": db_pb2.StateData(Bytes=collections),
        }
        metadata = db_pb2.StateMetadata(datatype="ChaincodeDefinition", fields=list(fields))
        writes = [KVWrite(f"namespaces/metadata/{contract}", False, metadata.SerializeToString())]
        writes += [
            KVWrite(f"namespaces/fields/{contract}/{name}", False, value.SerializeToString())
            for name, value in fields.items()
        ]
        written = NamespaceRWSet(
            LIFECYCLE, writes=tuple(sorted(writes)), reads=(KVRead("nothing", None),)
        )
        return self.transaction([written], contract=LIFECYCLE, **options)


def _applied(current: ChannelConfiguration, update: bytes) -> Any:
    """Return the Config that the write set of an update makes of the one in force."""
    message = configtx_pb2.ConfigUpdate.FromString(update)
    read = map_elements(message.read_set, "the read set")
    written = map_elements(message.write_set, "the write set")
    delta = {
        key: element
        for key, element in written.items()
        if key not in read or read[key].version != element.version
    }
    return configtx_pb2.Config(
        sequence=current.sequence + 1, channel_group=build_group({**current.elements, **delta})
    )


def set_consenters(root: Any, consenters: Sequence[Consenter]) -> None:
    """Give a configuration the consenters of a BFT engine and the policy that goes with them."""
    orderer = root.groups["Orderer"]
    mapping = configuration_pb2.Orderers()
    for each in consenters:
        mapping.consenter_mapping.add(
            id=each.number,
            host="localhost",
            port=7050 + each.number,
            msp_id=each.msp_id,
            identity=each.identity,
        )
    orderer.values["Orderers"].value = mapping.SerializeToString()
    orderer.values["Orderers"].mod_policy = "Admins"
    policy = orderer.policies["BlockValidation"]
    policy.policy.type = policies_pb2.Policy.SIGNATURE
    policy.policy.value = bft_block_validation(consenters)
    consensus = orderer_pb2.ConsensusType.FromString(orderer.values["ConsensusType"].value)
    consensus.type = "BFT"
    orderer.values["ConsensusType"].value = consensus.SerializeToString()
