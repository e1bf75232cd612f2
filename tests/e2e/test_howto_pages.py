"""The pages of docs/howto/ that tell how nodes and networks are run: every command is executed.

A block ```` ```toml ```` whose first line is a comment with a file's name becomes that file; blocks
```` ```sh ```` are run in their order, in one empty folder. Ports are moved to free ones.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from nodes.configuration import NodeConfiguration
from tests.support.processes import network_down_at_the_end, shell, stopped_at_the_end

HOWTO = Path(__file__).parents[2] / "docs/howto"
BLOCK = re.compile(r"^```(sh|toml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def down_at_the_end(tmp_path: Path) -> Iterator[None]:
    """Whatever a page has started is stopped."""
    with ExitStack() as ends:
        for name in ("consortium", "rehearsal", "three"):
            ends.enter_context(network_down_at_the_end(tmp_path / name))
        ends.enter_context(stopped_at_the_end(tmp_path / "node", tmp_path / "restored"))
        yield


def free_base() -> int:
    """A port such that it and those of three networks after it are free now."""
    for base in range(20_050, 60_000, 100):
        try:
            for offset in range(0, 300, 10):
                for port in (base + offset, base + offset + 1):
                    with socket.socket() as probe:
                        probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return base
    raise AssertionError("no three hundred ports in a row are free")


def moved(text: str, base: int) -> str:
    """Move the ports of a page: 7050 and 7051 to *base*, 7150 and 7250 to the hundreds after it."""
    text = re.sub(r"network create consortium$", r"\g<0> --base-port 7050", text, flags=re.M)
    return re.sub(r"\b7([0-2])5([01])\b", lambda m: str(base + 100 * int(m[1]) + int(m[2])), text)


@pytest.mark.parametrize("name", ["run-a-node.md", "create-a-network.md", "operate-a-node.md"])
def test_page_works_as_it_is_written(name: str, tmp_path: Path, down_at_the_end: None) -> None:
    """A reader who copies the commands gets what the page says."""
    page = moved((HOWTO / name).read_text("utf-8"), free_base())
    ran = 0
    for language, content in BLOCK.findall(page):
        if language == "toml":
            file = content.splitlines()[0].removeprefix("# ")
            assert re.fullmatch(r"[\w.-]+\.toml", file), "the first line names the file"
            (tmp_path / file).write_text(content)
            continue
        answer = shell(content, tmp_path)
        assert answer.code == 0, f"{content}\n{answer.out}\n{answer.err}"
        ran += 1
    assert ran >= 5


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
                shown = str(int(value.default))
                assert re.search(rf"`{inner}` \|[^|\n]*\| {shown} \|", table), f"{name}.{inner}"
