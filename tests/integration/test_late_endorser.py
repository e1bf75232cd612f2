"""An endorser that is a block behind the node that asks it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from chaincode.contract import Context, Contract, ContractRefusal, transaction
from ledger.transactions.codes import TxValidationCode
from tests.support.local_network import CHANNEL, local_network

LATE = "PtaMSP"


class Purse(Contract):
    """Refuses to spend what is not there."""

    name = "purse"

    @transaction
    def Fill(self, ctx: Context) -> None:
        """Put something in."""
        ctx.stub.put_state("coin", b"1")

    @transaction
    def Spend(self, ctx: Context) -> None:
        """Take it out."""
        if ctx.stub.get_state("coin") is None:
            raise ContractRefusal("the purse", "is empty", "fill it")
        ctx.stub.del_state("coin")


async def test_refusal_by_an_endorser_that_is_behind_is_no_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a client's own node has committed counts: a member that has not seen it yet, and refuses
    for that, is asked again and waits for the block.
    """
    async with (
        local_network(tmp_path, [Purse()]) as network,
        network.gateway("BankMSP") as gateway,
    ):
        purse = gateway.network(CHANNEL).contract("purse")
        late = network.node(LATE)
        simulate, may_commit, heights = late.endorser.simulate, threading.Event(), []

        async def observed(proposal: Any, **given: Any) -> Any:
            heights.append(given["height"])
            if given["height"]:
                may_commit.set()
            return await simulate(proposal, **given)

        # The late node's one writer is kept busy until it is asked for a height.
        late.channel._writer.submit(may_commit.wait, 20)
        monkeypatch.setattr(late.endorser, "simulate", observed)
        filled = await purse.submit("Fill", endorsing_organisations=("BankMSP", "OperatorMSP"))
        assert late.channel.height == filled.status.block_num
        spent = await purse.submit("Spend", endorsing_organisations=("BankMSP", LATE))
        assert spent.status.code is TxValidationCode.VALID
        assert heights == [0, filled.status.block_num + 1]
        await network.verify()
