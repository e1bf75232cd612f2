"""Configuration updates: each rule of Fabric's configtx, refused with the element and the rule."""

from __future__ import annotations

from typing import Any

import pytest
from fabric_protos.common import common_pb2, configtx_pb2, policies_pb2
from fabric_protos.orderer import configuration_pb2 as orderer_pb2

from network.configuration import (
    ChannelConfiguration,
    apply_update,
    compute_update,
    edits,
    read_update_envelope,
    sign_update,
    update_envelope,
    verify_config_envelope,
)
from network.errors import ConfigurationError, PolicyError
from network.policy import parse_policy
from tests.support.members import CHANNEL, NOW, Member, genesis
from tests.support.refused_updates import (
    ADMINS,
    ALL,
    MAJORITY,
    MEMBERS,
    PTA,
    group,
    orderer_value,
    refused,
    slower,
)
from tests.support.updates import edited, sent_update, signed_update, update_message

TIMEOUT = "[Value]  /Channel/Orderer/BatchTimeout"
APPLICATION = "[Group]  /Channel/Application"


@pytest.fixture(scope="module")
def current() -> ChannelConfiguration:
    return ChannelConfiguration.from_block(genesis(MEMBERS))


# ---- what stands


def test_update_of_a_value_changes_it_and_its_version_alone(current) -> None:
    """Everything else is byte for byte what it was; the sequence goes up by one."""
    envelope, following = apply_update(current, signed_update(current, slower, ALL))
    assert following.batch.timeout_s == 3.0
    assert following.sequence == envelope.config.sequence == 1
    assert following.elements[TIMEOUT].version == 1
    changed = [
        key
        for key, element in following.elements.items()
        if element.kind != "Group" and element.message != current.elements[key].message
    ]
    assert changed == [TIMEOUT]


def test_update_is_what_a_peer_finds_when_it_applies_it_again(current) -> None:
    """Orderer and peer come to one configuration, by the same rules."""
    envelope, following = apply_update(current, signed_update(current, slower, ALL))
    found = verify_config_envelope(current, envelope.SerializeToString())
    assert found.config == following.config


def test_read_and_write_set_name_what_changes_and_no_more(current) -> None:
    """A changed value: the groups above it with their versions, and the value itself."""
    update = update_message(current, slower)
    assert update.channel_id == CHANNEL
    assert update.read_set == configtx_pb2.ConfigGroup(
        groups={"Orderer": configtx_pb2.ConfigGroup()}
    )
    value = orderer_pb2.BatchTimeout(timeout="3s").SerializeToString()
    assert update.write_set == configtx_pb2.ConfigGroup(
        groups={
            "Orderer": configtx_pb2.ConfigGroup(
                values={
                    "BatchTimeout": configtx_pb2.ConfigValue(
                        version=1, value=value, mod_policy="Admins"
                    )
                }
            )
        }
    )


def test_added_member_raises_its_group_and_rests_on_its_siblings(current) -> None:
    """The group goes up by a version; siblings are in both sets by their versions; the new member
    and everything in it begins at version 0."""
    naya = Member("NayaMSP")
    update = update_message(current, lambda config: edits.add_member(config, naya.spec()))
    before, after = (each.groups["Application"] for each in (update.read_set, update.write_set))
    assert (before.version, after.version) == (0, 1)
    assert set(before.groups) == {"BankMSP", "OperatorMSP", "PtaMSP"}
    assert set(after.groups) == {*before.groups, "NayaMSP"}
    assert set(before.values) == set(after.values) == {"Capabilities"}
    assert set(before.policies) == set(group(current.config, "Application").policies)
    assert after.groups["BankMSP"] == configtx_pb2.ConfigGroup()
    assert {each.version for each in after.groups["NayaMSP"].values.values()} == {0}
    assert after.mod_policy == "Admins"
    assert before.mod_policy == ""
    following = apply_update(current, sent_update(CHANNEL, update.SerializeToString(), MAJORITY))
    assert following[1].elements[APPLICATION].version == 1


