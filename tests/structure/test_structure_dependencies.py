"""Dependencies: ranges that are tested; lock files with hashes and no address of a registry."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.structure.tree import pyproject, read

RUN = Path("requirements/run.txt")
DEV = Path("requirements/dev.txt")
GO_TOOLCHAIN = Path("requirements/go.txt")
NODE = Path("tests/node-client/package-lock.json")
GO = Path("tests/go-client")
JAVA = Path("tests/java-client")


def declared(*extras: str) -> list[Requirement]:
    """The requirements of pyproject.toml, those of the named extras with them."""
    project = pyproject()["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


def locked(path: Path) -> dict[str, tuple[str, int]]:
    """Name to version and number of hashes, for every entry of a Python lock file."""
    entries: dict[str, tuple[str, int]] = {}
    text = re.sub(r"^\s*#.*\n", "", read(path), flags=re.MULTILINE)
    for entry in text.replace("\\\n", " ").splitlines():
        requirement, *hashes = entry.split("--hash=")
        name, separator, version = requirement.strip().partition("==")
        assert separator, f"{path}: not pinned: {entry[:80]}"
        good = [found for found in hashes if re.fullmatch(r"sha256:[0-9a-f]{64}", found.strip())]
        assert len(good) == len(hashes), f"{path}: a hash of {name} is none"
        entries[canonicalize_name(name)] = (version.split(" ")[0], len(hashes))
    return entries


def test_dependency_of_pyproject_has_both_ends() -> None:
    """Every dependency is pinned exactly or says from and up to which release it is tested."""
    open_ended = []
    for requirement in [*declared("build", "dev")]:
        operators = {specifier.operator for specifier in requirement.specifier}
        if operators != {"=="} and not (operators & {">=", ">", "~="} and operators & {"<", "<="}):
            open_ended.append(str(requirement))
    assert not open_ended, f"give a lower and an upper end: {open_ended}"


@pytest.mark.parametrize("path", [RUN, DEV, GO_TOOLCHAIN], ids=str)
def test_python_lock_names_hashes_and_no_place(path: Path) -> None:
    """Any mirror serves the lock: every entry carries hashes; no address, option or local path."""
    entries = locked(path)
    assert entries
    bare = [name for name, (_, hashes) in entries.items() if hashes == 0]
    assert not bare, f"without hashes: {bare}"
    for line in read(path).splitlines():
        assert "://" not in line, line
        assert not line.startswith("-"), f"an option belongs to the caller: {line}"
        assert not re.search(r"(^|\s)/\w", line), f"a path of one machine: {line}"


@pytest.mark.parametrize(
    ("path", "extras"), [(RUN, ("build",)), (DEV, ("build", "dev"))], ids=["run", "dev"]
)
def test_python_lock_satisfies_what_is_declared(path: Path, extras: tuple[str, ...]) -> None:
    """What is installed by hash is inside the ranges that pyproject.toml promises."""
    entries = locked(path)
    for requirement in declared(*extras):
        name = canonicalize_name(requirement.name)
        assert name in entries, f"{name} is not in {path}; run: make lock"
        version = entries[name][0]
        assert requirement.specifier.contains(version, prereleases=True), (
            f"{path} has {name} {version}, pyproject.toml says {requirement.specifier}"
        )


def test_python_locks_agree() -> None:
    """What the tests run on is, to the version, what `make run` installs."""
    development = locked(DEV)
    differing = {
        name: (version, development.get(name))
        for name, (version, _) in locked(RUN).items()
        if development.get(name, ("",))[0] != version
    }
    assert not differing, f"run: make lock; differing: {differing}"


def test_node_lock_names_hashes_and_no_place() -> None:
    """The Node client's packages are pinned by hash, and no registry's address is kept."""
    lock = json.loads(read(NODE))
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages
    bare = [name for name, entry in packages.items() if not entry.get("integrity")]
    assert not bare, f"without a hash: {bare}"
    placed = [name for name, entry in packages.items() if "resolved" in entry]
    assert not placed, f"with an address; see tests/node-client/.npmrc: {placed}"


def test_node_lock_matches_its_manifest() -> None:
    """package.json and its lock ask for the same, so `npm ci` does not refuse."""
    manifest = json.loads(read(NODE.with_name("package.json")))
    lock = json.loads(read(NODE))
    assert lock["packages"][""]["dependencies"] == manifest["dependencies"]


def test_go_lock_has_the_hash_of_every_module_and_no_place() -> None:
    """go.mod names exact versions, go.sum their hashes; nothing is taken from elsewhere."""
    module = read(GO / "go.mod")
    assert not re.search(r"^\s*(replace|exclude|toolchain)\b", module, re.MULTILINE)
    required = re.findall(r"^(?:require )?\t?([\w.-]+/\S+) (v\S+)", module, re.MULTILINE)
    assert ("github.com/hyperledger/fabric-gateway", "v1.10.0") in required
    sums = read(GO / "go.sum")
    bare = [name for name, version in required if f"{name} {version} h1:" not in sums]
    assert not bare, f"without a hash: {bare}"
    assert "://" not in module + sums


def test_java_artifacts_have_exact_versions_and_hashes_and_no_place() -> None:
    """pom.xml has no range, no property and no repository; each artifact is pinned by SHA-256."""
    pom = read(JAVA / "pom.xml")
    versions = re.findall(r"<version>(.*?)</version>", pom)
    assert versions
    assert [each for each in versions if not re.fullmatch(r"\d+(\.\d+)*", each)] == []
    assert not re.search(r"<(repositor|pluginRepositor|distributionManagement)", pom)
    pins = read(JAVA / "artifacts.sha256").splitlines()
    assert [line for line in pins if not re.fullmatch(r"[0-9a-f]{64}  [\w.-]+\.jar", line)] == []
    pinned = {line.split()[1] for line in pins}
    named = re.findall(r"<artifactId>(.*?)</artifactId>\s*<version>(.*?)</version>", pom)
    own = {"java-client-tests", "maven-dependency-plugin"}
    brought = [f"{name}-{version}.jar" for name, version in named if name not in own]
    missing = [name for name in brought if name not in pinned]
    assert not missing, f"without a hash: {missing}"
