"""The threads in which signatures are verified.

OpenSSL works without Python's lock, so threads verify at the same time; what costs is handing work
over, so each thread gets a batch. The thread that asks verifies its share itself.

Who knows what will be asked next, as a replay does, may have it begun: the threads verify while the
block before is judged and written.

Invariants: the answers come in the order of the questions; nothing is remembered between calls but
what was begun, and that goes with what holds it.

Hot path: a verification takes 86 µs, and three to each transaction on each node are nearly half of
what a payment costs at all; none is left out.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from network.errors import SignatureError
from network.msp import Identity

__all__ = ["BegunSignatures", "Question", "SignaturePool"]

SMALLEST_BATCH = 8
"""Signatures below which a hop to another thread costs more than it wins."""

BEGUN_BATCH = 64
"""Signatures that a thread verifies at a time when they are begun ahead."""


class Question(NamedTuple):
    """Did the holder of *identity* sign *parts*, one after another?

    They are put together when they are verified and not before: those of a bulk are long, and a
    question that is asked again is found by the parts that it had.
    """

    identity: Identity
    parts: tuple[bytes, ...]
    signature: bytes


class BegunSignatures:
    """Answers that are on their way."""

    __slots__ = ("_shares",)

    def __init__(self, shares: Sequence[Future[list[bool]]]) -> None:
        self._shares = shares

    def answers(self) -> list[bool]:
        """Return all answers in the order of the questions, waiting for them."""
        return [answer for share in self._shares for answer in share.result()]


class SignaturePool:
    """Verifies many signatures on several cores; one pool for a node.

    Args:
        threads: how many work at a time, the asking thread included; by default the cores that
            this process may use.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(
            max(1, self._threads - 1), thread_name_prefix="verify signatures"
        )

    def begin(self, questions: Sequence[Question]) -> BegunSignatures:
        """Have the threads verify; returns at once."""
        return BegunSignatures(
            [
                self._pool.submit(_verify, questions[start : start + BEGUN_BATCH])
                for start in range(0, len(questions), BEGUN_BATCH)
            ]
        )

    def verify(self, questions: Sequence[Question]) -> list[bool]:
        """Return for each question whether the signature is good. Blocks until all are answered.

        Args:
            questions: in the order in which the answers come.
        """
        batch = max(SMALLEST_BATCH, -(-len(questions) // self._threads))
        if len(questions) <= batch:
            return _verify(questions)
        shares = [questions[start : start + batch] for start in range(0, len(questions), batch)]
        others = [self._pool.submit(_verify, share) for share in shares[1:]]
        answers = _verify(shares[0])
        for other in others:
            answers.extend(other.result())
        return answers

    def close(self) -> None:
        """End the threads; work under way is finished first."""
        self._pool.shutdown(wait=True)


def _verify(questions: Sequence[Question]) -> list[bool]:
    answers = []
    for identity, parts, signature in questions:
        try:
            identity.verify(b"".join(parts), signature)
        except SignatureError:
            answers.append(False)
        else:
            answers.append(True)
    return answers
