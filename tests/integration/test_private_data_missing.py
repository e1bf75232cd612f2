"""Private data where a member is down, misses them, lies, or is entitled only later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from fabric_protos.gossip import message_pb2
from fabric_protos.peer.lifecycle import lifecycle_pb2

from clients.gateway.errors import EndorseError
from ledger.state.private import MissingPrivate
from ledger.transactions.private import decode_private_rwset
from network.tls import node_port_credentials
from nodes.private_data.digests import SERVICE, encode_response, read_request
from tests.support.local_network import CHANNEL, DEADLINE_S, LocalNetwork, until
from tests.support.terms_contract import (
    BANK,
    MAKER,
    OPERATOR,
    PTA,
    collection,
    definition,
    terms,
    terms_network,
)

ORDERED_BY_MAKER = (MAKER, BANK, OPERATOR, PTA)
"""So that every member of a collection can be away."""
NO_PULL = "[private_data]\npull_s = 0\n"
"""A block waits for nobody."""


def values(network: LocalNetwork, msp_id: str, number: int) -> list[bytes]:
    """The plain values that a member's node holds of a block."""
    found = []
    for writes in network.node(msp_id).channel.ledger.private_data(number).values():
        for each in writes:
            found += [write.value for write in decode_private_rwset(each.rwset).writes]
    return found


def missing(network: LocalNetwork, msp_id: str) -> list[MissingPrivate]:
    return network.node(msp_id).channel.ledger.missing_private(100)


async def put(
    network: LocalNetwork, key: str, value: str, endorsers: Sequence[str], name: str = "terms"
) -> int:
    """Put a value with these endorsements, through the first one's gateway; return its block."""
    async with network.gateway(endorsers[0]) as gateway:
        outcome = await terms(gateway).submit(
            "Put", name, key, transient={"value": value.encode()},
            endorsing_organisations=tuple(endorsers),
        )  # fmt: skip
    await network.settled()
    number: int = outcome.status.block_num
    return number


async def put_in_the_end(
    network: LocalNetwork, key: str, value: str, endorsers: Sequence[str]
) -> int:
    """Put a value as soon as the others have noticed that a node is back."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await put(network, key, value, endorsers)
            except EndorseError as error:
                if "Failed disseminating" not in str(error):
                    raise


def write_settings(network: LocalNetwork, msp_id: str, settings: str) -> None:
    """Let a member's node be told something else at its next start."""
    path = network.members[msp_id].folder / "node.toml"
    text = path.read_text()
    path.write_text(text[: text.index("[private_data]")] + settings)


async def test_member_down_at_endorsement_has_the_data_when_it_is_back(tmp_path: Path) -> None:
    """It hinders nobody where the collection does not demand it, and pulls as it catches up."""
    async with terms_network(tmp_path, members=ORDERED_BY_MAKER) as network:
        await network.stop(PTA)
        numbers = [
            await put(network, f"A-{turn}", f"said {turn}", (BANK, OPERATOR)) for turn in range(3)
        ]
        await network.start(PTA)
        await network.settled()
        assert [values(network, PTA, number) for number in numbers] == [
            [b"said 0"],
            [b"said 1"],
            [b"said 2"],
        ]
        assert missing(network, PTA) == []
        async with network.gateway(PTA) as gateway:
            assert await terms(gateway).evaluate("Get", "terms", "A-1") == b"said 1"
        await network.verify()


async def test_member_down_where_its_acknowledgement_is_demanded_stops_the_endorsement(
    tmp_path: Path,
) -> None:
    """requiredPeerCount counts acknowledgements, not names; the words say which collection."""
    collections = [
        collection("terms", BANK, PTA, required=1),
        collection("three", BANK, OPERATOR, PTA, required=1, maximum=1),
    ]
    async with terms_network(tmp_path, collections, members=ORDERED_BY_MAKER) as network:
        await network.stop(PTA)
        with pytest.raises(
            EndorseError,
            match="Failed disseminating 1 out of 1 private dissemination plans: too few members "
            "of terms/terms took the data",
        ):
            await put(network, "A-1", "v", (BANK, OPERATOR))
        # Another member takes its place where there is one, also beyond the first that were asked.
        for turn in range(2):
            number = await put(network, f"A-{turn}", f"v{turn}", (BANK, MAKER), "three")
            assert values(network, OPERATOR, number) == [f"v{turn}".encode()]
        await network.start(PTA)
        number = await put_in_the_end(network, "A-1", "v", (BANK, OPERATOR))
        assert values(network, PTA, number) == [b"v"]
        await network.verify()


