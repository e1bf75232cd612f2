"""Validators and CometBFT's genesis follow from the channel's blocks, alike on every node."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ledger.blocks.block import Block
from ledger.blocks.metadata import with_validation
from ledger.errors import CorruptionError
from ledger.transactions.codes import TxValidationCode
from network.configuration import ChannelConfiguration, build_genesis
from network.configuration.edits import set_batch
from network.errors import ConfigurationError
from network.ordering.cometbft.blocks.app_hash import compute_app_hash
from network.ordering.cometbft.genesis import (
    LARGEST_BLOCK_BYTES,
    chain_id_of,
    configuration_blocks,
    largest_block_bytes,
    render_genesis,
    starting_block,
)
from network.ordering.cometbft.validators import (
    PowerChange,
    address_of,
    merkle_root,
    node_id_of,
    validator_updates,
    validators_hash,
    validators_of,
)
from tests.support.members import CHANNEL
from tests.support.voted_chain import MEMBERS, VotedChain


@pytest.fixture(scope="module")
def chain() -> VotedChain:
    """A channel that began as `cometbft`."""
    made = VotedChain()
    made.transactions()
    made.rotate("MakerMSP")
    made.transactions()
    return made


@pytest.fixture(scope="module")
def migrated() -> VotedChain:
    """A channel that began as `solo`; block 3 made it `cometbft`, block 5 changed a key."""
    made = VotedChain(solo=True)
    made.transactions()
    made.reconfigure(lambda config: set_batch(config, {"max_message_count": "9"}))
    made.migrate()
    made.transactions()
    made.rotate("PtaMSP")
    made.transactions()
    return made


# Validators


def test_validators_are_the_consenters_in_the_order_of_their_addresses(chain: VotedChain) -> None:
    """All have the same power, so the addresses decide."""
    found = validators_of(ChannelConfiguration.from_block(chain.genesis))
    assert sorted(each.msp_id for each in found) == sorted(MEMBERS)
    assert [each.address for each in found] == sorted(each.address for each in found)
    assert {each.power for each in found} == {1}
    for each in found:
        consenter = chain.consenters[each.msp_id]
        assert each.public_key in chain.keys
        assert each.address == address_of(each.public_key)
        assert (each.host, each.port) == (consenter.host, consenter.port)
        assert len(each.node_id) == 40
        assert each.node_id not in {each.address.hex() for each in found}


def test_channel_of_another_engine_has_no_validators(migrated: VotedChain) -> None:
    """They come with the consensus type."""
    with pytest.raises(ConfigurationError, match="ordered by 'solo' and has no validators"):
        validators_of(ChannelConfiguration.from_block(migrated.genesis))


def test_exchanged_key_is_one_that_goes_and_one_that_comes(chain: VotedChain) -> None:
    """CometBFT knows keys, not members."""
    before = validators_of(ChannelConfiguration.from_block(chain.genesis))
    after = validators_of(chain.configuration)
    old = next(each for each in before if each.msp_id == "MakerMSP").public_key
    new = next(each for each in after if each.msp_id == "MakerMSP").public_key
    assert sorted(validator_updates(before, after), key=lambda each: each.power) == [
        PowerChange(old, 0),
        PowerChange(new, 1),
    ]
    assert validator_updates(after, after) == ()
    assert [each.power for each in validator_updates((), after)] == [1] * 4
    assert validators_hash(before) != validators_hash(after)


def test_updates_are_in_the_order_of_addresses(chain: VotedChain) -> None:
    """The same list on every node."""
    after = validators_of(chain.configuration)
    changes = validator_updates(after, ())
    assert [address_of(each.public_key) for each in changes] == [each.address for each in after]
    heavier = tuple(replace(each, power=2) for each in after[:1]) + after[1:]
    assert validator_updates(after, heavier) == (PowerChange(after[0].public_key, 2),)


def test_ids_are_the_beginning_of_a_hash() -> None:
    """SHA-256 of thirty-two zeros, which anybody can compute."""
    digest = "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925"
    assert address_of(bytes(32)).hex() == digest[:40]
    assert node_id_of(bytes(32)) == digest[:40]


def test_merkle_root_is_that_of_rfc_6962() -> None:
    """The published roots of the certificate transparency project's eight test leaves."""
    leaves = [bytes.fromhex(each) for each in LEAVES]
    assert merkle_root([]).hex() == ROOTS[0]
    for count in range(1, 9):
        assert merkle_root(leaves[:count]).hex() == ROOTS[count]


LEAVES = (
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
)
ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


# The genesis file


def _document(block: Block) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(render_genesis(CHANNEL, block))
    return found


def test_genesis_file_says_what_the_starting_block_says(chain: VotedChain) -> None:
    """Chain id, validators, app hash and limits."""
    found = _document(chain.blocks[0])
    assert found["chain_id"] == chain_id_of(CHANNEL, chain.genesis) == chain.chain_id
    assert found["initial_height"] == "1"
    assert found["app_hash"] == compute_app_hash(chain.blocks[0]).hex().upper()
    expected = validators_of(ChannelConfiguration.from_block(chain.genesis))
    assert [
        (each["name"], base64.b64decode(each["pub_key"]["value"]), each["address"].lower())
        for each in found["validators"]
    ] == [(each.msp_id, each.public_key, each.address.hex()) for each in expected]
    assert {each["power"] for each in found["validators"]} == {"1"}
    params = found["consensus_params"]
    assert params["block"]["max_bytes"] == str((10 + 1) * 1024 * 1024)
    assert params["validator"]["pub_key_types"] == ["ed25519"]
    assert params["version"]["app"] == "1"


