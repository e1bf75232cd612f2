"""The ledger when a write step fails, or the process ends at it: nothing acknowledged is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from ledger.blocks.segments import SEGMENT_HEADER_BYTES, SegmentLog, TornTail
from ledger.errors import StorageError
from ledger.faults import WriteStep
from ledger.fsck import check_ledger
from tests.support.chain import commit
from tests.support.faults import (
    BLOCKS,
    Steps,
    envelopes_of,
    evidence_of,
    live,
    live_in_process,
    open_ledger,
)

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Life:
    """The life without a fault: what every other one must come to."""

    header_hashes: tuple[bytes, ...]
    commit_hashes: tuple[bytes, ...]
    events: tuple[tuple[str, WriteStep], ...]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Life:
    steps = Steps()
    ledger = open_ledger(tmp_path_factory.mktemp("whole") / "ledger", steps)
    hashes = []
    live(ledger, lambda _what: hashes.append((ledger.last_header_hash, ledger.commit_hash)))
    hashes = list(dict.fromkeys(hashes))
    ledger.close()
    assert len(hashes) == BLOCKS
    return Life(
        tuple(each[0] for each in hashes), tuple(each[1] for each in hashes), tuple(steps.heard)
    )


def verify_survivor(path: Path, acknowledged: list[str], whole: Life) -> None:
    """Open what is left, check that nothing acknowledged is missing, and live on to the end."""
    blocks = sum(each.startswith("block") for each in acknowledged)
    ledger = open_ledger(path)
    # One block more may have become durable before its commit could say so.
    assert blocks <= ledger.height <= blocks + 1
    if ledger.height:
        assert ledger.last_header_hash == whole.header_hashes[ledger.height - 1]
        assert ledger.commit_hash == whole.commit_hashes[ledger.height - 1]
    for what in acknowledged:
        kind, place = what.split()
        if kind == "evidence":
            assert ledger.evidence(int(place), "seal") == evidence_of(int(place))
    height = ledger.height
    ledger.close()
    verify_clean(path, height)
    ledger = open_ledger(path)
    assert ledger.recovered == ()
    live(ledger, lambda _what: None)
    assert ledger.height == BLOCKS
    assert ledger.last_header_hash == whole.header_hashes[-1]
    assert ledger.commit_hash == whole.commit_hashes[-1]
    for number in range(1, BLOCKS, 2):
        assert ledger.evidence(number, "seal") == evidence_of(number)
    ledger.close()
    verify_clean(path, BLOCKS)


def verify_clean(path: Path, height: int) -> None:
    """A clean fsck: no damage, nothing pending, every block and key looked at."""
    report = check_ledger(path)
    assert report.findings == ()
    assert report.height == report.counts.blocks == height
    assert report.counts.keys > height


def test_life_without_faults_meets_every_write_step(whole: Life) -> None:
    """The life that the other tests interrupt does all there is to do, several segments long."""
    steps = [step for when, step in whole.events if when == "before"]
    assert set(steps) == set(WriteStep) - {WriteStep.TAIL_CUT, WriteStep.PRIVATE}
    assert steps.count(WriteStep.SEGMENT_CREATE) >= 4
    assert steps.count(WriteStep.SEGMENT_SYNC) == BLOCKS + BLOCKS // 2


def test_write_step_that_fails_loses_nothing_acknowledged(whole: Life, tmp_path: Path) -> None:
    """The disk refuses before or after each write step: what was acknowledged is there at open."""
    for act_at, event in enumerate(whole.events):
        path = tmp_path / f"{act_at:04}"
        acknowledged = live_in_process(path, act_at, None)
        assert len(acknowledged) < BLOCKS + BLOCKS // 2, f"the fault at {event} came to nothing"
        verify_survivor(path, acknowledged, whole)


def test_process_that_dies_at_a_write_step_loses_nothing_acknowledged(
    whole: Life, tmp_path: Path
) -> None:
    """The process ends at once before or after each write step, as by ``kill -9``."""
    code = (
        "import sys, pathlib, tests.support.faults as faults; "
        "faults.die_everywhere(pathlib.Path(sys.argv[1]), int(sys.argv[2]))"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(len(whole.events))],
        cwd=ROOT,
        check=True,
        timeout=120,
    )
    for act_at in range(len(whole.events)):
        path = tmp_path / f"{act_at:04}"
        acknowledged = path.with_suffix(".acknowledged").read_text().splitlines()
        verify_survivor(path, acknowledged, whole)


def test_ledger_after_a_failed_write_takes_no_more(tmp_path: Path) -> None:
    """After a failure nothing is written until the ledger is opened again; reading goes on."""
    steps = Steps()
    ledger = open_ledger(tmp_path / "ledger", steps)
    commit(ledger, envelopes_of(0))
    steps.act_at = len(steps.heard)
    with pytest.raises(StorageError, match="could not be written"):
        commit(ledger, envelopes_of(1))
    assert ledger.height == 1
    assert ledger.block(0) is not None
    with pytest.raises(StorageError, match="takes no more writes, since one has failed"):
        commit(ledger, envelopes_of(1))
    with pytest.raises(StorageError, match="open it again"):
        ledger.add_evidence(0, "seal", b"x")
    ledger.close()


def _grow(path: Path, height: int) -> None:
    ledger = open_ledger(path)
    while ledger.height < height:
        commit(ledger, envelopes_of(ledger.height))
    ledger.close()


def _stored(path: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in sorted((path / "blocks").iterdir())}


def _verify_tail(path: Path, name: str, size: int, length: int) -> None:
    """The log finds the whole records, and behind them a torn tail of just the bytes too many."""
    log = SegmentLog(path / "blocks")
    *_, last = log.scan()
    log.close()
    if isinstance(last, TornTail):
        has_header = size > 0 or length > SEGMENT_HEADER_BYTES
        begin = (size or SEGMENT_HEADER_BYTES) if has_header else 0
        assert last.file == path / "blocks" / name
        assert (last.position.offset, last.size_bytes) == (begin, size + length - begin)
    else:
        assert (size, length) == (0, SEGMENT_HEADER_BYTES)


@pytest.mark.parametrize(("height", "starts_segment"), [(1, False), (2, True)])
def test_tail_cut_short_anywhere_is_cut_off_and_reported(
    tmp_path: Path, height: int, starts_segment: bool
) -> None:
    """However much of the last block was written: opening cuts it off, says so, and goes on."""
    path = tmp_path / "ledger"
    _grow(path, height)
    before = _stored(path)
    _grow(tmp_path / "longer", height + 1)
    after = _stored(tmp_path / "longer")
    name = max(after)
    written = after[name][len(before.get(name, b"")) :]
    assert (name not in before) == starts_segment
    file = path / "blocks" / name
    for length in range(1, len(written)):
        with file.open("ab") as cut_short:
            cut_short.write(written[:length])
        _verify_tail(path, name, len(before.get(name, b"")), length)
        # To open the whole ledger takes longer; where headers end and then every few bytes.
        if length < 60 or length % 29 == 0 or length == len(written) - 1:
            ledger = open_ledger(path)
            assert ledger.height == height
            # A segment that has its header and nothing else is whole.
            if starts_segment and length == SEGMENT_HEADER_BYTES:
                assert ledger.recovered == ()
            else:
                assert len(ledger.recovered) == 1
                assert ledger.recovered[0].startswith("cut off a write that was never finished")
                assert name in ledger.recovered[0]
            ledger.close()
            assert _stored(path).get(name, b"") in (
                before.get(name, b""),
                written[:SEGMENT_HEADER_BYTES] if starts_segment else None,
            )
        if starts_segment:
            file.unlink(missing_ok=True)
        else:
            os.truncate(file, len(before[name]))
        assert _stored(path) == before
    _grow(path, height + 1)
    assert _stored(path) == after
    verify_clean(path, height + 1)


def test_block_stored_but_not_applied_is_replayed_and_reported(tmp_path: Path) -> None:
    """Blocks above the savepoint are applied at open as by a commit, and opening says which."""
    path = tmp_path / "ledger"
    _grow(path, 2)
    _grow(tmp_path / "longer", 5)
    for name, raw in _stored(tmp_path / "longer").items():
        (path / "blocks" / name).write_bytes(raw)
    pending = check_ledger(path)
    assert pending.is_clean
    assert pending.counts.pending == 3
    ledger = open_ledger(path)
    assert ledger.recovered == ("replayed blocks 2 to 4, stored but not yet in the state",)
    longer = open_ledger(tmp_path / "longer")
    assert (ledger.height, ledger.last_header_hash) == (longer.height, longer.last_header_hash)
    assert ledger.commit_hash == longer.commit_hash
    longer.close()
    ledger.close()
    verify_clean(path, 5)


@pytest.mark.parametrize("act_at", range(6))
def test_recovery_that_fails_itself_goes_on_at_the_next_open(tmp_path: Path, act_at: int) -> None:
    """A fault while a block is replayed or the tail is cut leaves the rest for the next open."""
    path = tmp_path / "ledger"
    _grow(path, 2)
    _grow(tmp_path / "longer", 4)
    for name, raw in _stored(tmp_path / "longer").items():
        (path / "blocks" / name).write_bytes(raw)
    with (path / "blocks" / max(_stored(path))).open("ab") as file:
        file.write(b"QREC and no more")
    steps = Steps(act_at)
    with pytest.raises(StorageError):
        open_ledger(path, steps)
    assert len(steps.heard) == act_at + 1
    ledger = open_ledger(path)
    assert ledger.height == 4
    # The tail is cut last: only a fault behind that leaves nothing to say.
    assert bool(ledger.recovered) == (act_at < 5)
    ledger.close()
    verify_clean(path, 4)


def test_evidence_cut_short_anywhere_is_cut_off_and_reported(tmp_path: Path) -> None:
    """A torn tail of the evidence is cut like one of the blocks; the blocks are not touched."""
    path = tmp_path / "ledger"
    _grow(path, 2)
    file = path / "evidence" / "000000000.seg"
    ledger = open_ledger(path)
    ledger.add_evidence(0, "seal", b"first")
    ledger.close()
    before = file.read_bytes()
    copy = tmp_path / "copy"
    shutil.copytree(path, copy)
    ledger = open_ledger(path)
    ledger.add_evidence(1, "seal", b"second")
    ledger.close()
    after = file.read_bytes()
    file = copy / "evidence" / "000000000.seg"
    for length in range(1, len(after) - len(before)):
        file.write_bytes(after[: len(before) + length])
        ledger = open_ledger(copy)
        assert len(ledger.recovered) == 1
        assert str(file) in ledger.recovered[0]
        assert (ledger.evidence(0, "seal"), ledger.evidence(1, "seal")) == (b"first", None)
        ledger.close()
        assert file.read_bytes() == before
    file.write_bytes(after)
    assert check_ledger(copy).counts.pending == 1
    ledger = open_ledger(copy)
    assert ledger.recovered == ("indexed 1 record of evidence, stored but not yet in the index",)
    assert ledger.evidence(1, "seal") == b"second"
    ledger.close()
    verify_clean(copy, 2)
