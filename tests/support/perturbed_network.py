"""A network ordered by CometBFT, with links between its members, that a test perturbs.

    with PerturbedNetwork.serving(folder) as network:
        network.pause("PtaMSP")
        ...
        network.resume("PtaMSP")
        network.verify()

Members reach each other by the addresses of `tests.support.links`, so their links can be cut; the
test reaches all of them. Each is in a network namespace of its own where the machine allows it,
else on loopback, behind proxies. A member's CometBFT is a process of its own beside its node.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from nodes.cli.node_process import LOG_FILE, StartedNode, stop_nodes
from nodes.configuration import load_configuration
from tests.support import namespaces
from tests.support.links import Links
from tests.support.loopback_links import LoopbackLinks
from tests.support.mortal_node import Fault
from tests.support.namespaces import Namespaces
from tests.support.node_network import MEMBERS, NodeNetwork
from tests.support.odd_node import Oddity, start_odd
from tests.support.payment_load import MEMBERS_FILE
from tests.support.processes import process_of, qist, wait_for

log = logging.getLogger(__name__)

SMALL_DISK = "96m"
"""Room for a short test; what a long one stores, and fsck beside it, needs more."""
TWIN = "twin"
"""Where a second process with a member's keys runs, if the links have a place of that name."""


@dataclass
class PerturbedNetwork(NodeNetwork):
    """See the module's docstring."""

    links: Links | None = None

    @classmethod
    @contextmanager
    def serving(
        cls,
        folder: Path,
        places: Sequence[str] = MEMBERS,
        *,
        kind: type[Links] | None = None,
        small_disks: Sequence[str] = (),
        small_disk: str = SMALL_DISK,
    ) -> Iterator[PerturbedNetwork]:
        """Make a network of the usual four members, start it, and stop it whatever happens.

        Args:
            folder: that does not exist yet.
            places: that have links; the members, and others.
            kind: of the links; the best that the machine has by default.
            small_disks: members whose node lies on a file system of its own of little room.
            small_disk: the room, as mount(8) takes a size of a tmpfs.
        """
        with ExitStack() as ends:
            links = ends.enter_context((kind or links_here()).between(places))
            members = folder.with_name(f"{folder.name}-members.toml")
            members.write_text(_with_hosts(links))
            words = ("--ordering", "cometbft", "--members", members, "--json")
            made = qist("network", "create", folder, *words)
            assert made.code == 0, made.err
            network = cls(folder, links=links)
            for msp_id in MEMBERS:
                links.settle(network.node(msp_id), msp_id)
            for msp_id in small_disks:
                ends.enter_context(_small_disk(network.node(msp_id), small_disk))
            ends.callback(network._end)
            network.start(*MEMBERS)
            network.ready(*MEMBERS)
            up = qist("network", "up", folder, "--json")
            assert up.code == 0, up.err
            yield network

    def _end(self) -> None:
        for msp_id in MEMBERS:
            if self.is_running(msp_id):
                self.resume(msp_id)
        stop_nodes(map(self.node, MEMBERS))

    @property
    def sequencer(self) -> str:
        """Nobody: all of them order."""
        return ""

    # ---- processes
    def start(self, *msp_ids: str, fault: Fault | None = None) -> None:
        """Start nodes in their places; returns at once."""
        assert fault is None, "faults at write steps are met by networks without links"
        for msp_id in msp_ids:
            self._start(msp_id)

    def _start(self, msp_id: str) -> None:
        self.started[msp_id] = self._run(msp_id, self.node(msp_id))

    def _run(self, name: str, folder: Path) -> StartedNode:
        """Start the node of a folder in a place."""
        assert self.links is not None
        place = folder.resolve()
        words = (sys.executable, "-P", "-m", "qist", "node", "start", str(place))
        with (place / LOG_FILE).open("ab") as output:
            size = output.tell()
            process = subprocess.Popen(
                [*self.links.inside(name), *words],
                cwd=place,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return StartedNode(folder, process, size)

    def start_odd(
        self, msp_id: str, oddity: Oddity, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start a node that lies, or whose clock is wrong, in its place; wait till it serves.

        Args:
            environment: variables for it, beside those of the test.
        """
        assert self.links is not None
        inside = self.links.inside(msp_id)
        self.started[msp_id] = start_odd(self.node(msp_id), oddity, inside, environment)
        self.ready(msp_id)

    @contextmanager
    def twin(self, msp_id: str) -> Iterator[Callable[[], None]]:
        """Copy a member's stopped node, and give what starts the copy; it is killed at the end.

        The copy has the member's keys and CometBFT's data, and the address of TWIN. It proposes
        nothing, so that it and the member's node vote for other blocks when it is their turn.
        """
        assert self.links is not None
        links, place = self.links, self.folder / TWIN
        shutil.copytree(
            self.node(msp_id), place, ignore=lambda _, names: [n for n in names if ".sock" in n]
        )
        settings = place / "node.toml"
        text = settings.read_text("utf-8")
        assert links.addresses[msp_id] in text
        settings.write_text(links.moved(text, msp_id, TWIN), "utf-8")
        copies: list[subprocess.Popen[bytes]] = []
        try:
            yield lambda: copies.append(
                start_odd(place, Oddity(("empty proposals",)), links.inside(TWIN)).process
            )
        finally:
            for process in copies:
                process.kill()
                process.wait()
            shutil.rmtree(place)

    def forget(self, msp_id: str) -> None:
        """Take from a stopped node what it can get from the others: its ledger, CometBFT's data."""
        for name in ("ledger", "comet"):
            shutil.rmtree(self.node(msp_id) / name)

    def restart(self, *msp_ids: str) -> None:
        """Start nodes again and wait until they serve."""
        self.start(*msp_ids)
        self.ready(*msp_ids)

    def comet(self, msp_id: str) -> psutil.Process:
        """Return the process of a member's CometBFT; wait for one that is being started."""
        found: list[psutil.Process] = []

        def runs() -> bool:
            node = psutil.Process(process_of(self.node(msp_id)))
            found[:] = [each for each in node.children(recursive=True) if "cometbft" in each.name()]
            return bool(found)

        wait_for(runs, f"CometBFT of {msp_id}")
        return found[0]

    def has_comet(self, msp_id: str) -> bool:
        """Tell whether a member's CometBFT runs beside its node."""
        node = psutil.Process(process_of(self.node(msp_id)))
        return any("cometbft" in each.name() for each in node.children(recursive=True))

    def kill_comet(self, msp_id: str) -> None:
        """End a member's CometBFT by SIGKILL."""
        self.comet(msp_id).kill()

    def pause(self, msp_id: str) -> None:
        """Stop both processes of a member where they are."""
        os.kill(self.comet(msp_id).pid, signal.SIGSTOP)
        os.kill(process_of(self.node(msp_id)), signal.SIGSTOP)

    def resume(self, msp_id: str) -> None:
        """Let both processes of a member go on."""
        node = process_of(self.node(msp_id))
        os.kill(node, signal.SIGCONT)
        for child in psutil.Process(node).children(recursive=True):
            child.resume()

    # ---- disks
    def fill_disk(self, msp_id: str) -> None:
        """Leave no room on the small disk of a member."""
        with (self.node(msp_id) / "filler").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(64 * 1024))
            except OSError:
                return

    def free_disk(self, msp_id: str) -> None:
        """Give the room back."""
        (self.node(msp_id) / "filler").unlink()

    # ---- links
    def slow_links(self, delay_s: float, lost_percent: int) -> AbstractContextManager[str]:
        """Let what members' CometBFT say to each other come late, and packets be lost.

        Gives what of it cannot be done here, in words.
        """
        assert self.links is not None
        ports = {each: self._consensus_port(each) for each in MEMBERS}
        return self.links.slow(ports, delay_s, lost_percent)

    def _consensus_port(self, msp_id: str) -> int:
        """The port at which others reach a member's CometBFT."""
        section = load_configuration(self.node(msp_id)).consensus
        assert section is not None
        return int(section.listen.rpartition(":")[2])


def links_here() -> type[Links]:
    """Return the kind of links that this machine can have."""
    if reason := namespaces.why_not():
        log.warning("members share loopback, and their links are proxies: %s", reason)
        return LoopbackLinks
    return Namespaces


def _with_hosts(links: Links) -> str:
    """The usual members, each with the address by which the others reach it."""
    text = MEMBERS_FILE
    for msp_id in MEMBERS:
        address = links.addresses[msp_id]
        line = f'msp_id = "{msp_id}"\n'
        assert text.count(line) == 1
        text = text.replace(line, f'{line}host = "{address}"\n')
    return text


@cache
def why_no_small_disk() -> str:
    """Say why this machine mounts no file system for us; empty if it does."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as ends:
        try:
            ends.enter_context(_mounted(Path(folder), SMALL_DISK))
        except (OSError, subprocess.CalledProcessError) as error:
            said = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else ""
            return f"no file system of its own for a member: {said or error}"
    return ""


@contextmanager
def _small_disk(node: Path, room: str) -> Iterator[None]:
    """Put what is in a folder on a file system of its own, and mount that in its place."""
    aside = node.with_name(f"{node.name}-made")
    shutil.move(node, aside)
    node.mkdir()
    with _mounted(node, room):
        shutil.copytree(aside, node, dirs_exist_ok=True)
        yield


@contextmanager
def _mounted(folder: Path, room: str) -> Iterator[None]:
    """Mount a file system of little room."""
    options = f"size={room},mode=700"
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
        check=True,
        capture_output=True,
        text=True,
    )
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
