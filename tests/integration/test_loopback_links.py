"""Links on loopback: who speaks is known, and each direction between two members is cut by itself.

Members are played by small processes that `inside` marks; what a member listens on is played by the
test.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.loopback_links import NO_LOSS, LoopbackLinks

NODE_PORT, CONSENSUS_PORT = 7061, 7062
DEADLINE_S = 20.0
SILENCE_S = 0.3
"""How long it is listened to what must not come."""
SPEAKER = """
import socket, sys
host, port, kind = sys.argv[1:]
# gRPC reaches addresses of IPv4 by sockets of IPv6.
prefix = "::ffff:" if kind == "AF_INET6" else ""
with socket.socket(getattr(socket, kind)) as link:
    link.connect((prefix + host, int(port)))
    link.sendall(b"asked")
    print("answered" if link.recv(100) == b"told" else "ended", flush=True)
"""


@pytest.fixture
def links() -> Iterator[LoopbackLinks]:
    """Of three members, of which the others reach A."""
    with LoopbackLinks.between(("A", "B", "C")) as made:
        made.lead("A", NODE_PORT)
        made.lead("A", CONSENSUS_PORT)
        yield made


@contextmanager
def listening(links: LoopbackLinks, member: str, port: int = NODE_PORT) -> Iterator[socket.socket]:
    """Listen where the member's node would."""
    with socket.create_server((links.behind[member], port)) as listener:
        listener.settimeout(DEADLINE_S)
        yield listener


@contextmanager
def speaking(
    links: LoopbackLinks,
    source: str,
    target: str,
    port: int = NODE_PORT,
    kind: str = "AF_INET",
) -> Iterator[subprocess.Popen[str]]:
    """A process of one member that asks another; it prints what came of it."""
    words = [sys.executable, "-c", SPEAKER, links.addresses[target], str(port), kind]
    with subprocess.Popen(
        [*links.inside(source), *words], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def taken(listener: socket.socket) -> tuple[socket.socket, str]:
    """Take a connection; return it and the address it comes from."""
    link, (host, _port) = listener.accept()
    link.settimeout(DEADLINE_S)
    return link, host


def is_silent(link: socket.socket) -> bool:
    """Tell whether nothing comes for a while, no end either."""
    link.settimeout(SILENCE_S)
    try:
        link.recv(100)
    except TimeoutError:
        return True
    finally:
        link.settimeout(DEADLINE_S)
    return False


def said(process: subprocess.Popen[str]) -> str:
    """Wait for what a speaker says at its end."""
    return process.communicate(timeout=DEADLINE_S)[0].strip()


@pytest.mark.parametrize("kind", ["AF_INET", "AF_INET6"])
def test_link_shows_the_address_of_who_opened_it(links: LoopbackLinks, kind: str) -> None:
    """The target tells members apart, though they share a machine."""
    with listening(links, "A") as listener:
        for source in ("B", "C"):
            with speaking(links, source, "A", kind=kind) as speaker:
                link, host = taken(listener)
                with link:
                    assert (host, link.recv(100)) == (links.addresses[source], b"asked")
                    link.sendall(b"told")
                    assert said(speaker) == "answered"


def test_cut_before_a_link_is_opened_stops_that_source_alone(links: LoopbackLinks) -> None:
    """Nothing of it arrives until the cut is healed, then all does."""
    links.cut([("B", "A")])
    with listening(links, "A") as listener, speaking(links, "B", "A") as cut_off:
        with speaking(links, "C", "A") as other:
            link, host = taken(listener)
            with link:
                assert host == links.addresses["C"]
                link.sendall(b"told")
                assert said(other) == "answered"
        listener.settimeout(SILENCE_S)
        with pytest.raises(TimeoutError):
            listener.accept()
        listener.settimeout(DEADLINE_S)
        links.heal()
        link, host = taken(listener)
        with link:
            assert host == links.addresses["B"]
            link.sendall(b"told")
            assert said(cut_off) == "answered"


def test_cut_of_one_direction_lets_the_other_through(links: LoopbackLinks) -> None:
    """What was asked arrives; the answer, and the end of the link, are held back, not lost."""
    with listening(links, "A") as listener, speaking(links, "B", "A") as speaker:
        link, _host = taken(listener)
        with link:
            assert link.recv(100) == b"asked"
            links.cut([("A", "B")])
            link.sendall(b"told")
        with pytest.raises(subprocess.TimeoutExpired):
            speaker.wait(SILENCE_S)
        links.heal()
        assert said(speaker) == "answered"


def test_end_of_a_member_that_is_cut_off_is_not_heard(links: LoopbackLinks) -> None:
    """Its process is killed; the other's end of the link stays open until the cut is healed."""
    with listening(links, "A") as listener, speaking(links, "B", "A") as speaker:
        link, _host = taken(listener)
        with link:
            assert link.recv(100) == b"asked"
            links.isolate("B")
            speaker.kill()
            assert is_silent(link)
            links.heal()
            assert link.recv(100) == b""


def test_partition_cuts_every_pair_of_different_groups(links: LoopbackLinks) -> None:
    """Within a group everything goes on."""
    links.partition(("A", "B"), ("C",))
    with (
        listening(links, "A", CONSENSUS_PORT) as listener,
        speaking(links, "C", "A", CONSENSUS_PORT) as far,
        speaking(links, "B", "A", CONSENSUS_PORT) as near,
    ):
        link, host = taken(listener)
        with link:
            assert host == links.addresses["B"]
            link.sendall(b"told")
            assert said(near) == "answered"
        assert far.poll() is None


def test_slow_port_answers_that_much_later_and_says_what_it_cannot_do(
    links: LoopbackLinks,
) -> None:
    """Both ways together take the delay; no packet is lost on loopback, and it says so."""
    delay_s = 0.4
    with listening(links, "A") as listener, links.slow({"A": NODE_PORT}, delay_s, 5) as left_out:
        assert left_out == NO_LOSS
        with socket.create_connection((links.addresses["A"], NODE_PORT)) as asking:
            link, _host = taken(listener)
            with link:
                begin = time.monotonic()
                asking.sendall(b"asked")
                assert link.recv(100) == b"asked"
                link.sendall(b"told")
                assert asking.recv(100) == b"told"
                assert time.monotonic() - begin >= delay_s


def test_settings_of_a_node_lead_through_the_links(
    links: LoopbackLinks, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It listens behind them and is known by its address; a copy of it moves to another place."""
    node = tmp_path_factory.mktemp("node")
    known = links.addresses["B"]
    (node / "node.toml").write_text(
        f'[client]\nlisten = "{known}:7050"\n'
        f'[node]\nlisten = "{known}:{NODE_PORT}"\n'
        f'[consensus]\nlisten = "{known}:{CONSENSUS_PORT}"\n'
    )
    links.settle(node, "B")
    text = (node / "node.toml").read_text()
    for port in (NODE_PORT, CONSENSUS_PORT):
        assert f'listen = "{links.behind["B"]}:{port}"\naddress = "{known}:{port}"\n' in text
    with listening(links, "B") as listener, speaking(links, "A", "B") as speaker:
        link, host = taken(listener)
        with link:
            assert host == links.addresses["A"]
            link.sendall(b"told")
            assert said(speaker) == "answered"
    moved = links.moved(text, "B", "C")
    assert moved.count(f'"{links.behind["C"]}:') == 2
    assert moved.count(f'"{links.addresses["C"]}:') == 3
    assert f'"{known}:' not in moved
