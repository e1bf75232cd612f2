"""What makes a channel configuration unusable, rule by rule, and what goes when a new one comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fabric_protos.common import configtx_pb2, configuration_pb2, policies_pb2
from fabric_protos.orderer import configuration_pb2 as orderer_pb2
from fabric_protos.peer import configuration_pb2 as peer_pb2

from network.configuration import ChannelConfiguration, config_of_block
from network.configuration.channel import Consenter
from network.configuration.values import format_duration, parse_duration, read_endpoint
from network.errors import ConfigurationError, IdentityError, PolicyError
from network.policy import SignedData
from tests.support.members import CHANNEL, Member, genesis


@pytest.fixture(scope="module")
def members() -> list[Member]:
    return [Member("BankMSP"), Member("PtaMSP")]


def _config(members) -> Any:
    found = config_of_block(genesis(members))
    assert found is not None
    return configtx_pb2.ConfigEnvelope.FromString(found[1])


def _changed(members, change: Callable[[Any], None]) -> ChannelConfiguration:
    """Return the configuration after *change* to the root group of the usual one."""
    envelope = _config(members)
    change(envelope.config.channel_group)
    return ChannelConfiguration.from_config_envelope(envelope.SerializeToString(), CHANNEL)


def _set(group: Any, name: str, message: Any) -> None:
    group.values[name].value = message.SerializeToString()


def _second_msp(root: Any) -> None:
    """Give the Orderer group another definition of a member than Application has."""
    group = root.groups["Orderer"].groups["BankMSP"]
    _set(group, "MSP", Member("BankMSP").msp_config())


def _same_msp_twice(root: Any) -> None:
    groups = root.groups["Application"].groups
    groups["Other"].CopyFrom(groups["BankMSP"])


CAPABILITIES = configuration_pb2.Capabilities


def _capability(name: str) -> Any:
    return CAPABILITIES(capabilities={name: configuration_pb2.Capability()})


BROKEN = {
    "a third group": (
        lambda root: root.groups["Guests"].SetInParent(),
        "Application and Orderer, may have Consortiums, and no other",
    ),
    "no group Orderer": (lambda root: root.groups.pop("Orderer"), "must have Application"),
    "orderers without capabilities": (
        lambda root: root.groups["Orderer"].values.pop("Capabilities"),
        "cannot enable channel capabilities without orderer support first",
    ),
    "another hash": (
        lambda root: _set(
            root, "HashingAlgorithm", configuration_pb2.HashingAlgorithm(name="SHA3")
        ),
        "hashing algorithm 'SHA3'",
    ),
    "a Merkle tree over block data": (
        lambda root: _set(
            root,
            "BlockDataHashingStructure",
            configuration_pb2.BlockDataHashingStructure(width=2),
        ),
        "hashed in one piece",
    ),
    "an unknown value": (
        lambda root: _set(root, "Surprise", CAPABILITIES()),
        "unexpected key Surprise in /Channel",
    ),
    "an unknown value of a member": (
        lambda root: _set(root.groups["Application"].groups["PtaMSP"], "Endpoints", CAPABILITIES()),
        "unexpected key Endpoints in /Channel/Application/PtaMSP",
    ),
    "a value that is no message": (
        lambda root: root.groups["Orderer"].values["BatchSize"].ParseFromString(b"\x12\x01\xff"),
        "/Channel/Orderer/BatchSize",
    ),
    "old rules": (
        lambda root: _set(root, "Capabilities", _capability("V1_1")),
        "set V2_0 or V3_0",
    ),
    "a batch of nothing": (
        lambda root: _set(root.groups["Orderer"], "BatchSize", orderer_pb2.BatchSize()),
        "batch parameters",
    ),
    "a timeout in words": (
        lambda root: _set(
            root.groups["Orderer"], "BatchTimeout", orderer_pb2.BatchTimeout(timeout="soon")
        ),
        "'soon' is no duration",
    ),
    "a group below a member": (
        lambda root: root.groups["Application"].groups["PtaMSP"].groups["x"].SetInParent(),
        "a member has none",
    ),
    "two definitions of one member": (_second_msp, "otherwise than another group"),
    "an orderer without endpoint": (
        lambda root: root.groups["Orderer"].groups["BankMSP"].values.pop("Endpoints"),
        r"endpoints are empty: \['BankMSP'\]",
    ),
    "global addresses under V3_0": (
        lambda root: _set(
            root,
            "OrdererAddresses",
            configuration_pb2.OrdererAddresses(addresses=["localhost:7050"]),
        ),
        "global OrdererAddresses are not allowed",
    ),
    "an MSP of another kind": (
        lambda root: _set(
            root.groups["Application"].groups["PtaMSP"],
            "MSP",
            type(Member("x").msp_config())(type=1),
        ),
        "only type 0",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_configuration_that_breaks_a_rule_is_refused(members, name) -> None:
    """Each with a message that names the place and the way out."""
    change, message = BROKEN[name]
    with pytest.raises(ConfigurationError, match=message):
        _changed(members, change)


def test_member_in_both_groups_is_one_msp(members) -> None:
    """The usual configuration: the same definition twice."""
    configuration = _changed(members, lambda root: None)
    assert set(configuration.msps.msps) == {"BankMSP", "PtaMSP"}


def test_two_groups_of_one_msp_are_one_member_under_the_first_name(members) -> None:
    """Fabric takes it, so a channel may have it; which group speaks must not hang on chance."""
    configuration = _changed(members, _same_msp_twice)
    assert set(configuration.organisations) == {"BankMSP", "PtaMSP"}
    assert configuration.organisations["BankMSP"].name == "BankMSP"


def test_consortiums_left_in_a_configuration_are_read_and_their_msps_count(members) -> None:
    """Their organisations' identities are identities of the channel, as in Fabric."""
    guest = Member("GuestMSP")

    def change(root: Any) -> None:
        consortium = root.groups["Consortiums"].groups["SampleConsortium"]
        _set(consortium, "ChannelCreationPolicy", policies_pb2.Policy(type=3, value=b"\x0a\x01A"))
        _set(consortium.groups["GuestMSP"], "MSP", guest.msp_config())

    configuration = _changed(members, change)
    assert set(configuration.msps.msps) == {"BankMSP", "PtaMSP", "GuestMSP"}
    assert configuration.msps.deserialize(guest.identity().serialized).msp_id == "GuestMSP"
    assert set(configuration.organisations) == {"BankMSP", "PtaMSP"}

    def broken(root: Any) -> None:
        change(root)
        _set(root.groups["Consortiums"].groups["SampleConsortium"], "Other", policies_pb2.Policy())

    with pytest.raises(ConfigurationError, match="unexpected key Other"):
        _changed(members, broken)


