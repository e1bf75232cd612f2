"""The folder of a node: what lies where, how it is made, and how it is given its channel.

    NODE/node.toml       configuration (nodes/configuration.py)
    NODE/msp  NODE/tls   the node's identity and TLS key
    NODE/consensus       its keys for CometBFT (network/certificates/consensus.py), if it has any
    NODE/genesis.block   first block of the channel; from `join_channel`
    NODE/configuration.block  the configuration with which it joined, if that was a later one
    NODE/contracts       installed packages
    NODE/ledger          blocks and state; made when the node is started
    NODE/clock           a rehearsal's time; made when it is set
    NODE/control.sock  NODE/node.lock  NODE/node.log   while it runs

Invariants: a folder appears whole or not at all, and nothing in an existing one is overwritten.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from ledger.blocks.block import Block
from ledger.errors import LedgerError, Refusal
from network.certificates import Organisation
from network.certificates.consensus import CONSENSUS_FOLDER, add_consensus, consensus_keys
from network.certificates.writing import make_folder, new_folder, replace_file, write_new
from network.configuration import COMETBFT, ChannelConfiguration
from network.configuration.consenters import consensus_key
from network.errors import IdentityError
from network.msp import ORDERER, PEER, Certificate
from nodes.configuration import (
    ConsensusSection,
    Endpoint,
    NodeConfiguration,
    load_configuration,
    render_configuration,
)
from nodes.opening import CONFIGURATION_FILE

GENESIS_FILE = "genesis.block"
CONTRACTS_FOLDER = "contracts"
LEDGER_FOLDER = "ledger"


@dataclass(frozen=True, slots=True)
class NodePorts:
    """Where a node listens and how it is reached; see `nodes.configuration.Endpoint`.

    Attributes:
        client: for applications.
        node: for other members' nodes.
        consensus: for other members' consensus processes; None if it takes no part.
    """

    client: Endpoint
    node: Endpoint
    consensus: ConsensusSection | None = None

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts by which the node is reached, for its TLS certificate."""
        used = [self.client, self.node, *([self.consensus] if self.consensus else [])]
        reached = [_host_of(each.reachable) for each in used]
        return tuple(dict.fromkeys([*reached, "localhost", "127.0.0.1"]))


def init_node(
    folder: Path,
    *,
    msp_id: str,
    name: str,
    channel_id: str,
    ports: NodePorts,
    identity: Path,
) -> NodeConfiguration:
    """Make the folder of a node.

    Args:
        folder: where; it must not exist, or be empty.
        msp_id: the member's MSP id.
        name: of the node.
        channel_id: the channel it will keep.
        ports: where it listens.
        identity: the folder with `msp` and `tls` that its organisation has issued, and `consensus`
            if it has a port for that; copied.
    Raises:
        Refusal: a value is not allowed, the identity is incomplete or another member's, or the
            folder holds something already.
    """
    for part in ("msp/signcerts/cert.pem", "msp/keystore/key.pem", "tls/server.crt"):
        if not (identity / part).is_file():
            raise Refusal(
                f"{identity} has no {part}: give the folder that `qist org add-node` has made"
            )
    if ports.consensus is not None:
        consensus_keys(identity)
    with new_folder(folder) as made:
        text = render_configuration(
            name=name,
            msp_id=msp_id,
            channel_id=channel_id,
            client=ports.client,
            node=ports.node,
            consensus=ports.consensus,
        )
        write_new(made / "node.toml", text.encode())
        for part in ("msp", "tls", *([CONSENSUS_FOLDER] if ports.consensus else [])):
            shutil.copytree(identity / part, made / part)
        make_folder(made / CONTRACTS_FOLDER)
        return load_configuration(made)


def refuse_existing(folder: Path) -> None:
    """Check that a new folder can be made, before certificates are issued for it.

    Raises:
        Refusal: there is something already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Refusal(f"{folder} exists already and is never overwritten: choose another folder")


def issue_node(organisation: Organisation, name: str, ports: NodePorts) -> Path:
    """Have an organisation issue a node's certificates; return their folder."""
    made = organisation.add_node(name, hosts=ports.hosts)
    if ports.consensus is not None:
        add_consensus(organisation, name)
    return made


