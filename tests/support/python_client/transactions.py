"""Transactions: evaluate, submit, commit status, endorsing organisations, transient data."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from qist import EvaluateError, TxValidationCode
from tests.support.python_client.world import (
    TX_ID,
    World,
    contains,
    equal,
    failure,
    first,
    matches,
    scenario,
    verify,
)


@scenario
def evaluate(world: World) -> None:
    contract = world.contract()
    equal(contract.evaluate("Get", world.key("nowhere")), b"")
    equal(contract.evaluate("WhoAmI").decode(), world.home)
    equal(contract.evaluate("Get", world.key("nowhere").encode()), b"")


@scenario
def evaluate_does_not_write(world: World) -> None:
    equal(world.contract().evaluate("Add", world.key("evaluated"), "5"), b"5")
    equal(world.get("evaluated"), "")


@scenario
def evaluate_at_an_organisation(world: World) -> None:
    contract = world.contract()
    there = contract.evaluate("WhoAmI", endorsing_organisations=(world.third,))
    equal(there.decode(), world.home)
    nobody = ("NobodyMSP",)
    error = failure(
        EvaluateError, lambda: contract.evaluate("WhoAmI", endorsing_organisations=nobody)
    )
    equal(error.code, grpc.StatusCode.FAILED_PRECONDITION)
    contains(error, "no peers available to evaluate chaincode")


@scenario
def submit(world: World) -> None:
    contract, key = world.contract(), world.key("submitted")
    equal(contract.submit("Add", key, "3").result, b"3")
    equal(contract.submit("Add", key.encode(), b"4").result, b"7")
    equal(world.get("submitted"), "7")


@scenario
def submit_without_a_result(world: World) -> None:
    equal(world.contract().submit("Put", world.key("put"), "value").result, b"")
    equal(world.get("put"), "value")


@scenario
def large_value(world: World) -> None:
    value = "قسط ادا ہو گئی. " * 40_000
    verify(len(value.encode()) > 1_000_000)
    world.contract().submit("Put", world.key("large"), value)
    verify(world.get("large") == value, "another value came back")


@scenario
def submit_async(world: World) -> None:
    gateway, contract = world.gateway(), world.contract()
    transaction = gateway.endorse(contract.new_proposal("Add", world.key("async"), "2"))
    submitted = gateway.submit(transaction)
    equal(transaction.result, b"2")
    matches(submitted.tx_id, TX_ID)
    status = gateway.commit_status(submitted)
    equal((status.code, status.is_valid), (TxValidationCode.VALID, True))
    equal(status.tx_id, submitted.tx_id)
    equal(world.get("async"), "2")


@scenario
def submit_through_each_member(world: World) -> None:
    for index, msp_id in enumerate(world.members):
        contract = world.contract(world.gateway(msp_id))
        key = world.key(f"through-{msp_id}")
        equal(contract.submit("Add", key, str(index)).result.decode(), str(index))
        equal(contract.evaluate("WhoAmI").decode(), msp_id)


@scenario
def submit_many_at_once(world: World) -> None:
    contract = world.contract()
    numbers = [str(number + 1) for number in range(40)]

    def one(number: str) -> str:
        return contract.submit("Add", world.key(f"many-{number}"), number).result.decode()

    with ThreadPoolExecutor(len(numbers)) as pool:
        equal(list(pool.map(one, numbers)), numbers)


@scenario
def status_of_a_valid_transaction(world: World) -> None:
    gateway, contract = world.gateway(), world.contract()
    draft = contract.new_proposal("Put", world.key("valid"), "yes")
    submitted = gateway.submit(gateway.endorse(draft))
    once = gateway.commit_status(submitted)
    equal(once.code, TxValidationCode.VALID)
    equal(gateway.commit_status(submitted), once)


@scenario
def status_of_a_conflict(world: World) -> None:
    one, other = world.conflict("conflict")
    equal(one.code, TxValidationCode.VALID)
    equal((other.code, other.is_valid), (TxValidationCode.MVCC_READ_CONFLICT, False))
    verify(other.block_num >= one.block_num)
    equal(world.get("conflict"), "1")


def _endorsed_by_one(world: World, name: str) -> Any:
    gateway, contract = world.gateway(), world.contract()
    key, alone = world.key(name), (world.home,)
    return gateway.endorse(contract.new_proposal("Put", key, "x", endorsing_organisations=alone))


@scenario
def status_of_an_endorsement_failure(world: World) -> None:
    gateway = world.gateway()
    status = gateway.commit_status(gateway.submit(_endorsed_by_one(world, "by one")))
    equal((status.code, status.is_valid), (TxValidationCode.ENDORSEMENT_POLICY_FAILURE, False))
    verify(status.block_num > 0)
    equal(world.get("by one"), "")


@scenario
def status_asked_before_the_submit(world: World) -> None:
    gateway = world.gateway()
    late, question = world.unsubmitted("late")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(gateway.commit_status, question)
        gateway.submit(late)
        status = waiting.result()
    equal((status.code, status.tx_id), (TxValidationCode.VALID, late.tx_id))


@scenario
def endorsing_organisations(world: World) -> None:
    gateway, named = world.gateway(), (world.second, world.third)
    transaction = gateway.endorse(
        world.contract().new_proposal(
            "Put", world.key("endorsed"), "by two others", endorsing_organisations=named
        )
    )
    raw = transaction.encode()
    for msp_id in world.members:
        # The first member is the creator; any other one is named only by its endorsement.
        equal((msp_id, msp_id.encode() in raw), (msp_id, msp_id in (world.home, *named)))
    equal(gateway.commit_status(gateway.submit(transaction)).code, TxValidationCode.VALID)


@scenario
def transient_data(world: World) -> None:
    gateway, secret = world.gateway(), os.urandom(32)
    digest = hashlib.sha256(secret).hexdigest().encode()
    draft = world.contract().new_proposal(
        "KeepDigest",
        world.key("transient"),
        transient={"secret": secret},
        endorsing_organisations=(world.home, world.second),
    )
    verify(secret in draft.encode(), "the proposal carries it")
    transaction = gateway.endorse(draft)
    equal(transaction.result, digest)
    verify(secret not in transaction.encode(), "the transaction does not")
    status = gateway.commit_status(gateway.submit(transaction))
    verify(status.is_valid, status)
    block = first(world.network().block_events(start_block=status.block_num))
    raw = block.SerializeToString()
    verify(digest in raw and secret not in raw, "the block has the digest alone")


@scenario
def transient_data_of_a_query(world: World) -> None:
    secret = {"secret": "text"}
    answer = world.contract().evaluate("KeepDigest", world.key("nothing"), transient=secret)
    equal(answer.decode(), hashlib.sha256(b"text").hexdigest())
