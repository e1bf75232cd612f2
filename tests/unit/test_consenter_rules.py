"""Consenters of CometBFT: what a configuration must have, and what an update may change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from fabric_protos.common import configuration_pb2
from fabric_protos.orderer import configuration_pb2 as orderer_pb2

from network.certificates.key_pairs import make_key
from network.configuration import (
    ChannelConfiguration,
    Consenter,
    apply_update,
    verify_config_envelope,
)
from network.configuration.consenters import consensus_key, link_key
from network.errors import ConfigurationError, IdentityError
from network.msp import Certificate, serialize_identity
from tests.support.consenters import (
    Ed25519,
    comet_genesis,
    consensus_certificate,
    consenter,
    consenters_of,
    four_members,
    link_certificate,
    write_consenters,
)
from tests.support.members import CHANNEL, NOW, Member, genesis
from tests.support.updates import Edit, edited, signed_update

BANK, MAKER, OPERATOR, PTA = MEMBERS = four_members()
ADMINS = [each.identity("admin", "admin") for each in MEMBERS]


@pytest.fixture(scope="module")
def current() -> ChannelConfiguration:
    return ChannelConfiguration.from_block(comet_genesis(MEMBERS))


def changed(current: ChannelConfiguration, edit: Edit) -> ChannelConfiguration:
    """Read the configuration in force, edited; no update is made."""
    return ChannelConfiguration(CHANNEL, edited(current, edit))


def following(current: ChannelConfiguration, edit: Edit) -> ChannelConfiguration:
    """Apply the edit as an update that everybody signed, and as a committer judges it."""
    envelope, found = apply_update(current, signed_update(current, edit, ADMINS))
    judged = verify_config_envelope(current, envelope.SerializeToString())
    assert judged.consenters == found.consenters
    return found


def refused(current: ChannelConfiguration, edit: Edit, words: str) -> None:
    """Neither the orderer's gate nor a committer takes it, both by the same rule."""
    with pytest.raises(ConfigurationError, match=words):
        apply_update(current, signed_update(current, edit, ADMINS))


def written(consenters: Sequence[Consenter]) -> Edit:
    return lambda config: write_consenters(config, consenters)


def consensus(**fields: Any) -> Edit:
    def change(config: Any) -> None:
        value = config.channel_group.groups["Orderer"].values["ConsensusType"]
        message = orderer_pb2.ConsensusType.FromString(value.value)
        for name, content in fields.items():
            setattr(message, name, content)
        value.value = message.SerializeToString()

    return change


# ---- what a configuration must have


def test_genesis_names_a_consenter_for_each_member(current: ChannelConfiguration) -> None:
    """Numbers, members, addresses and keys are read as they were given."""
    assert [(each.number, each.msp_id) for each in current.consenters] == [
        (1, "BankMSP"),
        (2, "MakerMSP"),
        (3, "OperatorMSP"),
        (4, "PtaMSP"),
    ]
    assert {(each.host, each.port) for each in current.consenters} == {
        (f"{member.msp_id.lower()}.example", 7052) for member in MEMBERS
    }
    keys = {f(each) for each in current.consenters for f in (consensus_key, link_key)}
    assert len(keys) == 8
    assert {len(each) for each in keys} == {32}


