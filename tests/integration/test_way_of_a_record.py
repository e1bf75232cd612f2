"""The way of a record through four real nodes: endorse, submit, commit, events, blocks."""

from __future__ import annotations

from pathlib import Path

from chaincode.contract import Context, Contract, query, transaction
from tests.support.local_network import local_network


class Counter(Contract):
    """Adds numbers up."""

    name = "counter"

    @transaction
    def Add(self, ctx: Context, key: str, number: int) -> int:
        """Add to a counter."""
        total = int(ctx.stub.get_state(key) or b"0") + number
        ctx.stub.put_state(key, str(total).encode())
        ctx.stub.set_event("Add", str(total).encode())
        return total

    @query
    def Get(self, ctx: Context, key: str) -> int:
        """Return a counter."""
        return int(ctx.stub.get_state(key) or b"0")


async def test_submit_through_the_gateway_commits_alike_on_all_nodes(tmp_path: Path) -> None:
    """A transaction endorsed by two members is valid, and all four ledgers end alike."""
    async with local_network(tmp_path, [Counter()]) as network:
        async with network.gateway("OperatorMSP") as gateway:
            contract = gateway.network(network.channel_id).contract("counter")
            outcome = await contract.submit("Add", "k", "5")
            assert outcome.result == b"5"
            assert await contract.evaluate("Get", "k") == b"5"
        await network.verify()
