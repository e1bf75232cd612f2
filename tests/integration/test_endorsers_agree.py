"""Two endorsers give the same bytes: other processes, other databases, other hash seeds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.structure.tree import ROOT

PROGRAM = """
import json, sys
from pathlib import Path

from chaincode.system import LIFECYCLE
from ledger.channel import ChannelLedger
from ledger.transactions.rwset import KVWrite, MetadataWrite, NamespaceRWSet, TxRWSet
from tests.support.chain import commit, make_config_envelope, make_envelope
from tests.support.operations import simulate

def writes(pairs):
    return tuple(KVWrite(key, False, value.encode()) for key, value in sorted(pairs.items()))

definitions = {f"namespaces/fields/{name}/Sequence": "\\x08\\x01" for name in ("ops", "others")}
pairs = {f"k{number:03d}": f"v{number}" for number in range(130)}
pairs |= {"\\u00f1": "x", "\\U0001f600": "y"}
sets = [
    TxRWSet((NamespaceRWSet(LIFECYCLE, (), writes(definitions)),)),
    TxRWSet((NamespaceRWSet("ops", (), writes(pairs), (
        MetadataWrite("k001", (("VALIDATION_PARAMETER", b"peers"),)),)),)),
    TxRWSet((NamespaceRWSet("others", (), writes(pairs)),)),
    TxRWSet((NamespaceRWSet("ops", (), writes({"k002": "later"})),)),
]
calls = json.loads(sys.argv[2])
with_first = sys.argv[3] == "one block each"
ledger = ChannelLedger.open(Path(sys.argv[1]))
try:
    commit(ledger, [make_config_envelope(0)])
    for number, rwset in enumerate(sets):
        commit(ledger, [make_envelope(rwset, b"nonce %d" % number)])
    if with_first:
        ledger.close()
        ledger = ChannelLedger.open(Path(sys.argv[1]))
    with ledger.snapshot() as state:
        for call in calls:
            result = simulate(state, b"Run", json.dumps(call).encode())
            print(result.status, result.message, result.payload.hex(), result.rwset.hex(),
                  (result.event or b"").hex(), result.namespaces, result.version)
finally:
    ledger.close()
"""
CALLS = [
    [["get", "k000"], ["many", ["k005", "none", "ñ"]], ["put", "😀", "new"], ["event", "E", "x"]],
    [["range", "", ""], ["range", "k010", "k020", 4], ["range", "", "k0"]],
    [["get policy", "k001"], ["policy", "k001", None], ["policy", "k002", "mine"], ["del", "k9"]],
    [["call", "others", "Run", '[["range","k","l"],["put","b","1"],["put","a","1"]]']],
    [["history", "k002"], ["read", "others", "get", "k000"]],
    [["page", "k", "", 7, "k050"]],
    [["range", "k020", "k010"], ["range", "k010", "k010"], ["composite range", "none", []]],
    [["put", "", "x"]],
]


def endorse(folder: Path, seed: str, how: str) -> list[str]:
    """Build a ledger in a new process and print what each call gives there."""
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), json.dumps(CALLS), how],
        cwd=ROOT, env={"PYTHONHASHSEED": seed}, text=True, capture_output=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.splitlines()


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """What three endorsers answer."""
    return [
        endorse(tmp_path_factory.mktemp("node") / "ledger", seed, how)
        for seed, how in (("1", "running on"), ("2", "one block each"), ("random", "running on"))
    ]


def test_endorsers_with_equal_state_give_equal_bytes(answers: list[list[str]]) -> None:
    """Response, read/write set and event of every call, on three databases in three processes."""
    first, *others = answers
    assert len(first) == len(CALLS)
    assert [line.split(" ", 1)[0] for line in first] == ["200"] * 7 + ["400"]
    for other in others:
        assert other == first
