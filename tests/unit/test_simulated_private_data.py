"""What a contract may do with private collections, and what of it is recorded where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from typing import Any

import pytest

from chaincode.contract import AccessRefused, Context, Creator, PrivateDataMissing, Response
from chaincode.simulator import Invocation, Limits, SimulationResult, Simulator
from ledger.state.composite import create_composite_key
from ledger.state.ports import VersionedValue
from ledger.state.version import Version
from ledger.transactions.private import decode_private_rwset, decode_tx_private, matches
from ledger.transactions.rwset import (
    CollectionRWSet,
    HashedMetadataWrite,
    HashedRead,
    HashedWrite,
    decode_tx_rwset,
    encode_metadata,
)
from tests.support.consortium import NOW
from tests.support.memory_state import MemoryState
from tests.support.operations import Registry
from tests.support.toy_package import define

KEYS = ("a", "b", "c")
Does = Callable[[Context], Any]


class Told:
    """A contract that does what the test says; `Look` may not write."""

    name = "told"
    version = "1"
    is_system = False
    init_required = False

    def __init__(self, does: Does) -> None:
        self._does = does
        self.answer: Any = None

    def reads_only(self, args: Sequence[bytes]) -> bool:
        return args[0] == b"Look"

    def invoke(self, ctx: Context, args: Sequence[bytes]) -> Response:
        self.answer = self._does(ctx)
        return Response(200)


class Access:
    """Access as told, which counts how often it was asked."""

    def __init__(self, *, exists: bool = True, read: bool = True, write: bool = True) -> None:
        self._answers = {"exists": exists, "read": read, "write": write}
        self.asked: list[str] = []

    def exists(self, namespace: str, collection: str) -> bool:
        return self._answer("exists")

    def may_read(self, namespace: str, collection: str) -> bool:
        return self._answer("read")

    def may_write(self, namespace: str, collection: str) -> bool:
        return self._answer("write")

    def _answer(self, what: str) -> bool:
        self.asked.append(what)
        return self._answers[what]


@pytest.fixture
def state() -> MemoryState:
    """The contract told with collection terms: a, b, c, and a family of composite keys."""
    state = MemoryState()
    for name in ("told", "others"):
        define(state, name, "1")
    for number, key in enumerate(KEYS):
        state.put_private("told", "terms", key, b"v" + key.encode(), Version(3, number))
    for part in ("x", "y"):
        key = create_composite_key("pair", [part])
        state.put_private("told", "terms", key, part.encode(), Version(4, 0))
    return state


def run(
    state: MemoryState, does: Does, function: str = "Run", **options: Any
) -> tuple[SimulationResult, Any]:
    """Simulate a call and return the result and what the contract got."""
    contract = Told(does)
    limits = options.pop("limits", None)
    invocation = Invocation(
        "qist", "ab" * 32, "told", (function.encode(),), Creator("BankMSP"), NOW, **options
    )
    result = Simulator(Registry(contract), limits).simulate(state, invocation)
    return result, contract.answer


def collection(result: SimulationResult, name: str = "terms") -> CollectionRWSet:
    """Return what a simulation recorded of one collection."""
    assert result.status == 200, result.message
    (found,) = [
        each
        for namespace in decode_tx_rwset(result.rwset).namespaces
        for each in namespace.collections
        if each.collection == name
    ]
    return found


def put(key: str, ctx: Context) -> None:
    """Write one private key."""
    ctx.stub.put_private_data("terms", key, b"v")


def hashed(text: str) -> bytes:
    return sha256(text.encode()).digest()


def test_plain_read_is_recorded_by_hash_and_version(state: MemoryState) -> None:
    """The value comes from the plain state, the record has the key's hash alone."""
    result, answer = run(state, lambda ctx: ctx.stub.get_private_data("terms", "b"))
    assert answer == b"vb"
    assert collection(result).hashed_reads == (HashedRead(hashed("b"), Version(3, 1)),)
    assert result.collections == (("told", "terms"),)
    assert result.private_reads == {("told", "terms")}
    assert (result.private, result.writes) == (b"", False)


def test_absent_key_is_read_as_absent(state: MemoryState) -> None:
    """So is its hash; both are recorded without a version."""
    for read in (
        lambda ctx: ctx.stub.get_private_data("terms", "none"),
        lambda ctx: ctx.stub.get_private_data_hash("terms", "none"),
    ):
        result, answer = run(state, read)
        assert answer is None
        assert collection(result).hashed_reads == (HashedRead(hashed("none"), None),)


