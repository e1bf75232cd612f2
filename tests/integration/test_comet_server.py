"""The ABCI server over its real socket: order, flushes, locks, failures, and what stays behind."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from network.ordering.cometbft.abci.framing import MAX_FRAME_BYTES, FrameReader, encode_frame
from network.ordering.cometbft.abci.server import (
    _READ_BYTES,
    _WAITING_MESSAGES,
    AbciServer,
    _Connection,
)
from network.ordering.cometbft.errors import AbciError, HomeError
from network.ordering.cometbft.messages import abci_pb2
from network.ordering.cometbft.sockets import connect
from tests.support.comet import Listing, until

FLUSH = abci_pb2.Request(flush=abci_pb2.RequestFlush())
COMMIT = abci_pb2.Request(commit=abci_pb2.RequestCommit())
QUERY = abci_pb2.Request(query=abci_pb2.RequestQuery(data=b"height"))
DEADLINE_S = 30.0


def echo(text: str) -> abci_pb2.Request:
    return abci_pb2.Request(echo=abci_pb2.RequestEcho(message=text))


def check_tx(raw: bytes) -> abci_pb2.Request:
    return abci_pb2.Request(check_tx=abci_pb2.RequestCheckTx(tx=raw))


def finalize(height: int, *txs: bytes) -> abci_pb2.Request:
    return abci_pb2.Request(
        finalize_block=abci_pb2.RequestFinalizeBlock(height=height, txs=list(txs))
    )


def frames(*requests: abci_pb2.Request) -> bytes:
    return b"".join(encode_frame(each.SerializeToString()) for each in requests)


class Caller:
    """One connection of a pretended CometBFT."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer
        self._frames = FrameReader()
        self._answers: list[abci_pb2.Response] = []

    async def answers(self, count: int) -> list[abci_pb2.Response]:
        """The next *count* answers; fewer if the connection ends before."""
        async with asyncio.timeout(DEADLINE_S):
            while len(self._answers) < count:
                try:
                    data = await self._reader.read(65_536)
                except ConnectionResetError:
                    data = b""
                if not data:
                    break
                self._answers += map(abci_pb2.Response.FromString, self._frames.feed(data))
        found, self._answers = self._answers[:count], self._answers[count:]
        return found

    async def ask(self, *requests: abci_pb2.Request) -> list[abci_pb2.Response]:
        self.writer.write(frames(*requests))
        return await self.answers(len(requests))

    async def ends(self) -> bool:
        async with asyncio.timeout(DEADLINE_S):
            return await self._reader.read(1) == b""


class Serving:
    """A server with its application, and what it told of a failure."""

    def __init__(self, path: Path, application: Any, **settings: Any) -> None:
        self.path, self.application = path, application
        self.failures: list[Exception] = []
        self.failed = asyncio.Event()
        self.server = AbciServer(path, application, self._hear, **settings)
        self._callers: list[Caller] = []

    def _hear(self, error: Exception) -> None:
        self.failures.append(error)
        self.failed.set()

    async def caller(self) -> Caller:
        caller = Caller(*await connect(self.path))
        self._callers.append(caller)
        return caller

    async def is_left(self) -> None:
        """Wait until no connection is open."""

        async def nobody() -> bool:
            return self.server.connections == 0

        await until(nobody, "the end of every connection", deadline_s=DEADLINE_S)

    def hang_up(self) -> None:
        for each in self._callers:
            each.writer.close()


@asynccontextmanager
async def serving(folder: Path, application: Any = None, **settings: Any) -> AsyncIterator[Serving]:
    made = Serving(
        folder / "comet" / "abci.sock",
        application or Listing(folder / "listing.json"),
        **settings,
    )
    await made.server.start()
    try:
        yield made
    finally:
        await made.server.stop(grace_s=1)
        made.hang_up()


