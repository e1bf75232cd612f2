"""A case led from default to release by commands alone, in a rehearsal, each step by its member."""

from __future__ import annotations

import csv
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest

from chaincode.instalments.calendar import PKT, add_months, pkt_date
from chaincode.instalments.contracts import EnforcementContract, InstalmentsContract
from tests.support.local_network import LocalNetwork, local_network
from tests.support.member_commands import COLLECTIONS, FACTS, Commands, found
from tests.support.member_files import write_files

HASH = "ab" * 32
AGREEMENT, CASE = "AG-2", "C-AG-2-1"


class Days:
    """The days of the rehearsal, and commands on them."""

    def __init__(self, network: LocalNetwork, commands: Commands) -> None:
        self._network = network
        self.commands = commands
        self.first = pkt_date(datetime.now(UTC)) + timedelta(days=1)

    async def begin(self, day: date) -> None:
        """Set every clock to nine in the morning and move the ledger day."""
        morning = datetime.combine(day, time(9), PKT)
        self._network.set_clock(morning)
        self.commands.at = morning.isoformat()
        await self.act("PtaMSP", "lending", "submit", "enforcement", "AdvanceDay")

    async def act(self, msp_id: str, user: str, *words: str) -> Any:
        """A command that must succeed, seen by all nodes afterwards."""
        done = await self.commands.ok(msp_id, user, *words)
        assert done["rehearsal"] is True
        await self._network.settled()
        return done

    async def state(self) -> str:
        """The state of the case as everybody sees it."""
        case = await self.act("MakerMSP", "lending", "case", "show", AGREEMENT)
        assert case["case"] == CASE
        return str(case["state"])


async def sell(days: Days, folder: Path) -> None:
    """Models, handsets, agreements, confirmations."""
    agreements, _ = write_files(folder)
    await days.begin(days.first)
    for msp_id, step in (
        ("PtaMSP", "tacs"),
        ("MakerMSP", "devices"),
        ("BankMSP", "open"),
        ("OperatorMSP", "confirm"),
    ):
        await days.act(
            msp_id, "lending", "import", "agreements", str(agreements), *FACTS, "--step", step
        )


async def default(days: Days) -> date:
    """Thirty days past due: a sweep opens the case; the lender serves notice. Gives the day."""
    trigger = add_months(days.first - timedelta(days=1), 1) + timedelta(days=30)
    await days.begin(trigger)
    await days.act("MakerMSP", "lending", "case", "sweep", AGREEMENT)
    assert await days.state() == "triggered"
    due = await days.act("BankMSP", "lending", "case", "due", "notice")
    assert [each["case"] for each in due["cases"]] == [CASE]
    await days.act(
        "BankMSP",
        "lending",
        "case",
        "serve-notice",
        CASE,
        "--proof",
        HASH,
        "--language",
        "ur",
        "--by",
        "sms",
    )
    assert await days.state() == "notified"
    return trigger


async def decide(days: Days, trigger: date) -> str:
    """After the waiting time: proposal and ballots. Gives the order."""
    code, said = await days.commands.run("BankMSP", "lending", "case", "propose", CASE)
    assert (code, said["verdicts"][0]["ok"]) == (1, False)
    await days.begin(trigger + timedelta(days=14))
    month = (trigger + timedelta(days=14)).strftime("%Y-%m")
    await days.act("PtaMSP", "governance", "submit", "enforcement", "OpenMonth", month)
    await days.act("BankMSP", "lending", "case", "propose", CASE)
    votes = await days.act("OperatorMSP", "enforcement", "case", "votes")
    assert [each["case"] for each in votes["cases"]] == [CASE]
    for msp_id in ("OperatorMSP", "MakerMSP", "PtaMSP"):
        assert await days.state() == "voting"
        await days.act(msp_id, "enforcement", "case", "vote", "yes", CASE, "--reason", "arrears")
    assert await days.state() == "ordered"
    orders = (await days.act("OperatorMSP", "executor", "order", "list"))["orders"]
    assert [each["case"] for each in orders] == [CASE]
    return str(orders[0]["order"])


async def enforce_and_release(days: Days, order: str, folder: Path) -> None:
    """The executor learns the numbers and blocks; the borrower pays; the executor releases."""
    numbers = await days.act("OperatorMSP", "executor", "order", "identifiers", order)
    with (folder / "agreements.csv").open(newline="") as file:
        (row,) = [each for each in csv.DictReader(file) if each["agreement_ref"] == AGREEMENT]
    assert (numbers["imeis"], numbers["msisdn"]) == ([row["imei_1"], row["imei_2"]], None)
    code, said = await days.commands.run("MakerMSP", "executor", "order", "identifiers", order)
    assert code == 1
    assert "is not addressed to MakerMSP" in said["error"]["message"]
    await days.act(
        "OperatorMSP",
        "executor",
        "order",
        "acknowledge",
        order,
        "--step",
        "SUBMITTED",
        "--step",
        "APPLIED",
        "--step",
        "VERIFIED",
    )
    assert await days.state() == "enforced"
    shown = await days.act("PtaMSP", "lending", "order", "show", order)
    assert shown["case"] == CASE
    today = datetime.fromisoformat(days.commands.at).date()
    payments = folder / "cure.csv"
    payments.write_text(
        "payment_ref,agreement_ref,amount_pkr,paid_on,channel\n"
        f'P-CURE,{AGREEMENT},"16,000.00",{today},raast\n'
    )
    await days.act("OperatorMSP", "lending", "import", "payments", str(payments))
    assert await days.state() == "releasing"
    releases = (await days.act("OperatorMSP", "executor", "order", "releases"))["releases"]
    assert [each["order"] for each in releases] == [order]
    await days.act(
        "OperatorMSP",
        "executor",
        "order",
        "acknowledge-release",
        order,
        "--step",
        "SUBMITTED",
        "--step",
        "APPLIED",
        "--step",
        "VERIFIED",
    )
    release = await days.act("BankMSP", "lending", "order", "release", order)
    assert release["state"] == "released"


async def test_case_is_led_from_default_to_release_by_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Notice, waiting, votes, order, receipt, payment, release: all of it from a terminal."""
    contracts = [InstalmentsContract(), EnforcementContract()]
    async with local_network(
        tmp_path / "network", contracts, collections=COLLECTIONS, rehearsal=True
    ) as network:
        commands = Commands(network, capsys)
        commands.at = datetime.now(UTC).isoformat()
        await found(commands)
        await network.settled()
        days = Days(network, commands)
        await sell(days, tmp_path)
        trigger = await default(days)
        order = await decide(days, trigger)
        await enforce_and_release(days, order, tmp_path)
        history = await days.act("PtaMSP", "enforcement", "case", "history", CASE)
        assert len(history["steps"]) > 8
        assert [each["at"] for each in history["steps"]] == sorted(
            each["at"] for each in history["steps"]
        )
        await network.verify()
