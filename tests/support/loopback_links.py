"""Members that share this machine's loopback, with proxies between them that cut and delay.

    with LoopbackLinks.between(MEMBERS) as links:
        subprocess.Popen([*links.inside("PtaMSP"), "qist", "node", "start", ...])
        links.partition(("BankMSP", "PtaMSP"), ("OperatorMSP", "MakerMSP"))
        links.heal()

For machines that let nobody make network namespaces. Each member has two addresses of 127.0.0.0/8:
one that the others know, where proxies of this process listen, and one behind it, where its node
listens for nodes and its CometBFT for others. A proxy asks the system which process has opened a
connection, and what place that was started in: a variable that `inside` gives it, and that it hands
on to its children. So gRPC calls between nodes are told apart by their source as well as CometBFT's
links, and every ordered pair of members can be cut by itself. The target sees the address of the
source.

What is less true than with namespaces:

- a cut holds back what was sent and lets it through when it is healed; nothing is lost, and no
  packet sent again. A member that is cut off may still connect, and then hears nothing;
- packets cannot be lost by chance: `slow` says so;
- there is no firewall, and each member's port for clients, which nobody but the test uses, is open
  to all;
- the proxies take processor time from the test's process. Linux alone.
"""

from __future__ import annotations

import asyncio
import os
import threading
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.links import Links

MARK = "QIST_TEST_PLACE"
CHUNK_BYTES = 64 * 1024
IN_FLIGHT = 64
"""Chunks of one direction of a connection that may be on their way, or held back by a cut."""
NO_LOSS = "no packet was lost: on loopback none can be"
OWN = ""
"""The place of the test, whose connections nothing stops."""


@dataclass(frozen=True)
class Direction:
    """Where bytes of a connection go.

    Attributes:
        source, target: members.
        door: the member and its port at which the connection was opened.
    """

    source: str
    target: str
    door: tuple[str, int]


