"""Large messages decoded in pieces, so that what is read is never many times what was sent.

A protobuf message of two bytes an element becomes objects of a hundred bytes each: a set of a
megabyte that says nothing a half million times would take a hundred. So a large set is cut at the
boundaries of its fields, each piece is decoded by itself, and equal elements become one object.
The outcome is the same as that of decoding it at once.

Repeated fields of pieces add up; of a singular field the last one counts; both as protobuf merges.
Source: protobuf's encoding, https://protobuf.dev/programming-guides/encoding/ ("last one wins").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from fabric_protos.peer import transaction_pb2
from google.protobuf.message import DecodeError as ProtobufDecodeError

from ledger.errors import DecodeError
from ledger.transactions import rwset as sets
from ledger.transactions.rwset import (
    CollectionRWSet,
    HashedMetadataWrite,
    KVRead,
    MetadataWrite,
    NamespaceRWSet,
    RangeQuery,
    TxRWSet,
)

__all__ = ["LARGE_BYTES", "decode_action", "decode_rwset"]

LARGE_BYTES = 64 * 1024
"""Up to this size a message is decoded at once; the length of a piece."""

MAX_SHARED = 65_536
_LEAST_BYTES = 16
_PLAIN = ("reads", "writes", "hashed_reads", "hashed_writes")
_VARINT, _FIXED64, _BYTES, _GROUP, _GROUP_END, _FIXED32 = range(6)
_MAX_GROUPS = 100
_MAX_VARINT_BYTES = 10

_Item = TypeVar("_Item")


def decode_rwset(raw: bytes) -> TxRWSet:
    """Read a marshalled ``rwset.TxReadWriteSet`` of any size.

    Raises:
        DecodeError: it, or a set inside it, is no protobuf of that kind.
    """
    if len(raw) <= LARGE_BYTES:
        return sets.decode_tx_rwset(raw)
    decoder = _Decoder()
    try:
        return TxRWSet(
            tuple(
                decoder.share(decoder.namespace(content))
                for number, content in _fields(raw)
                if number == 2
            )
        )
    except (ProtobufDecodeError, UnicodeDecodeError) as error:
        raise DecodeError(
            f"{len(raw)} bytes do not parse as rwset.TxReadWriteSet ({error}); "
            "simulate and endorse the transaction again"
        ) from error


def decode_action(raw: bytes) -> tuple[bytes, bytes, Iterator[tuple[bytes, bytes]]]:
    """Read a marshalled ``protos.ChaincodeActionPayload`` of any size.

    Returns:
        the proposal's payload, the response that was endorsed, and endorser and signature of each
        endorsement, which may raise as this does.
    Raises:
        google.protobuf.message.DecodeError: it is no message of that kind.
    """
    proposal, action, response = b"", bytearray(), b""
    if len(raw) <= LARGE_BYTES:
        message = transaction_pb2.ChaincodeActionPayload.FromString(raw)
        endorsed = message.action
        found = ((each.endorser, each.signature) for each in endorsed.endorsements)
        return message.chaincode_proposal_payload, endorsed.proposal_response_payload, found
    for number, content in _fields(raw):
        if number == 1:
            proposal = content
        elif number == 2:
            action += content
    whole = bytes(action)
    for number, content in _fields(whole):
        if number == 1:
            response = content
    return proposal, response, _endorsements(whole)


def _endorsements(action: bytes) -> Iterator[tuple[bytes, bytes]]:
    for piece, _ in _pieces(action, large=()):
        for each in transaction_pb2.ChaincodeEndorsedAction.FromString(piece).endorsements:
            yield each.endorser, each.signature


class _Decoder:
    """Decodes one set; equal elements become one object, as long as there is room to know them."""

    def __init__(self) -> None:
        self._seen: dict[Any, Any] = {}

    def share(self, item: _Item) -> _Item:
        if len(self._seen) < MAX_SHARED:
            known: _Item = self._seen.setdefault(item, item)
            return known
        found: _Item = self._seen.get(item, item)
        return found

    def namespace(self, raw: bytes) -> NamespaceRWSet:
        if len(raw) <= LARGE_BYTES:
            return sets.decode_namespace(rwset_pb2.NsReadWriteSet.FromString(raw))
        name, public = "", b""
        collections = []
        for number, content in _fields(raw):
            if number == 1:
                name = content.decode()
            elif number == 2:
                public = content
            elif number == 3:
                collections.append(self.share(self.collection(content)))
        lists: dict[str, list[Any]] = {
            field: [] for field in ("reads", "writes", "metadata_writes", "range_queries")
        }
        for piece, large in _pieces(public, large=(2, 4)):
            if large == 2:
                lists["range_queries"].append(self.range_query(piece))
            elif large == 4:
                key, entries = self.metadata(piece, kv_rwset_pb2.KVMetadataWrite)
                lists["metadata_writes"].append(MetadataWrite(key.decode(), entries))
            else:
                decoded = dict(zip(lists, sets.decode_public(piece), strict=True))
                self._extend(lists, decoded, len(piece))
        return NamespaceRWSet(
            name,
            **{field: tuple(found) for field, found in lists.items()},
            collections=tuple(collections),
        )

    def collection(self, raw: bytes) -> CollectionRWSet:
        if len(raw) <= LARGE_BYTES:
            message = rwset_pb2.CollectionHashedReadWriteSet.FromString(raw)
            return sets.decode_collection(message)
        parts = {1: b"", 2: b"", 3: b""}
        for number, content in _fields(raw):
            if number == 1:
                content.decode()
            if number in parts:
                parts[number] = content
        lists: dict[str, list[Any]] = {
            field: [] for field in ("hashed_reads", "hashed_writes", "metadata_writes")
        }
        for piece, large in _pieces(parts[2], large=(3,)):
            if large:
                key, entries = self.metadata(piece, kv_rwset_pb2.KVMetadataWriteHash)
                lists["metadata_writes"].append(HashedMetadataWrite(key, entries))
            else:
                self._extend(lists, sets.decode_hashed(piece), len(piece))
        return CollectionRWSet(
            parts[1].decode(),
            **{field: tuple(found) for field, found in lists.items()},
            pvt_rwset_hash=parts[3],
        )

    def _extend(
        self, lists: dict[str, list[Any]], decoded: Mapping[str, Sequence[Any]], size: int
    ) -> None:
        """Take over what a piece of *size* bytes held.

        Reads and writes of some length take no many times that, so it is not asked which are equal.
        """
        for field, found in decoded.items():
            is_plain = field in _PLAIN and len(found) * _LEAST_BYTES <= size
            lists[field].extend(found if is_plain else map(self.share, found))

    def range_query(self, raw: bytes) -> RangeQuery:
        """Decode a large RangeQueryInfo; of its two kinds of results the last one sent counts."""
        small = bytearray()
        kind, results = 0, bytearray()
        for number, content, field in _walk(raw):
            if number in (4, 5) and content is not None:
                if number != kind:
                    kind, results = number, bytearray()
                results += content
            else:
                small += field
        info = kv_rwset_pb2.RangeQueryInfo.FromString(bytes(small))
        reads: list[KVRead] = []
        merkle = None
        if kind == 4:
            for piece, _ in _pieces(bytes(results), large=()):
                found = sets.decode_reads(kv_rwset_pb2.QueryReads.FromString(piece).kv_reads)
                reads.extend(map(self.share, found))
        elif kind == 5:
            summary = kv_rwset_pb2.QueryReadsMerkleSummary.FromString(bytes(results))
            merkle = sets.decode_merkle(summary)
        return RangeQuery(
            info.start_key,
            info.end_key,
            info.itr_exhausted,
            tuple(reads) if kind == 4 else None,
            merkle,
        )

    def metadata(
        self, raw: bytes, message_type: Callable[..., Any]
    ) -> tuple[bytes, tuple[tuple[str, bytes], ...]]:
        """Decode a large write of metadata: key or key hash, and entries."""
        key = b""
        entries: list[tuple[str, bytes]] = []
        for piece, _ in _pieces(raw, large=()):
            message = message_type.FromString(piece)  # type: ignore[attr-defined]
            for number, content in _fields(piece):
                if number == 1:
                    key = content
            entries.extend(map(self.share, sets.decode_entries(message.entries)))
        return key, tuple(entries)


def _pieces(raw: bytes, large: Sequence[int]) -> Iterator[tuple[bytes, int]]:
    """Cut a message at the boundaries of its fields.

    Yields:
        pieces of about `LARGE_BYTES`, with 0; a field of one of the numbers *large* that is longer
        than that comes by itself: its content, with its number.
    """
    start = at = 0
    while at < len(raw):
        number, begin, end = _field(raw, at)
        if number in large and begin >= 0 and end - begin > LARGE_BYTES:
            if start < at:
                yield raw[start:at], 0
            yield raw[begin:end], number
            start = end
        elif end - start >= LARGE_BYTES:
            yield raw[start:end], 0
            start = end
        at = end
    if start < at:
        yield raw[start:at], 0


def _fields(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of the length-delimited fields of a message."""
    for number, content, _ in _walk(raw):
        if content is not None:
            yield number, content


