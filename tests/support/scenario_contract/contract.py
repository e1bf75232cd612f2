"""A plain table of functions, such as a contract of any Fabric network can offer.

| function | arguments | does |
|---|---|---|
| `Put` | key, value | writes without reading; no event; returns nothing |
| `Get` | key | returns the value, or an empty text |
| `Add` | key, number | reads, adds, writes; returns the total, which is also the payload of the event `Added` |
| `KeepDigest` | key | writes and returns SHA-256, in hexadecimal, of the transient value `secret` |
| `WhoAmI` | – | returns the MSP id of the caller |
| `PutPrivate` | collection, key | writes the transient value `value` to the collection; returns nothing |
| `GetPrivate` | collection, key | returns the value in the collection, or an empty text |
| `HashPrivate` | collection, key | returns SHA-256 of the value, in hexadecimal, or an empty text |
| `Refuse` | reason | answers with status 400 and a message that holds the reason |
"""  # noqa: E501 - rows of a table

from __future__ import annotations

import hashlib
from typing import Annotated

from chaincode.contract import Context, Contract, ContractRefusal, MaxLength, query, transaction

LargeText = Annotated[str, MaxLength(1_000_000)]


class Scenarios(Contract):
    """See the module's docstring."""

    name = "scenarios"
    title = "Functions for scenarios of clients"

    @transaction
    def put(self, ctx: Context, key: str, value: LargeText) -> None:
        """Write without reading."""
        ctx.stub.put_state(key, value.encode())

    @query
    def get(self, ctx: Context, key: str) -> str:
        """Return a value."""
        return (ctx.stub.get_state(key) or b"").decode()

    @transaction
    def add(self, ctx: Context, key: str, number: int) -> int:
        """Add to a number and announce the total."""
        total = int(ctx.stub.get_state(key) or b"0") + number
        ctx.stub.put_state(key, str(total).encode())
        ctx.stub.set_event("Added", str(total).encode())
        return total

    @transaction
    def keep_digest(self, ctx: Context, key: str) -> str:
        """Write the digest of what came as transient data."""
        digest = hashlib.sha256(ctx.stub.get_transient()["secret"]).hexdigest()
        ctx.stub.put_state(key, digest.encode())
        return digest

    @transaction
    def put_private(self, ctx: Context, collection: str, key: str) -> None:
        """Write what came as transient data to a collection."""
        ctx.stub.put_private_data(collection, key, ctx.stub.get_transient()["value"])

    @query
    def get_private(self, ctx: Context, collection: str, key: str) -> str:
        """Return a value of a collection."""
        return (ctx.stub.get_private_data(collection, key) or b"").decode()

    @query
    def hash_private(self, ctx: Context, collection: str, key: str) -> str:
        """Return the hash of a value, which every peer has."""
        return (ctx.stub.get_private_data_hash(collection, key) or b"").hex()

    @query
    def who_am_i(self, ctx: Context) -> str:
        """Return the caller's member."""
        return ctx.creator.msp_id

    @transaction
    def refuse(self, ctx: Context, reason: str) -> None:
        """Refuse."""
        raise ContractRefusal(reason, "is refused by the scenarios", "ask for something else")
