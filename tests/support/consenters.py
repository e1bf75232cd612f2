"""Members that order by CometBFT, in memory: their consenters, keys, and channels of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from ledger.blocks.block import Block
from network.certificates.authority import identity_subject, tls_subject
from network.configuration import COMETBFT, Consenter
from network.configuration.genesis import orderers_value
from tests.support.members import NOW, Member, genesis

Ed25519 = ed25519.Ed25519PrivateKey
AnyPublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey


def consensus_certificate(member: Member, key: AnyPublicKey | None = None) -> bytes:
    """Return a certificate of the member's authority over a consensus key; a new one if absent."""
    subject = identity_subject(member.msp_id, "consensus", "node")
    key = key or Ed25519.generate().public_key()
    return member.issuing.issue_identity(subject, key, {}, 365, NOW)


def link_certificate(member: Member, key: AnyPublicKey | None = None) -> bytes:
    """Return a certificate of the member's TLS authority over the key of its links."""
    key = key or Ed25519.generate().public_key()
    return member.tls.issue_tls(tls_subject(member.msp_id, "node"), key, ["localhost"], 365, NOW)


def consenter(member: Member, number: int, **changes: Any) -> Consenter:
    """Return a member's consenter with new keys."""
    made = Consenter(
        number,
        member.msp_id,
        consensus_certificate(member),
        f"{member.msp_id.lower()}.example",
        7052,
        link_certificate(member),
    )
    return replace(made, **changes)


def consenters_of(members: Sequence[Member]) -> list[Consenter]:
    """Return a consenter of each member, numbered in their order."""
    return [consenter(member, number) for number, member in enumerate(members, start=1)]


def comet_genesis(
    members: Sequence[Member], consenters: Sequence[Consenter] | None = None, **options: Any
) -> Block:
    """Return the genesis block of a channel in which every member orders."""
    return genesis(
        members,
        orderers=[each.msp_id for each in members],
        consensus=COMETBFT,
        consenters=consenters_of(members) if consenters is None else consenters,
        **options,
    )


def write_consenters(config: Any, consenters: Sequence[Consenter]) -> None:
    """Put consenters into a `common.Config`, whatever stood there."""
    value = config.channel_group.groups["Orderer"].values["Orderers"]
    value.value = orderers_value(consenters).SerializeToString()
    value.mod_policy = "Admins"


@cache
def four_members() -> tuple[Member, ...]:
    """Four members, the same in the whole run: keys take time to make."""
    return tuple(Member(each) for each in ("BankMSP", "MakerMSP", "OperatorMSP", "PtaMSP"))
