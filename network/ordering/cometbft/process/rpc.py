"""CometBFT's RPC over its unix socket: JSON-RPC in HTTP/1.1.

Connections are kept and shared: a call takes an idle one or opens another, up to a bound, beyond
which calls wait for their turn. Every method that is called here may be called again: asking
changes nothing, and CometBFT knows a transaction that it was given before. So where a kept
connection turns out to be closed, the call goes once more over a new one.

Invariants: every wait has a deadline; an answer is bounded before it is kept; nothing but the local
CometBFT is behind the socket, so there is neither TLS nor a password.

Absent: subscriptions, and the methods whose answers nobody here needs (`call` takes any).
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import h11

from ledger.errors import DecodeError
from network.ordering.cometbft.errors import CometRefusal, CometUnavailable
from network.ordering.cometbft.messages import types_pb2, validator_pb2
from network.ordering.cometbft.process.conversions import (
    parse_signed_header,
    parse_timestamp,
    parse_validator,
)
from network.ordering.cometbft.sockets import connect

__all__ = ["MOST_TOGETHER", "CometProgress", "CometRpc", "CometStatus", "TxCheck"]

MAX_ANSWER_BYTES: Final = 192 * 1024 * 1024
"""A block has at most 100 MB, a third more in base64."""

MOST_TOGETHER: Final = 10
"""Calls that CometBFT takes in one exchange, by its own settings."""

_READ_BYTES = 256 * 1024
_VALIDATORS_A_PAGE = 100
# CometBFT's words for a transaction that it was given before; there is no code of its own for it.
_KNOWN = "tx already exists in cache"
_FULL = "mempool is full"
# Its words for a height that it has not reached, or has pruned.
_NO_SUCH_HEIGHT = ("must be less than or equal to", "is not available", "could not find")


@dataclass(frozen=True, slots=True)
class TxCheck:
    """What came of handing a transaction to CometBFT.

    Attributes:
        code: of the application's CheckTx; 0 if it waits for its place in a block.
        log: the application's words.
        known: whether CometBFT had been given the same bytes before; then `code` is 0, and whether
            they still wait, were ordered or were dropped is not known.
    """

    code: int
    log: str
    known: bool = False


@dataclass(frozen=True, slots=True)
class CometStatus:
    """How far CometBFT is.

    Attributes:
        height: of its newest block; 0 before the first.
        earliest_height: of the oldest block that it still has; 0 before the first.
        catching_up: whether it fetches old blocks instead of taking part.
        app_hash: in the header of its newest block, that is after the block before.
        block_time: of its newest block, UTC; None before the first.
    """

    height: int
    earliest_height: int
    catching_up: bool
    app_hash: bytes
    block_time: datetime | None


@dataclass(frozen=True, slots=True)
class CometProgress:
    """Where the agreement stands.

    Attributes:
        round: of the height that CometBFT is at: above 0, proposals have failed.
        highest: the highest height that another node says it is at; 0 if none says so.
    """

    round: int
    highest: int


class CometRpc:
    """Calls one CometBFT.

    Args:
        socket: where its RPC listens.
        connections: how many calls may be under way at once.
        timeout_s: how long a call may take, its turn included.
        max_tx_bytes: the longest transaction that CometBFT was told to take (`home.py`). A longer
            one is refused here, since CometBFT breaks the connection over it.
    """

    def __init__(
        self,
        socket: Path,
        *,
        connections: int = 8,
        timeout_s: float = 10.0,
        max_tx_bytes: int | None = None,
    ) -> None:
        self._socket = socket
        self._max_tx_bytes = max_tx_bytes
        self._timeout_s = timeout_s
        self._turns = asyncio.Semaphore(connections)
        self._idle: list[_Connection] = []
        self._closed = False
        self._calls = 0

    async def close(self) -> None:
        """Close what is idle; calls under way close theirs when they end."""
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    async def broadcast_tx(self, raw: bytes) -> TxCheck:
        """Hand a transaction to CometBFT, which checks it and passes it on to the others.

        That it was taken promises no place in a block: it may be dropped, or wait without end.

        Raises:
            CometUnavailable: CometBFT does not answer, or its pool is full.
            CometRefusal: it takes no such transaction, for example because it is too large.
        """
        if self._max_tx_bytes is not None and len(raw) > self._max_tx_bytes:
            raise CometRefusal(
                f"a transaction of {len(raw)} bytes is longer than the {self._max_tx_bytes} that "
                "CometBFT takes; make it of fewer envelopes",
                code=0,
                data="Tx too large",
            )
        try:
            found = await self.call("broadcast_tx_sync", {"tx": base64.b64encode(raw).decode()})
        except CometRefusal as refused:
            if _KNOWN in refused.data:
                return TxCheck(0, refused.data, known=True)
            if _FULL in refused.data:
                raise CometUnavailable(
                    f"CometBFT's pool of waiting transactions is full ({refused.data}); nothing "
                    "was taken, try again when blocks have been made"
                ) from refused
            raise
        with _reading("broadcast_tx_sync"):
            return TxCheck(int(found["code"]), str(found["log"]))

    async def status(self) -> CometStatus:
        """Return how far CometBFT is."""
        found = await self.call("status")
        with _reading("status"):
            sync = found["sync_info"]
            height = int(sync["latest_block_height"])
            return CometStatus(
                height=height,
                earliest_height=int(sync["earliest_block_height"]),
                catching_up=bool(sync["catching_up"]),
                app_hash=bytes.fromhex(sync["latest_app_hash"]),
                block_time=_datetime(sync["latest_block_time"]) if height else None,
            )

    async def peers(self) -> tuple[str, ...]:
        """Return the ids of the nodes that CometBFT is connected to, sorted."""
        found = await self.call("net_info")
        with _reading("net_info"):
            return tuple(sorted(str(each["node_info"]["id"]) for each in found["peers"]))

    async def signed_header(self, height: int) -> types_pb2.SignedHeader | None:
        """Return header and commit of a height; see `signed_headers`."""
        (found,) = await self.signed_headers([height])
        return found

    async def signed_headers(self, heights: Sequence[int]) -> list[types_pb2.SignedHeader | None]:
        """Return header and commit of each height; None if it is not reached, or was pruned.

        The commit of the newest height is the one that this node saw; later it is the one that the
        next block carries. Both prove the header.

        Args:
            heights: one at least, at most MOST_TOGETHER.
        """
        asked = [{"height": str(height)} for height in heights]
        answers = await self._call_together("commit", asked)
        found: list[types_pb2.SignedHeader | None] = []
        for answer in answers:
            if isinstance(answer, CometRefusal):
                if not _is_of_no_height(answer):
                    raise answer
                found.append(None)
                continue
            with _reading("commit"):
                found.append(parse_signed_header(answer["signed_header"]))
        return found

    async def validators(self, height: int) -> validator_pb2.ValidatorSet | None:
        """Return who may sign *height*, in CometBFT's order; None if it does not know.

        The set names no proposer, since the RPC does not.
        """
        validators: list[validator_pb2.Validator] = []
        total = 1
        while len(validators) < total:
            page = len(validators) // _VALIDATORS_A_PAGE + 1
            params = {
                "height": str(height),
                "page": str(page),
                "per_page": str(_VALIDATORS_A_PAGE),
            }
            found = await self._at_height("validators", params)
            if found is None:
                return None
            with _reading("validators"):
                total = int(found["total"])
                more = [parse_validator(each) for each in found["validators"]]
                if not more:
                    raise ValueError("an empty page")
                validators += more
        return validator_pb2.ValidatorSet(
            validators=validators, total_voting_power=sum(each.voting_power for each in validators)
        )

    async def progress(self) -> CometProgress:
        """Return where the agreement stands, as the others tell this node's CometBFT."""
        found = await self.call("dump_consensus_state")
        with _reading("dump_consensus_state"):
            peers = [each["peer_state"]["round_state"] for each in found["peers"]]
            return CometProgress(
                round=int(found["round_state"]["round"]),
                highest=max((int(each["height"]) for each in peers), default=0),
            )

    async def call(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """Call any method and return its result.

        Raises:
            CometUnavailable: CometBFT does not answer, or not in time.
            CometRefusal: it answers with an error.
        """
        (found,) = await self._call_together(method, [params or {}])
        if isinstance(found, CometRefusal):
            raise found
        return found

    async def _call_together(
        self, method: str, params: Sequence[Mapping[str, Any]]
    ) -> list[Any | CometRefusal]:
        """Call one method several times in one exchange; return each result, or why it is refused.

        Raises:
            CometUnavailable: as `call`.
        """
        if self._closed:
            raise CometUnavailable("this node no longer asks its CometBFT: it is stopping")
        first, self._calls = self._calls + 1, self._calls + len(params)
        asked = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": each}
            for number, each in enumerate(params, first)
        ]
        body = json.dumps(asked if len(asked) > 1 else asked[0]).encode()
        try:
            async with asyncio.timeout(self._timeout_s), self._turns:
                answer = await self._exchange(body)
        except TimeoutError:
            raise CometUnavailable(
                f"CometBFT has not answered {method} within {self._timeout_s:g} s; "
                "look at its lines in the node's log",
                outcome_definite=False,
            ) from None
        except (OSError, h11.RemoteProtocolError) as error:
            raise CometUnavailable(
                f"CometBFT cannot be asked for {method} at {self._socket} "
                f"({type(error).__name__}: {error}); is it running?",
                outcome_definite=isinstance(error, FileNotFoundError | ConnectionRefusedError),
            ) from error
        return _results(method, answer, len(params))

    async def _at_height(self, method: str, params: Mapping[str, Any]) -> Any:
        try:
            return await self.call(method, params)
        except CometRefusal as refused:
            if _is_of_no_height(refused):
                return None
            raise

    async def _exchange(self, body: bytes) -> bytes:
        """Send one request and return the body of its answer."""
        broken: Exception | None = None
        while self._idle:
            kept = self._idle.pop()
            try:
                return await self._over(kept, body)
            except (OSError, h11.RemoteProtocolError) as error:
                broken = error  # CometBFT closes what is idle for long, and all when it ends
        try:
            fresh = await _Connection.open(self._socket)
        except OSError as error:
            if broken is None:
                raise
            # The kept connection may have carried the request to CometBFT before both ended.
            raise ConnectionResetError(f"{broken}, and now: {error}") from error
        return await self._over(fresh, body)

    async def _over(self, connection: _Connection, body: bytes) -> bytes:
        try:
            answer = await connection.exchange(body)
        except BaseException:
            connection.close()
            raise
        if connection.is_reusable and not self._closed:
            self._idle.append(connection)
        else:
            connection.close()
        return answer


