"""The way of a record through four real nodes: endorse, order, commit, hear of it, read it."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest
from fabric_protos.common import common_pb2, ledger_pb2
from fabric_protos.peer import query_pb2, transaction_pb2

from clients.gateway.asynchronous import AsyncContract, AsyncGateway
from clients.gateway.errors import EndorseError, EvaluateError
from clients.gateway.events import InMemoryCheckpointer
from clients.gateway.messages import TransactionDraft
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import parse_transaction
from network.msp import split_identity
from tests.support.counter import Counter
from tests.support.envelopes import transaction_envelope
from tests.support.local_network import CHANNEL, DEADLINE_S, MEMBERS, local_network


def counter(gateway: AsyncGateway) -> AsyncContract:
    return gateway.network(CHANNEL).contract("counter")


async def test_submit_through_each_members_gateway_commits_alike_on_all_nodes(
    tmp_path: Path,
) -> None:
    """Endorsed by two members, ordered by one, valid for all: four ledgers end alike."""
    async with local_network(tmp_path, [Counter()]) as network:
        for turn, msp_id in enumerate(MEMBERS, start=1):
            async with network.gateway(msp_id) as gateway:
                outcome = await counter(gateway).submit("Add", "k", "1")
                assert outcome.result == str(turn).encode()
                assert await counter(gateway).evaluate("Get", "k") == str(turn).encode()
                await network.settled()
        await network.verify()


async def test_transactions_that_read_the_same_key_leave_one_valid_and_a_conflict_as_a_result(
    tmp_path: Path,
) -> None:
    """Two transactions endorsed on one state: the first is valid, the second's commit status is
    MVCC_READ_CONFLICT, an answer and no error; it changes nothing.
    """
    async with (
        local_network(tmp_path, [Counter()]) as network,
        network.gateway("BankMSP") as gateway,
    ):
        contract = counter(gateway)
        first, second = [
            await gateway.endorse(contract.new_proposal("Add", "k", "1")) for _ in range(2)
        ]
        statuses = [
            await gateway.commit_status(await gateway.submit(each)) for each in (first, second)
        ]
        assert [status.code for status in statuses] == [
            TxValidationCode.VALID,
            TxValidationCode.MVCC_READ_CONFLICT,
        ]
        assert await contract.evaluate("Get", "k") == b"1"
        await network.verify()


async def test_transaction_endorsed_by_one_member_only_is_recorded_as_a_policy_failure(
    tmp_path: Path,
) -> None:
    """An honest orderer orders it; every node records ENDORSEMENT_POLICY_FAILURE."""
    async with (
        local_network(tmp_path, [Counter()]) as network,
        network.gateway("PtaMSP") as gateway,
    ):
        proposal = counter(gateway).new_proposal(
            "Put", "k", "1", endorsing_organisations=["PtaMSP"]
        )
        endorsed = await gateway.endorse(proposal)
        status = await gateway.commit_status(await gateway.submit(endorsed))
        assert status.code is TxValidationCode.ENDORSEMENT_POLICY_FAILURE
        assert await counter(gateway).evaluate("Get", "k") == b"0"
        await network.verify()


async def test_endorse_with_results_that_differ_collects_no_transaction(tmp_path: Path) -> None:
    """What is not the same on two nodes cannot be endorsed by two; each node's words are told."""
    async with (
        local_network(tmp_path, [Counter()]) as network,
        network.gateway("BankMSP") as gateway,
    ):
        with pytest.raises(EndorseError, match="failed to collect enough") as caught:
            await counter(gateway).submit("Guess", "k")
        assert {detail.msp_id for detail in caught.value.details} == set(MEMBERS) - {"BankMSP"}
        assert {detail.message for detail in caught.value.details} == {
            "ProposalResponsePayloads do not match"
        }
        await network.verify()


async def test_contracts_refusal_reaches_the_client_in_the_contracts_words(tmp_path: Path) -> None:
    """A refusal is told with its status; what a broken contract says stays in the node's log."""
    async with (
        local_network(tmp_path, [Counter()], members=MEMBERS[:1]) as network,
        network.gateway("BankMSP") as gateway,
    ):
        with pytest.raises(EndorseError) as refused:
            await counter(gateway).submit("Refuse")
        assert refused.value.details[0].message == (
            "chaincode response 400, the counter: does not count that; count something else"
        )
        with pytest.raises(EndorseError) as broken:
            await counter(gateway).submit("Break")
        assert "contract counter broke (RuntimeError)" in broken.value.details[0].message
        assert "not for anybody's eyes" not in str(broken.value)
        await network.verify()


