"""The official Fabric clients for Node, Go and Java, unchanged, and our own SDK: one table for all.

Each runs the scenarios of tests/support/client_scenarios.json against four node processes, one
client after the other on one network, and prints a line of JSON for each scenario; each is a case
here. They read the member's connection profile and MSP folder as `qist network create` makes them.
The table of scenarios and the contract that they call know nothing of this project
(docs/client-scenarios.md). The back office and the pages work on the consortium's own contracts.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from chaincode.instalments.identifiers import device_pseudonyms
from clients.files.keyrings import load_keyrings
from tests.support import toolchains
from tests.support.client_network import client_network, write_settings
from tests.support.processes import qist, shell, wait_for
from tests.support.toolchains import CLIENTS, ROOT, BuildFailed, ToolchainMissing

pytestmark = [pytest.mark.official_client, pytest.mark.slow]

TABLE = ROOT / "tests/support/client_scenarios.json"
SCENARIOS: list[dict[str, str]] = json.loads(TABLE.read_text("utf-8"))
BACK_OFFICE = (
    "handset-is-registered-under-its-pseudonym",
    "agreement-is-opened-with-transient-terms",
    "payment-is-posted-and-the-standing-follows",
    "amounts-stay-among-the-members-of-the-lenders-collection",
    "rule-that-is-broken-is-told-in-words",
)
PAGE = ROOT / "docs/howto/use-fabrics-clients.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"(?://|#) (\w+\.(?:mjs|go|java|py))\n")
DEADLINE_S = 300.0


@dataclass(frozen=True)
class Outcomes:
    """What a client said of each scenario, and whatever else it said."""

    of: Mapping[str, dict[str, Any]]
    words: str


Told = Callable[[str], Outcomes]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a network, founded, that has the contract of the scenarios as well."""
    folder = tmp_path_factory.mktemp("clients")
    with client_network(folder / "consortium"):
        yield folder


@pytest.fixture(scope="module")
def told(folder: Path) -> Told:
    """What a client said when it ran the table; it runs it once, when first asked for."""

    @cache
    def run_table(client: str) -> Outcomes:
        command = ready(client)
        path = folder / f"{client}.json"
        settings = write_settings(folder / "consortium", path, prefix=f"{client} ")
        return outcomes([*command, str(settings), str(TABLE)])

    return run_table


@pytest.fixture(scope="module")
def back_office(folder: Path) -> Outcomes:
    """What the back office in Node said."""
    program, scenarios = ready("node")
    settings = write_settings(folder / "consortium", folder / "office.json", prefix="office ")
    script = Path(scenarios).with_name("back-office.mjs")
    return outcomes([program, str(script), str(settings), *BACK_OFFICE])


def ready(client: str) -> list[str]:
    """Make a client ready and return its command; skip it where the machine lacks its tools."""
    made = make_ready(client)
    if isinstance(made, ToolchainMissing) and not os.environ.get("CI"):
        pytest.skip(str(made))
    if isinstance(made, Exception):
        pytest.fail(f"the {client} client is not ready, as it should be: {made}", pytrace=False)
    return made


@cache
def make_ready(client: str) -> list[str] | ToolchainMissing | BuildFailed:
    """Try it once; what failed for one case fails for all of them."""
    try:
        return CLIENTS[client]()
    except (ToolchainMissing, BuildFailed) as error:
        return error


