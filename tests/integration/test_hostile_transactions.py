"""Hostile client: system contracts misused, replays, messages too large, too much at once.

Each in the code of Fabric's RPC and with words that say how to go on, through gRPC over TLS.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest
import pytest_asyncio
from fabric_protos.peer.lifecycle import lifecycle_pb2

from network.configuration import BatchParameters
from tests.support.hostile import (
    CNIC,
    MSISDN,
    SECRETS,
    TERMS,
    TRANSIENT,
    Doors,
    Ending,
    Hostile,
    hostile_network,
)
from tests.support.hostile_requests import (
    BANK,
    ENVELOPES,
    PROPOSALS,
    PTA,
    REFUSING,
    RPCS,
    TOO_LARGE,
    wrap_proposal,
)
from tests.support.local_network import CHANNEL, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

Code = grpc.StatusCode
MESSAGE_BYTES = 256 * 1024
ABSOLUTE_BYTES = 96 * 1024
LIMITS = f"[limits]\nmax_message_bytes = {MESSAGE_BYTES}\nsimulation_deadline_s = 5\n"
BATCH = BatchParameters(absolute_max_bytes=ABSOLUTE_BYTES, preferred_max_bytes=ABSOLUTE_BYTES)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hostile(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hostile]:
    folder = tmp_path_factory.mktemp("network")
    async with hostile_network(folder, limits=LIMITS, batch=BATCH) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def doors(hostile: Hostile) -> AsyncIterator[Doors]:
    async with Doors.of(hostile) as made:
        yield made


# ---- system contracts


async def lifecycle(doors: Doors, signer: Any, function: str, *arguments: Any) -> Ending:
    return await doors.ask(
        "Endorse", signer, chaincode="_lifecycle", function=function, arguments=arguments
    )


async def test_definition_written_by_an_unentitled_client_is_refused(
    hostile: Hostile, doors: Doors
) -> None:
    """What concerns a node alone needs its admin; a definition needs a next number and a package
    that every node has.
    """
    network = hostile.network
    for function in ("InstallChaincode", "ApproveChaincodeDefinitionForMyOrg"):
        for signer in (network.signer(BANK), network.signer(PTA, "admin")):
            ending = await lifecycle(doors, signer, function, b"")
            assert ending.code is Code.ABORTED
            assert f"access denied for [_lifecycle/{function}]" in ending.words
            assert f"of {BANK}" in ending.words
    again = lifecycle_pb2.CommitChaincodeDefinitionArgs(name="counter", version="1", sequence=1)
    ending = await lifecycle(
        doors, network.signer(BANK), "CommitChaincodeDefinition", again.SerializeToString()
    )
    assert ending.code is Code.ABORTED
    assert "sequence" in ending.words
    for arguments in ((b"\xff\xff",), (), (b"", b"")):
        ending = await lifecycle(
            doors, network.signer(BANK), "CommitChaincodeDefinition", *arguments
        )
        assert ending.code is Code.ABORTED
        assert "marshal lifecycle.CommitChaincodeDefinitionArgs" in ending.words


@pytest.mark.parametrize("chaincode", ["qscc", "cscc", "_lifecycle"])
async def test_system_contract_asked_for_nonsense_is_refused(
    hostile: Hostile, doors: Doors, chaincode: str
) -> None:
    """Unknown functions, no function, wrong arguments: none of them runs anything."""
    signer = hostile.network.signer(BANK)
    for function, arguments, words in (
        ("Nothing", (CHANNEL,), "access denied for"),
        (b"\xff\xfe", (), "was called without a function; name it in the first argument"),
        ("", (), "access denied for"),
    ):
        for rpc in ("Evaluate", "Endorse"):
            ending = await doors.ask(
                rpc, signer, chaincode=chaincode, function=function, arguments=arguments
            )
            assert ending.code in (Code.ABORTED, Code.FAILED_PRECONDITION)
            assert words in ending.words, (rpc, function)


@pytest.mark.parametrize(
    "arguments",
    [(), ("elsewhere", "1"), (CHANNEL,), (CHANNEL, "x"), (CHANNEL, "-1"), (CHANNEL, str(2**70))],
)
async def test_query_of_blocks_with_wrong_arguments_is_refused(
    hostile: Hostile, doors: Doors, arguments: tuple[str, ...]
) -> None:
    """As a contract's refusal, with words."""
    ending = await doors.ask(
        "Evaluate",
        hostile.network.signer(BANK),
        chaincode="qscc",
        function="GetBlockByNumber",
        arguments=arguments,
    )
    assert ending.code in (Code.UNKNOWN, Code.ABORTED)
    assert ";" in ending.words


