"""Damage to what was acknowledged: never passed over, always named with its place."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import plyvel
import pytest

from ledger.blocks.block import Block
from ledger.blocks.metadata import codes_of, with_validation
from ledger.blocks.segments import Record, SegmentLog, TornTail
from ledger.errors import CorruptionError, Fatal, FormatVersionError
from ledger.fsck import FindingKind, check_ledger
from ledger.state.keys import (
    FORMAT,
    HISTORY,
    SAVEPOINT,
    TRANSACTION,
    number_key,
    public_prefix,
)
from ledger.transactions.codes import TxValidationCode
from tests.support.faults import BLOCKS, live, open_ledger


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of several segments, closed."""
    path = tmp_path_factory.mktemp("original") / "ledger"
    ledger = open_ledger(path)
    live(ledger, lambda _what: None)
    ledger.close()
    return path


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    copy = tmp_path / "ledger"
    shutil.copytree(original, copy)
    return copy


def _flip(file: Path, offset: int) -> None:
    raw = bytearray(file.read_bytes())
    raw[offset] ^= 0x10
    file.write_bytes(raw)


def _records(folder: Path) -> list[Record]:
    log = SegmentLog(folder)
    try:
        return [each for each in log.scan() if isinstance(each, Record)]
    finally:
        log.close()


def _scan(folder: Path) -> tuple[list[Record | TornTail], Fatal | None]:
    """Return what a scan finds, and the error that ends it."""
    log = SegmentLog(folder)
    found: list[Record | TornTail] = []
    try:
        found.extend(log.scan())
    except CorruptionError as error:
        return found, error
    finally:
        log.close()
    return found, None


def _open(path: Path) -> Fatal | None:
    """Open and close the ledger; return what keeps it from being opened."""
    try:
        open_ledger(path).close()
    except Fatal as error:
        return error
    return None


def _items(path: Path) -> dict[bytes, bytes]:
    database = plyvel.DB(str(path / "state"))
    try:
        return dict(database.iterator())
    finally:
        database.close()


def _change(path: Path, change: Callable[[plyvel.DB], None]) -> None:
    database = plyvel.DB(str(path / "state"))
    try:
        change(database)
    finally:
        database.close()


@pytest.mark.parametrize("folder", ["blocks", "evidence"])
def test_flipped_byte_anywhere_in_the_log_is_noticed(path: Path, folder: str) -> None:
    """A flipped byte in any place of a segment file is corruption, or a tail that is not whole."""
    whole = _records(path / folder)
    files = sorted((path / folder).iterdir())
    for file in files:
        raw = file.read_bytes()
        for offset in range(len(raw)):
            damaged = bytearray(raw)
            damaged[offset] ^= 1 << offset % 8
            file.write_bytes(damaged)
            found, fatal = _scan(path / folder)
            if fatal is not None:
                assert str(file) in str(fatal)
                continue
            # Nothing stands behind it, so it might be a write that was never finished; whether it
            # was acknowledged is for the savepoint to say.
            assert file == files[-1]
            assert isinstance(found[-1], TornTail)
            assert found[:-1] == whole[: len(found) - 1]
            assert found[-1].file == file
        file.write_bytes(raw)
    assert _records(path / folder) == whole


def _places(original: Path) -> Iterator[tuple[str, int]]:
    for folder in ("blocks", "evidence"):
        for file in sorted((original / folder).iterdir()):
            for offset in range(0, file.stat().st_size, 61):
                yield f"{folder}/{file.name}", offset


def test_flipped_byte_in_a_stored_record_is_fatal_or_found_by_fsck(
    original: Path, path: Path
) -> None:
    """Opening refuses a damaged end; what lies below the savepoint fsck finds, naming the file."""
    fatal = found = 0
    for name, offset in _places(original):
        _flip(path / name, offset)
        error = _open(path)
        if error is not None:
            assert name in str(error)
            fatal += 1
        else:
            report = check_ledger(path)
            assert not report.is_clean
            assert any(name in str(finding) for finding in report.findings)
            found += 1
        shutil.copy2(original / name, path / name)
    assert fatal
    assert found
    assert check_ledger(path).findings == ()


def test_damaged_block_is_named_when_it_is_read(path: Path) -> None:
    """A block below the savepoint that is damaged is fatal where it is read; others are served."""
    third = _records(path / "blocks")[2]
    file = path / "blocks" / f"{third.location.segment:09}.seg"
    _flip(file, third.location.offset + 5)
    ledger = open_ledger(path)
    with pytest.raises(CorruptionError) as caught:
        ledger.block(2)
    assert f"offset {third.location.offset - 24} of {file}" in str(caught.value)
    assert ledger.block(1) is not None
    ledger.close()


