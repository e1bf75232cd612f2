#!/usr/bin/env python
"""Write a channel's blocks as a Fabric orderer would, to measure `qist replay` with.

    .venv/bin/python tools/generate_chain.py OUT_DIR [--transactions 50000] [--per-block 100]
    .venv/bin/qist replay OUT_DIR

The channel has four organisations, an etcdraft orderer's signature on every block, and one contract
whose policy asks for two peers of different organisations. Each transaction is signed by a client,
endorsed by two peers, reads two keys and writes two of ten thousand; one in a hundred reads a
version that is past and falls to MVCC. The same arguments give the same keys, reads and writes; the
certificates and signatures are made anew. The blocks carry no codes, as an orderer's do not.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from ledger.state.version import Version  # noqa: E402  the project's folder
from ledger.transactions.rwset import KVRead, KVWrite, NamespaceRWSet  # noqa: E402
from tests.support.fabric_chain import CONTRACT, FabricChain  # noqa: E402
from tests.support.members import Member  # noqa: E402

MEMBERS = ("BankMSP", "OperatorMSP", "MakerMSP", "PtaMSP")
POLICY = "OutOf(2, 'BankMSP.peer', 'OperatorMSP.peer', 'MakerMSP.peer', 'PtaMSP.peer')"
KEYS = 10_000
CONFLICT_EVERY = 100
LIFECYCLE_READ = KVRead(f"namespaces/fields/{CONTRACT}/Sequence", Version(1, 0))

_chain: FabricChain


def main() -> None:
    """Write the blocks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--transactions", type=int, default=50_000)
    parser.add_argument("--per-block", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    began = time.perf_counter()
    global _chain
    _chain = FabricChain([Member(name) for name in MEMBERS], capabilities={"channel": ["V2_0"]})
    _chain.add([_chain.definition(POLICY)])
    given.folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(given.seed)
    versions: dict[str, Version] = {}
    done = 0
    # The keys are in the parent, so workers are forked after the chain is there.
    with ProcessPoolExecutor() as workers:
        while done < given.transactions:
            count = min(given.per_block, given.transactions - done)
            planned = _plan(chance, versions, len(_chain.blocks), count, done)
            _chain.add(list(workers.map(_transaction, planned, chunksize=8)))
            done += count
    for block in _chain.blocks:
        (given.folder / f"{block.number:06}.block").write_bytes(block.encode())
    print(
        f"{done} transactions in {len(_chain.blocks)} blocks in {given.folder}, "
        f"{time.perf_counter() - began:.0f} s"
    )


def _plan(
    chance: random.Random, versions: dict[str, Version], block: int, count: int, done: int
) -> list[tuple[int, NamespaceRWSet]]:
    """Return the read/write sets of a block; keys are taken once in it."""
    keys = iter(chance.sample(range(KEYS), 2 * count))
    before = dict(versions)
    planned = []
    for place in range(count):
        pair = sorted(f"item/{next(keys):05}" for _ in range(2))
        reads = [KVRead(key, before.get(key)) for key in pair]
        stale = (done + place + 1) % CONFLICT_EVERY == 0
        if stale:
            reads[0] = KVRead(pair[0], Version(10**6, 0))
        else:
            versions.update({key: Version(block, place) for key in pair})
        writes = [KVWrite(key, False, chance.randbytes(120)) for key in pair]
        planned.append((done + place, NamespaceRWSet(CONTRACT, tuple(reads), tuple(writes))))
    return planned


def _transaction(planned: tuple[int, NamespaceRWSet]) -> bytes:
    number, written = planned
    names = sorted(_chain.peers)
    endorsers = [_chain.peers[names[(number + each) % len(names)]] for each in range(2)]
    read = NamespaceRWSet("_lifecycle", (LIFECYCLE_READ,))
    return _chain.transaction(
        [read, written], creator=_chain.clients[names[number % len(names)]], endorsers=endorsers
    )


if __name__ == "__main__":
    main()
