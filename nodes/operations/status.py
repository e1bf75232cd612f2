"""What a node says of itself: readiness, height, hashes, ordering, members, certificates.

Plain data, made on request from the parts of the node; the control socket and the command line
print it. Fields are described in docs/howto/run-a-node.md.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from chaincode.packages import ContractStanding
from network.ordering.ports import OrderingStatus


@dataclass(frozen=True, slots=True)
class CertificateState:
    """One certificate of the node.

    Attributes:
        name: what it is for: `identity` (signs endorsements), `tls` (both ports), `authority` and
            `tls authority` (the first of the member's to end, as the channel has them).
        expires: ISO time.
        days_left: whole days, negative after the end.
        warning: words for the operator; empty while there is time.
    """

    name: str
    expires: str
    days_left: int
    warning: str


@dataclass(frozen=True, slots=True)
class PeerState:
    """Another member as this node sees it.

    Attributes:
        msp_id: the member.
        address: of its node port.
        up: whether nothing speaks against asking it.
    """

    msp_id: str
    address: str
    up: bool


@dataclass(frozen=True, slots=True)
class PrivateDataState:
    """What `qist node status` says of private data.

    Attributes:
        missing: write sets that this node is entitled to and has not, as far as they were counted.
        reconciled: sets that came late, since the start.
        last_success: when the last one came, ISO; empty if none has.
        last_round: when the node last asked, ISO; empty before the first time.
        transient_bytes: what waits between endorsement and commit.
    """

    missing: int
    reconciled: int
    last_success: str
    last_round: str
    transient_bytes: int


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """The whole status.

    Attributes:
        name, msp_id, version: of the node.
        channel_id, height: the channel and its number of blocks.
        configuration: number of the configuration in force; 0 is that of the genesis block.
        header_hash, commit_hash: of the last block, hexadecimal.
        ready: whether the node serves and can endorse.
        halted: why the channel has stopped on this node; empty if it has not.
        outside: why the channel does not take this node's identity; empty if it does.
        rehearsal: whether the network is a rehearsal.
        clock: the node's time, ISO.
        started: when the process began, ISO, machine time.
        recovered: what opening the ledger had to do, in words; empty for nothing.
        client_address, node_address: how the two ports are reached.
        ordering: the engine's state.
        peers: the other members.
        certificates: of this node.
        private_data: what is missing, and what came late.
        contracts: each definition in force, with the package that serves it here, or why none does.
        memory_bytes: resident.
    """

    name: str
    msp_id: str
    version: str
    channel_id: str
    height: int
    configuration: int
    header_hash: str
    commit_hash: str
    ready: bool
    halted: str
    outside: str
    rehearsal: bool
    clock: str
    started: str
    recovered: str
    client_address: str
    node_address: str
    ordering: OrderingStatus
    peers: tuple[PeerState, ...]
    certificates: tuple[CertificateState, ...]
    private_data: PrivateDataState
    contracts: tuple[ContractStanding, ...]
    memory_bytes: int

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def certificate_state(
    name: str, expires: datetime, now: datetime, warn_days: int
) -> CertificateState:
    """Describe a certificate that ends at *expires*, seen at *now*."""
    days = (expires - now).days
    warning = ""
    if days < 0:
        warning = f"the {name} certificate expired on {expires:%Y-%m-%d}; replace it now"
    elif days < warn_days:
        warning = f"the {name} certificate expires on {expires:%Y-%m-%d}, in {days} days"
    return CertificateState(name, expires.isoformat(), days, warning)


def program_version() -> str:
    """The installed version of Qist."""
    try:
        return version("qist")
    except PackageNotFoundError:
        return "unknown"
