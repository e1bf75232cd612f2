"""Members of a network each in a network namespace of its own, and links between them to be cut.

    with Namespaces.between(MEMBERS) as links:
        subprocess.Popen([*links.inside("PtaMSP"), "qist", "node", "start", ...])
        links.partition(("BankMSP", "PtaMSP"), ("OperatorMSP", "MakerMSP"))
        links.heal()

Every member has an address on one bridge, on which the test itself has one, too, so that it reaches
all of them whatever is cut between them. A cut drops packets silently on both sides, as a broken
line does: no connection is closed by it. Needs the rights of root, and iproute2 and nftables
(`tools/install_test_packages.sh`); `why_not()` says what is missing, and a test that can do with
nothing less calls `need()`.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.support.delays import DelayingProxy
from tests.support.links import Links
from tests.support.processes import wait_for

log = logging.getLogger(__name__)

TABLE = "faults"
SETTINGS = {"net.ipv4.tcp_retries2": "5"}
"""Of each member's kernel, as docs/howto/deploy-four-members.md has it."""


class LinksError(Exception):
    """A command that makes or cuts links has failed."""


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LinksError(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


@cache
def why_not() -> str:
    """Say why this machine cannot give each member a network of its own; empty if it can."""
    missing = [name for name in ("ip", "nft") if shutil.which(name) is None]
    if missing:
        return f"{' and '.join(missing)} not installed: run tools/install_test_packages.sh"
    if os.geteuid():
        return "network namespaces need the rights of root"
    try:
        with Namespaces.between(("A",)) as links:
            links.lose("A", 1)
    except LinksError as error:
        return f"the kernel does not let us: {error}"
    return ""


def need(*reasons: str) -> None:
    """Skip a test where the machine has no such networks, and say why; CI must have them.

    Args:
        reasons: why the machine lacks what else the test needs; empty where it has it.
    """
    if lacks := "; ".join(filter(None, (why_not(), *reasons))):
        if os.environ.get("CI"):
            pytest.fail(f"CI gives members networks of their own, but: {lacks}", pytrace=False)
        pytest.skip(lacks)


@dataclass(frozen=True)
class Namespaces(Links):
    """The members' namespaces; made by `between`.

    Attributes:
        addresses: of each member, on the bridge.
        own: the test's own address there.
        tag: of the names of everything made for it in the kernel.
    """

    addresses: dict[str, str]
    own: str
    tag: str

    @classmethod
    @contextmanager
    def between(cls, members: Sequence[str]) -> Iterator[Namespaces]:
        """Make a namespace for each member, and take them all away at the end."""
        # One network for each process of a test run: its number tells them apart.
        pid = os.getpid()
        tag, subnet = f"q{pid:x}", f"10.{128 + pid % 64}.{pid // 64 % 256}"
        addresses = {each: f"{subnet}.{place}" for place, each in enumerate(members, 1)}
        links = cls(addresses, f"{subnet}.254", tag)
        try:
            links._make()
            yield links
        finally:
            links._unmake()

    def _make(self) -> None:
        _run("ip", "link", "add", self.tag, "type", "bridge")
        _run("ip", "address", "add", f"{self.own}/24", "dev", self.tag)
        _run("ip", "link", "set", self.tag, "up")
        for place, (member, address) in enumerate(self.addresses.items()):
            space, port = self.namespace(member), f"{self.tag}v{place}"
            _run("ip", "netns", "add", space)
            _run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", space)
            _run("ip", "link", "set", port, "master", self.tag, "up")
            _run("ip", "-n", space, "address", "add", f"{address}/24", "dev", "eth0")
            _run("ip", "-n", space, "link", "set", "eth0", "up")
            _run("ip", "-n", space, "link", "set", "lo", "up")
            self._set_kernel(space)

    def _set_kernel(self, space: str) -> None:
        """Change the settings of the kernel in a namespace, as sysctl(8) does."""
        for name, value in SETTINGS.items():
            file = f"/proc/sys/{name.replace('.', '/')}"
            try:
                _run("ip", "netns", "exec", space, "sh", "-c", f"echo {value} > {file}")
            except LinksError as refused:
                # A container may have networks of its own and no right to this.
                log.warning("links come back later after a cut than they should: %s", refused)

    def _unmake(self) -> None:
        for member in self.addresses:
            subprocess.run(
                ["ip", "netns", "delete", self.namespace(member)], capture_output=True, check=False
            )
        subprocess.run(["ip", "link", "delete", self.tag], capture_output=True, check=False)

    def namespace(self, member: str) -> str:
        """Return the name of a member's namespace."""
        return f"{self.tag}-{member.lower()}"

    def inside(self, member: str) -> list[str]:
        """Return the words before a command that make it run in a member's namespace."""
        return ["ip", "netns", "exec", self.namespace(member)]

    def settle(self, node: Path, member: str) -> None:
        """A node listens at its member's address already."""

    def moved(self, text: str, member: str, other: str) -> str:
        """Put another's address in the place of a member's."""
        return text.replace(self.addresses[member], self.addresses[other])

    def cut(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Let nothing through from the first of each pair to the second."""
        for source, target in pairs:
            self._rule(target, "ip", "saddr", self.addresses[source], "drop")

    def heal(self) -> None:
        """Let everything through again."""
        for member in self.addresses:
            _run(*self.inside(member), "nft", "flush", "ruleset")

    @contextmanager
    def slow(self, ports: Mapping[str, int], delay_s: float, lost_percent: int) -> Iterator[str]:
        """Lead what goes to the ports through proxies that delay it, and drop packets by chance."""
        with ExitStack() as proxies:
            for member, port in ports.items():
                target = (self.addresses[member], port)
                proxy = proxies.enter_context(DelayingProxy(self.own, target, delay_s))
                self._redirect(member, port, proxy.port)
            # Connections of before are direct ones.
            for port in set(ports.values()):
                self._reset(port)
            wait_for(
                lambda: not any(map(self._has_direct_links, set(ports.values()))),
                "the end of the direct links",
            )
            self._unreset()
            for member in self.addresses:
                self.lose(member, lost_percent)
            yield ""
            self.heal()
        # Those that went by the proxies are broken now, and are made anew.

    def lose(self, member: str, percent: int) -> None:
        """Drop this share of the packets that reach a member from elsewhere, by chance."""
        rest = [self.own, *(each for name, each in self.addresses.items() if name != member)]
        source = ["ip", "saddr", "{", ", ".join(rest), "}"]
        self._rule(member, *source, "numgen", "random", "mod", "100", "<", str(percent), "drop")

    def _reset(self, port: int) -> None:
        """Break every connection to a port between members, and let nothing new in there."""
        for member in self.addresses:
            for side in ("dport", "sport"):
                # A reset that arrives is let through.
                match = ["tcp", "flags", "&", "rst", "==", "0", "tcp", side, str(port)]
                self._rule(member, *match, "reject", "with", "tcp", "reset")

    def _has_direct_links(self, port: int) -> bool:
        """Tell whether connections at a port of a member come from another one's address."""
        shown = [
            "ss",
            "--no-header",
            "--tcp",
            "--numeric",
            "state",
            "established",
            "sport",
            str(port),
        ]
        for member in self.addresses:
            sockets = _run(*self.inside(member), *shown)
            peers = {line.split()[-1].rpartition(":")[0] for line in sockets.splitlines()}
            if peers & set(self.addresses.values()):
                return True
        return False

    def _redirect(self, target: str, port: int, proxy_port: int) -> None:
        """Lead what other members open to a port of one to a port of the test's own address."""
        for member in self.addresses:
            if member == target:
                continue
            nft = [*self.inside(member), "nft", "add"]
            chain = "{ type nat hook output priority -100; }"
            _run(*nft, "table", "ip", TABLE)
            _run(*nft, "chain", "ip", TABLE, "leaving", chain)
            match = ["ip", "daddr", self.addresses[target], "tcp", "dport", str(port)]
            _run(*nft, "rule", "ip", TABLE, "leaving", *match, "dnat", f"{self.own}:{proxy_port}")

    def _unreset(self) -> None:
        """Take away what `reset` and the cuts put in the way; what is redirected stays so."""
        for member in self.addresses:
            _run(*self.inside(member), "nft", "flush", "table", "inet", TABLE)

    def _rule(self, member: str, *rule: str) -> None:
        nft = [*self.inside(member), "nft", "add"]
        _run(*nft, "table", "inet", TABLE)
        chain = "{ type filter hook input priority 0; }"
        _run(*nft, "chain", "inet", TABLE, "arriving", chain)
        _run(*nft, "rule", "inet", TABLE, "arriving", *rule)
