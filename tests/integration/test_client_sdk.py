"""The SDK, both faces, against a gateway in this process that speaks gRPC over TLS."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from clients.gateway.connection import Timeouts
from clients.gateway.errors import (
    CommitError,
    CommitStatusError,
    EndorseError,
    EvaluateError,
    EventsError,
    GatewayError,
    GatewayUnreachable,
    SubmitError,
)
from clients.gateway.events import FileCheckpointer, InMemoryCheckpointer
from clients.gateway.identity import OfflineIdentity
from clients.gateway.operations import Outcome
from clients.gateway.retry import RetryPolicy
from ledger.errors import Refusal
from ledger.transactions.codes import TxValidationCode
from network.msp.keys import CURVE_ORDERS, low_s_signature
from tests.support.client_faces import CHANNEL, Asynchronous, Blocking
from tests.support.fake_gateway import Call, FakeGateway, Member, Refused

QUICK = RetryPolicy(attempts=5, first_pause_s=0.001, longest_pause_s=0.002)
MVCC = TxValidationCode.MVCC_READ_CONFLICT
STAGES = {
    "Endorse": EndorseError,
    "Submit": SubmitError,
    "CommitStatus": CommitStatusError,
}


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> Member:
    """One member with certificates."""
    return Member(tmp_path_factory.mktemp("member"))


class Book:
    """A contract with a store: what is put stays, once."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def put(self, call: Call) -> Any:
        """Write a value; the answer is written before the commit."""
        key, value = call.args
        return f"put {key}", lambda: self.values.__setitem__(key, value)

    def put_all(self, call: Call) -> Any:
        """A bulk function; one record named "bad" spoils it, more than three are too many."""
        records = json.loads(call.args[0])
        beside = json.loads(call.transient.get("amounts", b"[]"))
        if len(records) > 3:
            raise Refused("the transaction outgrew a limit; send fewer", 413)
        if "bad" in records:
            raise Refused("record bad breaks a rule; correct it")

        def change() -> None:
            self.values.update(zip(records, map(str, beside), strict=True))

        return json.dumps([[record, record in self.values] for record in records]), change

    def get(self, call: Call) -> Any:
        """Read a value."""
        if call.args[0] not in self.values:
            raise Refused(f"key {call.args[0]} is not there; put it first")
        return self.values[call.args[0]]


@pytest.fixture
def book() -> Book:
    """An empty book."""
    return Book()


@pytest.fixture
def fake(member: Member, book: Book) -> Iterator[FakeGateway]:
    """A gateway with the book behind it."""
    functions = {
        "Put": book.put,
        "PutAll": book.put_all,
        "Get": book.get,
        "Echo": lambda call: json.dumps(
            [call.args, {name: value.decode() for name, value in call.transient.items()}]
        ),
    }
    with FakeGateway(member, functions) as gateway:
        yield gateway


@pytest.fixture(params=[Blocking, Asynchronous], ids=["blocking", "asyncio"])
def connect(request: pytest.FixtureRequest, member: Member) -> Iterator[Callable[..., Any]]:
    """Makes a face on the gateways given to it."""
    made: list[Any] = []

    def make(*gateways: FakeGateway, signer: Any = None, **options: Any) -> Any:
        options.setdefault("timeouts", Timeouts(5, 5, 5, 5))
        face = request.param(
            *(each.endpoint for each in gateways), signer=signer or member.user(), **options
        )
        made.append(face)
        return face

    yield make
    for face in made:
        face.close()


def test_evaluate_with_arguments_and_transient_returns_what_the_contract_answered(
    connect: Callable[..., Any], fake: FakeGateway
) -> None:
    """Arguments and transient data arrive as they were given; nothing is ordered."""
    face = connect(fake)
    answer = face.call(face.contract.evaluate, "Echo", "a", b"\xc3\xa4", transient={"t": b"x"})
    assert json.loads(answer) == [["a", "ä"], {"t": "x"}]
    assert len(fake.channel.blocks) == 1


def test_submit_returns_only_after_the_commit(
    connect: Callable[..., Any], fake: FakeGateway, book: Book
) -> None:
    """Acknowledged means that CommitStatus has answered, with block and transaction id."""
    face = connect(fake)
    outcome: Outcome = face.call(face.contract.submit, "Put", "k", "1")
    assert outcome.result == b"put k"
    assert outcome.status.is_valid
    assert outcome.status.block_num == 1
    assert fake.channel.transactions[outcome.status.tx_id].block_num == 1
    assert book.values == {"k": "1"}
    assert fake.calls["CommitStatus"] == 1