class Gated(Listing):
    """A listing whose queries and commits wait until the test lets them go on."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.queried, self.may_query = asyncio.Event(), asyncio.Event()
        self.committing, self.may_commit = asyncio.Event(), asyncio.Event()

    async def query(self, request: abci_pb2.RequestQuery) -> abci_pb2.ResponseQuery:
        self.queried.set()
        await self.may_query.wait()
        return await super().query(request)

    async def commit(self, request: abci_pb2.RequestCommit) -> abci_pb2.ResponseCommit:
        self.committing.set()
        await self.may_commit.wait()
        return await super().commit(request)


class Failing(Listing):
    """A listing that cannot commit."""

    async def commit(self, request: abci_pb2.RequestCommit) -> abci_pb2.ResponseCommit:
        raise OSError("no space left on device")


async def test_abci_server_answers_in_the_order_of_requests(tmp_path: Path) -> None:
    """Several frames in one read are each answered, a Flush after those before it."""
    async with serving(tmp_path) as made:
        caller = await made.caller()
        answers = await caller.ask(echo("a"), check_tx(b"yes"), check_tx(b"no"), FLUSH, echo("b"))
        kinds = [each.WhichOneof("value") for each in answers]
        assert kinds == ["echo", "check_tx", "check_tx", "flush", "echo"]
        assert [answers[1].check_tx.code, answers[2].check_tx.code] == [0, 7]
        assert [answers[0].echo.message, answers[4].echo.message] == ["a", "b"]


async def test_abci_server_takes_a_request_byte_by_byte(tmp_path: Path) -> None:
    """The varint of a frame may come in two reads."""
    async with serving(tmp_path) as made:
        caller = await made.caller()
        for byte in frames(check_tx(b"x" * 200), FLUSH):
            caller.writer.write(bytes([byte]))
            await caller.writer.drain()
            await asyncio.sleep(0)
        first, second = await caller.answers(2)
        assert first.HasField("check_tx")
        assert second.HasField("flush")


async def test_abci_server_with_a_slow_query_commits(tmp_path: Path) -> None:
    """Writes never wait for reads."""
    application = Gated(tmp_path / "listing.json")
    application.may_commit.set()
    async with serving(tmp_path, application) as made:
        asking, consensus = await made.caller(), await made.caller()
        asking.writer.write(frames(QUERY, FLUSH))
        await asyncio.wait_for(application.queried.wait(), DEADLINE_S)
        await consensus.ask(finalize(1, b"one"), COMMIT)
        assert application.height == 1
        application.may_query.set()
        answered, _ = await asking.answers(2)
        assert answered.query.value == b"1"


async def test_abci_server_with_a_commit_under_way_reads_but_does_not_write(
    tmp_path: Path,
) -> None:
    """Over all connections one write is under way; reads go on."""
    application = Gated(tmp_path / "listing.json")
    application.may_query.set()
    async with serving(tmp_path, application) as made:
        asking, mempool, consensus = [await made.caller() for _ in range(3)]
        consensus.writer.write(frames(finalize(1), COMMIT, FLUSH))
        await asyncio.wait_for(application.committing.wait(), DEADLINE_S)
        mempool.writer.write(frames(check_tx(b"yes"), FLUSH))
        [answer] = await asking.ask(QUERY)
        assert answer.query.value == b"0"
        assert "check_tx" not in application.calls
        application.may_commit.set()
        assert len(await mempool.answers(2)) == 2
        assert application.calls.index("commit") < application.calls.index("check_tx")


class Patient(Listing):
    """A proposal waits until a transaction has come."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.came = asyncio.Event()

    async def check_tx(self, request: abci_pb2.RequestCheckTx) -> abci_pb2.ResponseCheckTx:
        self.came.set()
        return await super().check_tx(request)

    async def before_proposal(self, request: abci_pb2.RequestPrepareProposal) -> None:
        await self.came.wait()


async def test_abci_server_whose_proposal_waits_takes_transactions(tmp_path: Path) -> None:
    """What it waits for comes on another connection; then it is a write like any other."""
    async with serving(tmp_path, Patient(tmp_path / "state")) as served:
        consensus, mempool = await served.caller(), await served.caller()
        propose = abci_pb2.Request(prepare_proposal=abci_pb2.RequestPrepareProposal())
        proposed = asyncio.create_task(consensus.ask(propose))
        await asyncio.sleep(0)
        (checked,) = await mempool.ask(check_tx(b"a"))
        assert checked.check_tx.code == 0
        (answer,) = await proposed
        assert answer.WhichOneof("value") == "prepare_proposal"
        assert served.application.calls == ["check_tx", "prepare_proposal"]


