"""More calls than a node takes at once, from many connections, over gRPC and TLS.

Everything is bounded by events: a flood goes on until somebody has had what he needs, and what is
compared is numbers of calls, never times.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter as Count
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from fabric_protos.gateway import gateway_pb2

from clients.gateway.asynchronous import AsyncContract, AsyncGateway
from clients.gateway.connection import Endpoint, Timeouts
from clients.gateway.errors import CommitStatusError, EndorseError, EvaluateError, GatewayError
from clients.gateway.messages import commit_request
from nodes.rpc import concurrency
from nodes.rpc.callers import client_of
from nodes.rpc.concurrency import FairLimit
from nodes.rpc.places import NOBODY, Client
from tests.support import toolchains
from tests.support.counter import Counter
from tests.support.local_network import LocalNetwork, local_network, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

Code = grpc.StatusCode
BANK, PTA = "BankMSP", "PtaMSP"
PLACES = 8
CONNECTIONS = 12
CALLERS = 4
"""Of each of the greedy client's connections."""
MODEST_CALLERS = PLACES // 2
MODEST_CALLS = 10
"""Of each of the modest client's callers."""
FLOOD_S = 120.0
"""Within which a flood must have begun; so many handshakes take their time on a busy machine."""
AT_ONCE = Timeouts(refused_s=0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def network(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalNetwork]:
    folder = tmp_path_factory.mktemp("network")
    async with local_network(folder, [Counter()], members=(BANK, PTA)) as running:
        yield running
        await running.verify()


class OwnConnection(Endpoint):
    """A gateway that is reached by a connection that no other client in this process shares."""

    def options(self) -> list[tuple[str, Any]]:
        return [*super().options(), ("grpc.use_local_subchannel_pool", 1)]


@pytest.fixture
def calls(network: LocalNetwork, monkeypatch: pytest.MonkeyPatch) -> Iterator[FairLimit]:
    """The limit of the bank's gateway, with few places; how late a call comes is left out here,
    where nodes and clients share a busy loop.
    """
    monkeypatch.setattr(concurrency, "LATE_S", float("inf"))
    limit = network.node(BANK).servers.calls
    usual, limit.most = limit.most, PLACES
    yield limit
    limit.most = usual


def client(network: LocalNetwork, user: str) -> Client:
    """Whom the bank's node counts a user's calls for."""
    msps = network.node(BANK).channel.configuration.msps
    return client_of(msps.deserialize(network.signer(BANK, user).serialized))


@asynccontextmanager
async def connected(
    network: LocalNetwork, user: str, timeouts: Timeouts = AT_ONCE
) -> AsyncIterator[AsyncContract]:
    """A connection of its own."""
    found = network.endpoint(BANK)
    endpoint = OwnConnection(found.address, found.tls_ca_pem)
    async with AsyncGateway(endpoint, network.signer(BANK, user), timeouts=timeouts) as gateway:
        yield gateway.network(network.channel_id).contract("counter")


@dataclass
class Flood:
    """A client that calls without end from many connections, and what it was told."""

    limit: FairLimit
    served: int = 0
    refused: list[GatewayError] = field(default_factory=list)
    most_at_work: int = 0
    over: bool = False
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def call(self, contract: AsyncContract, caller: int) -> None:
        """Make one call after another until the flood is over."""
        number = 0
        while not self.over:
            number += 1
            try:
                await contract.submit("Put", f"greedy-{caller}-{number}", "x")
                self.served += 1
            except GatewayError as error:
                self.refused.append(error)
                self.begun.set()
                # Not the pause that it was asked to make.
                await asyncio.sleep(0.05)
            self.most_at_work = max(self.most_at_work, self.limit.at_work)


@asynccontextmanager
async def flood(network: LocalNetwork, limit: FairLimit) -> AsyncIterator[Flood]:
    """Flood the bank's gateway inside the block."""
    flooding = Flood(limit)
    async with AsyncExitStack() as connections:
        tasks = []
        for number in range(CONNECTIONS):
            contract = await connections.enter_async_context(connected(network, "greedy"))
            tasks += [
                asyncio.create_task(flooding.call(contract, number * CALLERS + each))
                for each in range(CALLERS)
            ]
        try:
            async with asyncio.timeout(FLOOD_S):
                await flooding.begun.wait()
            yield flooding
        finally:
            flooding.over = True
            await asyncio.gather(*tasks)


def forged_query(contract: AsyncContract) -> Callable[[], Awaitable[Any]]:
    """A query with another signature than its client's, to be made as often as one likes."""
    draft = contract.new_proposal("Get", "k")
    request = gateway_pb2.EvaluateRequest(
        transaction_id=draft.tx_id, channel_id=draft.channel_id, proposed_transaction=draft.signed()
    )
    request.proposed_transaction.signature = b"\x30\x06\x02\x01\x01\x02\x01\x01"
    stub = contract._gateway._rota.current.stubs.gateway
    return lambda: stub.Evaluate(request)


async def until_refused(limit: FairLimit, count: int) -> None:
    """Return when so many calls were refused."""
    async with asyncio.timeout(FLOOD_S):
        while limit.refused < count:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)


