"""Write steps that fail, or at which the process ends; and a ledger's life to try them on."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ledger.channel import ChannelLedger
from ledger.errors import StorageError
from ledger.faults import FaultPort, WriteStep
from ledger.state.version import Version
from ledger.transactions.rwset import KVRead, KVWrite, MetadataWrite, NamespaceRWSet, TxRWSet
from tests.support.chain import commit, make_config_envelope, make_envelope

SEGMENT_SIZE_BYTES = 900
"""So small that the life below fills several segment files."""
BLOCKS = 6


@dataclass
class Steps:
    """Hears of every write step and does something at one of them.

    Attributes:
        act_at: which event, counted from 0; -1: none.
        act: what is done there; by default the disk refuses.
        heard: every event so far.
    """

    act_at: int = -1
    act: Callable[[], None] | None = None
    heard: list[tuple[str, WriteStep]] = field(default_factory=list)

    def before(self, step: WriteStep) -> None:
        self._hear("before", step)

    def after(self, step: WriteStep) -> None:
        self._hear("after", step)

    def _hear(self, when: str, step: WriteStep) -> None:
        self.heard.append((when, step))
        if len(self.heard) - 1 == self.act_at:
            if self.act is None:
                raise OSError(f"no {step} today")
            self.act()


def open_ledger(path: Path, faults: FaultPort | None = None) -> ChannelLedger:
    """Open a ledger with small segment files."""
    return ChannelLedger.open(path, segment_size_bytes=SEGMENT_SIZE_BYTES, faults=faults)


def envelopes_of(number: int) -> list[bytes]:
    """Return the envelopes of block *number* of the life: writes, deletes, metadata, conflicts."""
    if number == 0:
        return [make_config_envelope(0)]
    last = Version(number - 1, 0) if number > 1 else None
    first = NamespaceRWSet(
        "shop",
        reads=(KVRead("counter", last),),
        writes=(
            KVWrite("counter", False, b"%d" % number),
            KVWrite(f"item {number}", False, b"x" * 40),
            KVWrite(f"item {number - 2}", True, b""),
        ),
        metadata_writes=(MetadataWrite(f"item {number}", (("owner", b"%d" % number),)),),
    )
    # Reads what the first has just written, and falls to MVCC.
    second = NamespaceRWSet("shop", (KVRead("counter", last),), (KVWrite("lost", False, b"x"),))
    return [
        make_envelope(TxRWSet((first,)), b"first %d" % number),
        make_envelope(TxRWSet((second,)), b"second %d" % number),
    ]


def live(ledger: ChannelLedger, acknowledge: Callable[[str], None]) -> None:
    """Commit the rest of the life, evidence behind every second block.

    Args:
        ledger: at any height of this life.
        acknowledge: hears ``block N`` or ``evidence N`` as soon as it is durable.
    """
    for number in range(BLOCKS):
        if ledger.height == number:
            commit(ledger, envelopes_of(number))
            acknowledge(f"block {number}")
        if number % 2 and ledger.evidence(number, "seal") is None:
            ledger.add_evidence(number, "seal", evidence_of(number))
            acknowledge(f"evidence {number}")


def evidence_of(number: int) -> bytes:
    """Return the evidence that the life files about block *number*."""
    return b"seal of block %d" % number * 20


def live_in_process(path: Path, act_at: int, act: Callable[[], None] | None) -> list[str]:
    """Live from an empty folder until a write step fails; return what was acknowledged."""
    acknowledged: list[str] = []
    try:
        ledger = open_ledger(path, Steps(act_at, act))
    except StorageError:
        return acknowledged
    try:
        live(ledger, acknowledged.append)
    except StorageError:
        pass
    finally:
        ledger.close()
    return acknowledged


def live_and_die(path: Path, act_at: int) -> None:
    """Live in this process, which ends at once at write step *act_at*, as by ``kill -9``.

    What was acknowledged is written, a line each, to a file beside *path*.
    """
    notes = os.open(path.with_suffix(".acknowledged"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def acknowledge(what: str) -> None:
        os.write(notes, what.encode() + b"\n")

    live(open_ledger(path, Steps(act_at, lambda: os._exit(9))), acknowledge)


def die_everywhere(folder: Path, events: int) -> None:
    """Make a child for each write step that dies there; run as a process of its own.

    It holds no ledger open and starts no thread, so that it can fork children safely.
    """
    for act_at in range(events):
        child = os.fork()
        if child == 0:
            try:
                live_and_die(folder / f"{act_at:04}", act_at)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) != 9:
            raise SystemExit(f"the child of event {act_at} did not die there: {status}")
