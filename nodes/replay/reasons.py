"""Which check decided a verdict, and what it looked at.

Asked only where ours and the peer's part, so everything is judged once more: the transactions of
the block by a validator of their own, which remembers which policy failed, and the reads of one
transaction one by one.

Invariants: nothing is written; what is named is a key, a version, a policy or a member, never a
value.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, zip_longest

from fabric_protos.common import policies_pb2
from fabric_protos.peer import policy_pb2
from google.protobuf.message import DecodeError

from chaincode.system.definitions import load_definition
from ledger.channel import ChannelLedger, PreparedBlock
from ledger.state.ports import VALIDATION_PARAMETER
from ledger.state.snapshot import LedgerSnapshot
from ledger.state.version import Version
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import ENDORSER_TRANSACTION, ParsedTransaction
from ledger.transactions.rwset import NamespaceRWSet, RangeQuery, TxRWSet
from ledger.validation.ranges import is_range_unchanged
from ledger.validation.updates import BlockUpdates
from network.configuration import ChannelConfiguration
from network.errors import ConfigurationError, PolicyError
from network.policy import SignedData, valid_identities, why_not_valid
from network.policy.signature import describe_signers
from network.policy.words import policy_in_words
from nodes.committer.endorsement import Unsatisfied
from nodes.committer.signatures import SignaturePool
from nodes.committer.validator import TransactionValidator
from nodes.replay.delivered import Outcome
from nodes.replay.difference import Difference
from nodes.replay.support import follow_update

__all__ = ["explain_hash", "explain_verdict"]

_VALID = TxValidationCode.VALID
_SHOWN = 20
_CONTENT = {
    TxValidationCode.INVALID_OTHER_REASON: "envelope, chaincode ids or event of the transaction",
    TxValidationCode.BAD_PAYLOAD: "decoding of the payload",
    TxValidationCode.BAD_COMMON_HEADER: "channel header and signature header",
    TxValidationCode.INVALID_ENDORSER_TRANSACTION: "structure of the transaction, proposal hash",
    TxValidationCode.INVALID_CONFIG_TRANSACTION: "channel configuration",
    TxValidationCode.UNSUPPORTED_TX_PAYLOAD: "type of the transaction",
    TxValidationCode.BAD_PROPOSAL_TXID: "transaction id against nonce and creator",
    TxValidationCode.BAD_HEADER_EXTENSION: "decoding of the header extension",
    TxValidationCode.BAD_RESPONSE_PAYLOAD: "decoding of the contract's action",
    TxValidationCode.BAD_RWSET: "decoding of the read-write set",
    TxValidationCode.ILLEGAL_WRITESET: "namespaces of the read-write set, each once",
    TxValidationCode.INVALID_CHAINCODE: "name and version of the called contract",
}
_CHECK = {
    **_CONTENT,
    _VALID: "every check",
    TxValidationCode.BAD_CREATOR_SIGNATURE: "creator and signature",
    TxValidationCode.DUPLICATE_TXID: "transaction id, once in the channel",
    TxValidationCode.ENDORSEMENT_POLICY_FAILURE: "endorsement policies of what is written",
    TxValidationCode.INVALID_CHAINCODE: "definition of the contract",
    TxValidationCode.MVCC_READ_CONFLICT: "versions that were read",
    TxValidationCode.PHANTOM_READ_CONFLICT: "ranges that were read",
}


def explain_verdict(
    prepared: PreparedBlock,
    outcome: Outcome,
    configuration: ChannelConfiguration,
    ledger: ChannelLedger,
    signatures: SignaturePool,
) -> Difference:
    """Return the first transaction whose code differs, with the check that decided ours.

    Args:
        prepared: the block with our codes; not committed yet.
        outcome: what the peer recorded; its codes are not ours.
        configuration: in force before the block.
        ledger: at the height before the block.
        signatures: the threads that verify.
    """
    theirs = outcome.codes or b""
    place = next(n for n, code in enumerate(prepared.codes) if code != theirs[n])
    transaction = prepared.transactions[place]
    ours, their_code = prepared.codes[place], TxValidationCode(theirs[place])
    with ledger.snapshot() as state:
        validator = TransactionValidator(configuration, signatures)
        validator.validate(prepared.transactions, state, ledger.has_transaction)
        failure = validator.unsatisfied.get(place)
        explainer = _Explainer(prepared, configuration, ledger, state)
        check, key, detail = explainer.explain(place, failure)
        if ours is _VALID:
            check = f"{_CHECK.get(their_code, 'a check')}: passed here"
            detail = [*explainer.what_was_judged(transaction, their_code), *detail]
    if prepared.commit_hash == outcome.commit_hash:
        detail.append("the recorded commit hash is that of our codes: the recorded code is damaged")
    return Difference(
        prepared.block.number,
        check,
        f"{int(ours)} {ours.name}",
        f"{int(their_code)} {their_code.name}",
        key,
        place,
        transaction.index_id,
        tuple(detail),
    )


def explain_hash(prepared: PreparedBlock, theirs: bytes) -> Difference:
    """Return the difference of two commit hashes where all codes are the same."""
    entries = list(prepared.updates.entries())
    shown = [
        f"we write {_place(entry.namespace, entry.collection, entry.update.key)} "
        f"{'(deleted) ' if entry.update.value is None else ''}"
        f"at version {_version(entry.update.version)}"
        for entry in entries[:_SHOWN]
    ]
    more = [f"and {len(entries) - _SHOWN} more"] if len(entries) > _SHOWN else []
    return Difference(
        prepared.block.number,
        "commit hash of the block: same codes, so another state, or a damaged hash",
        prepared.commit_hash.hex(),
        theirs.hex(),
        "metadata entry 4, COMMIT_HASH",
        detail=(*shown, *more) or ("the block leaves no key changed",),
    )


class _Explainer:
    """Judges the transactions of one block once more, in words."""

    def __init__(
        self,
        prepared: PreparedBlock,
        configuration: ChannelConfiguration,
        ledger: ChannelLedger,
        state: LedgerSnapshot,
    ) -> None:
        self._prepared = prepared
        self._configuration = configuration
        self._ledger = ledger
        self._state = state

    def explain(self, place: int, failure: Unsatisfied | None) -> tuple[str, str, list[str]]:
        """Return the check that decided our code, its key, and what else helps."""
        transaction, code = self._prepared.transactions[place], self._prepared.codes[place]
        if failure is not None and code is failure.code:
            return self._policy(failure, transaction)
        if code is TxValidationCode.BAD_CREATOR_SIGNATURE:
            return _CHECK[code], "the creator", [self._creator(transaction)]
        if code is TxValidationCode.DUPLICATE_TXID:
            return _CHECK[code], transaction.tx_id, [self._duplicate(place)]
        if code is TxValidationCode.INVALID_CONFIG_TRANSACTION:
            return _CHECK[code], "", [self._configuration_refused(transaction)]
        if code in (
            TxValidationCode.MVCC_READ_CONFLICT,
            TxValidationCode.PHANTOM_READ_CONFLICT,
        ):
            return self._conflict(place)
        if code is _VALID:
            return _CHECK[code], "", []
        return _CONTENT.get(code, "a check of the bytes"), "", []

    def what_was_judged(
        self, transaction: ParsedTransaction, theirs: TxValidationCode
    ) -> Iterator[str]:
        """Say what a transaction that is valid here read and wrote, and who endorsed it."""
        if transaction.header_type != ENDORSER_TRANSACTION or transaction.rwset is None:
            return
        yield f"endorsed by {self._endorsers(transaction)}"
        for each in transaction.rwset.namespaces:
            if theirs is TxValidationCode.ENDORSEMENT_POLICY_FAILURE and each.is_writing:
                yield from islice(self._written(each), _SHOWN)
            elif theirs is TxValidationCode.MVCC_READ_CONFLICT:
                yield from islice(_reads(each), _SHOWN)
            elif theirs is TxValidationCode.PHANTOM_READ_CONFLICT:
                for query in each.range_queries[:_SHOWN]:
                    yield (
                        f"current: {each.namespace}, from {query.start_key!r} to {query.end_key!r}"
                    )
            else:
                yield f"namespace {each.namespace}: everything read is current"

    def _written(self, rwset: NamespaceRWSet) -> Iterator[str]:
        """Say what was written, and by which policies it may be."""
        definition = load_definition(self._state, rwset.namespace)
        if definition is not None:
            contract = Unsatisfied(_VALID, "contract", rwset.namespace, policy=definition.policy)
            yield f"policy of contract {rwset.namespace!r}: {_policy_words(contract)}"
        for key in (*(each.key for each in rwset.writes), *(m.key for m in rwset.metadata_writes)):
            own = self._state.metadata_of(rwset.namespace, key).get(VALIDATION_PARAMETER, b"")
            words = _policy_words(Unsatisfied(_VALID, "key", "", policy=own)) if own else ""
            where = _place(rwset.namespace, "", key)
            yield f"may write {where}" + (f" by its own policy: {words}" if words else "")
        for collection in rwset.collections:
            for write in collection.hashed_writes:
                place = _place(rwset.namespace, collection.collection, write.key_hash)
                yield f"may write {place}"

    def _creator(self, transaction: ParsedTransaction) -> str:
        if transaction.channel_id != self._configuration.channel_id:
            return (
                f"it names channel {transaction.channel_id[:80]!r}, not "
                f"{self._configuration.channel_id!r}"
            )
        signed = SignedData(transaction.payload, transaction.creator, transaction.signature)
        return why_not_valid(signed, self._configuration.msps)

    def _duplicate(self, place: int) -> str:
        tx_id = self._prepared.transactions[place].tx_id
        earlier = self._ledger.transaction(tx_id)
        if earlier is not None:
            return f"block {earlier.block_num}, transaction {earlier.tx_num} has this id"
        for number, each in enumerate(self._prepared.transactions[:place]):
            if each.tx_id == tx_id:
                return f"transaction {number} of the block has this id"
        return "no earlier transaction has this id"

    def _configuration_refused(self, transaction: ParsedTransaction) -> str:
        if len(self._prepared.transactions) > 1:
            return "a configuration stands alone in its block"
        try:
            follow_update(self._configuration, transaction.config_envelope)
        except (ConfigurationError, PolicyError) as refused:
            return str(refused)
        return "it may follow the configuration in force"

    def _policy(
        self, failure: Unsatisfied, transaction: ParsedTransaction
    ) -> tuple[str, str, list[str]]:
        key = _place(failure.namespace, failure.collection, failure.key)
        match failure.level:
            case "definition":
                return (
                    f"definition of contract {failure.namespace!r}",
                    f"_lifecycle: namespaces/metadata/{failure.namespace}",
                    ["the state before the block defines no such contract"],
                )
            case "in block":
                return (
                    "policy of a key, set by an earlier transaction of the block",
                    key,
                    ["an earlier transaction of the block writes the key's metadata"],
                )
        check = {
            "key": "key-level endorsement policy",
            "collection": f"endorsement policy of collection {failure.collection!r}",
            "contract": f"endorsement policy of contract {failure.namespace!r}",
        }[failure.level]
        words = _policy_words(failure) or "there is none: the collection is not defined"
        return check, key, [f"policy: {words}", f"endorsed by {self._endorsers(transaction)}"]

    def _endorsers(self, transaction: ParsedTransaction) -> str:
        msps = self._configuration.msps
        signed = [
            SignedData(
                transaction.proposal_response_payload + each.endorser,
                each.endorser,
                each.signature,
            )
            for each in transaction.endorsements
        ]
        bad = []
        for number, each in enumerate(signed):
            if reason := why_not_valid(each, msps):
                bad.append(f"; endorsement {number} does not count: {reason}")
        return describe_signers(valid_identities(signed, msps)) + "".join(bad)

    def _conflict(self, place: int) -> tuple[str, str, list[str]]:
        updates = BlockUpdates(self._state)
        number = self._prepared.block.number
        for index, each in enumerate(self._prepared.transactions[:place]):
            if self._prepared.codes[index] is _VALID and each.rwset is not None:
                updates.apply(each.rwset, Version(number, index))
        rwset = self._prepared.transactions[place].rwset
        assert rwset is not None
        for check, key, detail in _conflicts(rwset, updates, self._state):
            return check, key, detail
        return _CHECK[self._prepared.codes[place]], "", []


def _conflicts(
    rwset: TxRWSet, updates: BlockUpdates, state: LedgerSnapshot
) -> Iterator[tuple[str, str, list[str]]]:
    """Yield what was read and is not so any more, in the order of the checks."""
    for each in rwset.namespaces:
        changed = updates.of(each.namespace)
        for key, version in each.reads:
            update = changed.public.get(key)
            entry = state.get(each.namespace, key)
            now = None if entry is None else entry.version
            if update is not None or now != version:
                where = _place(each.namespace, "", key)
                yield (
                    _CHECK[TxValidationCode.MVCC_READ_CONFLICT],
                    where,
                    _moved(version, now, None if update is None else update.version),
                )
        for query in each.range_queries:
            if not is_range_unchanged(query, each.namespace, updates, state):
                yield (
                    _CHECK[TxValidationCode.PHANTOM_READ_CONFLICT],
                    f"{each.namespace}: from {query.start_key!r} to {query.end_key!r}",
                    _phantom(query, each.namespace, updates, state),
                )
        for collection in each.collections:
            hashed = changed.hashed.get(collection.collection, {})
            for key_hash, version in collection.hashed_reads:
                update = hashed.get(key_hash)
                entry = state.get_hashed(each.namespace, collection.collection, key_hash)
                now = None if entry is None else entry.version
                if update is not None or now != version:
                    where = _place(each.namespace, collection.collection, key_hash)
                    yield (
                        _CHECK[TxValidationCode.MVCC_READ_CONFLICT],
                        where,
                        _moved(version, now, None if update is None else update.version),
                    )


def _reads(rwset: NamespaceRWSet) -> Iterator[str]:
    for key, version in rwset.reads:
        yield f"current: {_place(rwset.namespace, '', key)} at version {_version(version)}"
    for collection in rwset.collections:
        for key_hash, version in collection.hashed_reads:
            place = _place(rwset.namespace, collection.collection, key_hash)
            yield f"current: {place} at version {_version(version)}"


def _moved(read: Version | None, committed: Version | None, in_block: Version | None) -> list[str]:
    found = [f"read at version {_version(read)}", f"committed at version {_version(committed)}"]
    if in_block is not None:
        found.append(f"changed in this block by transaction {in_block.tx_num}")
    return found


def _phantom(
    query: RangeQuery, namespace: str, updates: BlockUpdates, state: LedgerSnapshot
) -> list[str]:
    changed = updates.of(namespace)
    found = [
        f"{key!r} changed in this block by transaction {changed.public[key].version.tx_num}"
        for key in changed.public_range(query.start_key, query.end_key)[:_SHOWN]
    ]
    if query.raw_reads is None:
        return [*found, "the summary of the results is another one now"]
    now = state.range_versions(namespace, query.start_key, query.end_key)
    for read, committed in zip_longest(query.raw_reads, now):
        if read != committed:
            return [
                *found,
                f"recorded: {'the end' if read is None else _read(*read)}",
                f"committed: {'the end' if committed is None else _read(*committed)}",
            ]
    return found


def _read(key: str, version: Version | None) -> str:
    return f"{key!r} at version {_version(version)}"


def _version(version: Version | None) -> str:
    return "none (absent)" if version is None else f"[{version.block_num}, {version.tx_num}]"


def _place(namespace: str, collection: str, key: str | bytes) -> str:
    shown = key.hex() if isinstance(key, bytes) and collection else key
    if isinstance(shown, bytes):
        shown = shown.decode(errors="replace")
    where = f"{namespace}, collection {collection}" if collection else namespace
    named = "key hash " if collection else "key "
    return f"{where}: {named}{shown!r}" if shown else f"{where}: no key"


def _policy_words(failure: Unsatisfied) -> str:
    """Return a policy in words, as far as it can be read."""
    signature = policies_pb2.Policy.SIGNATURE
    try:
        raw = failure.policy
        if failure.level != "key":
            application = policy_pb2.ApplicationPolicy.FromString(raw)
            if application.WhichOneof("Type") == "channel_config_policy_reference":
                return str(application.channel_config_policy_reference)
            raw = application.signature_policy.SerializeToString()
        if not raw:
            return ""
        return policy_in_words(policies_pb2.Policy(type=signature, value=raw), "the policy")
    except (DecodeError, PolicyError, ValueError):
        return f"{len(failure.policy)} bytes that are no policy"
