"""Which calls the gateway takes for ones that take about the same time."""

from __future__ import annotations

import time
from collections.abc import Hashable
from dataclasses import replace
from typing import Any, cast

from network.errors import IdentityError
from network.msp import MSPManager
from nodes.endorser.proposals import UnpackedProposal
from nodes.gateway.intake import Intake
from nodes.rpc.concurrency import FairLimit
from nodes.rpc.pace import CALM, Pace
from nodes.rpc.places import Client

ONE_RECORD = UnpackedProposal(
    proposal_bytes=b"p" * 2_000,
    signature=b"",
    header=None,
    channel_id="qist",
    tx_id="ab",
    header_type=3,
    epoch=0,
    timestamp=None,
    chaincode="instalments",
    invoked="instalments",
    args=(b"Pay", b"{}"),
    is_init=False,
    creator=b"",
    nonce=b"",
    payload_input=b"",
    transient={},
    proposal_hash=b"",
)
ANOTHER = replace(ONE_RECORD, proposal_bytes=b"p" * 2_040, tx_id="cd")
MANY_RECORDS = replace(ONE_RECORD, proposal_bytes=b"p" * 100_000, tx_id="ef")
OTHER_FUNCTION = replace(ONE_RECORD, args=(b"Open", b"{}"), tx_id="01")


class Strangers:
    """A channel that knows nobody."""

    def deserialize_at_door(self, _identity: bytes) -> Any:
        raise IdentityError("nobody is known")


class Heard(Pace):
    """Keeps the kinds of calls that have ended."""

    def __init__(self) -> None:
        super().__init__(CALM, 2.5, time.monotonic)
        self.kinds: list[Hashable] = []

    def ended(self, kind: Hashable, seconds: float, at_work: int) -> None:
        self.kinds.append(kind)
        super().ended(kind, seconds, at_work)


async def test_calls_are_of_a_kind_by_rpc_function_and_size() -> None:
    """One record or hundreds in a call make a difference, a few bytes more make none; an envelope
    is of the kind of its proposal.
    """
    pace, msps = Heard(), cast(MSPManager, Strangers())
    intake = Intake(FairLimit("gateway", CALM, pace))
    for proposal in (ONE_RECORD, ANOTHER, MANY_RECORDS, OTHER_FUNCTION):
        with intake.proposal(proposal, msps, None)[0]:
            intake.endorsed(proposal, Client("BankMSP", "lending"))
        with intake.envelope(proposal.tx_id, None, msps, None):
            pass
        with intake.query(proposal, msps, None):
            pass
    one, another, many, other = (pace.kinds[place : place + 3] for place in range(0, 12, 3))
    assert one == another
    assert len({*one, *many, *other}) == 9