def test_damaged_database_is_fatal_or_found_or_made_good(original: Path, path: Path) -> None:
    """A flipped byte in LevelDB's files never ends in a wrong state that passes for a right one."""
    reference = _items(original)
    outcomes: dict[str, int] = {}
    names = [each.name for each in sorted((original / "state").iterdir()) if each.name != "LOCK"]
    for name in names:
        if name.startswith("LOG"):
            continue  # what LevelDB writes for people to read
        size = (original / "state" / name).stat().st_size
        for offset in range(0, size, max(1, size // 25)):
            shutil.rmtree(path / "state")
            shutil.copytree(original / "state", path / "state")
            _flip(path / "state" / name, offset)
            try:
                open_ledger(path).close()
                report = check_ledger(path)
            except Fatal:
                outcome = "fatal"
            else:
                outcome = "good" if report.is_clean else "found"
                if report.is_clean:
                    assert report.height == BLOCKS
                    assert _items(path) == reference
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
    assert outcomes["fatal"] > 10


def _with_value(key: bytes, value: bytes) -> Callable[[plyvel.DB], None]:
    return lambda database: database.put(key, value)


def _without(key: bytes) -> Callable[[plyvel.DB], None]:
    return lambda database: database.delete(key)


def _first(path: Path, space: bytes) -> bytes:
    return min(key for key in _items(path) if key.startswith(space))


COUNTER = public_prefix("shop") + b"counter"


def test_state_that_was_changed_is_found_key_by_key(path: Path) -> None:
    """fsck compares world state, metadata, history, indexes and savepoint, and names each key."""
    items = _items(path)
    item = public_prefix("shop") + b"item %d" % (BLOCKS - 1)
    damages = {
        COUNTER: (_with_value(COUNTER, items[COUNTER] + b"0"), "state of key 'counter' of 'shop'"),
        item: (
            _with_value(item, items[item][:9] + b"x"),
            f"state of key 'item {BLOCKS - 1}' of 'shop'",
        ),
        b"more": (
            _with_value(public_prefix("shop") + b"more", items[COUNTER]),
            f"state of key 'more' of 'shop': holds version ({BLOCKS - 1}, 0)",
        ),
        HISTORY: (_without(_first(path, HISTORY)), "history of key"),
        TRANSACTION: (_without(_first(path, TRANSACTION)), "place of transaction"),
        b"code": (
            _with_value(_first(path, TRANSACTION), items[_first(path, TRANSACTION)][:-1] + b"\x05"),
            "code 5",
        ),
        b"m": (_without(b"mshop"), "use of metadata in 'shop'"),
        number_key(3): (_with_value(number_key(3), items[number_key(4)]), "place of block 3"),
        b"b": (_without(_first(path, b"b")), "number of the block with header hash"),
        SAVEPOINT: (
            _with_value(SAVEPOINT, items[SAVEPOINT][:-1] + bytes((items[SAVEPOINT][-1] ^ 1,))),
            f"savepoint: holds height {BLOCKS}",
        ),
        b"?": (_with_value(b"?", b""), "unknown key 3f"),
        b"e": (_without(_first(path, b"e")), "place of evidence 'seal' about block 1"),
    }
    for damage, words in damages.values():
        _change(path, damage)
        report = check_ledger(path)
        assert report.counts.damage == len(report.findings) == 1
        assert words in str(report.findings[0])
        assert report.findings[0].kind is FindingKind.DAMAGE

        def restore(database: plyvel.DB) -> None:
            for key in dict(database.iterator()).keys() - items.keys():
                database.delete(key)
            for key, value in items.items():
                database.put(key, value)

        _change(path, restore)
    assert check_ledger(path).findings == ()


def _rewrite(path: Path, number: int, rewrite: Callable[[Block], Block]) -> None:
    """Store another block in the place of block *number*, checksums and all."""
    records = _records(path / "blocks")
    shutil.rmtree(path / "blocks")
    log = SegmentLog(path / "blocks", 1 << 20)
    for record in records:
        block = Block.decode(record.data)
        log.append(record.number, (rewrite(block) if block.number == number else block).encode())
    log.close()
    shutil.rmtree(path / "state")


def test_block_whose_verdicts_were_changed_is_refused_at_replay(path: Path) -> None:
    """A block with another verdict recorded than the one that comes out is corruption."""

    def spoil(block: Block) -> Block:
        codes = list(codes_of(block))
        codes[1] = TxValidationCode.VALID
        return with_validation(block, codes, b"\x01" * 32)

    _rewrite(path, 4, spoil)
    with pytest.raises(CorruptionError, match=r"block 4 at offset .* verdicts and the commit hash"):
        open_ledger(path)


def test_block_whose_data_were_changed_is_refused_at_replay(path: Path) -> None:
    """A block whose data no longer have its hash is corruption, whatever its checksum says."""

    def spoil(block: Block) -> Block:
        return Block(block.header, block.data[:1], block.metadata)

    _rewrite(path, 4, spoil)
    with pytest.raises(CorruptionError, match=r"offset .* of .*: the data hash of block 4"):
        open_ledger(path)


@pytest.mark.parametrize("number", [1, 4, BLOCKS - 1])
def test_fsck_names_the_block_that_was_changed(path: Path, number: int) -> None:
    """fsck refuses a changed block as opening does, and says how far the state was compared."""
    kept = path.parent / "state"
    shutil.copytree(path / "state", kept)
    _rewrite(path, number, lambda block: Block(block.header, block.data, (b"",) * 5))
    shutil.copytree(kept, path / "state")
    report = check_ledger(path)
    assert not report.is_clean
    assert any(f"block {number} carries 0 validation codes" in str(e) for e in report.findings)
    assert any(f"{number} of them can be read" in str(each) for each in report.findings)
    assert report.counts.blocks == number


def test_unknown_format_versions_are_refused(path: Path) -> None:
    """A database or segment file of a format that we do not know is not touched."""
    _change(path, _with_value(FORMAT, b"\x00\x00\x00\x02"))
    with pytest.raises(FormatVersionError, match="has format version 2, this program knows 1"):
        open_ledger(path)
    with pytest.raises(FormatVersionError):
        check_ledger(path)
    _change(path, _with_value(FORMAT, b"\x00\x00\x00\x01"))
    open_ledger(path).close()
    _change(path, _without(FORMAT))
    with pytest.raises(CorruptionError, match="a savepoint but no format version"):
        open_ledger(path)
