"""A whole network on one machine: its folder, what `network.toml` says of it, and how it is made.

    DIR/network.toml              members, addresses, contracts, first policy
    DIR/collections.json          private collections of `instalments`, as Fabric's tools take them
    DIR/channel/channel.toml      description of the channel; DIR/channel/genesis.block
    DIR/MSPID/org                 the member's certificates (network/certificates)
    DIR/MSPID/node                the member's node (nodes/cli/node_folder.py)
    DIR/MSPID/connection.json     the member's connection profile, with its users
    DIR/MSPID/pseudonym-keys.toml the member's keys for pseudonyms
    DIR/founding.json             what the first start has submitted; from `network up`

It is made by the same functions as a member's own node on a machine of its own, and may be taken
apart: a member's folder works anywhere the addresses lead to.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from ledger.errors import Refusal
from network.certificates import create_organisation
from network.certificates.consensus import CONSENSUS_FOLDER
from network.certificates.writing import make_folder, new_folder, write_new
from network.configuration import COMETBFT, SOLO
from nodes.cli.channels import create_channel
from nodes.cli.connection_profile import Gateway, render_profile
from nodes.cli.lender_collections import collections_of, render_collections
from nodes.cli.members_description import LOCALHOST, MembersDescription, NetworkMember
from nodes.cli.node_folder import NodePorts, init_node, issue_node, join_channel
from nodes.cli.organisations import ROLES, issue_user
from nodes.cli.pseudonym_keys import render_key_files
from nodes.cli.toml_text import render_toml
from nodes.configuration import ConsensusSection, Endpoint
from nodes.toml_file import DescriptionRefusal, Section, load_toml

NETWORK_FILE = "network.toml"
COLLECTIONS_FILE = "collections.json"
FOUNDING_FILE = "founding.json"
USUAL_PORT = 7050
PORTS_APART = 10
"""From a member's client port to the next one's; its other ports are just above its client port."""

# Below the range from which Linux takes the ports of outgoing connections.
_NOT_EPHEMERAL = range(10_240, 32_768)

ADMIN = "admin"
INSTALMENTS = "instalments"


class Placed(NetworkMember):
    """A member of a network on this machine.

    Attributes:
        node_name: of its node.
        client: host and client port of its node.
        node: host and node port.
        consensus: host and port of its consensus process; "" if it has none.
    """

    node_name: str
    client: str
    node: str
    consensus: str = ""


class ContractEntry(Section):
    """A contract of the network.

    Attributes:
        name: its namespace.
        endorsement: its endorsement policy in words.
        collections: file of its private collections beside this one; "" for none.
    """

    name: str
    endorsement: str
    collections: str = ""


class NetworkFile(Section):
    """The whole of `network.toml`."""

    format: Literal[1]
    channel_id: str
    ordering: Literal["solo", "cometbft"] = SOLO
    rehearsal: bool
    members: Annotated[tuple[Placed, ...], Field(min_length=1)]
    contracts: tuple[ContractEntry, ...]
    policy: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class NetworkFolder:
    """A network on this machine.

    Attributes:
        path: its folder.
        content: of `network.toml`.
    """

    path: Path
    content: NetworkFile

    @classmethod
    def open(cls, path: Path) -> NetworkFolder:
        """Open a network's folder.

        Raises:
            Refusal: it is none, or its description is faulty.
        """
        if not (path / NETWORK_FILE).exists():
            raise DescriptionRefusal(
                f"{path} holds no network: it has no {NETWORK_FILE}; "
                f"make one with `qist network create {path}`"
            )
        return cls(path, load_toml(path / NETWORK_FILE, NetworkFile))

    def member_folder(self, msp_id: str) -> Path:
        """Return the folder of a member."""
        return self.path / msp_id

    def node_folder(self, msp_id: str) -> Path:
        """Return the folder of a member's node."""
        return self.path / msp_id / "node"

    @property
    def node_folders(self) -> dict[str, Path]:
        """The folders of all nodes by MSP id."""
        return {each.msp_id: self.node_folder(each.msp_id) for each in self.content.members}


