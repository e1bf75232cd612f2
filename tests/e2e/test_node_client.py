"""The official Fabric client for Node, unchanged, against four node processes.

It reads the member's connection profile and MSP folder as `qist network create` makes them. The
scripts in tests/node-client print a line of JSON for each scenario; each is a case here. The table
of scenarios and the contract that they call know nothing of this project, so that they can be run
by other clients and against other networks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chaincode.instalments.identifiers import device_pseudonyms
from clients.files.keyrings import load_keyrings
from tests.conftest import NodeClient
from tests.support.processes import network_down_at_the_end, qist, shell, wait_for

pytestmark = [pytest.mark.node_client, pytest.mark.slow]

SUPPORT = Path(__file__).parents[1] / "support"
TABLE = SUPPORT / "client_scenarios.json"
SCENARIOS: list[dict[str, str]] = json.loads(TABLE.read_text("utf-8"))
BACK_OFFICE = (
    "handset-is-registered-under-its-pseudonym",
    "agreement-is-opened-with-transient-terms",
    "payment-is-posted-and-the-standing-follows",
    "amounts-go-to-nobody-whom-the-bank-has-not-named",
    "rule-that-is-broken-is-told-in-words",
)
PAGE = Path(__file__).parents[2] / "docs/howto/use-fabrics-clients.md"
BLOCK = re.compile(r"^```(sh|js)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MEMBERS = ("BankMSP", "OperatorMSP", "MakerMSP", "PtaMSP")
DEADLINE_S = 120.0


@dataclass(frozen=True)
class Outcomes:
    """What a script said of each scenario, and whatever else it said."""

    of: Mapping[str, dict[str, Any]]
    words: str


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a network, founded, that has the contract of the scenarios as well."""
    folder = tmp_path_factory.mktemp("node-client")
    with network_down_at_the_end(folder / "consortium") as network:
        for words in (("create", network, "--base-port", "0"), ("up", network)):
            answer = qist("network", *words)
            assert answer.code == 0, answer.err
        define_scenarios(network)
        yield folder


def define_scenarios(network: Path) -> None:
    """Install the contract of the scenarios on every node; define it with all members' consent."""

    def install(msp_id: str) -> None:
        package = SUPPORT / "scenario_contract"
        answer = qist("node", "install", network / msp_id / "node", "--package", package)
        assert answer.code == 0, answer.err

    with ThreadPoolExecutor() as pool:
        list(pool.map(install, MEMBERS))
    peers = ", ".join(f"'{msp_id}.peer'" for msp_id in MEMBERS)
    endorsed_by = [word for msp_id in MEMBERS for word in ("--endorsed-by", msp_id)]
    profile = network / "BankMSP" / "connection.json"
    user = ("--profile", profile, "--user", "admin")
    version = ("--version", "1")
    policy = f"OutOf(2, {peers})"
    defined = qist("contract", "define", "scenarios", policy, *version, *user, *endorsed_by)
    assert defined.code == 0, defined.err


@pytest.fixture(scope="module")
def settings(folder: Path) -> Path:
    """The network as the scripts want it described."""
    network = folder / "consortium"
    members = {
        msp_id: {
            "profile": str(network / msp_id / "connection.json"),
            "users": str(network / msp_id / "org" / "users"),
        }
        for msp_id in MEMBERS
    }
    path = folder / "settings.json"
    content = {
        "channel": "qist",
        "contract": "scenarios",
        "user": "lending",
        "firstBlock": 0,
        "members": members,
        "pseudonymKeys": str(network / "BankMSP" / "pseudonym-keys.toml"),
    }
    path.write_text(json.dumps(content))
    return path


def outcomes(node_client: NodeClient, script: str, *arguments: str) -> Outcomes:
    """Run a script and read its lines."""
    done = node_client.run(script, *arguments, timeout_s=DEADLINE_S)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    words = f"{script} ended with exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return Outcomes({line["scenario"]: line for line in lines}, words)


@pytest.fixture(scope="module")
def scenarios(node_client: NodeClient, settings: Path) -> Outcomes:
    return outcomes(node_client, "scenarios.mjs", str(settings), str(TABLE))


@pytest.fixture(scope="module")
def back_office(node_client: NodeClient, settings: Path) -> Outcomes:
    return outcomes(node_client, "back-office.mjs", str(settings), *BACK_OFFICE)


def verify(outcomes: Outcomes, name: str, rule: str) -> None:
    """Fail with the rule, and with what the client saw."""
    outcome = outcomes.of.get(name)
    if outcome is None:
        pytest.fail(f"{name} was not run: {outcomes.words}", pytrace=False)
    if not outcome["passed"]:
        pytest.fail(f"{name}: {rule}\n{outcome['error']}", pytrace=False)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[each["name"] for each in SCENARIOS])
def test_node_client_in_each_scenario_behaves_as_with_fabric(
    scenarios: Outcomes, scenario: dict[str, str]
) -> None:
    """The rule stands in the table."""
    verify(scenarios, scenario["name"], scenario["rule"])


def test_node_client_has_no_scenario_beyond_the_table(scenarios: Outcomes) -> None:
    """What one client does, the others must do: the table is complete."""
    assert [*scenarios.of] == [each["name"] for each in SCENARIOS], scenarios.words


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


def test_page_for_fabrics_clients_works_as_it_is_written(
    node_client: NodeClient, folder: Path
) -> None:
    """A reader who copies files and commands gets what the page says."""
    (folder / "node_modules").symlink_to(node_client.folder / "node_modules")
    printed = ""
    for language, content in BLOCK.findall(PAGE.read_text("utf-8")):
        if language == "js":
            name = content.splitlines()[0].removeprefix("// ")
            assert re.fullmatch(r"\w+\.mjs", name), f"the first line names the file, not {name}"
            (folder / name).write_text(content)
            continue
        script = f'PATH="{node_client.node.parent}:$PATH"\n{content}'
        answer = shell(script, folder)
        assert answer.code == 0, f"{content}\n{answer.out}\n{answer.err}"
        printed += answer.out
    assert '"PtaMSP"' in printed, "the members are shown"
    assert re.search(r"^rulebook \d+: .*AG-17", printed, re.MULTILINE), printed
    assert re.search(r"^committed in block \d+$", printed, re.MULTILINE), printed


def test_network_after_all_scenarios_agrees_and_is_clean(
    scenarios: Outcomes, back_office: Outcomes, folder: Path
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
