"""CometBFT's folder: its settings, its keys and its genesis, written before every start.

    HOME/config/config.toml              what it is told; only what differs from its defaults
    HOME/config/genesis.json             the same bytes on every node
    HOME/config/priv_validator_key.json  the consensus key, 0600
    HOME/config/node_key.json            the key of its links to other nodes, 0600
    HOME/data/priv_validator_state.json  what the consensus key signed last; CometBFT's from then on
    HOME/data/…                          CometBFT's blocks and state

Everything but `data` follows from the channel and the node's folder and is written anew, so nobody
edits it. The state of the consensus key is made once and never overwritten: a validator that
forgets what it signed may sign two blocks of one height.

The figures were measured (docs/adr/0019-comet-beside-each-node.md): short timeouts for members near
each other, `local`; longer ones for members 50 to 100 ms apart, `wan`; short pauses for both.
`experimental_max_gossip_connections_…` stays 0 everywhere: with 1 a network halted, with 2 a node
went without transactions. Blocks are made when there is something to put into them, the index of
transactions is left to the ledger, and nobody is connected to but the members that are named.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from network.ordering.cometbft.errors import HomeError
from network.ordering.cometbft.sockets import LONGEST_PATH, make_private_folder

__all__ = [
    "PROFILES",
    "SIGN_STATE",
    "HomeSettings",
    "Profile",
    "StateSync",
    "make_sign_state",
    "profile_of",
    "write_home",
]

SIGN_STATE: Final = "data/priv_validator_state.json"
"""Where CometBFT keeps what the consensus key signed last, within its folder."""

# Base64 makes three bytes four; the rest is JSON-RPC around the transaction.
_RPC_OVERHEAD_BYTES = 4096
_NOTHING_SIGNED = {"height": "0", "round": 0, "step": 0}


@dataclass(frozen=True, slots=True)
class Profile:
    """How patient CometBFT is.

    Attributes:
        propose_ms: how long it waits for a proposal before it votes for none.
        vote_ms: how long it waits for further votes once two thirds have voted differently.
        delta_ms: how much longer it waits in each further round of a height.
        commit_ms: how long it waits for late votes after a block; less makes smaller blocks.
        gossip_ms: its pause between two looks at what a peer lacks.
        flush_ms: how long it gathers what it sends to a peer.
        patience_ms: how long this node lets a proposal that would be empty wait for a bundle, from
            `commit_ms` after the height before; well below `propose_ms`, and no less than bundles
            wait for company (`network.ordering.pace`).
    """

    propose_ms: int
    vote_ms: int
    delta_ms: int
    commit_ms: int
    gossip_ms: int
    flush_ms: int
    patience_ms: int


PROFILES: Final[Mapping[str, Profile]] = MappingProxyType(
    {
        "local": Profile(500, 250, 250, 20, gossip_ms=10, flush_ms=1, patience_ms=200),
        "wan": Profile(1_500, 600, 300, 50, gossip_ms=5, flush_ms=1, patience_ms=300),
    }
)


def profile_of(name: str) -> Profile:
    """Return the profile of that name.

    Raises:
        HomeError: there is none.
    """
    try:
        return PROFILES[name]
    except KeyError:
        raise HomeError(
            f"there is no profile {name!r} of timeouts; node.toml may name {' or '.join(PROFILES)}"
        ) from None


@dataclass(frozen=True, slots=True)
class StateSync:
    """How a node that has nothing begins with the snapshot of another.

    Attributes:
        rpc_servers: two or more addresses (`http://127.0.0.1:PORT`) that a light client asks.
        trust_height: a height whose header is known to be right.
        trust_hash: that header's hash, 32 bytes.
        trust_period_s: how old that header may be.
    """

    rpc_servers: tuple[str, ...]
    trust_height: int
    trust_hash: bytes
    trust_period_s: int


@dataclass(frozen=True, slots=True)
class HomeSettings:
    """What one CometBFT is told.

    Attributes:
        moniker: its name in logs.
        genesis: the bytes of genesis.json.
        consensus_key: what it votes with.
        p2p_key: what it proves itself with to other nodes; gives its node id.
        listen: "host:port" where other nodes reach it on this machine.
        external_address: "host:port" by which others know it; empty if it is `listen`.
        persistent_peers: "nodeid@host:port" of every other member.
        abci_socket: where the node serves ABCI.
        rpc_socket: where CometBFT shall serve its RPC.
        profile: a name of `PROFILES`.
        max_tx_bytes: the longest transaction.
        max_waiting_bytes: of all transactions that wait for their place in a block.
        max_waiting: how many may wait.
        state_sync: how to begin where there is nothing yet; None to begin with the genesis.
        log_level: CometBFT's, by module.
    """

    moniker: str
    genesis: bytes
    consensus_key: Ed25519PrivateKey
    p2p_key: Ed25519PrivateKey
    listen: str
    external_address: str
    persistent_peers: tuple[str, ...]
    abci_socket: Path
    rpc_socket: Path
    profile: str
    max_tx_bytes: int
    max_waiting_bytes: int
    max_waiting: int = 5_000
    state_sync: StateSync | None = None
    log_level: str = "main:info,statesync:info,blocksync:info,*:error"


def write_home(home: Path, settings: HomeSettings) -> bool:
    """Write all that CometBFT reads when it starts; it must not be running.

    Args:
        home: its folder, made if it is missing, 0700.
    Returns:
        whether the state of the consensus key was made now. Then either this key never signed, or
        what it signed was lost with the folder: see to it that it signs no height twice.
    Raises:
        HomeError: a setting is not fit, or the folder cannot be written or is somebody else's.
    """
    files = {
        "config.toml": _render(home, settings).encode(),
        "genesis.json": settings.genesis,
        "priv_validator_key.json": _validator_key(settings.consensus_key),
        "node_key.json": _node_key(settings.p2p_key),
    }
    try:
        for folder in (home, home / "config"):
            make_private_folder(folder)
        for name, content in files.items():
            _replace(home / "config" / name, content)
        return make_sign_state(home)
    except OSError as error:
        raise HomeError(
            f"CometBFT's folder {home} cannot be written: {error.strerror}; make room for it, or "
            "give it to the user who runs the node"
        ) from error


def make_sign_state(home: Path) -> bool:
    """Have a state of the consensus key that says that nothing was signed; one that is there stays.

    Returns:
        whether it was made now.
    Raises:
        HomeError: the folder is somebody else's.
        OSError: it cannot be written.
    """
    for folder in (home, home / "data"):
        make_private_folder(folder)
    return _create(home / SIGN_STATE, json.dumps(_NOTHING_SIGNED).encode())


def _render(home: Path, settings: HomeSettings) -> str:
    """Return config.toml."""
    lines = ["# Written by the node before every start; changes are lost. See node.toml."]
    for section, values in _sections(home, settings).items():
        if section:
            lines += ["", f"[{section}]"]
        lines += [f"{name} = {_toml(value)}" for name, value in values.items()]
    return "\n".join(lines) + "\n"


def _sections(home: Path, settings: HomeSettings) -> dict[str, dict[str, Any]]:
    profile = profile_of(settings.profile)
    return {
        "": {
            "proxy_app": f"unix://{_address(home, settings.abci_socket)}",
            "abci": "socket",
            "moniker": settings.moniker,
            "db_backend": "goleveldb",
            "log_level": settings.log_level,
            "log_format": "json",
            "filter_peers": True,
        },
        "rpc": {
            "laddr": f"unix://{_address(home, settings.rpc_socket)}",
            "unsafe": False,
            "max_body_bytes": settings.max_tx_bytes * 4 // 3 + _RPC_OVERHEAD_BYTES,
        },
        "p2p": _links(settings, profile),
        "mempool": {
            "type": "flood",
            # Else what can no longer be ordered stays for ever: it displaces others in every
            # proposal, and CometBFT makes one empty block after another for it.
            "recheck": True,
            "broadcast": True,
            "size": settings.max_waiting,
            "cache_size": 2 * settings.max_waiting,
            "max_txs_bytes": settings.max_waiting_bytes,
            "max_tx_bytes": settings.max_tx_bytes,
            "experimental_max_gossip_connections_to_persistent_peers": 0,
            "experimental_max_gossip_connections_to_non_persistent_peers": 0,
        },
        "statesync": _state_sync(settings.state_sync),
        "consensus": {
            "timeout_propose": f"{profile.propose_ms}ms",
            "timeout_propose_delta": f"{profile.delta_ms}ms",
            "timeout_prevote": f"{profile.vote_ms}ms",
            "timeout_prevote_delta": f"{profile.delta_ms}ms",
            "timeout_precommit": f"{profile.vote_ms}ms",
            "timeout_precommit_delta": f"{profile.delta_ms}ms",
            "timeout_commit": f"{profile.commit_ms}ms",
            "create_empty_blocks": False,
            "create_empty_blocks_interval": "0s",
            "peer_gossip_sleep_duration": f"{profile.gossip_ms}ms",
            "double_sign_check_height": 0,
        },
        "storage": {"discard_abci_responses": True},
        "tx_index": {"indexer": "null"},
        "instrumentation": {"prometheus": False},
    }


def _links(settings: HomeSettings, profile: Profile) -> dict[str, Any]:
    return {
        "laddr": f"tcp://{settings.listen}",
        "external_address": settings.external_address,
        "persistent_peers": ",".join(settings.persistent_peers),
        # They are let in whatever the number of links.
        "unconditional_peer_ids": ",".join(
            each.partition("@")[0] for each in settings.persistent_peers
        ),
        "persistent_peers_max_dial_period": "5s",
        "pex": False,
        "addr_book_strict": False,
        "allow_duplicate_ip": True,
        "flush_throttle_timeout": f"{profile.flush_ms}ms",
        "max_packet_msg_payload_size": 65_536,
        "send_rate": 512_000_000,
        "recv_rate": 512_000_000,
    }


def _state_sync(asked: StateSync | None) -> dict[str, Any]:
    if asked is None:
        return {"enable": False}
    if len(asked.rpc_servers) < 2:
        raise HomeError("a light client needs two addresses to ask, for state sync to begin")
    return {
        "enable": True,
        "rpc_servers": ",".join(asked.rpc_servers),
        "trust_height": asked.trust_height,
        "trust_hash": asked.trust_hash.hex(),
        "trust_period": f"{asked.trust_period_s}s",
        "discovery_time": "5s",
        "chunk_request_timeout": "10s",
    }


def _address(home: Path, path: Path) -> str:
    """Return how CometBFT, which runs in its folder, names a socket."""
    name = str(path.relative_to(home)) if path.is_relative_to(home) else str(path)
    if len(os.fsencode(name)) > LONGEST_PATH:
        raise HomeError(
            f"the path of the socket {path} is longer than {LONGEST_PATH} bytes; "
            f"have it in {home}, where a short name serves"
        )
    return name


def _toml(value: str | int | bool) -> str:
    # JSON's strings are TOML's, once no character is escaped as two.
    return json.dumps(value, ensure_ascii=False)


def _validator_key(key: Ed25519PrivateKey) -> bytes:
    public = key.public_key().public_bytes_raw()
    described = {
        "address": hashlib.sha256(public).digest()[:20].hex().upper(),
        "pub_key": {"type": "tendermint/PubKeyEd25519", "value": _base64(public)},
        **_private(key),
    }
    return json.dumps(described, indent=2).encode()


def _node_key(key: Ed25519PrivateKey) -> bytes:
    return json.dumps(_private(key)).encode()


def _private(key: Ed25519PrivateKey) -> dict[str, Any]:
    raw = key.private_bytes_raw() + key.public_key().public_bytes_raw()
    return {"priv_key": {"type": "tendermint/PrivKeyEd25519", "value": _base64(raw)}}


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, for this user alone; one that is the same stays."""
    if path.exists() and path.read_bytes() == content and path.stat().st_mode & 0o777 == 0o600:
        return
    _written_beside(path, content).rename(path)
    _sync(path.parent)


def _create(path: Path, content: bytes) -> bool:
    """Write a file whole or not at all; False, and nothing done, if there is one."""
    if path.exists():
        return False
    scratch = _written_beside(path, content)
    try:
        os.link(scratch, path)  # where a rename would replace what came into being meanwhile
    except FileExistsError:
        return False
    finally:
        scratch.unlink()
        _sync(path.parent)
    return True


def _written_beside(path: Path, content: bytes) -> Path:
    scratch = path.with_name(f".{path.name}.new")
    scratch.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with os.fdopen(os.open(scratch, flags, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return scratch


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