def _walk(raw: bytes) -> Iterator[tuple[int, bytes | None, bytes]]:
    """Yield number, content and whole bytes of each field; the content only of a delimited one."""
    at = 0
    while at < len(raw):
        number, begin, end = _field(raw, at)
        yield number, raw[begin:end] if begin >= 0 else None, raw[at:end]
        at = end


def _field(raw: bytes, at: int) -> tuple[int, int, int]:
    """Return the number of the field at a place, where its content begins, and where it ends.

    The content begins at -1 in a field that is not delimited by its length.
    """
    tag, begin = raw[at], at + 2
    if 8 <= tag < 0x80 and tag & 7 == _BYTES and begin < len(raw):
        # Nearly all there are: a tag of one byte, a length of one or two.
        length, more = raw[at + 1], raw[begin]
        if length >= 0x80 > more:
            length += (more - 1) << 7
            begin += 1
        if length < 0x80 or begin > at + 2:
            end = begin + length
            if end > len(raw):
                raise ProtobufDecodeError("a field is cut short")
            return tag >> 3, begin, end
    tag, begin = _varint(raw, at)
    number, kind = tag >> 3, tag & 7
    if kind != _BYTES:
        return _checked(number), -1, _skip(raw, begin, number, kind)
    length, begin = _varint(raw, begin)
    end = begin + length
    if end > len(raw):
        raise ProtobufDecodeError("a field is cut short")
    return _checked(number), begin, end