async def test_abci_server_whose_proposal_waits_takes_what_came_another_way(
    tmp_path: Path,
) -> None:
    """As CometBFT's own question, one write after the other."""
    async with serving(tmp_path, Patient(tmp_path / "state")) as served:
        consensus = await served.caller()
        propose = abci_pb2.Request(prepare_proposal=abci_pb2.RequestPrepareProposal())
        proposed = asyncio.create_task(consensus.ask(propose))
        await asyncio.sleep(0)
        checked = await served.server.check(b"a")
        assert checked.code == 0
        await proposed
        assert served.application.calls == ["check_tx", "prepare_proposal"]


async def test_abci_server_that_has_failed_checks_nothing_more(tmp_path: Path) -> None:
    """Whatever way it comes."""
    async with serving(tmp_path) as served:
        caller = await served.caller()
        caller.writer.write(encode_frame(b"\xff\xff"))
        await served.failed.wait()
        with pytest.raises(AbciError, match="had failed"):
            await served.server.check(b"a")


async def test_abci_server_reads_while_its_answers_are_not_read(tmp_path: Path) -> None:
    """Who writes much before it reads at all is not waited for, so both go on."""
    count, size = 400, 20_000
    async with serving(tmp_path) as made:
        caller = await made.caller()
        async with asyncio.timeout(DEADLINE_S):
            for _ in range(count):
                caller.writer.write(frames(echo("x" * size)))
                await caller.writer.drain()
        answers = await caller.answers(count)
        assert {len(each.echo.message) for each in answers} == {size}


async def test_abci_connection_is_read_few_small_requests_ahead() -> None:
    """CometBFT commits when all that it asked before is answered: a flood must not put it off."""
    count, frame = 50_000, frames(check_tx(b"00000"))
    reader = asyncio.StreamReader()
    reader.feed_data(frame * count)
    writer: Any = None  # nothing is answered here
    connection = _Connection(reader, writer, MAX_FRAME_BYTES)
    reading = asyncio.create_task(connection.read())
    for _ in range(1000):
        await asyncio.sleep(0)
    ahead = len(connection._waiting)
    assert 0 < ahead <= _WAITING_MESSAGES + _READ_BYTES // len(frame) + 1
    for _ in range(count):
        assert await connection.next() is not None
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


async def test_abci_server_whose_application_fails_says_so_to_both_sides(tmp_path: Path) -> None:
    """CometBFT gets an Exception, every connection ends, none is taken, the node hears once."""
    application = Failing(tmp_path / "listing.json")
    async with serving(tmp_path, application) as made:
        query, consensus = await made.caller(), await made.caller()
        await query.ask(echo("here"))
        answers = await consensus.ask(finalize(1), COMMIT, FLUSH)
        kinds = [each.WhichOneof("value") for each in answers]
        assert kinds == ["finalize_block", "exception"]
        assert "no space left" in answers[1].exception.error
        assert await query.ends()
        await asyncio.wait_for(made.failed.wait(), DEADLINE_S)
        assert [type(each) for each in made.failures] == [OSError]
        with pytest.raises(OSError, match="refused"):
            await connect(made.path)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (encode_frame(b"\xff\xff\xff"), "no request of ABCI"),
        (b"\x80" * 10, "does not end"),
        (b"\xff\xff\xff\xff\x7f", "above the bound"),
        (encode_frame(b""), "nothing that is known"),
        (frames(abci_pb2.Request(extend_vote=abci_pb2.RequestExtendVote())), "extend_vote"),
    ],
    ids=["no message", "endless length", "too long", "empty request", "vote extension"],
)
async def test_abci_server_given_what_is_no_request_stops_with_a_reason(
    tmp_path: Path, sent: bytes, words: str
) -> None:
    """Foreign bytes are never passed over: what came before them is answered, then all ends."""
    async with serving(tmp_path) as made:
        caller = await made.caller()
        caller.writer.write(frames(echo("before")))
        await caller.answers(1)
        caller.writer.write(sent)
        [answer] = await caller.answers(1)
        assert words in answer.exception.error
        assert await caller.ends()
        await asyncio.wait_for(made.failed.wait(), DEADLINE_S)
        assert [type(each) for each in made.failures] == [AbciError]


