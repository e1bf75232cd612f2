"""Circuit breakers (rulebook 5): how many block orders an affiliate group may cause.

    slot/day/<group>/<day>/<n>        claimed: {"case"}; n below the policy's orders a day
    slot/month/<group>/<month>/<n>    claimed: {"case"}; n below the month's limit
    full/…/<size>                     noted when all slots of a day or month were found taken
    month/<month>/<group>             {"aged","limit"}, written by OpenMonth

An order claims one slot of its day and one of its month; a slot that is taken is never given back.
Two transactions that claim one slot conflict, so the limit holds exactly, with no counter between
the ballots.

Which slot? A number drawn from the hash of the case alone would send some of a hundred ballots, all
simulated against one snapshot, to the same slot, and those would be invalid. So each proposal
carries a ticket: a number from the hash of the transaction that proposed it, and one more for each
further proposal of that list (`Tickets`). A ballot tries first the slot of that number, modulo the
limit: up to as many cases of one list as the limit has slots claim different ones. Where a slot is
taken already the next is tried, by a stride from the hash of the case. Cases of different lists
meet now and then; the later ballot is then invalid and, endorsed again, finds another slot. No key
is shared by proposals, so those never conflict.

Without `OpenMonth` a month has the least limit there is, one order.
"""

from __future__ import annotations

import hashlib
import math
from datetime import date
from typing import Final

from chaincode.contract import ReadOnlyStub, Stub

from .. import records
from ..calendar import month_of

LEAST_LIMIT: Final = 1
_NOTED: Final = b"\x00"


def month_key(month: str, group: str) -> str:
    """Return the key of a group's limit in a month."""
    return f"month/{month}/{group}"


def month_limit(stub: ReadOnlyStub, group: str, month: str) -> int:
    """Return how many orders a group may cause in a month; *stub* reads `enforcement`."""
    raw = stub.get_state(month_key(month, group))
    return LEAST_LIMIT if raw is None else int(records.decode(raw)["limit"])


def day_prefix(group: str, day: date) -> str:
    """Return the beginning of the keys of a day's slots."""
    return f"slot/day/{group}/{day.isoformat()}/"


def month_prefix(group: str, month: str) -> str:
    """Return the beginning of the keys of a month's slots."""
    return f"slot/month/{group}/{month}/"


def used(stub: ReadOnlyStub, prefix: str) -> int:
    """Return how many slots are claimed; for a query."""
    return sum(1 for _ in stub.get_state_by_range(prefix, prefix + "\x7f"))


class Tickets:
    """Numbers the proposals of one transaction, from a beginning that its id gives."""

    __slots__ = ("_next",)

    def __init__(self, tx_id: str) -> None:
        digest = hashlib.sha256(tx_id.encode("utf-8")).digest()
        # Six bytes: with five hundred added still a number that every JSON reader holds exactly.
        self._next = int.from_bytes(digest[:6], "big")

    def draw(self) -> int:
        """Return the next ticket."""
        ticket = self._next
        self._next += 1
        return ticket


class Breaker:
    """Claims slots for the orders of one transaction."""

    __slots__ = ("_day", "_full", "_limits", "_orders_per_day", "_stub", "_taken")

    def __init__(self, stub: Stub, day: date, orders_per_day: int) -> None:
        self._stub = stub
        self._day = day
        self._orders_per_day = orders_per_day
        self._limits: dict[str, int] = {}
        self._taken: set[str] = set()
        self._full: dict[str, bool] = {}

    def claim(self, group: str, case: str, ticket: int) -> tuple[str, ...]:
        """Claim a slot of the day and one of the month; () where one of them has none left."""
        month = month_of(self._day)
        if group not in self._limits:
            self._limits[group] = month_limit(self._stub, group, month)
        of_day = self._find(day_prefix(group, self._day), self._orders_per_day, case, ticket)
        if of_day is None:
            return ()
        of_month = self._find(month_prefix(group, month), self._limits[group], case, ticket)
        if of_month is None:
            return ()
        for key in (of_day, of_month):
            self._taken.add(key)
            self._stub.put_state(key, records.encode({"case": case}))
        return of_day, of_month

    def _find(self, prefix: str, size: int, case: str, ticket: int) -> str | None:
        """Return a slot that is free, None if all are taken.

        Slots are read one after the other and only up to the first free one: every slot read as
        free is one that another transaction may not claim meanwhile.
        """
        noted = f"full/{prefix}{size}"
        if noted not in self._full:
            self._full[noted] = size == 0 or self._stub.get_state(noted) is not None
        if self._full[noted]:
            return None
        number, stride = ticket % size, _stride(case, size)
        for _ in range(size):
            key = f"{prefix}{number}"
            if key not in self._taken:
                if self._stub.get_state(key) is None:
                    return key
                self._taken.add(key)
            number = (number + stride) % size
        self._full[noted] = True
        self._stub.put_state(noted, _NOTED)
        return None


def _stride(case: str, size: int) -> int:
    """Return a step that visits every one of *size* slots, by the hash of the case."""
    digest = hashlib.sha256(case.encode("utf-8")).digest()
    stride = int.from_bytes(digest[:8], "big") % size or 1
    while math.gcd(stride, size) != 1:
        stride += 1
    return stride
