#!/usr/bin/env python
"""Import a million made-up payments into a network of four nodes, kill the import, check the sums.

    .venv/bin/python tools/million_payments.py FOLDER [--rows 1000000] [--agreements 60000]

Makes a network in FOLDER, opens the agreements, imports the payments by `qist import payments`,
kills that process with SIGKILL in the middle, runs the same command to its end, and compares its
report with the sums that the file was made with. Prints one JSON object: rows, seconds, rows a
second, peak memory of the import, and whether everything reconciles. Exits with 1 if it does not.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from chaincode.instalments.calendar import add_months, pkt_date  # noqa: E402  the project's folder
from chaincode.instalments.identifiers import imei_with_check_digit  # noqa: E402
from clients.files.agreements import AgreementSchema  # noqa: E402
from clients.files.payments import PaymentSchema  # noqa: E402

FACTS = (
    *("--operator", "OperatorMSP", "--maker", "MakerMSP", "--country", "PK"),
    *("--receiving", "BankMSP", "--receiving", "OperatorMSP"),
    *("--language", "ur", "--block-consent", "--imported"),
)
BAD_EVERY = 1000
TODAY = pkt_date(datetime.now(UTC))


def write_agreements(path: Path, count: int) -> None:
    """Agreements of an older book, 24 instalments each."""
    opened = TODAY - timedelta(days=600)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(AgreementSchema.required)
        for number in range(count):
            tac = f"3520{number // 400_000:04}"
            serial = 2 * (number % 400_000)
            imeis = [imei_with_check_digit(f"{tac}{serial + which:06}") for which in (0, 1)]
            rows.writerow(
                [
                    f"AG-{number}",
                    "BankMSP",
                    f"{1 + number % 8}2203-{number:07}-{number % 10}",
                    f"+92300{number:07}",
                    *imeis,
                    tac,
                    "Model A",
                    "murabaha",
                    "900000.00",
                    "60000.00",
                    "24",
                    "monthly",
                    add_months(opened, 1),
                    opened,
                    f"KFS-{number}",
                ]
            )


def write_payments(path: Path, rows: int, agreements: int) -> dict[str, int]:
    """Payments of the last months; every thousandth is bad. Gives what must come out."""
    chance = random.Random(7)
    made = {"good": 0, "bad": 0, "paisa": 0}
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(PaymentSchema.required)
        for number in range(rows):
            paisa = chance.randrange(100, 3_500_000)
            paid_on = TODAY - timedelta(days=chance.randrange(1, 500))
            amount = f"{paisa // 100}.{paisa % 100:02}"
            if number % BAD_EVERY == BAD_EVERY - 1:
                made["bad"] += 1
                amount += "7"
            else:
                made["good"] += 1
                made["paisa"] += paisa
            out.writerow([f"P-{number}", f"AG-{number % agreements}", amount, paid_on, "ibft"])
    return made


def qist(folder: Path, *words: str, may_end_with: tuple[int, ...] = (0,)) -> str:
    """Run a command; gives its output."""
    done = subprocess.run([str(BIN / "qist"), *words], cwd=folder, capture_output=True, text=True)
    if done.returncode not in may_end_with:
        raise SystemExit(f"qist {' '.join(words)} ended with {done.returncode}: {done.stderr}")
    return done.stdout


def command(msp_id: str, *words: str) -> list[str]:
    """A command of a member's lending officer."""
    profile = f"consortium/{msp_id}/connection.json"
    return [*words, "--profile", profile, "--user", "lending", "--json"]


def progress_of(folder: Path) -> int:
    """Bytes of the file of payments that are settled."""
    path = folder / "payments.csv.progress.json"
    return int(json.loads(path.read_text())["offset"]) if path.exists() else 0


def peak_mb(pid: int) -> float:
    """Peak memory of a process in megabytes; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return max((int(x.split()[1]) / 1024 for x in lines if x.startswith("VmHWM")), default=0.0)


def run_import(folder: Path, kill_at: float) -> tuple[dict[str, Any], float]:
    """Run the import, kill it at that share of the file. Gives report and peak memory."""
    size = (folder / "payments.csv").stat().st_size
    words = command("BankMSP", "import", "payments", "payments.csv")
    with (folder / "report.json").open("w") as out:
        process = subprocess.Popen([str(BIN / "qist"), *words], cwd=folder, stdout=out)
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, peak_mb(process.pid))
            if kill_at and progress_of(folder) > size * kill_at:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                return {}, peak
            time.sleep(0.05)
    if process.returncode not in (0, 5):
        raise SystemExit(f"the import ended with {process.returncode}")
    return json.loads((folder / "report.json").read_text()), peak


def main() -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--agreements", type=int, default=60_000)
    given = parser.parse_args()
    folder: Path = given.folder
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        parser.error(f"{folder} is not empty; name a new folder")
    write_agreements(folder / "agreements.csv", given.agreements)
    made = write_payments(folder / "payments.csv", given.rows, given.agreements)
    qist(folder, "network", "create", "consortium", "--base-port", "0")
    try:
        qist(folder, "network", "up", "consortium")
        for msp_id, step in (("PtaMSP", "tacs"), ("MakerMSP", "devices"), ("BankMSP", "open")):
            words = ("import", "agreements", "agreements.csv", *FACTS, "--step", step)
            qist(folder, *command(msp_id, *words))
        began = time.monotonic()
        _, peak_before = run_import(folder, kill_at=0.5)
        report, peak_after = run_import(folder, kill_at=0)
        seconds = time.monotonic() - began
        status = json.loads(qist(folder, "network", "status", "consortium", "--json"))
    finally:
        qist(folder, "network", "down", "consortium")
    written = report["written"]["rows"] + report["already_there"]["rows"]
    paisa = report["written"]["paisa"] + report["already_there"]["paisa"]
    reconciles = (
        written == made["good"]
        and paisa == made["paisa"]
        and report["rejected"]["rows"] == made["bad"]
        and report["refused"]["rows"] == 0
        and report["resumed_at_line"] > 0
    )
    result = {
        "rows": given.rows,
        "seconds": round(seconds, 1),
        "rows_per_second": round(given.rows / seconds),
        "peak_mb": round(max(peak_before, peak_after), 1),
        "taken_up_at_line": report["resumed_at_line"],
        "reconciles": reconciles,
        "report": report,
        "nodes": [
            {"height": each["height"], "memory_mb": each["memory_bytes"] >> 20}
            for each in status["nodes"]
        ],
    }
    print(json.dumps(result, indent=2))
    return 0 if reconciles else 1


if __name__ == "__main__":
    sys.exit(main())
