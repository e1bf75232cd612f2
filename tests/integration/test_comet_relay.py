"""The relay by which a joining node's light client asks other members, and what it lets through."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from ledger.errors import Unavailable
from network.ordering.cometbft.errors import CometRefusal
from network.ordering.cometbft.joining.light_rpc import (
    ALLOWED,
    QuestionRefusal,
    decode_question,
    encode_question,
)
from network.ordering.cometbft.joining.relay import LightRelay


class Others:
    """Two members' nodes; what they were asked is noted."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.answer: Any = {"height": "5"}

    def msp_ids(self) -> Sequence[str]:
        return ("BankMSP", "PtaMSP")

    async def ask(self, msp_id: str, method: str, params: Mapping[str, Any]) -> Any:
        self.asked.append((msp_id, method, dict(params)))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def prove(self, msp_id: str) -> bytes:
        raise AssertionError("a light client asks for no proof")


@pytest.fixture
async def others() -> Others:
    return Others()


@pytest.fixture
async def relay(others: Others) -> AsyncIterator[LightRelay]:
    made = LightRelay(others)
    await made.start()
    yield made
    await made.stop()


async def post(
    url: str, body: bytes, *, method: str = "POST", connection: Any = None
) -> tuple[int, Any]:
    """Send one request over a new connection, or the one given; return status and content."""
    _, _, rest = url.partition("//")
    place, _, path = rest.partition("/")
    host, _, port = place.partition(":")
    reader, writer = connection or await asyncio.open_connection(host, int(port))
    head = f"{method} /{path} HTTP/1.1\r\nHost: {place}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    status = int((await reader.readuntil(b"\r\n")).split()[1])
    fields = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(fields.split("content-length: ")[1].split("\r\n")[0])
    content = await reader.readexactly(length)
    if connection is None:
        writer.close()
    return status, json.loads(content)


def question(method: str, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).encode()


async def test_question_goes_to_the_member_that_the_address_names(
    relay: LightRelay, others: Others
) -> None:
    """Each member has an address of its own, as a light client needs two."""
    first, second = relay.servers(("BankMSP", "PtaMSP"))
    status, answer = await post(first, question("commit", height="5"))
    assert (status, answer) == (200, {"jsonrpc": "2.0", "id": 7, "result": {"height": "5"}})
    await post(second, question("validators", height=5, page="1", per_page=100))
    assert others.asked == [
        ("BankMSP", "commit", {"height": "5"}),
        ("PtaMSP", "validators", {"height": "5", "page": "1", "per_page": "100"}),
    ]


async def test_comets_own_words_reach_the_light_client(relay: LightRelay, others: Others) -> None:
    """It decides by them whether a height is still to come, or was pruned."""
    words = "height 9 must be less than or equal to the current blockchain height 5"
    others.answer = CometRefusal("refused", code=-32603, data=words)
    (server,) = relay.servers(("BankMSP",))
    _, answer = await post(server, question("commit", height="9"))
    assert answer["error"]["code"] == -32603
    assert answer["error"]["data"] == words
    others.answer = Unavailable("the node is away")
    _, answer = await post(server, question("commit", height="9"))
    assert "the node is away" in answer["error"]["data"]


@pytest.mark.parametrize(
    "body",
    [
        question("broadcast_tx_sync", tx="AAAA"),
        question("broadcast_evidence", evidence="1"),
        question("unsafe_flush_mempool"),
        question("commit", height="1; drop"),
        question("commit", height="9" * 30),
        question("status", height="1"),
        question("block_search", query="tx.height=1"),
    ],
)
async def test_what_no_light_client_needs_is_not_passed_on(
    relay: LightRelay, others: Others, body: bytes
) -> None:
    """Neither another method nor another form of a parameter leaves this machine."""
    (server,) = relay.servers(("BankMSP",))
    _, answer = await post(server, body)
    assert "error" in answer
    assert others.asked == []


async def test_nobody_without_the_token_is_answered(relay: LightRelay, others: Others) -> None:
    """Other users of the machine may reach the port, and do not know the address."""
    (server,) = relay.servers(("BankMSP",))
    place = server.rpartition("/BankMSP")[0].rpartition("/")[0]
    for url in (f"{place}/BankMSP", f"{place}/guess/BankMSP", f"{place}/", f"{server}X"):
        status, _ = await post(url, question("status"))
        assert status == 404, url
    assert others.asked == []
    assert LightRelay(others)._token != LightRelay(others)._token


async def test_what_is_no_question_is_refused_and_too_much_ends_the_connection(
    relay: LightRelay, others: Others
) -> None:
    """The relay goes on for others."""
    (server,) = relay.servers(("BankMSP",))
    for body in (b"", b"[]", b"{}", b"\xff", b'{"id": 1, "method": 7}'):
        status, answer = await post(server, body)
        assert status == 400 or "error" in answer, body
    assert (await post(server, question("status"), method="GET"))[0] == 400
    with pytest.raises(asyncio.IncompleteReadError):
        await post(server, b" " * 5000)
    assert (await post(server, question("status")))[0] == 200
    assert len(others.asked) == 1


async def test_one_connection_carries_many_questions(relay: LightRelay) -> None:
    """As CometBFT's client sends them."""
    (server,) = relay.servers(("BankMSP",))
    port = int(server.split(":")[2].partition("/")[0])
    connection = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(3):
        assert (await post(server, question("status"), connection=connection))[0] == 200
    connection[1].close()


def test_both_ends_judge_questions_alike() -> None:
    """What may be asked is what is answered."""
    for method, names in ALLOWED.items():
        params = dict.fromkeys(names, "12")
        assert decode_question(encode_question(method, params)) == (method, params)
    for method, params in (("genesis", {}), ("commit", {"tx": "1"}), ("commit", {"height": "x"})):
        with pytest.raises(QuestionRefusal):
            encode_question(method, params)
    for raw in (b"", b"7", b"[]", b'{"method": {}}', b"{" + b" " * 2000 + b"}"):
        with pytest.raises(QuestionRefusal):
            decode_question(raw)
