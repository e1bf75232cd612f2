"""The file in which an update is passed round to be signed.

It is Fabric's: an Envelope of type CONFIG_UPDATE without a sender, as `peer channel signconfigtx`
takes it. A bare ConfigUpdateEnvelope or ConfigUpdate, as other tools of Fabric's write them, is
read as well.

Invariant: the bytes of the update are never written anew, since they are what was signed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fabric_protos.common import common_pb2, configtx_pb2
from google.protobuf.message import DecodeError

from ledger.blocks.block import Block
from ledger.errors import BlockError, Refusal
from network.certificates.writing import replace_file, write_new
from network.configuration import read_update_envelope, sign_update, update_envelope
from network.decoding import decode_message
from network.errors import ConfigurationError
from network.msp import SigningIdentity

__all__ = ["UpdateFile", "load_block", "read_file"]

MAX_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class UpdateFile:
    """An update with the signatures that it has so far.

    Attributes:
        channel_id: the channel that it names.
        config_update: the marshalled ConfigUpdate.
        signatures: the ConfigSignature messages on it.
    """

    channel_id: str
    config_update: bytes
    signatures: tuple[Any, ...] = ()

    @classmethod
    def load(cls, path: Path) -> UpdateFile:
        """Read a file.

        Raises:
            Refusal: it cannot be read, or holds something else; the message says what.
        """
        raw = read_file(path)
        found = cls.decode(raw)
        if found is None:
            raise Refusal(f"{path} is no configuration update: {_kind_of(raw)}")
        return found

    @classmethod
    def decode(cls, raw: bytes) -> UpdateFile | None:
        """Read the bytes of a file; None if they are something else."""
        for config_update, signatures in _candidates(raw):
            try:
                update = configtx_pb2.ConfigUpdate.FromString(config_update)
            except DecodeError:
                continue
            if update.channel_id and update.HasField("write_set"):
                return cls(update.channel_id, config_update, signatures)
        return None

    def save(self, path: Path, *, new: bool) -> None:
        """Write a file.

        Args:
            path: where.
            new: whether it must not exist yet; else it takes the place of what is there.
        """
        raw = update_envelope(
            self.channel_id, self.config_update, self.signatures, None, datetime.now(UTC)
        )
        (write_new if new else replace_file)(path, raw)

    def signed_by(self, signer: SigningIdentity) -> UpdateFile:
        """Return the update with one more signature.

        Raises:
            Refusal: this identity has signed it already, or a signature on it cannot be read.
        """
        for signature in self.signatures:
            header = decode_message(
                common_pb2.SignatureHeader,
                signature.signature_header,
                "the header of a signature on the update",
                ConfigurationError,
            )
            if header.creator == signer.serialized:
                raise Refusal(
                    f"{signer.common_name} of {signer.msp_id} has signed this update already: "
                    "pass it on to the others, or submit it"
                )
        return replace(self, signatures=(*self.signatures, sign_update(self.config_update, signer)))


def read_file(path: Path) -> bytes:
    """Return what a file holds, if it is not longer than anything that is read here.

    Raises:
        Refusal: it cannot be read, or is too long.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Refusal(f"{path} is longer than {MAX_BYTES} bytes: that is no file of a channel")
        return path.read_bytes()
    except OSError as reason:
        raise Refusal(f"{path} cannot be read: {reason.strerror}") from reason


def load_block(path: Path) -> Block:
    """Read a block from a file, or the genesis block in the folder of a node.

    Raises:
        Refusal: there is none.
    """
    if path.is_dir():
        path = path / "genesis.block"
    raw = read_file(path)
    # A block is read so leniently that an update would pass for one.
    if UpdateFile.decode(raw) is None:
        try:
            return Block.decode(raw)
        except BlockError as reason:
            raise Refusal(f"{path} is no block: {_kind_of(raw)}") from reason
    raise Refusal(f"{path} is no block: {_kind_of(raw)}")


def _candidates(raw: bytes) -> Iterator[tuple[bytes, tuple[Any, ...]]]:
    """Yield what an update in these bytes could be, with its signatures, by each form of file."""
    try:
        config_update, signatures = read_update_envelope(raw)
        yield config_update, tuple(signatures)
    except ConfigurationError:
        pass
    try:
        envelope = configtx_pb2.ConfigUpdateEnvelope.FromString(raw)
        yield bytes(envelope.config_update), tuple(envelope.signatures)
    except DecodeError:
        pass
    yield raw, ()


def _kind_of(raw: bytes) -> str:
    """Say what a file of the wrong kind is, and what to do with it."""
    start = raw.lstrip()[:16]
    if not raw:
        return "it is empty"
    if start.startswith(b"-----BEGIN"):
        return "it is a certificate, key or list in PEM"
    if start.startswith(b"{"):
        return "it is JSON; `qist channel propose --from` makes an update of an edited one"
    if UpdateFile.decode(raw) is not None:
        return "it is a configuration update; look at it with `qist channel show`"
    try:
        block = Block.decode(raw)
    except BlockError:
        return "give the file that `qist channel propose` has written"
    return f"it is block {block.number}; look at it with `qist channel show`"
