"""Machines of four members, as the page about deploying them has them, played on this one.

Each has a folder that stands for `/var/lib/qist`, and, where this machine lets us, a network
namespace in which the page's firewall is in force; else an address of its own on loopback. Nothing
goes from one to another but what the page has them send. A block of the page is run by the words
behind its language:

    sh set                  the values of the table: given to every command
    sh root [NAME]          of what root does, the units of systemd are played, on all or on NAME
    sh each, sh NAME        in the folder of every machine, or of the one
    … gives FILE [to NAME]  FILE is sent to all, or to NAME, into the folder `received`
    toml NAME               becomes a file of that machine, as its first line names it
    nft, ini, sysctl        firewall, unit and settings of the kernel, as every machine has them
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nodes.cli.node_process import LOG_FILE, StartedNode, stop_started
from tests.support.howto_pages import HOWTO
from tests.support.namespaces import Namespaces, why_not
from tests.support.processes import BIN, DEADLINE_S, Answer

PAGE = "deploy-four-members.md"
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMES = ("bank", "operator", "maker", "pta")
MEMBERS = ("BankMSP", "OperatorMSP", "MakerMSP", "PtaMSP")
_PROGRAM, _PLACE = "/opt/qist/.venv/bin", "/var/lib/qist"
_ALL_ADDRESSES = "0.0.0.0"


@dataclass
class Machine:
    """One member's machine.

    Attributes:
        name, msp_id: of the member.
        address: by which the others reach it.
        folder: stands for `/var/lib/qist`.
        inside: words before a command that make it run there.
        node: the process that the unit has started; None while it is stopped.
    """

    name: str
    msp_id: str
    address: str
    folder: Path
    inside: tuple[str, ...] = ()
    node: StartedNode | None = None

    @property
    def node_folder(self) -> Path:
        """The folder of its node."""
        return self.folder / "node"

    @property
    def values(self) -> dict[str, str]:
        """The member's column of the page's table."""
        return {"MEMBER": self.msp_id, "NAME": self.name, "HOST": self.address}

    def run(self, script: str) -> Answer:
        """Run commands as the machine's user does."""
        environment = {
            **os.environ,
            **self.values,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        }
        done = subprocess.run(
            [*self.inside, "/bin/bash", "-eu", "-c", script],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=5 * DEADLINE_S,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)


