"""CometBFT's RPC when the other side is slow, gone, full or no CometBFT; and what is kept open."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ledger.errors import DecodeError
from network.ordering.cometbft.errors import CometRefusal, CometUnavailable
from network.ordering.cometbft.process.rpc import CometRpc
from network.ordering.cometbft.sockets import bind_private

DEADLINE_S = 30.0
Answering = Callable[[dict[str, Any]], Awaitable[bytes]]


def http(body: bytes, status: str = "200 OK", extra: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{extra}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def result(value: Any) -> bytes:
    return http(json.dumps({"jsonrpc": "2.0", "id": 1, "result": value}).encode())


def error(data: str, message: str = "Internal error") -> bytes:
    told = {"code": -32603, "message": message, "data": data}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "error": told}).encode()
    return http(body, "500 Internal Server Error")


class Pretended:
    """Answers requests over HTTP as a test says, and counts connections and requests."""

    def __init__(self, path: Path, answering: Answering) -> None:
        self.path, self._answering = path, answering
        self.connections = self.under_way = self.most_under_way = 0
        self.asked: list[dict[str, Any]] = []
        self.closes = False
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, sock=bind_private(self.path))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self._writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                [length] = [
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                ]
                asked = json.loads(await reader.readexactly(length))
                self.asked.append(asked)
                self._asked.set()
                self.under_way += 1
                self.most_under_way = max(self.most_under_way, self.under_way)
                answer = await self._answering(asked)
                self.under_way -= 1
                if not answer:
                    break  # without a word
                writer.write(answer)
                await writer.drain()
                if self.closes:
                    break
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    def drop_all(self) -> None:
        """Close every connection, as CometBFT does with those that were idle for long."""
        for writer in self._writers:
            writer.close()

    async def is_asked(self) -> None:
        """Wait for the first request."""
        await asyncio.wait_for(self._asked.wait(), DEADLINE_S)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def pretended(
    folder: Path, answering: Answering, **settings: Any
) -> AsyncIterator[tuple[Pretended, CometRpc]]:
    """A pretended CometBFT, and the RPC that calls it."""
    made = Pretended(folder / "comet" / "rpc.sock", answering)
    await made.start()
    rpc = CometRpc(made.path, **settings)
    try:
        yield made, rpc
    finally:
        await rpc.close()
        await made.stop()


async def always(answer: bytes) -> bytes:
    return answer


async def test_comet_rpc_where_nothing_listens_says_that_nothing_was_sent(tmp_path: Path) -> None:
    """CometBFT may not have started yet; the outcome is definite."""
    rpc = CometRpc(tmp_path / "rpc.sock")
    with pytest.raises(CometUnavailable, match="is it running") as raised:
        await rpc.broadcast_tx(b"one")
    assert raised.value.outcome_definite


async def test_comet_rpc_that_gets_no_answer_in_time_says_that_nothing_is_known(
    tmp_path: Path,
) -> None:
    """What was sent may have been taken."""

    async def never(_: dict[str, Any]) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with pretended(tmp_path, never, timeout_s=0.1) as (_, rpc):
        with pytest.raises(CometUnavailable, match=r"within 0\.1 s") as raised:
            await rpc.broadcast_tx(b"one")
        assert not raised.value.outcome_definite


async def test_comet_rpc_whose_connection_breaks_says_that_nothing_is_known(
    tmp_path: Path,
) -> None:
    """CometBFT may have ended after it took the transaction."""
    async with pretended(tmp_path, lambda _: always(b"")) as (made, rpc):
        with pytest.raises(CometUnavailable) as raised:
            await rpc.broadcast_tx(b"one")
        assert not raised.value.outcome_definite
        assert len(made.asked) == 1


async def test_comet_rpc_keeps_its_connection(tmp_path: Path) -> None:
    """One after the other, calls share one connection; none is opened for each."""
    async with pretended(tmp_path, lambda _: always(result({}))) as (made, rpc):
        for _ in range(5):
            assert await rpc.call("health") == {}
        assert made.connections == 1
        assert [each["method"] for each in made.asked] == ["health"] * 5
        assert len({each["id"] for each in made.asked}) == 5


async def test_comet_rpc_whose_kept_connection_was_closed_opens_another(tmp_path: Path) -> None:
    """CometBFT closes what is idle; the next call does not fail over it."""
    async with pretended(tmp_path, lambda _: always(result({}))) as (made, rpc):
        await rpc.call("health")
        made.drop_all()
        assert await rpc.call("health") == {}
        assert made.connections == 2


async def test_comet_rpc_gone_after_a_kept_connection_broke_is_not_definite(
    tmp_path: Path,
) -> None:
    """The request may have gone over the connection that broke, before nothing listened."""
    served = 0

    async def once(_: dict[str, Any]) -> bytes:
        nonlocal served
        served += 1
        if served == 1:
            return result({})
        made.path.unlink()
        return b""

    async with pretended(tmp_path, once) as (made, rpc):
        await rpc.call("health")
        with pytest.raises(CometUnavailable) as raised:
            await rpc.broadcast_tx(b"one")
        assert not raised.value.outcome_definite
        assert served == 2


async def test_comet_rpc_serves_many_callers_over_a_bounded_number_of_connections(
    tmp_path: Path,
) -> None:
    """Each gets the answer to what it asked."""

    async def mirror(asked: dict[str, Any]) -> bytes:
        await asyncio.sleep(0.001 * (7 - asked["params"]["n"] % 7))
        return result(asked["params"]["n"])

    async with pretended(tmp_path, mirror, connections=3) as (made, rpc):
        answers = await asyncio.gather(*(rpc.call("mirror", {"n": n}) for n in range(40)))
        assert answers == list(range(40))
        assert made.connections <= 3
        assert made.most_under_way == 3


async def test_comet_rpc_whose_caller_gives_up_mixes_no_answers(tmp_path: Path) -> None:
    """A connection on which an answer is still to come is not used again."""
    gate = asyncio.Event()

    async def slow(asked: dict[str, Any]) -> bytes:
        if asked["method"] == "slow":
            await gate.wait()
        return result(asked["method"])

    async with pretended(tmp_path, slow, connections=1) as (made, rpc):
        calling = asyncio.create_task(rpc.call("slow"))
        await made.is_asked()
        calling.cancel()
        gate.set()
        assert await rpc.call("quick") == "quick"
        assert calling.cancelled()


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
async def test_comet_rpc_given_an_answer_that_ends_with_its_connection_reads_it(
    tmp_path: Path, version: str
) -> None:
    """An answer without a length is read to its end, and its connection not used again."""
    answer = f'{version} 200 OK\r\n\r\n{{"result": 5}}'.encode()
    async with pretended(tmp_path, lambda _: always(answer)) as (made, rpc):
        made.closes = True
        assert await rpc.call("anything") == 5
        assert await rpc.call("anything") == 5
        assert made.connections == 2


async def test_comet_rpc_tells_errors_in_comets_words(tmp_path: Path) -> None:
    """An error is an answer: definite, with what CometBFT says."""
    async with pretended(tmp_path, lambda _: always(error("unknown hash"))) as (_, rpc):
        with pytest.raises(CometRefusal, match="refuses tx: Internal error: unknown hash") as told:
            await rpc.call("tx", {"hash": ""})
        assert (told.value.code, told.value.data) == (-32603, "Internal error: unknown hash")


async def test_comet_rpc_tells_a_full_pool_from_a_known_transaction(tmp_path: Path) -> None:
    """A full pool may have room later; a known transaction need not be handed over again."""
    async with pretended(tmp_path, lambda _: always(error("mempool is full: 5000"))) as (_, rpc):
        with pytest.raises(CometUnavailable, match="try again when blocks") as raised:
            await rpc.broadcast_tx(b"one")
        assert raised.value.outcome_definite
    answer = error("tx already exists in cache")
    async with pretended(tmp_path, lambda _: always(answer)) as (_, rpc):
        assert (await rpc.broadcast_tx(b"one")).known


@pytest.mark.parametrize(
    "answer",
    [
        http(b"404 page not found", "404 Not Found"),
        http(b"[]"),
        http(b'{"id": 1}'),
        b"SSH-2.0\r\n\r\n",
    ],
    ids=["page", "list", "no result", "no http"],
)
async def test_comet_rpc_of_somebody_else_is_said_to_be_unavailable(
    tmp_path: Path, answer: bytes
) -> None:
    """Whatever answers, a caller sees one kind of error."""
    async with pretended(tmp_path, lambda _: always(answer)) as (_, rpc):
        with pytest.raises(CometUnavailable):
            await rpc.call("status")


@pytest.mark.parametrize(
    "method", ["status", "peers", "progress", "signed_header", "validators", "broadcast_tx"]
)
@pytest.mark.parametrize("found", [{}, [], None, "text", {"sync_info": {}, "peers": [{}]}])
async def test_comet_rpc_given_another_form_of_answer_refuses_to_guess(
    tmp_path: Path, method: str, found: Any
) -> None:
    """A field that is missing is named, never taken for empty."""
    arguments: dict[str, list[Any]] = {
        "signed_header": [3],
        "validators": [3],
        "broadcast_tx": [b"one"],
    }
    async with pretended(tmp_path, lambda _: always(result(found))) as (_, rpc):
        with pytest.raises((DecodeError, CometUnavailable)):
            await getattr(rpc, method)(*arguments.get(method, []))


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ([], CometUnavailable),
        ([{"id": 1, "result": {}}], CometUnavailable),
        ([{"id": 1, "result": {}}, {"result": {}}], CometUnavailable),
        ([{"id": 1, "result": {}}, "text"], CometUnavailable),
        ([{"id": 1, "result": {}}, {"id": 2, "result": {}}], DecodeError),
        ([{"id": 1, "error": {"code": 1, "message": "a"}}, {"id": 2, "result": 1}], CometRefusal),
    ],
)
async def test_comet_rpc_asked_for_several_takes_no_other_number_of_answers(
    tmp_path: Path, answers: list[Any], problem: type[Exception]
) -> None:
    """Each answer is of its call, or none is believed."""
    answer = http(json.dumps(answers).encode())
    async with pretended(tmp_path, lambda _: always(answer)) as (_, rpc):
        with pytest.raises(problem):
            await rpc.signed_headers([3, 4])


async def test_comet_rpc_gathers_validators_page_by_page(tmp_path: Path) -> None:
    """CometBFT gives a hundred at a time, in its order; a page that is empty is no end."""
    key = base64.b64encode(bytes(32)).decode()

    async def page(asked: dict[str, Any]) -> bytes:
        first = (int(asked["params"]["page"]) - 1) * int(asked["params"]["per_page"])
        validators = [
            {
                "address": f"{number:040X}",
                "pub_key": {"type": "tendermint/PubKeyEd25519", "value": key},
                "voting_power": "1",
                "proposer_priority": "0",
            }
            for number in range(first, min(first + 100, there))
        ]
        return result({"total": "230", "validators": validators})

    there = 230
    async with pretended(tmp_path, page) as (made, rpc):
        found = await rpc.validators(5)
        assert found is not None
        addresses = [int.from_bytes(each.address, "big") for each in found.validators]
        assert addresses == list(range(230))
        assert found.total_voting_power == 230
        assert len(made.asked) == 3
        there = 200
        with pytest.raises(DecodeError, match="an empty page"):
            await rpc.validators(5)


async def test_comet_rpc_closed_asks_no_more(tmp_path: Path) -> None:
    """A stopping node opens no connection."""
    async with pretended(tmp_path, lambda _: always(result({}))) as (made, rpc):
        await rpc.close()
        with pytest.raises(CometUnavailable, match="stopping"):
            await rpc.call("health")
        assert made.connections == 0