async def test_transaction_of_a_system_contract_writes_nothing(
    hostile: Hostile, doors: Doors
) -> None:
    """A query of blocks that is sent to be ordered is no transaction of a defined contract."""
    signer = hostile.network.signer(BANK)
    draft = doors.proposal(signer, chaincode="qscc", function="GetChainInfo", arguments=(CHANNEL,))
    async with hostile.network.gateway(BANK) as gateway:
        endorsed = await gateway.endorse(draft)
        status = await gateway.commit_status(await gateway.submit(endorsed))
    assert status.code.name == "INVALID_CHAINCODE"


# ---- replay


async def test_transaction_sent_twice_stands_once_wherever_the_second_is(
    hostile: Hostile, doors: Doors
) -> None:
    """DUPLICATE_TXID in the same block and in a later one; the first keeps its verdict."""
    signer = hostile.network.signer(BANK)
    for _ in range(50):
        # While the first is being committed, the twins wait and get into one block.
        plug, twin = doors.envelope(signer), doors.envelope(signer)
        blocks = await doors.blocks(plug, twin, twin)
        if ["VALID", "DUPLICATE_TXID"] in blocks:
            break
    else:
        pytest.fail("the twins never came into one block")
    assert await doors.ordered(twin) == ["DUPLICATE_TXID"]


async def test_proposal_endorsed_again_after_its_commit_is_refused(
    hostile: Hostile, doors: Doors
) -> None:
    """Its id is in the ledger; the words say what can be done."""
    async with hostile.network.gateway(BANK) as gateway:
        draft = doors.proposal(
            hostile.network.signer(BANK), function="Put", arguments=("again", "1")
        )
        endorsed = await gateway.endorse(draft)
        assert (await gateway.commit_status(await gateway.submit(endorsed))).is_valid
    await hostile.network.settled()
    for rpc in PROPOSALS:
        ending = await doors.call(rpc, wrap_proposal(rpc, draft.signed()))
        expected = {"Evaluate": Code.FAILED_PRECONDITION, "Endorse": Code.ABORTED}
        assert ending.code is expected.get(rpc, Code.UNKNOWN)
        assert f"duplicate transaction found [{draft.tx_id}]; make a new proposal" in ending.words


# ---- too large, too many


@pytest.mark.parametrize("rpc", RPCS)
async def test_message_above_the_nodes_limit_is_refused(doors: Doors, rpc: str) -> None:
    """RESOURCE_EXHAUSTED before anything of it is read, on both ports."""
    ending = await doors.call(rpc, b"\x0a" + b"\x00" * (2 * MESSAGE_BYTES))
    assert ending.code is Code.RESOURCE_EXHAUSTED
    assert f"{2 * MESSAGE_BYTES + 1} vs. {MESSAGE_BYTES}" in ending.words


@pytest.mark.parametrize("rpc", ENVELOPES)
async def test_transaction_above_the_channels_limit_is_refused(
    hostile: Hostile, doors: Doors, rpc: str
) -> None:
    """By the orderer, whose block could not hold it."""
    signer = hostile.network.signer(BANK)
    envelope = doors.envelope(signer, arguments=["Get", "k" * ABSOLUTE_BYTES])
    ending = await doors.ask(rpc, signer, envelope=envelope)
    assert f"exceeds maximum allowed {ABSOLUTE_BYTES} bytes" in ending.words
    assert "send fewer records in one transaction" in ending.words
    if rpc == "Broadcast":
        assert ending.status == TOO_LARGE
    else:
        assert ending.code is Code.ABORTED
        assert "status=REQUEST_ENTITY_TOO_LARGE" in ending.words


