"""Private data when the process ends, or the disk refuses, at any write step: none is lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ledger.channel import ChannelLedger
from ledger.errors import StorageError
from ledger.faults import FaultPort, WriteStep
from ledger.fsck import check_ledger
from ledger.state.private import BlockPrivate, MissingPrivate
from ledger.transactions.private import TxPrivate
from tests.support.chain import make_config_envelope, next_block, prepare
from tests.support.faults import Steps
from tests.support.private_chain import (
    LIVES,
    SHOP,
    Op,
    definition_envelope,
    private_envelope,
    private_write,
)

A, B, C = (Op("put", key, key.encode() * 30) for key in ("a", "b", "c"))

BLOCKS: tuple[tuple[tuple[str, tuple[Op, ...], str], ...], ...] = (
    (("terms", (A, B), "held"), ("brief", (A, B), "held")),
    (("terms", (C,), "awaited"), ("brief", (C,), "foreign"), ("terms", (A,), "held")),
    (("terms", (Op("purge", "a"),), "held"), ("brief", (Op("policy", "b"),), "foreign")),
    (("terms", (Op("put", "a", b"new"), Op("delete", "b")), "held"),),
    (),
    (("terms", (Op("purge", "c"),), "foreign"),),
    (),
)
"""What the blocks from number 2 on do, a transaction each; `brief` of block 2 goes with block 5."""
LATE = {4: ((3, 0),), 5: ((3, 1), (4, 1))}
"""Sets, by block and transaction, that come behind a block."""
ELIGIBLE_BEHIND = 3
"""The block behind which the node is entitled to `brief`."""
HEIGHT = 2 + len(BLOCKS)


def _private(number: int) -> BlockPrivate:
    held: dict[int, TxPrivate] = {}
    missing = []
    for tx_num, (collection, ops, fate) in enumerate(BLOCKS[number - 2]):
        if fate == "held":
            held[tx_num] = (private_write(collection, ops),)
        elif fate == "awaited":
            missing.append(MissingPrivate(number, tx_num, SHOP, collection, True))
    return BlockPrivate(held, missing)


def _envelopes(number: int) -> list[bytes]:
    if number == 1:
        return [definition_envelope()]
    writes = BLOCKS[number - 2] if number else ()
    return [
        *(
            private_envelope({collection: ops}, b"%d %d" % (number, tx_num))
            for tx_num, (collection, ops, _) in enumerate(writes)
        ),
        make_config_envelope(number),
    ]


def live(ledger: ChannelLedger, acknowledge: Callable[[str], None]) -> None:
    """Live the rest of the life: blocks, late data, new rights; say what is durable."""
    for number in range(HEIGHT):
        if ledger.height == number:
            prepared = prepare(ledger, next_block(ledger, _envelopes(number)))
            ledger.commit(prepared, _private(number) if number > 1 else BlockPrivate())
            acknowledge(f"block {number}")
        for place in LATE.get(number, ()) if ledger.height == number + 1 else ():
            block, tx_num = place
            collection, ops, _ = BLOCKS[block - 2][tx_num]
            ledger.add_private([(block, tx_num, private_write(collection, ops))])
            acknowledge(f"late {block} {tx_num}")
        if number == ELIGIBLE_BEHIND and ledger.height == number + 1:
            ledger.become_eligible([(SHOP, "brief")])
            acknowledge("eligible")


def outcome(ledger: ChannelLedger) -> dict[str, Any]:
    """Return all that can be read of private data."""
    with ledger.snapshot() as state:
        plain = {name: dict(state.range_private(SHOP, name, "", "")) for name in LIVES}
    return {
        "plain": plain,
        "data": [ledger.private_data(number) for number in range(ledger.height)],
        "missing": ledger.missing_private(100),
        "commit hash": ledger.commit_hash,
    }


@dataclass
class Witness:
    """Copies the ledger's folder at every write step: what a process that ends there leaves.

    Before a step it is what it was after the last one, so it is copied then only where something
    was acknowledged in between.

    Attributes:
        now: what is acknowledged.
        acknowledged: what was by then, for each copy.
        steps: every step so far.
    """

    path: Path
    copies: Path
    now: list[str] = field(default_factory=list)
    acknowledged: list[tuple[str, ...]] = field(default_factory=list)
    steps: list[WriteStep] = field(default_factory=list)

    def before(self, step: WriteStep) -> None:
        self.steps.append(step)
        if self.acknowledged[-1:] != [tuple(self.now)]:
            self._copy()

    def after(self, step: WriteStep) -> None:
        self._copy()

    def _copy(self) -> None:
        shutil.copytree(self.path, self.copies / f"{len(self.acknowledged):04}")
        self.acknowledged.append(tuple(self.now))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The outcome of the life without a fault."""
    ledger = ChannelLedger.open(tmp_path_factory.mktemp("whole") / "ledger")
    live(ledger, lambda _what: None)
    found = outcome(ledger)
    ledger.close()
    return found


