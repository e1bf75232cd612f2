"""Errors: each stage's own type with its transaction id, gRPC's codes, what single peers said."""

from __future__ import annotations

from functools import partial

import grpc

from qist import CommitError, EndorseError, EvaluateError, SubmitError, TxValidationCode
from tests.support.python_client.world import (
    TX_ID,
    World,
    contains,
    equal,
    failure,
    matches,
    scenario,
)

REASON = "the reason of the scenario"
REFUSED = rf"chaincode response 400, .*{REASON}"


@scenario
def refusal_of_a_query(world: World) -> None:
    error = failure(EvaluateError, lambda: world.contract().evaluate("Refuse", REASON))
    equal(error.code, grpc.StatusCode.UNKNOWN)
    matches(error, REFUSED)
    equal(error.chaincode_status, 400)
    equal([each.msp_id for each in error.details], [world.home])


@scenario
def refusal_of_a_transaction(world: World) -> None:
    error = failure(EndorseError, lambda: world.contract().submit("Refuse", REASON))
    equal(error.code, grpc.StatusCode.ABORTED)
    contains(error, "failed to endorse transaction, see attached details")
    matches(error.tx_id, TX_ID)
    detail = error.details[0]
    equal(detail.msp_id, world.home)
    matches(detail.address, r":\d+$")
    matches(detail.message, REFUSED)


@scenario
def endorse_error_names_two_peers(world: World) -> None:
    contract = world.contract()
    for named in ((world.home, world.second), (world.second, world.third)):
        refused = partial(contract.submit, "Refuse", REASON, endorsing_organisations=named)
        error = failure(EndorseError, refused)
        equal(error.code, grpc.StatusCode.ABORTED)
        contains(error, "failed to collect enough transaction endorsements")
        equal(sorted(each.msp_id for each in error.details), sorted(named))
        equal(len({each.address for each in error.details}), 2)
        for detail in error.details:
            matches(detail.message, REFUSED)


@scenario
def endorse_error_of_an_unknown_organisation(world: World) -> None:
    named = (world.home, "NobodyMSP")
    error = failure(
        EndorseError,
        lambda: world.contract().submit("Put", world.key("k"), "v", endorsing_organisations=named),
    )
    equal(error.code, grpc.StatusCode.UNAVAILABLE)
    contains(error, "failed to find any endorsing peers for org(s): NobodyMSP")


@scenario
def unknown_contract(world: World) -> None:
    contract = world.network().contract("nobody")
    contains(failure(EndorseError, lambda: contract.submit("Put", "k", "v")), "nobody")


@scenario
def unknown_channel(world: World) -> None:
    contract = world.gateway().network("elsewhere").contract(world.settings.contract)
    contains(failure(EndorseError, lambda: contract.submit("Put", "k", "v")), "elsewhere")


@scenario
def submit_error(world: World) -> None:
    gateway, contract = world.gateway(), world.contract()
    endorsed = gateway.endorse(contract.new_proposal("Put", world.key("forged"), "x"))
    signature = world.member(world.second).sign_digest(endorsed.digest)
    forged = gateway.new_signed_transaction(endorsed.encode(), signature)
    error = failure(SubmitError, lambda: gateway.submit(forged))
    equal(error.code, grpc.StatusCode.ABORTED)
    contains(error, "unsuccessful response from orderer: status=FORBIDDEN")
    equal((error.tx_id, error.outcome_definite), (endorsed.tx_id, True))
    equal(world.get("forged"), "")


@scenario
def commit_error(world: World) -> None:
    alone = (world.home,)
    error = failure(
        CommitError,
        lambda: world.contract().submit(
            "Put", world.key("endorsed by one"), "x", endorsing_organisations=alone
        ),
    )
    equal(error.code, TxValidationCode.ENDORSEMENT_POLICY_FAILURE)
    contains(error, "ENDORSEMENT_POLICY_FAILURE")
    matches(error.tx_id, TX_ID)