def test_many_keys_are_read_like_one_by_one(state: MemoryState) -> None:
    """In the order asked, absent ones as None."""
    keys = ["c", "none", "a"]
    many, answer = run(state, lambda ctx: ctx.stub.get_private_data_many("terms", keys))
    single, _ = run(state, lambda ctx: [ctx.stub.get_private_data("terms", key) for key in keys])
    assert answer == [b"vc", None, b"va"]
    assert many.rwset == single.rwset


def test_hash_is_read_without_plain_data(state: MemoryState) -> None:
    """Every node can give it, so nobody is asked to hold the value."""
    entry = VersionedValue(sha256(b"secret").digest(), Version(5, 0))
    state.put_hashed("told", "terms", hashed("far"), entry)
    result, answer = run(state, lambda ctx: ctx.stub.get_private_data_hash("terms", "far"))
    assert answer == sha256(b"secret").digest()
    assert result.private_reads == frozenset()
    assert result.collections == (("told", "terms"),)
    assert collection(result).hashed_reads == (HashedRead(hashed("far"), Version(5, 0)),)


@pytest.mark.parametrize("many", [False, True])
def test_value_that_this_node_lacks_is_not_available(state: MemoryState, many: bool) -> None:
    """Fabric's words with both versions; 500, since another node may have it."""
    entry = VersionedValue(sha256(b"secret").digest(), Version(5, 2))
    state.put_hashed("told", "terms", hashed("far"), entry)
    result, _ = run(
        state,
        lambda ctx: (
            ctx.stub.get_private_data_many("terms", ["a", "far"])
            if many
            else ctx.stub.get_private_data("terms", "far")
        ),
    )
    assert result.status == 500
    assert (
        "private data matching public hash version is not available. Public hash version = "
        "{BlockNum: 5, TxNum: 2}, Private data version = <nil>" in result.message
    )
    assert (result.rwset, result.private) == (b"", b"")


def test_value_that_is_behind_its_hash_is_not_available(state: MemoryState) -> None:
    """A contract may catch it; what it read then is not recorded."""
    entry = VersionedValue(sha256(b"newer").digest(), Version(9, 0))
    state.put_hashed("told", "terms", hashed("a"), entry)

    def read(ctx: Context) -> str:
        with pytest.raises(PrivateDataMissing, match=r"\{BlockNum: 9, TxNum: 0\}"):
            ctx.stub.get_private_data("terms", "a")
        return "caught"

    result, answer = run(state, read)
    assert answer == "caught"
    assert result.status == 200


def test_writes_stand_in_plain_apart_and_by_hash_in_the_set(state: MemoryState) -> None:
    """Values, deletes, purges and policies, sorted by the key in plain; the last write wins."""

    def write(ctx: Context) -> None:
        stub = ctx.stub
        stub.put_private_data("terms", "z", b"1")
        stub.put_private_data("terms", "z", b"2")
        stub.del_private_data("terms", "a")
        stub.purge_private_data("terms", "b")
        stub.put_private_data("terms", "m", b"")
        stub.set_private_data_validation_parameter("terms", "c", b"policy")
        stub.set_private_data_validation_parameter("terms", "d", None)

    result, _ = run(state, write)
    found = collection(result)
    assert found.hashed_writes == (
        HashedWrite(hashed("a"), True, b"", False),
        HashedWrite(hashed("b"), True, b"", True),
        HashedWrite(hashed("m"), True, b"", False),
        HashedWrite(hashed("z"), False, sha256(b"2").digest(), False),
    )
    assert found.metadata_writes == (
        HashedMetadataWrite(hashed("c"), (("VALIDATION_PARAMETER", b"policy"),)),
        HashedMetadataWrite(hashed("d"), (("VALIDATION_PARAMETER", b""),)),
    )
    (plain,) = decode_tx_private(result.private)
    assert (plain.namespace, plain.collection) == ("told", "terms")
    assert matches(plain, found)
    content = decode_private_rwset(plain.rwset)
    assert [(each.key, each.is_delete, each.value) for each in content.writes] == [
        ("a", True, b""),
        ("b", True, b""),
        ("m", True, b""),
        ("z", False, b"2"),
    ]
    assert content.metadata_keys == ("c", "d")
    assert (result.writes, result.namespaces) == (True, ("told",))
    assert result.private_reads == frozenset()
    assert b"policy" not in result.private


def test_collections_are_sorted_whatever_the_order_of_the_calls(state: MemoryState) -> None:
    """Public and private set name them in the same order."""

    def write(ctx: Context) -> None:
        for name in ("terms", "kyc", "_implicit_org_BankMSP"):
            ctx.stub.put_private_data(name, "k", name.encode())

    result, _ = run(state, write)
    order = ["_implicit_org_BankMSP", "kyc", "terms"]
    namespaces = decode_tx_rwset(result.rwset).namespaces
    assert [each.collection for each in namespaces[-1].collections] == order
    assert [each.collection for each in decode_tx_private(result.private)] == order
    assert result.collections == tuple(("told", name) for name in order)


