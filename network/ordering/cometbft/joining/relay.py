"""A relay on loopback, by which this node's own CometBFT asks those of other members.

    http://127.0.0.1:PORT/TOKEN/MSPID    JSON-RPC by POST, for the node of that member

It is open while this node begins with a snapshot, for CometBFT's light client, whose addresses it
gives (`servers`). What comes in is judged as at the other node (`light_rpc.py`) and goes out over
the node port, by mutual TLS. The token is made anew each time and stands in CometBFT's settings,
which nobody but this user can read, so no other user of the machine asks members through this node.

Invariants: bounded: connections, length of a request, time between two; an error of one caller ends
that caller's connection alone.

Absent: trust in what comes back, which CometBFT verifies.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Sequence
from typing import Any, Final

import h11

from ledger.errors import LedgerError, Refusal
from network.ordering.cometbft.errors import CometRefusal
from network.ordering.cometbft.joining.light_rpc import (
    MAX_QUESTION_BYTES,
    OtherComets,
    decode_question,
)

__all__ = ["LightRelay"]

logger = logging.getLogger(__name__)

_CONNECTIONS: Final = 16
_IDLE_S: Final = 60.0
_READ_BYTES: Final = 16 * 1024
_SERVER_ERROR: Final = -32000
_TOKEN_BYTES: Final = 16


class LightRelay:
    """The relay of one node.

    Args:
        others: the CometBFTs beside the other members' nodes.
    """

    def __init__(self, others: OtherComets) -> None:
        self._others = others
        self._server: asyncio.Server | None = None
        self._token = secrets.token_urlsafe(_TOKEN_BYTES)
        self._open: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen on a free port of loopback; once open, it stays so."""
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def stop(self) -> None:
        """Close the port and all connections."""
        if self._server is None:
            return
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        self._server = None

    def servers(self, msp_ids: Sequence[str]) -> tuple[str, ...]:
        """Return the addresses under which CometBFT asks these members."""
        assert self._server is not None, "start it first"
        port = self._server.sockets[0].getsockname()[1]
        return tuple(f"http://127.0.0.1:{port}/{self._token}/{each}" for each in msp_ids)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._open) >= _CONNECTIONS:
            writer.close()
            return
        self._open.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, TimeoutError, h11.RemoteProtocolError, asyncio.CancelledError) as error:
            logger.debug("a connection to the relay ended: %r", error)
        finally:
            self._open.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=_READ_BYTES)
        while True:
            target, body = await _request(http, reader)
            status, answer = await self._answer(target, body)
            head = h11.Response(
                status_code=status,
                headers=[
                    ("Content-Type", "application/json"),
                    ("Content-Length", str(len(answer))),
                ],
            )
            for event in (head, h11.Data(data=answer), h11.EndOfMessage()):
                writer.write(http.send(event) or b"")
            await writer.drain()
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                return
            http.start_next_cycle()

    async def _answer(self, target: str, body: bytes) -> tuple[int, bytes]:
        """Return HTTP's status and the body for one request."""
        token, _, msp_id = target.strip("/").partition("/")
        known = msp_id in self._others.msp_ids()
        if not known or not secrets.compare_digest(token.encode(), self._token.encode()):
            return 404, b"{}"
        try:
            question = json.loads(body)
            number = question["id"]
        except (ValueError, KeyError, TypeError):
            return 400, b"{}"
        try:
            # Without JSON-RPC's frame, so that both nodes judge the same bytes.
            bare = {"method": question.get("method"), "params": question.get("params")}
            method, params = decode_question(json.dumps(bare).encode())
            result = await self._others.ask(msp_id, method, params)
        except CometRefusal as refused:
            # The light client goes by CometBFT's own words.
            return 200, _framed(number, error=_error(refused.code, refused.data))
        except LedgerError as error:
            if isinstance(error, Refusal):
                logger.warning("the light client asked what may not be asked: %s", error)
            return 200, _framed(number, error=_error(_SERVER_ERROR, str(error)))
        return 200, _framed(number, result=result)


def _framed(number: Any, **content: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": number, **content}).encode()


def _error(code: int, words: str) -> dict[str, Any]:
    return {"code": code, "message": "Internal error", "data": words}


async def _request(http: h11.Connection, reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """Read one request: its target and its body, empty unless it is a POST of a fit length."""
    target, body, fits = "", bytearray(), False
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            async with asyncio.timeout(_IDLE_S):
                http.receive_data(await reader.read(_READ_BYTES))
        elif isinstance(event, h11.Request):
            target, fits = event.target.decode("ascii"), event.method == b"POST"
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_QUESTION_BYTES:
                raise ConnectionAbortedError("a request is too long")
        elif isinstance(event, h11.EndOfMessage):
            return target, bytes(body) if fits else b""
        elif isinstance(event, h11.ConnectionClosed):
            raise ConnectionResetError("the caller has closed the connection")
