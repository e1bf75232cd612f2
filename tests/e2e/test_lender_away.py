"""Cases on real processes: a hundred ballots at once, order against payment, the lender away."""

from __future__ import annotations

import asyncio
import csv
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from chaincode.instalments.identifiers import imei_with_check_digit
from clients.files.keyrings import load_keyrings
from clients.gateway.asynchronous import AsyncContract, AsyncGateway
from clients.gateway.operations import Call
from clients.gateway.profile import load_profile
from clients.gateway.retry import RetryPolicy
from clients.rehearsal.clock import RehearsalClock
from clients.rehearsal.day import DayByDay, morning_of
from clients.rehearsal.desks import Desks
from clients.rehearsal.network import start_network
from clients.rehearsal.origination import Origination
from clients.rehearsal.plan import load_plan
from clients.rehearsal.portfolio import load_portfolio
from clients.rehearsal.tally import Tally
from ledger.transactions.codes import TxValidationCode
from nodes.cli.node_process import stop_nodes
from tests.support.node_network import CHANNEL, MEMBERS, NodeNetwork

pytestmark = pytest.mark.slow

G = TypeVar("G", bound=AsyncGateway)
LENDER, RECEIVER, REGULATOR = "BankMSP", "OperatorMSP", "PtaMSP"
HUNDRED = 100
FURTHER = ("late-payment", "late-order", "lender-away")
SOLD, DUE = date(2026, 1, 5), date(2026, 2, 5)
SWEPT = DUE + timedelta(days=31)
PROPOSED = SWEPT + timedelta(days=14)
INSTALMENT_PAISA = 266_600
# Two instalments are due on the day of the vote.
ARREARS_PAISA = 2 * INSTALMENT_PAISA
COLUMNS = (
    "agreement_ref,lender_msp,cnic,msisdn,imei_1,imei_2,price_pkr,down_payment_pkr,instalments,"
    "frequency,first_due_date,opened_on,consent_ref,tac,model,contract_type"
)
POLICY = """
[members.BankMSP]
class = "bank"
affiliate_group = "bank"
[members.OperatorMSP]
class = "operator"
affiliate_group = "operator"
[members.MakerMSP]
class = "manufacturer"
affiliate_group = "maker"
[members.PtaMSP]
class = "regulator"
affiliate_group = "pta"
[votes]
PtaMSP = "silent"
[parameters]
orders_per_month_percent = 100
breaker_age_days = 10
[assumed.received_by]
wallet = "OperatorMSP"
"""


def agreement(number: int) -> str:
    return f"AG-{number}"


def case(number: int) -> str:
    return f"C-AG-{number}-1"


def order(number: int) -> str:
    return f"O-AG-{number}-1-1"


def number_of(further: str) -> int:
    return HUNDRED + FURTHER.index(further)


def write_portfolio(folder: Path) -> None:
    """A lender's phones that were sold on one day and never paid for."""
    with (folder / "agreements.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS.split(","))
        for number in range(HUNDRED + len(FURTHER)):
            imeis = [imei_with_check_digit(f"35209900{2 * number + which:06}") for which in (1, 2)]
            person = [f"82203-{number:07}-1", f"+92300123{number:04}", *imeis]
            terms = ["20,000.00", "4,004.00", "6", "monthly", DUE, SOLD, "K-1"]
            model = ["35209900", "Model A", "murabaha"]
            rows.writerow([agreement(number), LENDER, *person, *terms, *model])
    (folder / "payments.csv").write_text("payment_ref,agreement_ref,amount_pkr,paid_on,channel\n")
    (folder / "policy.toml").write_text(POLICY)


@dataclass
class Consortium:
    """A rehearsal network whose clocks the test sets.

    Attributes:
        network: its processes.
        now: the time on all nodes.
    """

    network: NodeNetwork
    now: datetime

    def gateway(self, msp_id: str, user: str, kind: type[G] = AsyncGateway) -> G:  # type: ignore[assignment]
        """Return a client of a member's node that lives in the rehearsal's time."""
        profile = load_profile(self.network.profile(msp_id))
        return kind(profile.endpoints(), profile.user(user), clock=lambda: self.now)

    async def set_clock(self, now: datetime, *msp_ids: str) -> None:
        """Set the clocks of these members' nodes."""
        nodes = [self.network.node(msp_id) for msp_id in msp_ids]
        await RehearsalClock(nodes, self.now).set(now)
        self.now = now


async def live_up_to_the_vote(folder: Path) -> None:
    """Sell, sweep, serve, propose; two members vote and the regulator does not yet."""
    portfolio, plan = load_portfolio(folder), load_plan(folder / "policy.toml")
    network = await start_network(folder / "net", plan, morning_of(SOLD))
    clock = RehearsalClock(network.nodes, morning_of(SOLD))
    desks = Desks(network.profiles, CHANNEL, plan.regulator.msp_id, clock)
    try:
        tally = Tally()
        keys = load_keyrings(network.pseudonym_keys(plan.regulator.msp_id))
        days = DayByDay(desks, plan, Origination(desks, plan, keys, tally), tally)
        for day in (SOLD, SWEPT, PROPOSED):
            await clock.set(morning_of(day))
            await days.live(day, portfolio.sold.get(day, ()), ())
        assert not tally.refused, tally.refused
        assert len(tally.cases) == HUNDRED + len(FURTHER)
    finally:
        await desks.close()


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consortium]:
    """Every case of a lender waits for the regulator's ballot, which decides it."""
    folder = tmp_path_factory.mktemp("lender")
    write_portfolio(folder)
    made = NodeNetwork(folder / "net")
    try:
        asyncio.run(live_up_to_the_vote(folder))
        assert made.sequencer != LENDER
        yield Consortium(made, morning_of(PROPOSED))
    finally:
        stop_nodes(map(made.node, MEMBERS))


