"""A rehearsal's report equals, row by row, what a naive model in plain Python says must happen."""

from __future__ import annotations

import csv
import fcntl
import json
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from tests.support import naive_consortium as naive

ROOT = Path(__file__).resolve().parents[2]
REPAYMENT = ROOT / "examples" / "repayment"
ODDITIES = ROOT / "examples" / "oddities"
UNTIL = date(2026, 9, 30)
# A network of four nodes lives through six months in well under a minute on a quiet machine.
DEADLINE_S = 540

SILENT_MAKER = """
[votes]
MakerMSP = "silent"
[parameters]
notice_period_days = 10
voting_days = 5
"""
NO_OF_THE_OPERATOR = """
[votes]
OperatorMSP = "no"
[parameters]
trigger_days_past_due = 25
waiting_days = 3
retrigger_pause_days = 20
orders_per_month_percent = 100
breaker_age_days = 10
longest_block_days = 40
"""


def rehearse(folder: Path, output: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "qist", "rehearse", str(folder), "--output", str(output), *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def bad_lines(folder: Path) -> dict[str, set[int]]:
    expected = folder / "expected_rejects.csv"
    found: dict[str, set[int]] = {}
    if expected.exists():
        with expected.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                found.setdefault(row["file"], set()).add(int(row["line"]))
    return found


def reported_cases(output: Path) -> list[tuple[str, ...]]:
    left_out = {"case", "lender_msp"}
    with (output / "cases.csv").open(encoding="utf-8", newline="") as file:
        return sorted(
            tuple(value for name, value in row.items() if name not in left_out)
            for row in csv.DictReader(file)
        )


def check_against_oracle(folder: Path, policy: Path, output: Path) -> naive.Result:
    oracle = naive.run(folder, naive.load_policy(policy), UNTIL, bad_lines(folder))
    rows = oracle.rows()
    assert rows, "the oracle has no case: nothing would be compared"
    assert reported_cases(output) == rows
    report = json.loads((output / "report.json").read_text("utf-8"))
    assert report["block_days"] == oracle.block_days(UNTIL)
    assert report["refused_steps"] == []
    assert report["nodes_agree"]
    assert len(report["nodes"]) == 4
    return oracle


def test_rehearsal_of_oddities_equals_the_oracle_and_rejects_every_bad_row(tmp_path: Path) -> None:
    """Every kind of bad row is rejected with rule and way out, every odd payment counts."""
    expected = tmp_path / "expected.csv"
    # Worked out by hand: six instalments of 2,000 rupees on the fifth of each month from April.
    expected.write_text(
        "agreement_ref,as_of,unpaid_instalments,days_past_due,arrears_pkr\n"
        "OD-ON-TIME,2026-09-30,0,0,0\n"
        "OD-PARTS,2026-05-05,1,0,1000\n"
        "OD-PARTS,2026-05-07,1,2,1000\n"
        "OD-OVERPAID,2026-09-30,0,0,0.00\n"
        "OD-TWO-A-DAY,2026-05-31,0,0,0\n"
        "OD-ALL-BUT-TODAY,2026-07-04,3,90,6000\n"
        "OD-ALL-BUT-TODAY,2026-07-05,1,0,2000\n"
        "OD-REVERSED,2026-05-27,2,52,4000\n"
        'OD-LATE-POSTED,2026-06-05,0,0,"0.00"\n'
        "OD-NEVER-PAYS,2026-09-30,6,178,12000\n",
        encoding="utf-8",
    )
    output = tmp_path / "out"
    policy = ODDITIES / "policy.toml"
    done = rehearse(ODDITIES, output, "--until", str(UNTIL), "--expect", str(expected), "--story")
    assert done.returncode == 0, done.stderr + done.stdout
    check_against_oracle(ODDITIES, policy, output)
    assert "10 of 10 rows as expected" in done.stdout
    for table in (block for block in done.stdout.split("\n\n") if "as of" in block):
        assert table.startswith("REHEARSAL")
    for name, lines in bad_lines(ODDITIES).items():
        with (output / f"{name}.rejects.csv").open(encoding="utf-8", newline="") as file:
            rejects = list(csv.DictReader(file))
        assert {int(row["line"]) for row in rejects} == lines
        assert all(row["rule"] and row["way_out"] for row in rejects)
    story = json.loads((output / "report.json").read_text("utf-8"))["story"]
    assert all(step["signer"] and step["msp_id"] and step["endorsers"] for step in story["steps"])
    assert any("cures" in step["what"] for step in story["steps"])


def test_rehearsal_with_a_wrong_expectation_ends_with_1_and_names_the_row(tmp_path: Path) -> None:
    """Exit code 1 if not every row is as expected, and the first differences are told."""
    expected = tmp_path / "expected.csv"
    expected.write_text(
        "agreement_ref,as_of,unpaid_instalments,days_past_due,arrears_pkr\n"
        "OD-ON-TIME,2026-03-10,0,0,0\n"
        "OD-ON-TIME,2026-04-05,1,0,2000.00\n"
        "OD-ON-TIME,2026-04-06,1,1,2000.50\n"
        "OD-NOBODY,2026-03-10,0,0,0\n",
        encoding="utf-8",
    )
    output = tmp_path / "out"
    done = rehearse(ODDITIES, output, "--until", "2026-03-06", "--expect", str(expected))
    assert done.returncode == 1
    assert "2 of 4 rows as expected" in done.stdout
    assert "line 4: OD-ON-TIME on 2026-04-06: expected 1 unpaid, 1 days, 2,000.50" in done.stdout
    assert "line 5: OD-NOBODY" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("added", "ordering"),
    [(SILENT_MAKER, "solo"), (NO_OF_THE_OPERATOR, "cometbft")],
    ids=["silent", "no"],
)
def test_rehearsal_under_another_policy_equals_the_oracle(
    tmp_path: Path, added: str, ordering: str
) -> None:
    """What a policy file says of votes, parameters and the regulator decides the cases, whichever
    engine puts the records in order.
    """
    policy = tmp_path / "policy.toml"
    usual = (ODDITIES / "policy.toml").read_text("utf-8")
    policy.write_text(usual.replace('"next_day"', '"never"') + added, encoding="utf-8")
    output = tmp_path / "out"
    words = ("--until", str(UNTIL), "--policy", str(policy), "--ordering", ordering)
    done = rehearse(ODDITIES, output, *words)
    assert done.returncode == 0, done.stderr + done.stdout
    oracle = check_against_oracle(ODDITIES, policy, output)
    ends = {case.ended_as for case in oracle.cases}
    assert {"cured", "lapsed"} <= ends, "this policy was chosen because cases end in other ways"


