"""docs/howto/write-a-contract.md: its files make a package, its commands run it on four nodes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from chaincode.determinism.allowed import ALLOWED
from chaincode.packages import PackageStore, read_package
from chaincode.simulator import Limits
from tests.support.processes import Answer, network_down_at_the_end, shell

PAGE = (Path(__file__).parents[2] / "docs/howto/write-a-contract.md").read_text("utf-8")
BLOCK = re.compile(r"^```(sh|sh fails|toml|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def write_files(folder: Path) -> Path:
    """Write the page's files, whose first lines name them, and return the package's folder."""
    for language, content in BLOCK.findall(PAGE):
        if language in ("toml", "python"):
            name = content.splitlines()[0].removeprefix("# ")
            assert re.fullmatch(r"counting/\w+\.(py|toml)", name), "the first line names the file"
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(content)
    return folder / "counting"


@pytest.fixture
def down_at_the_end(tmp_path: Path) -> Iterator[None]:
    """Whatever the page has started is stopped."""
    with ExitStack() as ends:
        ends.enter_context(network_down_at_the_end(tmp_path / "shops"))
        yield


@pytest.mark.slow
def test_contract_of_the_page_runs_as_the_page_says(tmp_path: Path, down_at_the_end: None) -> None:
    """A reader who copies files and commands has a contract on four nodes, and its refusals."""
    write_files(tmp_path)
    answers: list[Answer] = []
    for language, content in BLOCK.findall(PAGE.replace("--base-port 7050", "--base-port 0")):
        if language.startswith("sh"):
            answer = shell(content, tmp_path)
            failed = answer.code != 0
            assert failed == (language == "sh fails"), f"{content}\n{answer.out}\n{answer.err}"
            answers.append(answer)
    calls, refusal = answers[2:4]
    assert calls.out.splitlines()[-2:] == ["3", "0"]
    assert "shop S-2: has no handset left; record a delivery first" in refusal.err


def test_package_of_the_page_passes_the_guard(tmp_path: Path) -> None:
    """What the page recommends can be installed."""
    installed = PackageStore(tmp_path / "contracts").install(write_files(tmp_path))
    assert installed.package_id == read_package(tmp_path / "counting").package_id
    assert installed.contracts == ("counting",)


def test_page_lists_what_a_contract_may_import() -> None:
    """The list of the page is the list of the guard."""
    listed = PAGE.split("this part of the standard library:")[1].split(";")[0]
    told = set(re.findall(r"`(\w+)`", listed))
    assert told == {name for name in ALLOWED if "." not in name and name != "__future__"}


def test_page_tells_the_limits_of_a_transaction() -> None:
    """The figures of the page are those of the code."""
    limits = Limits()
    megabytes = limits.write_bytes // 1024 // 1024
    told = f"({limits.reads:,} reads, {limits.writes:,} writes, {megabytes} MB written)"
    assert told in " ".join(PAGE.split())
