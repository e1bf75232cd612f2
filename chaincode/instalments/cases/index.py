"""Indices by date: so that a query of what is due costs what is due, not the book.

    in `enforcement`, one zero byte each:
      next · <kind> · <ISO date> · <case>           from when on something may be done in a case
      order · <executor> · <ISO date> · <order>     a block order it has not VERIFIED or REFUSED
    in `instalments`:
      ended · <ISO date> · <case>                   an end written there, for `CloseCases` to find
      release · <ISO date> · <order>                a release that is not done
      hold-due · <ISO date> · <hold>                from when on a hold may end something

Kinds of `next`: `notice`, `proposal`, `vote`, `waiting`, `term`, `closing`. The date is never later
than the true one (holds and milder policies move it back), `term` excepted, whose query looks ahead
by as much as a later policy may have shortened it; so a query reads the entries up to its day and
asks `state_of` about each. `CloseCases` removes what is over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from chaincode.contract import ReadOnlyStub, Stub

from ..verdicts import RuleBroken
from .case import BlockOrder, CaseRecord, Round
from .clock import reached
from .outcome import Ending, Hold, Release
from .state import CaseFile

NEXT: Final = "next"
ORDER: Final = "order"
ENDED: Final = "ended"
RELEASE: Final = "release"
HOLD_DUE: Final = "hold-due"
KINDS: Final = ("notice", "proposal", "vote", "waiting", "term", "closing")

_VALUE: Final = b"\x00"
_DAY: Final = timedelta(days=1)


# ---- what comes next in a case ------------------------------------------------------------------


def _of_round(current: Round, file: CaseFile) -> tuple[str, str] | None:
    if current.rejected_on or current.referred_on or current.order is not None:
        return None
    if current.waiting_since is not None:
        return "waiting", current.waiting_since.isoformat()
    if current.proposal is not None:
        return "vote", current.proposal.proposed_on.isoformat()
    if current.notice is not None:
        runs_from, days = current.notice.runs_from, file.policy.notice_period_days
        return "proposal", reached(runs_from, days, file.held).isoformat()
    return "notice", current.opened_on.isoformat()


def entries(record: CaseRecord, file: CaseFile) -> tuple[tuple[str, str], ...]:
    """Return (kind, ISO date) of every entry that a case should have."""
    if record.closed is not None:
        return ()
    found = []
    order = record.rounds[0].order
    if order is not None:
        term = order.issued_on + file.policy.longest_block_days * _DAY
        found.append(("term", term.isoformat()))
    rejected_on = record.rounds[0].rejected_on
    if rejected_on is not None:
        found.append(("closing", rejected_on.isoformat()))
    current = _of_round(record.current, file)
    if current is not None:
        found.append(current)
    return tuple(found)


def moved(stub: Stub, record: CaseRecord, file: CaseFile) -> CaseRecord:
    """Move a case's entries to where they belong, and return it with that noted."""
    wanted = entries(record, file)
    for kind, day in record.indexed:
        if (kind, day) not in wanted:
            stub.del_state(stub.create_composite_key(NEXT, (kind, day, record.case)))
    for kind, day in wanted:
        if (kind, day) not in record.indexed:
            stub.put_state(stub.create_composite_key(NEXT, (kind, day, record.case)), _VALUE)
    return replace(record, indexed=wanted)


# ---- orders, ends, releases, holds --------------------------------------------------------------


def _order_key(stub: Stub, order: BlockOrder, executor: str) -> str:
    return stub.create_composite_key(ORDER, (executor, order.issued_on.isoformat(), order.order))


def add_order(stub: Stub, order: BlockOrder) -> None:
    """Put an order before its executors."""
    for executor in order.executors:
        stub.put_state(_order_key(stub, order, executor), _VALUE)


def remove_order(stub: Stub, order: BlockOrder, executor: str) -> None:
    """Take an order from an executor's list."""
    stub.del_state(_order_key(stub, order, executor))


def add_ended(stub: Stub, ending: Ending) -> None:
    """Note the day on which a case ended."""
    stub.put_state(stub.create_composite_key(ENDED, (ending.on.isoformat(), ending.case)), _VALUE)


def _release_key(stub: Stub, release: Release) -> str:
    return stub.create_composite_key(RELEASE, (release.issued_on.isoformat(), release.order))


def add_release(stub: Stub, release: Release) -> None:
    """Put a release among the open ones."""
    stub.put_state(_release_key(stub, release), _VALUE)


def remove_release(stub: Stub, release: Release) -> None:
    """Take a release that is done from the open ones."""
    stub.del_state(_release_key(stub, release))


def _hold_keys(stub: Stub, hold: Hold) -> list[str]:
    days = {hold.confirm_by + _DAY}
    if hold.answer_by is not None:
        days.add(hold.answer_by + _DAY)
    return [
        stub.create_composite_key(HOLD_DUE, (day.isoformat(), hold.hold)) for day in sorted(days)
    ]


def add_hold(stub: Stub, hold: Hold) -> None:
    """Note from when on a hold of a case may end something."""
    for key in _hold_keys(stub, hold):
        stub.put_state(key, _VALUE)


def remove_hold(stub: Stub, hold: Hold) -> None:
    """Take a hold that ends nothing any more from its index."""
    for key in _hold_keys(stub, hold):
        stub.del_state(key)


# ---- reading in pages ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Walk:
    """One stretch of an index.

    Attributes:
        prefix: object type and leading attributes.
        first, last: ISO dates between which the entries lie; "" for no bound.
    """

    stub: ReadOnlyStub
    object_type: str
    attributes: tuple[str, ...]
    first: str
    last: str

    def page(self, size: int, bookmark: str) -> tuple[list[str], str]:
        """Return ids in order of their dates, and where to go on; "" at the end.

        Raises:
            RuleBroken: the bookmark is of no such query.
        """
        stub = self.stub
        start = ""
        if bookmark:
            parts = bookmark.split(",")
            if len(parts) != 2 or not all(parts):
                raise RuleBroken("the bookmark", "is not of this query", 6, "begin without one")
            start = stub.create_composite_key(self.object_type, (*self.attributes, *parts))
        elif self.first:
            start = stub.create_composite_key(self.object_type, (*self.attributes, self.first))
        page = stub.get_state_by_partial_composite_key_with_pagination(
            self.object_type, self.attributes, size, start
        )
        ids: list[str] = []
        for key, _ in page.entries:
            day, name = stub.split_composite_key(key)[1][-2:]
            if self.last and day > self.last:
                return ids, ""
            ids.append(name)
        if not page.bookmark:
            return ids, ""
        day, name = stub.split_composite_key(page.bookmark)[1][-2:]
        return ids, "" if self.last and day > self.last else f"{day},{name}"


def walk_all(
    walks: list[Walk], limit: int, bookmark: str, pick: Callable[[int, list[str]], list[str]]
) -> tuple[list[str], str]:
    """Return up to *limit* ids of several stretches, one after the other, and a bookmark.

    Args:
        pick: keeps those that belong into the answer; told the stretch, asked a page at a time.
    """
    place, _, inner = bookmark.partition(":")
    if bookmark and (not place.isdigit() or int(place) >= len(walks)):
        raise RuleBroken("the bookmark", "is not of this query", 6, "begin without one")
    number = int(place or "0")
    found: list[str] = []
    while number < len(walks):
        room = limit - len(found)
        if room <= 0:
            return found, f"{number}:{inner}"
        ids, inner = walks[number].page(room, inner)
        found += [name for name in pick(number, ids) if name not in found]
        if not inner:
            number += 1
    return found, ""
