"""The refusals of `network/`: who may speak, under which policy, and what a configuration may say.

Every message names the thing that was refused, the rule it broke and the way out. None repeats a
certificate's private fields or a transaction's content.
"""

from __future__ import annotations

from ledger.errors import Fatal, Refusal, Unavailable

__all__ = [
    "CertificateError",
    "ConfigurationError",
    "Divergence",
    "FinalityError",
    "FrameError",
    "IdentityError",
    "OrderingRefusal",
    "OrderingUnavailable",
    "PolicyError",
    "SignatureError",
]


class IdentityError(Refusal):
    """An identity is malformed, of no known member, of a broken chain, revoked or of no role."""


class SignatureError(Refusal):
    """A signature does not verify: wrong key, wrong bytes, malformed, or ECDSA with a high S."""


class PolicyError(Refusal):
    """A policy is malformed or unknown, or those who signed do not satisfy it."""


class CertificateError(Refusal):
    """A certificate cannot be issued, renewed or revoked as asked; no file was changed."""


class ConfigurationError(Refusal):
    """A channel configuration, a genesis block or an MSP folder cannot be read or breaks a rule."""


class FrameError(Refusal):
    """What came on a stream of calls is not of its form; the stream ends."""


class FinalityError(Refusal):
    """What should prove that a block is final does not: a record or a proof breaks a rule."""


class OrderingRefusal(Refusal):
    """The orderer refuses an envelope, in the words of Fabric's `BroadcastResponse`.

    Attributes:
        status: a value of `common.Status` (400 bad request, 403 forbidden, 413 too large, ...).
        info: the reason, as the client sees it.
    """

    def __init__(self, status: int, info: str) -> None:
        super().__init__(info)
        self.status = status
        self.info = info


class OrderingUnavailable(Unavailable):
    """No orderer can take the envelope now; `outcome_definite` says if it surely was not taken."""


class Divergence(Fatal):
    """This node and the orderer disagree about the chain or about what came out of a block.

    One of them is wrong, so this node stops taking blocks until a person has looked.
    """
