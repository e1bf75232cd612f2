"""Stopping all block orders at once (rulebook 1): the regulator and one other class, together.

    stop   in `enforcement`: who asked for a stop or for its end, and until when nothing is ordered

A stop holds back new orders and new starts of executors; releases go on. It ends on its last day,
or when a regulator and another class ask for that. The earlier of the days asked for is the last.
Nobody asks alone: the two are of different affiliate groups, and active when the second asks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from chaincode.contract import ReadOnlyStub, Stub, decode_json, encode_json

from ..members import Roster
from ..verdicts import RuleBroken

STOP_KEY: Final = "stop"


@dataclass(frozen=True, slots=True)
class Request:
    """One member asks."""

    msp_id: str
    member_class: str
    on: date
    until: date
    reason: str
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Stop:
    """What was asked, and what came of it.

    Attributes:
        asked: for a stop that is not in force yet, or that is.
        until: last day of a stop in force; None without one.
        ending: who asked for its end.
    """

    asked: tuple[Request, ...] = ()
    until: date | None = None
    ending: tuple[Request, ...] = ()

    def until_if_stopped(self, day: date) -> date | None:
        """Return the last day of the stop if it covers *day*."""
        return self.until if self.until is not None and day <= self.until else None


def _is_joint(asked: tuple[Request, ...], roster: Roster) -> bool:
    """Say whether a regulator and a member of another class and group ask, both active."""
    members = [roster.member(request.msp_id) for request in asked]
    active = [member for member in members if member.is_active]
    return any(
        one.is_regulator and not other.is_regulator and one.group != other.group
        for one in active
        for other in active
    )


def find(stub: ReadOnlyStub) -> Stop:
    """Return what is asked and in force; *stub* reads `enforcement`."""
    raw = stub.get_state(STOP_KEY)
    return Stop() if raw is None else decode_json(Stop, raw, "the stop on the ledger")


def is_stopped(stub: ReadOnlyStub, day: date) -> bool:
    """Say whether no order may be issued or started on *day*."""
    return find(stub).until_if_stopped(day) is not None


def ask_stop(
    stub: Stub, roster: Roster, day: date, longest_days: int, request: Request
) -> tuple[Stop, bool]:
    """Return the stop after a member asked for one, and whether that changed anything.

    Raises:
        RuleBroken: it would last too long, or lies in the past.
    """
    if request.until < day or (request.until - day).days > longest_days:
        raise RuleBroken(
            "a stop of all orders",
            f"until {request.until} must end from {day} on, within {longest_days} days",
            1,
            "choose another last day",
        )
    stop = find(stub)
    if stop.until_if_stopped(day) is not None:
        return stop, False
    waiting = tuple([each for each in stop.asked if each.until >= day and stop.until is None])
    is_repeated = any(
        (each.msp_id, each.until) == (request.msp_id, request.until) for each in waiting
    )
    if is_repeated and not _is_joint(waiting, roster):
        return stop, False
    others = tuple([each for each in waiting if each.msp_id != request.msp_id])
    asked = (*others, request)
    until = min(each.until for each in asked) if _is_joint(asked, roster) else None
    stop = Stop(asked, until)
    stub.put_state(STOP_KEY, encode_json(stop))
    return stop, True


def ask_resume(stub: Stub, roster: Roster, day: date, request: Request) -> tuple[Stop, bool]:
    """Return the stop after a member asked for its end, and whether that changed anything.

    Raises:
        RuleBroken: nothing is stopped.
    """
    stop = find(stub)
    if stop.until_if_stopped(day) is None:
        raise RuleBroken("block orders", "are not stopped", 1)
    is_repeated = any(each.msp_id == request.msp_id for each in stop.ending)
    if is_repeated and not _is_joint(stop.ending, roster):
        return stop, False
    ending = (*stop.ending, request)
    stop = Stop() if _is_joint(ending, roster) else replace(stop, ending=ending)
    stub.put_state(STOP_KEY, encode_json(stop))
    return stop, True
