"""Opening a ledger: what is refused, by whom it is held, and what does not fit together."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from threading import Thread
from zlib import crc32

import plyvel
import pytest

from ledger.channel import ChannelLedger
from ledger.errors import (
    CorruptionError,
    FormatVersionError,
    LedgerClosed,
    LedgerLocked,
    StorageError,
    Unavailable,
)
from ledger.fsck import LedgerCheck, check_ledger
from ledger.state.keys import HEADER_HASH, SAVEPOINT, number_key
from tests.support.chain import commit, make_config_envelope
from tests.support.faults import BLOCKS, envelopes_of, live, open_ledger

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("original") / "ledger"
    ledger = open_ledger(path)
    live(ledger, lambda _what: None)
    ledger.close()
    return path


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "ledger"
    shutil.copytree(original, copy)
    return copy


def _segments(path: Path) -> list[Path]:
    return sorted((path / "blocks").iterdir())


def test_new_ledger_is_empty_and_says_nothing(tmp_path: Path) -> None:
    """A folder that is not there is made; an empty ledger has no hashes and needs no recovery."""
    ledger = ChannelLedger.open(tmp_path / "deep" / "ledger")
    assert (ledger.height, ledger.last_header_hash, ledger.commit_hash) == (0, b"", b"")
    assert ledger.recovered == ()
    assert ledger.block(0) is None
    assert list(ledger.blocks()) == []
    with ledger.snapshot() as state:
        assert state.height == 0
        assert state.get("", "anything") is None
    ledger.close()
    assert check_ledger(tmp_path / "deep" / "ledger").findings == ()


def test_ledger_open_in_another_process_is_refused(path: Path) -> None:
    """One process owns a ledger; another is told so, and may try again when it is free."""
    code = (
        "import pathlib, sys; from tests.support.faults import open_ledger; "
        "ledger = open_ledger(pathlib.Path(sys.argv[1])); print('open', flush=True); "
        "sys.stdin.read(); ledger.close()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "open\n"
        with pytest.raises(LedgerLocked, match=f"{path} is open in another process"):
            open_ledger(path)
        with pytest.raises(Unavailable):
            check_ledger(path)
        owner.communicate("", timeout=30)
    open_ledger(path).close()


def test_ledger_open_twice_in_one_process_is_refused(path: Path) -> None:
    """The same holds inside one process."""
    ledger = open_ledger(path)
    with pytest.raises(LedgerLocked):
        open_ledger(path)
    ledger.close()


def test_segment_file_missing_in_the_middle_is_fatal(path: Path) -> None:
    """A gap between the segment files is seen at once."""
    segments = _segments(path)
    segments[1].unlink()
    with pytest.raises(CorruptionError, match="a segment file is missing"):
        open_ledger(path)


def test_segment_file_missing_at_the_end_is_fatal(path: Path) -> None:
    """The state knows blocks that are gone: they are not silently forgotten."""
    segments = _segments(path)
    segments[-1].unlink()
    with pytest.raises(CorruptionError, match=f"the whole file is missing at .*{segments[-1]}"):
        open_ledger(path)
    report = check_ledger(path)
    assert any(f"the state was made from {BLOCKS}" in str(each) for each in report.findings)


def test_blocks_folder_that_is_lost_is_fatal(path: Path) -> None:
    """A state without blocks is no ledger."""
    shutil.rmtree(path / "blocks")
    with pytest.raises(CorruptionError, match="the whole file is missing"):
        open_ledger(path)


def test_blocks_cut_at_a_record_below_the_savepoint_are_fatal(path: Path) -> None:
    """Blocks that end where a record ends, but before the savepoint, are missing some."""
    last = _segments(path)[-1]
    os.truncate(last, 24)
    with pytest.raises(CorruptionError, match=rf"bytes are missing at offset 24 of {last}"):
        open_ledger(path)
    report = check_ledger(path)
    assert not report.is_clean
    assert any("the state was made from" in str(each) for each in report.findings)


def test_last_block_cut_short_below_the_savepoint_is_fatal(path: Path) -> None:
    """What would be a torn tail is corruption if the state holds that block."""
    last = _segments(path)[-1]
    os.truncate(last, last.stat().st_size - 1)
    with pytest.raises(CorruptionError, match=rf"block {BLOCKS - 1} was committed, but .*{last}"):
        open_ledger(path)


def test_state_of_another_ledger_is_refused(path: Path, tmp_path: Path) -> None:
    """Blocks and state must come from the same ledger."""
    other = open_ledger(tmp_path / "other")
    commit(other, [make_config_envelope(99)])
    while other.height < BLOCKS:
        commit(other, envelopes_of(other.height))
    other.close()
    shutil.rmtree(path / "state")
    shutil.copytree(tmp_path / "other" / "state", path / "state")
    with pytest.raises(CorruptionError, match="another one than the state was made from"):
        open_ledger(path)
    assert not check_ledger(path).is_clean


def test_evidence_about_blocks_that_are_missing_is_fatal(path: Path, tmp_path: Path) -> None:
    """Evidence outlives its blocks only if those were lost."""
    shorter = open_ledger(tmp_path / "shorter")
    commit(shorter, envelopes_of(0))
    shorter.close()
    shutil.rmtree(tmp_path / "shorter" / "evidence")
    shutil.copytree(path / "evidence", tmp_path / "shorter" / "evidence")
    with pytest.raises(CorruptionError, match="about block 1, but the height is 1"):
        open_ledger(tmp_path / "shorter")


def test_evidence_folder_that_is_lost_is_fatal(path: Path) -> None:
    """The index knows evidence that is gone."""
    shutil.rmtree(path / "evidence")
    with pytest.raises(CorruptionError, match="evidence"):
        open_ledger(path)
    assert not check_ledger(path).is_clean


def test_state_that_is_lost_is_made_anew(path: Path) -> None:
    """Everything in the database follows from blocks and evidence."""
    shutil.rmtree(path / "state")
    ledger = open_ledger(path)
    assert ledger.recovered == (
        f"rebuilt the state from {BLOCKS} stored blocks",
        f"indexed {BLOCKS // 2} records of evidence, stored but not yet in the index",
    )
    ledger.close()
    assert check_ledger(path).findings == ()


def _database(path: Path, key: bytes, value: bytes | None) -> None:
    database = plyvel.DB(str(path / "state"))
    if value is None:
        database.delete(key)
    else:
        database.put(key, value)
    database.close()


def test_savepoint_that_is_damaged_is_fatal(path: Path) -> None:
    """A savepoint of another length is none."""
    _database(path, SAVEPOINT, b"\x00" * 9)
    with pytest.raises(CorruptionError, match=r"the savepoint .* is damaged"):
        open_ledger(path)
    assert not check_ledger(path).is_clean


def test_index_without_the_last_block_is_fatal(path: Path) -> None:
    """The index must know where the savepoint's block stands."""
    _database(path, number_key(BLOCKS - 1), None)
    with pytest.raises(CorruptionError, match=f"does not know where block {BLOCKS - 1} stands"):
        open_ledger(path)