async def test_transient_data_of_a_transaction_stays_out_of_the_block(tmp_path: Path) -> None:
    """What is sent as transient data reaches the endorsers named, and no block."""
    async with (
        local_network(tmp_path, [Counter()]) as network,
        network.gateway("BankMSP") as gateway,
    ):
        contract = counter(gateway)
        with pytest.raises(EndorseError, match="retry specifying endorsing organization"):
            await contract.submit("PutSecret", "k", transient={"secret": b"41", "aside": b"hidden"})
        await contract.submit(
            "PutSecret",
            "k",
            transient={"secret": b"41", "aside": b"hidden"},
            endorsing_organisations=["BankMSP", "PtaMSP"],
        )
        height = await network.settled()
        committed = await network.node("MakerMSP").channel.block(height - 1)
        assert committed is not None
        assert b"hidden" not in committed.encoded
        await network.verify()


async def test_chaincode_events_from_a_checkpoint_come_once_and_in_order(tmp_path: Path) -> None:
    """A listener that stops and goes on from its checkpoint hears every valid transaction's event
    once; an invalid transaction's event is never heard.
    """
    async with (
        local_network(tmp_path, [Counter()]) as network,
        network.gateway("OperatorMSP") as gateway,
        asyncio.timeout(DEADLINE_S),
    ):
        contract, heard = counter(gateway), []
        position = InMemoryCheckpointer()
        doomed = await gateway.endorse(contract.new_proposal("Add", "k", "1"))
        for _ in range(4):
            await contract.submit("Add", "k", "1")
        await gateway.commit_status(await gateway.submit(doomed))
        await contract.submit("Add", "k", "1")
        await network.settled()
        for most in (2, 3):
            events = gateway.network(CHANNEL).chaincode_events(
                "counter", start_block=0, checkpoint=position
            )
            async for event in events:
                heard.append(event.payload)
                position.checkpoint(event.block_num, event.tx_id)
                if (most := most - 1) == 0:
                    break
        assert heard == [b"1", b"2", b"3", b"4", b"5"]
        await network.verify()


async def test_blocks_delivered_by_every_node_are_one_chain_with_codes(tmp_path: Path) -> None:
    """Full blocks are the same from every node, metadata too; filtered ones hold no payload."""
    async with local_network(tmp_path, [Counter()]) as network:
        async with network.gateway("BankMSP") as gateway:
            for number in range(3):
                await counter(gateway).submit("Add", f"k{number}", "7")
        last = await network.settled() - 1
        chains = []
        for msp_id in MEMBERS:
            async with network.gateway(msp_id) as gateway, asyncio.timeout(DEADLINE_S):
                seen = gateway.network(CHANNEL)
                blocks = [
                    block async for block in seen.block_events(start_block=0, stop_block=last)
                ]
                chains.append([block.SerializeToString() for block in blocks])
                filtered = [
                    each
                    async for each in seen.filtered_block_events(start_block=last, stop_block=last)
                ]
        assert len(blocks) == last + 1
        assert all(chain == chains[0] for chain in chains)
        assert [block.header.number for block in blocks] == list(range(last + 1))
        assert all(after.header.previous_hash for _, after in pairwise(blocks))
        (only,) = filtered[0].filtered_transactions
        assert filtered[0].channel_id == CHANNEL
        assert (only.tx_validation_code, only.type) == (
            transaction_pb2.VALID,
            common_pb2.ENDORSER_TRANSACTION,
        )
        (action,) = only.transaction_actions.chaincode_actions
        assert action.chaincode_event.event_name == "Added"
        assert action.chaincode_event.payload == b""
        await network.verify()


async def test_system_contracts_asked_through_evaluate_tell_of_blocks_and_configuration(
    tmp_path: Path,
) -> None:
    """qscc and cscc answer with Fabric's messages, to members with access and to no others."""
    async with local_network(tmp_path, [Counter()], members=MEMBERS[:2]) as network:
        async with network.gateway("BankMSP", "auditor") as gateway:
            outcome = await counter(gateway).submit("Add", "k", "1")
            blocks = gateway.network(CHANNEL).contract("qscc")
            configuration = gateway.network(CHANNEL).contract("cscc")
            info = ledger_pb2.BlockchainInfo.FromString(
                await blocks.evaluate("GetChainInfo", CHANNEL)
            )
            channel = network.node("BankMSP").channel
            assert (info.height, info.currentBlockHash) == (
                channel.height,
                channel.last_header_hash,
            )
            by_id = common_pb2.Block.FromString(
                await blocks.evaluate("GetBlockByTxID", CHANNEL, outcome.status.tx_id)
            )
            assert by_id.header.number == outcome.status.block_num
            processed = transaction_pb2.ProcessedTransaction.FromString(
                await blocks.evaluate("GetTransactionByID", CHANNEL, outcome.status.tx_id)
            )
            assert processed.validationCode == transaction_pb2.VALID
            genesis = common_pb2.Block.FromString(
                await configuration.evaluate("GetConfigBlock", CHANNEL)
            )
            assert genesis.header.number == 0
            channels = query_pb2.ChannelQueryResponse.FromString(
                await configuration.evaluate("GetChannels")
            )
            assert [each.channel_id for each in channels.channels] == [CHANNEL]
        async with network.gateway("BankMSP") as gateway:
            # Asked of the other member's node, which lists its channels to its own member only.
            foreign = gateway.network(CHANNEL).contract("cscc")
            with pytest.raises(EvaluateError, match="for identities of OperatorMSP"):
                await foreign.evaluate("GetChannels", endorsing_organisations=["OperatorMSP"])
        await network.verify()


