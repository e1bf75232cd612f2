"""The commands and the imports of a member's user, against four real nodes with the contracts."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from chaincode.instalments.calendar import pkt_date
from chaincode.instalments.contracts import EnforcementContract, InstalmentsContract
from ledger.transactions.codes import TxValidationCode
from tests.support.local_network import LocalNetwork, local_network
from tests.support.member_commands import COLLECTIONS, FACTS, Commands, found
from tests.support.member_files import COUNT, write_files


async def import_all(commands: Commands, network: LocalNetwork, folder: Path) -> None:
    """A book comes into the ledger step by step, each by the member whose step it is."""
    agreements, payments = write_files(folder, bad=3)

    async def step(msp_id: str, *words: str) -> Any:
        code, report = await commands.run(msp_id, "lending", "import", *words)
        assert "error" not in report, report
        await network.settled()
        return code, {
            name: report[name]["rows"]
            for name in ("written", "already_there", "rejected", "refused")
        }

    counts = {"written": COUNT - 1, "already_there": 0, "rejected": 1, "refused": 0}
    first = ("agreements", str(agreements), *FACTS, "--step")
    assert await step("PtaMSP", *first, "tacs") == (
        5,
        {**counts, "written": 1, "already_there": COUNT - 2},
    )
    assert await step("MakerMSP", *first, "devices") == (5, counts)
    assert await step("BankMSP", *first, "open") == (5, counts)
    assert await step("OperatorMSP", *first, "confirm") == (5, counts)
    paid = {"written": COUNT, "already_there": 0, "rejected": 0, "refused": 1}
    assert await step("BankMSP", "payments", str(payments), "--batch", "2") == (5, paid)
    again = {**paid, "written": 0, "already_there": COUNT}
    assert await step("BankMSP", "payments", str(payments)) == (5, again)
    (reject,) = csv.DictReader((folder / "agreements.csv.rejects.csv").read_text().splitlines())
    assert (reject["line"], reject["column"], reject["reference"]) == ("5", "cnic", "AG-3")
    (reject,) = csv.DictReader((folder / "payments.csv.rejects.csv").read_text().splitlines())
    assert (reject["line"], reject["reference"], reject["refused_by"]) == ("5", "P-3", "contract")


async def look_at_it(commands: Commands) -> None:
    """What was imported can be seen: standing, blocks, transactions, histories."""
    asked = await commands.ok(
        "OperatorMSP", "lending", "evaluate", "instalments", "Standing", "AG-2", ""
    )
    assert asked["result"]["paid_paisa"] == 266600
    asked = await commands.ok(
        "OperatorMSP", "lending", "evaluate", "instalments", "Standing", "AG-1", ""
    )
    assert asked["result"]["paid_paisa"] == 0
    block = await commands.ok("BankMSP", "lending", "block", "newest")
    same = await commands.ok("PtaMSP", "lending", "block", block["hash"])
    assert same["commit_hash"] == block["commit_hash"]
    changes = (await commands.ok("PtaMSP", "lending", "history", "instalments", "agreement/AG-2"))[
        "changes"
    ]
    assert changes
    assert "AG-2" in json.dumps(changes[0]["value"])
    found = await commands.ok("PtaMSP", "lending", "tx", changes[0]["tx_id"])
    assert (found["code"], found["function"]) == ("VALID", "OpenAgreements")
    assert found["creator"] == "BankMSP/lending"
    assert len(found["endorsers"]) >= 2
    for secret in ("8220", "92300123", "35209900000"):
        assert secret not in json.dumps([changes, found, block])
    defined = (await commands.ok("PtaMSP", "lending", "contract", "list"))["contracts"]
    assert {each["name"] for each in defined} >= {"enforcement", "instalments"}
    assert (await commands.ok("PtaMSP", "enforcement", "case", "list"))["cases"] == []
    assert (await commands.ok("PtaMSP", "enforcement", "order", "list"))["orders"] == []


async def meet_refusals(commands: Commands, network: LocalNetwork) -> None:
    """Every error is one clear object, with the exit code of its kind."""
    code, said = await commands.run("BankMSP", "lending", "evaluate", "enforcement", "Nothing")
    assert (code, said["error"]["kind"]) == (1, "refused")
    assert "Nothing" in said["error"]["message"]
    code, said = await commands.run("BankMSP", "lending", "case", "sweep", "AG-2")
    assert code == 1
    assert said["verdicts"][0]["ok"] is False
    code, said = await commands.run("BankMSP", "lending", "block", "999")
    assert code == 1
    assert "block 999" in said["error"]["message"]
    code, said = await commands.run("BankMSP", "nobody", "case", "list")
    assert code == 1
    assert "governance, lending" in said["error"]["message"]
    await network.stop("MakerMSP")
    code, said = await commands.run("MakerMSP", "lending", "case", "list")
    assert (code, said["error"]["kind"]) == (3, "unavailable")
    await network.start("MakerMSP")


async def explain_a_conflict(commands: Commands, network: LocalNetwork) -> None:
    """Two transactions that read one key: the second one's verdict names key and winner."""
    async with network.gateway("BankMSP") as gateway:
        contract = gateway.network(network.channel_id).contract("instalments")
        today = pkt_date(datetime.now(UTC)).isoformat()

        def draft(reference: str) -> Any:
            record = {"agreement": "AG-4", "reference": reference, "paid_on": today, "channel": "x"}
            return contract.new_proposal(
                "PostPayments",
                json.dumps([record]),
                transient={"amounts": "[100]"},
                endorsing_organisations=("BankMSP", "PtaMSP"),
            )

        both = [await gateway.endorse(draft(reference)) for reference in ("C-1", "C-2")]
        first, second = [
            await gateway.commit_status(await gateway.submit(endorsed)) for endorsed in both
        ]
    assert first.is_valid
    assert second.code is TxValidationCode.MVCC_READ_CONFLICT
    told = await commands.ok("BankMSP", "lending", "tx", second.tx_id)
    assert told["code"] == "MVCC_READ_CONFLICT"
    assert "AG-4" in told["why"]
    assert first.tx_id in told["why"]


async def test_commands_of_members_fill_the_ledger_and_show_what_stands_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A member's day by commands: import, look, be refused, understand a conflict; nodes agree."""
    contracts = [InstalmentsContract(), EnforcementContract()]
    async with local_network(tmp_path / "network", contracts, collections=COLLECTIONS) as network:
        commands = Commands(network, capsys)
        await found(commands)
        await network.settled()
        await import_all(commands, network, tmp_path)
        await look_at_it(commands)
        await explain_a_conflict(commands, network)
        await meet_refusals(commands, network)
        await network.verify()
