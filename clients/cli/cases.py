"""``qist case …``: what may be done about a default, step by step, and who has to do it now.

Each command calls one function of the contracts with a list of records, so that one officer signs
once for many. Nothing here decides: what is refused, the contract refuses, record by record.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from clients.cli.calling import ENFORCEMENT, INSTALMENTS, Caller, command
from ledger.errors import Refusal

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Cases: notice, proposal, votes, holds, the end.",
)

CaseIds = Annotated[list[str], typer.Argument(metavar="CASE", help="One or more cases.")]
CaseId = Annotated[str, typer.Argument(metavar="CASE", help="The case, as C-AG-17-1.")]
Reason = Annotated[str, typer.Option(help="A code of a–z, 0–9 and _.")]
Evidence = Annotated[str, typer.Option(help="Salted hash of the document, 64 hex digits.")]
Day = Annotated[str, typer.Option(help="YYYY-MM-DD, PKT; left out: the ledger day.")]
_AGREEMENT = re.compile(r"[A-Z0-9-]{1,32}")
_CASE = re.compile(r"C-.+-[0-9]+")
_HEADS = ("case", "agreement", "lender", "state", "from", "until")


@command(app, "list")
def list_cases(
    caller: Caller,
    state: Annotated[str, typer.Option(help="As voting; left out: all that are open.")] = "",
) -> None:
    """List cases."""
    cases = list(caller.pages(ENFORCEMENT, "Cases", "cases", state))
    rows = [
        (
            each["case"],
            each["agreement"],
            each["lender"],
            each["state"],
            each["triggered_on"],
            *_next(each.get("next")),
        )
        for each in cases
    ]
    heads = ("case", "agreement", "lender", "state", "triggered on", "next", "from", "until")
    caller.terminal.table({"cases": cases}, heads, rows)


@command(app, "show")
def show(
    caller: Caller,
    name: Annotated[str, typer.Argument(metavar="CASE|AGREEMENT", help="Either of the two.")],
) -> None:
    """Show a case, or the latest one about an agreement, with what comes next and the ballots."""
    case = _case_of(caller, name)
    caller.show({**case, "ballots": caller.evaluate(ENFORCEMENT, "Ballots", case["case"])})


@command(app, "history")
def history(caller: Caller, case: CaseId) -> None:
    """Show every record that was ever written about a case, oldest first."""
    steps = caller.evaluate(ENFORCEMENT, "CaseHistory", case)
    rows = [
        (each["at"], each["namespace"], each["key"].replace("\x00", "/"), each["tx_id"])
        for each in steps
    ]
    caller.terminal.table(
        {"case": case, "steps": steps}, ("time", "namespace", "key", "transaction"), rows
    )


@command(app, "due")
def due(
    caller: Caller,
    kind: Annotated[str, typer.Argument(help="notice, proposal, vote, waiting, term or closing.")],
    day: Day = "",
) -> None:
    """List the cases in which something may or must be done on a day."""
    day = day or _ledger_day(caller)
    cases = list(caller.pages(ENFORCEMENT, "CasesActionable", "cases", day, kind))
    rows = [[each.get(name, "") for name in _HEADS] for each in cases]
    caller.terminal.table({"day": day, "kind": kind, "cases": cases}, _HEADS, rows)


@command(app, "votes")
def votes(caller: Caller, day: Day = "") -> None:
    """List the cases in which the own group has not voted yet."""
    day = day or _ledger_day(caller)
    msp_id = caller.profile.msp_id
    cases = list(caller.pages(ENFORCEMENT, "VotesOpen", "cases", day, msp_id))
    rows = [[each.get(name, "") for name in _HEADS] for each in cases]
    caller.terminal.table({"day": day, "msp_id": msp_id, "cases": cases}, _HEADS, rows)


@command(app, "sweep")
def sweep(
    caller: Caller,
    agreements: Annotated[
        list[str], typer.Argument(metavar="AGREEMENT", help="At most 50 go in a transaction.")
    ],
) -> None:
    """Open cases about agreements that are in default; anybody may."""
    most = 50
    if len(agreements) > most:
        raise Refusal(f"{len(agreements)} agreements are named; name at most {most} at a time")
    caller.submit_records(ENFORCEMENT, "Sweep", agreements)


@command(app, "serve-notice")
def serve_notice(
    caller: Caller,
    case: CaseId,
    proof: Annotated[str, typer.Option(help="Salted hash of the proof, 64 hex digits.")],
    language: Annotated[str, typer.Option(help="As ur.")],
    by: Annotated[str, typer.Option(help="sms, letter, app, in_person or email.")],
    delivered_on: Annotated[str, typer.Option(help="YYYY-MM-DD; left out: the ledger day.")] = "",
) -> None:
    """Record that the lender has served notice on the borrower."""
    notice = {
        "case": case,
        "delivered_on": delivered_on or _ledger_day(caller),
        "channel": by,
        "language": language,
        "proof": proof,
    }
    caller.submit_records(ENFORCEMENT, "ServeNotices", [notice])


@command(app, "propose")
def propose(
    caller: Caller,
    cases: CaseIds,
    tier: Annotated[int, typer.Option(help="1 the phone, 2 a SIM, 3 a referral.")] = 1,
    reason: Reason = "arrears",
    scope: Annotated[str, typer.Option(help="Of tier 2.")] = "",
    instrument: Annotated[str, typer.Option(help="Legal instrument, where a tier asks.")] = "",
) -> None:
    """Put cases to the vote, as their lender."""
    more = {name: value for name, value in (("scope", scope), ("instrument", instrument)) if value}
    proposals = [{"case": case, "tier": tier, "reason": reason, **more} for case in cases]
    caller.submit_records(ENFORCEMENT, "ProposeCases", proposals)


@command(app, "vote")
def vote(
    caller: Caller,
    choice: Annotated[str, typer.Argument(help="yes, no or abstain.")],
    cases: CaseIds,
    reason: Reason,
) -> None:
    """Cast the own group's ballot in cases; the deciding one issues the order."""
    ballots = [{"case": case, "choice": choice, "reason": reason} for case in cases]
    caller.submit_records(ENFORCEMENT, "CastBallots", ballots)


