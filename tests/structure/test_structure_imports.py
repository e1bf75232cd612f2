"""The direction of imports, public docstrings, and that what is imported is declared."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.structure.tree import PACKAGES, ROOT, pyproject, python_files, read

BIN = Path(sys.executable).parent


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a tool of the environment in the repository and keep what it printed."""
    return subprocess.run(
        [str(BIN / command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_imports_go_one_way() -> None:
    """Every contract of .importlinter holds."""
    result = run("lint-imports", "--no-cache")
    assert result.returncode == 0, result.stdout


def test_public_names_are_described() -> None:
    """Every public module, class, function and method of the packages has a docstring."""
    result = run("ruff", "check", "--select", "D100,D101,D102,D103,D104", *PACKAGES, "qist.py")
    assert result.returncode == 0, result.stdout


def test_third_party_imports_are_declared() -> None:
    """What the packages import is the standard library, ours, or named in pyproject.toml."""
    declared = {
        canonicalize_name(Requirement(line).name) for line in pyproject()["project"]["dependencies"]
    }
    providers = packages_distributions()
    unknown = set()
    for path in (*python_files(*PACKAGES), Path("qist.py")):
        for name in imported(ast.parse(read(path))):
            if name in sys.stdlib_module_names or name in (*PACKAGES, "qist"):
                continue
            if not declared.intersection(map(canonicalize_name, providers.get(name, ()))):
                unknown.add(f"{path}: {name}")
    assert not unknown, f"declare in pyproject.toml, or do without: {sorted(unknown)}"


def imported(tree: ast.Module) -> set[str]:
    """The top-level names that a module imports, anywhere in it; relative imports left out."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names
