"""What the SDK makes of the commit status that a gateway tells."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from fabric_protos.gateway import gateway_pb2

from clients.gateway import operations
from clients.gateway.errors import CommitStatusError
from ledger.transactions.codes import TxValidationCode

TX_ID = "ab" * 32


class Draft:
    """As much of a signed transaction as is asked for."""

    tx_id = TX_ID
    channel_id = "qist"

    def signed(self) -> Any:
        return None


def told(result: int) -> operations.CommitStatus:
    """Submit; the gateway knows this status when it answers."""
    draft: Any = Draft()
    operation = operations.commit(draft)
    next(operation)
    answer = gateway_pb2.CommitStatusResponse(block_number=7)
    answer.result = result
    with pytest.raises(StopIteration) as ended:
        operation.send(gateway_pb2.SubmitResponse.FromString(answer.SerializeToString()))
    found: operations.CommitStatus = ended.value.value
    return found


def test_status_in_the_answer_to_a_submission_is_the_outcome() -> None:
    """An invalid transaction is a result too."""
    for code in (TxValidationCode.VALID, TxValidationCode.MVCC_READ_CONFLICT):
        assert told(code) == operations.CommitStatus(TX_ID, code, 7)


def test_validation_code_that_nobody_knows_is_an_error_of_the_sdk() -> None:
    """A gateway may tell anything; what became of the transaction is open then."""
    with pytest.raises(CommitStatusError, match="unknown validation code 99") as refused:
        told(99)
    assert refused.value.code is grpc.StatusCode.UNKNOWN
    assert refused.value.tx_id == TX_ID
    assert not refused.value.outcome_definite