async def test_transaction_sent_twice_is_a_duplicate_the_second_time(tmp_path: Path) -> None:
    """The same envelope in a later block is recorded as DUPLICATE_TXID, and the first one stands;
    a proposal with a used id is refused at once.
    """
    async with (
        local_network(tmp_path, [Counter()]) as network,
        network.gateway("BankMSP") as gateway,
    ):
        proposal = counter(gateway).new_proposal("Add", "k", "1")
        endorsed = await gateway.endorse(proposal)
        first = await gateway.commit_status(await gateway.submit(endorsed))
        again = await gateway.commit_status(await gateway.submit(endorsed))
        assert first == again
        height = await network.settled()
        committed = await network.node("PtaMSP").channel.block(height - 1)
        assert committed is not None
        assert committed.codes == (TxValidationCode.DUPLICATE_TXID,)
        with pytest.raises(EndorseError, match="duplicate transaction found"):
            await gateway.endorse(proposal)
        assert await counter(gateway).evaluate("Get", "k") == b"1"
        await network.verify()


async def test_transaction_endorsed_twice_by_one_node_counts_once(tmp_path: Path) -> None:
    """Two signatures of one peer are one endorsement, whatever a hostile client puts together."""
    async with local_network(tmp_path, [Counter()]) as network:
        peer = network.node_signer("BankMSP")
        envelope = transaction_envelope(
            "counter",
            ["Put", "k", "1"],
            b"",
            version="1",
            channel_id=CHANNEL,
            creator=network.signer("BankMSP"),
            endorsers=[peer, peer],
            now=network.node("BankMSP").clock.now(),
        )
        height = await network.settled()
        await network.node("OperatorMSP").engine.submit(envelope)
        await network.settled(height + 1)
        committed = await network.node("MakerMSP").channel.block(height)
        assert committed is not None
        assert committed.codes == (TxValidationCode.ENDORSEMENT_POLICY_FAILURE,)
        await network.verify()


def endorsers_of(transaction: TransactionDraft) -> set[str]:
    """The members whose endorsements a prepared transaction carries."""
    parsed = parse_transaction(transaction.signed().SerializeToString())
    return {split_identity(each.endorser)[0] for each in parsed.endorsements}


async def test_key_with_a_policy_of_its_own_is_endorsed_by_those_whom_it_names(
    tmp_path: Path,
) -> None:
    """The gateway reads the policies of the keys a transaction writes, and asks those members and
    no others; a transaction endorsed by others is a policy failure.
    """
    async with (
        local_network(tmp_path, [Counter()]) as network,
        network.gateway("BankMSP") as gateway,
    ):
        contract = counter(gateway)
        await contract.submit("Guard", "k", "AND('MakerMSP.peer', 'PtaMSP.peer')")
        guarded = await gateway.endorse(contract.new_proposal("Add", "k", "1"))
        assert endorsers_of(guarded) == {"MakerMSP", "PtaMSP"}
        free = await gateway.endorse(contract.new_proposal("Add", "free", "1"))
        assert len(endorsers_of(free)) == 2
        assert "BankMSP" in endorsers_of(free)
        others = await gateway.endorse(
            contract.new_proposal("Add", "k", "1", endorsing_organisations=["BankMSP", "PtaMSP"])
        )
        verdict = await gateway.commit_status(await gateway.submit(others))
        assert verdict.code is TxValidationCode.ENDORSEMENT_POLICY_FAILURE
        verdict = await gateway.commit_status(await gateway.submit(guarded))
        assert verdict.code is TxValidationCode.VALID
        await network.verify()


async def test_endorsement_of_a_member_that_is_down_is_replaced_by_anothers(
    tmp_path: Path,
) -> None:
    """Whatever layout is tried first, a transaction that others can endorse goes through; one that
    needs the member that is down says so.
    """
    async with local_network(tmp_path, [Counter()]) as network:
        async with network.gateway("BankMSP") as gateway:
            contract = counter(gateway)
            await contract.submit("Guard", "k", "AND('MakerMSP.peer', 'PtaMSP.peer')")
            await network.settled()
            await network.stop("MakerMSP")
            for number in range(6):
                outcome = await contract.submit("Add", f"k{number}", "1")
                assert outcome.status.is_valid
            with pytest.raises(EndorseError, match="failed to collect enough") as refused:
                await contract.submit("Add", "k", "1")
            assert "MakerMSP" in {detail.msp_id for detail in refused.value.details}
        await network.start("MakerMSP")
        await network.verify()