def taken(limit: FairLimit, whose: Client, places: int) -> ExitStack:
    """Take places for a client inside the block."""
    held = ExitStack()
    for _ in range(places):
        held.enter_context(limit.enter(whose))
    return held


async def test_greedy_client_starves_no_other_and_is_refused_retryably(
    network: LocalNetwork, calls: FairLimit
) -> None:
    """It calls from many connections without a pause. Another client has half of the places, so
    none of its calls is refused; of the greedy one's many are, each with words, code and metadata
    that say that nothing was done and when to come again. What is at work stays bounded, and the
    node is as before when the flood is over.
    """
    async with flood(network, calls) as flooding, connected(network, "modest") as contract:

        async def work(caller: int) -> None:
            for number in range(MODEST_CALLS):
                await contract.submit("Put", f"modest-{caller}-{number}", "x")

        await asyncio.gather(*(work(each) for each in range(MODEST_CALLERS)))
    assert flooding.served > 0
    assert flooding.refused
    for error in flooding.refused:
        assert error.code is Code.RESOURCE_EXHAUSTED, error
        assert error.again_in_s is not None
        assert error.outcome_definite
        assert "too many requests for gateway" in str(error)
        assert "nothing was done, try again in" in str(error)
    assert flooding.most_at_work <= 2 * PLACES
    assert (calls.at_work, calls.limit) == (0, PLACES)
    async with connected(network, "greedy") as contract:
        await asyncio.gather(*(contract.submit("Put", f"after-{n}", "x") for n in range(PLACES)))


async def test_call_that_was_refused_is_made_again_by_the_sdk(
    network: LocalNetwork, calls: FairLimit
) -> None:
    """After a pause, and the same one: whoever uses the SDK sees an answer that came late."""
    calls.most = 0
    refused = calls.refused
    async with connected(network, "modest", Timeouts()) as contract:
        submitting = asyncio.create_task(contract.submit("Add", "late", "1"))
        asking = asyncio.create_task(contract.evaluate("Get", "late"))
        await until_refused(calls, refused + 4)
        assert not submitting.done()
        calls.most = PLACES
        assert (await submitting).status.is_valid
        assert await asking in (b"0", b"1")