class _Connection:
    """A kept connection; one exchange at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT)

    @classmethod
    async def open(cls, socket: Path) -> _Connection:
        """Connect to CometBFT."""
        return cls(*await connect(socket))

    @property
    def is_reusable(self) -> bool:
        """Whether another exchange may follow."""
        # Bytes after an answer would be taken for the next one.
        clean = self._http.our_state is h11.IDLE and self._http.trailing_data == (b"", False)
        return clean and not self._reader.at_eof()

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()

    async def exchange(self, body: bytes) -> bytes:
        """Post *body* and return the answer's, whatever its status: errors are told inside.

        Raises:
            OSError, h11.RemoteProtocolError: the connection broke, or speaks no HTTP.
        """
        head = h11.Request(
            method="POST",
            target="/",
            headers=[
                ("Host", "cometbft"),
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(body))),
            ],
        )
        sending = [head, h11.Data(data=body), h11.EndOfMessage()]
        self._writer.write(b"".join(self._http.send(event) or b"" for event in sending))
        await self._writer.drain()
        answer = bytearray()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(_READ_BYTES))
            elif isinstance(event, h11.Data):
                answer += event.data
                if len(answer) > MAX_ANSWER_BYTES:
                    raise ConnectionAbortedError(f"an answer above {MAX_ANSWER_BYTES} bytes")
            elif isinstance(event, h11.EndOfMessage):
                break
            elif isinstance(event, h11.ConnectionClosed):
                raise ConnectionResetError("CometBFT closed the connection before it answered")
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        return bytes(answer)


def _results(method: str, answer: bytes, count: int) -> list[Any | CometRefusal]:
    """Return what is in a JSON-RPC answer: for each call its result, or its error.

    Raises:
        CometUnavailable: it is no JSON-RPC, as when CometBFT is about to end.
    """
    try:
        found = json.loads(answer)
        answers = [found] if isinstance(found, dict) else list(found)
        if len(answers) != count:
            raise ValueError(f"{len(answers)} answers")
        if count > 1:
            answers.sort(key=lambda each: int(each["id"]))
        return [_result(method, each) for each in answers]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CometUnavailable(
            f"CometBFT's answer to {method} is no JSON-RPC: {answer[:200]!r}",
            outcome_definite=False,
        ) from None


def _result(method: str, answer: Mapping[str, Any]) -> Any | CometRefusal:
    error = answer.get("error")
    if error is None:
        if answer["result"] is None:
            raise ValueError("neither a result nor an error")
        return answer["result"]
    code, data = int(error["code"]), f"{error['message']}: {error.get('data', '')}"
    return CometRefusal(f"CometBFT refuses {method}: {data}", code=code, data=data)


def _is_of_no_height(refused: CometRefusal) -> bool:
    return any(words in refused.data for words in _NO_SUCH_HEIGHT)


@contextmanager
def _reading(method: str) -> Iterator[None]:
    """Turn what goes wrong while an answer is read into an error that names the method."""
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise DecodeError(
            f"CometBFT's answer to {method} cannot be read ({type(error).__name__}: {error}); "
            "run the CometBFT that `make cometbft` installs"
        ) from error


def _datetime(text: str) -> datetime:
    stamp = parse_timestamp(text)
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
        seconds=stamp.seconds, microseconds=stamp.nanos // 1000
    )
