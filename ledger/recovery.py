"""What opening a ledger finds in its logs above the database, and what it cuts off.

The log is compared with the savepoint: the last block of the savepoint must stand where the index
says, whole and with the header hash that the savepoint has. What follows it was stored but not yet
applied, and is replayed by the caller; a torn tail behind that was acknowledged to nobody, and is
cut. Anything else is corruption, and fatal.

Absent: a look at all that lies below the savepoint. It would make opening as slow as the ledger is
long; a damaged block there is found when it is read, and by ``ledger.fsck``.
"""

from __future__ import annotations

from collections.abc import Iterator

from ledger.blocks.segments import (
    RECORD_HEADER_BYTES,
    Location,
    Position,
    Record,
    SegmentLog,
    TornTail,
)
from ledger.errors import CorruptionError, StorageError
from ledger.state.blocks import decode_stored_block
from ledger.state.database import ChannelDatabase, Savepoint
from ledger.state.keys import decode_location, number_key

_RESTORE = "restore the ledger from a backup, or fetch the channel anew from another member"


def unindexed_records(
    log: SegmentLog, database: ChannelDatabase, savepoint: Savepoint, words: list[str]
) -> Iterator[Record]:
    """Iterate over the stored blocks above the savepoint, then cut a torn tail.

    Args:
        log: the blocks.
        database: their effect, up to the savepoint.
        savepoint: as the database has it before the first of them is applied.
        words: takes a sentence if something was cut.

    Raises:
        CorruptionError: the log does not hold what the savepoint says.
    """
    last = _last_location(log, database, savepoint)
    number = savepoint.height
    start = None
    if last is not None:
        number -= 1
        start = Position(last.segment, last.offset - RECORD_HEADER_BYTES)
    for found in log.scan(start):
        if isinstance(found, TornTail):
            if number < savepoint.height:
                raise CorruptionError(f"block {number} was committed, but {found}; {_RESTORE}")
            _cut(log, found, words)
            return
        if found.number != number:
            raise CorruptionError(
                f"block {found.number} stands at offset {found.location.offset} of "
                f"{log.file(found.location.segment)} where block {number} belongs; {_RESTORE}"
            )
        if number < savepoint.height:
            _verify_last(log, found, savepoint)
        else:
            yield found
        number += 1
    if number < savepoint.height:
        raise CorruptionError(
            f"the state holds {savepoint.height} blocks, but block {number} is not in "
            f"{log.path}; {_RESTORE}"
        )


def _last_location(
    log: SegmentLog, database: ChannelDatabase, savepoint: Savepoint
) -> Location | None:
    if not savepoint.height:
        return None
    raw = database.get(number_key(savepoint.height - 1))
    if raw is None:
        raise CorruptionError(
            f"the database {database.path} does not know where block {savepoint.height - 1} "
            f"stands in {log.path}; move the database away and start again: the state is rebuilt "
            "from the blocks"
        )
    return decode_location(raw)


def _verify_last(log: SegmentLog, record: Record, savepoint: Savepoint) -> None:
    block = decode_stored_block(record.data, record.number)
    if block.header.hash() != savepoint.header_hash:
        raise CorruptionError(
            f"block {record.number} at offset {record.location.offset} of "
            f"{log.file(record.location.segment)} is another one than the state was made from: "
            "blocks and state come from different ledgers; move the state away and start again "
            "to rebuild it from the blocks"
        )


def describe_replay(first: int, height: int) -> list[str]:
    """Say which blocks were replayed, nothing if none were."""
    if height == first:
        return []
    if first == 0:
        return [f"rebuilt the state from {height} stored blocks"]
    which = f"block {first}" if height == first + 1 else f"blocks {first} to {height - 1}"
    return [f"replayed {which}, stored but not yet in the state"]


def unindexed_evidence(
    log: SegmentLog, database: ChannelDatabase, words: list[str]
) -> Iterator[Record]:
    """Iterate over the stored evidence that the index lacks, then cut a torn tail."""
    count = 0
    end = database.evidence_end()
    for found in log.scan(end if any(end) else None):
        if isinstance(found, TornTail):
            _cut(log, found, words)
        else:
            yield found
            count += 1
    if count:
        records = "record" if count == 1 else "records"
        words.append(f"indexed {count} {records} of evidence, stored but not yet in the index")


def _cut(log: SegmentLog, tail: TornTail, words: list[str]) -> None:
    try:
        log.cut(tail)
    except OSError as error:
        raise StorageError(
            f"the torn tail of {tail} could not be cut: {error}; make room or repair the disk, "
            "then start again"
        ) from error
    words.append(f"cut off a write that was never finished: {tail}")