@pytest.mark.parametrize("rpc", PROPOSALS)
async def test_proposal_with_arguments_that_the_function_does_not_have_is_refused(
    hostile: Hostile, doors: Doors, rpc: str
) -> None:
    """Ten thousand arguments, none, one too many, no function: a refusal of the contract."""
    signer = hostile.network.signer(BANK)
    for function, arguments in (
        ("Get", ["k"] * 10_000),
        ("Get", []),
        ("Get", ["k", "l"]),
        ("Nothing", []),
        ("", []),
        (b"\xff\xfe", []),
        ("Add", ["k", "no number"]),
        ("Add", ["k", "9" * 5_000]),
    ):
        ending = await doors.ask(rpc, signer, function=function, arguments=arguments)
        if rpc == "ProcessProposal":
            assert ending.code is Code.OK
            words = ending.answers[0].decode("utf-8", "replace")
        else:
            assert ending.code is (Code.UNKNOWN if rpc == "Evaluate" else Code.ABORTED)
            words = ending.words
            assert "chaincode response 40" in words
        assert ";" in words, (function, words)


@pytest.mark.parametrize("rpc", REFUSING)
async def test_call_beyond_the_concurrency_limit_is_refused_at_once(
    hostile: Hostile, doors: Doors, rpc: str
) -> None:
    """RESOURCE_EXHAUSTED, which says that trying again makes sense, and when; others are served
    again as soon as there is room.
    """
    servers = hostile.network.node(BANK).servers
    limit = {
        "ProcessProposal": servers.endorsements,
        "CommitStatus": servers.waits,
        "ChaincodeEvents": servers.events,
        "Deliver": servers.deliveries,
        "DeliverFiltered": servers.deliveries,
        "DeliverWithPrivateData": servers.deliveries,
        "Broadcast": servers.followers,
        "orderer's Deliver": servers.followers,
    }.get(rpc, servers.calls)
    signer = hostile.network.signer(BANK)
    with ExitStack() as busy:
        busy.callback(setattr, limit, "most", limit.most)
        limit.most = 0
        ending = await doors.ask(rpc, signer)
        assert ending.code is Code.RESOURCE_EXHAUSTED
        assert "too many requests for " in ending.words
        assert "exceeding concurrency limit (0); nothing was done" in ending.words
        assert "try again in 100 ms" in ending.words
    if rpc != "ChaincodeEvents":
        assert (await doors.ask(rpc, signer)).code is Code.OK


async def test_flood_of_calls_is_answered_call_by_call(hostile: Hostile, doors: Doors) -> None:
    """With room for ten, three hundred queries at once are served or told to try again."""
    calls = hostile.network.node(BANK).servers.calls
    request = doors.request("Evaluate", hostile.network.signer(BANK))
    usual, calls.most = calls.most, 10
    try:
        endings = await asyncio.gather(*(doors.call("Evaluate", request) for _ in range(300)))
    finally:
        calls.most = usual
    assert {ending.code for ending in endings} <= {Code.OK, Code.RESOURCE_EXHAUSTED}
    assert any(ending.code is Code.OK for ending in endings)
    await until(lambda: calls.at_work == 0)


@pytest.mark.parametrize("rpc", PROPOSALS)
async def test_refusal_repeats_nothing_of_what_it_was_given(
    hostile: Hostile, doors: Doors, rpc: str
) -> None:
    """Neither arguments nor transient data stand in words or logs, however a contract ends: the
    log is looked through when the module ends.
    """
    signer = hostile.network.signer(BANK)
    for function, arguments, transient in (
        ("Add", [CNIC, MSISDN], TRANSIENT),
        ("Add", ["k", TERMS], None),
        ("Spin", [CNIC], TRANSIENT),
        ("PutSecret", ["k"], {CNIC: MSISDN}),
        ("PutSecret", [CNIC, MSISDN], TRANSIENT),
        ("Refuse", [], TRANSIENT),
        ("Break", [], TRANSIENT),
        ("Nothing", [CNIC], TRANSIENT),
    ):
        first = len(hostile.log.lines)
        ending = await doors.ask(
            rpc, signer, function=function, arguments=arguments, transient=transient
        )
        said = ending.words + "".join(each.decode("utf-8", "replace") for each in ending.answers)
        said += "".join(hostile.log.lines[first:])
        if rpc == "ProcessProposal":
            assert ending.code is Code.OK
        else:
            assert ending.code in (Code.UNKNOWN, Code.ABORTED), function
        assert [secret for secret in SECRETS if secret in said] == [], function