FAULTS: list[tuple[Callable[[list[Consenter]], list[Consenter]], str]] = [
    (lambda all_: [], "has no consenter"),
    (lambda all_: [replace(all_[0], number=0), *all_[1:]], "has no number"),
    (lambda all_: [*all_[:3], replace(all_[3], number=1)], "2 consenters have the number 1"),
    (lambda all_: [*all_, consenter(BANK, 5, port=9)], "2 consenters have the member BankMSP"),
    (
        lambda all_: [*all_[:3], replace(all_[3], host="BANKMSP.example")],
        "the address bankmsp.example:7052",
    ),
    (
        lambda all_: [*all_[:3], replace(all_[3], identity=all_[0].identity)],
        "2 consenters have the public key",
    ),
    (
        lambda all_: [*all_[:3], replace(all_[3], server_tls_cert=all_[0].server_tls_cert)],
        "2 consenters have the public key",
    ),
    (
        lambda all_: [*all_[:3], replace(all_[3], server_tls_cert=all_[3].identity)],
        "2 consenters have the public key",
    ),
    (
        lambda all_: [*all_[:3], replace(all_[3], msp_id="GuestMSP")],
        "consenter 4 of GuestMSP is of no member of the group Orderer",
    ),
    (lambda all_: [*all_[:3], replace(all_[3], identity=b"x")], "consensus certificate .* read"),
    (lambda all_: [*all_[:3], replace(all_[3], server_tls_cert=b"")], "link certificate .* read"),
    (
        lambda all_: [
            *all_[:3],
            replace(all_[3], identity=consensus_certificate(PTA, make_key("P-256").public_key())),
        ],
        "consensus certificate .* not Ed25519",
    ),
    (
        lambda all_: [
            *all_[:3],
            replace(all_[3], server_tls_cert=link_certificate(PTA, make_key("P-256").public_key())),
        ],
        "link certificate .* not Ed25519",
    ),
    *[
        (lambda all_, host=host: [*all_[:3], replace(all_[3], host=host)], "neither a name")
        for host in (
            "",
            "a b",
            "pta.example,evil",
            "id@pta.example",
            "pta\nseeds",
            "-pta",
            "[::1]",
            "fe80::1%eth0",
            'pta"',
            "x" * 254,
        )
    ],
    (lambda all_: [*all_[:3], replace(all_[3], port=0)], "at port 0"),
    (lambda all_: [*all_[:3], replace(all_[3], port=65536)], "at port 65536"),
]


@pytest.mark.parametrize(("fault", "words"), FAULTS)
def test_consenters_that_break_a_rule_are_refused(current, fault, words) -> None:
    """Wherever the configuration is read, and so by every node."""
    with pytest.raises(ConfigurationError, match=words):
        changed(current, written(fault(list(current.consenters))))


@pytest.mark.parametrize("host", ["10.0.0.7", "::1", "2001:db8::7", "a", "node-1.pta.example"])
def test_addresses_that_can_be_reached_are_taken(current, host) -> None:
    """Names, and numbers of both kinds."""
    last = replace(current.consenters[3], host=host, port=65535)
    assert changed(current, written([*current.consenters[:3], last])).consenters[3] == last


def test_other_engines_may_have_any_consenters() -> None:
    """A channel of Fabric's is read by Fabric's rules alone."""
    plain = ChannelConfiguration.from_block(genesis(MEMBERS))
    odd = [Consenter(0, "GuestMSP", b"x"), Consenter(0, "GuestMSP", b"x")]
    assert changed(plain, written(odd)).consenters == tuple(odd)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"metadata": b"\x0a\x01x"}, "ConsensusType has metadata"),
        ({"state": 1}, "must be STATE_NORMAL"),
    ],
)
def test_engine_with_metadata_or_in_maintenance_is_refused(current, fields, words) -> None:
    """What CometBFT needs stands in Orderers, and no state precedes a change of engine."""
    with pytest.raises(ConfigurationError, match=words):
        changed(current, consensus(**fields))


def test_engine_without_fabrics_third_capability_is_refused(current) -> None:
    """Consenters and Ed25519 keys are of V3_0."""

    def older(config: Any) -> None:
        capabilities = configuration_pb2.Capabilities()
        capabilities.capabilities["V2_0"].SetInParent()
        value = config.channel_group.values["Capabilities"]
        value.value = capabilities.SerializeToString()

    with pytest.raises(ConfigurationError, match="needs the channel capability V3_0"):
        changed(current, older)


def test_links_have_one_certificate_at_both_ends(current) -> None:
    """CometBFT has one key for both, so a second one would say nothing."""

    def other(config: Any) -> None:
        value = config.channel_group.groups["Orderer"].values["Orderers"]
        orderers = configuration_pb2.Orderers.FromString(value.value)
        orderers.consenter_mapping[1].client_tls_cert = link_certificate(MAKER)
        value.value = orderers.SerializeToString()

    with pytest.raises(ConfigurationError, match="consenter 2 has another certificate as client"):
        changed(current, other)


