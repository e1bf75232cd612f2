"""A chain of real CometBFT processes with an application that merely lists its transactions.

    async with CometNode(tmp_path) as node:    # server and process, stopped at the end
        await node.answers()
        await node.ordered(b"one")

The application keeps what is committed in one file, replaced whole, so a test may kill it anywhere.
Binary and folder are the real ones; nothing is simulated.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from network.ordering.cometbft.abci.server import AbciServer
from network.ordering.cometbft.errors import CometUnavailable
from network.ordering.cometbft.messages import abci_pb2
from network.ordering.cometbft.process.binary import find_binary
from network.ordering.cometbft.process.home import HomeSettings, write_home
from network.ordering.cometbft.process.process import (
    CometProcess,
    Exit,
    LogLine,
    Restarts,
    log_line,
)
from network.ordering.cometbft.process.rpc import CometRpc
from tests.support.ports import free_port

DEADLINE_S = 60.0
CHAIN_ID = "listing-0123456789abcdef"
QUICK_RESTARTS = Restarts(first_s=0.05, longest_s=1.0, well_s=5.0)


def consensus_key(number: int) -> Ed25519PrivateKey:
    """A validator's key, the same in every run."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"validator %d" % number).digest())


def p2p_key(number: int) -> Ed25519PrivateKey:
    """A node's key, the same in every run."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"node %d" % number).digest())


def node_id(number: int) -> str:
    """How CometBFT names the node of that key."""
    return hashlib.sha256(p2p_key(number).public_key().public_bytes_raw()).digest()[:20].hex()


def genesis(keys: Sequence[Ed25519PrivateKey], chain_id: str = CHAIN_ID) -> bytes:
    """A genesis file with these validators, each of power 1."""
    publics = [key.public_key().public_bytes_raw() for key in keys]
    described = {
        "genesis_time": "2026-01-01T00:00:00Z",
        "chain_id": chain_id,
        "initial_height": "1",
        "consensus_params": {
            "block": {"max_bytes": "11534336", "max_gas": "-1"},
            "evidence": {
                "max_age_num_blocks": "100000",
                "max_age_duration": "172800000000000",
                "max_bytes": "1048576",
            },
            "validator": {"pub_key_types": ["ed25519"]},
            "version": {"app": "0"},
            "abci": {"vote_extensions_enable_height": "0"},
        },
        "validators": [
            {
                "address": hashlib.sha256(public).digest()[:20].hex().upper(),
                "pub_key": {
                    "type": "tendermint/PubKeyEd25519",
                    "value": base64.b64encode(public).decode(),
                },
                "power": "1",
                "name": "",
            }
            for public in publics
        ],
        "app_hash": "",
    }
    return json.dumps(described).encode()


class Listing:
    """An application whose state is the list of its transactions.

    The app hash is SHA-256 of the one before and the block's transactions, so that it stays the
    same on an empty block. `calls` has the name of every request, in the order it was answered;
    `placed` the height of each transaction that was committed in this life.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.calls: list[str] = []
        self.placed: dict[bytes, int] = {}
        self.height, self.app_hash = 0, hashlib.sha256(b"").digest()
        self.transactions: list[bytes] = []
        self._next: tuple[int, bytes, list[bytes]] | None = None
        if path.exists():
            kept = json.loads(path.read_text())
            self.height, self.app_hash = kept["height"], bytes.fromhex(kept["app_hash"])
            self.transactions = [bytes.fromhex(each) for each in kept["transactions"]]

    async def info(self, request: abci_pb2.RequestInfo) -> abci_pb2.ResponseInfo:
        self.calls.append("info")
        return abci_pb2.ResponseInfo(
            last_block_height=self.height,
            last_block_app_hash=self.app_hash if self.height else b"",
        )

    async def query(self, request: abci_pb2.RequestQuery) -> abci_pb2.ResponseQuery:
        self.calls.append("query")
        return abci_pb2.ResponseQuery(key=request.data, value=b"%d" % self.height)

    async def init_chain(self, request: abci_pb2.RequestInitChain) -> abci_pb2.ResponseInitChain:
        self.calls.append("init_chain")
        return abci_pb2.ResponseInitChain(app_hash=self.app_hash)

    async def check_tx(self, request: abci_pb2.RequestCheckTx) -> abci_pb2.ResponseCheckTx:
        self.calls.append("check_tx")
        if request.tx.startswith(b"no"):
            return abci_pb2.ResponseCheckTx(code=7, log="refused by its first letters")
        return abci_pb2.ResponseCheckTx()

    async def before_proposal(self, request: abci_pb2.RequestPrepareProposal) -> None:
        """Let no proposal wait."""

    async def prepare_proposal(
        self, request: abci_pb2.RequestPrepareProposal
    ) -> abci_pb2.ResponsePrepareProposal:
        self.calls.append("prepare_proposal")
        return abci_pb2.ResponsePrepareProposal(txs=request.txs)

    async def process_proposal(
        self, request: abci_pb2.RequestProcessProposal
    ) -> abci_pb2.ResponseProcessProposal:
        self.calls.append("process_proposal")
        return abci_pb2.ResponseProcessProposal(
            status=abci_pb2.ResponseProcessProposal.ProposalStatus.ACCEPT
        )

    async def finalize_block(
        self, request: abci_pb2.RequestFinalizeBlock
    ) -> abci_pb2.ResponseFinalizeBlock:
        self.calls.append("finalize_block")
        digest = self.app_hash
        if request.txs:
            digest = hashlib.sha256(b"\0".join([digest, *request.txs])).digest()
        self._next = request.height, digest, [*self.transactions, *request.txs]
        return abci_pb2.ResponseFinalizeBlock(
            tx_results=[abci_pb2.ExecTxResult() for _ in request.txs], app_hash=digest
        )

    async def commit(self, request: abci_pb2.RequestCommit) -> abci_pb2.ResponseCommit:
        self.calls.append("commit")
        assert self._next is not None
        before = len(self.transactions)
        self.height, self.app_hash, self.transactions = self._next
        self.placed.update(dict.fromkeys(self.transactions[before:], self.height))
        scratch = self._path.with_suffix(".new")
        kept = {
            "height": self.height,
            "app_hash": self.app_hash.hex(),
            "transactions": [each.hex() for each in self.transactions],
        }
        scratch.write_text(json.dumps(kept))
        os.replace(scratch, self._path)
        return abci_pb2.ResponseCommit()

    async def list_snapshots(
        self, request: abci_pb2.RequestListSnapshots
    ) -> abci_pb2.ResponseListSnapshots:
        return abci_pb2.ResponseListSnapshots()

    async def offer_snapshot(
        self, request: abci_pb2.RequestOfferSnapshot
    ) -> abci_pb2.ResponseOfferSnapshot:
        return abci_pb2.ResponseOfferSnapshot(result=abci_pb2.ResponseOfferSnapshot.Result.REJECT)

    async def load_snapshot_chunk(
        self, request: abci_pb2.RequestLoadSnapshotChunk
    ) -> abci_pb2.ResponseLoadSnapshotChunk:
        return abci_pb2.ResponseLoadSnapshotChunk()

    async def apply_snapshot_chunk(
        self, request: abci_pb2.RequestApplySnapshotChunk
    ) -> abci_pb2.ResponseApplySnapshotChunk:
        return abci_pb2.ResponseApplySnapshotChunk(
            result=abci_pb2.ResponseApplySnapshotChunk.Result.ABORT
        )