def test_submit_of_an_invalid_transaction_raises_its_code_and_is_not_repeated(
    connect: Callable[..., Any], fake: FakeGateway, book: Book
) -> None:
    """Without leave of the caller an MVCC conflict is an error, and nothing is sent again."""
    fake.commit_as(MVCC)
    face = connect(fake)
    with pytest.raises(CommitError) as raised:
        face.call(face.contract.submit, "Put", "k", "1")
    assert raised.value.code is MVCC
    assert raised.value.block_num == 1
    assert "endorsed again" in str(raised.value)
    assert fake.calls["Endorse"] == 1
    assert not book.values


def test_submit_with_leave_is_endorsed_again_after_conflicts_with_new_ids(
    connect: Callable[..., Any], fake: FakeGateway, book: Book
) -> None:
    """Each attempt is a proposal of its own; the last one is acknowledged."""
    fake.commit_as(MVCC, TxValidationCode.PHANTOM_READ_CONFLICT)
    face = connect(fake)
    outcome = face.call(face.contract.submit, "Put", "k", "1", retry=QUICK)
    assert outcome.status.block_num == 3
    assert len({call.tx_id for call in fake.proposals}) == 3
    assert book.values == {"k": "1"}


def test_submit_with_leave_gives_up_after_its_attempts(
    connect: Callable[..., Any], fake: FakeGateway
) -> None:
    """The number of attempts is a bound; the last verdict is raised."""
    fake.commit_as(*[MVCC] * 9)
    face = connect(fake)
    with pytest.raises(CommitError):
        face.call(face.contract.submit, "Put", "k", "1", retry=QUICK)
    assert fake.calls["Endorse"] == QUICK.attempts


def test_submit_with_leave_is_not_repeated_for_another_verdict(
    connect: Callable[..., Any], fake: FakeGateway
) -> None:
    """A policy that is not met stays unmet: no second attempt."""
    fake.commit_as(TxValidationCode.ENDORSEMENT_POLICY_FAILURE)
    face = connect(fake)
    with pytest.raises(CommitError, match="endorsing organisations"):
        face.call(face.contract.submit, "Put", "k", "1", retry=QUICK)
    assert fake.calls["Endorse"] == 1


@pytest.mark.parametrize("stage", STAGES)
def test_submit_that_fails_at_a_stage_says_which_with_transaction_and_details(
    connect: Callable[..., Any], fake: FakeGateway, stage: str
) -> None:
    """One error a stage, with transaction id, code, and what single peers said."""
    detail = ("peer0:7051", "PtaMSP", "the disk is full")
    fake.fail(stage, grpc.StatusCode.ABORTED, "see attached details", details=(detail,))
    face = connect(fake)
    with pytest.raises(STAGES[stage]) as raised:
        face.call(face.contract.submit, "Put", "k", "1")
    error = raised.value
    assert len(error.tx_id) == 64
    assert [call.tx_id for call in fake.proposals] == ([] if stage == "Endorse" else [error.tx_id])
    assert error.code is grpc.StatusCode.ABORTED
    assert [(d.address, d.msp_id, d.message) for d in error.details] == [detail]
    assert "the disk is full" in str(error)
    assert error.outcome_definite


def test_evaluate_refused_by_the_contract_gives_its_status_and_words(
    connect: Callable[..., Any], fake: FakeGateway
) -> None:
    """A contract's refusal can be read apart from the gateway's words around it."""
    face = connect(fake)
    with pytest.raises(EvaluateError) as raised:
        face.call(face.contract.evaluate, "Get", "nowhere")
    assert raised.value.chaincode_status == 400
    assert raised.value.chaincode_message == "key nowhere is not there; put it first"


@pytest.mark.parametrize("stage", ["Submit", "CommitStatus"])
def test_submission_whose_answer_is_lost_is_indefinite_and_not_repeated(
    connect: Callable[..., Any], fake: FakeGateway, book: Book, stage: str
) -> None:
    """After a broken connection the transaction may be committed: the error says so."""
    fake.fail(stage, grpc.StatusCode.UNAVAILABLE, after=True)
    face = connect(fake)
    with pytest.raises(STAGES[stage]) as raised:
        face.call(face.contract.submit, "Put", "k", "1")
    assert not raised.value.outcome_definite
    assert book.values == {"k": "1"}
    assert fake.calls["Submit"] == 1


