"""The files of the repository as the structure tests see them: what git would take, no more."""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("ledger", "network", "chaincode", "nodes", "clients")
# Written by a program from another file; its shape is that program's business.
GENERATED = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")


@cache
def files() -> tuple[Path, ...]:
    """Every file that is committed or would be, relative to the root; without git, every file."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        names = [Path(name) for name in listed.stdout.split("\0") if name]
    else:
        names = [path.relative_to(ROOT) for path in _walk(ROOT)]
    return tuple(sorted(path for path in names if (ROOT / path).is_file()))


def _walk(folder: Path) -> Iterable[Path]:
    for path in folder.iterdir():
        if path.name in {".venv", ".git", "node_modules", "__pycache__", "build", "dist"}:
            continue
        if path.is_dir():
            yield from _walk(path)
        else:
            yield path


def python_files(*folders: str) -> list[Path]:
    """Our own Python modules under *folders* (all of them when none is named)."""
    return [
        path
        for path in files()
        if path.suffix == ".py"
        and not path.name.endswith(GENERATED)
        and (not folders or path.parts[0] in folders)
    ]


def markdown_files() -> list[Path]:
    """Every page of documentation."""
    return [path for path in files() if path.suffix == ".md"]


def read(path: Path) -> str:
    """The text of a file named relative to the root."""
    return (ROOT / path).read_text(encoding="utf-8")


@cache
def pyproject() -> dict[str, Any]:
    """pyproject.toml, parsed."""
    return tomllib.loads(read(Path("pyproject.toml")))