@dataclass
class FourMachines:
    """The four of them, and the page.

    Attributes:
        machines: by name.
        links: between them; None where each only has an address on loopback.
        page: its text.
        unit: what the unit says, by name; from the page when it comes there.
        kernel: settings of the kernel by name, likewise.
    """

    machines: dict[str, Machine]
    links: Namespaces | None
    page: str
    unit: dict[str, list[str]] = field(default_factory=dict)
    kernel: dict[str, str] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def made(cls, folder: Path) -> Iterator[FourMachines]:
        """Make the machines; whatever runs on them is stopped at the end."""
        with ExitStack() as ends:
            links = None
            if not why_not():
                links = ends.enter_context(Namespaces.between(MEMBERS))
            machines = {}
            for place, (name, msp_id) in enumerate(zip(NAMES, MEMBERS, strict=True), 1):
                own = folder / name
                own.mkdir()
                machines[name] = Machine(
                    name,
                    msp_id,
                    f"127.0.0.{10 + place}" if links is None else links.addresses[msp_id],
                    own,
                    () if links is None else tuple(links.inside(msp_id)),
                )
            four = cls(machines, links, (HOWTO / PAGE).read_text("utf-8"))
            ends.callback(four._stop)
            yield four

    def run_page(self) -> int:
        """Do what the page says, in its order; return how many blocks were done."""
        done = 0
        for language, rest, content in BLOCK.findall(self.page):
            words = rest.split()
            if language == "sh" and words != ["set"]:
                self._commands(words, content)
            elif language == "toml":
                self._file(self.machines[words[0]], content)
            elif language == "nft":
                self._firewall(content)
            elif language == "sysctl":
                self._settings(content)
            elif language == "ini":
                self._read_unit(content)
            else:
                continue
            done += 1
        return done

    def on(self, machine: Machine, text: str) -> str:
        """Put the addresses of these machines into a text of the page."""
        for place, each in enumerate(self.machines.values(), 1):
            text = text.replace(f"node.{each.name}.example", each.address)
            text = text.replace(f"192.0.2.{10 + place}", each.address)
        if self.links is None:
            text = text.replace(_ALL_ADDRESSES, machine.address)
        return text

    def _commands(self, words: list[str], script: str) -> None:
        who, *rest = words
        if who == "root":
            self._as_root([self.machines[each] for each in rest or NAMES], script)
            return
        machines = self._named(who)
        with ThreadPoolExecutor(len(NAMES)) as pool:
            answers = list(pool.map(lambda each: each.run(self.on(each, script)), machines))
        for machine, answer in zip(machines, answers, strict=True):
            assert answer.code == 0, f"{machine.name}: {script}\n{answer.out}\n{answer.err}"
            if rest:
                assert rest[0] == "gives", rest
                to = self._named(rest[3]) if rest[2:3] == ["to"] else self._named("each")
                self._send(machine, rest[1].replace("$NAME", machine.name), to)

    def _named(self, who: str) -> list[Machine]:
        return list(self.machines.values()) if who == "each" else [self.machines[who]]

    def _send(self, sender: Machine, file: str, receivers: list[Machine]) -> None:
        for each in receivers:
            (each.folder / "received").mkdir(exist_ok=True)
            shutil.copyfile(sender.folder / file, each.folder / "received" / file)

    def _as_root(self, machines: list[Machine], script: str) -> None:
        for line in script.splitlines():
            words = line.split()
            if words[0] == "systemctl" and words[-1] == "qist-node":
                for each in machines:
                    if words[1] == "stop":
                        self.stop_node(each)
                    else:
                        assert words[1] in ("enable", "start"), line
                        self.start_node(each)

    def _file(self, machine: Machine, content: str) -> None:
        file = content.splitlines()[0].removeprefix("# ")
        assert re.fullmatch(r"[\w-]+\.toml", file), "the first line names the file"
        (machine.folder / file).write_text(self.on(machine, content))

    def _firewall(self, content: str) -> None:
        """Put the firewall in force on every machine that has a network of its own."""
        for each in self.machines.values() if self.links else ():
            rules = each.folder.with_name(f"{each.name}.nft")
            rules.write_text(self.on(each, content))
            subprocess.run([*each.inside, "nft", "-f", str(rules)], check=True)

    def _settings(self, content: str) -> None:
        """Note settings of the kernel; networks of the machines' own have them from the start."""
        for line in content.splitlines():
            if not line.startswith("#"):
                name, _, value = line.partition(" = ")
                self.kernel[name] = value

    def _read_unit(self, content: str) -> None:
        for line in content.splitlines():
            if line and line[0] not in "#[":
                name, _, value = line.partition("=")
                self.unit.setdefault(name, []).append(value)

    def start_node(self, machine: Machine) -> None:
        """Start what the unit says."""
        (command,) = self.unit["ExecStart"]
        words = [
            word.replace(_PROGRAM, str(BIN)).replace(_PLACE, str(machine.folder))
            for word in shlex.split(command)
        ]
        with (machine.node_folder / LOG_FILE).open("ab") as log:
            size = log.tell()
            process = subprocess.Popen(
                [*machine.inside, *words],
                cwd=machine.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        machine.node = StartedNode(machine.node_folder, process, size)

    def stop_node(self, machine: Machine) -> None:
        assert machine.node is not None, f"{machine.name} runs"
        stop_started([machine.node])
        machine.node = None

    def _stop(self) -> None:
        stop_started([each.node for each in self.machines.values() if each.node is not None])