def test_submission_with_an_open_outcome_is_repeated_with_patience(
    connect: Callable[..., Any], fake: FakeGateway, book: Book
) -> None:
    """An idempotent call is made anew while its gateway is away or its outcome open."""
    fake.fail("Submit", grpc.StatusCode.UNAVAILABLE, after=True)
    fake.fail("Endorse", grpc.StatusCode.UNAVAILABLE)
    patient = RetryPolicy(attempts=2, first_pause_s=0.001, longest_pause_s=0.01, patience_s=5)
    face = connect(fake)
    outcome = face.call(face.contract.submit, "Put", "k", "1", retry=patient)
    assert outcome.status.is_valid
    assert fake.calls["Submit"] == 2
    assert book.values == {"k": "1"}


def test_endorsements_that_differ_are_asked_for_again(
    connect: Callable[..., Any], fake: FakeGateway
) -> None:
    """A peer that is a block behind answers differently: nothing was ordered, so once more."""
    detail = ("peer0:7051", "PtaMSP", "ProposalResponsePayloads do not match")
    fake.fail("Endorse", grpc.StatusCode.ABORTED, "failed to collect enough", details=(detail,))
    face = connect(fake)
    assert face.call(face.contract.submit, "Put", "k", "1", retry=QUICK).status.is_valid
    assert fake.calls["Endorse"] == 2


def test_stages_apart_with_a_key_elsewhere_give_a_committed_transaction(
    connect: Callable[..., Any], fake: FakeGateway, member: Member, book: Book
) -> None:
    """A machine without the key drafts and sends; the key only ever sees digests."""
    folder = member.organisation.user_folder("lending")
    certificate = (folder / "msp/signcerts/cert.pem").read_bytes()
    key = serialization.load_pem_private_key(
        (folder / "msp/keystore/key.pem").read_bytes(), password=None
    )
    assert isinstance(key, ec.EllipticCurvePrivateKey)

    def in_the_vault(digest: bytes) -> bytes:
        signature = key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256())))
        return low_s_signature(signature, CURVE_ORDERS["secp256r1"])

    face = connect(fake, signer=OfflineIdentity(member.msp_id, certificate))
    gateway = face.gateway
    proposal = face.contract.new_proposal("Put", "k", "offline")
    assert proposal.digest == hashlib.sha256(proposal.raw).digest()
    signed = gateway.new_signed_proposal(proposal.encode(), in_the_vault(proposal.digest))
    endorsed = face.call(gateway.endorse, signed)
    assert endorsed.result == b"put k"
    transaction = gateway.new_signed_transaction(endorsed.encode(), in_the_vault(endorsed.digest))
    request = face.call(gateway.submit, transaction)
    question = gateway.new_signed_commit(request.encode(), in_the_vault(request.digest))
    status = face.call(gateway.commit_status, question)
    assert status.is_valid
    assert status.tx_id == proposal.tx_id
    assert book.values == {"k": "offline"}
    with pytest.raises(Refusal, match="elsewhere"):
        face.call(gateway.endorse, proposal)


def test_call_without_its_gateway_goes_to_the_next_one_where_nothing_can_happen_twice(
    connect: Callable[..., Any], fake: FakeGateway, member: Member, book: Book
) -> None:
    """Queries, endorsements and status questions move on; one gateway that answers is enough."""
    dead = FakeGateway(member)
    dead.stop()
    face = connect(dead, fake)
    face.call(face.contract.submit, "Put", "k", "1")
    assert face.call(face.contract.evaluate, "Get", "k") == b"1"
    assert book.values == {"k": "1"}


def test_submission_is_never_handed_to_a_second_gateway_unless_others_stand_in(
    connect: Callable[..., Any], fake: FakeGateway, member: Member, book: Book
) -> None:
    """What broke off may have been ordered: the next gateway gets only what follows."""
    with FakeGateway(member, channel=fake.channel) as second:
        fake.fail("Submit", grpc.StatusCode.UNAVAILABLE)
        face = connect(fake, second)
        with pytest.raises(SubmitError) as raised:
            face.call(face.contract.submit, "Put", "k", "1")
        assert not raised.value.outcome_definite
        assert second.calls["Submit"] == 0
        assert not book.values
        face.call(face.contract.submit, "Put", "k", "2")
        assert second.calls["Submit"] == 1


