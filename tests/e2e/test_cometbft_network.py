"""Four node processes, each with its CometBFT: they order together, whatever is killed."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from clients.gateway.asynchronous import AsyncGateway
from clients.gateway.profile import load_profile
from tests.support.node_network import CHANNEL, MEMBERS, NodeNetwork
from tests.support.processes import process_of, qist, wait_for

pytestmark = pytest.mark.slow

AWAY = "PtaMSP"


@dataclass
class Regulator:
    """A client of the regulator that records through any member's node; each record is new.

    Attributes:
        recorded: the transactions that were acknowledged.
    """

    network: NodeNetwork
    recorded: list[str] = field(default_factory=list)

    async def record(self, *msp_ids: str) -> None:
        """Have a type of device recorded through the node of each of these members."""
        user = load_profile(self.network.profile("PtaMSP")).user("lending")
        for msp_id in msp_ids:
            endpoints = load_profile(self.network.profile(msp_id)).endpoints()
            number = 35_209_900 + len(self.recorded)
            tac = {"tac": str(number), "maker": "MakerMSP", "registrants": ["MakerMSP"]}
            helper = next(each for each in MEMBERS if each not in (msp_id, AWAY))
            async with AsyncGateway(endpoints, user) as gateway:
                done = await (
                    gateway.network(CHANNEL)
                    .contract("instalments")
                    .submit(
                        "RegisterTacs",
                        json.dumps([tac]),
                        endorsing_organisations=(msp_id, helper),
                    )
                )
            (verdict,) = json.loads(done.result)["verdicts"]
            assert verdict["ok"], verdict
            self.recorded.append(done.status.tx_id)

    def verify(self) -> None:
        """Make the closing checks of a network; what was acknowledged stands there once."""
        places = self.network.verify()
        assert all(len(places[tx_id]) == 1 for tx_id in self.recorded)


def change(network: NodeNetwork, folder: Path, *words: str) -> None:
    """Have the members agree on a change of the channel, and order it."""
    update = folder / "change.update"
    who = {each: ("--profile", network.profile(each), "--user", "admin") for each in MEMBERS}
    made = qist("channel", "propose", "--out", update, *words, *who["BankMSP"], "--json")
    assert made.code == 0, made.err
    for msp_id in MEMBERS:
        signed = qist("channel", "sign", update, "--yes", *who[msp_id], "--json")
        assert signed.code == 0, signed.err
    sent = qist("channel", "submit", update, *who["BankMSP"], "--json")
    assert sent.code == 0, sent.err


def comet_of(network: NodeNetwork, msp_id: str) -> psutil.Process:
    """Return the CometBFT beside a member's node, as soon as it runs."""
    found: list[psutil.Process] = []

    def runs() -> bool:
        children = psutil.Process(process_of(network.node(msp_id))).children()
        found[:] = [each for each in children if each.name() == "cometbft"]
        return bool(found)

    wait_for(runs, f"CometBFT of {msp_id}")
    return found[0]


def in_configuration(network: NodeNetwork, sequence: int, *msp_ids: str) -> None:
    """Wait until these nodes have a configuration in force and take transactions."""
    for msp_id in msp_ids:
        network.wait_until(
            msp_id,
            f"configuration {sequence}",
            lambda status: status["configuration"] == sequence and status["ordering"]["accepting"],
        )


async def test_members_order_together_whatever_is_killed(tmp_path: Path) -> None:
    """Each orders for its own clients; a change of the channel holds everywhere; what is killed
    comes back, and whoever is away catches up. At the end all ledgers are the same.
    """
    with NodeNetwork.running(tmp_path / "net", "--ordering", "cometbft") as network:
        regulator = Regulator(network)
        await regulator.record(*MEMBERS)
        ordering = network.status("BankMSP")["ordering"]
        assert (ordering["engine"], ordering["role"]) == ("cometbft", "validator")
        state = ordering["consensus"]
        assert (state["validators"], state["reachable"], state["lag"]) == (4, 4, 0)
        assert state["peers"] == sorted(set(MEMBERS) - {"BankMSP"})
        assert state["misbehaviour"] == {}

        change(network, tmp_path, "--set-batch", "max_message_count=7")
        in_configuration(network, 1, *MEMBERS)
        await regulator.record("PtaMSP", "BankMSP")

        starts = network.status(AWAY)["ordering"]["consensus"]["restarts"]
        comet_of(network, AWAY).kill()
        await regulator.record("BankMSP", "MakerMSP")
        network.wait_until(
            AWAY,
            "that its CometBFT was started again",
            lambda status: (
                status["ordering"]["consensus"]["restarts"] > starts
                and status["ordering"]["accepting"]
            ),
        )

        orphan = comet_of(network, AWAY)
        network.kill(AWAY)
        psutil.wait_procs([orphan], timeout=10)
        assert not orphan.is_running(), "CometBFT ends with its node"
        await regulator.record("BankMSP", "OperatorMSP", "MakerMSP")
        network.start(AWAY)
        network.ready(AWAY)
        network.all_accept()
        await regulator.record(AWAY)

        kill_everything(network)
        network.start(*MEMBERS)
        network.ready(*MEMBERS)
        network.all_accept()
        await regulator.record(*MEMBERS)
        regulator.verify()


def kill_everything(network: NodeNetwork) -> None:
    """End all nodes and all CometBFTs by SIGKILL, the latter first."""
    comets = [comet_of(network, msp_id).pid for msp_id in MEMBERS]
    for pid in comets:
        os.kill(pid, signal.SIGKILL)
    network.kill(*MEMBERS)
