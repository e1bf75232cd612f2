"""The kinds of errors, for every package.

Four kinds, never mixed. A *verdict* on a transaction is no error: it is a ``TxValidationCode`` in
the block. A *refusal* is definite and the caller's fault. *Unavailable* may be tried again.
*Fatal* means that this process must stop and recover when it opens its data again.

Messages name the thing, the rule and the way out; they never carry personal data.
"""

from __future__ import annotations


class LedgerError(Exception):
    """Base of every error raised on purpose, in every package."""


class Refusal(LedgerError):
    """The request is refused for good: the same request will be refused again."""


class Unavailable(LedgerError):
    """It cannot be done now; a later attempt may succeed.

    Attributes:
        outcome_definite: True if it is certain that nothing was done; False if the effect of the
            failed attempt is unknown, so that a caller must look before trying again.
    """

    def __init__(self, message: str, *, outcome_definite: bool = True) -> None:
        super().__init__(message)
        self.outcome_definite = outcome_definite


class Fatal(LedgerError):
    """A broken invariant or a failed write: stop, and recover by opening the data again."""


class CorruptionError(Fatal):
    """Stored data is not what was written. The message says which file and where in it."""


class FormatVersionError(Fatal):
    """The data was written in a format that this program does not know."""


class StorageError(Fatal):
    """The disk refused a write, so what is stored is known only after opening it again."""


class LedgerLocked(Unavailable):
    """Another process owns the database of this ledger."""


class LedgerClosed(Unavailable):
    """The ledger or the snapshot was closed before it was asked."""


class DecodeError(Refusal):
    """Foreign bytes do not say what they should."""


class BlockError(Refusal):
    """A block is refused as a whole; nothing of it is recorded."""