@pytest.mark.official_client
async def test_official_client_with_a_retry_policy_comes_again(
    network: LocalNetwork, calls: FairLimit, tmp_path: Path
) -> None:
    """Its gRPC makes a refused call again by itself: the metadata are gRPC's own."""
    calls.most = 0
    refused = calls.refused
    signer = network.signer(BANK, "modest")
    endpoint = network.endpoint(BANK)
    profile = tmp_path / "connection.json"
    peer = {
        "url": f"grpcs://{endpoint.address}",
        "tlsCACerts": {"pem": endpoint.tls_ca_pem.decode()},
    }
    described = {
        "client": {"organization": "own"},
        "organizations": {"own": {"mspid": BANK, "peers": ["node"]}},
        "peers": {"node": peer},
    }
    profile.write_text(json.dumps(described))
    node, _ = toolchains.node_client()
    folder = network.members[BANK].organisation.folder / "users" / "modest" / "msp"
    words = (profile, folder, network.channel_id, "counter", "Put", "patient", signer.msp_id)
    process = await asyncio.create_subprocess_exec(
        node, str(toolchains.NODE_FOLDER / "patient.mjs"), *map(str, words),
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await until_refused(calls, refused + 2)
    calls.most = PLACES
    _, said = await process.communicate()
    assert process.returncode == 0, said.decode()


async def test_envelope_that_was_endorsed_finds_room_where_a_proposal_does_not(
    network: LocalNetwork, calls: FairLimit
) -> None:
    """Refusing it would waste what was done for it; its client was proved with the proposal."""
    async with connected(network, "modest") as contract:
        gateway = contract._gateway
        endorsed = await gateway.endorse(contract.new_proposal("Put", "endorsed", "x"))
        with taken(calls, client(network, "modest"), PLACES):
            with pytest.raises(EndorseError) as refused:
                await gateway.endorse(contract.new_proposal("Put", "not", "x"))
            assert refused.value.code is Code.RESOURCE_EXHAUSTED
            assert (await gateway.commit(endorsed)).is_valid


async def test_forged_calls_in_a_clients_name_take_none_of_its_places(
    network: LocalNetwork, calls: FairLimit
) -> None:
    """Whose signature is wrong counts for nobody, and those who are nobody share one part."""
    modest = client(network, "modest")
    with taken(calls, NOBODY, PLACES):
        async with connected(network, "modest") as contract:
            forged = forged_query(contract)
            answers = await asyncio.gather(*(forged() for _ in range(50)), return_exceptions=True)
            codes = Count(each.code() for each in answers if isinstance(each, grpc.RpcError))
            assert codes == {Code.RESOURCE_EXHAUSTED: 50}
            assert calls._places.of(modest) == 0
            served = [contract.submit("Put", f"own-{n}", "x") for n in range(PLACES // 2)]
            await asyncio.gather(*served)


async def test_waits_for_a_commit_leave_room_for_another_client(network: LocalNetwork) -> None:
    """A client that waits for what will never be committed holds its own share at most."""
    node = network.node(BANK)
    waits, usual = node.servers.waits, node.servers.waits.most
    waits.most = 4
    try:
        async with connected(network, "greedy") as greedy, connected(network, "modest") as modest:
            never = commit_request(network.signer(BANK, "greedy"), network.channel_id, "ab" * 32)
            waiting = [asyncio.create_task(greedy._gateway.commit_status(never)) for _ in range(4)]
            await until(lambda: waits.at_work == 4)
            with pytest.raises(CommitStatusError) as refused:
                await greedy._gateway.commit_status(never)
            assert refused.value.code is Code.RESOURCE_EXHAUSTED
            outcome = await modest.submit("Put", "seen", "x")
            assert outcome.status.is_valid
            for each in waiting:
                each.cancel()
            await until(lambda: waits.at_work == 0)
    finally:
        waits.most = usual


async def test_endorser_that_is_too_busy_makes_the_gateway_say_so(
    network: LocalNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    """The client may try again, since nobody refused; the member's node is not taken for dead, and
    the log of this one is not filled with what it says.
    """
    node = network.node(PTA)
    endorsements, usual = node.servers.endorsements, node.servers.endorsements.most
    endorsements.most = 0
    try:
        async with connected(network, "modest") as contract:
            with pytest.raises(EndorseError) as refused:
                await contract.submit("Put", "k", "x", endorsing_organisations=[BANK, PTA])
    finally:
        endorsements.most = usual
    assert refused.value.code is Code.RESOURCE_EXHAUSTED
    assert refused.value.again_in_s is not None
    assert "too many requests for endorser" in str(refused.value)
    members = network.node(BANK)._members.others()
    assert members[PTA].is_up
    assert not [each for each in caplog.messages if "endorsement by" in each]


async def test_connection_beyond_the_limit_is_not_taken(tmp_path: Path) -> None:
    """So many at each address that the port has, here two at most; whoever comes later is served as
    soon as others have gone.
    """
    limits = "[limits]\nconnections = 3\n"
    async with local_network(tmp_path, [Counter()], members=(BANK,), limits=limits) as network:
        async with AsyncExitStack() as connections:
            endings = []
            for _ in range(2 * 3 + 1):
                contract = await connections.enter_async_context(connected(network, "modest"))
                with pytest.raises(EvaluateError) as ended:
                    await contract.evaluate("Refuse")
                endings.append(ended.value.code)
        assert endings[:3] == [Code.UNKNOWN] * 3  # what a contract refuses
        assert endings[-1] is Code.UNAVAILABLE
        async with connected(network, "late") as contract:
            await contract._gateway.wait_until_ready(20)
