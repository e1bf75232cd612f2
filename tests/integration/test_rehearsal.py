"""A rehearsal: its nodes live in the time that an operator sets, and say so everywhere."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import grpc
import pytest

from clients.gateway.errors import EvaluateError, EventsError, SubmitError
from ledger.transactions.codes import TxValidationCode
from nodes.clock import ClockRefusal
from nodes.operations.logs import JsonFormatter
from tests.support.counter import Counter
from tests.support.local_network import CHANNEL, MEMBERS, local_network

TWO = MEMBERS[:2]
PKT_MORNING = datetime.fromisoformat("2031-01-31T09:00:00+05:00")


async def test_rehearsals_clock_rules_what_may_be_proposed_on_every_node(tmp_path: Path) -> None:
    """A proposal of the rehearsal's day is taken and one of the machine's day refused; the time
    survives a restart and never goes back; status and every log line name the rehearsal.
    """
    async with local_network(tmp_path, [Counter()], members=TWO, rehearsal=True) as network:
        day = datetime.now(UTC) + timedelta(days=90)
        network.set_clock(day)
        async with network.gateway("BankMSP", clock=lambda: day) as gateway:
            contract = gateway.network(CHANNEL).contract("counter")
            outcome = await contract.submit("Add", "k", "1")
            assert outcome.status.code is TxValidationCode.VALID
            committed = await network.node("BankMSP").channel.block(outcome.status.block_num)
            assert committed is not None
            assert committed.transactions[0].timestamp == day
        async with network.gateway("BankMSP") as gateway:
            with pytest.raises(EvaluateError, match="incorrect timestamp"):
                await gateway.network(CHANNEL).contract("counter").evaluate("Get", "k")
        await network.stop("OperatorMSP")
        await network.start("OperatorMSP")
        node = network.node("OperatorMSP")
        assert node.clock.now() == day
        assert (node.status().rehearsal, node.status().clock) == (True, day.isoformat())
        with pytest.raises(ClockRefusal, match="cannot go back"):
            node.set_clock(day - timedelta(seconds=1))
        await network.verify()


async def test_identity_that_has_expired_by_the_nodes_clock_is_refused_at_every_door(
    tmp_path: Path,
) -> None:
    """Proposal, Broadcast and Deliver each compare the certificate's end with the node's clock; a
    block is judged without looking at it.
    """
    async with local_network(tmp_path, [Counter()], members=TWO, rehearsal=True) as network:
        now = network.node("BankMSP").clock.now()
        ends = network.signer("BankMSP").not_after
        late = ends + timedelta(minutes=5)
        async with network.gateway("BankMSP", clock=lambda: now) as gateway:
            contract = gateway.network(CHANNEL).contract("counter")
            endorsed = await gateway.endorse(contract.new_proposal("Add", "k", "1"))
        network.set_clock(late)
        async with network.gateway("BankMSP", clock=lambda: late) as gateway:
            contract = gateway.network(CHANNEL).contract("counter")
            with pytest.raises(EvaluateError, match="proposal client identity expired"):
                await contract.evaluate("Get", "k")
            with pytest.raises(SubmitError, match="identity expired"):
                await gateway.submit(endorsed)
            with pytest.raises(EventsError) as refused:
                await anext(gateway.network(CHANNEL).block_events(start_block=0))
            assert refused.value.code is grpc.StatusCode.PERMISSION_DENIED
        height = await network.settled()
        assert network.node("BankMSP").channel.height == height
        await network.verify()


async def test_clock_of_a_network_that_is_no_rehearsal_cannot_be_set(tmp_path: Path) -> None:
    """Its nodes take the time from the machine."""
    async with local_network(tmp_path, members=MEMBERS[:1]) as network:
        with pytest.raises(ClockRefusal, match="is no rehearsal"):
            network.set_clock(PKT_MORNING)


def test_log_line_of_a_rehearsal_says_so() -> None:
    """One JSON object a line, with the transaction it is about."""
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("node0", rehearsal=True))
    record = logging.LogRecord("nodes", logging.INFO, __file__, 1, "a %s", ("word",), None)
    record.tx_id = "ab"
    handler.emit(record)
    line = json.loads(stream.getvalue())
    assert (line["rehearsal"], line["message"], line["tx_id"], line["node"]) == (
        True,
        "a word",
        "ab",
        "node0",
    )