def test_index_without_an_older_block_is_noticed_when_it_is_read(path: Path) -> None:
    """Iteration never skips a block."""
    _database(path, number_key(2), None)
    ledger = open_ledger(path)
    with pytest.raises(CorruptionError, match="block 2 is not in the index"):
        list(ledger.blocks())
    ledger.close()


def test_index_of_header_hashes_leads_to_the_block(path: Path) -> None:
    """A block is found by its header hash; the length of the key is that of a hash."""
    ledger = open_ledger(path)
    for block in ledger.blocks():
        assert ledger.block_by_hash(block.header.hash()) == block
    ledger.close()
    keys = dict(plyvel.DB(str(path / "state")).iterator(prefix=HEADER_HASH))
    assert {len(key) for key in keys} == {33}


def test_segment_file_of_another_format_is_refused(path: Path) -> None:
    """A segment file says its format; one that we do not know is not read."""
    for file in _segments(path):
        raw = bytearray(file.read_bytes())
        raw[8:12] = (2).to_bytes(4, "big")
        raw[20:24] = crc32(raw[:20]).to_bytes(4, "big")
        file.write_bytes(raw)
    with pytest.raises(FormatVersionError, match="has format version 2, this program knows 1"):
        open_ledger(path)
    with pytest.raises(FormatVersionError):
        check_ledger(path)


def test_check_of_no_ledger_is_refused(tmp_path: Path) -> None:
    """fsck makes nothing where there is nothing."""
    with pytest.raises(StorageError, match="there is no ledger in"):
        check_ledger(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_check_tells_its_progress_and_leaves_nothing_behind(path: Path) -> None:
    """fsck counts as it goes, takes away an older scratch folder, and removes its own."""
    (path / "fsck-died").mkdir()
    before = {each.name for each in path.iterdir()} - {"fsck-died"}
    seen = []
    report = check_ledger(path, progress=lambda counts: seen.append(counts.blocks))
    assert seen[:BLOCKS] == list(range(1, BLOCKS + 1))
    assert report.counts.transactions == 1 + 2 * (BLOCKS - 1)
    assert report.counts.evidence == BLOCKS // 2
    assert {each.name for each in path.iterdir()} == before
    with LedgerCheck(path) as check:
        assert list(check.findings()) == []
        with pytest.raises(LedgerLocked):
            open_ledger(path)


def test_closed_ledger_refuses_and_an_old_snapshot_reads_on(path: Path) -> None:
    """Closing refuses new readers; a snapshot taken before reads until it is given back."""
    ledger = open_ledger(path)
    snapshot = ledger.snapshot()
    closing = Thread(target=ledger.close)
    closing.start()
    entry = snapshot.get("shop", "counter")
    assert entry is not None
    assert len(list(snapshot.history("shop", "counter"))) == BLOCKS - 1
    snapshot.close()
    closing.join(timeout=30)
    assert not closing.is_alive()
    with pytest.raises(LedgerClosed):
        snapshot.get("shop", "counter")
    with pytest.raises(LedgerClosed):
        ledger.snapshot()
    with pytest.raises(LedgerClosed):
        ledger.block(0)
    ledger.close()
    open_ledger(path).close()