def test_waiting_for_gateways_that_are_away_ends_with_their_addresses(
    connect: Callable[..., Any], member: Member, fake: FakeGateway
) -> None:
    """None answers: unavailable, and the message says where was asked."""
    dead = FakeGateway(member)
    dead.stop()
    face = connect(dead)
    with pytest.raises(GatewayUnreachable, match=f"127.0.0.1:{dead.port}"):
        face.call(face.gateway.wait_until_ready, 0.3)
    face = connect(dead, fake)
    face.call(face.gateway.wait_until_ready, 2.0)
    face.call(face.contract.submit, "Put", "k", "1")


def test_gateway_of_another_authority_is_not_spoken_to(
    connect: Callable[..., Any], fake: FakeGateway, tmp_path: Path
) -> None:
    """TLS: a certificate that the profile's authority did not issue is refused."""
    stranger = Member(tmp_path)
    with FakeGateway(stranger) as other:
        other.member = fake.member  # its address, with the trust of the right one
        face = connect(other)
        with pytest.raises(GatewayError) as raised:
            face.call(face.contract.evaluate, "Get", "k")
    assert raised.value.code is grpc.StatusCode.UNAVAILABLE


def test_bulk_of_many_records_goes_in_parts_with_their_transient_lists(
    connect: Callable[..., Any], fake: FakeGateway, book: Book
) -> None:
    """Every record is in one part, in order, with its own transient entry."""
    records = [f"r{number}" for number in range(7)]
    face = connect(fake)
    done = face.call(
        face.contract.submit_bulk, "PutAll", records, transient={"amounts": range(7)}, most=3
    )
    done.raise_for_error()
    assert [(part.start, part.stop) for part in done.parts] == [(0, 3), (3, 6), (6, 7)]
    assert book.values == {record: str(place) for place, record in enumerate(records)}


def test_bulk_that_is_too_large_is_halved_where_the_caller_allows_repeats(
    connect: Callable[..., Any], fake: FakeGateway, book: Book
) -> None:
    """A node that takes three records gets ten in small transactions."""
    records = [f"r{number}" for number in range(10)]
    face = connect(fake)
    amounts = {"amounts": [0] * 10}
    done = face.call(face.contract.submit_bulk, "PutAll", records, transient=amounts, retry=QUICK)
    done.raise_for_error()
    assert [part.start for part in done.parts] == sorted(part.start for part in done.parts)
    assert done.parts[-1].stop == 10
    assert set(book.values) == set(records)
    once = face.call(face.contract.submit_bulk, "PutAll", records, transient=amounts)
    assert len(once.parts) == 1
    with pytest.raises(EndorseError, match="send fewer"):
        once.raise_for_error()


def test_bulk_that_keeps_meeting_conflicts_is_halved(
    connect: Callable[..., Any], fake: FakeGateway, book: Book
) -> None:
    """After some conflicts the halves go on alone."""
    fake.commit_as(*[MVCC] * QUICK.halve_after)
    face = connect(fake)
    done = face.call(
        face.contract.submit_bulk,
        "PutAll",
        ["a", "b", "c"],
        transient={"amounts": [1, 2, 3]},
        retry=QUICK,
    )
    done.raise_for_error()
    assert [(part.start, part.stop) for part in done.parts] == [(0, 1), (1, 3)]
    assert book.values == {"a": "1", "b": "2", "c": "3"}


def test_bulk_that_breaks_a_rule_is_not_halved(
    connect: Callable[..., Any], fake: FakeGateway
) -> None:
    """What a half is refused for too costs one call, not a thousand."""
    face = connect(fake)
    done = face.call(
        face.contract.submit_bulk,
        "PutAll",
        ["a", "bad"],
        transient={"amounts": [1, 2]},
        retry=QUICK,
    )
    with pytest.raises(EndorseError, match="breaks a rule"):
        done.raise_for_error()
    assert fake.calls["Endorse"] == 1


def test_bulk_whose_transient_list_is_shorter_is_a_mistake_of_the_caller(
    connect: Callable[..., Any], fake: FakeGateway
) -> None:
    """Records and transient entries are parallel, or nothing is sent."""
    face = connect(fake)
    with pytest.raises(ValueError, match="parallel"):
        face.call(face.contract.submit_bulk, "PutAll", ["a"], transient={"amounts": []})
    assert not fake.calls


