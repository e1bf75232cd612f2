"""CometBFT's folder and program: what is written, who may read it, what is never overwritten."""

from __future__ import annotations

import hashlib
import json
import stat
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from network.ordering.cometbft.errors import HomeError
from network.ordering.cometbft.process.binary import PROTOCOLS, find_binary, verify_protocols
from network.ordering.cometbft.process.home import PROFILES, SIGN_STATE, StateSync, write_home
from tests.support.comet import CometNode, consensus_key, node_id, p2p_key

SYNC = StateSync(("http://127.0.0.1:1", "http://127.0.0.1:2"), 7, b"\xab" * 32, 3600)


def settings_of(home: Path) -> dict[str, Any]:
    return tomllib.loads((home / "config" / "config.toml").read_text())


def comet(*words: str | Path) -> str:
    """Run CometBFT and return what it prints."""
    command = [str(find_binary()), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_home_says_nothing_that_comet_does_not_know(tmp_path: Path) -> None:
    """Every setting stands in CometBFT's own complete file, with a value of the same kind.

    A name that is mistyped would be passed over without a word.
    """
    comet("init", "--home", tmp_path / "own")
    complete = settings_of(tmp_path / "own")
    node = CometNode(tmp_path, state_sync=SYNC)
    write_home(node.home, node.settings)
    for section, values in settings_of(node.home).items():
        known = complete if not isinstance(values, dict) else complete[section]
        said = values if isinstance(values, dict) else {section: values}
        for name, value in said.items():
            assert name in known, f"[{section}] {name}"
            if known[name] != "" and name != "trust_height":
                assert type(value) is type(known[name]), f"[{section}] {name}"


@pytest.mark.parametrize("profile", PROFILES)
def test_home_keeps_the_settings_that_were_measured(tmp_path: Path, profile: str) -> None:
    """Those without which the network halts, makes blocks of nothing, or takes strangers."""
    node = CometNode(tmp_path, profile=profile, peers=(f"{'ab' * 20}@10.0.0.2:7052",))
    write_home(node.home, node.settings)
    said = settings_of(node.home)
    pool = said["mempool"]
    assert pool["experimental_max_gossip_connections_to_persistent_peers"] == 0
    assert pool["experimental_max_gossip_connections_to_non_persistent_peers"] == 0
    assert (pool["recheck"], pool["max_tx_bytes"]) == (True, 8 * 1024 * 1024)
    assert said["rpc"]["max_body_bytes"] > pool["max_tx_bytes"] * 4 / 3
    assert said["consensus"]["create_empty_blocks"] is False
    assert (said["p2p"]["pex"], said["filter_peers"]) == (False, True)
    assert said["p2p"]["persistent_peers"] == f"{'ab' * 20}@10.0.0.2:7052"
    assert said["p2p"]["unconditional_peer_ids"] == "ab" * 20
    assert said["rpc"]["laddr"].startswith("unix://")
    assert said["proxy_app"].startswith("unix://")


def test_home_profile_for_distant_members_is_the_more_patient(tmp_path: Path) -> None:
    """Over 100 ms and back, timeouts for one machine would spend rounds on nothing."""
    near, far = PROFILES["local"], PROFILES["wan"]
    assert far.propose_ms > near.propose_ms
    assert far.vote_ms > near.vote_ms > 200
    node = CometNode(tmp_path, profile="lan")
    with pytest.raises(HomeError, match=r"'lan'.*local or wan"):
        write_home(node.home, node.settings)


def test_home_is_this_users_alone(tmp_path: Path) -> None:
    """Keys, and all else, are written 0600 in folders of 0700; a looser file is tightened."""
    node = CometNode(tmp_path)
    write_home(node.home, node.settings)
    (node.home / "config" / "node_key.json").chmod(0o644)
    write_home(node.home, node.settings)
    for path in [node.home, *node.home.rglob("*")]:
        expected = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == expected, path
    assert not list(node.home.rglob("*.new"))


def test_home_written_twice_is_the_same_bytes(tmp_path: Path) -> None:
    """What is written follows from the settings alone; a file that is right is left alone."""
    node = CometNode(tmp_path)

    def written() -> dict[Path, tuple[int, int]]:
        stats = {path: path.stat() for path in node.home.rglob("*") if path.is_file()}
        return {path: (stat.st_ino, stat.st_mtime_ns) for path, stat in stats.items()}

    write_home(node.home, node.settings)
    before = written()
    write_home(node.home, node.settings)
    assert written() == before


def test_home_never_overwrites_what_the_key_signed(tmp_path: Path) -> None:
    """A validator that forgets what it signed may sign two blocks of one height."""
    node = CometNode(tmp_path)
    assert write_home(node.home, node.settings)
    state = node.home / SIGN_STATE
    assert json.loads(state.read_text()) == {"height": "0", "round": 0, "step": 0}
    state.write_text('{"height": "70", "round": 0, "step": 3}')
    other_key = replace(node.settings, consensus_key=consensus_key(1))
    assert not write_home(node.home, other_key)
    assert state.read_text() == '{"height": "70", "round": 0, "step": 3}'


def test_home_where_a_file_is_in_the_way_is_refused(tmp_path: Path) -> None:
    """What cannot be written is named."""
    node = CometNode(tmp_path)
    node.home.write_text("a file")
    with pytest.raises(HomeError, match=f"{node.home} cannot be written: "):
        write_home(node.home, node.settings)


def test_home_of_another_key_replaces_the_old_one(tmp_path: Path) -> None:
    """A member that rotated its consensus key signs with the new one from the next start on."""
    node = CometNode(tmp_path)
    write_home(node.home, node.settings)
    write_home(node.home, replace(node.settings, consensus_key=consensus_key(1)))
    told = json.loads(comet("show-validator", "--home", node.home))
    kept = json.loads((node.home / "config" / "priv_validator_key.json").read_text())
    assert told == kept["pub_key"]
    public = consensus_key(1).public_key().public_bytes_raw()
    assert kept["address"] == hashlib.sha256(public).digest()[:20].hex().upper()


def test_home_gives_the_node_the_id_of_its_key(tmp_path: Path) -> None:
    """Others name a node by SHA-256 of its public key, 20 bytes."""
    node = CometNode(tmp_path, number=3)
    write_home(node.home, node.settings)
    told = comet("show-node-id", "--home", node.home).strip()
    assert told == node_id(3)
    assert told == hashlib.sha256(p2p_key(3).public_key().public_bytes_raw()).digest()[:20].hex()


def test_home_begins_with_a_snapshot_only_if_told(tmp_path: Path) -> None:
    """A light client needs two to ask, a height and its hash."""
    node = CometNode(tmp_path)
    write_home(node.home, node.settings)
    assert settings_of(node.home)["statesync"] == {"enable": False}
    write_home(node.home, replace(node.settings, state_sync=SYNC))
    said = settings_of(node.home)["statesync"]
    assert said["rpc_servers"] == "http://127.0.0.1:1,http://127.0.0.1:2"
    assert (said["trust_height"], said["trust_hash"]) == (7, "ab" * 32)
    alone = replace(SYNC, rpc_servers=SYNC.rpc_servers[:1])
    with pytest.raises(HomeError, match="two addresses"):
        write_home(node.home, replace(node.settings, state_sync=alone))


def test_home_with_a_distant_socket_in_too_deep_a_folder_is_refused(tmp_path: Path) -> None:
    """Within its folder CometBFT uses the bare name; elsewhere the whole path must fit."""
    node = CometNode(tmp_path)
    far = tmp_path.joinpath(*["a-folder-with-a-long-name"] * 6, "rpc.sock")
    with pytest.raises(HomeError, match="longer than 107 bytes"):
        write_home(node.home, replace(node.settings, rpc_socket=far))


async def test_home_in_a_deep_folder_serves(tmp_path: Path) -> None:
    """Neither side is bound by the length of the path."""
    deep = tmp_path.joinpath(*["a-folder-with-a-long-name"] * 6)
    deep.mkdir(parents=True)
    async with CometNode(deep) as node:
        await node.answers()
        await node.ordered(b"one")


def test_home_with_a_name_that_quotes_is_read_as_it_is(tmp_path: Path) -> None:
    """A name cannot write settings of its own."""
    name = 'a "quoted" name\nrecheck = true \\ Karachi – \N{ELEPHANT}'
    node = CometNode(tmp_path, moniker=name)
    write_home(node.home, node.settings)
    assert settings_of(node.home)["moniker"] == name


def test_binary_is_the_configured_one_before_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """node.toml, then the variable, then what `make cometbft` installed, then PATH."""
    programs = []
    for name in ("configured", "variable", "path/cometbft"):
        program = tmp_path / name
        program.parent.mkdir(exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        programs.append(program)
    configured, variable, path = programs
    monkeypatch.setenv("PATH", str(path.parent))
    monkeypatch.setenv("QIST_COMETBFT", str(variable))
    assert find_binary(str(configured)) == configured
    assert find_binary() == variable
    monkeypatch.delenv("QIST_COMETBFT")
    assert find_binary() == Path(sys.executable).with_name("cometbft")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "elsewhere" / "python"))
    assert find_binary() == path
    monkeypatch.setenv("PATH", "")
    with pytest.raises(HomeError, match="make cometbft"):
        find_binary()
    with pytest.raises(HomeError, match=r"binary names .*/missing, which is no program"):
        find_binary(str(tmp_path / "missing"))


def test_binary_that_is_installed_speaks_what_this_node_speaks() -> None:
    """Judged by protocol numbers, not by the version's text."""
    verify_protocols(find_binary())


@pytest.mark.parametrize(
    ("says", "words"),
    [
        (
            json.dumps({**PROTOCOLS, "abci": "1.0.0"}),
            r"speaks abci 1\.0\.0.*this node abci 2\.0\.0",
        ),
        (json.dumps({**PROTOCOLS, "block_protocol": 12}), "block_protocol 12"),
        (json.dumps({"abci": "2.0.0"}), "does not tell"),
        ("0.38.25", "does not tell"),
        ("", "does not tell"),
    ],
)
def test_binary_that_speaks_otherwise_is_refused_with_the_way_out(
    tmp_path: Path, says: str, words: str
) -> None:
    """A program of other protocols never gets to the data."""
    program = tmp_path / "cometbft"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\n")
    program.chmod(0o755)
    with pytest.raises(HomeError, match=f"(?s){words}.*make cometbft"):
        verify_protocols(program)
