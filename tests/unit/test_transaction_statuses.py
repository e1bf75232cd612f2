"""Waiting for a transaction: told once, told right, and nothing left behind."""

from __future__ import annotations

import asyncio

import pytest

from ledger.transactions.codes import TxValidationCode
from nodes import statuses
from nodes.errors import AccessDenied, ChannelHalted
from nodes.statuses import Statuses, TransactionStatus

VALID = TransactionStatus(TxValidationCode.VALID, 3)
DUPLICATE = TransactionStatus(TxValidationCode.DUPLICATE_TXID, 4)


async def test_everybody_who_waits_for_a_transaction_is_told_its_first_status() -> None:
    """A later block with the same id changes nothing."""
    kept = Statuses()
    with kept.listen("a") as first, kept.listen("a") as second, kept.listen("b") as other:
        kept.settle("a", VALID)
        kept.settle("a", DUPLICATE)
        assert (await first, await second) == (VALID, VALID)
        assert not other.done()
    assert kept.get("a") == VALID
    assert kept.get("b") is None


async def test_a_wait_that_ends_by_failure_or_by_going_away_leaves_no_place_behind() -> None:
    """Memory hangs on those who wait now."""
    kept = Statuses()
    with kept.listen("a") as future:
        kept.fail(ChannelHalted("halted"))
        with pytest.raises(ChannelHalted):
            await future
    waiting = asyncio.ensure_future(_wait(kept))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not kept._waiting


async def _wait(kept: Statuses) -> None:
    with kept.listen("a") as future:
        await future


async def test_newest_statuses_push_the_oldest_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger has them all; this is for those who ask right after submitting."""
    monkeypatch.setattr(statuses, "REMEMBERED", 2)
    kept = Statuses()
    for tx_id in ("a", "b", "c"):
        kept.settle(tx_id, VALID)
    assert [kept.get(each) for each in ("a", "b", "c")] == [None, VALID, VALID]


async def test_who_waits_and_must_not_know_any_more_is_told_so() -> None:
    """At a new configuration everybody who waits is looked at again; others go on waiting."""
    kept = Statuses()

    def denied() -> None:
        raise AccessDenied("not any more")

    with (
        kept.listen("tx", denied) as gone,
        kept.listen("tx", lambda: None) as stays,
        kept.listen("tx") as unasked,
    ):
        kept.verify_waiting()
        assert isinstance(gone.exception(), AccessDenied)
        assert not stays.done()
        assert not unasked.done()
        kept.settle("tx", VALID)
        assert await stays == await unasked == VALID
