"""The set-up says what is wrong where it cannot go on."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.structure.tree import ROOT
from tests.support import toolchains
from tests.support.toolchains import BuildFailed, ToolchainMissing


def find_python(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the search for a Python with only *environment* set."""
    return subprocess.run(
        ["/bin/sh", str(ROOT / "tools/find_python.sh")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_find_python_given_a_good_one_takes_it() -> None:
    """PYTHON overrides the search."""
    result = find_python({"PYTHON": sys.executable, "PATH": os.defpath})
    assert result.stdout.strip() == sys.executable, result.stderr


def test_find_python_given_a_bad_one_refuses_it_by_name() -> None:
    """A PYTHON that cannot serve is refused with the reason, never silently replaced."""
    result = find_python({"PYTHON": "/bin/false", "PATH": os.defpath})
    assert result.returncode == 1
    assert "/bin/false" in result.stderr
    assert "3.11" in result.stderr


def test_find_python_takes_the_distributions_own_before_another_on_the_path(tmp_path: Path) -> None:
    """The distribution's is compiled with care; what stands first on the path may be anything."""
    other = tmp_path / "python3.11"
    other.symlink_to(sys.executable)
    result = find_python({"PATH": f"{tmp_path}{os.pathsep}{os.defpath}"})
    own = [path for path in ("/usr/bin/python3.11", "/usr/bin/python3.12") if serves(path)]
    assert result.stdout.strip() == (own[0] if own else str(other)), result.stderr


def serves(python: str) -> bool:
    """Whether an environment can be made with it."""
    words = [python, "-c", "import ensurepip, ssl, venv"]
    try:
        return not subprocess.run(words, capture_output=True, check=False).returncode
    except FileNotFoundError:
        return False


def pretend(folder: Path, name: str, says: str) -> Path:
    """A program of that name that says something and succeeds."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)
    return program


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a machine's programs, empty; nothing has been installed beside it."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(toolchains, "BUILD", tmp_path / "build")
    return programs


def test_go_of_the_machine_is_taken_if_it_is_new_enough(machine: Path) -> None:
    """A machine that has Go needs no other."""
    program = pretend(machine, "go", "go version go1.24.1 linux/amd64")
    assert toolchains.go().program == program


def test_go_too_old_on_the_machine_gives_way_to_the_wheel(machine: Path, tmp_path: Path) -> None:
    """What `make setup` installed from the wheel is taken in the place of an old one."""
    pretend(machine, "go", "go version go1.19.8 linux/amd64")
    wheel = pretend(tmp_path / "build/toolchain/go/bin", "go", "go version go1.27.3 linux/amd64")
    assert toolchains.go().program == wheel


def test_go_that_is_nowhere_names_the_way_to_it(machine: Path) -> None:
    """The message says what was seen, and what installs it."""
    with pytest.raises(ToolchainMissing, match=r"no Go 1\.24 or newer \(none on the PATH\).*make"):
        toolchains.go()
    pretend(machine, "go", "go version go1.19.8 linux/amd64")
    with pytest.raises(ToolchainMissing, match=r"go1\.19\.8"):
        toolchains.go()


def test_java_that_is_missing_or_too_old_is_said_plainly(machine: Path) -> None:
    """Every missing program is named; so is a version that cannot serve."""
    with pytest.raises(ToolchainMissing, match=r"no javac, java, mvn: .*JDK 17"):
        toolchains.java()
    for name in ("java", "mvn"):
        pretend(machine, name, "")
    with pytest.raises(ToolchainMissing, match=r"no javac: "):
        toolchains.java()
    pretend(machine, "javac", "javac 11.0.2")
    with pytest.raises(ToolchainMissing, match=r"javac 11\.0\.2.*17 or newer"):
        toolchains.java()
    pretend(machine, "javac", "javac 21.0.1")
    assert toolchains.java().javac.version == "javac 21.0.1"


def test_artifact_that_differs_from_its_pin_is_refused_by_name(tmp_path: Path) -> None:
    """Another content, an artifact too many and one too few are each named."""
    libraries, pins = tmp_path / "lib", tmp_path / "pins"
    libraries.mkdir()
    for name in ("same.jar", "other.jar", "more.jar"):
        (libraries / name).write_bytes(name.encode())
    digest = hashlib.sha256(b"same.jar").hexdigest()
    lines = {"same.jar": digest, "other.jar": digest, "fewer.jar": digest}
    pins.write_text("".join(f"{each}  {name}\n" for name, each in lines.items()))
    with pytest.raises(BuildFailed, match=r"differ in: fewer\.jar, more\.jar, other\.jar$"):
        toolchains.verify_artifacts(libraries, pins)