def verify_survivor(path: Path, acknowledged: tuple[str, ...], whole: dict[str, Any]) -> None:
    """Check what is left, open it, look for what was acknowledged, and live on to the end."""
    if (path / "state").is_dir() and (path / "state" / "CURRENT").exists():
        report = check_ledger(path)
        assert report.is_clean, [str(each) for each in report.findings]
    ledger = ChannelLedger.open(path)
    blocks = sum(each.startswith("block") for each in acknowledged)
    assert blocks <= ledger.height <= blocks + 1
    for number in range(2, ledger.height):
        missing = {each[:2] for each in ledger.missing_private(100)}
        for tx_num in _private(number).held:
            is_held = tx_num in ledger.private_data(number)
            assert is_held is not _is_expired(number, tx_num, ledger.height)
            assert (number, tx_num) not in missing
    for what in acknowledged:
        if what.startswith("late"):
            block, place = (int(each) for each in what.split()[1:])
            is_held = place in ledger.private_data(block)
            assert is_held is not _is_expired(block, place, ledger.height)
    ledger.close()
    assert check_ledger(path).findings in ((), _waiting(path))
    ledger = ChannelLedger.open(path)
    assert ledger.recovered == ()
    live(ledger, lambda _what: None)
    _catch_up(ledger)
    assert outcome(ledger) == whole
    ledger.close()
    assert check_ledger(path).findings == ()


def _is_expired(number: int, tx_num: int, height: int) -> bool:
    lives = LIVES[BLOCKS[number - 2][tx_num][0]]
    return bool(lives) and number + lives + 1 < height


def _waiting(path: Path) -> tuple[object, ...]:
    """Return the findings about sets whose block was never stored: they wait for it."""
    report = check_ledger(path)
    assert all("waits" in each.what for each in report.findings)
    assert report.counts.damage == 0
    return report.findings


def _catch_up(ledger: ChannelLedger) -> None:
    """Do what a life that ended between a block and what came behind it has left out."""
    items = [
        (block, tx_num, private_write(*BLOCKS[block - 2][tx_num][:2]))
        for late in LATE.values()
        for block, tx_num in late
    ]
    ledger.add_private(items)
    ledger.become_eligible([(SHOP, "brief")])


def test_process_that_dies_at_a_write_step_loses_no_private_data(
    whole: dict[str, Any], tmp_path: Path
) -> None:
    """What is left before or after each write step comes to the same end as a life without."""
    path = tmp_path / "ledger"
    path.mkdir()
    witness = Witness(path, tmp_path / "copies")
    ledger = ChannelLedger.open(path, faults=witness)
    live(ledger, witness.now.append)
    ledger.close()
    assert witness.steps.count(WriteStep.PRIVATE) > 3 * len(BLOCKS) // 2
    assert len(witness.acknowledged) > len(witness.steps)
    for number, acknowledged in enumerate(witness.acknowledged):
        verify_survivor(witness.copies / f"{number:04}", acknowledged, whole)


def _steps(folder: Path) -> list[tuple[str, WriteStep]]:
    steps = Steps()
    ledger = ChannelLedger.open(folder / "counted", faults=steps)
    live(ledger, lambda _what: None)
    ledger.close()
    return steps.heard


def test_private_batch_that_fails_loses_nothing_acknowledged(
    whole: dict[str, Any], tmp_path: Path
) -> None:
    """The disk refuses before or after a batch of private data: the ledger stops, and is whole."""
    heard = _steps(tmp_path)
    for act_at, (_, step) in enumerate(heard):
        if step is not WriteStep.PRIVATE:
            continue
        path = tmp_path / f"{act_at:04}"
        acknowledged: list[str] = []
        faults: FaultPort = Steps(act_at)
        ledger = ChannelLedger.open(path, faults=faults)
        with pytest.raises(StorageError):
            live(ledger, acknowledged.append)
        with pytest.raises(StorageError, match="open it again"):
            ledger.become_eligible([(SHOP, "brief")])
        ledger.close()
        verify_survivor(path, tuple(acknowledged), whole)


def test_private_data_stored_for_a_block_that_was_not_are_found_again(tmp_path: Path) -> None:
    """A power cut between write sets and block: the block comes again alone, and they are there."""
    heard = _steps(tmp_path)
    path = tmp_path / "ledger"
    act_at = heard.index(
        ("after", WriteStep.PRIVATE), heard.index(("after", WriteStep.PRIVATE)) + 1
    )
    ledger = ChannelLedger.open(path, faults=Steps(act_at))
    with pytest.raises(StorageError):
        live(ledger, lambda _what: None)
    ledger.close()
    ledger = ChannelLedger.open(path)
    assert ledger.height == 2
    assert ledger.private_data(2) == {}, "not before the block is"
    missing = [MissingPrivate(2, tx_num, SHOP, "terms", True) for tx_num in (0,)]
    ledger.commit(prepare(ledger, next_block(ledger, _envelopes(2))), BlockPrivate({}, missing))
    assert ledger.private_data(2) == _private(2).held
    assert ledger.missing_private(10) == []
    ledger.close()
    assert check_ledger(path).findings == ()


def test_private_data_stored_for_a_block_that_is_another_are_forgotten(tmp_path: Path) -> None:
    """What was stored for a block that never came is not taken for that of the one that did."""
    heard = _steps(tmp_path)
    path = tmp_path / "ledger"
    act_at = heard.index(
        ("after", WriteStep.PRIVATE), heard.index(("after", WriteStep.PRIVATE)) + 1
    )
    ledger = ChannelLedger.open(path, faults=Steps(act_at))
    with pytest.raises(StorageError):
        live(ledger, lambda _what: None)
    ledger.close()
    ledger = ChannelLedger.open(path)
    ledger.commit(prepare(ledger, next_block(ledger, [make_config_envelope(2)])))
    assert ledger.private_data(2) == {}
    ledger.close()
    assert check_ledger(path).findings == ()
