"""What may come of a configuration update: bundle rules, what a peer refuses, bounds."""

from __future__ import annotations

from typing import Any

import pytest
from fabric_protos.common import configtx_pb2

from network.configuration import (
    ChannelConfiguration,
    apply_update,
    edits,
    verify_config_envelope,
)
from network.configuration.elements import MAX_DEPTH, MAX_ELEMENTS, MAX_PATHS
from network.errors import ConfigurationError, PolicyError
from nodes.committer.configuration import verify_update
from nodes.errors import UpgradeNeeded
from tests.support.members import CHANNEL, Member, genesis
from tests.support.refused_updates import (
    ALL,
    MAJORITY,
    MEMBERS,
    group,
    refused,
    slower,
)
from tests.support.updates import edited, signed_update


@pytest.fixture(scope="module")
def current() -> ChannelConfiguration:
    return ChannelConfiguration.from_block(genesis(MEMBERS))


# ---- what comes of it


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (
            lambda config: group(config, "Orderer").values.pop("BatchSize"),
            "batch parameters .* are not usable",
        ),
        (
            lambda config: (
                group(config, "Orderer")
                .values["Odd"]
                .CopyFrom(configtx_pb2.ConfigValue(mod_policy="Admins"))
            ),
            "unexpected key Odd",
        ),
        (
            lambda config: (
                group(config)
                .groups["Third"]
                .CopyFrom(configtx_pb2.ConfigGroup(mod_policy="Admins"))
            ),
            "and no other",
        ),
        (
            lambda config: (
                group(config, "Application", "PtaMSP")
                .values["MSP"]
                .CopyFrom(
                    configtx_pb2.ConfigValue(
                        mod_policy="Admins",
                        value=Member("OtherMSP").msp_config().SerializeToString(),
                    )
                )
            ),
            "attempted to change MSP ID from PtaMSP to OtherMSP",
        ),
        (
            lambda config: group(config, "Application", "PtaMSP").policies["Admins"].policy.Clear(),
            "unknown type 0",
        ),
        (
            lambda config: config.channel_group.values.pop("Capabilities"),
            "has no channel capability",
        ),
        (
            lambda config: group(config, "Orderer", "BankMSP").values.pop("Endpoints"),
            "orderer organizations endpoints are empty",
        ),
    ],
    ids=["batch", "unknown value", "third group", "MSP id", "policy", "capabilities", "endpoints"],
)
def test_configuration_that_would_break_a_rule_does_not_come_of_an_update(
    current, edit, words
) -> None:
    """However many have signed."""
    with pytest.raises((ConfigurationError, PolicyError), match=words):
        apply_update(current, signed_update(current, edit, ALL))


def test_element_without_modification_policy_is_mended(current) -> None:
    """Fabric gives it Admins when the next configuration is made, once orderers have capabilities.

    Source: Fabric common/configtx/configmap.go.
    """
    config = edited(current, lambda config: None)
    for path in ((), ("Application",), ("Orderer", "BankMSP")):
        group(config, *path).mod_policy = ""
    group(config, "Orderer").values["BatchSize"].mod_policy = ""
    group(config, "Application").policies["Readers"].mod_policy = ""
    unset = ChannelConfiguration(CHANNEL, config)
    following = apply_update(unset, signed_update(unset, slower, ALL))[1]
    assert {each.mod_policy for each in following.elements.values()} == {"Admins"}


# ---- what a peer refuses


def test_configuration_that_skips_a_sequence_is_refused(current) -> None:
    """Each follows the one in force."""
    envelope, _ = apply_update(current, signed_update(current, slower, ALL))
    for sequence in (0, 2, 2**64 - 1):
        envelope.config.sequence = sequence
        with pytest.raises(ConfigurationError, match=f"validate config at sequence {sequence}"):
            verify_config_envelope(current, envelope.SerializeToString())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda envelope: envelope.ClearField("config"), "has no config"),
        (lambda envelope: envelope.ClearField("last_update"), "has no last update"),
        (
            lambda envelope: envelope.config.ClearField("channel_group"),
            r"did not produce the supplied config result, \[Group\]  /Channel",
        ),
        (
            lambda envelope: setattr(
                group(envelope.config, "Orderer").values["BatchTimeout"], "value", b"\n\x029s"
            ),
            r"\[Value\]  /Channel/Orderer/BatchTimeout differs",
        ),
        (
            lambda envelope: setattr(group(envelope.config, "Application"), "version", 1),
            r"\[Group\]  /Channel/Application differs in version or modification policy",
        ),
        (
            lambda envelope: group(envelope.config, "Application").groups.pop("PtaMSP"),
            r"\[Group\]  /Channel/Application/PtaMSP is in one of them only",
        ),
        (
            lambda envelope: setattr(
                group(envelope.config, "Application").policies["Readers"], "mod_policy", "Readers"
            ),
            r"\[Policy\] /Channel/Application/Readers differs",
        ),
    ],
    ids=["no config", "no update", "empty", "value", "version", "member", "mod_policy"],
)
def test_configuration_that_does_not_come_of_its_update_is_refused(current, change, words) -> None:
    """An orderer that sends another configuration than was signed for is not believed."""
    envelope, _ = apply_update(current, signed_update(current, slower, ALL))
    change(envelope)
    with pytest.raises(ConfigurationError, match=words):
        verify_config_envelope(current, envelope.SerializeToString())


def test_configuration_whose_update_too_few_signed_is_refused(current) -> None:
    """A peer asks the same signatures as the orderer did."""

    def edit(config: Any) -> None:
        edits.remove_member(config, "OperatorMSP")

    envelope, _ = apply_update(current, signed_update(current, edit, MAJORITY))
    envelope.last_update.ParseFromString(signed_update(current, edit, MAJORITY[:1]))
    with pytest.raises(PolicyError, match="not satisfied"):
        verify_config_envelope(current, envelope.SerializeToString())


def test_configuration_that_this_program_cannot_honour_stops_a_node(current) -> None:
    """It would judge by other rules than the rest; Fabric's peer stops as well."""
    envelope, _ = apply_update(
        current,
        signed_update(
            current, lambda config: edits.set_capability(config, "application", "V9_9"), ALL
        ),
    )
    with pytest.raises(UpgradeNeeded, match=r"demands the application capabilities \['V9_9'\]"):
        verify_update(current, envelope.SerializeToString())


# ---- bounds


def test_tree_that_is_too_deep_or_too_large_is_refused(current) -> None:
    """So the cost of an update is bounded by its size, and its size by the orderer."""

    def deep(update: Any) -> None:
        inner = update.write_set
        for _ in range(MAX_DEPTH + 1):
            inner = inner.groups["g"]

    assert f"deeper than {MAX_DEPTH} levels" in refused(current, deep)

    def wide(update: Any) -> None:
        for number in range(MAX_ELEMENTS + 1):
            update.write_set.values[str(number)].SetInParent()

    assert f"more than {MAX_ELEMENTS} elements" in refused(current, wide)

    def long(update: Any) -> None:
        inner = update.write_set
        for _ in range(20):
            inner = inner.groups["g" * 249]
        for number in range(1000):
            inner.values[str(number)].SetInParent()

    assert f"{MAX_PATHS} characters in their paths" in refused(current, long)
