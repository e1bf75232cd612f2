"""The block order (rulebook 5): what the deciding ballot issues in its own transaction.

An order names tier, scope, device, executors, legal basis and policy version. It needs a slot at
both circuit breakers, or the regulator's word; while the regulator and another class have stopped
all orders there is none at all. Without a slot, or without anybody to execute it, the case waits,
and the trigger is checked again before it is ordered.

Tier 1 blocks all IMEIs of the phone, on the networks of the active members of the policy's executor
classes. Tier 2 concerns one SIM and its operator; never all numbers of a person. There is no order
of tier 3.
"""

from __future__ import annotations

from dataclasses import replace

from ..book.devices import device_key, read_plain
from ..book.position import Position
from ..governance import stop
from ..policy import Policy
from ..verdicts import RuleBroken
from . import index
from .breaker import Breaker
from .bulk import Outcome, StateRefused
from .case import BlockOrder, CaseRecord, Round, order_id
from .docket import Docket

DEVICE_SCOPE = "device"
CONSENT = "consent"


def executors_of(docket: Docket, tier: int, position: Position, policy: Policy) -> tuple[str, ...]:
    """Return the addressees of an order: members that are active now."""
    active = docket.roster.active_members
    if tier == 1:
        return tuple(
            [each.msp_id for each in active if each.member_class in policy.executor_classes]
        )
    return tuple([each.msp_id for each in active if each.msp_id == position.operator])


def _identifiers(docket: Docket, tier: int, position: Position) -> tuple[str, ...]:
    if tier != 1:
        return (position.sim,)
    device = read_plain(docket.instalments, [device_key(position.device)])[0]
    if device is None:
        return (position.device,)
    return tuple([pseudonym for imei in device["imeis"] for pseudonym in imei])


def issue(
    docket: Docket, record: CaseRecord, current: Round, breaker: Breaker | None
) -> Round | None:
    """Return the round with its order, None if no order can be issued now.

    Args:
        breaker: where slots are claimed; None: the regulator's word stands for one.
    """
    proposal, policy = current.proposal, docket.file(record.case).policy
    assert proposal is not None
    if stop.is_stopped(docket.enforcement, docket.moment.day):
        return None
    position = docket.position(record.agreement)
    executors = executors_of(docket, proposal.tier, position, policy)
    if not executors:
        return None
    slots: tuple[str, ...] = ()
    if breaker is not None:
        group = docket.roster.group_of(record.lender)
        slots = breaker.claim(group, record.case, proposal.ticket)
        if not slots:
            return None
    order = BlockOrder(
        order_id(record.agreement, record.number, current.number),
        proposal.tier,
        proposal.scope,
        position.device,
        _identifiers(docket, proposal.tier, position),
        executors,
        proposal.instrument or CONSENT,
        record.policy,
        docket.moment.at,
        docket.moment.day,
        policy.start_hours,
        slots,
    )
    index.add_order(docket.stub, order)
    return replace(current, order=order)


def free(docket: Docket, case: str, breaker: Breaker | None) -> Outcome:
    """Order a case that waits, by a free slot or by the regulator's word."""
    file = docket.file(case)
    record, state = file.record, docket.state(case)
    current, day = record.current, docket.moment.day
    if current.order is not None and state.step in ("ordered", "enforced"):
        return Outcome(False, state.step)
    thing = f"case {record.case}"
    if state.step != "waiting" or not state.takes_steps:
        raise StateRefused(
            thing,
            f"does not wait for an order: it is {state.shown}",
            4,
            state=state.state,
        )
    if not docket.has_trigger(file):
        raise StateRefused(thing, "has lost its trigger", 4, "no order", state=state.step)
    stopped = stop.find(docket.enforcement).until_if_stopped(day)
    if stopped is not None:
        raise StateRefused(
            thing, f"waits: all block orders are stopped until {stopped}", 1, state="waiting"
        )
    issued = issue(docket, record, current, breaker)
    if issued is None:
        raise StateRefused(
            thing,
            "waits: no slot is free at the circuit breakers of its lender's group, or no executor "
            "is active",
            5,
            "try on a later day, or ask the regulator for its word",
            state="waiting",
        )
    docket.put_case(record.with_round(issued))
    assert issued.order is not None
    facts = {"agreement": record.agreement, "order": issued.order.order}
    return Outcome(True, "ordered", facts=facts)


def find(docket: Docket, case: str, order: str) -> BlockOrder:
    """Return an order of a case.

    Raises:
        RuleBroken: there is none of that id.
    """
    file = docket.find(case)
    found = None if file is None else file.record.find_order(order)
    if found is None:
        raise RuleBroken(f"order {order}", "does not exist", 5, "see OrdersOpen")
    return found
