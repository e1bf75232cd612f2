"""Changing what a node has stored, behind its back."""

from __future__ import annotations

from pathlib import Path

from ledger.state.database import ChannelDatabase
from ledger.state.keys import decode_entry, encode_entry, public_prefix
from ledger.state.version import Version
from ledger.validation.updates import Update


def tamper(ledger: Path, namespace: str, key: str) -> None:
    """Make a ledger believe that another transaction wrote *key* last."""
    database = ChannelDatabase(ledger / "state")
    place = public_prefix(namespace) + key.encode()
    raw = database.get(place)
    assert raw is not None
    entry = decode_entry(raw)
    changed = Update(key.encode(), entry.value, Version(0, 7), entry.metadata)
    database.write([(place, encode_entry(changed))], [])
    database.close()