async def test_abci_server_whose_connection_breaks_within_a_frame_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A killed CometBFT is no failure of the application; that it broke off is in the log."""
    caplog.set_level(logging.WARNING)
    async with serving(tmp_path) as made:
        broken = await made.caller()
        broken.writer.write(frames(echo("whole")) + frames(echo("cut"))[:-1])
        await broken.answers(1)
        broken.writer.close()
        await made.is_left()
        assert "within a frame" in caplog.text
        [answer] = await (await made.caller()).ask(echo("again"))
        assert answer.echo.message == "again"
        assert made.failures == []


async def test_abci_server_whose_connection_ends_finishes_the_commit(tmp_path: Path) -> None:
    """A request under way is not given up because nobody waits for its answer."""
    application = Gated(tmp_path / "listing.json")
    async with serving(tmp_path, application) as made:
        consensus = await made.caller()
        consensus.writer.write(frames(finalize(1, b"one"), COMMIT, FLUSH))
        await asyncio.wait_for(application.committing.wait(), DEADLINE_S)
        consensus.writer.close()
        await consensus.writer.wait_closed()
        application.may_commit.set()
        await made.is_left()
        assert application.transactions == [b"one"]
        assert made.failures == []


async def test_abci_server_stopped_lets_the_commit_end_and_removes_its_socket(
    tmp_path: Path,
) -> None:
    """Stopping waits for the request under way; afterwards nothing of the server is left."""
    application = Gated(tmp_path / "listing.json")
    async with serving(tmp_path, application) as made:
        consensus = await made.caller()
        consensus.writer.write(frames(finalize(1, b"one"), COMMIT))
        await asyncio.wait_for(application.committing.wait(), DEADLINE_S)
        stopping = asyncio.create_task(made.server.stop())
        await asyncio.sleep(0)
        assert not stopping.done()
        application.may_commit.set()
        await asyncio.wait_for(stopping, DEADLINE_S)
        assert application.height == 1
        assert not made.path.exists()
        assert made.failures == []


async def test_abci_server_stopped_gives_up_what_does_not_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that hangs holds a stopping node up for a while, not for ever."""
    application = Gated(tmp_path / "listing.json")
    async with serving(tmp_path, application) as made:
        asking = await made.caller()
        asking.writer.write(frames(QUERY))
        await asyncio.wait_for(application.queried.wait(), DEADLINE_S)
        await asyncio.wait_for(made.server.stop(grace_s=0.05), DEADLINE_S)
        assert made.server.connections == 0
        assert await asking.answers(1) == []
        assert made.failures == []
    assert caplog.text == ""


async def test_abci_server_lets_nobody_else_connect(tmp_path: Path) -> None:
    """The socket is this user's alone, and so is its folder, even one that was open before."""
    (tmp_path / "comet").mkdir(mode=0o755)
    async with serving(tmp_path) as made:
        assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(made.path.parent.stat().st_mode) == 0o700


async def test_abci_server_started_after_a_kill_replaces_the_socket(tmp_path: Path) -> None:
    """A socket file that nobody listens on is removed; one that somebody does is respected."""
    path = tmp_path / "comet" / "abci.sock"
    path.parent.mkdir(mode=0o700)
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    async with serving(tmp_path) as made:
        assert len(await (await made.caller()).ask(echo("served"))) == 1
        with pytest.raises(HomeError, match="running already"):
            await Serving(path, made.application).server.start()


async def test_abci_server_leaves_a_file_that_is_no_socket(tmp_path: Path) -> None:
    """What somebody put in the socket's place is not deleted."""
    path = tmp_path / "comet" / "abci.sock"
    path.parent.mkdir(mode=0o700)
    path.write_text("mine")
    with pytest.raises(HomeError, match="no socket"):
        await Serving(path, Listing(tmp_path / "listing.json")).server.start()
    assert path.read_text() == "mine"


async def test_abci_server_in_a_deep_folder_is_reached(tmp_path: Path) -> None:
    """The system's bound on the path of a socket does not bound where a node may lie."""
    deep = tmp_path.joinpath(*["a-folder-with-a-long-name"] * 6)
    deep.mkdir(parents=True)
    assert len(os.fsencode(deep)) > 107
    async with serving(deep) as made:
        [answer] = await (await made.caller()).ask(echo("down here"))
        assert answer.echo.message == "down here"
    assert not made.path.exists()
