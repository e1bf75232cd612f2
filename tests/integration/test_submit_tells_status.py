"""The commit status that a gateway tells in its answer to Submit, and who is told it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from fabric_protos.gateway import gateway_pb2

from clients.gateway import operations
from clients.gateway.errors import CommitStatusError
from clients.gateway.messages import TransactionDraft
from clients.gateway.operations import CommitStatus
from ledger.transactions.codes import TxValidationCode
from network.configuration import edits
from tests.support.counter import Counter
from tests.support.local_network import CHANNEL, LocalNetwork, local_network
from tests.support.members import Member
from tests.support.updates import signed_update

SUBMIT = "/gateway.Gateway/Submit"
CODE = TxValidationCode.MVCC_READ_CONFLICT


def steps(draft: TransactionDraft, answers: Sequence[Any]) -> tuple[list[str], CommitStatus]:
    """Drive the conversation of `commit`; return which RPCs were made, and the status."""
    made = []
    operation = operations.commit(draft)
    step = next(operation)
    for answer in answers:
        assert isinstance(step, operations.Call)
        made.append(step.rpc)
        try:
            step = operation.send(answer)
        except StopIteration as finished:
            return made, finished.value
    raise AssertionError(f"it wants more than {made}")


@pytest.mark.parametrize("told", [True, False], ids=["told", "not told"])
def test_commit_asks_for_the_status_only_where_the_submission_did_not_tell_it(told: bool) -> None:
    """Fabric's answer is empty, so the status is asked for; ours has it, an invalid one too."""
    draft = TransactionDraft(Member("BankMSP").identity("desk"), CHANNEL, "ab", b"payload", b"")
    status = gateway_pb2.CommitStatusResponse(result=int(CODE), block_number=7)
    if told:
        # As the blocking face gets it: what a SubmitResponse does not know is kept.
        answer = gateway_pb2.SubmitResponse.FromString(status.SerializeToString())
        made, found = steps(draft, [answer])
        assert made == ["Submit"]
    else:
        made, found = steps(draft, [gateway_pb2.SubmitResponse(), status])
        assert made == ["Submit", "CommitStatus"]
    assert found == CommitStatus("ab", CODE, 7)


async def submitted(network: LocalNetwork, key: str) -> tuple[Any, Any]:
    """Submit a transaction; return the request for its status, and the answer as it came."""
    endpoint = network.endpoint("BankMSP")
    async with (
        network.gateway("BankMSP") as client,
        grpc.aio.secure_channel(
            endpoint.address, endpoint.credentials(), options=endpoint.options()
        ) as channel,
    ):
        contract = client.network(CHANNEL).contract("counter")
        draft = await client.endorse(contract.new_proposal("Add", key, "1"))
        request = gateway_pb2.SubmitRequest(
            transaction_id=draft.tx_id, channel_id=CHANNEL, prepared_transaction=draft.signed()
        )
        raw = await channel.unary_unary(SUBMIT, None, None)(request.SerializeToString())
        asked = client.new_signed_commit(
            gateway_pb2.SignedCommitStatusRequest(
                request=gateway_pb2.CommitStatusRequest(
                    transaction_id=draft.tx_id,
                    channel_id=CHANNEL,
                    identity=draft.signer.serialized,
                ).SerializeToString()
            ).SerializeToString(),
            b"",
        )
        return asked, raw


async def test_submission_is_answered_with_the_status_by_who_may_ask_for_it(
    tmp_path: Path,
) -> None:
    """The answer to Submit says what CommitStatus says, and Fabric's clients read it as ever; who
    may not ask for a status gets an empty one.
    """
    async with local_network(tmp_path, [Counter()], members=("BankMSP",)) as network:
        asked, raw = await submitted(network, "k")
        told = gateway_pb2.CommitStatusResponse.FromString(raw)
        assert not gateway_pb2.SubmitResponse.FromString(raw).ListFields()
        async with network.gateway("BankMSP") as client:
            status = await client.commit_status(asked)
        assert (told.block_number, told.result) == (status.block_num, 0) == (2, 0)

        current = network.node("BankMSP").channel.configuration
        admins = [network.signer("BankMSP", "admin")]

        def close(config: Any) -> None:
            edits.set_acl(config, "gateway/CommitStatus", "/Channel/Application/Admins")

        await network.node("BankMSP").engine.submit(signed_update(current, close, admins))
        await network.node("BankMSP").channel.wait_for_configuration(current.sequence)
        asked, raw = await submitted(network, "l")
        assert raw == b""
        async with network.gateway("BankMSP") as client:
            with pytest.raises(CommitStatusError) as refused:
                await client.commit_status(asked)
        assert refused.value.code is grpc.StatusCode.PERMISSION_DENIED
        await network.verify()