@pytest.mark.parametrize("part", ["identity", "server_tls_cert"])
def test_genesis_with_a_certificate_of_another_authority_is_not_made(part) -> None:
    """A member's key is its own only if its own authority says so."""
    consenters = consenters_of(MEMBERS)
    stranger = Member("PtaMSP")
    make = consensus_certificate if part == "identity" else link_certificate
    wrong: Any = {part: make(stranger)}
    consenters[3] = replace(consenters[3], **wrong)
    with pytest.raises(ConfigurationError, match="consenter 4 of PtaMSP is not one of the member"):
        comet_genesis(MEMBERS, consenters)


def test_consensus_certificate_is_no_identity_of_the_channel(current) -> None:
    """With a consensus key nobody endorses, submits or administers."""
    for each in current.consenters:
        with pytest.raises(IdentityError, match="0 organisational units that give a role"):
            current.msps.deserialize(serialize_identity(each.msp_id, each.identity))


# ---- what an update may change


def without(number: int) -> Callable[[ChannelConfiguration], Edit]:
    return lambda current: written([e for e in current.consenters if e.number != number])


def test_one_consenter_leaves_or_joins_or_takes_another_key(current) -> None:
    """Each is one change, and each set shares all but one with the one before."""
    three = following(current, without(4)(current))
    assert [each.msp_id for each in three.consenters] == ["BankMSP", "MakerMSP", "OperatorMSP"]
    back = following(three, written([*three.consenters, consenter(PTA, 4)]))
    assert len(back.consenters) == 4
    other = replace(back.consenters[0], identity=consensus_certificate(BANK))
    rotated = following(back, written([other, *back.consenters[1:]]))
    assert consensus_key(rotated.consenters[0]) == consensus_key(other)


def test_two_changes_by_one_update_are_refused(current) -> None:
    """Whatever they are: two at once, or one that goes for one that comes."""
    first, second, third, fourth = current.consenters
    keys = [
        replace(e, identity=consensus_certificate(m)) for e, m in ((first, BANK), (second, MAKER))
    ]
    refused(current, written([*keys, third, fourth]), "2 consenters would change by one update")
    refused(current, written([first, second]), "OperatorMSP leaves, PtaMSP leaves")
    refused(current, written([keys[0], second, third]), "PtaMSP leaves, BankMSP takes another key")
    three = following(current, without(4)(current))
    swapped = [*three.consenters[:2], consenter(PTA, 3)]
    refused(three, written(swapped), "PtaMSP joins, OperatorMSP leaves")


def test_addresses_and_link_certificates_of_all_may_change_at_once(current) -> None:
    """They carry no vote."""
    moved = [
        replace(each, port=9000 + each.number, server_tls_cert=link_certificate(member))
        for each, member in zip(current.consenters, MEMBERS, strict=True)
    ]
    assert following(current, written(moved)).consenters == tuple(moved)


def test_certificate_issued_anew_over_the_same_key_is_no_change_of_key(current) -> None:
    """What counts is the key; but the new certificate must be of the member's authority."""
    keys = [Ed25519.generate() for _ in MEMBERS]
    known = [
        replace(each, identity=consensus_certificate(member, key.public_key()))
        for each, member, key in zip(current.consenters, MEMBERS, keys, strict=True)
    ]
    before = ChannelConfiguration.from_block(comet_genesis(MEMBERS, known))
    again = [
        replace(each, identity=consensus_certificate(member, key.public_key()))
        for each, member, key in zip(known, MEMBERS, keys, strict=True)
    ]
    assert following(before, written(again)).consenters == tuple(again)
    forged = consensus_certificate(Member("PtaMSP"), keys[3].public_key())
    refused(
        before,
        written([*again[:3], replace(again[3], identity=forged)]),
        "consensus certificate of consenter 4 of PtaMSP is not one of the member's own",
    )


def test_consenter_keeps_its_number(current) -> None:
    """By the number people and tools tell them apart."""
    refused(
        current,
        written([*current.consenters[:3], replace(current.consenters[3], number=9)]),
        "consenter 4 of PtaMSP would get the number 9",
    )


def test_last_consenter_cannot_leave() -> None:
    """The channel would stand still for ever."""
    one = ChannelConfiguration.from_block(comet_genesis(MEMBERS, [consenter(BANK, 1)]))
    refused(one, written([]), "the last one cannot leave")