def outcomes(command: list[str]) -> Outcomes:
    """Run a client and read its lines; one that does not end is ended, and told of."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, err = process.communicate(timeout=DEADLINE_S)
        ending = f"ended with exit code {process.returncode}"
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        ending = f"did not end within {DEADLINE_S:g} s"
    lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    words = f"{' '.join(command)} {ending}\n{out}\n{err}"
    return Outcomes({line["scenario"]: line for line in lines}, words)


def verify(outcomes: Outcomes, name: str, rule: str) -> None:
    """Fail with the rule, and with what the client saw."""
    outcome = outcomes.of.get(name)
    if outcome is None:
        pytest.fail(f"{name} was not run: {outcomes.words}", pytrace=False)
    if not outcome["passed"]:
        pytest.fail(f"{name}: {rule}\n{outcome['error']}", pytrace=False)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=[each["name"] for each in SCENARIOS])
def test_client_in_each_scenario_behaves_as_with_fabric(
    told: Told, client: str, scenario: dict[str, str]
) -> None:
    """The rule stands in the table."""
    verify(told(client), scenario["name"], scenario["rule"])


@pytest.mark.parametrize("client", CLIENTS)
def test_client_has_every_scenario_of_the_table_and_none_beyond(told: Told, client: str) -> None:
    """What one client does, the others must do: none is left out without a word."""
    found = told(client)
    assert [*found.of] == [each["name"] for each in SCENARIOS], found.words


@pytest.mark.parametrize("name", BACK_OFFICE)
def test_back_office_in_node_works_on_the_consortiums_contracts(
    back_office: Outcomes, name: str
) -> None:
    """A bank whose back office is written for Node needs nothing of ours to take part."""
    verify(back_office, name, "docs/contracts.md")


def test_handset_registered_from_node_is_found_by_its_number(
    back_office: Outcomes, folder: Path
) -> None:
    """A pseudonym made in Node from docs/formats.md is the one that our own programs make."""
    bank = folder / "consortium" / "BankMSP"
    ring = load_keyrings(bank / "pseudonym-keys.toml").device
    device = json.dumps(device_pseudonyms(ring, "35674108000001"))
    profile = ("--profile", bank / "connection.json", "--user", "auditor", "--json")
    status = qist("evaluate", "instalments", "DeviceStatus", device, *profile)
    assert status.code == 0, status.err
    found = status.json["result"]
    assert (found["registered"], found["lender"]) == (True, "BankMSP"), back_office.words


def prepare_reader(client: str, folder: Path) -> str:
    """Give a reader's folder what the page has installed; return what goes before its commands."""
    ready(client)
    if client == "node":
        (folder / "node_modules").symlink_to(toolchains.NODE_FOLDER / "node_modules")
        return f'PATH="{toolchains.node().program.parent}:$PATH"\n'
    if client == "go":
        for name in ("go.mod", "go.sum"):
            (folder / name).write_bytes((toolchains.GO_FOLDER / name).read_bytes())
        return f'export GOTOOLCHAIN=local PATH="{toolchains.go().program.parent}:$PATH"\n'
    if client == "java":
        (folder / "lib").symlink_to(toolchains.BUILD / "java" / "lib")
        return f'PATH="{toolchains.java().java.program.parent}:$PATH"\n'
    return ""


@pytest.mark.parametrize("client", CLIENTS)
def test_page_for_fabrics_clients_works_as_it_is_written(
    client: str, folder: Path, tmp_path: Path
) -> None:
    """A reader of any language who copies files and commands gets what the page says."""
    (tmp_path / "consortium").symlink_to(folder / "consortium")
    before = prepare_reader(client, tmp_path)
    sections = re.split(r"^## ", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    (section,) = (each for each in sections if each.lower().startswith(f"{client}\n"))
    printed = ""
    for language, content in BLOCK.findall(section):
        if language == "sh":
            answer = shell(before + content, tmp_path)
            assert answer.code == 0, f"{content}\n{answer.out}\n{answer.err}"
            printed += answer.out
        elif language == "xml":
            pom = (toolchains.JAVA_FOLDER / "pom.xml").read_text("utf-8")
            assert "".join(content.split()) in "".join(re.sub(r"<!--.*?-->", "", pom).split())
        else:
            name = FILE_NAME.match(content)
            assert name is not None, f"the first line names the file: {content[:80]}"
            (tmp_path / name[1]).write_text(content)
    assert '"PtaMSP"' in printed, "the members are shown"
    assert "AG-17" in printed, "the verdict names the agreement"
    assert re.search(r"^(valid: true )?committed in block \d+$", printed, re.MULTILINE), printed


def test_network_after_all_scenarios_agrees_and_is_clean(
    back_office: Outcomes, folder: Path
) -> None:
    """Equal heights, header hashes and commit hashes on every node, and a clean fsck."""
    network = folder / "consortium"

    def equal() -> bool:
        status = qist("network", "status", network, "--json")
        return status.code == 0 and len({each["height"] for each in status.json["nodes"]}) == 1

    wait_for(equal, "equal heights")
    assert qist("network", "down", network).code == 0
    checked = qist("fsck", network, "--json")
    assert checked.code == 0, checked.out
    nodes = checked.json["nodes"]
    assert len({(each["height"], each["header_hash"], each["commit_hash"]) for each in nodes}) == 1