def test_definition_of_the_collection_is_read_with_it(state: MemoryState) -> None:
    """A new definition makes a transaction over private data invalid, as in Fabric."""
    result, _ = run(state, lambda ctx: ctx.stub.put_private_data("terms", "k", b"v"))
    lifecycle = decode_tx_rwset(result.rwset).namespaces[0]
    assert lifecycle.namespace == "_lifecycle"
    assert [read.key for read in lifecycle.reads] == [
        "namespaces/fields/told/Collections",
        "namespaces/fields/told/EndorsementInfo",
        "namespaces/fields/told/Sequence",
        "namespaces/fields/told/ValidationInfo",
        "namespaces/metadata/told",
    ]


def test_policy_of_a_private_key_is_read_from_the_hashed_state(state: MemoryState) -> None:
    """It is recorded as a hashed read and asks for no plain data."""
    metadata = encode_metadata([("VALIDATION_PARAMETER", b"policy")])
    entry = VersionedValue(sha256(b"v").digest(), Version(6, 0), metadata)
    state.put_hashed("told", "terms", hashed("far"), entry)
    result, answer = run(
        state, lambda ctx: ctx.stub.get_private_data_validation_parameter("terms", "far")
    )
    assert answer == b"policy"
    assert result.private_reads == frozenset()
    assert collection(result).hashed_reads == (HashedRead(hashed("far"), Version(6, 0)),)
    _, none = run(state, lambda ctx: ctx.stub.get_private_data_validation_parameter("terms", "a"))
    assert none is None


def test_ranges_give_what_this_node_holds_and_record_nothing(state: MemoryState) -> None:
    """Simple keys and composite ones apart, in order."""

    def read(ctx: Context) -> Any:
        stub = ctx.stub
        return (
            list(stub.get_private_data_by_range("terms", "", "")),
            list(stub.get_private_data_by_range("terms", "b", "c")),
            list(stub.get_private_data_by_partial_composite_key("terms", "pair", [])),
            list(stub.get_private_data_by_partial_composite_key("terms", "pair", ["y"])),
        )

    result, answer = run(state, read)
    pairs = [(create_composite_key("pair", [part]), part.encode()) for part in ("x", "y")]
    assert answer == ([(k, b"v" + k.encode()) for k in KEYS], [("b", b"vb")], pairs, pairs[1:])
    namespaces = decode_tx_rwset(result.rwset).namespaces
    assert [each.namespace for each in namespaces] == ["_lifecycle"]
    assert result.collections == (("told", "terms"),)
    assert result.private_reads == {("told", "terms")}


def test_range_after_a_write_and_write_after_a_range_are_refused(state: MemoryState) -> None:
    """What no set protects must decide nothing: Fabric's rule."""

    def after(ctx: Context) -> None:
        ctx.stub.put_state("k", b"v")
        list(ctx.stub.get_private_data_by_range("terms", "", ""))

    def before(ctx: Context) -> None:
        list(ctx.stub.get_private_data_by_range("terms", "", ""))
        ctx.stub.put_private_data("terms", "k", b"v")

    late, _ = run(state, after)
    assert "queries on private data are supported only in a read-only transaction" in late.message
    early, _ = run(state, before)
    assert "already performed queries on private data; writes are not allowed" in early.message


@pytest.mark.parametrize(
    ("access", "call", "words"),
    [
        (
            {"read": False},
            lambda ctx: ctx.stub.get_private_data("terms", "a"),
            "tx creator does not have read access permission on privatedata in chaincodeName:told "
            "collectionName: terms",
        ),
        (
            {"read": False},
            lambda ctx: ctx.stub.get_private_data_many("terms", ["a"]),
            "does not have read access",
        ),
        (
            {"read": False},
            lambda ctx: list(ctx.stub.get_private_data_by_range("terms", "", "")),
            "does not have read access",
        ),
        (
            {"read": False},
            lambda ctx: ctx.stub.get_private_data_validation_parameter("terms", "a"),
            "does not have read access",
        ),
        (
            {"write": False},
            lambda ctx: ctx.stub.put_private_data("terms", "a", b"v"),
            "tx creator does not have write access permission on privatedata in chaincodeName:told "
            "collectionName: terms",
        ),
        (
            {"write": False},
            lambda ctx: ctx.stub.purge_private_data("terms", "a"),
            "does not have write access",
        ),
        (
            {"exists": False},
            lambda ctx: ctx.stub.get_private_data_hash("terms", "a"),
            "collection qist/told/terms could not be found",
        ),
        (
            {"exists": False},
            lambda ctx: ctx.stub.del_private_data("terms", "a"),
            "collection qist/told/terms could not be found",
        ),
    ],
)
def test_creator_without_access_is_refused(
    state: MemoryState, access: dict[str, bool], call: Does, words: str
) -> None:
    """In Fabric's words, definitely; nothing is recorded."""
    result, _ = run(state, call, access=Access(**access))
    assert result.status == 400
    assert words in result.message
    assert (result.rwset, result.collections) == (b"", ())


