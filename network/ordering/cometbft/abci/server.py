"""The ABCI 2.0 server: CometBFT connects here and asks what its transactions mean.

CometBFT opens four connections (query, snapshots, mempool, consensus) and ends when it loses one.

Invariants:
- Answers on a connection come in the order of its requests. What is complete is answered in one
  write, and a Flush is answered like any other request, after those before it.
- At most one write (what may change the state, and CheckTx) is under way, over all connections.
  Reads wait for nobody and nobody waits for them, but for what is behind them on their connection.
  The same holds for a proposal, as long as its application lets it wait.
- A connection is read while its answers are written, up to a bound, so that two full buffers cannot
  wait for each other.
- Nothing is swallowed. An application that raises, and bytes that are no request, are answered by
  an Exception; every connection is closed, none is taken any more, and `on_failure` hears of it.
  A connection that merely ends, in a frame too, is CometBFT that went away.
- A request under way is never given up because its connection ended: a Commit runs to its end.

Absent: what requests mean (`ports.Application`), and whether CometBFT runs (`process.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from google.protobuf.message import DecodeError

from network.ordering.cometbft.abci.framing import MAX_FRAME_BYTES, FrameReader, encode_frame
from network.ordering.cometbft.errors import AbciError
from network.ordering.cometbft.messages import abci_pb2
from network.ordering.cometbft.ports import Application
from network.ordering.cometbft.sockets import bind_private, remove_stale

__all__ = ["AbciServer"]

logger = logging.getLogger(__name__)

_READS: Final = frozenset({"info", "query", "list_snapshots", "load_snapshot_chunk"})
_WRITES: Final = frozenset(
    {
        "init_chain",
        "check_tx",
        "prepare_proposal",
        "process_proposal",
        "finalize_block",
        "commit",
        "offer_snapshot",
        "apply_snapshot_chunk",
    }
)
_READ_BYTES = 256 * 1024
# What may wait on a connection before it is read no further, and be answered before it is written.
# CometBFT commits when all that it asked about its pool is answered, so it must not be long.
_WAITING_BYTES = 16 * 1024 * 1024
_WAITING_MESSAGES = 512
_UNWRITTEN_BYTES = 256 * 1024
_LAST_WORDS_S = 2.0


class AbciServer:
    """Serves one application on one unix socket.

    Args:
        path: of the socket; whatever a killed process left there is removed.
        application: answers the requests.
        on_failure: called once, when the server has stopped because of an error.
        max_frame_bytes: the longest request that is taken.
    """

    def __init__(
        self,
        path: Path,
        application: Application,
        on_failure: Callable[[Exception], None],
        *,
        max_frame_bytes: int = MAX_FRAME_BYTES,
    ) -> None:
        self._path = path
        self._application = application
        self._on_failure = on_failure
        self._max_frame_bytes = max_frame_bytes
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], _Connection] = {}
        self._writing = asyncio.Lock()
        self._failure: Exception | None = None

    @property
    def connections(self) -> int:
        """How many connections are open; CometBFT has four."""
        return len(self._connections)

    async def start(self) -> None:
        """Listen; CometBFT may be started when this returns.

        Raises:
            HomeError: the socket cannot be made there.
        """
        listening = bind_private(self._path)
        self._server = await asyncio.start_unix_server(self._serve, sock=listening)

    async def stop(self, grace_s: float = 10.0) -> None:
        """Take no further request, let those under way end, and remove the socket.

        Args:
            grace_s: how long those under way may take before they are cancelled.
        """
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for connection in self._connections.values():
            connection.end()
        if self._connections:
            _, late = await asyncio.wait(self._connections, timeout=grace_s)
            for task in late:
                self._connections[task].abort()
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        remove_stale(self._path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(reader, writer, self._max_frame_bytes)
        task = asyncio.current_task()
        assert task is not None
        if self._failure is not None or self._server is None:
            writer.close()
            return
        self._connections[task] = connection
        reading = asyncio.create_task(connection.read(), name=f"read ABCI from {self._path}")
        try:
            await self._answer_all(connection)
        except asyncio.CancelledError:
            # By `stop`, which has waited long enough; the loop would tell of it as of an error.
            if self._server is not None:
                raise
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            del self._connections[task]
            writer.close()

    async def _answer_all(self, connection: _Connection) -> None:
        """Answer what comes on a connection until it ends or the server has failed."""
        answers = bytearray()
        while True:
            if answers and (connection.is_idle or len(answers) > _UNWRITTEN_BYTES):
                await connection.write(bytes(answers))
                answers.clear()
            try:
                frame = await connection.next()
                if frame is None:
                    break
                request = _decode(frame)
                response = await self._answer(request)
            except Exception as error:  # noqa: BLE001  the edge towards another process: told to both
                await self._fail(connection, bytes(answers), error)
                return
            answers += encode_frame(response.SerializeToString())
            if request.HasField("flush"):
                await connection.write(bytes(answers))
                answers.clear()
        if answers:
            await connection.write(bytes(answers))

    async def _answer(self, request: abci_pb2.Request) -> abci_pb2.Response:
        kind = request.WhichOneof("value")
        if kind == "flush":
            return abci_pb2.Response(flush=abci_pb2.ResponseFlush())
        if kind == "echo":
            return abci_pb2.Response(echo=abci_pb2.ResponseEcho(message=request.echo.message))
        if kind in _READS:
            return await self._call(kind, request)
        if kind == "prepare_proposal":
            # What a proposal waits for comes as a write.
            await self._application.before_proposal(request.prepare_proposal)
        if kind in _WRITES:
            async with self._writing:
                if self._failure is not None:
                    raise AbciError(f"{kind} came after the application had failed")
                return await self._call(kind, request)
        raise AbciError(
            f"CometBFT asks for {kind or 'nothing that is known here'}, which this application "
            "does not answer; run the CometBFT that `make cometbft` installs"
        )

    async def check(self, raw: bytes) -> abci_pb2.ResponseCheckTx:
        """Have the application check a transaction that did not come through CometBFT.

        Raises:
            AbciError: it has failed.
        """
        async with self._writing:
            if self._failure is not None:
                raise AbciError("a transaction came after the application had failed")
            return await self._application.check_tx(abci_pb2.RequestCheckTx(tx=raw))

    async def _call(self, kind: str, request: abci_pb2.Request) -> abci_pb2.Response:
        method: Callable[[Any], Awaitable[Any]] = getattr(self._application, kind)
        answer = await method(getattr(request, kind))
        return abci_pb2.Response(**{kind: answer})

    async def _fail(self, connection: _Connection, answers: bytes, error: Exception) -> None:
        """Say what went wrong to CometBFT, close everything, and tell the node once."""
        first = self._failure is None
        if first:
            self._failure = error
            if self._server is not None:
                self._server.close()
            for other in self._connections.values():
                other.end()
        text = f"{type(error).__name__}: {error}"
        exception = abci_pb2.Response(exception=abci_pb2.ResponseException(error=text))
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                await connection.write(answers + encode_frame(exception.SerializeToString()))
        except TimeoutError:
            connection.abort()
        if first:
            logger.error("ABCI has stopped: %s", text)
            self._on_failure(error)


def _decode(frame: bytes) -> abci_pb2.Request:
    """Read a request.

    Raises:
        AbciError: it is none.
    """
    try:
        return abci_pb2.Request.FromString(frame)
    except DecodeError:
        raise AbciError(
            f"a frame of {len(frame)} bytes is no request of ABCI 2.0; run the CometBFT that "
            "`make cometbft` installs"
        ) from None


class _Connection:
    """One connection: what was read of it and waits to be answered."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, max_frame_bytes: int
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._frames = FrameReader(max_frame_bytes)
        self._waiting: deque[bytes | AbciError] = deque()
        self._waiting_bytes = 0
        self._ended = False
        self._lost = False
        self._changed = asyncio.Event()
        self._space = asyncio.Event()

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits to be answered."""
        return not self._waiting

    @property
    def _is_full(self) -> bool:
        return self._waiting_bytes > _WAITING_BYTES or len(self._waiting) > _WAITING_MESSAGES

    async def read(self) -> None:
        """Read until the connection ends; what is complete waits for `next`."""
        while not self._ended:
            try:
                data = await self._reader.read(_READ_BYTES)
            except OSError:
                data = b""
            if not data:
                if self._frames.is_amid_frame and not self._ended:
                    logger.warning("CometBFT's connection ended within a frame")
                self.end()
                return
            try:
                found = self._frames.feed(data)
            except AbciError as error:
                self._waiting.append(error)
                self._changed.set()
                return
            self._waiting.extend(found)
            self._waiting_bytes += sum(map(len, found))
            self._changed.set()
            while self._is_full and not self._ended:
                self._space.clear()
                await self._space.wait()

    async def next(self) -> bytes | None:
        """Return the next message; None when the connection has ended.

        Raises:
            AbciError: what came is no message.
        """
        while not self._waiting and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        if self._ended:
            return None
        found = self._waiting.popleft()
        if isinstance(found, AbciError):
            raise found
        self._waiting_bytes -= len(found)
        self._space.set()
        return found

    def end(self) -> None:
        """Answer nothing further on this connection."""
        self._ended = True
        self._changed.set()
        self._space.set()

    def abort(self) -> None:
        """Drop the connection with what is not written yet."""
        self._writer.transport.abort()

    async def write(self, answers: bytes) -> None:
        """Send answers; a connection that was lost ends quietly."""
        if self._lost:
            return
        try:
            self._writer.write(answers)
            await self._writer.drain()
        except OSError:
            self._lost = True
            self.end()
