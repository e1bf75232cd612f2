"""Private data between nodes: who gets them, when, and what happens where they lack."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.local_network import until
from tests.support.terms_contract import BANK, MAKER, NAME, OPERATOR, PTA, terms, terms_network


async def test_private_value_is_read_by_members_and_by_nobody_else(tmp_path: Path) -> None:
    """A value put through one member's node is on every member's node, and on no outsider's."""
    async with terms_network(tmp_path) as network:
        async with network.gateway(BANK) as gateway:
            await terms(gateway).submit("Put", "terms", "A-1", transient={"value": b"266600"})
        await network.settled()
        for msp_id in (BANK, PTA):
            async with network.gateway(msp_id) as gateway:
                assert await terms(gateway).evaluate("Get", "terms", "A-1") == b"266600"
        for msp_id in (OPERATOR, MAKER):
            async with network.gateway(msp_id) as gateway:
                hashed = await terms(gateway).evaluate("Hash", "terms", "A-1")
                assert len(hashed) == 64
                assert (
                    network.node(msp_id).channel.ledger.private_data(
                        network.node(msp_id).channel.height - 1
                    )
                    == {}
                )
        await network.verify()
