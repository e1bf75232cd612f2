"""Whose call it is, as far as that is proved, so that it may count for somebody.

A refusal should cost less than the work, so who calls is first taken at his word: if the client he
names has no room, he is refused before his signature is verified, which changes nothing for that
client. Only a call whose signature is its client's takes one of its places; the others together are
one client, `NOBODY`. What is proved here is not proved again by those who verify it behind
(`Identity.verify`).

Absent: whether the client may do what it asks for, and whether its certificate is valid today.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from network.errors import IdentityError, SignatureError
from network.msp import Identity, MSPManager
from network.policy import SignedData
from nodes.rpc.concurrency import FairLimit
from nodes.rpc.places import NOBODY, Client

__all__ = ["admitted_client", "arrival", "caller_to_be_known", "client_of"]


def client_of(identity: Identity) -> Client:
    """Return what tells an identity apart from others."""
    return Client(identity.msp_id, identity.identity_id)


def arrival(context: Any) -> float | None:
    """When a call came, by the clock that only goes forward; None where nobody has looked."""
    came: float | None = getattr(context, "came", None)
    return came


def admitted_client(
    limit: FairLimit, msps: MSPManager, signed: SignedData, *, since: float | None = None
) -> Client:
    """Check that there is room for a call, and return the client that it counts for.

    Args:
        limit: of the calls of this kind.
        msps: whose identities are known.
        signed: the request, and who claims to have signed it.
        since: when it came, as far as that is known.
    Raises:
        TooManyRequests: there is none; nothing was done.
        ChannelUnavailable: the node is stopping; nothing was done.
    """
    try:
        identity = msps.deserialize_at_door(signed.identity)
    except IdentityError:
        limit.verify_room(NOBODY, since=since)
        return NOBODY
    client = client_of(identity)
    limit.verify_room(client, since=since)
    try:
        identity.verify(signed.data, signed.signature)
    except SignatureError:
        return NOBODY
    return client


@contextmanager
def caller_to_be_known(limit: FairLimit, context: Any) -> Iterator[Callable[[Identity], None]]:
    """Count a call whose caller becomes known while it works; yields what is to be told who it is.

    Until then it counts for its host: strangers have a share like a member, and hosts in it. One
    who is recognised again, as at each request of a stream, keeps his place.

    Raises:
        TooManyRequests: there is no room, for a stranger now or for the caller when he is known.
        ChannelUnavailable: the node is stopping; nothing was done.
    """
    host, _, _port = str(context.peer()).rpartition(":")
    counted = Client("", host)
    with ExitStack() as place:
        place.enter_context(limit.enter(counted))

        def recognise(caller: Identity) -> None:
            nonlocal counted
            client = client_of(caller)
            if client != counted:
                place.close()
                place.enter_context(limit.enter(client))
                counted = client

        yield recognise