async def test_data_missing_at_commit_are_reconciled_and_shown(tmp_path: Path) -> None:
    """A block never waits longer than it may; what it was committed without shows in the status
    and comes later.
    """
    collections = [collection("terms", BANK, PTA, maximum=0)]
    async with terms_network(tmp_path, collections, members=ORDERED_BY_MAKER) as network:
        await network.stop(PTA)
        write_settings(network, PTA, NO_PULL)
        await network.start(PTA)
        numbers = [await put(network, f"A-{turn}", f"v{turn}", (BANK, MAKER)) for turn in range(2)]
        private = network.node(PTA).private
        # Nothing is pushed and a pull has no time, so both were committed without.
        await until(lambda: private.state().missing == 0 and private.state().reconciled == 2)
        assert [values(network, PTA, number) for number in numbers] == [[b"v0"], [b"v1"]]
        assert missing(network, PTA) == []
        status = network.node(PTA).status().private_data
        assert (status.missing, status.reconciled) == (0, 2)
        assert status.last_success
        async with network.gateway(PTA) as gateway:
            assert await terms(gateway).evaluate("Get", "terms", "A-0") == b"v0"
        await network.verify()


async def test_data_whose_holders_are_away_stay_missing_until_one_is_back(tmp_path: Path) -> None:
    """The status counts them, a read says what is wrong, and blocks go on."""
    collections = [collection("terms", BANK, PTA, maximum=0)]
    async with terms_network(tmp_path, collections, members=ORDERED_BY_MAKER) as network:
        await network.stop(PTA)
        number = await put(network, "A-1", "late", (BANK, OPERATOR))
        await network.stop(BANK)
        await network.start(PTA)
        await network.settled()
        private = network.node(PTA).private
        await until(lambda: private.state().missing == 1 and bool(private.state().last_round))
        assert private.state().last_success == ""
        async with network.gateway(PTA) as gateway:
            with pytest.raises(Exception, match="private data matching public hash version"):
                await terms(gateway).evaluate("Get", "terms", "A-1")
        async with network.gateway(MAKER) as gateway:
            await terms(gateway).submit(
                "Note", "goes on", endorsing_organisations=(MAKER, OPERATOR)
            )
        await network.start(BANK)
        await until(lambda: private.state().missing == 0)
        assert values(network, PTA, number) == [b"late"]
        await network.verify()


async def test_member_entitled_by_a_later_definition_gets_what_was_written_before(
    tmp_path: Path,
) -> None:
    """A definition adds a member: its node asks for what it was not entitled to until then."""
    async with terms_network(tmp_path, [collection("terms", BANK, PTA)]) as network:
        numbers = [await put(network, f"A-{turn}", f"v{turn}", (BANK, MAKER)) for turn in range(2)]
        assert [values(network, OPERATOR, number) for number in numbers] == [[], []]
        await upgrade(network, definition([collection("terms", BANK, OPERATOR, PTA)], sequence=2))
        await until(
            lambda: [values(network, OPERATOR, number) for number in numbers] == [[b"v0"], [b"v1"]]
        )
        assert [values(network, MAKER, number) for number in numbers] == [[], []]
        async with network.gateway(OPERATOR) as gateway:
            assert await terms(gateway).evaluate("Get", "terms", "A-1") == b"v1"
        number = await put(network, "A-3", "from now on", (BANK, MAKER))
        assert values(network, OPERATOR, number) == [b"from now on"]
        await network.verify()


async def upgrade(network: LocalNetwork, arguments: Any) -> None:
    """Let every member approve a definition, and commit it."""
    approval = lifecycle_pb2.ApproveChaincodeDefinitionForMyOrgArgs(
        name=arguments.name,
        version=arguments.version,
        sequence=arguments.sequence,
        validation_parameter=arguments.validation_parameter,
        collections=arguments.collections,
    )
    for msp_id in network.members:
        async with network.gateway(msp_id, "admin") as gateway:
            await (
                gateway.network(CHANNEL)
                .contract("_lifecycle")
                .submit(
                    "ApproveChaincodeDefinitionForMyOrg",
                    approval.SerializeToString(),
                    endorsing_organisations=(msp_id,),
                )
            )
        await network.settled()
    async with network.gateway(BANK, "admin") as gateway:
        await (
            gateway.network(CHANNEL)
            .contract("_lifecycle")
            .submit(
                "CommitChaincodeDefinition",
                arguments.SerializeToString(),
                endorsing_organisations=tuple(network.members),
            )
        )
    await network.settled()


