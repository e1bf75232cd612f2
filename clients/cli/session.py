"""What every command that talks to a node is told, and the connection that it makes.

Profile, user and channel may also come from the environment: ``QIST_PROFILE``, ``QIST_USER``,
``QIST_CHANNEL``. In a rehearsal a proposal must carry the network's time, which its operator has
set; a command is told it with ``--at`` (or ``--time``, or ``QIST_AT``), since a client has no way
to ask a node for it.

Here the SDK's errors become what a person reads: a contract's refusal in the contract's own words,
a gateway that is away as such (exit code 3), and behind a conflict the key that was fought over.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import grpc
import typer

from clients.explorer.chain import Chain, NotRecorded
from clients.explorer.conflicts import CONFLICTS, find_conflict
from clients.gateway.blocking import Contract, Gateway
from clients.gateway.errors import CommitError, GatewayError
from clients.gateway.profile import ConnectionProfile
from ledger.errors import LedgerError, Refusal, Unavailable

Profile = Annotated[
    Path,
    typer.Option(
        "--profile",
        envvar="QIST_PROFILE",
        help="The member's connection profile (connection.json).",
    ),
]
OptionalProfile = Annotated[
    Path | None,
    typer.Option(
        "--profile",
        envvar="QIST_PROFILE",
        help="The member's connection profile (connection.json), to ask its node.",
    ),
]
User = Annotated[
    str,
    typer.Option("--user", envvar="QIST_USER", help="Who signs: a user that the profile names."),
]
Channel = Annotated[
    str,
    typer.Option("--channel", envvar="QIST_CHANNEL", help="The channel; left out: the first one."),
]
Time = Annotated[
    str,
    typer.Option(
        "--at", "--time", envvar="QIST_AT", help="Time of the proposal, in a rehearsal; else now."
    ),
]
EndorsedBy = Annotated[
    list[str] | None,
    typer.Option("--endorsed-by", help="MSP id of a member that must endorse it; repeatable."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

_AWAY = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)


@contextmanager
def connect(profile: ConnectionProfile, user: str, time: str) -> Iterator[Gateway]:
    """Connect to the gateways of a profile's member as one of its users.

    Raises:
        ProfileError: no such user.
        Refusal: *time* is none; and whatever the gateway or the contract refuses.
        Unavailable: no gateway answers, or the outcome is open.
    """
    signer = profile.user(user)
    moment = parse_time(time) if time else None
    clock = (lambda: moment) if moment is not None else None
    with Gateway(profile.endpoints(), signer, clock=clock) as gateway:
        try:
            yield gateway
        except CommitError as error:
            raise explained(gateway, profile, error) from error
        except GatewayError as error:
            raise plainly(error) from error


def plainly(error: GatewayError) -> LedgerError:
    """The error as a person should read it."""
    if error.chaincode_status and error.chaincode_status < 500:
        return Refusal(error.chaincode_message)
    if error.code not in _AWAY:
        return error
    if error.outcome_definite:
        return Unavailable(f"{error}; nothing was written: try again")
    # An update of the configuration has no id by which it could be asked for.
    look = f"qist tx {error.tx_id}" if error.tx_id else "qist channel show"
    return Unavailable(
        f"{error}; it may be committed all the same: look with '{look}' before you try again",
        outcome_definite=False,
    )


def explained(
    gateway: Gateway, profile: ConnectionProfile, error: CommitError, channel: str = ""
) -> CommitError:
    """The same error, with the conflicting key where it can be found in the chain."""
    channel = channel or next(iter(profile.channel_ids), "")
    if error.code not in CONFLICTS or not channel:
        return error
    chain = Chain(gateway.network(channel))
    try:
        conflict = find_conflict(chain.transaction(error.tx_id), chain.block)
    except (GatewayError, NotRecorded):
        # The verdict stands, whether or not its cause can be looked up now.
        return error
    return error if conflict is None else error.because(str(conflict))


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


def channel_of(profile: ConnectionProfile, channel: str) -> str:
    """Return the named channel, or the profile's first one.

    Raises:
        Refusal: no channel is named anywhere.
    """
    channel = channel or next(iter(profile.channel_ids), "")
    if not channel:
        raise Refusal(f"{profile.path} names no channel: give one with --channel")
    return channel


def contract_of(
    gateway: Gateway, profile: ConnectionProfile, channel: str, chaincode: str
) -> Contract:
    """Return a contract of the named channel, or of the profile's first one.

    Raises:
        Refusal: no channel is named anywhere.
    """
    return gateway.network(channel_of(profile, channel)).contract(chaincode)
