"""The loader's ledger: the contract ``instalments`` on a channel, reached through a gateway."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import grpc

from clients.files.ports import RecordVerdict
from clients.files.requests import NAMESPACE
from clients.gateway.asynchronous import AsyncGateway
from clients.gateway.errors import EvaluateError
from clients.gateway.retry import RetryPolicy
from ledger.errors import Fatal

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
    conflict, while its gateway is away, and after an outcome that stayed open.
    """

    def __init__(
        self, gateway: AsyncGateway, channel_id: str, *, patience_s: float = PATIENCE_S
    ) -> None:
        network = gateway.network(channel_id)
        self._contract = network.contract(NAMESPACE)
        self._blocks = network.contract("qscc")
        self._channel_id = channel_id
        self._msp_id = gateway.identity.msp_id
        self._retry = RetryPolicy(attempts=16, patience_s=patience_s)

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
        done = await self._contract.submit_bulk(
            function, records, transient=transient, retry=self._retry
        )
        done.raise_for_error()
        return [
            verdict
            for part in done.parts
            if part.outcome is not None
            for verdict in _verdicts(
                part.outcome.result, part.outcome.status.tx_id, part.stop - part.start
            )
        ]

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
