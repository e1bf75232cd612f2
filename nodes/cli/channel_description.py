"""The description of a channel that is to be, in TOML, and the genesis block made of it.

    channel_id = "qist"
    orderers = ["OperatorMSP"]        # MSP ids of the members whose nodes order
    ordering = "solo"                 # or "cometbft": every orderer is a consenter then
    rehearsal = false                 # true: the nodes' time is set by their operators
    time = 2026-01-01T00:00:00Z       # of the genesis block; left out: now

    [batch]                           # when a block is cut; left out: the defaults
    max_message_count = 500
    absolute_max_bytes = 10485760
    preferred_max_bytes = 2097152
    timeout = "1s"

    [policies]                        # of the group Application, in words
    LifecycleEndorsement = "ALL Endorsement"

    [acls]                            # resources with another policy than Fabric's
    "event/Block" = "/Channel/Application/Admins"

    [[members]]
    msp_id = "BankMSP"
    msp = "BankMSP/org/msp"           # the member's public MSP folder
    nodes = ["bank.example:7051"]     # node ports by which the other members reach it
    consensus = "BankMSP/consensus"   # of a consenter: its cert.pem and p2p-cert.pem
    consensus_address = "bank.example:7052"   # and where the others' consensus reaches its own

Paths are relative to the folder of the file. The same description and folders give the same
configuration; the block around it is another one each time, even at the same time, since its nonce
is random: a channel that is made again is another channel, for which nothing counts that was signed
in the first one's consensus. So one member makes the block, and all compare its header hash.

Consenters are numbered in the order of the members. Absent: changes of a running channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, field_validator, model_validator

from ledger.blocks.block import Block
from network.certificates.consensus import CERTIFICATE, LINK_CERTIFICATE
from network.certificates.stored import read_file
from network.configuration import (
    COMETBFT,
    SOLO,
    BatchParameters,
    Consenter,
    OrganisationSpec,
    build_genesis,
)
from network.configuration.values import parse_duration, read_endpoint
from network.errors import ConfigurationError
from network.msp import load_msp_folder
from nodes.toml_file import Section

MspId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,57}$")]
ChannelId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9.-]{0,248}$")]


class BatchDescription(Section):
    """When the orderer cuts a block; see `network.configuration.BatchParameters`."""

    max_message_count: Annotated[int, Field(ge=1)] = BatchParameters().max_message_count
    absolute_max_bytes: Annotated[int, Field(ge=1)] = BatchParameters().absolute_max_bytes
    preferred_max_bytes: Annotated[int, Field(ge=1)] = BatchParameters().preferred_max_bytes
    timeout: str = "1s"

    @model_validator(mode="after")
    def _usable(self) -> BatchDescription:
        try:
            self.parameters()
        except ConfigurationError as error:
            raise ValueError(str(error)) from error
        return self

    def parameters(self) -> BatchParameters:
        """Return the parameters."""
        return BatchParameters(
            self.max_message_count,
            self.absolute_max_bytes,
            self.preferred_max_bytes,
            parse_duration(self.timeout),
        )


class ChannelMember(Section):
    """A member of the channel.

    Attributes:
        msp_id: its MSP id.
        msp: its public MSP folder.
        nodes: host and node port of its nodes; an orderer is reached at the first.
        consensus: of a consenter, the folder with its `cert.pem` and `p2p-cert.pem`.
        consensus_address: of a consenter, host and port of its consensus process.
    """

    msp_id: MspId
    msp: Path
    nodes: Annotated[tuple[str, ...], Field(min_length=1)]
    consensus: Path | None = None
    consensus_address: str = ""

    @field_validator("nodes")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            try:
                read_endpoint(address, "a node")
            except ConfigurationError as error:
                raise ValueError(str(error)) from error
        return value

    @field_validator("consensus_address")
    @classmethod
    def _consensus_address(cls, value: str) -> str:
        if value:
            cls._addresses((value,))
        return value

    @property
    def is_consenter(self) -> bool:
        """Whether it says all that a consenter has."""
        return self.consensus is not None and bool(self.consensus_address)


class ChannelDescription(Section):
    """The whole file."""

    channel_id: ChannelId
    orderers: Annotated[tuple[MspId, ...], Field(min_length=1)]
    ordering: Literal["solo", "cometbft"] = SOLO
    rehearsal: bool = False
    time: AwareDatetime | None = None
    batch: BatchDescription = BatchDescription()
    policies: Mapping[str, str] = {}
    acls: Mapping[str, str] = {}
    members: Annotated[tuple[ChannelMember, ...], Field(min_length=1)]

    @field_validator("members")
    @classmethod
    def _once_each(cls, value: tuple[ChannelMember, ...]) -> tuple[ChannelMember, ...]:
        refuse_twice([member.msp_id for member in value])
        return value

    @model_validator(mode="after")
    def _orderers_are_members(self) -> ChannelDescription:
        refuse_strangers(self.orderers, [member.msp_id for member in self.members])
        return self

    @model_validator(mode="after")
    def _consenters_are_complete(self) -> ChannelDescription:
        for member in self.members:
            orders = self.ordering == COMETBFT and member.msp_id in self.orderers
            if orders and not member.is_consenter:
                raise ValueError(
                    f"{member.msp_id} orders with {COMETBFT} and lacks consensus or "
                    "consensus_address; give the folder of its certificates and its address"
                )
            if not orders and (member.consensus is not None or member.consensus_address):
                raise ValueError(
                    f"{member.msp_id} is no consenter, since ordering is {self.ordering} among "
                    f"{', '.join(self.orderers)}; leave out consensus and consensus_address"
                )
        return self


def refuse_twice(msp_ids: list[str]) -> None:
    """Check that no member is named twice.

    Raises:
        ValueError: one is.
    """
    for msp_id in msp_ids:
        if msp_ids.count(msp_id) > 1:
            raise ValueError(f"{msp_id} is named twice; give each member one entry")


def refuse_strangers(named: tuple[str, ...], members: list[str], what: str = "orderers") -> None:
    """Check that those who are named are members.

    Args:
        what: the list in which they are named.

    Raises:
        ValueError: one of them is none.
    """
    strangers = [msp_id for msp_id in named if msp_id not in members]
    if strangers:
        raise ValueError(
            f"{what} names {', '.join(strangers)}, which is no member; "
            f"name one of {', '.join(members)}"
        )


def make_genesis(description: ChannelDescription, folder: Path) -> Block:
    """Make the genesis block of a channel.

    Args:
        description: of the channel.
        folder: to which its paths are relative.
    Raises:
        ConfigurationError: an MSP folder cannot be read, or the configuration breaks a rule.
        PolicyError: a policy is none.
    """
    specs = []
    for member in description.members:
        endpoints = [read_endpoint(address, member.msp_id) for address in member.nodes]
        specs.append(
            OrganisationSpec(
                member.msp_id,
                load_msp_folder(folder / member.msp, member.msp_id),
                anchor_peers=endpoints,
                orderer_endpoints=endpoints[:1] if member.msp_id in description.orderers else (),
            )
        )
    return build_genesis(
        description.channel_id,
        specs,
        orderers=description.orderers,
        when=description.time or datetime.now(UTC),
        consensus=description.ordering,
        consenters=_consenters(description, folder),
        batch=description.batch.parameters(),
        policies=description.policies,
        acls=description.acls,
        rehearsal=description.rehearsal,
    )


def _consenters(description: ChannelDescription, folder: Path) -> list[Consenter]:
    found: list[Consenter] = []
    for member in description.members:
        if member.consensus is None:
            continue
        host, port = read_endpoint(member.consensus_address, member.msp_id)
        place = folder / member.consensus
        found.append(
            Consenter(
                len(found) + 1,
                member.msp_id,
                read_file(place / CERTIFICATE),
                host,
                port,
                read_file(place / LINK_CERTIFICATE),
            )
        )
    return found