def test_member_that_comes_back_begins_anew(current) -> None:
    """What nobody names any more is gone, versions too."""
    gone = apply_update(
        current,
        signed_update(current, lambda config: edits.remove_member(config, "PtaMSP"), MAJORITY),
    )[1]
    assert "[Group]  /Channel/Application/PtaMSP" not in gone.elements
    back = apply_update(
        gone,
        signed_update(gone, lambda config: edits.add_member(config, PTA.spec()), ALL[:2]),
    )[1]
    assert back.elements["[Value]  /Channel/Application/PtaMSP/MSP"].version == 0
    assert back.elements[APPLICATION].version == 2


def test_nothing_changed_gives_no_update(current) -> None:
    """Versions and sequence of the edited configuration are not looked at."""
    config = edited(current, lambda config: setattr(config, "sequence", 9))
    config.channel_group.version = 5
    with pytest.raises(ConfigurationError, match="no differences detected"):
        compute_update(CHANNEL, current.config, config)
    with pytest.raises(ConfigurationError, match="has no channel group"):
        compute_update(CHANNEL, current.config, configtx_pb2.Config())


def test_signatures_may_be_added_one_after_another(current) -> None:
    """The update's bytes stay as they were when the first one signed."""
    raw = update_message(current, slower).SerializeToString(deterministic=True)
    drawn = update_envelope(CHANNEL, raw, [sign_update(raw, ADMINS["BankMSP"])], None, NOW)
    found, signatures = read_update_envelope(drawn)
    assert found == raw
    signatures.append(sign_update(found, ADMINS["PtaMSP"]))
    sent = update_envelope(CHANNEL, found, signatures, ADMINS["PtaMSP"], NOW)
    assert apply_update(current, sent)[1].batch.timeout_s == 3.0


# ---- read set and versions


def test_update_for_another_channel_is_refused(current) -> None:
    """It was computed from another channel's configuration."""
    words = refused(current, lambda update: setattr(update, "channel_id", "other"))
    assert "ConfigUpdate for channel 'other' but envelope for channel 'qist'" in words


def test_element_of_the_read_set_that_is_not_there_is_named(current) -> None:
    """Somebody has removed what the update rests on."""
    words = refused(
        current, lambda update: update.read_set.groups["Application"].groups["Gone"].SetInParent()
    )
    assert "[Group]  /Channel/Application/Gone but was in the read set" in words


def test_element_of_the_read_set_at_another_version_is_named_with_both(current) -> None:
    """Somebody has changed what the update rests on."""

    def change(update: Any) -> None:
        orderer_value(update, "read_set").version = 7

    words = refused(current, change)
    assert f"requires that key {TIMEOUT} be at version 7, but it is currently at version 0" in words


@pytest.mark.parametrize("version", [0, 2, 2**64 - 1])
def test_changed_element_goes_up_by_one_version(current, version) -> None:
    """Neither the same again nor a jump."""
    words = refused(current, lambda update: setattr(orderer_value(update), "version", version))
    assert f"attempt to set key {TIMEOUT} to version {version}, but key is at version 0" in words


def test_new_element_begins_at_version_0(current) -> None:
    """Otherwise one that was removed could come back with what its old version was signed for."""

    def change(update: Any) -> None:
        update.write_set.groups["Application"].groups["NayaMSP"].version = 1

    words = refused(
        current, change, lambda config: edits.add_member(config, Member("NayaMSP").spec())
    )
    assert "[Group]  /Channel/Application/NayaMSP to version 1, but key does not exist" in words


def test_update_without_effect_is_refused(current) -> None:
    """Read set and write set say the same, or there is no write set."""
    assert "delta set was empty" in refused(
        current, lambda update: update.write_set.CopyFrom(update.read_set)
    )
    assert "delta set was empty" in refused(current, lambda update: update.ClearField("write_set"))


def test_group_above_a_change_must_be_in_the_read_set(current) -> None:
    """Without that it is itself part of the change, and would have to go up by a version."""

    def change(update: Any) -> None:
        update.ClearField("read_set")
        for inner in (update.write_set, update.write_set.groups["Orderer"]):
            inner.mod_policy = "Admins"

    words = refused(current, change)
    assert "attempt to set key [Group]  /Channel to version 0, but key is at version 0" in words