def join_channel(folder: Path, genesis: Block, newest: Block | None = None) -> ChannelConfiguration:
    """Give a node the genesis block of its channel.

    The block is checked against the node: its channel, its member among the channel's, and its
    certificates valid by what the channel knows of that member. If the channel has changed since,
    its newest configuration is what is checked, and kept.

    Args:
        folder: of the node. It may have joined before; then only the newest configuration is new.
        genesis: the first block.
        newest: the block of the configuration in force; None if that is the genesis block.
    Raises:
        Refusal: it does not fit; the node's folder is unchanged.
    """
    configuration = load_configuration(folder)
    channel = ChannelConfiguration.from_block(genesis)
    if channel.channel_id != configuration.channel_id:
        raise Refusal(
            f"the genesis block is of channel {channel.channel_id}, the node in {folder} is for "
            f"{configuration.channel_id}: give the right block, or make a node for that channel"
        )
    if newest is not None:
        channel = _later(channel, ChannelConfiguration.from_block(newest))
    channel.verify_capabilities()
    _verify_membership(folder, configuration, channel)
    _verify_consensus(folder, configuration, channel)
    target = folder / GENESIS_FILE
    if not target.exists():
        write_new(target, genesis.encode())
    elif Block.decode(target.read_bytes()).header.hash() != genesis.header.hash():
        raise Refusal(
            f"{folder} has joined a channel already, with another genesis block: "
            "make another node for this one"
        )
    if newest is not None:
        replace_file(folder / CONFIGURATION_FILE, newest.encode())
    return channel


def _later(first: ChannelConfiguration, newest: ChannelConfiguration) -> ChannelConfiguration:
    if newest.channel_id != first.channel_id:
        raise Refusal(
            f"the configuration block is of channel {newest.channel_id}, and the genesis block of "
            f"{first.channel_id}: fetch it from a node of that channel"
        )
    return newest


def load_genesis(path: Path) -> Block:
    """Read a block from a file, or the genesis block of a node's folder.

    Raises:
        Refusal: no such file, or no block.
    """
    if path.is_dir():
        path = path / GENESIS_FILE
    try:
        return Block.decode(path.read_bytes())
    except FileNotFoundError as error:
        raise Refusal(
            f"{path} does not exist: make one with `qist channel create`, or get it from a member"
        ) from error
    except LedgerError as error:
        raise Refusal(f"{path} is no block: {error}") from error


def is_rehearsal(folder: Path) -> bool:
    """Tell whether the node in *folder* has joined a rehearsal."""
    if not (folder / GENESIS_FILE).exists():
        return False
    return ChannelConfiguration.from_block(load_genesis(folder)).is_rehearsal


def _verify_membership(
    folder: Path, configuration: NodeConfiguration, channel: ChannelConfiguration
) -> None:
    msp_id = configuration.msp_id
    if msp_id not in channel.organisations:
        raise Refusal(
            f"{msp_id} is no member of channel {channel.channel_id}, whose members are "
            f"{', '.join(channel.organisations)}: have the channel made with it, or, if it was "
            "added later, give the newest configuration with --configuration"
        )
    msp = channel.msps.msp(msp_id)
    certificate = (folder / "msp" / "signcerts" / "cert.pem").read_bytes()
    tls_certificate = (folder / "tls" / "server.crt").read_bytes()
    try:
        identity = msp.identify(msp_id, certificate)
        msp.verify_tls_certificate(Certificate.from_pem(tls_certificate))
        if not identity.roles & {PEER, ORDERER}:
            raise IdentityError("its certificate is that of a user")
    except LedgerError as error:
        raise Refusal(
            f"the channel does not take the identity of the node in {folder}: {error}; "
            f"issue it by the authorities that {msp_id} has in the channel"
        ) from error


def _verify_consensus(
    folder: Path, configuration: NodeConfiguration, channel: ChannelConfiguration
) -> None:
    """Check that the node of a member that orders by CometBFT can do its part."""
    own = [each for each in channel.consenters if each.msp_id == configuration.msp_id]
    if channel.consensus_type != COMETBFT or not own:
        return
    if configuration.consensus is None:
        raise Refusal(
            f"{configuration.msp_id} has a consenter on channel {channel.channel_id}, and node.toml"
            f" in {folder} has no section [consensus]: give the node its keys and a port with "
            f"`qist node consensus {folder}`"
        )
    named = consensus_key(own[0])
    if consensus_keys(folder).voting_key(named) is None:
        raise Refusal(
            f"the channel names the voting key {named.hex()} for {configuration.msp_id}, and the "
            f"node in {folder} has another: give it the right one with `qist node consensus "
            f"{folder}`"
        )


def _host_of(address: str) -> str:
    return address.rpartition(":")[0].removeprefix("[").removesuffix("]")
