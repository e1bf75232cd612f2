"""A network ordered by CometBFT, each member in a network namespace, that a test perturbs.

    with Links.between(MEMBERS) as links, PerturbedNetwork.serving(folder, links) as network:
        network.pause("PtaMSP")
        ...
        network.resume("PtaMSP")
        network.verify()

Members reach each other by the addresses of `tests.support.links`, so their links can be cut; the
test reaches all of them. A member's CometBFT is a process of its own beside its node.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from nodes.cli.node_process import LOG_FILE, StartedNode, stop_nodes
from tests.support.delays import DelayingProxy
from tests.support.links import Links
from tests.support.mortal_node import Fault
from tests.support.node_network import MEMBERS, NodeNetwork
from tests.support.odd_node import Oddity, start_odd
from tests.support.payment_load import MEMBERS_FILE
from tests.support.processes import process_of, qist, wait_for

BASE_PORT = 7050
CONSENSUS_PORT = BASE_PORT + 2
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
        links: Links,
        *,
        small_disks: Sequence[str] = (),
        small_disk: str = SMALL_DISK,
    ) -> Iterator[PerturbedNetwork]:
        """Make a network of the usual four members, start it, and stop it whatever happens.

        Args:
            small_disks: members whose node lies on a file system of its own of little room.
            small_disk: the room, as mount(8) takes a size of a tmpfs.
        """
        members = folder.with_name(f"{folder.name}-members.toml")
        members.write_text(_with_hosts(links))
        words = ("--ordering", "cometbft", "--members", members, "--json")
        made = qist("network", "create", folder, *words)
        assert made.code == 0, made.err
        network = cls(folder, links=links)
        with ExitStack() as ends:
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
        """Start nodes in their namespaces; returns at once."""
        assert fault is None, "faults at write steps are met by networks without links"
        for msp_id in msp_ids:
            self._start(msp_id)

    def _start(self, msp_id: str) -> None:
        self.started[msp_id] = self._run(msp_id, self.node(msp_id))

    def _run(self, name: str, folder: Path) -> StartedNode:
        """Start the node of a folder in a namespace."""
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
        """Start a node that lies, or whose clock is wrong, in its namespace; wait till it serves.

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

        The copy has the member's keys and CometBFT's data, and the address of TWIN.
        """
        assert self.links is not None
        links, place = self.links, self.folder / TWIN
        shutil.copytree(
            self.node(msp_id), place, ignore=lambda _, names: [n for n in names if ".sock" in n]
        )
        settings = place / "node.toml"
        text = settings.read_text("utf-8")
        assert links.addresses[msp_id] in text
        settings.write_text(text.replace(links.addresses[msp_id], links.addresses[TWIN]), "utf-8")
        copies: list[subprocess.Popen[bytes]] = []
        try:
            yield lambda: copies.append(self._run(TWIN, place).process)
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
    @contextmanager
    def slow_links(self, delay_s: float, lost_percent: int) -> Iterator[None]:
        """Let what members' CometBFT say to each other come late, and packets be lost."""
        links = self.links
        assert links is not None
        with ExitStack() as proxies:
            for msp_id in MEMBERS:
                address = links.addresses[msp_id]
                proxy = DelayingProxy(links.own, (address, CONSENSUS_PORT), delay_s)
                proxies.enter_context(proxy)
                links.redirect(msp_id, CONSENSUS_PORT, proxy.port)
            # Connections of before are direct ones.
            links.reset(CONSENSUS_PORT)
            wait_for(
                lambda: not links.has_direct_links(CONSENSUS_PORT), "the end of the direct links"
            )
            links.unreset()
            links.lose_everywhere(lost_percent)
            yield
            links.heal()
        # Those that went by the proxies are broken now, and are made anew.


def _with_hosts(links: Links) -> str:
    """The usual members, each with the address by which the others reach it."""
    text = MEMBERS_FILE
    for msp_id in MEMBERS:
        address = links.addresses[msp_id]
        line = f'msp_id = "{msp_id}"\n'
        assert text.count(line) == 1
        text = text.replace(line, f'{line}host = "{address}"\n')
    return text


@contextmanager
def _small_disk(node: Path, room: str) -> Iterator[None]:
    """Put what is in a folder on a file system of its own, and mount that in its place."""
    aside = node.with_name(f"{node.name}-made")
    shutil.move(node, aside)
    node.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={room},mode=700", "tmpfs", str(node)],
        check=True,
    )
    try:
        shutil.copytree(aside, node, dirs_exist_ok=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(node)], check=True)
