"""The book against a naive model that walks day by day and instalment by instalment.

The model knows payments as a list and the schedule as a list; it pays off instalments one after the
other with each rupee, every day anew. No sums, no search, no index.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from chaincode.contract import Creator
from chaincode.instalments.arrears import Schedule, bucket_of, rises_anywhere
from chaincode.instalments.book.money import Booking, paid_by, paid_with
from chaincode.instalments.book.position import Position, Summary, opened
from chaincode.instalments.book.track import Plan, PlanVersion
from chaincode.instalments.cases.ending import is_cured
from chaincode.instalments.terms import ScheduleVersion, Terms
from tests.support.book_ledger import BANK, OPERATOR, BookLedger, payment, salted

START = date(2026, 3, 5)
DAY = timedelta(days=1)
SPAN = 120

amounts = st.integers(min_value=1, max_value=60)
days = st.integers(min_value=0, max_value=SPAN).map(lambda offset: START + offset * DAY)


@st.composite
def schedules(draw: st.DrawFn) -> list[tuple[date, int]]:
    """Rising due dates after the opening, positive amounts."""
    dues = draw(st.lists(st.integers(1, SPAN), min_size=1, max_size=6, unique=True))
    return [(START + due * DAY, draw(amounts)) for due in sorted(dues)]


@dataclass
class Naive:
    """A borrower's account kept by hand.

    Attributes:
        versions: (from, instalments) in order.
        payments: (paid on, amount) as they stand now.
        refunds: (on, amount).
    """

    versions: list[tuple[date, list[tuple[date, int]]]]
    payments: list[tuple[date, int]] = field(default_factory=list)
    refunds: list[tuple[date, int]] = field(default_factory=list)

    def schedule(self, day: date) -> list[tuple[date, int]]:
        found = self.versions[0][1]
        for since, instalments in self.versions:
            if since <= day:
                found = instalments
        return found

    def purse(self, day: date) -> int:
        money = 0
        for paid_on, amount in self.payments:
            if paid_on <= day:
                money += amount
        for on, amount in self.refunds:
            if on <= day:
                money -= amount
        return max(0, money)

    def unpaid(self, day: date) -> list[tuple[date, int, int]]:
        """Every instalment due by the day that is not fully paid: due, amount, missing."""
        money, rest = self.purse(day), []
        for due, amount in self.schedule(day):
            part = min(money, amount)
            money -= part
            if due <= day and part < amount:
                rest.append((due, amount, amount - part))
        return rest

    def standing(self, day: date) -> tuple[int, int, int]:
        rest = self.unpaid(day)
        if not rest:
            return 0, 0, 0
        return len(rest), (day - rest[0][0]).days, sum(missing for _, _, missing in rest)

    def all_due_before_is_paid(self, day: date) -> bool:
        money = self.purse(day)
        for due, amount in self.schedule(day):
            if due < day:
                if money < amount:
                    return False
                money -= amount
        return True

    def is_cured(self, paid_on: date, today: date) -> bool:
        day = paid_on
        while day <= today:
            if self.all_due_before_is_paid(day):
                return True
            day += DAY
        return False


def iso(instalments: list[tuple[date, int]]) -> list[tuple[str, int]]:
    return [(due.isoformat(), amount) for due, amount in instalments]


def position_of(naive: Naive) -> Position:
    versions = [
        ScheduleVersion(since.isoformat(), iso(instalments))
        for since, instalments in naive.versions
    ]
    position = opened({"agreement": "A"}, Terms("5a" * 16, "PKR", 1, 0, versions))
    for paid_on, amount in naive.payments:
        position = position.with_booking(booking("payment", paid_on, amount), paid_on)
    for on, amount in naive.refunds:
        position = position.with_booking(booking("refund", on, -amount), on)
    return position


def booking(kind: str, on: date, amount: int) -> Booking:
    return Booking(kind, "BankMSP", "R", on.isoformat(), amount)


def seen_by_others(position: Position, naive: Naive) -> Position:
    """The same agreement as a member sees it that may not read its money."""
    plan = Plan(
        [
            PlanVersion(since.isoformat(), [due.isoformat() for due, _ in instalments])
            for since, instalments in naive.versions
        ]
    )
    return Position(position.facts, plan, Summary.decode(position.summary.encode()))


@st.composite
def accounts(draw: st.DrawFn) -> Naive:
    """One to three schedule versions, some payments, some refunds, in no order."""
    versions = [(START, draw(schedules()))]
    for since in sorted(draw(st.lists(days, max_size=2))):
        versions.append((since, draw(schedules())))
    movements = st.lists(st.tuples(days, amounts), max_size=8)
    return Naive(versions, draw(movements), draw(st.lists(st.tuples(days, amounts), max_size=2)))


@given(accounts())
def test_standing_on_every_day_is_what_the_naive_account_says(naive: Naive) -> None:
    """Unpaid instalments, days past due and arrears, on each day of the agreement's life.

    All but the arrears themselves is known to those who may not read the money.
    """
    position = position_of(naive)
    public = seen_by_others(position, naive)
    for offset in range(SPAN + 40):
        day = START + offset * DAY
        found, arrears = public.standing(day), position.money.arrears_on(day)
        assert (found.unpaid, found.days_past_due, arrears) == naive.standing(day), day
        assert position.standing(day) == found
        assert position.money.paid_by(day) == naive.purse(day)
        rest = naive.unpaid(day)
        assert found.has_whole_instalment == (bool(rest) and arrears >= rest[0][1])
        assert public.is_due_paid_before(day) == naive.all_due_before_is_paid(day)
    money = naive.purse(date.max)
    left = money - sum(amount for _, amount in naive.versions[-1][1])
    assert (public.oldest_due == "") == (left >= 0)


@given(accounts(), days, days)
def test_cure_is_found_on_the_dates_on_which_the_naive_account_finds_it(
    naive: Naive, one: date, other: date
) -> None:
    """Cured: on some date from paid_on to today every instalment due before it is paid."""
    paid_on, today = min(one, other), max(one, other)
    public = seen_by_others(position_of(naive), naive)
    assert is_cured(public, paid_on, today) == naive.is_cured(paid_on, today)


@given(schedules(), st.integers(0, 400))
def test_oldest_unpaid_of_a_schedule_is_the_first_that_money_runs_out_on(
    instalments: list[tuple[date, int]], money: int
) -> None:
    """Allotted to the oldest first."""
    schedule = Schedule(1, iso(instalments))
    left, wanted = money, ""
    for due, amount in instalments:
        if left < amount:
            wanted = due.isoformat()
            break
        left -= amount
    assert schedule.oldest_unpaid(money) == wanted
    assert schedule.total == sum(amount for _, amount in instalments)
    assert schedule.instalments() == iso(instalments)


@given(schedules(), schedules())
def test_revision_rises_where_a_walk_over_every_day_finds_more_due(
    old: list[tuple[date, int]], new: list[tuple[date, int]]
) -> None:
    """The sum due may rise at no date up to the old last one."""
    wanted, day = "", START
    while day <= old[-1][0]:
        before = sum(amount for due, amount in old if due <= day)
        after = sum(amount for due, amount in new if due <= day)
        if after > before:
            wanted = day.isoformat()
            break
        day += DAY
    assert rises_anywhere(Schedule(1, iso(old)), Schedule(2, iso(new))) == wanted


@given(st.lists(st.tuples(days, st.integers(-40, 60).filter(bool)), max_size=12))
def test_paid_by_day_keeps_days_rising_and_no_day_of_nothing(
    movements: list[tuple[date, int]],
) -> None:
    """The summary holds a sum for each day on which something was paid, and no zeros."""
    paid: tuple[tuple[str, int], ...] = ()
    for day, paisa in movements:
        paid = paid_with(paid, day.isoformat(), paisa)
    sums: dict[str, int] = {}
    for day, paisa in movements:
        sums[day.isoformat()] = sums.get(day.isoformat(), 0) + paisa
    assert list(paid) == sorted((day, paisa) for day, paisa in sums.items() if paisa)
    assert paid_by(paid, "9999-12-31") == max(0, sum(sums.values()))


@given(st.integers(0, 400))
def test_bucket_of_any_number_of_days_is_the_one_whose_words_say_so(days_past_due: int) -> None:
    """current, 1–29, 30–59, 60–89, 90–179, 180+."""
    bucket = bucket_of(days_past_due)
    if bucket == "current":
        assert days_past_due == 0
    elif bucket == "180+":
        assert days_past_due >= 180
    else:
        least, most = map(int, bucket.split("-"))
        assert least <= days_past_due <= most


@st.composite
def lives(draw: st.DrawFn) -> tuple[list[tuple[date, int]], list[list[tuple[int, int, int]]]]:
    """A schedule, and days with movements: (kind, back or which, amount)."""
    movements = st.tuples(st.integers(0, 3), st.integers(0, 20), amounts)
    return draw(schedules()), draw(st.lists(st.lists(movements, max_size=4), max_size=6))


@settings(max_examples=40)
@given(lives())
def test_life_of_an_agreement_through_the_contract_is_the_naive_one(
    life: tuple[list[tuple[date, int]], list[list[tuple[int, int, int]]]],
) -> None:
    """Payments in bulk, also late ones, reversals and refunds, day after day: the contract's
    standing, its index of what is due and its account agree with the one kept by hand.
    """
    instalments, rounds = life
    book = BookLedger()
    book.open("A", iso(instalments))
    naive = Naive([(START, instalments)])
    posted: dict[str, tuple[date, int]] = {}
    today = START
    for number, movements in enumerate(rounds):
        today += 15 * DAY
        book.today(today)
        records, sums = [], []
        for place, (kind, back, amount) in enumerate(movements):
            reference = f"R-{number}-{place}"
            if kind < 2:
                paid_on = max(START, today - back * DAY)
                records.append(payment("A", paid_on.isoformat(), reference=reference))
                sums.append(amount)
                posted[reference] = (paid_on, amount)
                naive.payments.append((paid_on, amount))
        book.verdicts("PostPayments", records, OPERATOR, amounts=sums)
        for place, (kind, back, amount) in enumerate(movements):
            reference = f"R-{number}-{place}"
            if kind == 2 and posted:
                chosen = sorted(posted)[back % len(posted)]
                naive.payments.remove(posted.pop(chosen))
                record = {"reference": chosen, "evidence": salted(chosen)}
                assert book.verdicts("ReversePayments", [record], OPERATOR)[0]["written"]
            if kind == 3:
                total = sum(amount for _, amount in instalments)
                record = {"agreement": "A", "reference": reference}
                verdict = book.verdicts("RefundCredit", [record], BANK, amounts=[amount])[0]
                assert verdict["ok"] is (amount <= naive.purse(today) - total)
                if verdict["ok"]:
                    naive.refunds.append((today, amount))
        _compare(book, naive, today, len(naive.refunds))


def _compare(book: BookLedger, naive: Naive, today: date, refunds: int) -> None:
    for back in (0, 1, 7, 29, 30):
        day = today - back * DAY
        found = book.standing("A", day.isoformat())
        figures = found["unpaid_instalments"], found["days_past_due"], found["arrears_paisa"]
        assert figures == naive.standing(day), day
    rest = naive.unpaid(today)
    rows = book.ask("Due", "", 0, 10, "")["rows"]
    assert [row["oldest_unpaid_due"] for row in rows] == [due.isoformat() for due, *_ in rest[:1]]
    assert [row["arrears_paisa"] for row in rows] == [naive.standing(today)[2]] * bool(rest)
    account = book.ask("Payments", "A")
    assert max(0, sum(row["amount_paisa"] for row in account)) == naive.purse(today)
    assert sum(row["kind"] == "refund" for row in account) == refunds


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["A", "B"]),
            st.integers(0, 3),
            st.integers(0, 30),
            st.integers(-1, 60),
            st.sampled_from([OPERATOR, BANK]),
        ),
        max_size=10,
    )
)
def test_payments_of_one_list_leave_the_book_as_if_sent_one_by_one(
    sent: list[tuple[str, int, int, int, Creator]],
) -> None:
    """Known references, other contents, bad amounts among them: same verdicts, same ledger."""
    at_once, one_by_one = BookLedger(), BookLedger()
    for book in (at_once, one_by_one):
        for name in ("A", "B"):
            book.open(name)
        book.today("2026-04-10")
    for by in (OPERATOR, BANK):
        given_by = [each for each in sent if each[4] is by]
        records = [
            payment(name, (START + back * DAY).isoformat(), reference=f"R-{number}")
            | {"institution": "OperatorMSP"}
            for name, number, back, _, _ in given_by
        ]
        amounts = [amount for _, _, _, amount, _ in given_by]
        together = at_once.verdicts("PostPayments", records, by, amounts=amounts)
        apart = [
            one_by_one.verdicts("PostPayments", [record], by, amounts=[amount])[0]
            for record, amount in zip(records, amounts, strict=True)
        ]
        words = [
            [(each["id"], each["ok"], each["written"], each["message"]) for each in verdicts]
            for verdicts in (together, apart)
        ]
        assert words[0] == words[1]
    books = [
        {key: value for key, value in book.state.dump("instalments").items() if "total" not in key}
        for book in (at_once, one_by_one)
    ]
    assert books[0] == books[1]