def create_network(
    folder: Path,
    description: MembersDescription,
    *,
    base_port: int = USUAL_PORT,
    rehearsal: bool = False,
    start: datetime | None = None,
) -> NetworkFolder:
    """Make a network: certificates, channel, nodes, profiles and keys of every member.

    Args:
        folder: where; it must not exist, or be empty.
        description: of its members.
        base_port: client port of the first member; 0 for ports that are free now.
        rehearsal: whether the nodes' time is set by their operator.
        start: time of the genesis block, at which a rehearsal's clocks begin; left out: now.
    Raises:
        Refusal: the folder holds something, a port is taken, or a description is faulty.
    """
    placed = _placed(description, base_port)
    with new_folder(folder) as made:
        for member in placed:
            _make_member(make_folder(made / member.msp_id), member, description.channel_id)
        channel = make_folder(made / "channel")
        write_new(
            channel / "channel.toml",
            _channel_toml(description, placed, rehearsal, start).encode(),
        )
        genesis = create_channel(channel / "channel.toml", channel / "genesis.block")
        keys = render_key_files(placed)
        for member in placed:
            own = made / member.msp_id
            join_channel(own / "node", genesis)
            profile = _profile(made, description.channel_id, member, placed)
            write_new(own / "connection.json", profile.encode())
            write_new(own / "pseudonym-keys.toml", keys[member.msp_id].encode(), private=True)
        collections = collections_of(placed, description.policy)
        write_new(made / COLLECTIONS_FILE, render_collections(placed, collections).encode())
        write_new(made / NETWORK_FILE, _network_toml(description, placed, rehearsal).encode())
    return NetworkFolder.open(folder)


def _placed(description: MembersDescription, base_port: int) -> list[Placed]:
    """Give every member its ports; those that order with CometBFT have one more."""
    each = 3 if description.ordering == COMETBFT else 2
    ports = _ports(len(description.members), each, base_port)
    return [
        Placed(
            **member.model_dump(),
            node_name=node_name(member.msp_id),
            client=f"{member.host}:{own[0]}",
            node=f"{member.host}:{own[1]}",
            consensus=(
                f"{member.host}:{own[2]}"
                if description.ordering == COMETBFT
                and member.msp_id in description.ordering_members
                else ""
            ),
        )
        for member, own in zip(description.members, ports, strict=True)
    ]


def node_name(msp_id: str) -> str:
    """Return the name of a member's node: ``bank`` for BankMSP."""
    plain = msp_id.lower()
    return plain.removesuffix("msp").strip(".-") or plain


def _make_member(folder: Path, member: Placed, channel_id: str) -> None:
    """Make certificates, users and node of one member."""
    organisation = create_organisation(folder / "org", member.msp_id)
    issue_user(organisation, ADMIN, role="", admin=True)
    for role in ROLES:
        issue_user(organisation, role, role=role)
    ports = NodePorts(
        client=Endpoint(listen=_listen(member.client), address=member.client),
        node=Endpoint(listen=_listen(member.node), address=member.node),
        consensus=(
            ConsensusSection(listen=_listen(member.consensus), address=member.consensus)
            if member.consensus
            else None
        ),
    )
    init_node(
        folder / "node",
        msp_id=member.msp_id,
        name=member.node_name,
        channel_id=channel_id,
        ports=ports,
        identity=issue_node(organisation, member.node_name, ports),
    )


def _listen(address: str) -> str:
    host, _, port = address.rpartition(":")
    return f"127.0.0.1:{port}" if host == LOCALHOST else address


def _profile(made: Path, channel_id: str, own: Placed, members: Sequence[Placed]) -> str:
    gateways = [
        Gateway(
            each.msp_id,
            f"{each.node_name}.{each.msp_id}",
            each.client,
            (made / each.msp_id / "node" / "tls" / "ca.crt").read_text("ascii"),
        )
        for each in members
    ]
    users = {name: f"org/users/{name}/msp" for name in (ADMIN, *ROLES)}
    return render_profile(f"{channel_id} on this machine", channel_id, own.msp_id, gateways, users)


