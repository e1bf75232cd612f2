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
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from nodes.cli.node_process import LOG_FILE, StartedNode, stop_nodes
from tests.support.delays import DelayingProxy
from tests.support.links import Links
from tests.support.mortal_node import Fault
from tests.support.node_network import MEMBERS, NodeNetwork
from tests.support.payment_load import MEMBERS_FILE
from tests.support.processes import process_of, qist, wait_for

BASE_PORT = 7050
CONSENSUS_PORT = BASE_PORT + 2
SMALL_DISK = "96m"


@dataclass
class PerturbedNetwork(NodeNetwork):
    """See the module's docstring."""

    links: Links | None = None

    @classmethod
    @contextmanager
    def serving(
        cls, folder: Path, links: Links, *, small_disks: Sequence[str] = ()
    ) -> Iterator[PerturbedNetwork]:
        """Make a network of the usual four members, start it, and stop it whatever happens.

        Args:
            small_disks: members whose node lies on a file system of its own of little room.
        """
        members = folder.with_name(f"{folder.name}-members.toml")
        members.write_text(_with_hosts(links))
        words = ("--ordering", "cometbft", "--members", members, "--json")
        made = qist("network", "create", folder, *words)
        assert made.code == 0, made.err
        network = cls(folder, links=links)
        with ExitStack() as ends:
            for msp_id in small_disks:
                ends.enter_context(_small_disk(network.node(msp_id)))
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
        assert self.links is not None
        place = self.node(msp_id).resolve()
        words = (sys.executable, "-P", "-m", "qist", "node", "start", str(place))
        with (place / LOG_FILE).open("ab") as output:
            size = output.tell()
            process = subprocess.Popen(
                [*self.links.inside(msp_id), *words],
                cwd=place,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.started[msp_id] = StartedNode(self.node(msp_id), process, size)

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
            for msp_id, address in links.addresses.items():
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
    for msp_id, address in links.addresses.items():
        line = f'msp_id = "{msp_id}"\n'
        assert text.count(line) == 1
        text = text.replace(line, f'{line}host = "{address}"\n')
    return text


@contextmanager
def _small_disk(node: Path) -> Iterator[None]:
    """Put what is in a folder on a file system of its own, and mount that in its place."""
    aside = node.with_name(f"{node.name}-made")
    shutil.move(node, aside)
    node.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK},mode=700", "tmpfs", str(node)],
        check=True,
    )
    try:
        shutil.copytree(aside, node, dirs_exist_ok=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(node)], check=True)
