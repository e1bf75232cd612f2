"""Submit without an orderer: a gateway that has sent nothing says so, and the SDK passes it on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from clients.gateway.errors import SubmitError
from clients.gateway.messages import CommitRequest
from tests.support.counter import Counter
from tests.support.local_network import DEADLINE_S, local_network


async def test_submission_while_the_orderer_is_away_is_known_to_have_done_nothing(
    tmp_path: Path,
) -> None:
    """UNAVAILABLE before anything was sent is definite; the same bytes may be submitted again."""
    members = ("BankMSP", "OperatorMSP")
    async with local_network(tmp_path, [Counter()], members=members) as network:
        async with network.gateway("OperatorMSP") as gateway:
            contract = gateway.network(network.channel_id).contract("counter")
            endorsed = await gateway.endorse(contract.new_proposal("Add", "k", "1"))
            await network.stop("BankMSP")
            with pytest.raises(SubmitError) as away:
                await gateway.submit(endorsed)
            assert away.value.code is grpc.StatusCode.UNAVAILABLE
            assert away.value.outcome_definite, away.value
            await network.start("BankMSP")
            answers: list[CommitRequest | SubmitError] = []

            async def is_taken() -> bool:
                try:
                    answers.append(await gateway.submit(endorsed))
                except SubmitError as again:
                    answers.append(again)
                return isinstance(answers[-1], CommitRequest)

            async with asyncio.timeout(DEADLINE_S):
                while not await is_taken():  # noqa: ASYNC110 - a gateway tells nobody when it can
                    await asyncio.sleep(0.01)
            *refused, request = answers
            assert all(isinstance(each, SubmitError) and each.outcome_definite for each in refused)
            assert isinstance(request, CommitRequest)
            assert (await gateway.commit_status(request)).is_valid
        await network.verify()
