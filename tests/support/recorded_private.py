"""The private data of the recorded chain: what peers returned at the end, and the sets as written.

The peers' files are what was left after purges and expiry. The sets as endorsers made them follow
from the operations in the proposals and from values that can be guessed; each is proven by its hash
in the block.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ledger.transactions.private import (
    PrivateRWSet,
    PrivateWrite,
    TxPrivate,
    decode_tx_private,
    encode_private_rwset,
    matches,
    private_collections,
)
from ledger.transactions.rwset import KVWrite
from tests.support.recording import FOLDER, recorded_blocks

PURGED = frozenset({(39, 1), (40, 4), (41, 1), (42, 2)})
"""Transactions whose set came back without its key."""
MEMBERS = ("OperatorMSP", "PtaMSP")

_BANK = "_implicit_org_BankMSP"
_PTA = "_implicit_org_PtaMSP"
_MADE: dict[tuple[int, int], tuple[str, str, bytes]] = {
    (39, 1): ("kyc", "cnic2", b"35202-2"),
    (39, 4): ("score", "b1", b"710"),
    (39, 5): ("score", "b2", b"640"),
    (39, 6): (_BANK, "memo", b"note"),
    (39, 7): (_PTA, "memo", b"note"),
    (40, 4): ("kyc", "cnic2", b""),
    (41, 1): ("kyc", "cnic2", b"35202-2b"),
    (42, 2): ("kyc", "cnic2", b""),
    (44, 0): ("score", "b3", b"655"),
}


@cache
def returned(member: str) -> dict[tuple[int, int], TxPrivate]:
    """Return what the peer of *member* held at the end, by block and transaction."""
    found = {}
    for path in sorted((FOLDER / "pvtdata" / member).glob("*.pvtrwset")):
        number, tx_num = Path(path).stem.split("-")
        found[int(number), int(tx_num)] = decode_tx_private(path.read_bytes())
    return found


@cache
def as_written() -> dict[tuple[int, int], TxPrivate]:
    """Return every private write set that can be known, as endorsers made it."""
    found = {}
    for member in MEMBERS:
        found.update(
            {place: sets for place, sets in returned(member).items() if place not in PURGED}
        )
    for place, (collection, key, value) in _MADE.items():
        rwset = encode_private_rwset(PrivateRWSet((KVWrite(key, not value, value),)))
        found[place] = (PrivateWrite("agreement", collection, rwset),)
    for (number, tx_num), (write,) in found.items():
        parsed = recorded_blocks()[number].transactions[tx_num].rwset
        assert parsed is not None
        hashed = {
            (namespace, each.collection): each for namespace, each in private_collections(parsed)
        }
        assert matches(write, hashed[write.namespace, write.collection]), (number, tx_num)
    return found
