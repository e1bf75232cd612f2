"""A lender that joins later: it opens nothing until a definition has collections of its own."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from chaincode.instalments.contracts import EnforcementContract, InstalmentsContract
from clients.gateway.errors import EndorseError
from nodes.cli.lender_collections import collections_of, render_collections
from nodes.cli.members_description import USUAL_MEMBERS
from tests.support.local_network import MEMBERS, LocalNetwork, local_network
from tests.support.member_commands import FACTS, Commands, found
from tests.support.member_files import write_files

PEERS = ", ".join(f"'{msp_id}.peer'" for msp_id in MEMBERS)
POLICY = f"OutOf(2, {PEERS})"
ALL = collections_of(USUAL_MEMBERS.members, {})
OF_THE_BANK = {name: circle for name, circle in ALL.items() if name.endswith("-BankMSP")}
LATE = "OperatorMSP"
SALT = "5a" * 16


def collections(chosen: dict[str, tuple[str, ...]]) -> str:
    return render_collections(USUAL_MEMBERS.members, chosen)


async def open_one(network: LocalNetwork, device: list[str], opened_on: str, due: str) -> Any:
    """The operator lends for a phone, through its own gateway, which chooses the endorsers."""
    record = {
        "agreement": "OP-1", "device": device, "operator": LATE, "borrower": f"k1:{'ab' * 32}",
        "sim": f"k1:{'cd' * 32}", "contract_type": "conventional",
        "receiving_institutions": [LATE, "BankMSP"], "consent": None, "opened_on": opened_on,
    }  # fmt: skip
    terms = {
        "salt": SALT, "price_paisa": 777, "down_payment_paisa": 77, "currency": "PKR",
        "instalments": [{"due": due, "amount_paisa": 700}],
    }  # fmt: skip
    async with network.gateway(LATE) as gateway:
        contract = gateway.network(network.channel_id).contract("instalments")
        outcome = await contract.submit(
            "OpenAgreements",
            json.dumps([record]),
            transient={"terms": json.dumps([terms]).encode()},
        )
    await network.settled()
    return json.loads(outcome.result)["verdicts"][0]


async def test_lender_opens_agreements_once_a_definition_has_its_collections(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until then it is told which collection is missing; what others have goes on as it was."""
    contracts = [InstalmentsContract(), EnforcementContract()]
    first = {"instalments": collections(OF_THE_BANK)}
    async with local_network(tmp_path / "network", contracts, collections=first) as network:
        commands = Commands(network, capsys)
        await found(commands)
        await network.settled()
        agreements, _ = write_files(tmp_path)
        for msp_id, step in (("PtaMSP", "tacs"), ("MakerMSP", "devices"), ("BankMSP", "open")):
            imported = ("import", "agreements", str(agreements), *FACTS, "--step", step)
            await commands.ok(msp_id, "lending", *imported)
            await network.settled()
        with agreements.open(newline="") as file:
            row = next(iter(csv.DictReader(file)))
        known = await commands.ok(
            "BankMSP", "lending", "evaluate", "instalments", "Agreement", "AG-0"
        )
        bank_device = known["result"]["device"]
        free = [bank_device[:-1] + ("0" if bank_device[-1] != "0" else "1")]
        device = {
            "imeis": [free, [f"k1:{'ef' * 32}"]], "tac": row["tac"], "model": "Model A",
            "maker": "MakerMSP", "country": "PK",
        }  # fmt: skip
        words = ("submit", "instalments", "RegisterDevices", json.dumps([device]))
        await commands.ok("MakerMSP", "lending", *words)
        await network.settled()
        with pytest.raises(EndorseError, match="terms-OperatorMSP could not be found"):
            await open_one(network, free, row["opened_on"], row["first_due_date"])
        await network.redefine("instalments", 2, POLICY, collections(ALL))
        verdict = await open_one(network, free, row["opened_on"], row["first_due_date"])
        assert verdict["written"], verdict
        for msp_id, price in ((LATE, 777), ("BankMSP", 777), ("PtaMSP", 777), ("MakerMSP", None)):
            seen = await commands.ok(
                msp_id, "lending", "evaluate", "instalments", "Agreement", "OP-1"
            )
            terms = seen["result"]["terms"]
            assert (terms and terms["price_paisa"]) == price, msp_id
        again = await commands.ok(
            "BankMSP", "lending", "evaluate", "instalments", "Agreement", "AG-0"
        )
        assert again["result"] == known["result"]
        await network.verify()
