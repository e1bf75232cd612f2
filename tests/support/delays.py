"""A proxy between two ends of TCP connections that lets everything through, later.

    with DelayingProxy("10.0.0.254", ("10.0.0.1", 7052), delay_s=0.2) as proxy:
        connect to ("10.0.0.254", proxy.port)

Each direction is delayed by half of *delay_s*, so that an answer comes that much later. It runs on
a thread and a loop of its own, whatever the test does.
"""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType

CHUNK_BYTES = 64 * 1024
IN_FLIGHT = 256
"""Chunks of one direction of a connection that may be on their way."""


class DelayingProxy:
    """See the module's docstring."""

    def __init__(self, host: str, target: tuple[str, int], delay_s: float) -> None:
        self.port = 0
        self._host = host
        self._target = target
        self._one_way_s = delay_s / 2
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="delaying proxy")
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> DelayingProxy:
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._accept, self._host, 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(near, to_near))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        try:
            far, to_far = await asyncio.open_connection(*self._target)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._carry(near, to_far))
                    both.create_task(self._carry(far, to_near))
            finally:
                to_far.close()
        except* OSError:
            pass  # One end has gone; the other is told by the end of its connection.
        finally:
            to_near.close()

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Carry one direction, each chunk at its time, until its end."""
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(IN_FLIGHT)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._take(source, on_the_way))
            both.create_task(self._give(on_the_way, sink))

    async def _take(
        self, source: asyncio.StreamReader, queue: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        while chunk := await source.read(CHUNK_BYTES):
            await queue.put((self._loop.time() + self._one_way_s, chunk))
        await queue.put((self._loop.time() + self._one_way_s, b""))

    async def _give(
        self, queue: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter
    ) -> None:
        while True:
            due, chunk = await queue.get()
            await asyncio.sleep(due - self._loop.time())
            if not chunk:
                # The other end learns of the end of this direction, and the connection goes.
                raise ConnectionResetError
            sink.write(chunk)
            await sink.drain()