@asynccontextmanager
async def contract(
    consortium: Consortium, msp_id: str, user: str, namespace: str
) -> AsyncIterator[AsyncContract]:
    """A contract as an officer of a member meets it."""
    async with consortium.gateway(msp_id, user) as gateway:
        yield gateway.network(CHANNEL).contract(namespace)


def ballot(number: int) -> str:
    return json.dumps([{"case": case(number), "choice": "yes", "reason": "arrears"}])


def payment(number: int) -> dict[str, Any]:
    """What a receiving institution posts when the whole arrears of an agreement were paid."""
    record = {
        "agreement": agreement(number),
        "reference": f"W-{number}",
        "paid_on": PROPOSED.isoformat(),
        "channel": "wallet",
    }
    return {
        "arguments": ("PostPayments", json.dumps([record])),
        "transient": {"amounts": json.dumps([ARREARS_PAISA]).encode()},
        "endorsing_organisations": (RECEIVER, REGULATOR),
    }


async def post(contract: AsyncContract, number: int) -> dict[str, Any]:
    """Post the payment that cures a case, endorsed again after a conflict; return the verdict."""
    given = payment(number)
    outcome = await contract.submit(
        *given["arguments"],
        transient=given["transient"],
        endorsing_organisations=given["endorsing_organisations"],
        retry=RetryPolicy(),
    )
    (verdict,) = json.loads(outcome.result)["verdicts"]
    return verdict


async def state_of(consortium: Consortium, number: int, msp_id: str = REGULATOR) -> str:
    async with contract(consortium, msp_id, "auditor", "enforcement") as cases:
        return json.loads(await cases.evaluate("Case", case(number)))["state"]


async def codes_above(consortium: Consortium, height: int) -> Counter[TxValidationCode]:
    """Count the verdicts of all transactions from a block on."""
    now = consortium.network.height(RECEIVER)
    found: Counter[TxValidationCode] = Counter()
    async with consortium.gateway(RECEIVER, "auditor") as gateway:
        blocks = gateway.network(CHANNEL).filtered_block_events(
            start_block=height, stop_block=now - 1
        )
        async for block in blocks:
            found.update(
                TxValidationCode(each.tx_validation_code) for each in block.filtered_transactions
            )
    return found


