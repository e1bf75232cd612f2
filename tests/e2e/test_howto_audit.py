"""docs/howto/audit-a-fabric-channel.md: every command is executed, against a network of ours."""

from __future__ import annotations

from pathlib import Path

from tests.support.howto_pages import run_page
from tests.support.ports import free_base
from tests.support.processes import network_down_at_the_end


def test_audit_works_as_it_is_written(tmp_path: Path) -> None:
    """Fetch, go on, replay, find a damage."""
    with network_down_at_the_end(tmp_path / "consortium"):
        assert run_page("audit-a-fabric-channel.md", tmp_path, free_base()) == 5
    assert "check:  commit hash of the block" in (tmp_path / "damaged.txt").read_text()
