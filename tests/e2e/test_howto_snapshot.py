"""Bringing nodes in and back by the commands of the page: a new member, a lost folder, a backup."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ledger.fsck import check_ledger
from nodes.cli.control_client import node_status
from nodes.cli.node_process import stop_nodes
from tests.support.howto_pages import run_page
from tests.support.ports import free_base
from tests.support.processes import network_down_at_the_end, stopped_at_the_end, wait_for

MEMBERS = ("BankMSP", "OperatorMSP", "MakerMSP", "PtaMSP")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which the page has been run."""
    place = tmp_path_factory.mktemp("snapshot")
    with ExitStack() as ends:
        ends.enter_context(network_down_at_the_end(place / "consortium"))
        ends.enter_context(stopped_at_the_end(place / "naya-node"))
        assert run_page("begin-with-a-snapshot.md", place, free_base()) == 6
        yield place


def nodes(folder: Path) -> list[Path]:
    """The folders of all five nodes."""
    return [*(folder / "consortium" / each / "node" for each in MEMBERS), folder / "naya-node"]


def log_of(node: Path) -> str:
    return (node / "node.log").read_text("utf-8")


def test_fifth_member_began_with_a_snapshot_and_no_member_was_believed(folder: Path) -> None:
    """Its first header was proved, and its blocks came in a snapshot."""
    log = log_of(folder / "naya-node")
    assert "proved from the genesis block on" in log
    assert "the snapshot is restored up to block" in log


def test_keys_that_forgot_were_held_back(folder: Path) -> None:
    """The maker's, whose folder was lost, and the regulator's, restored from its backup."""
    for msp_id in ("MakerMSP", "PtaMSP"):
        assert "so it signs nothing up to" in log_of(folder / "consortium" / msp_id / "node")
    for msp_id in ("BankMSP", "OperatorMSP"):
        assert "so it signs nothing up to" not in log_of(folder / "consortium" / msp_id / "node")


def test_all_five_have_the_same_and_their_ledgers_are_sound(folder: Path) -> None:
    """Equal heights, header hashes and commit hashes, and a clean fsck of each."""

    def heights() -> set[int]:
        return {int(node_status(each)["height"]) for each in nodes(folder)}

    wait_for(lambda: len(heights()) == 1, "equal heights")
    stop_nodes(nodes(folder))
    reports = [check_ledger(each / "ledger") for each in nodes(folder)]
    assert [each.findings for each in reports] == [()] * len(reports)
    assert len({(each.height, each.header_hash, each.commit_hash) for each in reports}) == 1