def test_events_from_a_checkpoint_begin_behind_the_last_one_handled(
    connect: Callable[..., Any], fake: FakeGateway, tmp_path: Path
) -> None:
    """A listener that starts again misses nothing and sees nothing twice."""
    face = connect(fake)
    network = face.gateway.network(CHANNEL)
    ids = [
        face.call(face.contract.submit, "Put", f"k{number}", "1").status.tx_id
        for number in range(3)
    ]
    fake.commit_as(MVCC)
    with pytest.raises(CommitError):
        face.call(face.contract.submit, "Put", "lost", "1")
    first = face.take(network.chaincode_events("book", start_block=0), 2)
    assert [event.tx_id for event in first] == ids[:2]
    assert (first[0].name, first[0].payload, first[0].block_num) == ("Put", b"put k0", 1)
    path = tmp_path / "checkpoint.json"
    FileCheckpointer(path).checkpoint(first[-1].block_num, first[-1].tx_id)
    reopened = FileCheckpointer(path)
    last = face.call(face.contract.submit, "Put", "k9", "1").status.tx_id
    rest = face.take(network.chaincode_events("book", checkpoint=reopened), 2)
    assert [event.tx_id for event in rest] == [ids[2], last]


def test_events_that_break_off_say_so_and_go_on_at_another_gateway(
    connect: Callable[..., Any], fake: FakeGateway, member: Member
) -> None:
    """The stream ends with an error of its own; a new one finds the next gateway."""
    with FakeGateway(member, channel=fake.channel) as second:
        face = connect(fake, second)
        face.call(face.contract.submit, "Put", "k", "1")
        face.call(face.contract.submit, "Put", "l", "1")
        fake.fail("EventStream", grpc.StatusCode.UNAVAILABLE)
        network = face.gateway.network(CHANNEL)
        place = InMemoryCheckpointer()
        with pytest.raises(EventsError):
            face.take(network.chaincode_events("book", start_block=1), 2)
        place.checkpoint(2, "")
        (event,) = face.take(network.chaincode_events("book", checkpoint=place), 1)
        assert event.payload == b"put l"
        assert second.calls["ChaincodeEvents"] == 1


def test_blocks_between_two_numbers_arrive_whole_and_filtered(
    connect: Callable[..., Any], fake: FakeGateway
) -> None:
    """A range of blocks ends by itself; without an end it waits for the next one."""
    face = connect(fake)
    network = face.gateway.network(CHANNEL)
    fake.commit_as(TxValidationCode.VALID, MVCC)
    ids = [face.call(face.contract.submit, "Put", "k", "1", retry=QUICK).status.tx_id]
    ids.append(face.call(face.contract.submit, "Put", "l", "1", retry=QUICK).status.tx_id)
    blocks = face.take(network.block_events(start_block=1, stop_block=3), 3)
    assert [int(block.header.number) for block in blocks] == [1, 2, 3]
    assert [block.metadata.metadata[2] for block in blocks] == [b"\x00", b"\x0b", b"\x00"]
    filtered = face.take(network.filtered_block_events(start_block=3), 1)
    (entry,) = filtered[0].filtered_transactions
    assert entry.txid == ids[1]


def test_proposal_carries_the_time_of_the_callers_clock(
    connect: Callable[..., Any], fake: FakeGateway
) -> None:
    """In a rehearsal the operator sets the time: the proposal says that one."""
    noon = datetime(2026, 5, 5, 7, 0, tzinfo=UTC)
    face = connect(fake, clock=lambda: noon)
    face.call(face.contract.evaluate, "Echo")
    assert fake.timestamps[-1] == noon.replace(tzinfo=None)


def test_call_that_outlasts_its_deadline_is_given_up(
    connect: Callable[..., Any], fake: FakeGateway
) -> None:
    """Every wait has its deadline; after Submit the outcome is open."""
    gate = fake.hold("CommitStatus")
    face = connect(fake, timeouts=Timeouts(5, 5, 5, 0.2))
    with pytest.raises(CommitStatusError) as raised:
        face.call(face.contract.submit, "Put", "k", "1")
    gate.set()
    assert raised.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert not raised.value.outcome_definite