class Liar:
    """Answers pulls in the place of a member's node with something else.

    Attributes:
        asked: how many pulls came.
        is_silent: whether it never answers.
    """

    def __init__(self) -> None:
        self.asked = 0
        self.is_silent = False

    async def pull(self, raw: bytes, _context: Any) -> bytes:
        """Answer each digest with a set of other values, well made."""
        self.asked += 1
        if self.is_silent:
            await asyncio.Event().wait()
        digests = read_request(message_pb2.GossipMessage.FromString(raw), CHANNEL)
        forged = b"\x1a\x0c\x0a\x03A-1\x1a\x05false"
        decode_private_rwset(forged)
        answer: bytes = encode_response(
            CHANNEL, [(digest, [forged]) for digest in digests]
        ).SerializeToString()
        return answer


@asynccontextmanager
async def liar_in_place_of(network: LocalNetwork, msp_id: str, asked: str) -> AsyncIterator[Liar]:
    """Put a liar on the node port of a member whose node is stopped."""
    member = network.members[msp_id]
    configuration = network.node(asked).channel.configuration
    liar = Liar()
    server = grpc.aio.server()
    handlers = {"Pull": grpc.unary_unary_rpc_method_handler(liar.pull)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    credentials = node_port_credentials(member.folder / "tls", lambda: configuration)
    server.add_secure_port(f"localhost:{member.node_port}", credentials)
    await server.start()
    try:
        yield liar
    finally:
        await server.stop(None)


async def test_liar_who_serves_other_bytes_is_refused_and_the_truth_taken(tmp_path: Path) -> None:
    """Hashes in the block decide, at commit and later; what is wrong is never kept."""
    collections = [collection("terms", BANK, PTA, maximum=0)]
    async with terms_network(tmp_path, collections, members=ORDERED_BY_MAKER) as network:
        await network.stop(PTA)
        number = await put(network, "A-1", "true", (BANK, OPERATOR))
        await network.stop(BANK)
        async with liar_in_place_of(network, BANK, MAKER) as liar:
            await network.start(PTA)
            await network.settled()
            private = network.node(PTA).private
            # Once for the block, once in the first round after it.
            await until(lambda: liar.asked >= 2 and bool(private.state().last_round))
            await until(lambda: private.state().missing == 1)
            assert values(network, PTA, number) == []
            assert private.state().reconciled == 0
        await network.start(BANK)
        await until(lambda: private.state().missing == 0)
        assert values(network, PTA, number) == [b"true"]
        await network.verify()


async def test_silent_member_delays_a_block_by_no_more_than_its_deadline(tmp_path: Path) -> None:
    """A node that takes calls and never answers costs a block `pull_s` once, then it is passed
    over.
    """
    collections = [collection("terms", BANK, PTA, maximum=0)]
    settings = "[private_data]\npull_s = 1.0\nreconcile_interval_s = 0.2\n"
    async with terms_network(
        tmp_path, collections, members=ORDERED_BY_MAKER, settings=settings
    ) as network:
        await network.stop(PTA)
        for turn in range(4):
            await put(network, f"A-{turn}", "v", (BANK, OPERATOR))
        await network.stop(BANK)
        async with liar_in_place_of(network, BANK, MAKER) as liar:
            liar.is_silent = True
            loop = asyncio.get_running_loop()
            begun = loop.time()
            await network.start(PTA)
            await network.settled()
            # Four blocks lack something: one of them waits for the silent node, not each.
            assert loop.time() - begun < 4.0
            assert len(missing(network, PTA)) == 4
        await network.start(BANK)
        await until(lambda: missing(network, PTA) == [])
        await network.verify()


async def test_purged_data_that_were_missed_are_not_brought_back(tmp_path: Path) -> None:
    """A node that was away while a key was written and purged ends like the others."""
    async with terms_network(tmp_path, members=ORDERED_BY_MAKER) as network:
        await network.stop(PTA)
        number = await put(network, "A-1", "unsaid", (BANK, OPERATOR))
        kept = await put(network, "A-2", "kept", (BANK, OPERATOR))
        async with network.gateway(BANK) as gateway:
            await terms(gateway).submit(
                "Purge", "terms", "A-1", endorsing_organisations=(BANK, OPERATOR)
            )
        await network.settled()
        await network.start(PTA)
        await network.settled()
        await until(lambda: values(network, PTA, kept) == [b"kept"])
        assert b"unsaid" not in values(network, PTA, number)
        # What is left of the write set, nothing, came from one who has purged, and was believed.
        await until(lambda: missing(network, PTA) == [])
        async with network.gateway(PTA) as gateway:
            assert await terms(gateway).evaluate("Get", "terms", "A-1") == b""
        await network.verify()
