"""The benchmark's arithmetic: rates, percentiles, stages, ratios, and what names it relies on."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.bench import fabric, growth, growth_report, load, stages
from tests.bench.__main__ import check_room
from tests.bench.against import Compared, render_comparison
from tests.bench.network import ROOT, BenchFailed
from tests.bench.plan import (
    BULK,
    ENGINES,
    Row,
    Timing,
    budget_s,
    full_plan,
    pool_of,
    quick_plan,
    room_bytes,
    usual_plan,
)
from tests.bench.plots import write_plots
from tests.bench.report import render_tables
from tests.bench.results import Measured, as_json
from tests.bench.rounds import Window
from tests.bench.run import scattering
from tests.bench.stages import MAIN, OWNERS, seconds_by_stage, stage_of
from tests.bench.usage import IDLE_CORES, Meter, Reading, processor_time_s

ROW = Row("pay", 2, 4, "cometbft")
SAMPLER = Path("tests/bench/sampling/sitecustomize.py")


def window(*latencies_ms: float, errors: dict[str, int] | None = None) -> Window:
    used = Reading(2.0, {"BankMSP": 0.4, "BankMSP cometbft": 0.1, "client": 0.2}, 1000)
    return Window(2.0, latencies_ms, errors or {}, used)


def measured(*windows: Window, **more: Any) -> Measured:
    given: dict[str, Any] = {
        "row": ROW,
        "windows": windows,
        "stage_s": {"endorse": 3.0, "commit": 1.0},
        "sampled": 7,
        "memory_mb": {"BankMSP": 90.0, "PtaMSP": 95.5, "BankMSP cometbft": 300.0},
        "disk_bytes": 5000,
        "written": 50,
        "load_processes": 1,
        **more,
    }
    return Measured(**given)


def test_row_tells_the_median_of_its_rounds_with_the_least_and_the_most() -> None:
    """Throughput is per round; percentiles are of all calls; errors of all rounds add up."""
    rounds = (window(*[10.0] * 8), window(*[20.0] * 2, errors={"x": 1}), window(*[30.0] * 4))
    row = as_json(measured(*rounds))
    assert (row["tx_per_s_min"], row["tx_per_s"], row["tx_per_s_max"]) == (1.0, 2.0, 4.0)
    assert row["records_per_s"] == 4.0
    assert (row["p50_ms"], row["p95_ms"], row["p99_ms"]) == (10.0, 30.0, 30.0)
    assert (row["errors"], row["errors_by_kind"]) == (1, {"x": 1})
    assert (row["calls"], row["rounds"], row["seconds"]) == (14, 3, 6.0)


def test_row_divides_processor_time_by_process_and_then_by_stage() -> None:
    """Stages share what the system counted for the nodes; CometBFT and client stand beside."""
    row = as_json(measured(*[window(*[1.0] * 10)] * 3))
    assert row["cpu_ms_per_tx"] == {
        "process": {"BankMSP": 40.0, "BankMSP cometbft": 10.0, "client": 20.0},
        "stage": {"endorse": 30.0, "commit": 10.0, "cometbft": 10.0, "client": 20.0},
        "nodes": 50.0,
    }
    assert row["node_memory_mb"] == 95.5, "of a node, not of its CometBFT"
    assert (row["disk_bytes_per_tx"], row["wire_bytes_per_tx"]) == (100.0, 100.0)
    assert row["client_cores"] == pytest.approx(0.1)


def test_row_in_which_nothing_ended_has_no_time_and_divides_by_nothing() -> None:
    """A row of errors alone is told, not left out."""
    row = as_json(measured(*[window(errors={"x": 2})] * 3, written=0))
    assert (row["tx_per_s"], row["p50_ms"], row["errors"]) == (0.0, None, 6)
    assert row["disk_bytes_per_tx"] == 0.0


def test_tables_put_fabrics_figure_beside_each_row_it_has_one_for() -> None:
    """With the factor; the kind of ordering that compares is taken."""
    rows = [as_json(measured(*[window(*[1.0] * 10)] * 3, row=Row("pay", 1, 64, "cometbft")))]
    run: dict[str, Any] = {"commit": "abc", "machine": {}, "versions": {}, "settings": {}}
    page = render_tables(rows, run)
    assert "| 5.0 (5.0 to 5.0) | 5 | 122 | 0.0 |" in page
    assert fabric.records_per_s(Row("pay", 1, 64, "solo")) == 130
    assert fabric.records_per_s(Row("pay", 1, 1, "solo")) is None
    assert fabric.commit_ms(Row("pay", 1, 1, "cometbft")) == 512


def test_comparison_tells_ratios_of_this_tree_to_the_other() -> None:
    """Above one is better for throughput alone."""
    here = as_json(measured(*[window(*[1.0] * 30)] * 3))
    there = as_json(measured(*[window(*[2.0] * 10)] * 3))
    compared = Compared(ROW, here, there, (2.0, 3.0, 4.0))
    assert compared.ratio("tx_per_s") == 3.0
    assert compared.ratio("p50_ms") == 0.5
    assert compared.ratio("nodes_cpu_ms") == pytest.approx(1 / 3, abs=0.001)
    page = render_comparison([compared], "here", "there")
    assert "3.00 | 2.00 to 4.00" in page
    assert "Geometric mean of the ratios of throughput: 3.000." in page


def test_growth_to_less_than_is_there_is_refused(tmp_path: Path) -> None:
    """Agreements cannot be taken out again, so the point would be another one than it says."""
    state = {"engine": "solo", "provided": 5000, "points": []}
    (tmp_path / growth.STATE).write_text(json.dumps(state))
    with pytest.raises(BenchFailed, match="holds 5000 agreements, so 4000 cannot be measured"):
        growth.grow(tmp_path, "solo", [4000, 9000], [Row("pay", 1, 4, "solo")], Timing())
    with pytest.raises(BenchFailed, match="holds a network on solo"):
        growth.grow(tmp_path, "cometbft", [9000], [Row("pay", 1, 4, "cometbft")], Timing())


def test_growth_tells_each_point_beside_an_empty_ledger(tmp_path: Path) -> None:
    """The table has rates, ratio and memory of both; each plot has every point of every work."""
    fast = as_json(measured(*[window(*[1.0] * 20)] * 3))
    slow = as_json(measured(*[window(*[2.0] * 10)] * 3))
    seen = {
        "load": 0.5,
        "disk": {"blocks": 4 << 20},
        "memory_now_mb": {"BankMSP": {"Anon": 70.0}, "BankMSP cometbft": {"Anon": 99.0}},
        "empty": fast,
    }
    points = [
        {**seen, "size": 0, "row": fast, "pairs": [0.9, 1.0, 1.2], "ratio": 1.0},
        {**seen, "size": 1_000_000, "row": slow, "pairs": [0.4, 0.5, 0.6], "ratio": 0.5},
    ]
    loading = [
        {"agreements": 1_000_000, "per_s": 2500.0, "load": 0.5, "cpu_us": {"a": 90.2, "b": 9.9},
         "disk": {"blocks": 12 << 20, "state": 4 << 20}},
    ]  # fmt: skip
    page = growth_report.write_growth(
        tmp_path,
        {"engine": "solo", "run": {"commit": "abc"}, "points": points, "loading": loading},
    )
    alike = "25.00 | 25.00 | 96 | 96 | 70 |"
    assert f"| 0 | pay 2 x 4 | 0.5 | 20 | 20 | 1.00 | 0.90 to 1.20 | 1.0 | 1.0 | {alike}" in page
    assert "| 1,000,000 | pay 2 x 4 | 0.5 | 10 | 20 | 0.50 | 0.40 to 0.60 | 2.0 | 1.0 |" in page
    assert "| 1,000,000 | 2,500 | 0.5 | 100 | 3 | 1 |" in page
    for figure in ("share", "memory", "nodes-cpu", "disk"):
        plot = ElementTree.parse(tmp_path / f"growth-{figure}.svg")
        assert "1,000,000" in {each.text for each in plot.iter()}


@pytest.mark.parametrize("share", [1, 2, 7, 64, 100, 15_625, 156_250])
def test_caller_that_scatters_over_its_share_has_all_of_it_before_any_twice(share: int) -> None:
    """A large ledger is paid all over: neighbours in time are far apart, and none is left out."""
    stride = scattering(share)
    seen = [number * stride % share for number in range(share)]
    assert sorted(seen) == list(range(share))
    if share >= 64:
        assert min(abs(a - b) for a, b in pairwise(seen)) > share // 4


def test_plot_has_a_bar_for_each_row_and_for_fabrics_figure(tmp_path: Path) -> None:
    """Every figure is written beside its bar, Fabric's beside ours."""
    row = Row("pay", 1, 64, "cometbft")
    rows = [as_json(measured(*[window(*[1.0] * 1000)] * 3, row=row))]
    plots = {path.name: ElementTree.parse(path) for path in write_plots(tmp_path, rows)}
    texts = {name: {each.text for each in plot.iter()} for name, plot in plots.items()}
    assert {"500", "122", "pay, 64 callers, sdk"} <= texts["cometbft-one.svg"]
    assert {"0.70", "endorse", "client"} <= texts["cometbft-stages.svg"]


