"""The pages of docs/howto/ that tell how nodes and networks are run: every command is executed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from nodes.configuration import NodeConfiguration
from tests.support.howto_pages import HOWTO, run_page
from tests.support.ports import free_base
from tests.support.processes import network_down_at_the_end, stopped_at_the_end


@pytest.fixture
def down_at_the_end(tmp_path: Path) -> Iterator[None]:
    """Whatever a page has started is stopped."""
    with ExitStack() as ends:
        for name in ("consortium", "rehearsal", "three"):
            ends.enter_context(network_down_at_the_end(tmp_path / name))
        ends.enter_context(stopped_at_the_end(tmp_path / "node", tmp_path / "restored"))
        yield


@pytest.mark.parametrize("name", ["run-a-node.md", "create-a-network.md", "operate-a-node.md"])
def test_page_works_as_it_is_written(name: str, tmp_path: Path, down_at_the_end: None) -> None:
    """A reader who copies the commands gets what the page says."""
    assert run_page(name, tmp_path, free_base()) >= 5


def test_page_describes_every_value_of_the_configuration() -> None:
    """A value that the page does not know is one that nobody sets."""
    page = (HOWTO / "run-a-node.md").read_text("utf-8")
    table = page.split("## node.toml")[1].split("What is beyond")[0]
    described = set(re.findall(r"`(\w+)`", table)) | set(re.findall(r"\[(\w+)\]", table))
    for name, field in NodeConfiguration.model_fields.items():
        assert name in described
        for inner, value in getattr(field.annotation, "model_fields", {}).items():
            assert inner in described, f"{name}.{inner}"
            if isinstance(value.default, int | float):
                shown = re.escape(f"{value.default:.15g}")
                assert re.search(rf"`{inner}` \|[^|\n]*\| {shown} \|", table), f"{name}.{inner}"
