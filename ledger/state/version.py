"""Versions of state entries.

A version says which transaction last changed an entry. MVCC compares the version that was read
with the version that is stored; equality is all that counts, no order.
"""

from __future__ import annotations

from typing import NamedTuple


class Version(NamedTuple):
    """Height of the last change: the block, and the transaction's zero-based place in it."""

    block_num: int
    tx_num: int


def encode_version(version: Version) -> bytes:
    """Encode *version* as the commit hash does.

    Each number has a length byte and then its shortest big-endian form; zero is the byte 00.

    Source: Fabric, core/ledger/internal/version/version.go and common/ledger/util/util.go.
    """
    block_num, tx_num = version
    block = block_num.to_bytes((block_num.bit_length() + 7) // 8, "big")
    tx = tx_num.to_bytes((tx_num.bit_length() + 7) // 8, "big")
    return b"%c%b%c%b" % (len(block), block, len(tx), tx)