def test_stage_of_a_stack_is_that_of_the_innermost_owner() -> None:
    """What several stages use goes to whoever called it; what nobody owns is transport."""
    assert stage_of(["network/msp/keys.py:verify", "nodes/committer/signatures.py:_verify"]) == (
        "validate"
    )
    assert stage_of(["ledger/state/leveldb.py:get", "chaincode/simulator/stub.py:get"]) == "endorse"
    assert stage_of(["nodes/gateway/service.py:submit", "nodes/rpc/x.py:y"]) == "order"
    assert stage_of(["uvloop/__init__.py:run"]) == "transport"


def test_work_of_other_threads_counts_as_measured_and_the_rest_as_transport() -> None:
    """Where other threads are seen says little; what they did is known exactly."""
    sample = {
        "native_s": 0.5,
        "exact": [["/t/nodes/committer/committer.py:stage", 2.0]],
        "stacks": [
            [["/t/nodes/gateway/service.py:endorse", MAIN], 1.0],
            [["/t/nodes/committer/committer.py:write", "thread:commit"], 3.0],
        ],
    }
    assert seconds_by_stage([sample], "/t") == {
        "native": 0.5,
        "endorse": 1.0,
        "validate": 2.0,
        "transport": 1.0,
    }


def test_stages_own_what_is_there() -> None:
    """A module or function that was moved takes its line in the table along."""
    for pattern, stage in OWNERS:
        assert stage in stages.STAGES
        path, _, function = pattern.partition(":")
        assert (ROOT / path).exists(), pattern
        if function:
            assert f"def {function}" in (ROOT / path).read_text("utf-8"), pattern


