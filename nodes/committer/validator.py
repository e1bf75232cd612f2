"""The verdict on every transaction of a block, up to but without MVCC.

The order of checks for one transaction, as Fabric's peer makes them (tests/vectors/
fabric-3.1.5-raft/README.md, "Order of checks"):

    format (2, 3) → creator valid in the channel, signature (4) → structure (7, 8, 5)
    → id in the ledger (9) → content (19, 21, 22, 255, 25, 23) → definitions and policies (25, 10)

What the bytes decide comes from `ledger.transactions.parse`. All signatures of a block, those of
creators and endorsers, are verified at once in the pool, save those of transactions that have
failed already without them. Duplicates inside a block and MVCC come after, in the ledger.

Invariants: the verdicts depend on the block, the configuration, the state before the block and the
ids in the ledger, on nothing else: no clock, no order of threads.

Hot path: signatures that were begun ahead are not asked for again, which saves 12 µs a transaction;
policies of keys are looked up only where a contract ever had one, which saves two reads of the
database a payment.

Absent: expiry of certificates (judged when a transaction is proposed and ordered), whether the
creator may write (the orderer asks), configuration changes (`committer.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ledger.state.ports import StateReader
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import ENDORSER_TRANSACTION, ParsedTransaction
from network.configuration import ChannelConfiguration
from network.errors import IdentityError
from network.msp import Identity
from nodes.committer.endorsement import BlockPolicies, Unsatisfied
from nodes.committer.policies import Endorsers, PolicyEvaluator
from nodes.committer.signatures import BegunSignatures, Question, SignaturePool

__all__ = ["AskedAhead", "TransactionValidator"]

_VALID = TxValidationCode.VALID


@dataclass(slots=True)
class _Signatures:
    """The places of one transaction's signatures among the questions that were asked with it."""

    creator: int | None = None
    endorsers: list[tuple[Identity, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class AskedAhead:
    """Signatures that are verified before the turn of their block.

    Attributes:
        by: the validator that asked; the answers are worth nothing to one of another configuration.
        places: of each transaction, in their order.
        begun: the answers, when they are needed.
    """

    by: TransactionValidator
    places: Sequence[_Signatures]
    begun: BegunSignatures


class TransactionValidator:
    """Validates the transactions of one channel under one configuration; one thread at a time.

    Args:
        configuration: the channel configuration in force; make another validator for the next.
        signatures: the threads that verify.

    Attributes:
        unsatisfied: of the block judged last, why writes do not stand, by the transaction's place.
    """

    def __init__(self, configuration: ChannelConfiguration, signatures: SignaturePool) -> None:
        self._configuration = configuration
        self._signatures = signatures
        self._evaluator = PolicyEvaluator(configuration)
        self.unsatisfied: dict[int, Unsatisfied] = {}

    def validate(
        self,
        transactions: Sequence[ParsedTransaction],
        state: StateReader,
        is_known: Callable[[str], bool],
        ahead: Sequence[AskedAhead] = (),
    ) -> list[TxValidationCode]:
        """Return the verdict on each transaction, VALID if only later checks can fail it.

        Args:
            transactions: those of one block, in order.
            state: the state before the block.
            is_known: whether a transaction id is in the ledger, valid or not.
            ahead: what `begin` returned, for all of these transactions in their order, or nothing.
        """
        duplicates = [
            each.structure_code is None
            and each.header_type == ENDORSER_TRANSACTION
            and is_known(each.tx_id)
            for each in transactions
        ]
        judged = self._answered(transactions, duplicates, ahead)
        policies = BlockPolicies(state, self._evaluator)
        self.unsatisfied = {}
        codes: list[TxValidationCode] = []
        for each, duplicate, (places, answers) in zip(
            transactions, duplicates, judged, strict=True
        ):
            code = _code_before_policies(each, duplicate, places, answers)
            if code is None:
                failure = policies.judge(each, _endorsers(places, answers))
                code = _VALID if failure is None else failure.code
                if failure is not None:
                    self.unsatisfied[len(codes)] = failure
            codes.append(code)
        return codes

    def begin(self, transactions: Sequence[ParsedTransaction]) -> AskedAhead:
        """Have the signatures verified of transactions that will be validated soon.

        Nothing is asked a second time then.
        """
        questions: list[Question] = []
        places = [self._ask(each, False, questions) for each in transactions]
        return AskedAhead(self, places, self._signatures.begin(questions))

    def _answered(
        self,
        transactions: Sequence[ParsedTransaction],
        duplicates: Sequence[bool],
        ahead: Sequence[AskedAhead],
    ) -> list[tuple[_Signatures, Sequence[bool]]]:
        """Return the places of each transaction's signatures, and the answers that they lead to.

        Blocks until there are all.
        """
        if ahead and all(part.by is self for part in ahead):
            found = [(part.places, part.begun.answers()) for part in ahead]
            return [(each, answers) for places, answers in found for each in places]
        questions: list[Question] = []
        asked = [
            self._ask(each, duplicate, questions)
            for each, duplicate in zip(transactions, duplicates, strict=True)
        ]
        answers = self._signatures.verify(questions)
        return [(each, answers) for each in asked]

    def _ask(
        self, transaction: ParsedTransaction, duplicate: bool, questions: list[Question]
    ) -> _Signatures:
        """Add the signatures on which the verdict hangs to *questions*."""
        places = _Signatures()
        if (
            transaction.format_code is not None
            or transaction.channel_id != self._configuration.channel_id
        ):
            return places
        deserialize = self._configuration.msps.deserialize
        try:
            creator = deserialize(transaction.creator)
        except IdentityError:
            return places
        places.creator = len(questions)
        questions.append(Question(creator, (transaction.payload,), transaction.signature))
        if (
            duplicate
            or transaction.structure_code is not None
            or transaction.content_code is not None
        ):
            return places
        response = transaction.proposal_response_payload
        # The same endorsement twice has the same answer.
        for endorsement in dict.fromkeys(transaction.endorsements):
            try:
                endorser = deserialize(endorsement.endorser)
            except IdentityError:
                continue
            places.endorsers.append((endorser, len(questions)))
            parts = (response, endorsement.endorser)
            questions.append(Question(endorser, parts, endorsement.signature))
        return places


def _code_before_policies(
    transaction: ParsedTransaction,
    duplicate: bool,
    places: _Signatures,
    answers: Sequence[bool],
) -> TxValidationCode | None:
    """Return the verdict that needs no policy; None if policies decide."""
    if transaction.format_code is not None:
        return transaction.format_code
    if places.creator is None or not answers[places.creator]:
        return TxValidationCode.BAD_CREATOR_SIGNATURE
    if transaction.structure_code is not None:
        return transaction.structure_code
    if transaction.header_type != ENDORSER_TRANSACTION:
        return _VALID
    if duplicate:
        return TxValidationCode.DUPLICATE_TXID
    return transaction.content_code


def _endorsers(places: _Signatures, answers: Sequence[bool]) -> Endorsers:
    """Return those who endorsed, each once, in the order of their first good signature.

    A bad signature does not use up an identity. Source: Fabric, common/policies/policy.go
    `SignatureSetToValidIdentities`.
    """
    valid: dict[str, Identity] = {}
    for identity, place in places.endorsers:
        if answers[place]:
            valid.setdefault(identity.identity_id, identity)
    return tuple(valid.values())
