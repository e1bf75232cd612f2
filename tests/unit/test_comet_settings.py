"""What a node's CometBFT is told, and when it must be started anew to heed it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from network.certificates.consensus import ConsensusKeys
from network.configuration import ChannelConfiguration
from network.errors import ConfigurationError
from network.ordering.cometbft.bundles.quota import BUNDLES_PER_MEMBER
from network.ordering.cometbft.joining.snapshot_chain import SnapshotSettings
from network.ordering.cometbft.process.home import HomeSettings
from network.ordering.cometbft.process.settings import (
    EngineSettings,
    changes_own_keys,
    home_settings,
    needs_restart,
)
from network.ordering.cometbft.validators import validators_of
from tests.support.consenters import (
    comet_genesis,
    consensus_certificate,
    consenters_of,
    four_members,
    link_certificate,
)

OWN, OTHER = four_members()[0].msp_id, four_members()[1].msp_id
KEYS = ConsensusKeys((Ed25519PrivateKey.generate(),), (Ed25519PrivateKey.generate(),))
SETTINGS = EngineSettings(
    name="bank1",
    msp_id=OWN,
    home=Path("/node/comet"),
    binary="",
    listen="0.0.0.0:7052",
    address="bank.example:7052",
    profile="wan",
    marks=Path("/node/consensus"),
    restored=Path("/node/restored"),
    snapshots=SnapshotSettings(),
)
CONSENTERS = consenters_of(four_members())


def own_certificates(keys: ConsensusKeys, voting: int = 0) -> dict[str, Any]:
    member = four_members()[0]
    return {
        "identity": consensus_certificate(member, keys.voting[voting].public_key()),
        "server_tls_cert": link_certificate(member, keys.links[0].public_key()),
    }


def channel(**changes: dict[str, Any]) -> ChannelConfiguration:
    """A channel whose first consenter has KEYS, with changes of consenters by member."""
    changed = {OWN: own_certificates(KEYS), **changes}
    consenters = [replace(each, **changed.get(each.msp_id, {})) for each in CONSENTERS]
    return ChannelConfiguration.from_block(comet_genesis(four_members(), consenters))


def told(configuration: ChannelConfiguration, keys: ConsensusKeys = KEYS) -> HomeSettings:
    return home_settings(SETTINGS, configuration, keys, b"{}")


def test_cometbft_is_told_of_every_other_member_and_of_nobody_else() -> None:
    """By the node id of its link and the address in the channel, IPv6 in brackets."""
    configuration = channel(**{OTHER: {"host": "2001:db8::7"}})
    found = told(configuration)
    ids = {each.msp_id: each.node_id for each in validators_of(configuration)}
    assert len(found.persistent_peers) == 3
    assert f"{ids[OTHER]}@[2001:db8::7]:7052" in found.persistent_peers
    assert not any(ids[OWN] in each for each in found.persistent_peers)
    assert (found.listen, found.external_address) == ("0.0.0.0:7052", "bank.example:7052")
    assert found.consensus_key is KEYS.voting[0]
    assert found.abci_socket == Path("/node/comet/abci.sock")


def test_pool_has_room_for_what_all_members_may_have_waiting() -> None:
    """Else CometBFT would refuse where a member has room left."""
    found = told(channel())
    assert found.max_waiting >= 4 * BUNDLES_PER_MEMBER
    assert found.max_waiting_bytes >= 4 * found.max_tx_bytes


def test_node_votes_with_the_key_that_the_channel_names() -> None:
    """While it is replaced there are two; with neither of them it cannot take part."""
    two = ConsensusKeys((KEYS.voting[0], Ed25519PrivateKey.generate()), KEYS.links)
    following = channel(**{OWN: own_certificates(two, 1)})
    assert told(channel(), two).consensus_key is two.voting[0]
    assert told(following, two).consensus_key is two.voting[1]
    with pytest.raises(ConfigurationError, match="has another consensus key"):
        told(following)
    other_link = ConsensusKeys(KEYS.voting, (Ed25519PrivateKey.generate(),))
    with pytest.raises(ConfigurationError, match="has another link key"):
        told(channel(), other_link)


def test_member_without_a_consenter_is_told_so() -> None:
    """With the way in."""
    configuration = ChannelConfiguration.from_block(comet_genesis(four_members(), CONSENTERS[1:]))
    with pytest.raises(ConfigurationError, match="has no consenter"):
        told(configuration)


def test_cometbft_is_started_anew_for_what_it_would_not_heed_otherwise() -> None:
    """A peer that comes connects by itself; one that moved, and other keys, need a start."""
    before = told(channel())
    assert not needs_restart(before, told(channel()))
    three = ChannelConfiguration.from_block(
        comet_genesis(
            four_members(), [replace(CONSENTERS[0], **own_certificates(KEYS)), *CONSENTERS[1:3]]
        )
    )
    assert needs_restart(before, told(three))
    assert not needs_restart(told(three), before)
    moved = told(channel(**{OTHER: {"port": 9000}}))
    assert needs_restart(before, moved)
    assert not changes_own_keys(before, moved)
    two = ConsensusKeys((*KEYS.voting, Ed25519PrivateKey.generate()), KEYS.links)
    rotated = told(channel(**{OWN: own_certificates(two, 1)}), two)
    assert changes_own_keys(before, rotated)
    assert needs_restart(before, rotated)
