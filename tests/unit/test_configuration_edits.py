"""Edits of a configuration, its JSON for editing, and who must still sign what comes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fabric_protos.common import configtx_pb2

from network.configuration import (
    ChannelConfiguration,
    apply_update,
    compute_update,
    describe_changes,
    edits,
    sign_update,
    update_envelope,
)
from network.configuration.agreement import preview_update, read_agreement
from network.configuration.description import configuration_lines, describe_configuration
from network.configuration.edited import decode_edited, encode_for_editing
from network.errors import ConfigurationError, IdentityError, PolicyError
from network.msp import SigningIdentity
from tests.support.members import CHANNEL, NOW, Member, genesis
from tests.support.recording import recorded_blocks

BANK, OPERATOR, PTA = Member("BankMSP"), Member("OperatorMSP"), Member("PtaMSP")
MEMBERS = [OPERATOR, BANK, PTA]
ADMINS = {member.msp_id: member.identity("admin", "admin") for member in MEMBERS}


@pytest.fixture(scope="module")
def current() -> ChannelConfiguration:
    return ChannelConfiguration.from_block(genesis(MEMBERS))


def edited(current: ChannelConfiguration, edit: Callable[[Any], None]) -> Any:
    """A copy of the configuration, edited."""
    config = configtx_pb2.Config()
    config.CopyFrom(current.config)
    edit(config)
    return config


def update_of(current: ChannelConfiguration, config: Any) -> bytes:
    return compute_update(CHANNEL, current.config, config).SerializeToString(deterministic=True)


def after(
    current: ChannelConfiguration, edit: Callable[[Any], None], *signers: SigningIdentity
) -> ChannelConfiguration:
    """What becomes of the configuration when *signers* agree to an edit."""
    update = update_of(current, edited(current, edit))
    signatures = [sign_update(update, each) for each in signers or ADMINS.values()]
    sender = next(iter(signers or ADMINS.values()))
    return apply_update(current, update_envelope(CHANNEL, update, signatures, sender, NOW))[1]


def test_member_that_is_added_stands_with_its_policies(current) -> None:
    """It may read, write, endorse and administer as the first members do."""
    naya = Member("NayaMSP")
    following = after(current, lambda config: edits.add_member(config, naya.spec(9051)))
    assert following.organisations["NayaMSP"].anchor_peers == (("localhost", 9051),)
    assert "/Channel/Application/NayaMSP/Endorsement" in following.policies.paths
    following.msps.deserialize(naya.identity().serialized)


def test_member_that_is_removed_is_known_no_more(current) -> None:
    """None of its identities is taken any longer."""
    following = after(current, lambda config: edits.remove_member(config, "PtaMSP"))
    assert set(following.organisations) == {"BankMSP", "OperatorMSP"}
    with pytest.raises(IdentityError):
        following.msps.deserialize(ADMINS["PtaMSP"].serialized)


def test_rotation_changes_both_groups_by_the_members_own_signature(current) -> None:
    """A member that orders stands twice, and decides alone who its authorities are."""
    renewed = Member("OperatorMSP")
    both = OPERATOR.msp_config(
        root_certs=[OPERATOR.root.pem, renewed.root.pem],
        tls_root_certs=[OPERATOR.tls.pem, renewed.tls.pem],
        fabric_node_ous=None,
        admins=[ADMINS["OperatorMSP"].certificate.pem],
    )
    following = after(
        current,
        lambda config: edits.replace_msp(config, "OperatorMSP", both),
        ADMINS["OperatorMSP"],
    )
    for member in (OPERATOR, renewed):
        following.msps.deserialize(member.identity("x", "peer").serialized)


def test_revocation_list_takes_the_place_of_the_last_one(current) -> None:
    """Lists of one authority do not pile up; one of another authority stands beside them."""
    first, second = BANK.identity("first"), BANK.identity("second")
    serials = [each.certificate.serial_number for each in (first, second)]
    lists = [
        BANK.issuing.revocation_list({serials[0]: NOW}, 1, NOW),
        BANK.tls.revocation_list({99: NOW}, 1, NOW),
    ]
    once = after(current, lambda config: edits.add_revocation_lists(config, "BankMSP", lists))
    with pytest.raises(IdentityError, match="revoked"):
        once.msps.deserialize(first.serialized)
    once.msps.deserialize(second.serialized)
    newer = BANK.issuing.revocation_list(dict.fromkeys(serials, NOW), 2, NOW)
    twice = after(once, lambda config: edits.add_revocation_lists(config, "BankMSP", [newer]))
    for each in (first, second):
        with pytest.raises(IdentityError, match="revoked"):
            twice.msps.deserialize(each.serialized)
    assert describe_configuration(twice)["members"][0]["revoked"] == 3


def test_list_of_another_members_authority_is_refused(current) -> None:
    """It would revoke nothing, and look as if it did."""
    foreign = PTA.issuing.revocation_list({5: NOW}, 1, NOW)
    with pytest.raises(ConfigurationError, match="of no authority that BankMSP has"):
        edited(current, lambda config: edits.add_revocation_lists(config, "BankMSP", [foreign]))


def test_small_edits_take_effect(current) -> None:
    """Batches, addresses, access, policies, capabilities; what was not named stays."""

    def edit(config: Any) -> None:
        edits.set_batch(config, {"max_message_count": "7", "timeout": "250ms"})
        edits.set_anchor_peers(config, "BankMSP", [("bank.example", 7051)])
        edits.set_orderer_endpoints(config, "OperatorMSP", [("telco.example", 7052)])
        edits.set_acl(config, "event/Block", "/Channel/Application/Admins")
        edits.set_policy(
            config, "/Channel/Application/Two", "OutOf(2,'BankMSP.peer','PtaMSP.peer')"
        )
        edits.set_policy(config, "/Channel/Application/LifecycleEndorsement", "ALL Endorsement")
        edits.set_capability(config, "application", "V2_0")

    following = after(current, edit)
    assert (following.batch.max_message_count, following.batch.timeout_s) == (7, 0.25)
    assert following.batch.absolute_max_bytes == current.batch.absolute_max_bytes
    assert following.organisations["BankMSP"].anchor_peers == (("bank.example", 7051),)
    assert following.orderer_endpoints == (("OperatorMSP", "telco.example", 7052),)
    assert following.acl_policy("event/Block") == "/Channel/Application/Admins"
    assert following.capabilities.application == {"V2_0"}
    told = describe_configuration(following)["policies"]
    assert told["/Channel/Application/LifecycleEndorsement"] == "ALL Endorsement"
    assert "/Channel/Application/Two" in told
    back = after(following, lambda config: edits.set_acl(config, "event/Block", ""))
    assert dict(back.acls) == {}


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda c: edits.add_member(c, BANK.spec()), "is a member of the channel already"),
        (lambda c: edits.remove_member(c, "NoMSP"), "whose members are BankMSP, OperatorMSP"),
        (lambda c: edits.remove_member(c, "OperatorMSP"), "the only member that orders"),
        (lambda c: edits.replace_msp(c, "NoMSP", BANK.msp_config()), "is no member"),
        (lambda c: edits.set_batch(c, {"max_message_count": "0"}), "not usable"),
        (lambda c: edits.set_batch(c, {"size": "5"}), "give max_message_count"),
        (lambda c: edits.set_batch(c, {"timeout": "soon"}), "is no duration"),
        (lambda c: edits.set_acl(c, "event/Block", ""), "names no policy for event/Block"),
        (lambda c: edits.set_policy(c, "/Channel/Bank/Admins", "ANY Admins"), "no group Bank"),
        (lambda c: edits.set_policy(c, "Admins", "ANY Admins"), "write it like /Channel"),
        (lambda c: edits.set_capability(c, "bank", "V2_5"), "is no capability"),
        (lambda c: edits.set_orderer_endpoints(c, "BankMSP", [("a", 1)]), "not one that orders"),
        (lambda c: edits.add_revocation_lists(c, "BankMSP", []), "no revocation list is given"),
    ],
)
def test_edit_that_cannot_be_made_says_why(current, edit, words) -> None:
    """The refusal names the thing and the way out."""
    with pytest.raises(ConfigurationError, match=words):
        edited(current, edit)


def test_rehearsal_is_neither_begun_nor_ended(current) -> None:
    """Demanding a capability leaves that mark; an update that moves it is refused."""
    rehearsal = ChannelConfiguration.from_block(genesis(MEMBERS, rehearsal=True))
    kept = after(rehearsal, lambda config: edits.set_capability(config, "channel", "V2_0"))
    assert kept.is_rehearsal
    assert kept.capabilities.channel == {"V2_0", "QIST_REHEARSAL"}
    with pytest.raises(ConfigurationError, match="is no capability"):
        edited(current, lambda config: edits.set_capability(config, "channel", "QIST_REHEARSAL"))
    other = edited(current, lambda config: None)
    other.channel_group.values["Capabilities"].CopyFrom(
        rehearsal.config.channel_group.values["Capabilities"]
    )
    update = update_of(current, other)
    signatures = [sign_update(update, each) for each in ADMINS.values()]
    sent = update_envelope(CHANNEL, update, signatures, ADMINS["BankMSP"], NOW)
    with pytest.raises(ConfigurationError, match="no rehearsal and stays so"):
        apply_update(current, sent)


def test_json_that_nobody_edited_gives_the_same_bytes(current) -> None:
    """Also of configurations that Fabric's tools have written."""
    recorded = [
        ChannelConfiguration.from_block(each.block)
        for each in recorded_blocks()
        if each.transactions[0].header_type == 1
    ]
    assert len(recorded) > 5
    for each in (current, *recorded):
        back = decode_edited(each, encode_for_editing(each))
        assert back.SerializeToString(deterministic=True) == each.config.SerializeToString(
            deterministic=True
        )