def test_odd_values_that_fabric_takes_are_taken(members) -> None:
    """An address without a port reaches nobody, an ACL without a policy asks for none."""

    def change(root: Any) -> None:
        _set(root, "HashingAlgorithm", configuration_pb2.HashingAlgorithm(name="SHA3_256"))
        addresses = configuration_pb2.OrdererAddresses(addresses=["localhost"])
        _set(root.groups["Orderer"].groups["BankMSP"], "Endpoints", addresses)
        acls = peer_pb2.ACLs()
        acls.acls["event/Block"].policy_ref = ""
        _set(root.groups["Application"], "ACLs", acls)

    configuration = _changed(members, change)
    assert configuration.orderer_endpoints == ()
    assert configuration.acl_policy("event/Block") == "/Channel/Application/Readers"


def test_consenters_of_a_configuration_are_read_by_their_numbers(members) -> None:
    """A BFT engine's orderers sign blocks by number."""

    def change(root: Any) -> None:
        orderers = configuration_pb2.Orderers()
        orderers.consenter_mapping.add(id=7, msp_id="BankMSP", identity=b"a certificate")
        orderers.consenter_mapping.add(
            id=8,
            msp_id="PtaMSP",
            identity=b"another",
            host="pta.example",
            port=7052,
            server_tls_cert=b"its link's",
        )
        _set(root.groups["Orderer"], "Orderers", orderers)

    assert _changed(members, change).consenters == (
        Consenter(7, "BankMSP", b"a certificate"),
        Consenter(8, "PtaMSP", b"another", "pta.example", 7052, b"its link's"),
    )


def test_global_addresses_are_read_before_v3(members) -> None:
    """Older channels name orderers without their member."""

    def change(root: Any) -> None:
        _set(root, "Capabilities", _capability("V2_0"))
        addresses = configuration_pb2.OrdererAddresses(addresses=["old:7050"])
        _set(root, "OrdererAddresses", addresses)

    configuration = _changed(members, change)
    assert configuration.orderer_endpoints == (
        ("", "old", 7050),
        ("BankMSP", "localhost", 7052),
    )


