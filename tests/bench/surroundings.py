"""What a run was made on: machine, versions, commit, and what disk and interpreter take."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench.network import ROOT, BenchFailed, Tree
from tests.bench.usage import machine
from tests.support import toolchains

PACKAGES = ("cryptography", "grpcio", "plyvel", "protobuf", "uvloop", "zstandard")
NODE_CLIENT = "@hyperledger/fabric-gateway"
SYNCS = 30
LOOPS = 7


def machine_of(folder: Path) -> dict[str, object]:
    """Describe the machine, and the disk that *folder* is on."""
    found = machine()
    found["system"] = f"{platform.system()} {platform.release()}"
    found["sync_ms"] = round(sync_ms(folder), 3)
    found["python_ms"] = round(python_ms(), 2)
    return found


def sync_ms(folder: Path) -> float:
    """Return how long it takes to append 4 KB and sync them, as a median."""
    path = folder / "sync"
    took = []
    with path.open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            began = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            took.append(1000 * (time.perf_counter() - began))
    path.unlink()
    return statistics.median(took)


def python_ms() -> float:
    """Return the processor time of a fixed piece of Python: 5,000 small objects to JSON and back.

    Machines whose speed changes by the hour, and interpreters that were compiled in different ways,
    are told apart by it.
    """
    took = []
    for _ in range(LOOPS):
        began = time.process_time()
        for number in range(5_000):
            json.loads(json.dumps({"number": number, "words": ["a", "b"], "text": str(number)}))
        took.append(1000 * (time.process_time() - began))
    return min(took)


def versions() -> dict[str, str]:
    """Return the versions of what matters."""
    lock = json.loads((toolchains.NODE_FOLDER / "package-lock.json").read_text("utf-8"))
    found = {
        "python": f"{platform.python_version()}, {Path(sys.executable).resolve()}",
        "node": toolchains.node().version,
        NODE_CLIENT: lock["packages"][f"node_modules/{NODE_CLIENT}"]["version"],
        "cometbft": _said(Path(sys.executable).with_name("cometbft"), "version"),
    }
    return {**found, **{name: version(name) for name in PACKAGES}}


def _said(program: Path, *words: str) -> str:
    if not program.exists():
        return "not installed"
    return subprocess.run(
        [str(program), *words], capture_output=True, text=True, check=True
    ).stdout.strip()


def commit_of(tree: Path = ROOT) -> str:
    """Return the commit of a work tree, and whether files differ from it."""
    head = _git("rev-parse", "--short=12", "HEAD", cwd=tree)
    changed = _git("status", "--porcelain", "--untracked-files=no", cwd=tree)
    return f"{head}{' with changes' if changed else ''}"


def tree_of_commit(commit: str, folder: Path) -> Tree:
    """Write the files of a commit into *folder*, which must be empty.

    Raises:
        BenchFailed: there is no such commit.
    """
    name = _git("rev-parse", "--short=12", f"{commit}^{{commit}}", cwd=ROOT)
    archive = subprocess.run(
        ["git", "archive", "--format=tar", name], cwd=ROOT, capture_output=True, check=True
    )
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return Tree(folder, name)


def _git(*words: str, cwd: Path) -> str:
    done = subprocess.run(["git", *words], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchFailed(f"git {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


def described(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Return what holds for a whole run."""
    return {
        "commit": commit_of(),
        "machine": machine_of(folder),
        "versions": versions(),
        "settings": settings,
    }