def test_member_goes_only_with_its_consenter(current) -> None:
    """A validator of nobody could not be called to account."""

    def gone(config: Any) -> None:
        for part in ("Application", "Orderer"):
            del config.channel_group.groups[part].groups["PtaMSP"]

    refused(current, gone, "consenter 4 of PtaMSP is of no member")

    def both(config: Any) -> None:
        gone(config)
        write_consenters(config, current.consenters[:3])

    assert len(following(current, both).consenters) == 3


def test_retired_authority_leaves_the_consenters_that_it_brought_in(current) -> None:
    """One member alone changes its authorities; who votes is what all have agreed on."""
    renewed = Member("PtaMSP")

    def other_authorities(config: Any) -> None:
        for part in ("Application", "Orderer"):
            group = config.channel_group.groups[part].groups["PtaMSP"]
            group.values["MSP"].value = renewed.msp_config().SerializeToString()

    after = following(current, other_authorities)
    assert after.consenters == current.consenters
    # What comes later is of the new authority.
    old, new = (
        replace(after.consenters[3], identity=consensus_certificate(each))
        for each in (PTA, renewed)
    )
    admins = [*ADMINS[:3], renewed.identity("admin", "admin")]
    with pytest.raises(ConfigurationError, match="not one of the member's own authority"):
        apply_update(after, signed_update(after, written([*after.consenters[:3], old]), admins))
    apply_update(after, signed_update(after, written([*after.consenters[:3], new]), admins))


def test_revoked_consensus_certificate_takes_nobody_out(current) -> None:
    """It is the configuration that does; the list of one member does not decide who votes."""
    serial = Certificate.from_pem(current.consenters[3].identity).serial_number
    listed = PTA.root.revocation_list({serial: NOW}, 1, NOW)

    def revoke(config: Any) -> None:
        for part in ("Application", "Orderer"):
            group = config.channel_group.groups[part].groups["PtaMSP"]
            group.values["MSP"].value = PTA.msp_config(revocation_list=[listed]).SerializeToString()

    assert following(current, revoke).consenters == current.consenters


# ---- the engine


@pytest.fixture(scope="module")
def solo() -> ChannelConfiguration:
    everybody = [each.msp_id for each in MEMBERS]
    return ChannelConfiguration.from_block(genesis(MEMBERS, orderers=everybody))


def migrated(consenters: Sequence[Consenter]) -> Edit:
    def change(config: Any) -> None:
        consensus(type="cometbft")(config)
        write_consenters(config, consenters)

    return change


def test_solo_channel_moves_with_all_consenters_in_one_update(solo) -> None:
    """However many: none of them was there before."""
    found = following(solo, migrated(consenters_of(MEMBERS)))
    assert found.consensus_type == "cometbft"
    assert len(found.consenters) == 4


def test_solo_channel_does_not_move_without_consenters_or_with_foreign_ones(solo) -> None:
    """What is wrong with them is said before anything has changed."""
    refused(solo, consensus(type="cometbft"), "has no consenter")
    foreign = consenters_of(MEMBERS)
    foreign[0] = replace(foreign[0], identity=consensus_certificate(Member("BankMSP")))
    refused(solo, migrated(foreign), "consenter 1 of BankMSP is not one of the member's own")
    # Certificates that a solo channel had for nothing are judged when they begin to count.
    prepared = following(solo, written(foreign))
    refused(prepared, consensus(type="cometbft"), "consenter 1 of BankMSP is not one of")


@pytest.mark.parametrize("engine", ["solo", "BFT", "etcdraft"])
def test_channel_ordered_by_cometbft_stays_so(current, engine) -> None:
    """What its validators have agreed on cannot become one node's word again."""
    refused(current, consensus(type=engine), f"from cometbft to {engine}, transition not supported")


def test_only_solo_moves_to_cometbft() -> None:
    """No other engine's chain is known to end where CometBFT could begin."""
    raft = ChannelConfiguration.from_block(
        genesis(MEMBERS, orderers=[each.msp_id for each in MEMBERS], consensus="etcdraft")
    )
    refused(raft, migrated(consenters_of(MEMBERS)), "from etcdraft to cometbft")
