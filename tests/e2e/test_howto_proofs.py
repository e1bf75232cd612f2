"""docs/howto/prove-a-block.md: every command is executed, on a network with real CometBFTs."""

from __future__ import annotations

from pathlib import Path

from tests.support.howto_pages import run_page
from tests.support.ports import free_base
from tests.support.processes import network_down_at_the_end


def test_block_is_proved_as_it_is_written(tmp_path: Path) -> None:
    """Prove, verify elsewhere, refuse a changed file, prove out of a folder."""
    with network_down_at_the_end(tmp_path / "consortium"):
        assert run_page("prove-a-block.md", tmp_path, free_base()) == 6
    shown = (tmp_path / "court/founding.proof").read_bytes()
    assert shown == (tmp_path / "founding.proof").read_bytes()
