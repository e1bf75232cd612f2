"""Listening to a channel: blocks, transactions and contract events to callbacks.

    hub = channel.newChannelEventHub(peer, user)
    hub.registerChaincodeEvent("book", "^Put$", onEvent=print)
    await hub.connect(start=0, stop="newest")

``connect`` gives back an awaitable that runs the stream; without a stop it runs until it is
cancelled or ``disconnect`` is called.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from clients.fabric_sdk_py.decoding import Decoded, decode_block, decode_filtered_block
from clients.gateway.asynchronous import AsyncNetwork
from ledger.transactions.codes import TxValidationCode

Height = Callable[[], Awaitable[int]]
Callback = Callable[..., Any]
_FILTER = 2
_CALL = 3


@dataclass(eq=False)
class Registration:
    """One callback; compared by identity, so that the same function may be registered twice.

    Attributes:
        on_event: what is called.
        once: whether it is taken out after the first time.
        disconnect: whether the hub disconnects after it was called.
        chaincode, pattern: of contract events.
    """

    on_event: Callback | None
    once: bool
    disconnect: bool
    chaincode: str = ""
    pattern: str = ""


class ChannelEventHub:
    """The events of one channel at one peer.

    Its methods and parameters have the names that users of ``fabric-sdk-py`` know.
    """

    def __init__(self, network: AsyncNetwork, height: Height) -> None:
        self._network = network
        self._height = height
        self._blocks: list[Registration] = []
        self._transactions: dict[str, Registration] = {}
        self._chaincodes: list[Registration] = []
        self._start: int | str | None = None
        self._stop: int | str | None = None
        self._task: asyncio.Task[Any] | None = None
        self._is_over = False
        self.connected = False

    def registerBlockEvent(  # noqa: N802  the names are fabric-sdk-py's
        self,
        unregister: bool = True,
        start: int | str | None = None,
        stop: int | str | None = None,
        disconnect: bool = False,
        onEvent: Callback | None = None,  # noqa: N803
    ) -> Registration:
        """Have ``onEvent(block)`` called for blocks: for the next one, or for all of a range."""
        self._take_range(start, stop)
        made = Registration(onEvent, unregister and start is None and stop is None, disconnect)
        self._blocks.append(made)
        return made

    def registerTxEvent(  # noqa: N802
        self,
        tx_id: str,
        unregister: bool | None = None,
        start: int | str | None = None,
        stop: int | str | None = None,
        disconnect: bool = False,
        onEvent: Callback | None = None,  # noqa: N803
    ) -> str:
        """Have ``onEvent(tx_id, code, block_num)`` called; *tx_id* may be ``all``."""
        self._take_range(start, stop)
        once = tx_id != "all" if unregister is None else unregister
        self._transactions[tx_id] = Registration(onEvent, once, disconnect)
        return tx_id

    def registerChaincodeEvent(  # noqa: N802
        self,
        ccid: str,
        pattern: str,
        unregister: bool = False,
        start: int | str | None = None,
        stop: int | str | None = None,
        disconnect: bool = False,
        onEvent: Callback | None = None,  # noqa: N803
    ) -> Registration:
        """Have ``onEvent(event, block_num, tx_id, code)`` called for names that match *pattern*."""
        self._take_range(start, stop)
        made = Registration(onEvent, unregister, disconnect, ccid, pattern)
        self._chaincodes.append(made)
        return made

    def unregisterBlockEvent(self, registration: Registration) -> None:  # noqa: N802
        """Call it no more."""
        if registration in self._blocks:
            self._blocks.remove(registration)

    def unregisterTxEvent(self, tx_id: str) -> None:  # noqa: N802
        """Call it no more."""
        self._transactions.pop(tx_id, None)

    def unregisterChaincodeEvent(self, registration: Registration) -> None:  # noqa: N802
        """Call it no more."""
        if registration in self._chaincodes:
            self._chaincodes.remove(registration)

    def connect(
        self,
        filtered: bool = True,
        start: int | str | None = None,
        stop: int | str | None = None,
    ) -> Awaitable[None]:
        """Begin to listen; await what it gives back.

        Args:
            filtered: filtered blocks, whose events have no payload, or full ones.
            start: first block; ``oldest``; ``newest`` or None for the newest there is.
            stop: last block, ``newest``, or None for no end.
        """
        self._take_range(start, stop)
        return self._listen(filtered)

    def disconnect(self) -> None:
        """Listen no more."""
        self._is_over = True
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    async def _listen(self, filtered: bool) -> None:
        newest = await self._height() - 1
        start = _block_of(self._start, newest)
        first = newest if start is None else start
        last = _block_of(self._stop, newest)
        stream = (
            self._network.filtered_block_events(start_block=first, stop_block=last)
            if filtered
            else self._network.block_events(start_block=first, stop_block=last)
        )
        self._task = asyncio.current_task()
        try:
            async for message in stream:
                self.connected = True
                if filtered:
                    self._handle(*_of_filtered(decode_filtered_block(message)))
                else:
                    self._handle(*_of_full(decode_block(message)))
                if self._is_over:
                    return
        finally:
            self.connected, self._task = False, None

    def _handle(self, block: Decoded, number: int, transactions: list[_Seen]) -> None:
        for registration in list(self._blocks):
            self._call(registration, block)
            if registration.once:
                self.unregisterBlockEvent(registration)
        for seen in transactions:
            for tx_id, registration in list(self._transactions.items()):
                if tx_id in ("all", seen.tx_id):
                    self._call(registration, seen.tx_id, seen.code, number)
                    if registration.once:
                        self.unregisterTxEvent(tx_id)
            for event in seen.events:
                for registration in list(self._chaincodes):
                    if registration.chaincode == event["chaincode_id"] and re.match(
                        registration.pattern, event["event_name"]
                    ):
                        self._call(registration, event, number, seen.tx_id, seen.code)
                        if registration.once:
                            self.unregisterChaincodeEvent(registration)

    def _call(self, registration: Registration, *values: Any) -> None:
        if registration.on_event is not None:
            registration.on_event(*values)
        if registration.disconnect:
            self.disconnect()

    def _take_range(self, start: int | str | None, stop: int | str | None) -> None:
        self._start = self._start if start is None else start
        self._stop = self._stop if stop is None else stop


@dataclass(frozen=True)
class _Seen:
    """A transaction of a block: its id, the name of its code, its contract events."""

    tx_id: str
    code: str
    events: list[Decoded]


def _block_of(position: int | str | None, newest: int) -> int | None:
    if position is None or isinstance(position, int):
        return position
    named = {"oldest": 0, "newest": newest}
    return named[position] if position in named else int(position)


def _of_filtered(block: Decoded) -> tuple[Decoded, int, list[_Seen]]:
    seen = []
    for each in block["filtered_transactions"]:
        actions = each["transaction_actions"]["chaincode_actions"]
        events = [action["chaincode_event"] for action in actions]
        for event in events:
            # A filtered block leaves the payload out; an empty one would be taken for the value.
            del event["payload"]
        seen.append(_Seen(each["txid"], each["tx_validation_code"], events))
    return block, block["number"], seen


def _of_full(block: Decoded) -> tuple[Decoded, int, list[_Seen]]:
    codes = block["metadata"]["metadata"][_FILTER]
    seen = []
    for code, envelope in zip(codes, block["data"]["data"], strict=True):
        header = envelope["payload"]["header"]["channel_header"]
        events = []
        if header["type"] == _CALL:
            for action in envelope["payload"]["data"]["actions"]:
                response = action["payload"]["action"]["proposal_response_payload"]
                event = response["extension"]["events"]
                events += [event] if event["event_name"] else []
        seen.append(_Seen(header["tx_id"], TxValidationCode(code).name, events))
    return block, block["header"]["number"], seen
