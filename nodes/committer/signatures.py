"""The threads in which signatures are verified.

OpenSSL works without Python's lock, so threads verify at the same time; what costs is handing work
over, so each thread gets a batch. The thread that asks verifies its share itself.

Invariants: the answers come in the order of the questions; nothing is remembered between calls.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from network.errors import SignatureError
from network.msp import Identity

__all__ = ["Question", "SignaturePool"]

SMALLEST_BATCH = 8
"""Signatures below which a hop to another thread costs more than it wins."""


class Question(NamedTuple):
    """Did the holder of *identity* sign *message*?"""

    identity: Identity
    message: bytes
    signature: bytes


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

    def verify(self, questions: Sequence[Question]) -> list[bool]:
        """Return for each question whether the signature is good. Blocks until all are answered."""
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
    for identity, message, signature in questions:
        try:
            identity.verify(message, signature)
        except SignatureError:
            answers.append(False)
        else:
            answers.append(True)
    return answers
