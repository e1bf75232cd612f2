"""docs/howto/write-a-contract.md and upgrade-a-contract.md: their files make a package, their
commands run it on four nodes and upgrade it there.
"""

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

HOWTO = Path(__file__).parents[2] / "docs/howto"
PAGE = (HOWTO / "write-a-contract.md").read_text("utf-8")
UPGRADE = (HOWTO / "upgrade-a-contract.md").read_text("utf-8")
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


def run_page(page: str, folder: Path) -> list[Answer]:
    """Run the commands of a page in their order and return what each block answered."""
    answers: list[Answer] = []
    for language, content in BLOCK.findall(page.replace("--base-port 7050", "--base-port 0")):
        if language.startswith("sh"):
            answer = shell(content, folder)
            failed = answer.code != 0
            assert failed == (language == "sh fails"), f"{content}\n{answer.out}\n{answer.err}"
            answers.append(answer)
    return answers


@pytest.mark.slow
def test_contract_of_the_pages_runs_and_is_upgraded_as_they_say(
    tmp_path: Path, down_at_the_end: None
) -> None:
    """A reader who copies files and commands has a contract on four nodes, and its refusals; then
    its next version, from the block on that commits it.
    """
    write_files(tmp_path)
    calls, refusal = run_page(PAGE, tmp_path)[2:4]
    assert calls.out.splitlines()[-2:] == ["3", "0"]
    assert "shop S-2: has no handset left; record a delivery first" in refusal.err

    _, packed, approved, status, early, _, upgraded, outsider, late = run_page(UPGRADE, tmp_path)
    package_id = packed.out.split()[0]
    assert package_id == read_package(tmp_path / "counting-2.package").package_id
    assert f"BankMSP has approved counting 2, sequence 2, and runs {package_id}" in approved.out
    assert "in force  counting 1, sequence 1" in status.out
    assert "approved by BankMSP, OperatorMSP; not by MakerMSP, PtaMSP" in status.out
    assert "PtaMSP has approved nothing for this sequence yet" in status.out
    assert "counting 2 is not committed: approved by BankMSP, OperatorMSP; not by" in early.err
    assert "chaincode definition not agreed to by this org (PtaMSP)" in early.err
    assert "must be from 1 to 500" in upgraded.out
    assert upgraded.out.splitlines()[-1] == "500"
    assert "counting 2, sequence 2: NOT RUN HERE" in outsider.out
    assert "has not yet been approved by this org (PtaMSP)" in outsider.err
    assert "500" in late.out.splitlines()


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