@pytest.mark.parametrize("raw", [b"", b"\xff", b"\x0a\x00", b"\x0a\x02\x08\x01"])
def test_bytes_that_are_no_configuration_are_refused(raw) -> None:
    """An empty envelope among them."""
    with pytest.raises(ConfigurationError):
        ChannelConfiguration.from_config_envelope(raw, CHANNEL)


def test_ed25519_follows_the_capability(members) -> None:
    """V3_0 lets identities with such keys in; V2_0 does not."""
    signer = members[0].identity(algorithm="Ed25519")
    _changed(members, lambda root: None).msps.deserialize(signer.serialized)
    older = _changed(members, lambda root: _set(root, "Capabilities", _capability("V2_0")))
    with pytest.raises(IdentityError, match="V3_0"):
        older.msps.deserialize(signer.serialized)


def test_caches_go_with_the_configuration_they_belong_to() -> None:
    """A revocation takes effect with the configuration that brings it, cached or not."""
    members = [Member("BankMSP"), Member("PtaMSP")]
    signer = members[0].identity()
    signed = [SignedData(b"data", signer.serialized, signer.sign(b"data"))]
    before = ChannelConfiguration.from_block(genesis(members))
    before.policies.evaluate("/Channel/Writers", signed)
    members[0].revoke(signer)
    after = ChannelConfiguration.from_block(genesis(members))
    before.policies.evaluate("/Channel/Writers", signed)
    with pytest.raises(PolicyError, match="nobody with a valid identity"):
        after.policies.evaluate("/Channel/Writers", signed)
    with pytest.raises(IdentityError, match="revoked"):
        after.msps.deserialize(signer.serialized)


def test_tls_member_goes_with_the_configuration_too() -> None:
    """A member that is no longer in the channel has no nodes in it."""
    members = [Member("BankMSP"), Member("PtaMSP")]
    pem = members[1].tls_identity().certificate_pem
    both = ChannelConfiguration.from_block(genesis(members))
    assert both.msps.member_of_tls_certificate(pem) == "PtaMSP"
    alone = ChannelConfiguration.from_block(genesis(members[:1]))
    with pytest.raises(IdentityError, match="no member"):
        alone.msps.member_of_tls_certificate(pem)


def test_access_list_with_a_relative_name_is_below_application(members) -> None:
    """As Fabric completes it."""

    def change(root: Any) -> None:
        acls = {"event/Block": peer_pb2.APIResource(policy_ref="Admins")}
        _set(root.groups["Application"], "ACLs", peer_pb2.ACLs(acls=acls))

    assert _changed(members, change).acl_policy("event/Block") == "/Channel/Application/Admins"


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2s", 2.0),
        ("700ms", 0.7),
        ("1m30s", 90.0),
        ("1.5h", 5400.0),
        ("+250us", 0.00025),
        (".5s", 0.5),
        ("3µs", 3e-6),
        ("10ns", 1e-8),
    ],
)
def test_duration_is_read_as_go_reads_it(text, seconds) -> None:
    """Numbers with units, several in a row."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "2", "s", "2 s", "-2s", "2S", "1s1", "9" * 70 + "s"])
def test_text_that_is_no_duration_is_refused(text) -> None:
    """A timeout must not be guessed."""
    with pytest.raises(ConfigurationError, match="no duration"):
        parse_duration(text)


def test_duration_that_we_write_is_read_back() -> None:
    """In whole milliseconds."""
    for milliseconds in (1, 250, 1000, 90_000):
        assert parse_duration(format_duration(milliseconds / 1000)) == milliseconds / 1000


@pytest.mark.parametrize("text", ["", ":1", "host", "host:", "host:x", "host:70000", "host:-1"])
def test_text_that_is_no_address_is_refused(text) -> None:
    """HOST:PORT with a port that exists."""
    with pytest.raises(ConfigurationError, match="HOST:PORT"):
        read_endpoint(text, "here")


def test_root_that_is_named_as_an_intermediate_too_is_its_own_chain(members) -> None:
    """Fabric takes it (msp/mspimplvalidate.go, `validateCAIdentity`); nobody above revokes it."""

    def twice(root: Any) -> None:
        pta = members[1]
        group = root.groups["Application"].groups["PtaMSP"]
        _set(group, "MSP", pta.msp_config(intermediate_certs=[pta.root.pem]))

    configuration = _changed(members, twice)
    configuration.msps.deserialize(members[1].identity().serialized)
