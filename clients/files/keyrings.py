"""The keys that turn identifiers into pseudonyms, as a member keeps them in a file of its own.

``pseudonym-keys.toml``, readable by its owner only; of each list the first key is the current one,
the others are older and still tried in look-ups::

    [[device]]                  # shared by all members
    id = "d1"
    secret = "…64 hex digits or more…"

    [[lender.BankMSP]]          # borrowers, SIMs and documents: this lender's and the regulator's
    id = "b1"
    secret = "…"

A secret never appears in a message, and the objects made from it do not print it.
"""

from __future__ import annotations

import hashlib
import hmac
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaincode.instalments.identifiers import IdentifierRefusal, Keyring, PseudonymKey
from clients.files.errors import FileRefused

_SECTIONS = {"device", "lender"}


@dataclass(frozen=True, slots=True)
class Keyrings:
    """The rings that one member holds.

    Attributes:
        device: the ring that all members share.
        lenders: MSP id of a lender to its ring; a lender holds its own, the regulator all.
    """

    device: Keyring
    lenders: Mapping[str, Keyring] = field(default_factory=dict)

    def lender(self, msp_id: str) -> Keyring:
        """The ring of one lender.

        Raises:
            FileRefused: this member does not hold it.
        """
        ring = self.lenders.get(msp_id)
        if ring is None:
            raise FileRefused(
                f"the pseudonym keys hold none of lender {msp_id}; only that lender and the "
                "regulator have them"
            )
        return ring


def document_hash(key: PseudonymKey, kind: str, *parts: str) -> str:
    """The salted hash by which the ledger names a document: HMAC-SHA-256 in 64 hex digits.

    The salt is the lender's key, so that who holds the document and the key can prove which one was
    meant, and nobody else can try all references. The same document gives the same hash.

    Args:
        kind: what the document is, as ``consent``.
        parts: what identifies it.
    """
    message = "\x00".join(("qist/document/1", kind, *parts)).encode()
    return hmac.new(key.secret, message, hashlib.sha256).hexdigest()


def load_keyrings(path: Path) -> Keyrings:
    """Read a file of keys.

    Raises:
        FileRefused: missing, readable by others, or not as the module's docstring says.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise FileRefused(f"{path} can be read by others than its owner; chmod 600 {path}")
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileRefused(
            f"the pseudonym keys {path} cannot be read: {error.strerror}; name the file (--keys)"
        ) from error
    except ValueError:
        # The parser's own words would repeat a line of the file, and that may be a secret.
        raise FileRefused(f"the pseudonym keys {path} are not TOML") from None
    unknown = set(content) - _SECTIONS
    if unknown:
        raise FileRefused(
            f"the pseudonym keys {path} have unknown entries: {', '.join(sorted(unknown))}; "
            "sections are [[device]] and [[lender.MSPID]]"
        )
    lenders = content.get("lender", {})
    if not isinstance(lenders, dict):
        raise FileRefused(f"{path}: write the keys of a lender as [[lender.MSPID]]")
    return Keyrings(
        _ring(path, "device", content.get("device", [])),
        {msp_id: _ring(path, f"lender.{msp_id}", keys) for msp_id, keys in lenders.items()},
    )


def _ring(path: Path, place: str, entries: Any) -> Keyring:
    if not isinstance(entries, list):
        raise FileRefused(f"{path}: {place} must be a list of keys, [[{place}]]")
    keys = []
    for entry in entries:
        try:
            keys.append(PseudonymKey(str(entry["id"]), bytes.fromhex(entry["secret"])))
        except IdentifierRefusal as refusal:
            raise FileRefused(f"{path}: {place}: {refusal}") from None
        except (KeyError, TypeError, ValueError):
            raise FileRefused(
                f"{path}: {place}: a key needs an id and a secret in hexadecimal"
            ) from None
    try:
        return Keyring(tuple(keys))
    except IdentifierRefusal as refusal:
        raise FileRefused(f"{path}: {place}: {refusal}") from None
