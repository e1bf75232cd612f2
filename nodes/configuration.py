"""`node.toml`: everything a node is told, in one file, refused with line and reason when wrong.

Paths in the file are relative to the folder that holds it. What the channel itself decides
(members, batch size, policies, rehearsal) stands in the channel configuration, not here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from ledger.errors import Refusal
from nodes.toml_file import DescriptionRefusal, Section, load_toml

CONFIGURATION_FILE = "node.toml"
_MEBIBYTE = 1024 * 1024


class ConfigurationRefusal(Refusal):
    """`node.toml` is missing, is no TOML or says something that a node cannot do."""


class Endpoint(Section):
    """A port of the node.

    Attributes:
        listen: ``host:port`` to bind.
        address: ``host:port`` under which others reach it; `listen` when left out.
    """

    listen: str
    address: str = ""

    @field_validator("listen", "address")
    @classmethod
    def _host_and_port(cls, value: str, info: Any) -> str:
        if not value and info.field_name == "address":
            return value
        host, _, port = value.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"{value!r} is not host:port with a port from 1 to 65535")
        return value

    @property
    def reachable(self) -> str:
        """The address that others use."""
        return self.address or self.listen


class ConsensusSection(Endpoint):
    """How the node takes part in ordering by CometBFT; left out where another engine orders.

    The port is where the other members' consensus processes reach its own, by encrypted links.

    Attributes:
        binary: path of the program ``cometbft``; looked for in the usual places when left out.
        profile: how long it waits for the others: ``local``, or ``wan`` between cities.
        begin_with: what its consensus process begins with where it has nothing: ``blocks`` of the
            other members' processes, a ``snapshot`` of their ledgers, or by itself (``auto``)
            blocks as long as somebody has the first one.
        snapshot_interval_blocks: after so many blocks there is another snapshot for other nodes;
            the same for all members, so that many can give the same one.
    """

    binary: str = ""
    profile: Literal["local", "wan"] = "local"
    begin_with: Literal["auto", "blocks", "snapshot"] = "auto"
    snapshot_interval_blocks: Annotated[int, Field(ge=1, le=1_000_000)] = 1000


class Limits(Section):
    """What the node takes on at once; beyond it callers get RESOURCE_EXHAUSTED.

    Defaults for concurrency and timeouts are Fabric's (sampleconfig/core.yaml,
    internal/pkg/gateway/config/options.go).

    Attributes:
        max_message_bytes: of one gRPC message, either way.
        endorser_concurrency, gateway_concurrency, deliver_concurrency: calls at work at once.
        gateway_slowdown: how many times as long as usual clients' calls may take on average; while
            they take longer, fewer may be at work at once, but 64 always.
        connections: of clients at once, at each address that the host of the port has.
        endorsement_timeout_s: for one member's endorsement.
        broadcast_timeout_s: until the orderer has taken an envelope.
        simulation_deadline_s: for one run of a contract.
        simulation_threads: bulk transactions simulated at once.
        commit_status_wait_s: longest wait for a commit; the client's own deadline may be shorter.
        first_request_s: until the first request on a stream of Deliver, which is nobody's so far.
        stop_grace_s: how long calls at work may finish when the node stops.
    """

    max_message_bytes: Annotated[int, Field(ge=64 * 1024, le=1024 * _MEBIBYTE)] = 100 * _MEBIBYTE
    endorser_concurrency: Annotated[int, Field(ge=1, le=100_000)] = 2500
    gateway_concurrency: Annotated[int, Field(ge=1, le=100_000)] = 500
    deliver_concurrency: Annotated[int, Field(ge=1, le=100_000)] = 2500
    gateway_slowdown: Annotated[float, Field(ge=1.5, le=1000)] = 2.5
    connections: Annotated[int, Field(ge=1, le=100_000)] = 1000
    endorsement_timeout_s: Annotated[float, Field(gt=0, le=600)] = 10.0
    broadcast_timeout_s: Annotated[float, Field(gt=0, le=600)] = 10.0
    simulation_deadline_s: Annotated[float, Field(gt=0, le=600)] = 30.0
    simulation_threads: Annotated[int, Field(ge=1, le=64)] = 2
    commit_status_wait_s: Annotated[float, Field(gt=0, le=86_400)] = 600.0
    first_request_s: Annotated[float, Field(gt=0, le=600)] = 10.0
    stop_grace_s: Annotated[float, Field(ge=0, le=600)] = 5.0


class PrivateDataSection(Section):
    """Private data: how long is waited for them, and how long they wait.

    Attributes:
        pull_s: how long a block may wait for private data of other members.
        reconcile_interval_s: between two rounds for what blocks were committed without.
        retention_blocks: after which endorsed private data that came into no block go.
        concurrency: private data taken from other members' nodes at once.
    """

    pull_s: Annotated[float, Field(ge=0, le=60)] = 2.0
    reconcile_interval_s: Annotated[float, Field(gt=0, le=86_400)] = 30.0
    retention_blocks: Annotated[int, Field(ge=1, le=1_000_000_000)] = 1000
    concurrency: Annotated[int, Field(ge=1, le=100_000)] = 1000


class Logging(Section):
    """How much the node writes to its log."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class Warnings(Section):
    """When `status` begins to warn.

    Attributes:
        certificate_days: before a certificate expires.
    """

    certificate_days: Annotated[int, Field(ge=0, le=3650)] = 30