def test_json_edits_are_those_that_were_made(current) -> None:
    """A value, a rule, a group that goes: each shows as just that change."""
    content = json.loads(encode_for_editing(current))
    orderer = content["channel_group"]["groups"]["Orderer"]
    orderer["values"]["BatchTimeout"]["value"]["timeout"] = "3s"
    application = content["channel_group"]["groups"]["Application"]
    application["policies"]["Endorsement"]["rule"] = "ANY Endorsement"
    application["groups"]["BankMSP"]["policies"]["Readers"]["rule"] = "OR('BankMSP.admin')"
    del application["groups"]["PtaMSP"]
    config = decode_edited(current, json.dumps(content))
    changed = {each.path for each in describe_changes(current.config, config)}
    assert {path for path in changed if "PtaMSP" not in path} == {
        "/Channel/Orderer/BatchTimeout/timeout",
        "/Channel/Application/Endorsement",
        "/Channel/Application/BankMSP/Readers",
    }
    assert any("/Channel/Application/PtaMSP" in path for path in changed)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda c: c.pop("sequence"), "must be an object of channel_id"),
        (lambda c: c.update(sequence=7), "number 7 of channel qist, and number 0"),
        (lambda c: c.update(channel_id="other"), "of channel other"),
        (lambda c: c["channel_group"].pop("groups"), "/Channel in the edited"),
        (lambda c: c["channel_group"].update(groups=[]), "/Channel/groups in the edited"),
        (
            lambda c: c["channel_group"]["values"].update(New={"mod_policy": "A", "value": {}}),
            "/Channel/New is no value",
        ),
        (
            lambda c: c["channel_group"]["values"]["Capabilities"].update(value={"x": 1}),
            "/Channel/Capabilities cannot be read",
        ),
        (
            lambda c: c["channel_group"]["values"]["Capabilities"].update(value=None),
            "/Channel/Capabilities/value in the edited configuration is no object",
        ),
        (lambda c: c["channel_group"].update(mod_policy="\ud800"), "half of a character"),
        (
            lambda c: c["channel_group"]["values"].update(
                Consortium={"mod_policy": "A", "base64": "%"}
            ),
            "no base64",
        ),
    ],
)
def test_json_that_says_something_else_is_refused(current, spoil, words) -> None:
    """The message names the place."""
    content = json.loads(encode_for_editing(current))
    spoil(content)
    with pytest.raises(ConfigurationError, match=words):
        decode_edited(current, json.dumps(content))


