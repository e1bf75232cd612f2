"""Random histories of one agreement: the contracts against the naive state machine."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.book_ledger import salted
from tests.support.case_ledger import CaseLedger, order_of, verdicts
from tests.support.naive_case import NaiveAgreement

DAY = timedelta(days=1)
BEGIN = date(2026, 3, 5)
MEMBER = {"bank": "BankMSP", "operator": "OperatorMSP", "maker": "MakerMSP", "pta": "PtaMSP"}
DUES = [(BEGIN + timedelta(days=30 * (place + 1)), 100) for place in range(8)]

# A history is a list of (action, number): `go` takes the next step that the rules have in mind, so
# that histories come far; the others disturb it.
ACTIONS = st.one_of(
    st.tuples(st.just("go"), st.integers(0, 3)),
    st.tuples(st.just("go"), st.integers(0, 3)),
    st.tuples(st.just("wait"), st.integers(1, 20)),
    st.tuples(
        st.sampled_from(
            [
                *("sweep", "serve", "propose", "yes", "no", "abstain", "start", "apply"),
                *("pay", "late", "hold", "hold", "pta_hold", "lift", "answer", "confirm"),
                *("withdraw", "term", "free"),
            ]
        ),
        st.integers(0, 7),
    ),
)
KINDS = ("dispute", "stolen", "court_stay", "disaster")


class History:
    """One history told to both."""

    def __init__(self) -> None:
        self.ledger = CaseLedger(orders_per_month_percent=100)
        self.ledger.open("A1", instalments=[(due.isoformat(), paisa) for due, paisa in DUES])
        self.naive = NaiveAgreement(BEGIN, list(DUES))
        self.payments = 0
        self.wait(59)

    @property
    def case(self) -> str:
        return f"C-A1-{max(1, len(self.naive.cases))}"

    def act(self, action: str, number: int) -> None:
        """Let both do it, and compare what they say of it and after it."""
        if action == "wait":
            self.wait(number)
        elif action == "go":
            self.go(number)
        else:
            self.agree(action, getattr(self, action)(number))
        self.compare(action)

    def agree(self, action: str, answers: tuple[bool, bool]) -> None:
        ledger, naive = answers
        assert ledger == naive, (action, self.naive.today, self.naive.state())

    def compare(self, action: str) -> None:
        view = self.ledger.ask("CaseOf", "A1")
        naive = self.naive
        said = "none" if view is None else view["state"]
        assert said == naive.state(), (action, naive.today)
        if view is not None:
            last = naive.cases[-1]
            ended_on = None if last.ended_on is None else last.ended_on.isoformat()
            assert (view["ended_by"], view["ended_on"]) == (last.ended, ended_on), action
            assert view["case"] == self.case

    # ---- time and the natural next step
    def wait(self, days: int) -> None:
        for _ in range(days):
            self.naive.pass_day()
        self.ledger.today(self.naive.today)

    def go(self, number: int) -> None:
        state = self.naive.state()
        if state in ("none", "lapsed", "rejected", "withdrawn", "cured", "released", "term"):
            self.wait(1 if state == "none" else 31)
            self.agree("sweep", self.sweep(0))
        elif state == "triggered":
            self.agree("serve", self.serve(0))
        elif state == "notified":
            self.wait(14)
            self.agree("propose", self.propose(0))
        elif state == "voting":
            for place in range(3):
                self.agree("yes", self.yes(place))
        elif state == "ordered":
            self.agree("start", self.start(0))
            self.agree("apply", self.apply(0))
        elif state == "enforced":
            self.wait(10 + 60 * number)
            self.agree("term", self.term(0))
        elif state == "releasing":
            self.agree("free", self.free(0))
        else:
            self.wait(5)

    # ---- single steps: (what the ledger says, what the naive says)
    def sweep(self, _: int) -> tuple[bool, bool]:
        return self.ledger.sweep("A1")[0]["ok"], self.naive.sweep()

    def serve(self, number: int) -> tuple[bool, bool]:
        delivered = self.naive.today - (number % 4) * DAY
        view = self.ledger.ask("CaseOf", "A1")
        served = view is not None and view["notice"] is not None
        if served and view["notice"]["delivered_on"] == delivered.isoformat():
            delivered -= 40 * DAY  # the very same notice would be taken as a repetition
        found = self.ledger.notify(self.case, delivered_on=delivered)[0]
        return found["ok"], self.naive.serve(delivered)

    def propose(self, _: int) -> tuple[bool, bool]:
        known = self.naive.cases and self.naive.cases[-1].proposed
        if known:
            return True, True  # a repetition
        return self.ledger.propose(self.case)[0]["ok"], self.naive.propose()

    def _vote(self, number: int, choice: str) -> tuple[bool, bool]:
        group = ("pta", "operator", "maker")[number % 3]
        found = self.ledger.vote(self.case, by=MEMBER[group], choice=choice)[0]
        return found["ok"], self.naive.vote(group, choice)

    def yes(self, number: int) -> tuple[bool, bool]:
        return self._vote(number, "yes")

    def no(self, number: int) -> tuple[bool, bool]:
        return self._vote(number, "no")

    def abstain(self, number: int) -> tuple[bool, bool]:
        return self._vote(number, "abstain")

    def start(self, _: int) -> tuple[bool, bool]:
        found = self.ledger.report(order_of(self.case), "SUBMITTED")[0]
        return found["ok"], self.naive.report("SUBMITTED")

    def apply(self, _: int) -> tuple[bool, bool]:
        found = self.ledger.report(order_of(self.case), "APPLIED")[0]
        return found["ok"], self.naive.report("APPLIED")

    def _pay(self, amount: int, paid_on: date) -> tuple[bool, bool]:
        self.payments += 1
        record = {
            "agreement": "A1", "reference": f"R{self.payments}", "channel": "branch",
            "paid_on": paid_on.isoformat(),
        }  # fmt: skip
        outcome = self.ledger.change(
            "PostPayments", [record], by=("OperatorMSP", "lending"), amounts=[amount]
        )
        self.naive.pay(amount, paid_on)
        return verdicts(outcome)[0]["ok"], True

    def pay(self, number: int) -> tuple[bool, bool]:
        return self._pay((40, 100, 160, 250, 300)[number % 5], self.naive.today)

    def late(self, number: int) -> tuple[bool, bool]:
        return self._pay(100, max(BEGIN, self.naive.today - 6 * number * DAY))

    def _hold(self, number: int, by: str, role: str) -> tuple[bool, bool]:
        kind = KINDS[number % len(KINDS)]
        until = self.naive.today + (4 * number) * DAY
        found = self.ledger.hold("A1", kind, until=until, by=(MEMBER[by], role))
        return found["ok"], self.naive.place(kind, by, until)

    def hold(self, number: int) -> tuple[bool, bool]:
        return self._hold(number, "bank", "lending")

    def pta_hold(self, number: int) -> tuple[bool, bool]:
        return self._hold(number, "pta", "enforcement")

    def _about_hold(self, number: int, function: str, by: tuple[str, str], **more: Any) -> bool:
        given = [{"hold": f"H-A1-{number + 1}"} | more]
        return bool(verdicts(self.ledger.change(function, given, by=by))[0]["ok"])

    def _chosen(self, number: int) -> int | None:
        return number % len(self.naive.holds) if self.naive.holds else None

    def lift(self, number: int) -> tuple[bool, bool]:
        place = self._chosen(number)
        if place is None:
            return True, True
        ok = self._about_hold(place, "LiftHolds", ("BankMSP", "lending"), reason="x")
        return ok, self.naive.lift(place)

    def answer(self, number: int) -> tuple[bool, bool]:
        place = self._chosen(number)
        if place is None:
            return True, True
        by = ("BankMSP", "lending")
        ok = self._about_hold(place, "AnswerDisputes", by, evidence=salted("a"))
        return ok, self.naive.answer(place)

    def confirm(self, number: int) -> tuple[bool, bool]:
        place = self._chosen(number)
        if place is None:
            return True, True
        ok = self._about_hold(place, "ConfirmHolds", ("PtaMSP", "enforcement"))
        return ok, self.naive.confirm(place)

    def withdraw(self, _: int) -> tuple[bool, bool]:
        if self.naive.case is None:
            return True, True  # a repetition, or nothing to withdraw
        given = [{"case": self.case, "reason": "x"}]
        outcome = self.ledger.change("WithdrawCases", given, by=("BankMSP", "lending"))
        return verdicts(outcome)[0]["ok"], self.naive.withdraw()

    def term(self, _: int) -> tuple[bool, bool]:
        outcome = self.ledger.change("EndBlocksByTerm", [self.case], by=("MakerMSP", "auditor"))
        return verdicts(outcome)[0]["ok"], self.naive.end_by_term()

    def free(self, _: int) -> tuple[bool, bool]:
        order = order_of(self.case)
        found = self.ledger.report_release(order, "SUBMITTED", "APPLIED", "VERIFIED")
        return found[-1]["ok"], self.naive.release()


@settings(max_examples=60)
@given(st.integers(1, 5), st.lists(ACTIONS, min_size=4, max_size=25))
def test_case_history_equals_the_naive_state_machine(
    depth: int, actions: list[tuple[str, int]]
) -> None:
    """Whatever happens to an agreement, in whatever order, the contracts and the naive state
    machine accept the same steps and end in the same state on the same day.
    """
    history = History()
    for _ in range(depth):
        history.act("go", 0)
    for action, number in actions:
        history.act(action, number)