def test_member_of_a_group_that_does_not_change_is_left_out(current) -> None:
    """A group says who is in it; what is only in the write set is not."""

    def change(update: Any) -> None:
        added = update.write_set.groups["Orderer"].values["KafkaBrokers"]
        added.mod_policy = "Admins"

    update = update_message(current, slower)
    change(update)
    sent = sent_update(CHANNEL, update.SerializeToString(), ALL)
    following = apply_update(current, sent)[1]
    assert "[Value]  /Channel/Orderer/KafkaBrokers" not in following.elements


# ---- names, modification policies


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a_b", "ä", "x" * 250, "a\n"])
def test_name_that_breaks_fabrics_rule_is_refused(current, name) -> None:
    """In an update as in a configuration."""

    def change(update: Any) -> None:
        update.write_set.groups["Application"].groups[name].mod_policy = "Admins"

    assert "the write set has a group named" in refused(current, change)
    config = edited(current, lambda config: None)
    config.channel_group.groups["Orderer"].policies[name].CopyFrom(
        config.channel_group.groups["Orderer"].policies["Admins"]
    )
    with pytest.raises(ConfigurationError, match="has a policy named"):
        ChannelConfiguration(CHANNEL, config)


@pytest.mark.parametrize(
    ("mod_policy", "words"),
    [
        ("", "mod_policy not set"),
        ("/", "is no name"),
        ("//Channel", "is no name"),
        ("a/b_c", "'b_c' in its path is no name"),
        ("Admins/", "is no name"),
    ],
)
def test_element_must_name_its_next_modification_policy(current, mod_policy, words) -> None:
    """Without one nobody could ever change it again."""
    found = refused(
        current, lambda update: setattr(orderer_value(update), "mod_policy", mod_policy)
    )
    assert f"invalid mod_policy for element {TIMEOUT}" in found
    assert words in found


def modify_by(current: ChannelConfiguration, mod_policy: str, *path: str) -> ChannelConfiguration:
    """Return the configuration in which the orderers' batch timeout is changed by *mod_policy*."""

    def edit(config: Any) -> None:
        group(config, *path).values["BatchTimeout"].mod_policy = mod_policy

    if mod_policy == current.elements[TIMEOUT].mod_policy:
        return current
    return apply_update(current, signed_update(current, edit, ALL))[1]


@pytest.mark.parametrize(
    "mod_policy",
    [
        "Admins",
        "BankMSP/Admins",
        "/Channel/Orderer/Admins",
        "/Channel/Orderer/BankMSP/Admins",
        # Fabric passes over whatever the character after the prefix is.
        "/Channel.Orderer/Admins",
    ],
)
def test_policy_is_found_relative_to_the_elements_group_or_from_the_root(
    current, mod_policy
) -> None:
    """Each of these means a policy that the bank, the only orderer, satisfies alone."""
    configuration = modify_by(current, mod_policy, "Orderer")
    bank = [ADMINS["BankMSP"]]
    envelope = signed_update(configuration, slower, bank)
    assert apply_update(configuration, envelope)[1].batch.timeout_s == 3.0
    other = signed_update(configuration, slower, [ADMINS["PtaMSP"]])
    with pytest.raises(PolicyError, match=r"policy for \[Value\]  /Channel/Orderer/BatchTimeout"):
        apply_update(configuration, other)


@pytest.mark.parametrize("mod_policy", ["Nobody", "/Channel/Nobody", "/Channel", "/Other/Admins"])
def test_element_whose_policy_is_not_there_can_be_changed_by_nobody(current, mod_policy) -> None:
    """The update says so, with the element."""
    configuration = modify_by(current, mod_policy, "Orderer")
    with pytest.raises(PolicyError, match=rf"missing policy {mod_policy} for item"):
        apply_update(configuration, signed_update(configuration, slower, ALL))


