"""Proves a block out of the folder of a node that does not run."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from ledger.channel import ChannelLedger
from ledger.errors import CorruptionError, Refusal
from network.ordering.cometbft.finality.proof_making import make_proof
from network.ordering.cometbft.finality.proofs import ProvedBlock, verify_proof
from nodes.cli.node_folder import LEDGER_FOLDER
from nodes.cli.node_lock import refuse_while_running
from nodes.configuration import load_configuration

__all__ = ["write_proof"]


def write_proof(folder: Path, number: int, out: Path) -> tuple[ProvedBlock, int]:
    """Write the proof of a block to a file; return what it proves and its size in bytes.

    It is verified before it is written, so that what is lacking shows here.

    Raises:
        Refusal: the node runs, there is no such block, or nothing here proves it.
        Fatal: what is stored is damaged.
    """
    load_configuration(folder)
    refuse_while_running(folder, "its ledger cannot be read")
    if not (folder / LEDGER_FOLDER).is_dir():
        raise Refusal(f"the node in {folder} has no ledger yet: start it once it has joined")
    with closing(ChannelLedger.open(folder / LEDGER_FOLDER)) as ledger:
        genesis = ledger.block(0)
        raw = make_proof(ledger, number)
    if genesis is None:
        raise CorruptionError(f"the ledger in {folder} has no genesis block; run fsck on it")
    proved = verify_proof(genesis, raw)
    out.write_bytes(raw)
    return proved, len(raw)
