"""What the SDK asks of its surroundings: somebody who signs, and somewhere to keep a checkpoint."""

from __future__ import annotations

from typing import Protocol


class Signer(Protocol):
    """A client's identity and its key, or the identity alone where signing happens elsewhere.

    ``network.msp.SigningIdentity`` is one.
    """

    @property
    def msp_id(self) -> str:
        """The member to which the identity belongs."""
        ...

    @property
    def serialized(self) -> bytes:
        """Marshalled ``msp.SerializedIdentity``."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The signature over *message*; ECDSA in DER with low S over its SHA-256."""
        ...


class Checkpointer(Protocol):
    """Remembers how far a listener has got, so that it goes on there after a restart."""

    @property
    def block_num(self) -> int | None:
        """Block to go on with; None before the first event."""
        ...

    @property
    def tx_id(self) -> str:
        """Last transaction of that block already handled; ``""`` when none."""
        ...

    def checkpoint(self, block_num: int, tx_id: str) -> None:
        """Record that everything up to *tx_id* in *block_num* is handled.

        With an empty *tx_id*: everything before *block_num* is handled.
        """
        ...
