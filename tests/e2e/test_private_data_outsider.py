"""An outsider of a collection never receives a byte of it: its traffic and its disk are searched.

The outsider is the node that orders, so every transaction of the channel passes through it. Its
process and a member's record every message as gRPC hands it over; afterwards each record, every
file of each folder and every entry of each database are searched for the plain values. In the
member's they must be found, or the search would prove nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from ledger.state.leveldb import LevelDB
from network.tls import TlsIdentity
from nodes.cli.node_process import stop_started, wait_until_ready
from nodes.private_data.digests import PULL, Digest, encode_request
from tests.support.local_network import CHANNEL, DEADLINE_S, LocalNetwork, until
from tests.support.terms_contract import (
    BANK,
    MAKER,
    OPERATOR,
    PTA,
    collection,
    terms,
    terms_network,
)
from tests.support.terms_node import start_terms_node

OUTSIDER, MEMBER = MAKER, PTA
LARGE_BYTES = 100_000


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of a node's folder, and every entry of its databases, which compress files."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield str(path.relative_to(folder)), path.read_bytes()
        if path.name == "CURRENT":
            place = path.parent.relative_to(folder)
            database = LevelDB(path.parent, create=False)
            snapshot = database.snapshot()
            try:
                for key, value in snapshot.items(b"", None):
                    yield f"{place}: {key.hex()}", key + value
            finally:
                snapshot.close()
                database.close()


def found(value: bytes, places: list[tuple[str, bytes]]) -> list[str]:
    """Where a value stands; of a large one a piece is enough."""
    piece = value[len(value) // 2 :][:32]
    return [name for name, raw in places if value in raw or piece in raw]


async def put(network: LocalNetwork, key: str, value: bytes) -> int:
    """Put a value through the bank's node, which alone endorses; return its block."""
    async with network.gateway(BANK) as gateway:
        outcome = await terms(gateway).submit("Put", "terms", key, transient={"value": value})
    number: int = outcome.status.block_num
    return number


async def pull_as_outsider(network: LocalNetwork, number: int) -> None:
    """Ask the members' nodes for a set with the outsider's own TLS certificate."""
    configuration = network.node(BANK).channel.configuration
    identity = TlsIdentity.load(network.members[OUTSIDER].folder / "tls")
    digest = Digest("", "terms", "terms", number, 0)
    for asked in (BANK, MEMBER):
        address = f"localhost:{network.members[asked].node_port}"
        credentials = identity.to_member(configuration, asked).credentials
        async with grpc.aio.secure_channel(address, credentials) as channel:
            call = channel.unary_unary(PULL, request_serializer=bytes, response_deserializer=bytes)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(encode_request(CHANNEL, [digest]), timeout=DEADLINE_S)
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_outsiders_traffic_and_disk_hold_no_plain_value(tmp_path: Path) -> None:
    """Pushed, pulled, deleted, large and purged values: a member has them, the orderer does not."""
    values = {f"A-{turn}": os.urandom(32) for turn in range(5)} | {"L": os.urandom(LARGE_BYTES)}
    records = {msp_id: tmp_path / f"{msp_id}.record" for msp_id in (OUTSIDER, MEMBER)}
    started = {}
    async with terms_network(
        tmp_path / "network",
        [collection("terms", BANK, PTA)],
        policy=f"OR('{BANK}.peer')",
        members=(OUTSIDER, BANK, OPERATOR, MEMBER),
    ) as network:
        folders = {msp_id: network.members[msp_id].folder for msp_id in records}
        await network.stop(OUTSIDER, MEMBER)
        try:
            started[OUTSIDER] = start_terms_node(folders[OUTSIDER], records[OUTSIDER])
            await asyncio.to_thread(wait_until_ready, started.values())
            engine = network.node(BANK).engine
            await until(lambda: engine.status().accepting)
            # Missed at endorsement and at commit, and pulled as the member catches up.
            number = await put(network, "A-0", values["A-0"])
            started[MEMBER] = start_terms_node(folders[MEMBER], records[MEMBER])
            await asyncio.to_thread(wait_until_ready, started.values())
            for key in list(values)[1:]:
                await put(network, key, values[key])
            async with network.gateway(BANK) as gateway:
                await terms(gateway).submit("Delete", "terms", "A-1")
                await terms(gateway).submit("Purge", "terms", "A-2")
                last = await terms(gateway).submit("Note", "the end")
            await pull_as_outsider(network, number)
            async with network.gateway(OUTSIDER) as gateway:
                with pytest.raises(Exception, match="private data matching public hash version"):
                    await terms(gateway).evaluate("Get", "terms", "A-3")
            async with network.gateway(MEMBER) as gateway:
                status = await terms(gateway).evaluate("Hash", "terms", "A-3")
                assert status.decode() == hashlib.sha256(values["A-3"]).hexdigest()
            await network.settled(last.status.block_num + 1)
            record = records[MEMBER]
            await until(lambda: values["A-0"] in record.read_bytes())
        finally:
            await asyncio.to_thread(stop_started, started.values())

    searched = {
        msp_id: [("traffic", records[msp_id].read_bytes()), *contents(folders[msp_id])]
        for msp_id in records
    }
    for key, value in values.items():
        assert found(value, searched[OUTSIDER]) == [], key
        places = found(value, searched[MEMBER])
        assert "traffic" in places, key
        if key != "A-2":
            assert any(place.startswith("ledger/private") for place in places), key
        # The outsider did take part: it has the hash, in messages and on disk.
        hashed = found(hashlib.sha256(value).digest(), searched[OUTSIDER])
        assert "traffic" in hashed
        assert any(place.startswith("ledger/blocks") for place in hashed)
