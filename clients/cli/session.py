"""What every command that talks to a node is told: profile, user, channel, time; and the connection.

In a rehearsal a proposal must carry the network's time, which its operator has set; a command is
told it with ``--time``, since a client has no way to ask a node for it.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from clients.gateway.blocking import Contract, Gateway
from clients.gateway.profile import ConnectionProfile
from ledger.errors import Refusal

Profile = Annotated[
    Path, typer.Option("--profile", help="The member's connection profile (connection.json).")
]
User = Annotated[str, typer.Option("--user", help="Who signs: a user that the profile names.")]
Channel = Annotated[str, typer.Option("--channel", help="The channel; left out: the first one.")]
Time = Annotated[
    str, typer.Option("--time", help="Time of the proposal, in a rehearsal; left out: now.")
]
EndorsedBy = Annotated[
    list[str] | None,
    typer.Option("--endorsed-by", help="MSP id of a member that must endorse it; repeatable."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def connect(profile: ConnectionProfile, user: str, time: str) -> Gateway:
    """Connect to the gateways of a profile's member as one of its users.

    Raises:
        ProfileError: no such user.
        Refusal: *time* is none.
    """
    signer = profile.user(user)
    if not time:
        return Gateway(profile.endpoints(), signer)
    moment = parse_time(time)
    return Gateway(profile.endpoints(), signer, clock=lambda: moment)


def parse_time(text: str) -> datetime:
    """Return a time given on the command line, aware.

    Raises:
        Refusal: not of ISO form, or without its zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Refusal(
            f"{text[:40]!r} is no time with a zone: write it like 2025-01-31T09:00:00+05:00"
        )
    return moment


def contract_of(
    gateway: Gateway, profile: ConnectionProfile, channel: str, chaincode: str
) -> Contract:
    """Return a contract of the named channel, or of the profile's first one.

    Raises:
        Refusal: no channel is named anywhere.
    """
    channel = channel or next(iter(profile.channel_ids), "")
    if not channel:
        raise Refusal(f"{profile.path} names no channel: give one with --channel")
    return gateway.network(channel).contract(chaincode)
