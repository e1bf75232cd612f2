"""The blocks of a channel as files hold them, one after another.

Two forms are read:

- files ``*.block``, each a marshalled `common.Block` as Deliver returns it, in the folder itself or
  in ``blocks/`` below it; the number in a file's name gives its place, the block's own number
  where the names do not tell;
- a peer's own block files ``blockfile_NNNNNN``, of which a copy is enough: a record is the varint
  of its length and then, each with its length, the header's fields, the envelopes and the metadata.

Invariants: one block is in memory at a time; nothing larger than a block may be is read at once.

Source: Fabric, common/ledger/blkstorage/{block_serialization,blockfile_mgr}.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ledger.blocks.block import Block, BlockHeader
from ledger.errors import BlockError
from nodes.replay.difference import RecordingError

__all__ = ["MAX_BLOCK_BYTES", "DeliveredBlock", "Recording"]

MAX_BLOCK_BYTES = 512 * 1024 * 1024
"""A file or a record that claims to be larger is no block; Fabric's own limit is far below."""

BLOCKS = "blocks"
_NUMBER = re.compile(r"(\d+)(?=\D*$)")
_MAX_VARINT_BYTES = 10


@dataclass(frozen=True, slots=True)
class DeliveredBlock:
    """The bytes of one block and where they were found."""

    place: str
    raw: bytes


class Recording:
    """Blocks in files, in the order of the chain.

    Attributes:
        path: where they were looked for.
        files: that hold them.
    """

    def __init__(self, path: Path) -> None:
        """Find the files.

        Raises:
            RecordingError: there are none.
        """
        self.path = path
        self.files = _find(path)

    def __iter__(self) -> Iterator[DeliveredBlock]:
        """Read one block after another.

        Raises:
            RecordingError: a file cannot be read, or holds no blocks.
        """
        for file in self.files:
            try:
                if _is_peers_own(file):
                    with file.open("rb") as stream:
                        yield from _records(stream, file.name)
                else:
                    if file.stat().st_size > MAX_BLOCK_BYTES:
                        raise RecordingError(f"{file} is larger than any block: give block files")
                    yield DeliveredBlock(file.name, file.read_bytes())
            except OSError as error:
                raise RecordingError(f"{file} cannot be read: {error.strerror}") from error


def _is_peers_own(file: Path) -> bool:
    return file.name.startswith("blockfile_")


def _find(path: Path) -> tuple[Path, ...]:
    if path.is_file():
        return (path,)
    for folder in (path / BLOCKS, path):
        if not folder.is_dir():
            continue
        for pattern in ("*.block", "blockfile_*"):
            files = [each for each in folder.glob(pattern) if each.is_file()]
            if files:
                places = {_place(each)[0] for each in files}
                key = _place if len(places) == len(files) else _number_inside
                return tuple(sorted(files, key=key))
    raise RecordingError(
        f"{path} holds no blocks: give a folder with files *.block, or with a peer's blockfile_*"
    )


def _place(file: Path) -> tuple[int, str]:
    found = _NUMBER.search(file.stem)
    return (int(found[1]) if found else 0, file.name)


def _number_inside(file: Path) -> tuple[int, str]:
    """Return the number of the block in a file, for files whose names do not tell it."""
    try:
        if file.stat().st_size > MAX_BLOCK_BYTES:
            return 0, file.name
        return Block.decode(file.read_bytes()).number, file.name
    except (OSError, BlockError):
        # What is wrong with it is said when its turn comes.
        return 0, file.name


class _Bytes:
    """A cursor over the bytes of one record."""

    def __init__(self, raw: bytes, place: str) -> None:
        self.raw = raw
        self.place = place
        self.at = 0

    def broken(self) -> RecordingError:
        return RecordingError(
            f"{self.place} is no block of a peer's block file: copy the file anew"
        )

    def varint(self) -> int:
        number = shift = 0
        while shift < 7 * _MAX_VARINT_BYTES:
            if self.at >= len(self.raw):
                break
            byte = self.raw[self.at]
            self.at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7
        raise self.broken()

    def part(self) -> bytes:
        end = self.varint() + self.at
        if end > len(self.raw):
            raise self.broken()
        found, self.at = self.raw[self.at : end], end
        return found

    def parts(self) -> tuple[bytes, ...]:
        count = self.varint()
        if count > len(self.raw):
            raise self.broken()
        return tuple(self.part() for _ in range(count))


def _records(stream: BinaryIO, name: str) -> Iterator[DeliveredBlock]:
    offset = 0
    while head := stream.read(_MAX_VARINT_BYTES):
        place = f"{name} at offset {offset}"
        cursor = _Bytes(head, place)
        length = cursor.varint()
        if length == 0 or length > MAX_BLOCK_BYTES:
            raise cursor.broken()
        stream.seek(offset + cursor.at)
        raw = stream.read(length)
        if len(raw) < length:
            # A peer that is running, or was ended, leaves the last record unfinished.
            return
        yield DeliveredBlock(place, _decode_record(raw, place).encode())
        offset += cursor.at + length


def _decode_record(raw: bytes, place: str) -> Block:
    cursor = _Bytes(raw, place)
    number, data_hash, previous_hash = cursor.varint(), cursor.part(), cursor.part()
    if number >= 1 << 64:
        raise cursor.broken()
    header = BlockHeader(number, previous_hash, data_hash)
    block = Block(header, cursor.parts(), cursor.parts())
    if cursor.at != len(raw):
        raise cursor.broken()
    return block
