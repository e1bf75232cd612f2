"""``qist order …``: block orders and releases, and what their executors report about them.

Orders are shown and acknowledged here; no command writes a file for an executor.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from clients.cli.calling import ENFORCEMENT, INSTALMENTS, Caller, command

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Block orders, releases and their receipts."
)

OrderId = Annotated[str, typer.Argument(metavar="ORDER", help="The block order.")]
OrderIds = Annotated[list[str], typer.Argument(metavar="ORDER", help="Block orders.")]
Steps = Annotated[
    list[str],
    typer.Option(
        "--step",
        help="SUBMITTED, IMPORTED, LISTED, APPLIED, VERIFIED or REFUSED, and NOT_APPLIED for a "
        "release; repeatable, in order.",
    ),
]
Reason = Annotated[str, typer.Option(help="A code; needed with REFUSED.")]
Evidence = Annotated[str, typer.Option(help="Salted hash; needed with NOT_APPLIED.")]


@command(app, "list")
def list_orders(
    caller: Caller,
    executor: Annotated[str, typer.Option(help="MSP id; left out: of every executor.")] = "",
) -> None:
    """List the block orders that an executor has neither verified nor refused."""
    orders = list(caller.pages(ENFORCEMENT, "OrdersOpen", "orders", executor))
    heads = ("order", "case", "agreement", "tier", "issued_at", "start_before", "state")
    rows = [[each.get(name, "") for name in heads] for each in orders]
    caller.terminal.table({"orders": orders}, heads, rows)


@command(app, "show")
def show(caller: Caller, order: OrderId) -> None:
    """Show a block order with its receipts."""
    caller.show(caller.evaluate(ENFORCEMENT, "Order", order))


@command(app, "identifiers")
def identifiers(caller: Caller, order: OrderId) -> None:
    """Show the raw numbers that a live order is about, to an executor it is addressed to."""
    caller.show(caller.evaluate(INSTALMENTS, "Identifiers", order))


@command(app, "acknowledge")
def acknowledge(
    caller: Caller, orders: OrderIds, steps: Steps, reason: Reason = "", evidence: Evidence = ""
) -> None:
    """Report steps of block orders, as an executor."""
    receipts = _receipts(orders, steps, reason, evidence)
    caller.submit_records(ENFORCEMENT, "AcknowledgeOrders", receipts)


@command(app, "releases")
def releases(caller: Caller) -> None:
    """List the releases that are not acknowledged by everybody."""
    found = list(caller.pages(INSTALMENTS, "ReleasesOpen", "releases"))
    heads = ("release", "order", "case", "agreement", "reason", "issued_at", "overdue")
    rows = [[each.get(name, "") for name in heads] for each in found]
    caller.terminal.table({"releases": found}, heads, rows)


@command(app, "release")
def release(caller: Caller, order: OrderId) -> None:
    """Show the release of a block order with its receipts."""
    caller.show(caller.evaluate(INSTALMENTS, "Release", order))


@command(app, "acknowledge-release")
def acknowledge_release(
    caller: Caller, orders: OrderIds, steps: Steps, reason: Reason = "", evidence: Evidence = ""
) -> None:
    """Report steps of releases, as an executor."""
    receipts = _receipts(orders, steps, reason, evidence)
    caller.submit_records(INSTALMENTS, "AcknowledgeReleases", receipts)


@command(app, "reissue")
def reissue(caller: Caller, orders: OrderIds) -> None:
    """Issue releases again that a late block receipt has crossed; anybody may."""
    caller.submit_records(INSTALMENTS, "ReissueReleases", orders)


@command(app, "escalate")
def escalate(caller: Caller, orders: OrderIds) -> None:
    """Tell the regulator of releases that were not acknowledged in time; anybody may."""
    caller.submit_records(INSTALMENTS, "EscalateReleases", orders)


def _receipts(
    orders: list[str], steps: list[str], reason: str, evidence: str
) -> list[dict[str, Any]]:
    more = {name: value for name, value in (("reason", reason), ("evidence", evidence)) if value}
    return [{"order": order, "step": step.upper(), **more} for order in orders for step in steps]