class HandsOverTogether(AsyncGateway):
    """A client that hands nothing over before a hundred transactions are endorsed."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._endorsed = 0
        self._all_endorsed = asyncio.Event()

    async def _call(self, call: Call) -> Any:
        if call.rpc == "Submit":
            self._endorsed += 1
            if self._endorsed == HUNDRED:
                self._all_endorsed.set()
            await self._all_endorsed.wait()
        return await super()._call(call)


async def test_hundred_deciding_ballots_at_once_become_a_hundred_orders(
    consortium: Consortium,
) -> None:
    """One officer sends one transaction a case, all of one lender, all endorsed before the first is
    handed over: each issues its order, at the first attempt or when the SDK has it endorsed again.
    """
    height = consortium.network.settled()
    async with consortium.gateway(REGULATOR, "enforcement", HandsOverTogether) as gateway:
        cases = gateway.network(CHANNEL).contract("enforcement")
        outcomes = await asyncio.gather(
            *(
                cases.submit("CastBallots", ballot(number), retry=RetryPolicy())
                for number in range(HUNDRED)
            )
        )
    verdicts = [json.loads(each.result)["verdicts"][0] for each in outcomes]
    assert [each["state"] for each in verdicts] == ["ordered"] * HUNDRED
    assert len({each.status.tx_id for each in outcomes}) == HUNDRED
    consortium.network.settled()
    codes = await codes_above(consortium, height)
    assert codes[TxValidationCode.VALID] == HUNDRED
    assert set(codes) <= {TxValidationCode.VALID, TxValidationCode.MVCC_READ_CONFLICT}
    again = codes[TxValidationCode.MVCC_READ_CONFLICT]
    print(f"{again} of {HUNDRED} ballots were endorsed again")  # noqa: T201 - a measurement
    async with contract(consortium, REGULATOR, "auditor", "enforcement") as cases:
        limits = json.loads(await cases.evaluate("Limits", "bank", PROPOSED.isoformat()))
        assert limits["day_used"] >= HUNDRED


class MeetsAnother(AsyncGateway):
    """A client whose first envelope is handed over only after something else was committed."""

    meanwhile: Callable[[], Awaitable[object]] | None = None
    submissions = 0

    async def _call(self, call: Call) -> Any:
        if call.rpc == "Submit":
            self.submissions += 1
            meanwhile, self.meanwhile = self.meanwhile, None
            if meanwhile is not None:
                await meanwhile()
        return await super()._call(call)


async def test_payment_endorsed_before_the_order_conflicts_and_is_endorsed_again_to_a_release(
    consortium: Consortium,
) -> None:
    """Both were endorsed on one state and the order came first: the payment is MVCC-invalid, the
    SDK has it endorsed again, and then it ends the case and releases the phone.
    """
    number = number_of("late-payment")
    height = consortium.network.settled()
    gateway = consortium.gateway(RECEIVER, "lending", MeetsAnother)
    async with contract(consortium, REGULATOR, "enforcement", "enforcement") as cases, gateway:

        async def deciding_ballot() -> None:
            outcome = await cases.submit("CastBallots", ballot(number))
            assert json.loads(outcome.result)["verdicts"][0]["state"] == "ordered"

        gateway.meanwhile = deciding_ballot
        verdict = await post(gateway.network(CHANNEL).contract("instalments"), number)
    assert gateway.submissions == 2
    assert (verdict["ok"], verdict["case"]) == (True, case(number))
    consortium.network.settled()
    codes = await codes_above(consortium, height)
    assert codes == {TxValidationCode.VALID: 2, TxValidationCode.MVCC_READ_CONFLICT: 1}
    assert await state_of(consortium, number) == "releasing"


async def test_ballot_endorsed_before_the_payment_conflicts_and_orders_nothing(
    consortium: Consortium,
) -> None:
    """The payment came first and cured the case: the ballot is MVCC-invalid, and endorsed again it
    is refused; there is no order.
    """
    number = number_of("late-order")
    height = consortium.network.settled()
    gateway = consortium.gateway(REGULATOR, "enforcement", MeetsAnother)
    async with contract(consortium, RECEIVER, "lending", "instalments") as book, gateway:
        gateway.meanwhile = lambda: post(book, number)
        cases = gateway.network(CHANNEL).contract("enforcement")
        outcome = await cases.submit("CastBallots", ballot(number), retry=RetryPolicy())
    (verdict,) = json.loads(outcome.result)["verdicts"]
    assert (verdict["ok"], verdict["state"]) == (False, "cured")
    assert gateway.submissions == 2
    consortium.network.settled()
    codes = await codes_above(consortium, height)
    assert codes[TxValidationCode.MVCC_READ_CONFLICT] == 1
    assert await state_of(consortium, number) == "cured"


async def test_payment_cures_and_releases_while_the_lenders_node_is_down(
    consortium: Consortium,
) -> None:
    """Another institution's word, endorsed by others, ends an enforced case; the release is ordered
    and acknowledged without the lender, whose node finds it when it is back.
    """
    number, network = number_of("lender-away"), consortium.network
    async with contract(consortium, REGULATOR, "enforcement", "enforcement") as cases:
        await cases.submit("CastBallots", ballot(number))
    network.settled()
    network.kill(LENDER)
    others = [each for each in MEMBERS if each != LENDER]
    next_day = PROPOSED + timedelta(days=1)
    await consortium.set_clock(morning_of(next_day), *others)
    async with (
        contract(consortium, RECEIVER, "executor", "enforcement") as cases,
        contract(consortium, RECEIVER, "executor", "instalments") as releases,
        contract(consortium, RECEIVER, "lending", "instalments") as book,
    ):
        await cases.submit("AdvanceDay")
        done = json.dumps(
            [
                {"order": order(number), "step": step}
                for step in ("SUBMITTED", "APPLIED", "VERIFIED")
            ]
        )
        await cases.submit("AcknowledgeOrders", done)
        assert await state_of(consortium, number, RECEIVER) == "enforced"
        verdict = await post(book, number)
        assert (verdict["ok"], verdict["case"]) == (True, case(number))
        assert await state_of(consortium, number, RECEIVER) == "releasing"
        release = json.loads(await releases.evaluate("Release", order(number)))
        assert (release["state"], release["executors"]) == ("releasing", [RECEIVER])
        await releases.submit("AcknowledgeReleases", done)
    assert await state_of(consortium, number, RECEIVER) == "released"
    assert not network.is_running(LENDER)
    network.start(LENDER)
    network.ready(LENDER)
    # In a rehearsal a node has the time of its operator, who was away as well.
    await consortium.set_clock(consortium.now, LENDER)
    network.settled()
    assert await state_of(consortium, number, LENDER) == "released"
    network.verify()