@command(app, "withdraw")
def withdraw(caller: Caller, cases: CaseIds, reason: Reason) -> None:
    """Withdraw cases, as their lender; a block that stands is released."""
    withdrawals = [{"case": case, "reason": reason} for case in cases]
    caller.submit_records(INSTALMENTS, "WithdrawCases", withdrawals)


@command(app, "free")
def free(caller: Caller, cases: CaseIds) -> None:
    """Give waiting cases a free slot, or the regulator's word."""
    caller.submit_records(ENFORCEMENT, "FreeWaiting", cases)


@command(app, "end-by-term")
def end_by_term(caller: Caller, cases: CaseIds) -> None:
    """End blocks whose time is over; anybody may."""
    caller.submit_records(INSTALMENTS, "EndBlocksByTerm", cases)


@command(app, "close")
def close(caller: Caller, cases: CaseIds) -> None:
    """Write down what the dates have done to cases; anybody may."""
    caller.submit_records(ENFORCEMENT, "CloseCases", cases)


@command(app, "hold")
def hold(
    caller: Caller,
    agreement: Annotated[str, typer.Argument(metavar="AGREEMENT")],
    kind: Annotated[
        str,
        typer.Option(help="dispute, stolen, wrong_person, death, court_stay or disaster."),
    ],
    evidence: Evidence,
    until: Annotated[str, typer.Option(help="YYYY-MM-DD, at most 30 days ahead.")],
) -> None:
    """Pause whatever is under way about an agreement."""
    record = {"agreement": agreement, "kind": kind, "evidence": evidence, "until": until}
    caller.submit_records(INSTALMENTS, "PlaceHolds", [record])


@command(app, "holds")
def holds(caller: Caller, agreement: Annotated[str, typer.Argument(metavar="AGREEMENT")]) -> None:
    """List the holds on an agreement."""
    found = caller.evaluate(INSTALMENTS, "Holds", agreement)
    heads = ("hold", "kind", "by", "placed_on", "until", "state")
    rows = [[each.get(name, "") for name in heads] for each in found]
    caller.terminal.table({"agreement": agreement, "holds": found}, heads, rows)


@command(app, "lift-hold")
def lift_hold(
    caller: Caller, hold: Annotated[str, typer.Argument(metavar="HOLD")], reason: Reason
) -> None:
    """Lift a hold, as who placed it or as the regulator."""
    caller.submit_records(INSTALMENTS, "LiftHolds", [{"hold": hold, "reason": reason}])


@command(app, "answer-dispute")
def answer_dispute(
    caller: Caller, hold: Annotated[str, typer.Argument(metavar="HOLD")], evidence: Evidence
) -> None:
    """Answer a dispute, as the lender."""
    caller.submit_records(INSTALMENTS, "AnswerDisputes", [{"hold": hold, "evidence": evidence}])


@command(app, "confirm-hold")
def confirm_hold(
    caller: Caller,
    hold: Annotated[str, typer.Argument(metavar="HOLD")],
    evidence: Annotated[str, typer.Option(help="Salted hash, where there is more.")] = "",
) -> None:
    """Confirm a hold, as the regulator: it ends the case."""
    record = {"hold": hold, **({"evidence": evidence} if evidence else {})}
    caller.submit_records(INSTALMENTS, "ConfirmHolds", [record])


def _case_of(caller: Caller, name: str) -> dict[str, Any]:
    found = caller.evaluate(ENFORCEMENT, "CaseOf", name) if _AGREEMENT.fullmatch(name) else None
    if found is None and _CASE.fullmatch(name):
        found = caller.evaluate(ENFORCEMENT, "Case", name)
    if found is None:
        raise Refusal(
            f"there is no case about an agreement {name}, and a case is named as C-<agreement>-1; "
            "see 'qist case list'"
        )
    assert isinstance(found, dict)
    return found


def _ledger_day(caller: Caller) -> str:
    return str(caller.evaluate(ENFORCEMENT, "LedgerDay")["day"])


def _next(step: dict[str, Any] | None) -> tuple[Any, Any, Any]:
    if not step:
        return "", "", ""
    return step.get("action"), step.get("from"), step.get("until")
