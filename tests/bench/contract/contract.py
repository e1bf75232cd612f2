"""What Fabric was given to do, function by function, so that figures can be compared.

| function | arguments | does |
|---|---|---|
| `Open` | id, … | puts a new agreement under `agr/<id>` for each |
| `Pay` | id, reference, amount, … in triples | reads the agreement, lowers `outstanding`, raises `paid`, writes it back, and puts the amount under `pay/<id>/<reference>` |
| `Get` | id | returns one agreement |

An agreement is one JSON object: `id`, `borrower`, `imei`, `lender`, `principal`, `outstanding`, `paid`
and `status`. Borrower and device are made up, in the form of the pseudonyms that a ledger may hold.
Several payments for one agreement in one transaction add up.

Absent: every rule of the consortium. Its own contracts are measured beside this one.
"""  # noqa: E501 - rows of a table

from __future__ import annotations

import hashlib
import json
from typing import Any

from chaincode.contract import Context, Contract, ContractRefusal, encode_json, query, transaction

PRINCIPAL = 10_000_000
"""Of every agreement; in paisa."""


class Instalments(Contract):
    """See the module's docstring."""

    name = "qist"
    title = "Agreements and payments, as Fabric was measured with them"

    @transaction
    def open(self, ctx: Context, *ids: str) -> None:
        """Put a new agreement for each id."""
        for each in ids:
            ctx.stub.put_state(f"agr/{each}", encode_json(_agreement(each)))

    @transaction
    def pay(self, ctx: Context, *triples: str) -> None:
        """Post payments."""
        if len(triples) % 3:
            raise ContractRefusal("Pay", "takes id, reference and amount in triples", "count them")
        ids = list(dict.fromkeys(triples[0::3]))
        found = ctx.stub.get_states([f"agr/{each}" for each in ids])
        agreements = dict(zip(ids, map(_decoded, ids, found), strict=True))
        for each, reference, amount in zip(
            triples[0::3], triples[1::3], triples[2::3], strict=True
        ):
            agreement = agreements[each]
            agreement["outstanding"] -= int(amount)
            agreement["paid"] += int(amount)
            ctx.stub.put_state(f"pay/{each}/{reference}", amount.encode())
        for each, agreement in agreements.items():
            ctx.stub.put_state(f"agr/{each}", encode_json(agreement))

    @query
    def get(self, ctx: Context, id: str) -> bytes:
        """Return an agreement as it stands."""
        return encode_json(_decoded(id, ctx.stub.get_state(f"agr/{id}")))


def _agreement(id: str) -> dict[str, Any]:
    digest = hashlib.sha256(id.encode()).hexdigest()
    return {
        "id": id,
        "borrower": f"b1:{digest[:32]}",
        "imei": f"d1:{digest[32:]}",
        "lender": "BankMSP",
        "principal": PRINCIPAL,
        "outstanding": PRINCIPAL,
        "paid": 0,
        "status": "current",
    }


def _decoded(id: str, value: bytes | None) -> dict[str, Any]:
    if value is None:
        raise ContractRefusal(f"agreement {id}", "is not open", "open it first")
    agreement: dict[str, Any] = json.loads(value)
    return agreement
