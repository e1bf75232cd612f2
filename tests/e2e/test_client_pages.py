"""The pages of docs/howto/ for members and programs: each command and program is executed.

A block whose first line is a comment with a file's name becomes that file, a program is run at
once; blocks ```` ```sh ```` are run in their order. All pages share one network of four processes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chaincode.instalments.calendar import pkt_date
from tests.support.member_files import write_files
from tests.support.processes import network_down_at_the_end, qist, shell

HOWTO = Path(__file__).parents[2] / "docs/howto"
BLOCK = re.compile(r"^```(sh|toml|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = ("use-the-commands.md", "use-the-sdk.md", "import-nightly-files.md")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the network and the files of which the pages speak."""
    folder = tmp_path_factory.mktemp("pages")
    write_files(folder)
    today = pkt_date(datetime.now(UTC)).strftime("%d.%m.%Y")
    theirs = f"Voucher No;Contract;Amount;Value Date\nV/1;AG-1;1.234,50;{today}\n"
    (folder / "theirs.csv").write_text(theirs)
    with network_down_at_the_end(folder / "consortium"):
        for words in (("create", "consortium", "--base-port", "0"), ("up", "consortium")):
            answer = qist("network", *words, cwd=folder)
            assert answer.code == 0, answer.err
        yield folder


def named(content: str) -> str:
    """The name of the file that a block is."""
    name = content.splitlines()[0].removeprefix("# ")
    assert re.fullmatch(r"\w+\.(toml|py)", name), f"the first line names the file, not {name}"
    return name


@pytest.mark.parametrize("page", PAGES)
def test_page_for_clients_works_as_it_is_written(page: str, folder: Path) -> None:
    """A reader who copies commands and programs gets what the page says."""
    blocks = BLOCK.findall((HOWTO / page).read_text("utf-8"))
    for language, content in blocks:
        if language != "sh":
            (folder / named(content)).write_text(content)
    for language, content in blocks:
        if language != "toml":
            script = content if language == "sh" else f"python {named(content)}"
            answer = shell(script, folder)
            assert answer.code == 0, f"{content}\n{answer.out}\n{answer.err}"
    assert len(blocks) >= 2