def test_hash_may_be_read_without_read_access(state: MemoryState) -> None:
    """It stands in every block anyway."""
    result, answer = run(
        state,
        lambda ctx: ctx.stub.get_private_data_hash("terms", "a"),
        access=Access(read=False, write=False),
    )
    assert (result.status, answer) == (200, sha256(b"va").digest())


def test_access_is_asked_once_for_a_collection(state: MemoryState) -> None:
    """However many keys a bulk touches."""
    access = Access()

    def many(ctx: Context) -> None:
        for number in range(50):
            ctx.stub.put_private_data("terms", f"k{number}", b"v")
            ctx.stub.get_private_data("terms", f"k{number}")

    run(state, many, access=access)
    assert access.asked == ["exists", "read", "write"]


def test_refusal_that_is_caught_leaves_no_collection(state: MemoryState) -> None:
    """A collection that was only refused was not touched."""

    def attempt(ctx: Context) -> None:
        with pytest.raises(AccessRefused):
            ctx.stub.get_private_data("terms", "a")

    result, _ = run(state, attempt, access=Access(read=False))
    assert result.status == 200
    assert (result.collections, result.private_reads) == ((), frozenset())


def test_query_does_not_write_private_data(state: MemoryState) -> None:
    """Nor purge, nor set a policy."""
    calls: list[Does] = [
        lambda ctx: ctx.stub.put_private_data("terms", "a", b"v"),
        lambda ctx: ctx.stub.del_private_data("terms", "a"),
        lambda ctx: ctx.stub.purge_private_data("terms", "a"),
        lambda ctx: ctx.stub.set_private_data_validation_parameter("terms", "a", b"p"),
    ]
    for call in calls:
        result, _ = run(state, call, function="Look")
        assert result.status == 400
        assert "a query: must not write" in result.message


def test_keys_and_limits_of_private_data_are_those_of_public(state: MemoryState) -> None:
    """Empty keys, long keys, half characters, counts of reads and writes."""
    for key in ("", "k" * 5000, "\ud800"):
        result, _ = run(state, partial(put, key))
        assert result.status == 400
    few = Limits(reads=3, writes=2)
    reads, _ = run(
        state, lambda ctx: ctx.stub.get_private_data_many("terms", [*KEYS, "d"]), limits=few
    )
    assert reads.status == 413

    def write(ctx: Context) -> None:
        for key in KEYS:
            ctx.stub.put_private_data("terms", key, b"v")

    writes, _ = run(state, write, limits=few)
    assert writes.status == 413
    wrong, _ = run(state, lambda ctx: ctx.stub.put_private_data("terms", "a", "text"))  # type: ignore[arg-type]
    assert wrong.status == 500


def test_transaction_without_private_data_has_nothing_of_it(state: MemoryState) -> None:
    """No collection, no private set, and only the sequence of its definition is read."""
    result, _ = run(state, lambda ctx: ctx.stub.put_state("k", b"v"))
    assert (result.private, result.collections, result.private_reads) == (b"", (), frozenset())
    lifecycle, _own = decode_tx_rwset(result.rwset).namespaces
    assert [read.key for read in lifecycle.reads] == ["namespaces/fields/told/Sequence"]


def test_other_contracts_collection_is_read_under_its_name(state: MemoryState) -> None:
    """As Fabric records those of InvokeChaincode."""
    state.put_private("others", "theirs", "k", b"v", Version(7, 0))
    result, answer = run(
        state, lambda ctx: ctx.stub.reading("others").get_private_data("theirs", "k")
    )
    assert answer == b"v"
    assert result.collections == (("others", "theirs"),)
    assert result.namespaces == ()


def test_what_is_asked_only_is_answered_alike_without_sets(state: MemoryState) -> None:
    """Nobody endorses it, so nothing is made of what it read."""

    def ask(ctx: Context) -> object:
        return ctx.stub.get_private_data("terms", "b")

    usual, expected = run(state, ask)
    result, answer = run(state, ask, is_asked_only=True)
    assert (answer, result.status) == (expected, 200)
    assert result.payload == usual.payload
    assert decode_tx_rwset(usual.rwset).namespaces
    assert not decode_tx_rwset(result.rwset).namespaces
