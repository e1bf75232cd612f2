"""Other members' gateways stand in where one's own keeps a transaction back; both faces."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from clients.gateway.connection import Timeouts
from clients.gateway.errors import CommitError, CommitStatusError, GatewayError, SubmitError
from ledger.transactions.codes import TxValidationCode
from tests.support.client_faces import Asynchronous, Blocking
from tests.support.fake_gateway import Call, FakeGateway, Member

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
TIMES = Timeouts(5, 5, 5, commit_status_s=1.0, withheld_s=0.3)


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Member]:
    """One's own member and two others."""
    folder = tmp_path_factory.mktemp("members")
    return [Member(folder, each) for each in ("BankMSP", "PtaMSP", "MakerMSP")]


@dataclass
class Network:
    """Three members' gateways to one channel, the own one first."""

    gateways: list[FakeGateway]
    puts: list[tuple[str, ...]] = field(default_factory=list)

    def codes(self) -> list[TxValidationCode]:
        """The verdicts in all blocks."""
        return [each.code for block in self.gateways[0].channel.blocks for each in block]


@pytest.fixture
def network(members: list[Member]) -> Iterator[Network]:
    """The gateways; what they have ordered once they order again, as real ones do."""
    made = Network([])

    def put(call: Call) -> Any:
        return "put", lambda: made.puts.append(call.args)

    with ExitStack() as ends:
        for member in members:
            channel = made.gateways[0].channel if made.gateways else None
            gateway = FakeGateway(member, {"Put": put}, channel=channel)
            gateway.takes_duplicates = True
            made.gateways.append(ends.enter_context(gateway))
        yield made


@pytest.fixture(params=[Blocking, Asynchronous], ids=["blocking", "asyncio"])
def face(request: pytest.FixtureRequest, members: list[Member], network: Network) -> Iterator[Any]:
    """A client of the first member, for whom the two others stand in."""
    own, *others = [each.endpoint for each in network.gateways]
    made = request.param(own, signer=members[0].user(), timeouts=TIMES, stand_ins=others)
    yield made
    made.close()


def submit(face: Any) -> Any:
    """Submit through the face."""
    return face.call(face.contract.submit, "Put", "k")


def test_transaction_that_a_gateway_withholds_is_committed_through_another_member(
    face: Any, network: Network
) -> None:
    """It says that it has taken it, and never has it ordered: the next one gets the same bytes."""
    own, second, third = network.gateways
    own.withholds = True
    outcome = submit(face)
    assert outcome.status.is_valid
    assert network.puts == [("k",)]
    assert (own.calls["Submit"], second.calls["Submit"], third.calls["Submit"]) == (1, 1, 0)
    assert len(own.proposals) == 1, "it is the same transaction, not another one"


def test_transaction_that_several_gateways_withhold_goes_on_to_the_next(
    face: Any, network: Network
) -> None:
    """One honest one is enough, whichever it is."""
    own, second, third = network.gateways
    own.withholds = second.withholds = True
    assert submit(face).status.is_valid
    assert third.calls["Submit"] == 1


@pytest.mark.parametrize("stage", ["Submit", "CommitStatus"])
def test_transaction_whose_answer_is_lost_is_recorded_once_and_its_status_is_the_first(
    face: Any, network: Network, stage: str
) -> None:
    """What was ordered twice is a duplicate the second time, and the client reads VALID."""
    own, second, _ = network.gateways
    own.fail(stage, UNAVAILABLE, after=True)
    outcome = submit(face)
    assert outcome.status.is_valid
    assert outcome.status.block_num == 1
    assert second.calls["Submit"] == 1
    assert network.codes() == [TxValidationCode.VALID, TxValidationCode.DUPLICATE_TXID]
    assert network.puts == [("k",)]


def test_own_gateway_that_answers_is_the_only_one_that_is_asked(
    face: Any, network: Network
) -> None:
    """Nobody else learns anything before it must; an invalid transaction is an answer."""
    assert submit(face).status.is_valid
    network.gateways[0].commit_as(TxValidationCode.MVCC_READ_CONFLICT)
    with pytest.raises(CommitError):
        submit(face)
    for other in network.gateways[1:]:
        assert not other.calls


def test_refusal_of_the_orderer_goes_to_nobody_else(face: Any, network: Network) -> None:
    """What breaks a rule here breaks it everywhere."""
    network.gateways[0].fail("Submit", grpc.StatusCode.ABORTED)
    with pytest.raises(SubmitError) as raised:
        submit(face)
    assert raised.value.outcome_definite
    assert not network.gateways[1].calls


def test_query_and_endorsement_never_go_to_another_member(face: Any, network: Network) -> None:
    """They may carry what is private, and one's own member vouches for no stranger's answer."""
    own, second, third = network.gateways
    for stage, method in (("Evaluate", face.contract.evaluate), ("Endorse", face.contract.submit)):
        own.fail(stage, UNAVAILABLE)
        with pytest.raises(GatewayError):
            face.call(method, "Put", "k")
    assert not second.calls
    assert not third.calls


def test_transaction_that_all_withhold_ends_as_open(face: Any, network: Network) -> None:
    """Who took it may still have it ordered, so nobody says that it failed."""
    for each in network.gateways:
        each.withholds = True
    with pytest.raises(CommitStatusError) as raised:
        submit(face)
    assert not raised.value.outcome_definite


def test_refusal_by_one_that_stands_in_leaves_the_first_submission_open(
    face: Any, network: Network
) -> None:
    """The own gateway took it before: the outcome is as open as that, and both are named."""
    own, second, _ = network.gateways
    own.withholds = True
    second.fail("Submit", grpc.StatusCode.ABORTED)
    with pytest.raises(SubmitError) as raised:
        submit(face)
    assert not raised.value.outcome_definite
    assert any("commit status" in note for note in raised.value.__notes__)


def test_stages_apart_go_to_another_member_where_the_own_gateway_is_away(
    face: Any, network: Network
) -> None:
    """Submitting and asking, each by itself; `commit` does both with an endorsed transaction."""
    own, second, _ = network.gateways
    gateway, new_proposal = face.gateway, face.contract.new_proposal
    endorsed = face.call(gateway.endorse, new_proposal("Put", "1"))
    own.fail("Submit", UNAVAILABLE)
    request = face.call(gateway.submit, endorsed)
    own.fail("CommitStatus", UNAVAILABLE)
    assert face.call(gateway.commit_status, request).is_valid
    assert (second.calls["Submit"], second.calls["CommitStatus"]) == (1, 1)
    own.withholds = True
    endorsed = face.call(gateway.endorse, new_proposal("Put", "2"))
    assert face.call(gateway.commit, endorsed).is_valid
    assert network.puts == [("1",), ("2",)]
