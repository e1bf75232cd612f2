"""Four organisations install, approve, commit and upgrade a contract on real nodes.

What each has approved stands in its own private collection; what it runs follows from that alone,
on every node at the same block.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fabric_protos.peer import policy_pb2, proposal_pb2, proposal_response_pb2
from fabric_protos.peer.lifecycle import lifecycle_pb2

from chaincode.packages.package import make_package
from clients.gateway.errors import CommitError, EndorseError, EvaluateError
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import parse_transaction
from network.policy import parse_policy
from tests.support.local_network import CHANNEL, MEMBERS, LocalNetwork, local_network
from tests.support.toy_package import toy_files

BANK, OPERATOR, MAKER, PTA = MEMBERS
ANY_TWO = f"OutOf(2, {', '.join(repr(f'{msp_id}.peer') for msp_id in MEMBERS)})"
STAMP = """
from chaincode.contract import Context, Contract, query, transaction

from .rules import ANSWER


class Toy(Contract):
    name = "toy"

    @query
    def answer(self, ctx: Context) -> str:
        return ANSWER

    @transaction
    def stamp(self, ctx: Context, key: str) -> str:
        ctx.stub.put_state(key, ANSWER.encode())
        return ANSWER
"""


def packed(version: str, answer: str) -> tuple[bytes, str]:
    """Return a version of the toy as one file, and its package id."""
    package = make_package(toy_files(version, answer, main=STAMP))
    return package.packed, package.package_id


ONE, ONE_ID = packed("1", "one")
TWO, TWO_ID = packed("2", "two")
OTHER, OTHER_ID = packed("2.1", "another")


def definition(kind: Any, version: str, sequence: int, rule: str = ANY_TWO, **more: Any) -> bytes:
    """Return marshalled arguments about a definition of the toy."""
    policy = policy_pb2.ApplicationPolicy(signature_policy=parse_policy(rule))
    raw: bytes = kind(
        name="toy",
        version=version,
        sequence=sequence,
        validation_parameter=policy.SerializeToString(),
        **more,
    ).SerializeToString()
    return raw


class Admins:
    """The admins of all members, each at the gateway of its own node."""

    def __init__(self, network: LocalNetwork) -> None:
        self.network = network

    @asynccontextmanager
    async def lifecycle(self, msp_id: str, user: str = "admin") -> AsyncIterator[Any]:
        async with self.network.gateway(msp_id, user) as gateway:
            yield gateway.network(CHANNEL).contract("_lifecycle")

    async def install(self, msp_id: str, package: bytes, user: str = "admin") -> str:
        asked = lifecycle_pb2.InstallChaincodeArgs(chaincode_install_package=package)
        async with self.lifecycle(msp_id, user) as lifecycle:
            raw = await lifecycle.evaluate("InstallChaincode", asked.SerializeToString())
        return str(lifecycle_pb2.InstallChaincodeResult.FromString(raw).package_id)

    async def approve(
        self,
        msp_id: str,
        version: str,
        sequence: int,
        package_id: str,
        *,
        named: bool = True,
        rule: str = ANY_TWO,
    ) -> None:
        """Approve as a member, whose node alone endorses it, named or not."""
        kind = lifecycle_pb2.ApproveChaincodeDefinitionForMyOrgArgs
        source = {"local_package": {"package_id": package_id}} if package_id else {}
        async with self.lifecycle(msp_id) as lifecycle:
            await lifecycle.submit(
                "ApproveChaincodeDefinitionForMyOrg",
                definition(kind, version, sequence, rule, source=source),
                endorsing_organisations=(msp_id,) if named else (),
            )

    async def ready(self, msp_id: str, version: str, sequence: int) -> dict[str, bool]:
        kind = lifecycle_pb2.CheckCommitReadinessArgs
        async with self.lifecycle(msp_id) as lifecycle:
            raw = await lifecycle.evaluate(
                "CheckCommitReadiness", definition(kind, version, sequence)
            )
        return dict(lifecycle_pb2.CheckCommitReadinessResult.FromString(raw).approvals)

    async def commit(self, msp_id: str, version: str, sequence: int, rule: str = ANY_TWO) -> int:
        kind = lifecycle_pb2.CommitChaincodeDefinitionArgs
        async with self.lifecycle(msp_id) as lifecycle:
            outcome = await lifecycle.submit(
                "CommitChaincodeDefinition",
                definition(kind, version, sequence, rule),
            )
        return int(outcome.status.block_num)

    async def define(
        self, version: str, sequence: int, packages: dict[str, str], rule: str = ANY_TWO
    ) -> int:
        """Approve as these members, with their packages, and commit as the first."""
        for msp_id, package_id in packages.items():
            await self.approve(msp_id, version, sequence, package_id, rule=rule)
        await self.network.settled()
        return await self.commit(next(iter(packages)), version, sequence, rule)

    async def answer(self, msp_id: str) -> str:
        """Ask the toy on the node of one member."""
        async with self.network.gateway(msp_id) as gateway:
            raw = (
                await gateway.network(CHANNEL)
                .contract("toy")
                .evaluate("Answer", endorsing_organisations=(msp_id,))
            )
        return str(raw.decode())


@pytest.fixture
async def admins(tmp_path: Path) -> AsyncIterator[Admins]:
    async with local_network(tmp_path) as network:
        yield Admins(network)


def reason(network: LocalNetwork, msp_id: str) -> str:
    """Return why the node of a member does not run the toy, as its status says."""
    (toy,) = network.node(msp_id).status().contracts
    return toy.reason


def stated_version(raw: bytes) -> str:
    """Return the version of the contract that an endorsed response states."""
    payload = proposal_response_pb2.ProposalResponsePayload.FromString(raw)
    action = proposal_pb2.ChaincodeAction.FromString(payload.extension)
    return str(action.chaincode_id.version)


def stamps(network: LocalNetwork, msp_id: str) -> list[tuple[int, str, str]]:
    """Return block, written value and stated version of every valid stamp a node has."""
    ledger = network.node(msp_id).channel.ledger
    found = []
    for number in range(1, ledger.height):
        block = ledger.block(number)
        assert block is not None
        codes = block.metadata[2]
        for place, raw in enumerate(block.data):
            parsed = parse_transaction(raw)
            if codes[place] != TxValidationCode.VALID or parsed.rwset is None:
                continue
            for namespace in parsed.rwset.namespaces:
                if namespace.namespace == "toy":
                    version = stated_version(parsed.proposal_response_payload)
                    found += [(number, each.value.decode(), version) for each in namespace.writes]
    return found


async def stamp(network: LocalNetwork, msp_id: str, key: str) -> str:
    """Submit a stamp; a conflict with a new definition is an answer too."""
    async with network.gateway(msp_id) as gateway:
        try:
            outcome = await gateway.network(CHANNEL).contract("toy").submit("Stamp", key)
        except (CommitError, EndorseError) as error:
            return type(error).__name__
    return str(outcome.result.decode())


async def test_contract_is_approved_committed_and_upgraded_at_one_block(admins: Admins) -> None:
    """Each approves for itself, too few commit nothing, who has not approved does not run it, and
    an upgrade under load changes what all nodes do at the same block.
    """
    network = admins.network
    for msp_id in MEMBERS:
        assert await admins.install(msp_id, ONE) == ONE_ID
    with pytest.raises(EvaluateError, match=r"access denied for .*InstallChaincode"):
        await admins.install(BANK, TWO, user="lending")

    await admins.approve(BANK, "1", 1, ONE_ID)
    await admins.approve(OPERATOR, "1", 1, ONE_ID)
    await network.settled()
    for msp_id in MEMBERS:
        ready = await admins.ready(msp_id, "1", 1)
        assert ready == {BANK: True, OPERATOR: True, MAKER: False, PTA: False}
    with pytest.raises(EndorseError) as early:
        await admins.commit(BANK, "1", 1)
    words = " ".join(each.message for each in early.value.details)
    assert "chaincode definition not agreed to by this org (MakerMSP)" in words
    assert "chaincode definition not agreed to by this org (PtaMSP)" in words

    await admins.approve(PTA, "1", 1, ONE_ID, named=False)
    await network.settled()
    await admins.commit(OPERATOR, "1", 1)
    await network.settled()
    assert [await admins.answer(each) for each in (BANK, OPERATOR, PTA)] == ["one"] * 3
    with pytest.raises(EvaluateError, match=r"has not yet been approved by this org \(MakerMSP\)"):
        await admins.answer(MAKER)
    assert "at sequence 1 on channel 'qist' has not yet been approved" in reason(network, MAKER)

    # The maker approves late what stands, and runs it from then on.
    await admins.approve(MAKER, "1", 1, ONE_ID)
    assert await admins.answer(MAKER) == "one"
    assert reason(network, MAKER) == ""

    for msp_id in MEMBERS:
        assert await admins.install(msp_id, TWO) == TWO_ID
    for msp_id in MEMBERS:
        await admins.approve(msp_id, "2", 2, TWO_ID)
    await network.settled()
    before = [await stamp(network, BANK, f"before-{number}") for number in range(2)]
    assert before == ["one", "one"]
    load = [stamp(network, MEMBERS[n % 4], f"during-{n}") for n in range(24)]
    committing = asyncio.create_task(admins.commit(BANK, "2", 2))
    during = await asyncio.gather(*load)
    upgraded = await committing
    assert set(during) <= {"one", "two", "CommitError", "EndorseError"}
    await network.settled()
    after = [await stamp(network, each, f"after-{each}") for each in MEMBERS]
    assert after == ["two"] * 4
    await network.settled()
    for msp_id in MEMBERS:
        found = stamps(network, msp_id)
        assert {(value, version) for block, value, version in found if block <= upgraded} == {
            ("one", "1")
        }
        assert {(value, version) for block, value, version in found if block > upgraded} == {
            ("two", "2")
        }
    await network.verify()


async def test_package_that_is_not_the_approved_one_is_not_run(admins: Admins) -> None:
    """Another hash, no package, and a package for a definition of which others approved another:
    each is said in the endorsement's error and in the status, and mended by another approval.
    """
    network = admins.network
    for msp_id in MEMBERS:
        await admins.install(msp_id, ONE)
    packages = {BANK: ONE_ID, OPERATOR: ONE_ID, MAKER: TWO_ID, PTA: ""}
    await admins.define("1", 1, packages)
    await network.settled()
    assert await admins.answer(BANK) == "one"
    with pytest.raises(EvaluateError, match="chaincode is not installed on this node"):
        await admins.answer(MAKER)
    assert f"has approved package {TWO_ID}; install exactly that package" in reason(network, MAKER)
    with pytest.raises(EvaluateError, match="has approved sequence 1 without a package"):
        await admins.answer(PTA)
    assert "PtaMSP has approved sequence 1 without a package" in reason(network, PTA)

    # The others go on without them; a restart changes nothing.
    assert await stamp(network, BANK, "k") == "one"
    await network.stop(MAKER)
    await network.start(MAKER)
    assert f"has approved package {TWO_ID}" in reason(network, MAKER)
    await admins.install(MAKER, TWO)
    assert await admins.answer(MAKER) == "two"
    async with network.gateway(BANK) as gateway:
        toy = gateway.network(CHANNEL).contract("toy")
        with pytest.raises(EndorseError, match="ProposalResponsePayloads do not match"):
            await toy.submit("Stamp", "k", endorsing_organisations=(BANK, MAKER))
    await admins.approve(MAKER, "1", 1, ONE_ID)
    await admins.approve(PTA, "1", 1, ONE_ID)
    await network.settled()
    assert [await admins.answer(each) for each in MEMBERS] == ["one"] * 4
    await network.verify()


async def test_member_that_approved_something_else_does_not_run_what_was_committed(
    admins: Admins,
) -> None:
    """An approval counts only for the very definition; three of four are enough to commit it."""
    network = admins.network
    for msp_id in MEMBERS:
        await admins.install(msp_id, ONE)
        await admins.install(msp_id, OTHER)
    await admins.approve(PTA, "1.0", 1, OTHER_ID)
    await admins.define("1", 1, dict.fromkeys((BANK, OPERATOR, MAKER), ONE_ID))
    await network.settled()
    with pytest.raises(EvaluateError, match=r"has not yet been approved by this org \(PtaMSP\)"):
        await admins.answer(PTA)
    async with admins.lifecycle(PTA) as lifecycle:
        asked = lifecycle_pb2.QueryChaincodeDefinitionArgs(name="toy")
        raw = await lifecycle.evaluate("QueryChaincodeDefinition", asked.SerializeToString())
    found = lifecycle_pb2.QueryChaincodeDefinitionResult.FromString(raw)
    assert dict(found.approvals) == {BANK: True, OPERATOR: True, MAKER: True, PTA: False}
    await network.verify()


async def test_late_node_judges_each_transaction_by_the_definition_of_its_height(
    admins: Admins,
) -> None:
    """A node that was away for an upgrade reads the old blocks under the old policy and the new
    ones under the new, with the same verdicts.
    """
    network = admins.network
    for msp_id in MEMBERS:
        await admins.install(msp_id, ONE)
    everybody = dict.fromkeys(MEMBERS, ONE_ID)
    await admins.define("1", 1, everybody)
    await network.settled()
    await network.stop(MAKER)
    three = dict.fromkeys((BANK, OPERATOR, PTA), ONE_ID)
    both = f"AND('{BANK}.peer', '{PTA}.peer')"
    verdicts = []
    async with network.gateway(BANK) as gateway:
        toy = gateway.network(CHANNEL).contract("toy")
        await toy.submit("Stamp", "old", endorsing_organisations=(BANK, OPERATOR))
        await admins.define("1", 2, three, both)
        await network.settled()
        for endorsers in ((BANK, OPERATOR), (BANK, PTA)):
            try:
                await toy.submit("Stamp", "new", endorsing_organisations=endorsers)
            except CommitError as error:
                verdicts.append(error.code)
            else:
                verdicts.append(TxValidationCode.VALID)
    assert verdicts == [TxValidationCode.ENDORSEMENT_POLICY_FAILURE, TxValidationCode.VALID]
    await network.start(MAKER)
    await network.settled()
    (toy_there,) = network.node(MAKER).status().contracts
    assert (toy_there.sequence, toy_there.package_id) == (2, "")
    await network.verify()