class NodeConfiguration(Section):
    """The whole file.

    Attributes:
        format: version of the file's form, 1.
        name: of the node, also in its TLS certificate.
        msp_id: the member it belongs to.
        channel_id: the channel it keeps.
        client: the port for clients (TLS).
        node: the port for other nodes (mutual TLS).
        consensus: how it takes part in ordering by CometBFT; None if it does not.
        private_data: how private data travel.
    """

    format: Literal[1]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")]
    msp_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,62}$")]
    channel_id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9.-]{0,248}$")]
    client: Endpoint
    node: Endpoint
    consensus: ConsensusSection | None = None
    limits: Limits = Limits()
    private_data: PrivateDataSection = PrivateDataSection()
    log: Logging = Logging()
    warn: Warnings = Warnings()

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Every port of the node."""
        return (self.client, self.node, *([self.consensus] if self.consensus else []))


def load_configuration(folder: Path) -> NodeConfiguration:
    """Read `node.toml` of a node's folder.

    Raises:
        ConfigurationRefusal: missing, not TOML, or a value that is refused; the message names
            file, line, name and reason of every fault.
    """
    path = folder / CONFIGURATION_FILE
    if not path.exists():
        raise ConfigurationRefusal(
            f"{path} does not exist; make a node with `qist node init {folder}`"
        )
    try:
        return load_toml(path, NodeConfiguration)
    except DescriptionRefusal as error:
        raise ConfigurationRefusal(str(error)) from error


def _endpoint(section: str, what: str, value: Endpoint) -> str:
    lines = [f"[{section}]  # {what}", f'listen = "{value.listen}"']
    if value.address and value.address != value.listen:
        lines.append(f'address = "{value.address}"  # how others reach it')
    return "\n".join(lines)


def render_consensus(value: ConsensusSection) -> str:
    """Return the section ``[consensus]`` as `node.toml` has it, with a line's end."""
    lines = [_endpoint("consensus", "other members' consensus processes", value)]
    if value.binary:
        lines.append(f"binary = {json.dumps(value.binary, ensure_ascii=False)}")
    return "\n".join([*lines, f'profile = "{value.profile}"', ""])


def render_configuration(
    *,
    name: str,
    msp_id: str,
    channel_id: str,
    client: Endpoint,
    node: Endpoint,
    consensus: ConsensusSection | None = None,
) -> str:
    """Return the text of a new `node.toml` with every value that has no default.

    `load_configuration` reads it back as it is.
    """
    return "\n".join(
        [
            "# Configuration of one node; docs/howto/run-a-node.md describes every value.",
            "format = 1",
            f'name = "{name}"',
            f'msp_id = "{msp_id}"',
            f'channel_id = "{channel_id}"',
            "",
            _endpoint("client", "applications: TLS", client),
            "",
            _endpoint("node", "other members' nodes: mutual TLS", node),
            "",
            *([] if consensus is None else [render_consensus(consensus)]),
            "[limits]",
            f"gateway_concurrency = {Limits().gateway_concurrency}",
            f"endorser_concurrency = {Limits().endorser_concurrency}",
            "",
            "[log]",
            f'level = "{Logging().level}"',
            "",
            "[warn]",
            f"certificate_days = {Warnings().certificate_days}",
            "",
        ]
    )
