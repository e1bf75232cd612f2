"""A node's place in its channel, and its connections to the others, as configurations change."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, cast

from network.configuration import ChannelConfiguration, OrganisationSpec, build_genesis
from network.msp import SigningIdentity
from network.tls import OwnTls
from nodes.channel import Channel
from nodes.gateway.members import Members
from nodes.membership import Membership
from tests.support.members import CHANNEL, NOW, Member, genesis

BANK, OPERATOR, NAYA = Member("BankMSP"), Member("OperatorMSP"), Member("NayaMSP")


def configuration(*members: Member, sequence: int = 0) -> ChannelConfiguration:
    """The configuration of a channel of these members; the operator orders."""
    found = ChannelConfiguration.from_block(genesis(members, orderers=["OperatorMSP"]))
    config = type(found.config)()
    config.CopyFrom(found.config)
    config.sequence = sequence
    return ChannelConfiguration(found.channel_id, config)


@dataclass
class ChannelAt:
    """As much of a channel as is asked for."""

    configuration: ChannelConfiguration
    height: int = 3


@dataclass
class FixedTls:
    """A TLS certificate that does not change."""

    identity: Any


def membership(
    channel: ChannelAt, joined: ChannelConfiguration | None, signer: SigningIdentity, member: Member
) -> Membership:
    tls = cast(OwnTls, FixedTls(member.tls_identity()))
    return Membership(cast(Channel, channel), joined, signer, tls)


def test_member_of_the_channel_is_not_outside() -> None:
    """It goes by the channel's configuration, whatever it once joined with."""
    channel = ChannelAt(configuration(OPERATOR, BANK, sequence=2))
    joined = configuration(OPERATOR, sequence=1)
    found = membership(channel, joined, BANK.identity("node", "peer"), BANK)
    assert found.outside() == ""
    assert found.configuration() is channel.configuration
    assert found.orderer_endpoint() == ("localhost", 7052)


def test_node_that_is_behind_goes_by_the_configuration_it_joined_with() -> None:
    """Until its ledger has come so far: it says so, and trusts whom that configuration names."""
    before, after = configuration(OPERATOR, BANK), configuration(OPERATOR, BANK, NAYA, sequence=4)
    channel = ChannelAt(before)
    found = membership(channel, after, NAYA.identity("node", "peer"), NAYA)
    assert "catching up with configuration 4: at height 3" in found.outside()
    assert found.configuration() is after
    assert found.tls_to("BankMSP").trusted == BANK.tls.pem
    assert found.tls_to_orderer().trusted == OPERATOR.tls.pem
    channel.configuration = configuration(OPERATOR, BANK, NAYA, sequence=5)
    assert found.outside() == ""
    assert found.configuration() is channel.configuration


def test_node_that_the_channel_does_not_take_any_more_says_why() -> None:
    """Removed, or revoked."""
    signer = BANK.identity("node", "peer")
    removed = membership(ChannelAt(configuration(OPERATOR, NAYA)), None, signer, BANK)
    assert "does not take this node's identity" in removed.outside()
    revoking = Member("BankMSP")
    revoking.root = revoking.issuing = BANK.root
    revoking.revoke(signer)
    revoked = membership(ChannelAt(configuration(OPERATOR, revoking)), None, signer, BANK)
    assert "revoked" in revoked.outside()


class Connections:
    """Stands for gRPC: remembers what was opened and closed."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.closed: list[tuple[str, float | None]] = []

    def dial(self, address: str, msp_id: str) -> Any:
        self.opened.append(msp_id)
        connections = self

        class Connection:
            def unary_unary(self, *_: Any, **__: Any) -> None:
                return None

            async def close(self, grace: float | None) -> None:
                connections.closed.append((msp_id, grace))

        return Connection()


async def test_connection_is_made_anew_when_what_it_rests_on_changes() -> None:
    """The member's TLS authority, the own certificate; the others' connections stay."""
    connections = Connections()
    now: list[Any] = [configuration(OPERATOR, BANK, NAYA), b"certificate 1"]
    members = Members("OperatorMSP", lambda: now[0], connections.dial, lambda: now[1])
    assert set(members.others()) == {"BankMSP", "NayaMSP"}
    same = members.others()["NayaMSP"]
    now[0] = configuration(OPERATOR, Member("BankMSP"), NAYA)
    assert members.others()["NayaMSP"] is same
    assert connections.opened == ["BankMSP", "NayaMSP", "BankMSP"]
    now[1] = b"certificate 2"
    assert members.others()["NayaMSP"] is not same
    now[0] = configuration(OPERATOR, NAYA)
    assert set(members.others()) == {"NayaMSP"}
    await asyncio.sleep(0)
    assert [msp_id for msp_id, _ in connections.closed].count("BankMSP") == 3
    assert all(grace for _, grace in connections.closed), "calls at work may be finished"
    await members.close()


async def test_member_without_tls_authority_is_passed_over() -> None:
    """It cannot be reached; that is no reason to reach nobody."""
    silent = OrganisationSpec(
        "NayaMSP", NAYA.msp_config(tls_root_certs=None), [("localhost", 9051)]
    )
    specs = [OPERATOR.spec(orders=True), BANK.spec(), silent]
    block = build_genesis(CHANNEL, specs, orderers=["OperatorMSP"], when=NOW)
    found = ChannelConfiguration.from_block(block)
    members = Members("OperatorMSP", lambda: found, Connections().dial)
    assert set(members.others()) == {"BankMSP"}
    await members.close()
