"""Who keeps a lender's terms, as a client reads it from the definition, and what follows."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import date
from typing import Any

import grpc
import pytest
from fabric_protos.peer.lifecycle import lifecycle_pb2

from chaincode.instalments.circles import terms_of
from chaincode.instalments.identifiers import Keyring, PseudonymKey
from clients.files.agreements import AgreementRow
from clients.files.circles import circle_of, circles_of
from clients.files.errors import RowRefused
from clients.files.jobs import AgreementsJob
from clients.files.keyrings import Keyrings
from clients.files.mapping import ColumnMapping
from clients.files.requests import Facts
from clients.gateway.errors import EvaluateError
from network.policy.collection_file import read_collections

BANK, OPERATOR, PTA = "BankMSP", "OperatorMSP", "PtaMSP"
ENTRIES = [
    {"name": "terms-BankMSP", "policy": f"OR('{BANK}.member', '{PTA}.member')"},
    {"name": "identifiers-BankMSP", "policy": f"OR('{OPERATOR}.member')"},
    {"name": "terms-A_dB_uC", "policy": f"OR('{OPERATOR}.member')"},
]
ROW = AgreementRow(
    2, "AG-1", BANK, "8220300000011", "+923001234567", ("35209900000001",), "35209900", "M",
    "murabaha", 2_000_000, 400_000, ((date(2026, 4, 5), 1_600_000),), date(2026, 3, 5), "",
)  # fmt: skip


class Lifecycle:
    """Answers the query for a definition, or fails."""

    def __init__(self, answer: bytes | Exception) -> None:
        self._answer = answer

    async def evaluate(self, function: str, asked: bytes) -> bytes:
        assert function == "QueryChaincodeDefinition"
        given = lifecycle_pb2.QueryChaincodeDefinitionArgs.FromString(asked)
        assert given.name == "instalments"
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def ask(answer: bytes | Exception) -> Any:
    lifecycle: Any = Lifecycle(answer)
    return asyncio.run(circles_of(lifecycle, "instalments"))


def job(keepers: frozenset[str]) -> AgreementsJob:
    ring = Keyring((PseudonymKey("k1", b"s" * 32),))
    facts = Facts(OPERATOR, "MakerMSP", "PK", (BANK, OPERATOR), "ur", True, False)
    keyrings = Keyrings(ring, {BANK: ring})
    return AgreementsJob("open", BANK, ColumnMapping(), facts, keyrings, keepers)


def test_circles_are_the_members_of_the_collections_of_terms() -> None:
    """By the name that the contract gives a lender's collection."""
    result = lifecycle_pb2.QueryChaincodeDefinitionResult(
        collections=read_collections(json.dumps(ENTRIES))
    )
    found = ask(result.SerializeToString())
    assert found == {
        "terms-BankMSP": frozenset({BANK, PTA}),
        "terms-A_dB_uC": frozenset({OPERATOR}),
    }
    for lender in (BANK, "A.B_C"):
        assert circle_of(found, lender) == found[terms_of(lender)]
    assert circle_of(found, OPERATOR) == frozenset()


def test_definition_that_tells_nothing_gives_no_circles() -> None:
    """A network without private data, or with another contract of that name."""
    refused = EvaluateError(
        "chaincode response 404, namespace instalments is not defined",
        code=grpc.StatusCode.UNKNOWN,
    )
    assert ask(refused) == {}
    assert ask(b"") == {}
    assert ask(b"\xff\xff") == {}


def test_gateway_that_is_away_is_not_taken_for_a_network_without_circles() -> None:
    """Else transient data would be shown to members that must not see them."""
    with pytest.raises(EvaluateError):
        ask(EvaluateError("away", code=grpc.StatusCode.UNAVAILABLE))


def test_agreement_that_names_a_receiver_outside_the_circle_is_rejected() -> None:
    """Who keeps no terms could post no payment; the row says whom to name."""
    assert job(frozenset({BANK, OPERATOR, PTA})).weigh(ROW).request is not None
    assert job(frozenset()).weigh(ROW).request is not None
    with pytest.raises(RowRefused, match="MakerMSP, who keeps no terms of BankMSP") as refused:
        job(frozenset({BANK, OPERATOR, PTA})).weigh(
            replace(ROW, receiving_institutions=(BANK, "MakerMSP"))
        )
    assert refused.value.column == "receiving_msps"
    assert "BankMSP, OperatorMSP, PtaMSP" in refused.value.way_out