class CometNode:
    """One application with its CometBFT; by default the one validator of its chain.

    Args:
        folder: for everything it keeps.
        number: of its keys.
        genesis_bytes: genesis.json; that of a chain with it alone if not given.
        application: answers; a `Listing` in the folder if not given.
        peers: "nodeid@host:port" of the others.
        port: where it listens to them.
    """

    def __init__(
        self,
        folder: Path,
        *,
        number: int = 0,
        genesis_bytes: bytes | None = None,
        application: Any = None,
        peers: tuple[str, ...] = (),
        port: int = 0,
        **settings: Any,
    ) -> None:
        self.home = folder / "comet"
        self.port = port or free_port()
        self.application = application or Listing(folder / "listing.json")
        self.failures: list[Exception] = []
        self.exits: list[Exit] = []
        self.lines: list[LogLine] = []
        self.settings = HomeSettings(
            **{
                "moniker": f"node {number}",
                "genesis": genesis_bytes or genesis([consensus_key(number)]),
                "consensus_key": consensus_key(number),
                "p2p_key": p2p_key(number),
                "listen": f"127.0.0.1:{self.port}",
                "external_address": "",
                "persistent_peers": peers,
                "abci_socket": self.home / "abci.sock",
                "rpc_socket": self.home / "rpc.sock",
                "profile": "local",
                "max_tx_bytes": 8 * 1024 * 1024,
                "max_waiting_bytes": 64 * 1024 * 1024,
                **settings,
            }
        )
        self.server = self._new_server()
        self.process = self._new_process()
        self.rpc = CometRpc(self.settings.rpc_socket, max_tx_bytes=self.settings.max_tx_bytes)

    def _new_server(self) -> AbciServer:
        return AbciServer(self.settings.abci_socket, self.application, self.failures.append)

    def _new_process(self) -> CometProcess:
        def hear(line: LogLine) -> None:
            self.lines.append(line)
            log_line(line)

        return CometProcess(
            find_binary(),
            self.home,
            self.settings.rpc_socket,
            on_line=hear,
            on_exit=self.exits.append,
            restarts=QUICK_RESTARTS,
        )

    async def serve_anew(self) -> None:
        """Serve the application again, or another one, after its server has stopped."""
        self.server = self._new_server()
        await self.server.start()

    async def __aenter__(self) -> CometNode:
        write_home(self.home, self.settings)
        await self.server.start()
        try:
            await self.process.start()
        except BaseException:
            await self.server.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.rpc.close()
        await self.process.stop()
        await self.server.stop()

    async def answers(self) -> None:
        """Wait until CometBFT answers."""
        await until(self._has_status, "an answer of CometBFT", said=self.process)

    async def _has_status(self) -> bool:
        try:
            await self.rpc.status()
        except CometUnavailable:
            return False
        return True

    def has(self, transaction: bytes) -> Callable[[], Awaitable[bool]]:
        """A condition: the application has committed *transaction*."""

        async def is_there() -> bool:
            return transaction in self.application.transactions

        return is_there

    async def ordered(self, transaction: bytes) -> None:
        """Hand over a transaction and wait until the application has committed it.

        CometBFT makes its first block at once, and again one after each change of the app hash, so
        in which block it comes is not known before.
        """
        assert (await self.rpc.broadcast_tx(transaction)).code == 0
        await until(self.has(transaction), "the transaction in a block", said=self.process)

    async def reached(self, height: int) -> None:
        """Wait until the application has committed *height*."""

        async def is_there() -> bool:
            return bool(self.application.height >= height)

        await until(is_there, f"height {height}", said=self.process)


async def until(
    condition: Callable[[], Awaitable[bool]],
    what: str,
    *,
    deadline_s: float = DEADLINE_S,
    said: CometProcess | None = None,
) -> None:
    """Wait until *condition* holds; fail with *what* and CometBFT's last words if it does not."""
    end = time.monotonic() + deadline_s
    while not await condition():
        words = "\n".join(said.last_words) if said is not None else ""
        assert time.monotonic() < end, f"{what}: not within {deadline_s:g} s\n{words}"
        await asyncio.sleep(0.02)