def test_json_with_a_rule_that_is_none_is_refused(current) -> None:
    """As everywhere, with the path in front."""
    content = json.loads(encode_for_editing(current))
    content["channel_group"]["policies"]["Admins"]["rule"] = "perhaps"
    with pytest.raises(PolicyError, match="/Channel/Admins"):
        decode_edited(current, json.dumps(content))
    with pytest.raises(ConfigurationError, match="is not JSON"):
        decode_edited(current, "{")


def test_agreement_tells_who_is_missing(current) -> None:
    """Two of three admins are a majority; each policy says what it lacks until it has it."""
    config = edited(current, lambda c: edits.set_acl(c, "event/Block", "/Channel/Readers"))
    update = update_of(current, config)
    signatures: list[Any] = []
    told = read_agreement(current, update, signatures)
    (demand,) = told.demands
    assert demand.policy == "/Channel/Application/Admins"
    assert demand.lacking == (
        "/Channel/Application/Admins needs 2 of 3 Admins; nobody of them has signed; 2 more of: "
        "BankMSP, OperatorMSP, PtaMSP",
    )
    signatures.append(sign_update(update, ADMINS["PtaMSP"]))
    told = read_agreement(current, update, signatures)
    assert told.demands[0].lacking[0].endswith("signed: PtaMSP; 1 more of: BankMSP, OperatorMSP")
    assert not told.is_complete
    signatures.append(sign_update(update, ADMINS["BankMSP"]))
    assert read_agreement(current, update, signatures).is_complete