def _channel_toml(
    description: MembersDescription,
    members: Sequence[Placed],
    rehearsal: bool,
    start: datetime | None,
) -> str:
    content: dict[str, Any] = {
        "channel_id": description.channel_id,
        "ordering": description.ordering,
        "orderers": list(description.ordering_members),
        "rehearsal": rehearsal,
    }
    if start is not None:
        content["time"] = start
    content["batch"] = description.batch.model_dump()
    content["members"] = [_member_in_channel(each) for each in members]
    return render_toml("The channel, as its genesis block says it.", content)


def _member_in_channel(member: Placed) -> dict[str, Any]:
    org = f"../{member.msp_id}/org"
    told = {"msp_id": member.msp_id, "msp": f"{org}/msp", "nodes": [member.node]}
    if member.consensus:
        told["consensus"] = f"{org}/nodes/{member.node_name}/{CONSENSUS_FOLDER}"
        told["consensus_address"] = member.consensus
    return told


def _network_toml(
    description: MembersDescription, members: Sequence[Placed], rehearsal: bool
) -> str:
    content: dict[str, Any] = {
        "format": 1,
        "channel_id": description.channel_id,
        "ordering": description.ordering,
        "rehearsal": rehearsal,
        "policy": dict(description.policy),
        "members": [each.model_dump(by_alias=True) for each in members],
        "contracts": [
            {
                "name": name,
                "endorsement": policy,
                "collections": COLLECTIONS_FILE if name == INSTALMENTS else "",
            }
            for name, policy in endorsement_policies(members).items()
        ],
    }
    return render_toml("A network on one machine; made by `qist network create`.", content)


def endorsement_policies(members: Sequence[NetworkMember]) -> dict[str, str]:
    """Return the endorsement policy in words of each of the consortium's namespaces.

    `instalments`: peers of any two affiliate groups. `enforcement`: a regulator's peer and one of
    another class (rulebook 1).
    """
    groups: dict[str, list[str]] = {}
    for member in members:
        groups.setdefault(member.group, []).append(f"'{member.msp_id}.peer'")
    of_groups = ", ".join(_any_of(peers) for peers in groups.values())
    regulators = _any_of([f"'{each.msp_id}.peer'" for each in members if each.is_regulator])
    others = _any_of([f"'{each.msp_id}.peer'" for each in members if not each.is_regulator])
    return {
        "instalments": f"OutOf(2, {of_groups})",
        "enforcement": f"AND({regulators}, {others})",
    }


def _any_of(peers: Sequence[str]) -> str:
    return peers[0] if len(peers) == 1 else f"OR({', '.join(peers)})"


def _ports(members: int, each: int, base_port: int) -> list[list[int]]:
    """Return the ports of every member, all of them free at this moment.

    Args:
        members: how many.
        each: how many ports one has.
        base_port: the first; 0 for ports that are free now.
    Raises:
        Refusal: one is taken, or beyond the last port.
    """
    if base_port == 0:
        free = _free_ports(members * each)
        return [free[start : start + each] for start in range(0, len(free), each)]
    starts = [base_port + PORTS_APART * place for place in range(members)]
    wanted = [list(range(start, start + each)) for start in starts]
    last = wanted[-1][-1]
    if not 0 < base_port <= last < 65536:
        raise Refusal(
            f"the ports {base_port} to {last} are not all from 1 to 65535: "
            "give a lower one with --base-port"
        )
    with ExitStack() as held:
        for port in (port for own in wanted for port in own):
            try:
                _bound(held, port)
            except OSError as error:
                raise Refusal(
                    f"port {port} of this machine cannot be used ({error.strerror}): "
                    "choose others with --base-port, or let 0 find free ones"
                ) from error
    return wanted


def _free_ports(count: int) -> list[int]:
    """Return ports that are free now, sorted, and that the machine gives to no connection."""
    chance = random.SystemRandom()
    found: list[int] = []
    with ExitStack() as held:
        for port in chance.sample(_NOT_EPHEMERAL, len(_NOT_EPHEMERAL)):
            with suppress(OSError):
                _bound(held, port)
                found.append(port)
            if len(found) == count:
                return sorted(found)
    raise Refusal(f"no {count} ports of this machine are free: give some with --base-port")


def _bound(held: ExitStack, port: int) -> None:
    listener = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
