"""The benchmark itself, with tiny numbers: its rows are whole, and it notices a lost payment."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.bench.audit import audit
from tests.bench.network import MEMBERS, ROOT, BenchFailed, BenchNetwork, Tree
from tests.bench.plan import Plan, Row, Timing
from tests.bench.product import Sizes, measure_product
from tests.bench.report import RESULTS, TABLE, write_report
from tests.bench.results import as_json
from tests.bench.run import run

pytestmark = [pytest.mark.slow, pytest.mark.official_client]

ENGINE = "cometbft"
ROWS = (
    Row("open", 3, 2, ENGINE),
    Row("pay", 2, 4, ENGINE),
    Row("pay", 1, 2, ENGINE, "node"),
    Row("evaluate", 1, 2, ENGINE),
)
TIMING = Timing(rounds=3, seconds=1.0, warm_first_s=0.3, warm_s=0.1, sampled_s=0.5)
FIELDS = {
    "work", "batch", "callers", "engine", "client", "tx_per_s", "records_per_s",
    "p50_ms", "p95_ms", "p99_ms", "errors", "cpu_ms_per_tx", "node_memory_mb",
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """What a run left."""

    folder: Path
    rows: list[dict[str, Any]]
    audits: dict[str, Any]

    @property
    def network(self) -> BenchNetwork:
        return BenchNetwork(Tree(ROOT), self.journals / "network", ENGINE)

    @property
    def journals(self) -> Path:
        return self.folder / "work" / "rows"


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run of a few rows, ended and audited."""
    folder = tmp_path_factory.mktemp("bench")
    plan = Plan("test", ROWS, TIMING)
    measured, audits = run(plan, Tree(ROOT), folder / "work", lambda _text: None, processes=2)
    about = {"commit": "", "machine": {}, "versions": {}, "settings": {}}
    write_report(folder, [as_json(each) for each in measured], about)
    yield Run(folder, json.loads((folder / RESULTS).read_text()), audits)
    shutil.rmtree(folder)


def test_row_of_the_benchmark_has_every_figure(ended: Run) -> None:
    """Each row says what was done and what came of it; nothing failed in any of them."""
    assert [(row["work"], row["batch"], row["callers"]) for row in ended.rows] == [
        (row.work, row.batch, row.callers) for row in ROWS
    ]
    for row in ended.rows:
        assert row.keys() >= FIELDS
        assert row["errors"] == 0, row["errors_by_kind"]
        assert row["calls"] > 0
        # On a busy machine nothing may end in one short round, but not in all of them.
        assert 0 <= row["tx_per_s_min"] <= row["tx_per_s"] <= row["tx_per_s_max"]
        assert row["tx_per_s_max"] > 0
        assert row["records_per_s"] == pytest.approx(row["tx_per_s"] * row["batch"], rel=0.01)
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
        assert row["wire_bytes_per_tx"] > 0
        assert row["node_memory_mb"] > 20
    assert all(str(row.batch) in (ended.folder / TABLE).read_text() for row in ROWS)


def test_processor_time_of_a_row_is_told_by_process_and_by_stage(ended: Run) -> None:
    """Nodes, their CometBFT and the client each have theirs; the stages add up to all of it."""
    for row in ended.rows:
        spent = row["cpu_ms_per_tx"]
        assert set(spent["process"]) == {
            *MEMBERS, *(f"{msp_id} cometbft" for msp_id in MEMBERS), "client",
        }  # fmt: skip
        assert sum(spent["stage"].values()) == pytest.approx(
            sum(spent["process"].values()), abs=0.01
        )
    paid = next(row for row in ended.rows if row["work"] == "pay")["cpu_ms_per_tx"]["stage"]
    assert {"endorse", "order", "validate", "commit", "client", "cometbft"} <= set(paid)
    assert paid["validate"] > 0


def test_audit_compares_every_transaction_that_was_acknowledged(ended: Run) -> None:
    """What was told in warm-ups and drains counts as well: every line of every journal."""
    lines = [
        line for path in ended.journals.glob("*.journal") for line in path.open() if line.strip()
    ]
    told = ended.audits[ENGINE]
    submitted = [line for line in lines if line.endswith('"a"]\n')]
    evaluated = sum(
        len(Path(json.loads(path.read_text())["journal"]).read_text().splitlines())
        for path in ended.journals.glob("*.task.json")
        if json.loads(path.read_text())["work"] == "evaluate"
    )
    assert told["acknowledged"] == len(submitted) - evaluated
    assert (told["failed"], told["open"]) == (0, 0)


def test_audit_with_a_payment_lost_fails(ended: Run, tmp_path: Path) -> None:
    """An acknowledged payment that no ledger holds ends the run without figures."""
    copied = _copied(ended, tmp_path)
    journal = _journal_of(copied, "pay")
    journal.write_text(journal.read_text() + '[0,999999,"a"]\n')
    with pytest.raises(BenchFailed, match=r"2 differences.*999999.* is not there"):
        audit(ended.network, copied)


def test_audit_with_a_payment_that_nobody_made_fails(ended: Run, tmp_path: Path) -> None:
    """A payment in the ledger of which its caller was told that it failed is no less wrong."""
    copied = _copied(ended, tmp_path)
    journal = _journal_of(copied, "pay")
    first, *others = journal.read_text().splitlines()
    journal.write_text("\n".join([first.replace('"a"', '"d"'), *others, ""]))
    with pytest.raises(BenchFailed, match="was not acknowledged so"):
        audit(ended.network, copied)


def test_consortiums_own_contracts_are_measured_too(tmp_path: Path) -> None:
    """A book is opened, paid, swept and voted on; a record that a contract refuses would fail."""
    sizes = Sizes(rounds=1, opened=8, paid=8, cases=4)
    told = measure_product("solo", Tree(ROOT), tmp_path, lambda _text: None, sizes)
    rows = [as_json(each) for each in told]
    assert [(row["work"], row["calls"]) for row in rows] == [
        ("originate", 1), ("post", 1), ("sweep", 1), ("vote", 3),
    ]  # fmt: skip
    assert all(row["cpu_ms_per_tx"]["nodes"] > 0 for row in rows)


def _copied(ended: Run, folder: Path) -> Path:
    for path in ended.journals.glob("*.journal"):
        shutil.copy(path, folder)
    for path in ended.journals.glob("*.task.json"):
        task = json.loads(path.read_text())
        task["journal"] = str(folder / Path(task["journal"]).name)
        (folder / path.name).write_text(json.dumps(task))
    return folder


def _journal_of(folder: Path, work: str) -> Path:
    tasks = [json.loads(path.read_text()) for path in sorted(folder.glob("*.task.json"))]
    return Path(next(task["journal"] for task in tasks if task["work"] == work))
