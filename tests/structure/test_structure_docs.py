"""What the documentation says is so: files and commands exist, decisions and changes have form."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.structure.tree import (
    PACKAGES,
    ROOT,
    files,
    markdown_files,
    pyproject,
    python_files,
    read,
)

TOP = (*PACKAGES, "tests", "docs", "tools", "examples", "requirements", ".ci")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`\n]+)`")
# A path of ours in prose: starts in one of our folders and holds no placeholder.
OURS = re.compile(r"(?:" + "|".join(re.escape(name) for name in TOP) + r")/[\w./-]*")
NAMED_PAGE = re.compile(r"\bdocs/[\w/-]+\.md\b")
MAKE = re.compile(r"\bmake ([a-z]+)\b")

ADR = sorted(path for path in files() if path.parent == Path("docs/adr") and path.name[0].isdigit())
ADR_PARTS = ("Context", "Decision", "What was measured", "Consequences")


def prose(path: Path) -> str:
    """A page without its fenced blocks, which hold commands and formats rather than references."""
    return re.sub(r"^```.*?^```$", "", read(path), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", markdown_files(), ids=str)
def test_link_of_a_page_leads_to_a_file(page: Path) -> None:
    """Every relative link of the documentation leads to something that is in the repository."""
    broken = []
    for target in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target) or target.startswith("#"):
            continue
        path = target.split("#")[0]
        if not (ROOT / page.parent / path).exists():
            broken.append(target)
    assert not broken, f"{page} links to what is not there: {broken}"


@pytest.mark.parametrize("page", markdown_files(), ids=str)
def test_file_named_by_a_page_exists(page: Path) -> None:
    """A path of ours written in code type exists."""
    if page.parts[:1] == ("tests",) or page.name == "CHANGELOG.md":
        return  # recorded data describes its own folders; the changelog also names what once was
    missing = [
        span
        for span in SPAN.findall(prose(page))
        if OURS.fullmatch(span) and not (ROOT / span).exists()
    ]
    assert not missing, f"{page} names what is not there: {missing}"


def test_page_named_by_the_code_exists() -> None:
    """Docstrings and configuration that point to a page of docs/ point to one that exists."""
    sources = [*python_files(), Path(".importlinter"), Path("pyproject.toml"), Path("Makefile")]
    missing = {
        f"{path}: {name}"
        for path in sources
        for name in NAMED_PAGE.findall(read(path))
        if not (ROOT / name).exists()
    }
    assert not missing, f"pages that do not exist: {sorted(missing)}"


def test_hot_path_is_where_the_page_says() -> None:
    """Code that is otherwise for speed alone says so, and stands in one list."""
    section = read(Path("docs/architecture.md")).split("## The hot path")[1].split("\n## ")[0]
    listed = {span for span in SPAN.findall(section) if span.endswith(".py")}
    code = (path for path in python_files() if path.parts[0] in PACKAGES)
    assert listed == {str(path) for path in code if "\nHot path: " in read(path)}


@pytest.mark.parametrize("page", markdown_files(), ids=str)
def test_make_command_of_a_page_is_a_target(page: Path) -> None:
    """Every `make …` that the documentation tells is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", read(Path("Makefile")), flags=re.MULTILINE))
    told = set()
    for span in [*SPAN.findall(read(page)), *re.findall(r"^\s*(make .*)$", read(page), re.M)]:
        if span.startswith("make "):
            told |= set(MAKE.findall(span))
    assert told <= targets, f"{page}: no such target: {sorted(told - targets)}"


def test_continuous_integration_runs_what_the_readme_tells() -> None:
    """CI runs the README's test command, so that a newcomer sees what CI sees."""
    assert "make test" in read(Path("README.md"))
    commands = [
        line
        for line in read(Path(".ci/run")).splitlines()
        if line and not line.startswith(("#", "set ", "cd "))
    ]
    assert commands == ["exec make test"]


def test_changelog_is_newest_first_and_knows_the_version() -> None:
    """Sections run from the newest to the oldest; the version of pyproject.toml is among them."""
    text = read(Path("CHANGELOG.md"))
    assert text.startswith("# Changelog\n")
    heads = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    assert heads, "no section"
    versions = []
    for head in heads:
        found = re.fullmatch(r"(\d+\.\d+\.\d+) \((unreleased|\d{4}-\d{2}-\d{2})\)", head)
        assert found, f"write `## 1.2.3 (2026-01-31)` or `## 1.2.3 (unreleased)`, not: {head}"
        versions.append(tuple(int(part) for part in found[1].split(".")))
        assert found[2] != "unreleased" or head == heads[0], f"an old one is unreleased: {head}"
    assert versions == sorted(set(versions), reverse=True), "newest first, each once"
    current = tuple(int(part) for part in pyproject()["project"]["version"].split("."))
    assert current == versions[0]


def test_decisions_are_numbered_without_gaps() -> None:
    """ADRs are 0001, 0002, … each number once; none is ever removed, only superseded."""
    numbers = [path.name[:4] for path in ADR]
    assert numbers == [f"{number:04}" for number in range(1, len(ADR) + 1)]


@pytest.mark.parametrize("path", ADR, ids=lambda path: path.name)
def test_decision_says_why_what_and_at_what_cost(path: Path) -> None:
    """Every ADR has its number in the title, a status, and the four parts in their order."""
    text = read(path)
    assert text.startswith(f"# {path.name[:4]}. "), "the title carries the number"
    assert re.search(r"^Status: (proposed|accepted|superseded by \d{4})\b", text, re.M), "a status"
    parts = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    assert tuple(part for part in parts if part in ADR_PARTS) == ADR_PARTS
    assert path.name in read(Path("docs/adr/README.md")), "the index names it"


def test_version_ranges_of_python_are_the_ones_told() -> None:
    """README, pyproject and the checks speak of the same Python versions."""
    text = tomllib.loads(read(Path("pyproject.toml")))
    assert text["project"]["requires-python"] == ">=3.11"
    assert text["tool"]["ruff"]["target-version"] == "py311"
    assert "3.11" in read(Path("README.md"))
    assert "3.12" in read(Path("README.md"))