def test_agreement_of_the_whole_channel_names_both_groups(current) -> None:
    """A majority of groups of groups: what is lacking is said of each."""
    config = edited(current, lambda c: edits.set_capability(c, "channel", "V2_0"))
    lacking = read_agreement(current, update_of(current, config), []).demands[0].lacking
    assert [each.split()[0] for each in lacking] == [
        "/Channel/Application/Admins",
        "/Channel/Orderer/Admins",
    ]


def test_agreement_says_why_a_signature_does_not_count(current) -> None:
    """A stranger's, a client's, and one over other bytes; a member's own policy is in words."""
    config = edited(current, lambda c: edits.set_anchor_peers(c, "BankMSP", [("a.example", 1)]))
    update = update_of(current, config)
    stranger = Member("BankMSP").identity("admin", "admin")
    client = BANK.identity("clerk")
    forged = sign_update(b"something else", ADMINS["BankMSP"])
    told = read_agreement(
        current, update, [sign_update(update, stranger), sign_update(update, client), forged]
    )
    faults = [(each.msp_id, each.name, bool(each.fault)) for each in told.signatures]
    assert faults == [
        ("BankMSP", "admin", True),
        ("BankMSP", "clerk", False),
        ("BankMSP", "admin", True),
    ]
    assert told.demands[0].lacking == (
        "/Channel/Application/BankMSP/Admins asks for 'BankMSP.admin'",
    )


def test_preview_shows_what_would_be_without_any_signature(current) -> None:
    """It is what comes of the update once it is agreed to."""
    config = edited(current, lambda c: edits.set_batch(c, {"max_message_count": "9"}))
    previewed = preview_update(current, update_of(current, config))
    assert ChannelConfiguration(CHANNEL, previewed).batch.max_message_count == 9
    (change,) = describe_changes(current.config, previewed)
    assert (change.before, change.after) == ("500", "9")


def test_preview_refuses_an_update_of_an_older_configuration(current) -> None:
    """Versions have moved on; the message says to begin anew."""
    config = edited(current, lambda c: edits.set_batch(c, {"max_message_count": "9"}))
    update = update_of(current, config)
    later = after(current, lambda c: edits.set_batch(c, {"max_message_count": "8"}))
    with pytest.raises(ConfigurationError, match=r"anew|a change makes it"):
        preview_update(later, update)


def test_description_names_authorities_by_fingerprint_and_end(current) -> None:
    """What a member compares by telephone, and what will run out."""
    told = describe_configuration(current)
    bank = next(each for each in told["members"] if each["msp_id"] == "BankMSP")
    kinds = [each["of"] for each in bank["authorities"]]
    assert kinds == ["identities", "tls"]
    ends = (NOW + timedelta(days=3650)).strftime("%Y-%m-%d")
    assert {each["expires"] for each in bank["authorities"]} == {ends}
    lines = list(configuration_lines(told))
    assert any(bank["authorities"][0]["fingerprint"] in line for line in lines)
