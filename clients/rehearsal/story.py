"""The story of one borrower, read from the blocks: every step, when, and who signed it.

No query of a contract is needed: the transactions that wrote a key of the agreement or of one of
its cases are found in the blocks, with the certificate of the officer who signed each. Amounts and
pseudonyms are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cryptography import x509
from fabric_protos.msp import identities_pb2

from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import ParsedTransaction, parse_transaction

_FUNCTIONS: Final = {
    "RegisterDevices": "the phone is registered",
    "OpenAgreements": "the agreement is opened",
    "ConfirmSales": "phone and SIM were handed over",
    "PostPayments": "a payment came in",
    "ReversePayments": "a payment is taken back",
    "IssueClearance": "paid in full: clearance certificate",
    "Sweep": "default found by the contract: a case opens",
    "ServeNotices": "notice served on the borrower",
    "ProposeCases": "the lender proposes a block",
    "CastBallots": "an officer votes",
    "FreeWaiting": "the waiting order goes out",
    "AcknowledgeOrders": "the executor reports the block",
    "AcknowledgeReleases": "the executor reports the release",
    "WithdrawCases": "the lender withdraws the case",
    "EndBlocksByTerm": "the longest term of a block is over",
    "CloseCases": "the end of the case is written down",
}
_MOVING: Final = frozenset(
    {"CastBallots", "FreeWaiting", "AcknowledgeOrders", "AcknowledgeReleases"}
)
"""Functions after which the reader wants to know what became of the case."""
_ENDING: Final = " and cures the case in the same transaction; release ordered"


@dataclass(frozen=True, slots=True)
class Step:
    """One step.

    Attributes:
        at: the transaction's time.
        what: in words.
        signer: common name of the officer's certificate.
        msp_id: of the officer's member.
        endorsers: MSP ids of the members whose nodes endorsed it.
    """

    at: datetime
    what: str
    signer: str
    msp_id: str
    endorsers: tuple[str, ...]
    tx_id: str
    block_num: int


async def tell(blocks: AsyncIterator[Any], agreement: str) -> list[Step]:
    """Return the steps of one agreement in the order of the ledger.

    Args:
        blocks: ``common.Block`` messages, from the first to the last.
    """
    own = re.compile(rf"(?:[CORHX]-)?{re.escape(agreement)}(?:-[0-9]+)*")
    return [step async for block in blocks for step in _steps(block, own, agreement)]


def _steps(block: Any, own: re.Pattern[str], agreement: str) -> Iterator[Step]:
    codes = block.metadata.metadata[2]
    for raw, code in zip(block.data.data, codes, strict=True):
        if code != TxValidationCode.VALID:
            continue
        transaction = parse_transaction(raw)
        keys = list(_written(transaction, own))
        if keys and transaction.timestamp is not None:
            yield _step(transaction, keys, int(block.header.number), agreement)


def _written(transaction: ParsedTransaction, own: re.Pattern[str]) -> Iterator[str]:
    if transaction.rwset is None:
        return
    for namespace in transaction.rwset.namespaces:
        for write in namespace.writes:
            if any(own.fullmatch(part) for part in re.split(r"[/\x00]", write.key)):
                yield write.key


def _step(transaction: ParsedTransaction, keys: list[str], block_num: int, agreement: str) -> Step:
    function = transaction.event.event_name if transaction.event is not None else ""
    what = _FUNCTIONS.get(function, function)
    if function in _MOVING:
        what += f"; the case is {_state_after(transaction, agreement)}"
    if function == "PostPayments" and any(key.startswith("ending/") for key in keys):
        what += _ENDING
    msp_id, name = _signer(transaction.creator)
    assert transaction.timestamp is not None
    return Step(
        transaction.timestamp,
        what,
        name,
        msp_id,
        tuple(sorted({_signer(each.endorser)[0] for each in transaction.endorsements})),
        transaction.tx_id,
        block_num,
    )


def _state_after(transaction: ParsedTransaction, agreement: str) -> str:
    """What the transaction's event says the case is now: the last word about the agreement."""
    assert transaction.event is not None
    records = json.loads(transaction.event.payload)["records"]
    states = [each["state"] for each in records if each.get("agreement") == agreement]
    return str(states[-1]) if states else "as before"


def _signer(serialized: bytes) -> tuple[str, str]:
    """Return MSP id and common name of a serialized identity."""
    identity = identities_pb2.SerializedIdentity.FromString(serialized)
    certificate = x509.load_pem_x509_certificate(identity.id_bytes)
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return identity.mspid, str(names[0].value) if names else ""
