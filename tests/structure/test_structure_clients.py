"""The table of scenarios: every client has every row, and the page shows the table as it is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.structure.tree import files, read

TABLE: list[dict[str, str]] = json.loads(read(Path("tests/support/client_scenarios.json")))
NAMES = [row["name"] for row in TABLE]
PAGE = Path("docs/client-scenarios.md")
CONTRACT = Path("tests/support/scenario_contract/contract.py")
# Where a client has its scenarios, and how it writes a scenario's name there.
CLIENTS = {
    "Node": ("tests/node-client/scenarios", ".mjs", r"^    async (?:'([\w-]+)'|(\w+))\(world\)"),
    "Go": ("tests/go-client", ".go", r'^\t"([\w-]+)": func\('),
    "Java": ("tests/java-client/src/main/java", ".java", r'"([a-z0-9-]+)", (?:\w+\()?\w+::'),
    "Python": ("tests/support/python_client", ".py", r"^@scenario\ndef (\w+)\("),
}


def scenarios_of(client: str) -> set[str]:
    """Names of the scenarios that stand in a client's sources."""
    folder, suffix, pattern = CLIENTS[client]
    found = set()
    for path in files():
        if path.is_relative_to(folder) and path.suffix == suffix:
            for groups in re.findall(pattern, read(path), re.MULTILINE):
                name = "".join(groups)
                found.add(name.replace("_", "-") if client == "Python" else name)
    return found


@pytest.mark.parametrize("client", CLIENTS)
def test_client_has_a_scenario_for_each_row_and_no_other(client: str) -> None:
    """None is left out silently, and none stands beside the table."""
    found = scenarios_of(client)
    assert set(NAMES) - found == set(), "rows without a scenario"
    assert found - set(NAMES) == set(), "scenarios without a row"


def test_table_names_each_scenario_once_and_keeps_groups_together() -> None:
    """Names are unique, lower case with dashes; a group stands in one place."""
    assert len(set(NAMES)) == len(NAMES)
    assert [name for name in NAMES if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)] == []
    groups = [row["group"] for row in TABLE]
    changes = [one for one, before in zip(groups, ["", *groups], strict=False) if one != before]
    assert len(changes) == len(set(changes)), changes


def test_page_shows_the_table_as_it_is() -> None:
    """Each group has its heading and each scenario its row, with a mark for every client."""
    text = read(PAGE)
    shown = text[text.index("## The table") : text.index("## How the clients differ")]
    marks = " ✓ |" * len(CLIENTS)
    heading = f"| scenario | rule | {' | '.join(CLIENTS)} |"
    expected = ["## The table"]
    for row in TABLE:
        title = f"### {row['group'].capitalize()}"
        if title not in expected:
            expected += [title, heading, "|---|---|---|---|---|---|"]
        expected.append(f"| `{row['name']}` | {row['rule']} |{marks}")
    assert [line for line in shown.splitlines() if line] == expected


def test_page_describes_every_function_of_the_contract() -> None:
    """A contract in another language can be written from the page alone."""
    functions = re.findall(r"^    def (\w+)\(self, ctx", read(CONTRACT), re.MULTILINE)
    on_the_wire = {"".join(part.capitalize() for part in name.split("_")) for name in functions}
    told = re.findall(r"^\| `([A-Z]\w+)` \|", read(PAGE), re.MULTILINE)
    assert set(told) == on_the_wire


def test_no_client_and_no_row_says_a_word_of_ours() -> None:
    """The table and the official clients' scenarios can be run against any Fabric network."""
    ours = re.compile(r"qist|instalment|BankMSP|OperatorMSP|MakerMSP|PtaMSP", re.IGNORECASE)
    folders = ("tests/node-client/scenarios", "tests/go-client", "tests/java-client/src")
    sources = [path for path in files() if any(path.is_relative_to(each) for each in folders)]
    sources += [Path("tests/support/client_scenarios.json"), Path("tests/node-client/world.mjs")]
    assert [str(path) for path in sources if ours.search(read(path))] == []