def test_sampler_measures_methods_that_are_there() -> None:
    """The sampler runs before anything of ours is imported, so it names what it measures."""
    tree = ast.parse((ROOT / SAMPLER).read_text("utf-8"))
    (exact,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "EXACT"
    )
    for module, kind, method in exact:
        spec = importlib.util.find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        found = ast.parse(Path(spec.origin).read_text("utf-8"))
        (body,) = (
            each.body for each in found.body if isinstance(each, ast.ClassDef) and each.name == kind
        )
        assert method in {each.name for each in body if isinstance(each, ast.FunctionDef)}


def test_plans_grow_and_no_row_stands_twice() -> None:
    """Quick is for one engine what there are targets for; the usual one has one and 64 callers."""
    quick, usual, full = quick_plan(ENGINES), usual_plan(ENGINES), full_plan(ENGINES)
    for plan in (quick, usual, full):
        assert len(set(plan.rows)) == len(plan.rows)
        assert plan.timing.rounds >= 3
        assert plan.engines == ENGINES
    assert set(usual.rows) < set(full.rows) > set(quick.rows)
    assert {row.callers for row in usual.rows} == {1, 64}
    assert {row.callers for row in full.rows if row.work == "pay"} == {1, 16, 64, 256}
    assert full.product
    assert Row("pay", BULK, 64, "solo").is_whole
    assert not Row("pay", BULK, 1, "solo").is_whole
    assert not Row("pay", 1, 64, "solo").is_whole


