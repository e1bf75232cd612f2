"""When the pages of mapped tables are given back."""

from __future__ import annotations

import errno
import gc
import threading

import pytest

from ledger.state import mapped, residence
from ledger.state.residence import Watch

MB = 1024 * 1024
PROGRAMS = 40 * MB
LIMIT = 10 * MB


class Process:
    """What the system would say of a process."""

    def __init__(self) -> None:
        self.programs = PROGRAMS
        self.tables = 0
        self.doomed = 0

    def resident(self) -> int:
        return self.programs + self.tables + self.doomed


class Database:
    """Gives back its tables, though not those that have just left it."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.given_back = threading.Semaphore(0)
        self.times = 0

    def give_back(self) -> None:
        self.times += 1
        self._process.tables = 0
        self.given_back.release()


class Noted(threading.Event):
    """Counts how often it was cleared."""

    def __init__(self) -> None:
        super().__init__()
        self.cleared = threading.Semaphore(0)

    def clear(self) -> None:
        super().clear()
        self.cleared.release()


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    process = Process()
    monkeypatch.setattr(mapped, "is_supported", lambda: True)
    monkeypatch.setattr(mapped, "resident_file_bytes", process.resident)
    monkeypatch.setattr(residence, "LIMIT_BYTES", LIMIT)
    monkeypatch.setattr(residence, "_LOOKS_APART_S", 0.0)
    return process


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch, process: Process) -> Watch:
    """A watch that looks when it is told to; its thread would look whenever it likes."""
    monkeypatch.setattr(Watch, "_run", lambda _: None)
    return Watch()


def joined(watch: Watch, process: Process) -> Database:
    database = Database(process)
    watch.join(database)
    watch.look()
    return database


def test_pages_below_the_limit_stay(watch: Watch, process: Process) -> None:
    """Reading them again would cost, and they are not many."""
    database = joined(watch, process)
    process.tables = LIMIT
    watch.use()
    assert database.times == 0


def test_pages_above_the_limit_are_given_back_by_every_database(
    watch: Watch, process: Process
) -> None:
    """The system does not tell whose they are."""
    databases = [joined(watch, process) for _ in range(3)]
    process.tables = LIMIT + 1
    watch.use()
    assert [each.times for each in databases] == [1, 1, 1]


def test_tables_of_a_compaction_that_just_ended_do_not_count_as_programs(
    watch: Watch, process: Process
) -> None:
    """They cannot be given back at that moment, and the limit stays where it is."""
    database = joined(watch, process)
    process.doomed, process.tables = 5 * LIMIT, LIMIT
    watch.look()
    process.doomed, process.tables = 0, LIMIT + 1
    watch.look()
    assert database.times == 2
    assert process.tables == 0


def test_programs_that_are_loaded_later_are_learnt(watch: Watch, process: Process) -> None:
    """Else everything would be given back at every look."""
    database = joined(watch, process)
    process.programs += 3 * LIMIT
    for _ in range(100):
        watch.look()
    assert 0 < database.times <= residence._REMEMBERED
    process.tables = LIMIT + 1
    watch.look()
    assert process.tables == 0


def test_what_was_given_back_in_vain_is_not_tried_again_at_once(
    watch: Watch, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next use of a database does not look again; a later one does."""
    monkeypatch.setattr(residence, "_VAIN_PAUSE_S", 3600.0)
    database = joined(watch, process)
    process.programs += 3 * LIMIT
    for _ in range(20):
        watch.use()
    assert database.times == 1


def test_database_that_has_left_is_asked_no_more(watch: Watch, process: Process) -> None:
    """Neither one that was closed nor one that was dropped without that."""
    closed, dropped = joined(watch, process), joined(watch, process)
    stays = joined(watch, process)
    heard = dropped.given_back
    watch.leave(closed)
    watch.leave(closed)
    del dropped
    gc.collect()
    process.tables = LIMIT + 1
    watch.look()
    assert (closed.times, stays.times) == (0, 1)
    assert not heard.acquire(blocking=False)


def test_who_reads_on_waits_while_pages_are_given_back(watch: Watch, process: Process) -> None:
    """Else those who read at that moment map as much again before it is done."""
    database = joined(watch, process)
    began, done, read_on = threading.Event(), threading.Event(), threading.Event()

    def give_back() -> None:
        began.set()
        assert done.wait(timeout=10)
        process.tables = 0

    database.give_back = give_back  # type: ignore[method-assign]
    process.tables = LIMIT + 1

    def read() -> None:
        watch.read_on()
        read_on.set()

    looks, reads = threading.Thread(target=watch.look), threading.Thread(target=read)
    looks.start()
    assert began.wait(timeout=10)
    reads.start()
    assert not read_on.wait(timeout=0.05)
    done.set()
    assert read_on.wait(timeout=10)
    looks.join()
    reads.join()


def test_process_without_a_file_left_looks_another_time(
    watch: Watch, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What needs a file to look by is done when there is one again."""
    database = joined(watch, process)
    process.tables = LIMIT + 1

    def none_left() -> int:
        raise OSError(errno.EMFILE, "too many open files")

    with monkeypatch.context() as none:
        none.setattr(mapped, "resident_file_bytes", none_left)
        watch.use()
    assert database.times == 0
    watch.use()
    assert database.times == 1


def test_pages_that_come_while_nobody_calls_are_given_back(process: Process) -> None:
    """A compaction reads on while the one who writes waits for it."""
    watch = Watch()
    database = joined(watch, process)
    watch.use()
    process.tables = LIMIT + 1
    assert database.given_back.acquire(timeout=10)
    watch.leave(database)


def test_thread_sleeps_when_nothing_changes_and_ends_with_the_last_database(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that is idle is not woken; one that is used again is watched again."""
    monkeypatch.setattr(residence, "_THREAD_LOOKS_APART_S", 0.001)
    watch = Watch()
    busy = watch._busy = Noted()
    database = joined(watch, process)
    thread = watch._thread
    assert thread is not None
    watch.use()
    assert busy.cleared.acquire(timeout=10), "the thread never sleeps"
    process.tables = LIMIT + 1
    assert not busy.is_set()
    assert database.times == 0
    watch.use()
    assert database.times == 1
    watch.leave(database)
    thread.join(timeout=10)
    assert not thread.is_alive()


def test_system_without_what_is_needed_has_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is given back there."""
    monkeypatch.setattr(mapped, "is_supported", lambda: False)
    process = Process()
    watch = Watch()
    database = Database(process)
    watch.join(database)
    process.tables = LIMIT + 1
    watch.use()
    assert watch._thread is None
    assert database.times == 0
