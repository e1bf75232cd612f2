"""Imports one file: reads it once, sends it in bulk, several transactions in flight at a time.

What belongs to one agreement goes through one lane, and a lane sends one transaction after the
other: so payments and reversals of one agreement keep the order of the file, and the transactions
in flight never touch the same agreement.

Killed at any place, the next run goes on at the last checkpoint, after it has made sure that file,
job, rejects and ledger are still those of the checkpoint. See `progress` and `window` for why
nothing is lost or counted twice.

Memory is bounded by the window and the batches, whatever the length of the file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from zlib import crc32

from clients.files import progress
from clients.files.errors import FileRefused, RowRefused
from clients.files.jobs import Job, Weighed
from clients.files.ports import Ledger
from clients.files.progress import Progress
from clients.files.reading import Position
from clients.files.rejects import RejectsFile
from clients.files.requests import MOST_RECORDS, Request
from clients.files.rows import Reject, Row
from clients.files.tally import Fate, Seen, Tally
from clients.files.window import Slot, Window

IN_FLIGHT: Final = 4
_CHECKPOINT_ROWS: Final = 2 * MOST_RECORDS
# Rows of other lanes that may run ahead of an open one before it is sent in a small transaction.
_AHEAD: Final = 6

Watcher = Callable[[int, int], None]
"""Is told bytes settled and bytes of the file."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """How an import ended.

    Attributes:
        file: the file.
        job: name of the job.
        tally: its sums, which come out even.
        rejects: file of the rejects, None where there is none.
        resumed_at: line at which an interrupted run was taken up, 0 where none was.
        note: what the reader should know about how it began, ``""`` as a rule.
        dry_run: whether nothing was sent.
    """

    file: Path
    job: str
    tally: Tally
    rejects: Path | None
    resumed_at: int = 0
    note: str = ""
    dry_run: bool = False


@dataclass(slots=True)
class _Lane:
    """What one lane holds back, and the transaction it has in flight."""

    function: str = ""
    requests: list[Request] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    flight: asyncio.Task[None] | None = None


class Import:
    """One run over one file.

    Args:
        path: the file.
        job: what its rows become.
        ledger: where they go; None: a dry run, which sends nothing and leaves no progress behind.
        in_flight: transactions at a time.
        batch: records of a transaction, at most 500.
        watch: told of the progress.
    """

    def __init__(
        self,
        path: Path,
        job: Job,
        ledger: Ledger | None,
        *,
        in_flight: int = IN_FLIGHT,
        batch: int = MOST_RECORDS,
        watch: Watcher | None = None,
    ) -> None:
        self._path = path
        self._job = job
        self._ledger = ledger
        self._batch = batch
        self._watch = watch
        self._lanes = [_Lane() for _ in range(in_flight)]
        self._ahead = batch * in_flight * _AHEAD
        self._window = Window()
        self._tally = Tally()
        self._position = Position(1, 0)
        self._tx_id = ""
        self._seen = Seen(0, 0)
        self._mark = ""
        self._size_bytes = 0
        self._unsaved = 0
        self._note = ""
        middle = "" if job.name in ("payments", "agreements") else "." + job.name.split(".")[1]
        self._progress_path = path.with_name(f"{path.name}{middle}.progress.json")
        self._rejects_path = path.with_name(f"{path.name}{middle}.rejects.csv")

    async def run(self) -> ImportReport:
        """Import the file, or what an interrupted run has left of it.

        Raises:
            FileRefused: the file, its mapping or a file beside it cannot be used.
            LedgerError: the ledger did not take a transaction; the next run goes on from here.
        """
        self._mark = progress.fingerprint(self._path)
        self._size_bytes = self._path.stat().st_size
        start = await self._taken_up()
        rows = self._job.rows(self._path, start.position if start else None)
        with RejectsFile(self._rejects_path, start.rejects_bytes if start else 0) as rejects:
            if start is not None:
                self._tally, self._position, self._tx_id = start.tally, start.position, start.tx_id
                self._seen = Seen(start.tally.read_rows, start.tally.read_paisa)
            try:
                await self._send_all(rows, rejects)
            except asyncio.CancelledError:
                for lane in self._lanes:
                    if lane.flight is not None:
                        lane.flight.cancel()
                raise
            finally:
                # What is in flight comes down and counts, whatever ended the run.
                await self._land_all()
                self._settle(rejects)
                self._save(rejects)
            self._tally.verify_sums(self._seen)
        return self._finish(start)

    async def _send_all(self, rows: Iterable[Row[object]], rejects: RejectsFile) -> None:
        for row in rows:
            await self._take(row)
            self._settle(rejects)
        for lane in self._lanes:
            await self._send(lane)
        for lane in self._lanes:
            await _landed(lane)
        if progress.fingerprint(self._path) != self._mark:
            raise FileRefused(f"{self._path} was changed while it was imported; run it again")

    async def _taken_up(self) -> Progress | None:
        """The checkpoint of an interrupted run, if the world is still as it left it."""
        found = progress.load(self._progress_path)
        if found is None:
            return None
        if self._ledger is None:
            raise FileRefused(
                f"an import of {self._path} was interrupted ({self._progress_path}); run it to its "
                "end before a dry run, which would overwrite its rejects"
            )
        reason = ""
        if found.fingerprint != self._mark:
            reason = "the file is another one now"
        elif found.job != self._description:
            reason = "the member, channel, mapping or options are others now"
        elif not progress.is_boundary(self._path, found.position):
            reason = "its position is not between two rows"
        elif found.tx_id and not await self._ledger.is_recorded(found.tx_id):
            reason = "the ledger does not hold its last transaction"
        if reason:
            self._note = f"an interrupted run was not taken up: {reason}; began anew"
            return None
        return found

    async def _take(self, row: Row[object]) -> None:
        """Give a row its place in the window, and what is to be sent to its lane."""
        weighed = self._weighed(row)
        if isinstance(weighed, Reject):
            self._window.add(Slot.rejected(row.after, weighed))
            self._seen.add(weighed.amount_paisa)
            return
        slot = Slot(row.after, weighed.line, weighed.reference, weighed.amount_paisa)
        self._window.add(slot)
        self._seen.add(weighed.amount_paisa)
        if self._ledger is None:
            slot.fate = Fate.CHECKED
        elif weighed.request is None:
            slot.fate = Fate.ALREADY_THERE
        else:
            await self._queue(slot, weighed.lane, weighed.request)

    def _weighed(self, row: Row[object]) -> Weighed | Reject:
        if row.value is None:
            assert row.reject is not None
            return row.reject
        try:
            return self._job.weigh(row.value)
        except RowRefused as refused:
            return self._job.rejected(row.value, refused)

    async def _queue(self, slot: Slot, lane_name: str, request: Request) -> None:
        lane = self._lanes[crc32(lane_name.encode()) % len(self._lanes)]
        if lane.requests and lane.function != request.function:
            await self._send(lane)
        lane.function = request.function
        lane.requests.append(request)
        lane.slots.append(slot)
        if len(lane.requests) >= self._batch:
            await self._send(lane)
        elif len(self._window) > self._ahead:
            for each in self._lanes:
                await self._send(each)

    async def _send(self, lane: _Lane) -> None:
        """Wait for the lane's transaction in flight, then send what it holds back."""
        await _landed(lane)
        if lane.requests:
            assert self._ledger is not None
            lane.flight = asyncio.create_task(
                _fly(self._ledger, lane.function, lane.requests, lane.slots)
            )
            lane.requests, lane.slots = [], []

    async def _land_all(self) -> None:
        """Let what is in flight come down, whatever becomes of it: its answers still count."""
        flights = [lane.flight for lane in self._lanes if lane.flight is not None]
        await asyncio.gather(*flights, return_exceptions=True)

    def _settle(self, rejects: RejectsFile) -> None:
        settled = 0
        for slot in self._window.settle():
            assert slot.fate is not None
            settled += 1
            self._tally.count(slot.fate, slot.amount_paisa)
            self._position = slot.after
            self._tx_id = slot.tx_id or self._tx_id
            if slot.reject is not None:
                rejects.add(slot.reject, slot.refused_by)
        self._unsaved += settled
        if self._unsaved >= _CHECKPOINT_ROWS:
            self._save(rejects)
        if settled and self._watch is not None:
            self._watch(self._position.offset, self._size_bytes)

    def _save(self, rejects: RejectsFile) -> None:
        self._unsaved = 0
        if self._ledger is None or not self._tally.read_rows:
            return
        progress.save(
            self._progress_path,
            Progress(
                self._description,
                self._mark,
                self._position,
                self._tally,
                rejects.sync(),
                self._tx_id,
            ),
        )

    @property
    def _description(self) -> str:
        member = self._ledger.member if self._ledger is not None else ""
        return f"{self._job.description}/{member}"

    def _finish(self, start: Progress | None) -> ImportReport:
        """Leave the file of rejects where it says something, and no progress file."""
        has_rejects = bool(self._tally.rows[Fate.REJECTED] or self._tally.rows[Fate.REFUSED])
        if not has_rejects:
            self._rejects_path.unlink(missing_ok=True)
        progress.remove(self._progress_path)
        return ImportReport(
            self._path,
            self._job.name,
            self._tally,
            self._rejects_path if has_rejects else None,
            start.position.line if start else 0,
            self._note,
            self._ledger is None,
        )


async def _landed(lane: _Lane) -> None:
    flight, lane.flight = lane.flight, None
    if flight is not None:
        await flight


async def _fly(
    ledger: Ledger, function: str, requests: Sequence[Request], slots: Sequence[Slot]
) -> None:
    names = requests[0].transient
    verdicts = await ledger.submit(
        function,
        [request.argument for request in requests],
        {name: [request.transient[name] for request in requests] for name in names},
    )
    for slot, verdict in zip(slots, verdicts, strict=True):
        slot.answer(verdict)
