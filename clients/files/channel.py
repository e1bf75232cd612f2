"""The loader's ledger: the contract ``instalments`` on a channel, reached through a gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import grpc

from clients.files.circles import Circles, circle_of, circles_of
from clients.files.endorsers import endorsing_choices
from clients.files.ports import RecordVerdict
from clients.files.requests import NAMESPACE
from clients.gateway.asynchronous import AsyncGateway
from clients.gateway.errors import CommitError, EndorseError, EvaluateError, GatewayError
from clients.gateway.retry import RetryPolicy
from ledger.errors import Fatal

ENFORCEMENT: Final = "enforcement"
LIFECYCLE: Final = "_lifecycle"
_FAULT: Final = 500
PATIENCE_S: Final = 120.0
"""Seconds of pauses that are spent on a gateway which is away, before a run breaks off."""
_NO_ANSWER: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.CANCELLED,
    }
)


class GatewayLedger:
    """Submits records as one member's user; see :class:`clients.files.ports.Ledger`.

    The functions of the contracts write nothing twice, so a bulk is endorsed again after a
    conflict, while its gateway or an endorser is away, and after an outcome that stayed open.

    Args:
        choices: sets of members any of which may endorse; the next is tried where one cannot.
        circles: who keeps the terms of each lender.
        patience_s: seconds of pauses before a run breaks off.
    """

    def __init__(
        self,
        gateway: AsyncGateway,
        channel_id: str,
        choices: Sequence[Sequence[str]] = ((),),
        *,
        circles: Circles = MappingProxyType({}),
        patience_s: float = PATIENCE_S,
    ) -> None:
        network = gateway.network(channel_id)
        self._contract = network.contract(NAMESPACE)
        self._blocks = network.contract("qscc")
        self._channel_id = channel_id
        self._msp_id = gateway.identity.msp_id
        self._choices = tuple(choices)
        self._circles = circles
        self._choice = 0
        self._conflicts = RetryPolicy(attempts=16)
        self._pauses = RetryPolicy(first_pause_s=0.1, longest_pause_s=5.0, patience_s=patience_s)

    @classmethod
    async def connect(
        cls, gateway: AsyncGateway, channel_id: str, *, patience_s: float = PATIENCE_S
    ) -> GatewayLedger:
        """Make one whose endorsers follow from members and collections as the ledger has them."""
        network = gateway.network(channel_id)
        found = json.loads(await network.contract(ENFORCEMENT).evaluate("Members"))["members"]
        circles = await circles_of(network.contract(LIFECYCLE), NAMESPACE)
        choices = endorsing_choices(found, gateway.identity.msp_id, circles)
        return cls(gateway, channel_id, choices, circles=circles, patience_s=patience_s)

    @property
    def keepers(self) -> frozenset[str]:
        """Who keeps the own member's terms, if it is a lender with a collection."""
        return circle_of(self._circles, self._msp_id)

    @property
    def member(self) -> str:
        """See the port."""
        return f"{self._channel_id}/{self._msp_id}"

    async def submit(
        self,
        function: str,
        records: Sequence[Mapping[str, Any]],
        transient: Mapping[str, Sequence[Any]],
    ) -> Sequence[RecordVerdict]:
        """See the port."""
        verdicts: list[RecordVerdict | None] = [None] * len(records)
        waiting, attempt, paused_s = [(0, len(records))], 1, 0.0
        while waiting:
            failed = []
            for start, stop in waiting:
                failed += await self._submit_part(
                    function,
                    records[start:stop],
                    {name: values[start:stop] for name, values in transient.items()},
                    verdicts,
                    start,
                )
            if failed:
                error = failed[0][2]
                if not self._may_pass(error, attempt, paused_s):
                    raise error
                pause_s = self._pauses.pause_s(attempt)
                await asyncio.sleep(pause_s)
                attempt, paused_s = attempt + 1, paused_s + pause_s
            waiting = [(start, stop) for start, stop, _ in failed]
        return [verdict for verdict in verdicts if verdict is not None]

    async def _submit_part(
        self,
        function: str,
        records: Sequence[Mapping[str, Any]],
        transient: Mapping[str, Sequence[Any]],
        verdicts: list[RecordVerdict | None],
        offset: int,
    ) -> list[tuple[int, int, GatewayError | CommitError]]:
        """Fill in the verdicts on *records*; gives back the ranges that could not be done."""
        done = await self._contract.submit_bulk(
            function,
            records,
            transient=transient,
            endorsing_organisations=self._choices[self._choice],
            retry=self._conflicts,
        )
        failed = []
        for part in done.parts:
            start, stop = part.start + offset, part.stop + offset
            if part.error is not None:
                failed.append((start, stop, part.error))
            elif part.outcome is not None:
                verdicts[start:stop] = _verdicts(
                    part.outcome.result, part.outcome.status.tx_id, stop - start
                )
        return failed

    def _may_pass(self, error: GatewayError | CommitError, attempt: int, paused_s: float) -> bool:
        """Whether another attempt makes sense; moves on to other endorsers where these cannot."""
        if isinstance(error, CommitError):
            return False
        # A status of 500 is a fault of that node: it may lack what another holds.
        if isinstance(error, EndorseError) and error.chaincode_status in (0, _FAULT):
            self._choice = (self._choice + 1) % len(self._choices)
            if attempt < len(self._choices):
                return True
        return self._pauses.allows_after(error, attempt, paused_s)

    async def is_recorded(self, tx_id: str) -> bool:
        """See the port."""
        try:
            await self._blocks.evaluate("GetTransactionByID", self._channel_id, tx_id)
        except EvaluateError as error:
            if error.code in _NO_ANSWER:
                raise
            return False
        return True


def _verdicts(result: bytes, tx_id: str, count: int) -> list[RecordVerdict]:
    try:
        found = [
            RecordVerdict(
                bool(each["ok"]),
                bool(each["written"]),
                str(each.get("rule", "")),
                str(each.get("message", "")),
                tx_id,
            )
            for each in json.loads(result)["verdicts"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise Fatal(
            f"transaction {tx_id} answered with something else than verdicts ({error!r}); is the "
            "contract 'instalments' of another version?"
        ) from error
    if len(found) != count:
        raise Fatal(f"transaction {tx_id} answered {len(found)} verdicts to {count} records")
    return found
