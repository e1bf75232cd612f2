"""What can go wrong between a client and a gateway, one error per stage.

Every error carries the transaction id it belongs to, so that a caller can look
the transaction up later, and says whether the outcome is *definite*: after a
definite error the transaction is certainly not in the ledger; after an
indefinite one it may still be committed, and only its commit status tells.

Deliberately absent: retries. ``retry.py`` decides about those.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from clients.gateway.explanations import explain_code
from ledger.errors import LedgerError, Refusal, Unavailable
from ledger.transactions.codes import TxValidationCode

# How a gateway passes a contract's refusal on. Source: fabric internal/pkg/gateway/apiutils.go.
_CHAINCODE_ANSWER = re.compile(r"chaincode response ([0-9]+), (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """What one peer said: its address (host:port), its member and its words."""

    address: str
    msp_id: str
    message: str


class GatewayError(LedgerError):
    """A call to a gateway failed.

    Attributes:
        code: the gRPC status code.
        tx_id: the transaction concerned, ``""`` where there is none.
        details: what single peers said, in the gateway's order.
        outcome_definite: False when the transaction may nevertheless be committed.
        again_in_s: after which the same call may be made again, where the gateway did nothing with
            it because it is overloaded; None for every other failure.
    """

    stage = "call"

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode,
        tx_id: str = "",
        details: Sequence[ErrorDetail] = (),
        outcome_definite: bool = True,
        again_in_s: float | None = None,
    ) -> None:
        self.again_in_s = again_in_s
        self.code = code
        self.tx_id = tx_id
        self.details = tuple(details)
        self.outcome_definite = outcome_definite
        words = f"{self.stage} of transaction {tx_id}: {message}" if tx_id else message
        said = "; ".join(f"{d.msp_id} ({d.address}): {d.message}" for d in self.details)
        super().__init__(f"{words} [{said}]" if said else words)
        self._texts = (*(detail.message for detail in self.details), message)

    @property
    def chaincode_status(self) -> int:
        """The status with which the contract answered, 400 for a refusal; 0: it did not answer."""
        return self._answer()[0]

    @property
    def chaincode_message(self) -> str:
        """What the contract itself said; ``""`` if it did not answer."""
        return self._answer()[1]

    def _answer(self) -> tuple[int, str]:
        for text in self._texts:
            found = _CHAINCODE_ANSWER.search(text)
            if found is not None:
                return int(found[1]), found[2].removesuffix(f" ({self.code.name})")
        return 0, ""


class EvaluateError(GatewayError):
    """The query was refused or could not be run; nothing was written."""

    stage = "evaluate"


class EndorseError(GatewayError):
    """The proposal did not gather its endorsements; nothing was ordered."""

    stage = "endorse"


class SubmitError(GatewayError):
    """The envelope was not accepted by the orderer.

    When the connection broke or the deadline passed, the orderer may have
    accepted it all the same: ``outcome_definite`` is False then. It is True
    where the orderer refused it, or the gateway says that nothing was sent.
    """

    stage = "submit"


class CommitStatusError(GatewayError):
    """The commit status could not be learned; the transaction may be committed."""

    stage = "commit status"


class EventsError(GatewayError):
    """A stream of events or blocks broke off or was refused."""

    stage = "events"


class CommitError(Refusal):
    """The transaction stands in the ledger as invalid: its writes have no effect.

    Attributes:
        tx_id: the transaction.
        code: why it is invalid.
        block_num: the block in which it stands.
        cause: what is known beyond the code, as the key that was fought over.
    """

    def __init__(self, tx_id: str, code: TxValidationCode, block_num: int, cause: str = "") -> None:
        self.tx_id = tx_id
        self.code = code
        self.block_num = block_num
        self.cause = cause
        why, way_out = explain_code(code)
        super().__init__(
            f"transaction {tx_id} is invalid: {code.name} ({int(code)}) in block {block_num}, "
            f"{cause or why}; {way_out}"
        )

    def because(self, cause: str) -> CommitError:
        """The same error with its cause."""
        return CommitError(self.tx_id, self.code, self.block_num, cause)


class GatewayUnreachable(Unavailable):
    """No gateway answered at any of the addresses; nothing was sent."""


class ProfileError(Refusal):
    """A connection profile or an MSP folder lacks something; names the field and the file."""