@pytest.mark.slow
def test_rehearsal_of_six_months_of_repayments_equals_the_oracle(tmp_path: Path) -> None:
    """The main job: 18,000 expected rows, and each case, ballot, order and release by its date."""
    output = tmp_path / "out"
    expected = REPAYMENT / "expected_arrears.csv"
    done = rehearse(REPAYMENT, output, "--until", str(UNTIL), "--expect", str(expected), "--story")
    assert done.returncode == 0, done.stderr + done.stdout
    assert "18000 of 18000 rows as expected" in done.stdout
    check_against_oracle(REPAYMENT, REPAYMENT / "policy.toml", output)


def test_rehearsal_that_is_ended_from_outside_stops_its_nodes(tmp_path: Path) -> None:
    """SIGTERM in the middle leaves no node behind."""
    output = tmp_path / "out"
    command = [sys.executable, "-m", "qist", "rehearse", str(ODDITIES), "--output", str(output)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        while "nodes are up" not in said:
            assert said, "it ended before its nodes were up"
            said = process.stderr.readline()
        locks = list(output.glob("network/*/node/node.lock"))
        assert len(locks) == 4
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE_S)
    assert process.returncode != 0
    for lock in locks:
        with lock.open("rb") as file:
            # Whoever runs a node holds this lock; it is free once the process is gone.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