def test_plans_keep_their_time_with_what_a_fresh_clone_installs_first() -> None:
    """Four minutes and twenty are promised from a fresh clone; two are for installing."""
    assert budget_s(quick_plan(("cometbft",))) < (4 - 2) * 60
    assert budget_s(usual_plan(ENGINES)) < (20 - 2) * 60
    assert budget_s(full_plan(ENGINES)) > budget_s(usual_plan(ENGINES))


def test_run_begins_only_where_the_disk_has_room(tmp_path: Path) -> None:
    """It says what it may need; two commits are two networks, and engines take turns."""
    one, both = full_plan(("solo",)), full_plan(ENGINES)
    assert room_bytes(both) == room_bytes(one) > room_bytes(usual_plan(ENGINES)) > 1e9
    assert room_bytes(one, against=True) == 2 * room_bytes(one)
    free = shutil.disk_usage(tmp_path).free
    check_room(tmp_path, free / 2)
    with pytest.raises(BenchFailed, match=r"GB left and the run may need .*--output"):
        check_room(tmp_path, 2 * free)


def test_budget_of_a_comparison_is_for_two_networks_and_no_samples() -> None:
    """Rounds of both commits take their turns; stages are not looked at."""
    plan = quick_plan(("cometbft",))
    unsampled = replace(plan, timing=replace(plan.timing, sampled_s=0.0))
    assert budget_s(plan, against=True) == 2 * budget_s(unsampled)


@pytest.mark.parametrize("batch", [1, 7, BULK])
def test_caller_never_pays_one_agreement_twice_at_once_nor_one_of_another(batch: int) -> None:
    """Calls under way at once touch different agreements: no conflict is of our making."""
    row = Row("pay", batch, 3, "solo")
    task = load.Task("", "", "", "", "", "pay", batch, 3, 0, "t", pool_of([row]), row.share)
    seen = []
    for caller in range(3):
        own: set[str] = set()
        for number in range(5):
            ids = load.ids_of(task, caller, number)
            assert len(set(ids)) == batch
            own.update(ids)
        seen.append(own)
    assert not seen[0] & seen[1]
    assert not seen[1] & seen[2]
    assert max(map(max, seen)) < load.pool_id(task.pool)


def test_processor_time_of_process_is_told_finer_than_a_tick() -> None:
    """A node that worked for less than a hundredth of a second has not worked for nothing."""
    before = time.process_time()
    told = processor_time_s(os.getpid())
    assert 0 < before <= told <= time.process_time()


def test_processor_time_of_ended_process_is_refused() -> None:
    """A process that is no more has no time, rather than none used."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    with pytest.raises(ProcessLookupError, match=f"process {ended.pid} has ended"):
        processor_time_s(ended.pid)


@pytest.mark.parametrize(
    ("cores", "waited_s", "is_idle"),
    [([0.1], 2.0, True), ([1.5, 0.9, IDLE_CORES / 2], 6.0, True), ([2.0] * 9, 10.0, False)],
)
def test_row_waits_until_what_was_left_to_merge_is_done(
    monkeypatch: pytest.MonkeyPatch, cores: list[float], waited_s: float, is_idle: bool
) -> None:
    """Until little is used for a while, and no longer than it is told, which it says."""
    now_s, spent_s, working = 0.0, 0.0, iter(cores)

    def sleep(seconds: float) -> None:
        nonlocal now_s, spent_s
        now_s += seconds
        spent_s += seconds * next(working)

    meter = Meter({})
    monkeypatch.setattr(meter, "read", lambda: Reading(now_s, {"BankMSP": spent_s}, 0))
    monkeypatch.setattr(time, "sleep", sleep)
    assert meter.wait_until_idle(10.0) is is_idle
    assert now_s == waited_s