def test_genesis_file_is_the_same_with_and_without_the_verdict(chain: VotedChain) -> None:
    """A node that joins has the block as it was handed out, one that runs as it committed it."""
    assert render_genesis(CHANNEL, chain.genesis) == render_genesis(CHANNEL, chain.blocks[0])


def test_genesis_file_of_another_channel_is_refused(chain: VotedChain) -> None:
    """The name is checked, since it is in the chain id."""
    with pytest.raises(ConfigurationError, match="configures channel qist, and other was to start"):
        render_genesis("other", chain.genesis)


def test_genesis_file_of_a_solo_channel_is_refused(migrated: VotedChain) -> None:
    """There is nothing to start from before the migration."""
    with pytest.raises(ConfigurationError, match="has no validators"):
        render_genesis(CHANNEL, migrated.genesis)
    with pytest.raises(ConfigurationError, match="is no configuration block"):
        render_genesis(CHANNEL, migrated.blocks[1])


@pytest.mark.parametrize(
    ("microsecond", "shown"),
    [(0, "12:00:07Z"), (120_000, "12:00:07.12Z"), (1, "12:00:07.000001Z")],
)
def test_genesis_time_is_written_as_go_writes_it(microsecond: int, shown: str) -> None:
    """No zeros at the end, or CometBFT would write another file than it read."""
    made = VotedChain()
    when = datetime(2026, 2, 3, 12, 0, 7, microsecond, UTC)
    block = _genesis_at(made, when)
    assert _document(block)["genesis_time"] == f"2026-02-03T{shown}"


def _genesis_at(chain: VotedChain, when: datetime) -> Block:
    specs = [each.spec(orders=True) for each in chain.members.values()]
    return build_genesis(
        CHANNEL,
        specs,
        orderers=MEMBERS,
        when=when,
        consensus="cometbft",
        consenters=list(chain.consenters.values()),
    )


def test_chain_id_is_short_and_of_one_block(chain: VotedChain, migrated: VotedChain) -> None:
    """CometBFT takes 50 characters; two channels of one name differ by the block."""
    long = "a" * 249
    assert len(chain_id_of(long, chain.genesis)) == 47
    assert chain_id_of(CHANNEL, chain.genesis) != chain_id_of(CHANNEL, migrated.genesis)
    digits = chain.genesis.header.hash().hex()
    assert chain_id_of(CHANNEL, chain.genesis) == f"qist-{digits[:16]}"


def test_largest_block_has_room_for_the_largest_envelope(chain: VotedChain) -> None:
    """Up to what CometBFT takes at all."""
    configuration = ChannelConfiguration.from_block(chain.genesis)
    assert largest_block_bytes(configuration) == 11 * 1024 * 1024
    configuration.batch = replace(configuration.batch, absolute_max_bytes=99 * 1024 * 1024 + 1)
    assert largest_block_bytes(configuration) == LARGEST_BLOCK_BYTES


# The starting block


@pytest.mark.parametrize("number", range(3, 7))
def test_starting_block_of_a_migrated_channel_is_that_of_the_migration(
    migrated: VotedChain, number: int
) -> None:
    """Whatever configurations followed."""
    assert starting_block(migrated.block, number).number == 3
    assert migrated.chain_id == chain_id_of(CHANNEL, migrated.blocks[3])


@pytest.mark.parametrize("number", range(4))
def test_starting_block_of_a_channel_that_began_so_is_its_genesis(
    chain: VotedChain, number: int
) -> None:
    """At every height."""
    assert starting_block(chain.block, number).number == 0


def test_starting_block_before_the_migration_is_none(migrated: VotedChain) -> None:
    """The message says what to agree on."""
    with pytest.raises(ConfigurationError, match="ordered by 'solo' at block 2"):
        starting_block(migrated.block, 2)


def test_configuration_blocks_are_those_that_were_in_force(migrated: VotedChain) -> None:
    """Newest first, down to the genesis block."""
    assert [each.number for each in configuration_blocks(migrated.block, 6)] == [5, 3, 2, 0]
    assert [each.number for each in configuration_blocks(migrated.block, 1)] == [0]


def test_configuration_that_was_refused_is_passed_over() -> None:
    """It stands in its block with a verdict, and changed nothing."""
    made = VotedChain(solo=True)
    made.reconfigure(lambda config: set_batch(config, {"max_message_count": "9"}))
    kept = made.configuration, made.last_config
    made.reconfigure(lambda config: set_batch(config, {"max_message_count": "8"}))
    made.blocks[2] = with_validation(
        made.blocks[2], [TxValidationCode.INVALID_CONFIG_TRANSACTION], bytes(32)
    )
    made.configuration, made.last_config = kept
    made.transactions()
    assert [each.number for each in configuration_blocks(made.block, 3)] == [1, 0]
    assert [each.number for each in configuration_blocks(made.block, 2)] == [1, 0]


def test_configuration_block_that_is_missing_is_corruption(migrated: VotedChain) -> None:
    """A ledger has all its blocks."""
    with pytest.raises(CorruptionError, match="block 5 is missing"):
        list(configuration_blocks(lambda n: None if n == 5 else migrated.block(n), 6))