class LoopbackLinks(Links):
    """See the module's docstring.

    Attributes:
        behind: where each member's node and CometBFT listen.
    """

    def __init__(self, members: Sequence[str]) -> None:
        # One network for each process of a test run: its number tells them apart.
        pid = os.getpid()
        subnet = f"127.{128 + pid % 64}.{pid // 64 % 256}"
        self.addresses = {each: f"{subnet}.{place}" for place, each in enumerate(members, 1)}
        self.behind = {each: f"{subnet}.{place}" for place, each in enumerate(members, 101)}
        self._tag = f"{pid:x}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="links on loopback")
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._cuts: frozenset[tuple[str, str]] = frozenset()
        self._changed = asyncio.Event()
        self._one_way_s: dict[tuple[str, int], float] = {}

    @classmethod
    @contextmanager
    def between(cls, members: Sequence[str]) -> Iterator[LoopbackLinks]:
        """Give each member its addresses; end all proxies at the end."""
        links = cls(members)
        links._thread.start()
        try:
            yield links
        finally:
            asyncio.run_coroutine_threadsafe(links._end(), links._loop).result(10)
            links._loop.call_soon_threadsafe(links._loop.stop)
            links._thread.join()
            links._loop.close()

    def inside(self, member: str) -> list[str]:
        """Return the words that mark a process as a member's."""
        return ["env", f"{MARK}={self._tag}/{member}"]

    def settle(self, node: Path, member: str) -> None:
        """Have a node and its CometBFT listen behind the proxies of its member."""
        settings = node / "node.toml"
        text = settings.read_text("utf-8")
        for section in ("node", "consensus"):
            known = tomllib.loads(text)[section]["listen"]
            host, _, port = known.rpartition(":")
            assert host == self.addresses[member], known
            line = f'listen = "{known}"\n'
            real = f"{self.behind[member]}:{port}"
            text = text.replace(line, f'listen = "{real}"\naddress = "{known}"\n')
            self.lead(member, int(port))
        settings.write_text(text, "utf-8")

    def lead(self, member: str, port: int) -> None:
        """Have a proxy lead from where a member is known to where it listens."""
        asyncio.run_coroutine_threadsafe(self._listen(member, port), self._loop).result(10)

    def moved(self, text: str, member: str, other: str) -> str:
        """Put another's addresses in the place of a member's."""
        for places in (self.behind, self.addresses):
            text = text.replace(f'"{places[member]}:', f'"{places[other]}:')
        return text

    def cut(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Let nothing through from the first of each pair to the second."""
        self._let(self._cuts | frozenset(pairs))

    def heal(self) -> None:
        """Let everything through again, what was held back as well."""
        self._let(frozenset())

    def _let(self, cuts: frozenset[tuple[str, str]]) -> None:
        async def change() -> None:
            self._cuts = cuts
            self._changed.set()
            self._changed = asyncio.Event()

        asyncio.run_coroutine_threadsafe(change(), self._loop).result(10)

    @contextmanager
    def slow(self, ports: Mapping[str, int], delay_s: float, lost_percent: int) -> Iterator[str]:
        """Delay what goes over these ports by half of *delay_s* each way."""
        self._one_way_s = dict.fromkeys(ports.items(), delay_s / 2)
        try:
            yield NO_LOSS if lost_percent else ""
        finally:
            self._one_way_s = {}

    # ---- on the thread of the proxies
    async def _listen(self, member: str, port: int) -> None:
        def accept(near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._serve(member, port, near, to_near))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        server = await asyncio.start_server(accept, self.addresses[member], port)
        self._servers.append(server)

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(
        self, target: str, port: int, near: asyncio.StreamReader, to_near: asyncio.StreamWriter
    ) -> None:
        """Carry one connection to a member."""
        try:
            source = await asyncio.to_thread(
                self._place_of, to_near.get_extra_info("peername"), self._tag
            )
            if source is None:
                return
            door = (target, port)
            away, back = Direction(source, target, door), Direction(target, source, door)
            await self._passable(away)
            await self._passable(back)
            own = (self.addresses[source], 0) if source else None
            far, to_far = await asyncio.open_connection(self.behind[target], port, local_addr=own)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._carry(near, to_far, away))
                    both.create_task(self._carry(far, to_near, back))
            finally:
                to_far.close()
        except* OSError:
            pass  # One end has gone; the other is told by the end of its connection.
        finally:
            to_near.close()

    @staticmethod
    def _place_of(opened: tuple[str, int], tag: str) -> str | None:
        """Tell who has opened a connection from an address; None if it has gone meanwhile."""
        host, port = opened
        # A socket of IPv6 that speaks IPv4, as gRPC makes them, has such an address.
        names = (host, f"::ffff:{host}")
        for each in psutil.net_connections("tcp"):
            if each.laddr and each.laddr.port == port and each.laddr.ip in names and each.pid:
                try:
                    mark = psutil.Process(each.pid).environ().get(MARK, "")
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    return None
                own, _, member = mark.partition("/")
                return member if own == tag else OWN
        return None

    async def _passable(self, way: Direction) -> None:
        """Return when nothing cuts a direction."""
        while (way.source, way.target) in self._cuts:
            await self._changed.wait()

    async def _carry(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, way: Direction
    ) -> None:
        """Carry one direction, each chunk at its time, until its end."""
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(IN_FLIGHT)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._take(source, on_the_way, way))
            both.create_task(self._give(on_the_way, sink, way))

    async def _take(
        self,
        source: asyncio.StreamReader,
        queue: asyncio.Queue[tuple[float, bytes]],
        way: Direction,
    ) -> None:
        chunk = b"begin"
        while chunk:
            try:
                chunk = await source.read(CHUNK_BYTES)
            except OSError:
                chunk = b""  # A broken end is an end: the other hears of it when it may.
            await queue.put((self._loop.time() + self._one_way_s.get(way.door, 0.0), chunk))

    async def _give(
        self,
        queue: asyncio.Queue[tuple[float, bytes]],
        sink: asyncio.StreamWriter,
        way: Direction,
    ) -> None:
        while True:
            due, chunk = await queue.get()
            await asyncio.sleep(due - self._loop.time())
            await self._passable(way)
            if not chunk:
                # The other end learns of the end of this direction, and the connection goes.
                raise ConnectionResetError
            sink.write(chunk)
            await sink.drain()
