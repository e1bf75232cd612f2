"""A rehearsal as its operator meets it: the word everywhere, the clock in the operator's hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import Answer, network_down_at_the_end, qist, wait_for

MEMBERS = """\
orderers = ["PtaMSP"]

[[members]]
msp_id = "BankMSP"
class = "bank"
group = "bank"

[[members]]
msp_id = "PtaMSP"
class = "regulator"
group = "pta"

[policy]
trigger_days_past_due = 45
"""


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two members, in a rehearsal that begins on new year's day.

    They lie so deep that the path of a control socket is longer than a socket's may be.
    """
    folder = tmp_path_factory.mktemp("rehearsal") / ("deep-" * 12) / ("down-" * 12)
    folder.mkdir(parents=True)
    (folder / "members.toml").write_text(MEMBERS)
    words = ["--members", str(folder / "members.toml"), "--base-port", "0", "--rehearsal"]
    with network_down_at_the_end(folder / "net") as network:
        made = qist("network", "create", network, *words, "--start", "2026-01-01T09:00:00+05:00")
        assert made.code == 0, made.err
        begin_by_hand(network)
        up = qist("network", "up", network)
        assert up.code == 0, up.err
        assert all(line.startswith("REHEARSAL: ") for line in up.err.splitlines()), up.err
        assert up.out.startswith("REHEARSAL: ")
        yield network


def begin_by_hand(network: Path) -> None:
    """Do by single commands what `network up` begins with, so that it finds the work half done."""
    for msp_id in ("BankMSP", "PtaMSP"):
        assert qist("node", "start", network / msp_id / "node", "--detach").code == 0
    assert qist("node", "install", network / "BankMSP" / "node").code == 0
    follower = network / "BankMSP" / "node"
    wait_for(
        lambda: qist("node", "status", follower, "--json").json["ordering"]["accepting"],
        "that the bank's node finds the orderer",
    )
    policy = "AND('BankMSP.peer', 'PtaMSP.peer')"
    asked = ["--endorsed-by", "BankMSP", "--endorsed-by", "PtaMSP", "--version", "1.0"]
    time = "2026-01-01T09:00:00+05:00"
    both = ["instalments", policy, "enforcement", policy]
    refused = call(network, "contract", "define", *both, *asked, time=time)
    assert refused.code == 1, "one member's node has no package, so that member does not agree"
    assert "PtaMSP" in refused.error["message"]
    assert "not agreed to by this org" in refused.error["message"]
    assert "BankMSP" not in refused.error["message"], refused.error
    assert qist("node", "install", network / "PtaMSP" / "node").code == 0
    defined = call(network, "contract", "define", "instalments", policy, *asked, time=time)
    assert defined.code == 0, defined.err
    assert defined.json["block_num"] == 1, "nothing of what was refused is in a block"


def call(network: Path, *words: str, time: str = "") -> Answer:
    profile = network / "BankMSP" / "connection.json"
    moment = ["--time", time] if time else []
    return qist(*words, "--profile", profile, "--user", "auditor", "--json", *moment)


def clock(network: Path, *time: str, member: str = "BankMSP") -> Answer:
    return qist("node", "clock", network / member / "node", *time, "--json")


def test_founding_that_was_begun_is_finished(rehearsal: Path) -> None:
    """What stands already is passed over: instalments by hand, the rest by `network up`."""
    now = clock(rehearsal).json["clock"]
    defined = call(rehearsal, "contract", "list", time=now).json["contracts"]
    assert {each["name"]: each["sequence"] for each in defined} == {
        "enforcement": 1,
        "instalments": 1,
    }
    (rehearsal / "founding.json").unlink()
    again = qist("network", "up", rehearsal, "--json")
    assert again.code == 0, again.err
    assert {each["height"] for each in again.json["nodes"]} == {4}, "nothing was done twice"


def test_rehearsal_is_founded_at_its_own_time_under_its_own_policy(rehearsal: Path) -> None:
    """The ledger knows only the rehearsal's day, and the parameters of the file."""
    now = clock(rehearsal).json["clock"]
    assert now.startswith("2026-01-01T04:00:00")
    policy = call(rehearsal, "evaluate", "enforcement", "PolicyInForce", "", time=now)
    assert policy.code == 0, policy.err
    assert policy.json["result"]["parameters"]["trigger_days_past_due"] == 45


def test_rehearsal_clock_goes_forward_only(rehearsal: Path) -> None:
    """A day once reached stays reached, on every node whose clock is set."""
    told = qist("network", "clock", rehearsal, "2026-02-01T09:00:00+05:00", "--json")
    now = "2026-02-01T04:00:00+00:00"
    assert told.json == {"rehearsal": True, "clocks": {"BankMSP": now, "PtaMSP": now}}
    assert {clock(rehearsal, member=each).json["clock"] for each in told.json["clocks"]} == {now}
    back = clock(rehearsal, "2026-01-31T09:00:00+05:00")
    assert back.code == 1
    assert "cannot go back" in back.error["message"]
    assert clock(rehearsal, "2026-02-01").code == 1, "a time without a zone"
    asked = call(rehearsal, "submit", "enforcement", "AdvanceDay", time="2026-02-01T09:00:00+05:00")
    assert asked.code == 0, asked.err
    assert asked.json["result"]["day"] == "2026-02-01"


def test_rehearsal_refuses_a_proposal_of_the_real_time(rehearsal: Path) -> None:
    """What carries another time than the network's is refused, 15 minutes either way."""
    refused = call(rehearsal, "submit", "enforcement", "AdvanceDay")
    assert refused.code != 0
    assert "timestamp" in refused.err


def test_rehearsal_keeps_its_clock_over_a_restart(rehearsal: Path) -> None:
    """The operator's time is kept beside the node, and every line of its log says what it is."""
    assert qist("network", "clock", rehearsal, "2026-03-01T09:00:00+05:00").code == 0
    before = clock(rehearsal).json["clock"]
    down = qist("network", "down", rehearsal)
    assert down.out.startswith("REHEARSAL: ")
    checked = qist("fsck", rehearsal, "--json")
    assert checked.code == 0, checked.out
    assert checked.json["rehearsal"]
    assert qist("network", "up", rehearsal).code == 0
    assert clock(rehearsal).json["clock"] == before
    log = (rehearsal / "BankMSP" / "node" / "node.log").read_text("utf-8")
    served = [json.loads(line) for line in log.splitlines() if '"nodes.' in line]
    assert served
    assert all(each["rehearsal"] for each in served)


def test_node_whose_clock_is_far_off_is_named_by_up(rehearsal: Path) -> None:
    """It serves, but the orderer refuses it; the start says so and does not wait for ever."""
    assert clock(rehearsal, "2026-03-02T09:00:00+05:00", member="BankMSP").code == 0
    assert qist("node", "stop", rehearsal / "BankMSP" / "node").code == 0
    up = qist("network", "up", rehearsal)
    assert up.code == 0, up.err
    assert "REHEARSAL: warning: the node of BankMSP takes no transactions" in up.err
    assert "clock" in up.err