def test_group_is_modified_by_a_policy_of_its_own(current) -> None:
    """A relative name on a group means a policy in it, not beside it: a member's group is changed
    by the member's admins."""

    def edit(config: Any) -> None:
        group(config, "Application", "PtaMSP").policies["Extra"].CopyFrom(
            group(config, "Application", "PtaMSP").policies["Admins"]
        )

    apply_update(current, signed_update(current, edit, [ADMINS["PtaMSP"]]))
    with pytest.raises(PolicyError, match=r"\[Group\]  /Channel/Application/PtaMSP .* not satisf"):
        apply_update(current, signed_update(current, edit, [ADMINS["BankMSP"]]))


def test_policy_in_force_now_decides_not_the_new_one(current) -> None:
    """Who may change a policy is not whom it would allow afterwards."""

    def edit(config: Any) -> None:
        policy = group(config, "Application").policies["Admins"]
        policy.policy.type = policies_pb2.Policy.SIGNATURE
        policy.policy.value = parse_policy("OR('PtaMSP.admin')").SerializeToString()

    with pytest.raises(PolicyError, match="requires 2 of the 'Admins' sub-policies"):
        apply_update(current, signed_update(current, edit, [ADMINS["PtaMSP"]]))
    configuration = apply_update(current, signed_update(current, edit, MAJORITY))[1]
    naya = Member("NayaMSP").spec()
    apply_update(
        configuration,
        signed_update(
            configuration, lambda config: edits.add_member(config, naya), [ADMINS["PtaMSP"]]
        ),
    )


# ---- signatures


def test_signature_by_one_who_is_no_admin_does_not_count(current) -> None:
    """Nor do two signatures of one admin count for two."""
    client = PTA.identity("client")
    for signers in ([ADMINS["BankMSP"], client], [ADMINS["BankMSP"]] * 2):
        envelope = signed_update(
            current, lambda config: edits.remove_member(config, "OperatorMSP"), signers
        )
        with pytest.raises(PolicyError, match="requires 2 of the 'Admins' sub-policies"):
            apply_update(current, envelope)


def test_signature_covers_header_and_update(current) -> None:
    """One over other bytes, or under another header, does not count and does not harm."""
    raw = update_message(current, slower).SerializeToString()
    good = sign_update(raw, ADMINS["BankMSP"])
    over_other = sign_update(raw + b"\x00", ADMINS["BankMSP"])
    other_header = sign_update(raw, ADMINS["BankMSP"])
    other_header.signature = good.signature

    def apply(*signatures: Any) -> None:
        apply_update(current, update_envelope(CHANNEL, raw, signatures, ADMINS["BankMSP"], NOW))

    apply(over_other, other_header, good)
    with pytest.raises(PolicyError, match="signed by nobody with a valid identity and signature"):
        apply(over_other, other_header)


def test_signature_whose_header_cannot_be_read_spoils_the_update(current) -> None:
    """As in Fabric: who it is of cannot be told."""
    raw = update_message(current, slower).SerializeToString()
    broken = configtx_pb2.ConfigSignature(signature_header=b"\xff", signature=b"x")
    envelope = update_envelope(
        CHANNEL, raw, [sign_update(raw, ADMINS["BankMSP"]), broken], ADMINS["BankMSP"], NOW
    )
    with pytest.raises(ConfigurationError, match="the header of signature 1"):
        apply_update(current, envelope)


# ---- the envelope


def test_envelope_that_is_no_update_is_refused(current) -> None:
    """Whatever else it is."""
    with pytest.raises(ConfigurationError, match=r"not a common\.Envelope"):
        apply_update(current, b"\xff")
    with pytest.raises(ConfigurationError, match="has no header"):
        apply_update(current, b"")
    sent = signed_update(current, slower, ALL)
    envelope = common_pb2.Envelope.FromString(sent)
    payload = common_pb2.Payload.FromString(envelope.payload)
    header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
    header.type = common_pb2.CONFIG
    payload.header.channel_header = header.SerializeToString()
    envelope.payload = payload.SerializeToString()
    with pytest.raises(ConfigurationError, match="envelope of type 1: send one of type CONFIG_UP"):
        apply_update(current, envelope.SerializeToString())