def _checked(number: int) -> int:
    if not 0 < number < 1 << 29:
        raise ProtobufDecodeError("a field has a number that there is not")
    return number


def _skip(raw: bytes, at: int, number: int, kind: int, groups: int = 0) -> int:
    """Return where a field ends whose content begins at *at*."""
    if kind == _VARINT:
        return _varint(raw, at)[1]
    if kind == _BYTES:
        length, begin = _varint(raw, at)
        end = begin + length
    elif kind == _GROUP and groups < _MAX_GROUPS:
        while True:
            tag, at = _varint(raw, at)
            if tag & 7 == _GROUP_END:
                if tag >> 3 != number:
                    raise ProtobufDecodeError("a group ends that did not begin")
                return at
            at = _skip(raw, at, _checked(tag >> 3), tag & 7, groups + 1)
    elif kind in (_FIXED64, _FIXED32):
        end = at + (8 if kind == _FIXED64 else 4)
    else:
        raise ProtobufDecodeError("a field is of a kind that there is not")
    if end > len(raw):
        raise ProtobufDecodeError("a field is cut short")
    return end


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    for place in range(at, min(len(raw), at + _MAX_VARINT_BYTES)):
        number |= (raw[place] & 0x7F) << shift
        if raw[place] < 0x80:
            return number & (1 << 64) - 1, place + 1
        shift += 7
    raise ProtobufDecodeError("a number is cut short")
