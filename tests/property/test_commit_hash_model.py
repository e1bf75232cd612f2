"""The commit hash against protobuf itself: the updates as a message, marshalled by the library."""

from __future__ import annotations

import hashlib

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from ledger.state.version import Version
from ledger.transactions.codes import TxValidationCode
from ledger.validation.commit_hash import compute_commit_hash
from ledger.validation.updates import Update, UpdateEntry

_FIELD = descriptor_pb2.FieldDescriptorProto


def _messages() -> tuple[type, type]:
    """Make the two messages of the format from their definition."""
    file = descriptor_pb2.FileDescriptorProto(
        name="updates_of_the_test.proto", package="updates_of_the_test", syntax="proto3"
    )
    write = file.message_type.add(name="KVWrite")
    kinds = (
        ("namespace", _FIELD.TYPE_STRING),
        ("collection", _FIELD.TYPE_STRING),
        ("key", _FIELD.TYPE_BYTES),
        ("isDelete", _FIELD.TYPE_BOOL),
        ("value", _FIELD.TYPE_BYTES),
        ("version_bytes", _FIELD.TYPE_BYTES),
    )
    for number, (name, kind) in enumerate(kinds, start=1):
        write.field.add(name=name, number=number, type=kind, label=_FIELD.LABEL_OPTIONAL)
    file.message_type.add(name="Updates").field.add(
        name="kvwrites",
        number=1,
        type=_FIELD.TYPE_MESSAGE,
        type_name=".updates_of_the_test.KVWrite",
        label=_FIELD.LABEL_REPEATED,
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return (
        message_factory.GetMessageClass(pool.FindMessageTypeByName("updates_of_the_test.KVWrite")),
        message_factory.GetMessageClass(pool.FindMessageTypeByName("updates_of_the_test.Updates")),
    )


KV_WRITE, UPDATES = _messages()


def _number(number: int) -> bytes:
    digits: list[int] = []
    while number:
        number, digit = divmod(number, 256)
        digits.insert(0, digit)
    return bytes([len(digits), *digits])


_names = st.sampled_from(("", "a", "bank", "shop", "é" * 70))
_values = st.one_of(st.none(), st.binary(min_size=1, max_size=5), st.just(b"x" * 5000))
_versions = st.builds(Version, st.integers(0, 2**40), st.integers(0, 2**20))
_updates = st.builds(Update, st.binary(max_size=40), _values, _versions, st.binary(max_size=3))
_entries = st.lists(st.tuples(_names, _names, _updates), max_size=12).map(
    lambda entries: [UpdateEntry(*each) for each in sorted(entries, key=lambda each: each[:2])]
)


@given(
    st.lists(st.sampled_from(TxValidationCode), max_size=200),
    _entries,
    st.one_of(st.just(b""), st.binary(min_size=32, max_size=32)),
)
def test_commit_hash_is_over_the_marshalled_message(
    codes: list[TxValidationCode], entries: list[UpdateEntry], previous: bytes
) -> None:
    """The hand-made encoding is the library's, whatever names, keys, values and versions."""
    message = UPDATES()
    namespace = collection = ""
    for name, part, update in entries:
        if not name:
            continue
        write = message.kvwrites.add(key=update.key, isDelete=update.value is None)
        if name != namespace:
            write.namespace = namespace = name
            collection = ""
        if part != collection:
            write.collection = collection = part
        write.value = update.value or b""
        write.version_bytes = _number(update.version[0]) + _number(update.version[1])
    count = len(codes)
    varint = bytes([count]) if count < 128 else bytes([count & 127 | 128, count >> 7])
    expected = hashlib.sha256(varint + bytes(codes) + message.SerializeToString() + previous)
    assert compute_commit_hash(codes, entries, previous) == expected.digest()
