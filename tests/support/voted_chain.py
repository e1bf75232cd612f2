"""A channel that validators decide on, without their processes: blocks and finality records.

Blocks are made by the engine's own functions, configurations by the orderer's gate. The votes are
signed here with the validators' keys, into the messages that CometBFT sends; the heights recorded
in `tests/vectors/cometbft-0.38.25` show that they are the ones. Which heights lie between two
blocks and who votes is for a test to say. Verdicts and commit hashes are anything: there is no
ledger behind it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.blocks.block import Block, BlockHeader, compute_data_hash
from ledger.blocks.metadata import with_validation
from ledger.blocks.structure import is_config_block
from ledger.transactions.codes import TxValidationCode
from network.certificates.authority import identity_subject, tls_subject
from network.configuration import ChannelConfiguration
from network.configuration.channel import Consenter
from network.configuration.consenter_edits import (
    add_consenter,
    replace_consensus_certificate,
    set_engine,
)
from network.ordering.block_signature import sign_block
from network.ordering.cometbft.blocks.app_hash import compute_app_hash
from network.ordering.cometbft.blocks.ordered import make_block
from network.ordering.cometbft.bundles.bundle import BundleKind, limits_of, make_bundle, open_bundle
from network.ordering.cometbft.finality.finality import (
    FINALITY,
    encode_record,
    header_hash,
    vote_sign_bytes,
)
from network.ordering.cometbft.genesis import chain_id_of
from network.ordering.cometbft.messages import types_pb2, validator_pb2
from network.ordering.cometbft.validators import Validator, validators_hash, validators_of
from network.ordering.reconfiguration import make_configuration
from tests.support.members import CHANNEL, NOW, Member, genesis, signed_envelope
from tests.support.updates import Edit, signed_update

MEMBERS = ("BankMSP", "OperatorMSP", "MakerMSP", "PtaMSP")
NO_TIME_S = -62_135_596_800
SECOND = 1_790_000_000

Keys = dict[bytes, Ed25519PrivateKey]
"""Private keys by the public ones."""


def new_key(keys: Keys) -> Ed25519PrivateKey:
    """Return a new key that the others find by its public half."""
    key = Ed25519PrivateKey.generate()
    keys[key.public_key().public_bytes_raw()] = key
    return key


def vote(
    header: types_pb2.Header,
    validators: Sequence[Validator],
    keys: Keys,
    *,
    absent: Collection[str] = (),
    against: Collection[str] = (),
    round_number: int = 0,
) -> types_pb2.SignedHeader:
    """Return a header with the commit of *validators*.

    Args:
        header: what is decided; all of it but the validators' hash, which is filled in.
        validators: in their order.
        keys: theirs.
        absent: MSP ids of those that did not vote.
        against: MSP ids of those that voted for nothing.
        round_number: of the votes.
    """
    header.validators_hash = validators_hash(validators)
    parts = types_pb2.PartSetHeader(total=1, hash=hashlib.sha256(b"parts").digest())
    block_id = types_pb2.BlockID(hash=header_hash(header), part_set_header=parts)
    commit = types_pb2.Commit(height=header.height, round=round_number, block_id=block_id)
    for place, each in enumerate(validators):
        entry = commit.signatures.add(block_id_flag=validator_pb2.BLOCK_ID_FLAG_ABSENT)
        entry.timestamp.seconds = NO_TIME_S
        if each.msp_id in absent:
            continue
        for_nothing = each.msp_id in against
        entry.block_id_flag = (
            validator_pb2.BLOCK_ID_FLAG_NIL if for_nothing else validator_pb2.BLOCK_ID_FLAG_COMMIT
        )
        entry.validator_address = each.address
        entry.timestamp.seconds = header.time.seconds + 1
        entry.timestamp.nanos = 1000 * (place + 1)
        signed = vote_sign_bytes(header.chain_id, commit, place)
        entry.signature = keys[each.public_key].sign(signed)
    return types_pb2.SignedHeader(header=header, commit=commit)


@dataclass
class VotedChain:
    """A channel of four members; all of them have a consenter once it is `cometbft`.

    Attributes:
        solo: begin with the engine solo, ordered by the first member.
        blocks: so far.
        records: finality records by block number; those of blocks that validators decided on.
        signed: headers by CometBFT's height.
        height_of_comet: of CometBFT's newest block.
        silent: MSP ids of those that do not vote.
    """

    solo: bool = False
    blocks: list[Block] = field(default_factory=list)
    records: dict[int, bytes] = field(default_factory=dict)
    signed: dict[int, types_pb2.SignedHeader] = field(default_factory=dict)
    height_of_comet: int = 0
    silent: Collection[str] = ()

    def __post_init__(self) -> None:
        self.members = {name: Member(name) for name in MEMBERS}
        self.peers = {name: each.identity("node", "peer") for name, each in self.members.items()}
        self.admins = [each.identity("admin", "admin") for each in self.members.values()]
        self.client = self.members["BankMSP"].identity()
        self.keys: Keys = {}
        self.consenters = {
            name: self._consenter(number, name) for number, name in enumerate(MEMBERS, 1)
        }
        options: dict[str, Any] = {"orderers": MEMBERS[:1]}
        if not self.solo:
            options = {
                "orderers": MEMBERS,
                "consensus": "cometbft",
                "consenters": list(self.consenters.values()),
            }
        self.genesis = genesis(list(self.members.values()), **options)
        self.configuration = ChannelConfiguration.from_block(self.genesis)
        self.last_config = 0
        self.chain_id = chain_id_of(CHANNEL, self.genesis)
        self.blocks.append(with_validation(self.genesis, [TxValidationCode.VALID], b""))

    def certificate(self, msp_id: str) -> bytes:
        """Return a certificate over a new consensus key of a member."""
        subject = identity_subject(msp_id, "consensus", "node")
        key = new_key(self.keys).public_key()
        return self.members[msp_id].issuing.issue_identity(subject, key, {}, 365, NOW)

    def _consenter(self, number: int, msp_id: str) -> Consenter:
        link = Ed25519PrivateKey.generate().public_key()
        subject = tls_subject(msp_id, "node")
        return Consenter(
            number,
            msp_id,
            self.certificate(msp_id),
            "localhost",
            7100 + number,
            self.members[msp_id].tls.issue_tls(subject, link, ["localhost"], 365, NOW),
        )

    # What a node's ledger gives

    @property
    def channel_id(self) -> str:
        """Name of the channel."""
        return CHANNEL

    @property
    def height(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    def block(self, number: int) -> Block | None:
        """Return a block."""
        return self.blocks[number] if 0 <= number < self.height else None

    def evidence(self, number: int, kind: str) -> bytes | None:
        """Return a finality record."""
        return self.records.get(number) if kind == FINALITY else None

    # Making blocks

    def transactions(self, count: int = 2, codes: Sequence[TxValidationCode] = ()) -> Block:
        """Add a block of transactions."""
        nonces = [b"%24d" % (100 * self.height + place) for place in range(count)]
        envelopes = [signed_envelope(self.client, nonce=nonce) for nonce in nonces]
        return self.add(envelopes, codes or [TxValidationCode.VALID] * count)

    def reconfigure(self, edit: Edit) -> Block:
        """Add the block of a configuration that all admins agree to."""
        update = signed_update(self.configuration, edit, self.admins)
        first = self.peers["BankMSP"]
        return self.add(
            [make_configuration(self.configuration, update, first, NOW)], [TxValidationCode.VALID]
        )

    def migrate(self) -> Block:
        """Add the block by which a solo channel becomes `cometbft`."""

        def edit(config: Any) -> None:
            set_engine(config, "cometbft")
            for name, each in self.consenters.items():
                add_consenter(
                    config, name, (each.host, each.port), each.identity, each.server_tls_cert
                )

        return self.reconfigure(edit)

    def rotate(self, msp_id: str) -> Block:
        """Add the block by which a member's consenter votes with a new key."""
        pem = self.certificate(msp_id)
        return self.reconfigure(lambda config: replace_consensus_certificate(config, msp_id, pem))

    def add(self, envelopes: Sequence[bytes], codes: Sequence[TxValidationCode]) -> Block:
        """Add a block as the engine in force makes it, and the heights that prove it."""
        by_votes = self.configuration.consensus_type == "cometbft"
        block = self._decided(envelopes) if by_votes else self._ordered(envelopes)
        digest = hashlib.sha256(b"commit hash %d" % block.number).digest()
        block = with_validation(block, codes, digest)
        self.blocks.append(block)
        before = self.configuration
        if is_config_block(block) and codes[0] is TxValidationCode.VALID:
            self.configuration = ChannelConfiguration.from_block(block)
            self.last_config = block.number
        if by_votes:
            self.records[block.number] = encode_record(self.decide(before))
        elif self.configuration.consensus_type == "cometbft":
            self.chain_id = chain_id_of(CHANNEL, block)
        return block

    def _ordered(self, envelopes: Sequence[bytes]) -> Block:
        last = self.blocks[-1].header
        header = BlockHeader(last.number + 1, last.hash(), compute_data_hash(envelopes))
        # One that changes the engine names itself as the newest configuration.
        alone = is_config_block(Block(header, tuple(envelopes), ()))
        named = header.number if alone else self.last_config
        return sign_block(header, tuple(envelopes), self.peers["BankMSP"], named)

    def _decided(self, envelopes: Sequence[bytes]) -> Block:
        last = self.blocks[-1].header
        alone = is_config_block(Block(last, tuple(envelopes), ()))
        raw = make_bundle(
            self.peers["BankMSP"],
            CHANNEL,
            last.number + 50,
            envelopes,
            kind=BundleKind.CONFIGURATION if alone else BundleKind.ENVELOPES,
        )
        bundle = open_bundle(raw, limits_of(self.configuration.batch))
        self.height_of_comet += 1
        return make_block(
            last.number + 1, last.hash(), [bundle], self.height_of_comet, self.last_config
        )

    def decide(self, before: ChannelConfiguration | None = None) -> types_pb2.SignedHeader:
        """Have the validators decide on the height after the newest block.

        Args:
            before: the configuration in force before that block; the present one if left out.
        """
        self.height_of_comet += 1
        signing = validators_of(before or self.configuration)
        header = types_pb2.Header(
            chain_id=self.chain_id,
            height=self.height_of_comet,
            app_hash=compute_app_hash(self.blocks[-1]),
            next_validators_hash=validators_hash(validators_of(self.configuration)),
            proposer_address=signing[0].address,
        )
        for name in (
            "last_commit_hash",
            "data_hash",
            "consensus_hash",
            "last_results_hash",
            "evidence_hash",
        ):
            setattr(header, name, hashlib.sha256(name.encode()).digest())
        header.version.block, header.version.app = 11, 1
        header.time.seconds, header.time.nanos = SECOND + self.height_of_comet, 5
        header.last_block_id.hash = hashlib.sha256(b"before").digest()
        header.last_block_id.part_set_header.total = 1
        header.last_block_id.part_set_header.hash = hashlib.sha256(b"parts before").digest()
        found = vote(header, signing, self.keys, absent=self.silent)
        self.signed[self.height_of_comet] = found
        return found
