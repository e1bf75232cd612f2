"""A CometBFT whose clock is wrong by as many seconds as QIST_TEST_CLOCK_OFFSET_S says.

    binary = skewed_comet()

It is the pinned one, built again from a copy of its published module in which, wherever consensus
reads the time, the offset is added. Nothing of the module is kept here: the copy goes when the
program is made. It is built once, in the folder `build/`, from what the build of CometBFT itself
has fetched already.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "skewed-comet"
VARIABLE = "QIST_TEST_CLOCK_OFFSET_S"
MODULE = "github.com/cometbft/cometbft"
BUILD_DEADLINE_S = 540.0

# The module's own clock, which consensus and votes take, and the one bound on a block's time that
# asks the machine directly: what stands there, and what the build sees instead.
_SOURCES = {
    "types/time/time.go": (
        ("return Canonical(time.Now())", "return Canonical(time.Now().Add(offset))"),
    ),
    "state/validation.go": (
        (
            'import (\n\t"bytes"',
            'import (\n\tcmttime "github.com/cometbft/cometbft/types/time"\n\t"bytes"',
        ),
        ("block.Time.Before(time.Now().Add(tol))", "block.Time.Before(cmttime.Now().Add(tol))"),
        ("block.Time, time.Now(), tol", "block.Time, cmttime.Now(), tol"),
    ),
    # A chain of a test is younger than its clock is wrong, and would be waited for.
    "node/node.go": (("if genTime.After(now) {", "if genTime.After(time.Now()) {"),),
}
_OFFSET = f"""package time

import (
	"os"
	"time"
)

var offset = offsetOf(os.Getenv("{VARIABLE}"))

func offsetOf(seconds string) time.Duration {{
	parsed, err := time.ParseDuration(seconds + "s")
	if err != nil {{
		panic("{VARIABLE} is no number of seconds: " + seconds)
	}}
	return parsed
}}
"""


class CannotBuild(Exception):
    """There is no Go here, or no module, or its sources are not what we take them for."""


@cache
def why_not() -> str:
    """Say why this machine cannot build it; empty if it has what that takes."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        _fetched(_go(), _version())
    except CannotBuild as error:
        return str(error)
    return ""


def skewed_comet() -> Path:
    """Return the program; built if it is not there yet.

    Raises:
        CannotBuild: see there.
    """
    version = _version()
    rules = hashlib.sha256(repr((version, _SOURCES, _OFFSET)).encode()).hexdigest()[:16]
    program = FOLDER / rules / "cometbft"
    program.parent.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        # Tests may run in several processes, and it takes a while.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _build(version, program)
    return program


def _version() -> str:
    lines = (ROOT / "requirements" / "cometbft.sum").read_text("utf-8").splitlines()
    (found,) = {line.split()[1] for line in lines if line.startswith(f"{MODULE} ")}
    return found


def _go() -> str:
    finder = [str(ROOT / "tools" / "find_go.sh"), sys.prefix]
    done = subprocess.run(finder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotBuild(done.stderr.strip())
    return done.stdout.strip()


def _run(*words: str | Path, cwd: Path) -> str:
    own = {"GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off", "CGO_ENABLED": "0"}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        timeout=BUILD_DEADLINE_S,
        check=False,
    )
    if done.returncode:
        raise CannotBuild(f"{words[0]} {words[1]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _fetched(go: str, version: str) -> Path:
    """Return the folder of the module's sources."""
    told = _run(go, "mod", "download", "-json", f"{MODULE}@{version}", cwd=FOLDER)
    return Path(json.loads(told)["Dir"])


def _build(version: str, program: Path) -> None:
    go = _go()
    sources = _fetched(go, version)
    with tempfile.TemporaryDirectory(dir=program.parent) as scratch:
        module = Path(scratch) / "module"
        # Fetched modules are read-only; a copy of their bytes alone is not.
        shutil.copytree(sources, module, copy_function=shutil.copyfile)
        for folder in (module, *(each for each in module.rglob("*") if each.is_dir())):
            folder.chmod(0o700)
        for name, changes in _SOURCES.items():
            text = (module / name).read_text("utf-8")
            for before, after in changes:
                if text.count(before) != 1:
                    raise CannotBuild(f"{name} of {MODULE} {version} has not one {before!r}")
                text = text.replace(before, after)
            (module / name).write_text(text, "utf-8")
        (module / "types" / "time" / "offset.go").write_text(_OFFSET, "utf-8")
        made = Path(scratch) / "cometbft"
        options = ("-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w")
        _run(go, "build", *options, "-o", made, "./cmd/cometbft", cwd=module)
        os.replace(made, program)
