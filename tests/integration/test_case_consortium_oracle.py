"""Six months of a real portfolio, lived through on the contracts, against the oracle row by row.

The contracts run on a ledger in memory, so that whole policies are cheap to try: voters that stay
silent or say no, breakers that hold back, short terms; with late payments and reversals put in.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support import naive_consortium
from tests.support.book_ledger import TAC, salted
from tests.support.case_ledger import IN_WORDS, CaseLedger, verdicts

BOOK = Path(__file__).parents[2] / "examples" / "repayment"
UNTIL = date(2026, 9, 30)
DAY = timedelta(days=1)
LENDERS = ("BankMSP", "OperatorMSP")
MEMBERS = {
    "BankMSP": ("bank", "bank"),
    "OperatorMSP": ("operator", "operator"),
    "MakerMSP": ("manufacturer", "maker"),
    "PtaMSP": ("regulator", "pta"),
}
TIGHT = {"orders_per_month_percent": 9, "orders_per_day": 2}
SHORT = {
    "trigger_days_past_due": 20,
    "notice_period_days": 5,
    "longest_block_days": 25,
    "retrigger_pause_days": 10,
}
# name → policy, and what must have happened under it for the comparison to mean something
POLICIES: dict[str, tuple[dict[str, Any], str]] = {
    "tight breakers": ({"parameters": TIGHT}, "waiting"),
    "a regulator that frees nothing": ({"parameters": TIGHT, "frees": "never"}, "waiting"),
    "a silent maker": ({"votes": {"MakerMSP": "silent"}}, "lapsed"),
    "a bank against it": ({"votes": {"BankMSP": "no"}}, "rejected"),
    "short terms": ({"parameters": SHORT}, "term"),
}


def _folder(tmp_path: Path) -> tuple[Path, list[dict[str, str]], list[dict[str, str]]]:
    """A small portfolio: thirty borrowers who fell behind and ten who did not, some of their
    payments received late, some reversed.
    """
    arrears = csv.DictReader((BOOK / "expected_arrears.csv").open(encoding="utf-8"))
    worst: dict[str, int] = defaultdict(int)
    for row in arrears:
        name = row["agreement_ref"]
        worst[name] = max(worst[name], int(row["days_past_due"]))
    late = [name for name, days in worst.items() if days >= 30][:30]
    names = {*late, *[name for name, days in worst.items() if days < 30][:10]}
    agreements = [
        row
        for row in csv.DictReader((BOOK / "agreements.csv").open(encoding="utf-8"))
        if row["agreement_ref"] in names
    ]
    payments = []
    for row in csv.DictReader((BOOK / "payments.csv").open(encoding="utf-8")):
        if row["agreement_ref"] in names:
            payments.append(row | {"received_on": row["paid_on"], "reverses": ""})
    for place, row in enumerate(list(payments)):
        day = date.fromisoformat(row["paid_on"])
        if place % 7 == 3:
            row["received_on"] = (day + 12 * DAY).isoformat()
        if place % 11 == 5:
            back = (date.fromisoformat(row["received_on"]) + 2 * DAY).isoformat()
            ref = row["payment_ref"]
            payments.append(row | {"payment_ref": f"{ref}R", "received_on": back, "reverses": ref})
    payments.sort(key=lambda row: row["received_on"])
    for name, rows in (("agreements.csv", agreements), ("payments.csv", payments)):
        with (tmp_path / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return tmp_path, agreements, payments


class Days:
    """Lives through the days on the contracts, as a rehearsal does over a network."""

    def __init__(self, policy: dict[str, Any], loans: dict[str, naive_consortium.Loan]) -> None:
        founders = [(msp, *facts) for msp, facts in MEMBERS.items()]
        first = min(loan.opened_on for loan in loans.values())
        parameters = policy.get("parameters", {})
        self.ledger = CaseLedger(founders, begin=first.isoformat(), **parameters)
        self.loans = loans
        self.votes = {msp: policy.get("votes", {}).get(msp, "yes") for msp in MEMBERS}
        self.frees = policy.get("frees", "next_day") == "next_day"
        self.trigger_days = parameters.get("trigger_days_past_due", 30)
        self.month = ""
        self.first = first

    def live(self, received: dict[date, list[dict[str, str]]]) -> None:
        tac = {"tac": TAC, "maker": "Acme", "registrants": ["MakerMSP"]}
        verdicts(self.ledger.change("RegisterTacs", [tac], by=("PtaMSP", "lending")))
        day = self.first
        while day <= UNTIL:
            self.ledger.today(day, "09:00")
            if self.month != day.isoformat()[:7]:
                self.month = day.isoformat()[:7]
                self.ledger.decide("OpenMonth", self.month, by=("PtaMSP", "lending"))
            self._blocks(day)
            self._sales(day)
            self._payments(received.get(day, []))
            self._dates(day)
            self._releases()
            self._cases(day)
            day += DAY

    def _pages(self, of: str, function: str, rows: str, *args: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        bookmark = ""
        while True:
            page = self.ledger.ask(function, *args, 100, bookmark, of=of)
            found += page[rows]
            bookmark = page["bookmark"]
            if not bookmark:
                return found

    def _actionable(self, day: date, kind: str) -> list[dict[str, Any]]:
        return self._pages("enforcement", "CasesActionable", "cases", day.isoformat(), kind)

    def _blocks(self, day: date) -> None:
        for order in self._pages("enforcement", "OrdersOpen", "orders", "OperatorMSP"):
            if order["issued_at"][:10] < day.isoformat():
                assert all(each["ok"] for each in self.ledger.report(order["order"], *IN_WORDS))

    def _sales(self, day: date) -> None:
        for lender in LENDERS:
            names = [
                loan.ref
                for loan in self.loans.values()
                if loan.opened_on == day and loan.lender == lender
            ]
            for name in names:
                dues = [(due.isoformat(), paisa) for due, paisa in self.loans[name].instalments]
                self.ledger.open(name, instalments=dues, lender=lender, opened_on=day.isoformat())

    def _payments(self, rows: list[dict[str, str]]) -> None:
        by = ("OperatorMSP", "lending")
        for row in rows:
            if row["reverses"]:
                record = {"reference": row["reverses"], "evidence": salted("back")}
                self.ledger.change("ReversePayments", [record], by=by)
                continue
            record = {
                "agreement": row["agreement_ref"],
                "reference": row["payment_ref"],
                "paid_on": row["paid_on"],
                "channel": "wallet",
            }
            amount = round(float(row["amount_pkr"]) * 100)
            outcome = self.ledger.change("PostPayments", [record], by=by, amounts=[amount])
            assert verdicts(outcome)[0]["ok"]
        for name in sorted({row["agreement_ref"] for row in rows}):
            lender = self.loans[name].lender
            self.ledger.change("IssueClearance", [{"agreement": name}], by=(lender, "lending"))

    def _dates(self, day: date) -> None:
        by = ("MakerMSP", "auditor")
        for function, kind in (("EndBlocksByTerm", "term"), ("CloseCases", "closing")):
            cases = [each["case"] for each in self._actionable(day, kind)]
            if cases:
                call = self.ledger.change if kind == "term" else self.ledger.decide
                assert all(each["ok"] for each in verdicts(call(function, cases, by=by)))

    def _releases(self) -> None:
        for release in self._pages("instalments", "ReleasesOpen", "releases"):
            found = self.ledger.report_release(release["order"], *IN_WORDS)
            assert found[-1]["state"] == "released"

    def _cases(self, day: date) -> None:
        due = self._pages("instalments", "Due", "rows", day.isoformat(), self.trigger_days)
        names = sorted(each["agreement"] for each in due)
        for start in range(0, len(names), 50):
            self.ledger.sweep(*names[start : start + 50])
        for kind, function in (("notice", "ServeNotices"), ("proposal", "ProposeCases")):
            self._as_lender(day, kind, function)
        waiting = [each for each in self._actionable(day, "waiting") if each["from"] < str(day)]
        cases = [
            each["case"] for each in sorted(waiting, key=lambda e: (e["from"], e["agreement"]))
        ]
        if cases:
            role = "enforcement" if self.frees else "lending"
            self.ledger.decide("FreeWaiting", cases, by=("PtaMSP", role))
        for msp, choice in self.votes.items():
            if choice != "silent":
                rows = self._pages("enforcement", "VotesOpen", "cases", day.isoformat(), msp)
                cases = sorted(each["case"] for each in rows if each["from"] == day.isoformat())
                if cases:
                    found = self.ledger.vote(*cases, by=msp, choice=choice)
                    assert all(each["ok"] for each in found)

    def _as_lender(self, day: date, kind: str, function: str) -> None:
        for lender in LENDERS:
            cases = sorted(
                each["case"] for each in self._actionable(day, kind) if each["lender"] == lender
            )
            if not cases:
                continue
            if kind == "notice":
                records: list[dict[str, Any]] = [
                    {
                        "case": case,
                        "delivered_on": day.isoformat(),
                        "channel": "sms",
                        "language": "ur",
                        "proof": salted(case),
                    }
                    for case in cases
                ]
            else:
                records = [{"case": case, "tier": 1, "reason": "arrears"} for case in cases]
            found = verdicts(self.ledger.decide(function, records, by=(lender, "lending")))
            assert all(each["ok"] for each in found), found

    # ---- the result, in the oracle's form
    def rows(self) -> list[tuple[str, ...]]:
        rows = []
        for name in self.loans:
            latest = self.ledger.ask("CaseOf", name)
            for number in range(1, (latest or {"number": 0})["number"] + 1):
                rows.append(self._row(name, self.ledger.view(f"C-{name}-{number}")))
        return sorted(rows)

    def _row(self, name: str, view: dict[str, Any]) -> tuple[str, ...]:
        first = view["rounds"][0]
        ballots = [
            f"{each['on']}:{each['msp_id']}:{each['choice']}"
            for each in self.ledger.ask("Ballots", view["case"])
        ]
        days = (
            view["triggered_on"],
            first["notice"] and first["notice"]["written_on"],
            first["proposal"] and first["proposal"]["proposed_on"],
            first["waiting_since"],
            first["ordered_on"],
            view["applied_on"],
            view["ended_on"],
            self._released_on(view),
        )
        texts = (day or "" for day in days)
        return (name, *texts, view["ended_by"], view["state"], ";".join(sorted(ballots)))

    def _released_on(self, view: dict[str, Any]) -> str:
        if view["state"] != "released":
            return ""
        release = self.ledger.ask("Release", view["order"], of="instalments")
        at = max(step["at"] for each in release["receipts"] for step in each["steps"])
        return str(date.fromisoformat(at[:10]))


@pytest.mark.parametrize("name", POLICIES)
def test_contracts_equal_the_oracle_row_by_row(tmp_path: Path, name: str) -> None:
    """Every case, ballot, order and release with its date, under one policy after the other."""
    folder, _, payments = _folder(tmp_path)
    chosen, happened = POLICIES[name]
    policy = naive_consortium.Policy(
        naive_consortium.Rules(**chosen.get("parameters", {})),
        {msp: kind for msp, (kind, _) in MEMBERS.items()},
        {msp: group for msp, (_, group) in MEMBERS.items()},
        {msp: chosen.get("votes", {}).get(msp, "yes") for msp in MEMBERS},
        chosen.get("frees", "next_day") == "next_day",
    )
    oracle = naive_consortium.run(folder, policy, UNTIL, {})
    fresh = {loan.ref: loan for loan in naive_consortium._loans(folder / "agreements.csv", {})}
    days = Days(chosen, fresh)
    received = defaultdict(list)
    for row in payments:
        received[date.fromisoformat(row["received_on"])].append(row)
    days.live(received)
    ends = {case.ended_as for case in oracle.cases}
    waited = any(case.waiting_since for case in oracle.cases)
    assert happened in ends or (happened == "waiting" and waited)
    assert days.rows() == oracle.rows()
