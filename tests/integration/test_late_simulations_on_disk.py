"""Simulations cut off at any moment leave the ledger they read from in order."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaincode.contract import Context, Contract, query
from chaincode.simulator import Limits
from chaincode.system import LIFECYCLE, BlockQueries
from ledger.channel import ChannelLedger
from ledger.transactions.rwset import KVWrite, NamespaceRWSet, TxRWSet
from tests.support.chain import commit, make_config_envelope, make_envelope
from tests.support.operations import CHANNEL, Registry, simulate

ROUNDS = 300


class Busy(Contract):
    """Reads in every way, for ever."""

    name = "ops"

    @query
    def read(self, ctx: Context) -> None:
        while True:
            for _ in ctx.stub.get_history_for_key("k000"):
                pass
            for _ in ctx.stub.get_state_by_range("", ""):
                pass
            ctx.stub.get_states(["k000", "k050", "none"])
            ctx.stub.get_state_validation_parameter("k001")
            ctx.stub.get_private_data("terms", "none")
            ctx.stub.get_private_data_many("terms", ["none", "nothing"])
            for _ in ctx.stub.get_private_data_by_range("terms", "", ""):
                pass
            ctx.stub.invoke_chaincode("nothing", [b"Run"])

    @query
    def fail(self, ctx: Context) -> None:
        raise KeyError


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[ChannelLedger]:
    """Blocks with a hundred keys, one of them changed in each."""
    ledger = ChannelLedger.open(tmp_path / "ledger")
    try:
        commit(ledger, [make_config_envelope(0)])
        sequence = KVWrite("namespaces/fields/ops/Sequence", False, b"\x08\x01")
        keys = tuple(KVWrite(f"k{number:03d}", False, b"v") for number in range(100))
        sets = [NamespaceRWSet(LIFECYCLE, (), (sequence,)), NamespaceRWSet("ops", (), keys)]
        sets += [NamespaceRWSet("ops", (), keys[:1])] * 5
        for number, written in enumerate(sets):
            commit(ledger, [make_envelope(TxRWSet((written,)), b"nonce %d" % number)])
        yield ledger
    finally:
        ledger.close()


def test_ledger_serves_on_after_simulations_cut_off_anywhere(ledger: ChannelLedger) -> None:
    """Locks are free, snapshots can be given back, the log works, and answers are right."""
    registry = Registry(Busy(), BlockQueries(ledger))
    for number in range(ROUNDS):
        limits = Limits(deadline_s=0.0005 + 0.00001 * (number % 100), reads=2**60)
        with ledger.snapshot() as state:
            result = simulate(state, b"Read", registry=registry, limits=limits)
        assert result.status == 500
        assert "timeout expired" in result.message

    done = threading.Event()

    def use() -> None:
        """On another thread, so that a lock left behind shows as a wait without end."""
        logging.getLogger("chaincode.simulator.simulator").error("the log is free")
        assert ledger.block(3) is not None
        with ledger.snapshot() as state:
            assert len(list(state.history("ops", "k000"))) == 6
            assert simulate(state, b"Fail", registry=registry).status == 500
            chain = simulate(
                state, b"GetChainInfo", CHANNEL.encode(), contract="qscc", registry=registry
            )
            assert chain.status == 200
        done.set()

    thread = threading.Thread(target=use, daemon=True)
    thread.start()
    thread.join(20)
    assert done.is_set(), "a simulation that was cut off has left a lock behind"
