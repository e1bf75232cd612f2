"""Signatures that are verified ahead: the same answers, whatever was begun."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from network.msp import MSPManager
from nodes.committer.signatures import Question, SignaturePool
from tests.support.members import Member

MEMBER = Member("BankMSP")
MANAGER = MSPManager([MEMBER.msp()])
SIGNER = MEMBER.identity()
IDENTITY = MANAGER.deserialize(SIGNER.serialized)


@pytest.fixture
def pool() -> Iterator[SignaturePool]:
    made = SignaturePool(2)
    yield made
    made.close()


def questions(count: int) -> list[Question]:
    """Return questions of which every third has the answer no."""
    asked = []
    for number in range(count):
        message = b"message %d" % number
        signed = SIGNER.sign(b"another" if number % 3 == 0 else message)
        asked.append(Question(IDENTITY, (message,), signed))
    return asked


@pytest.mark.parametrize("count", [0, 1, 70, 150])
def test_answers_are_the_same_whether_they_are_begun_or_asked_for(
    pool: SignaturePool, count: int
) -> None:
    """In the order of the questions, over as many shares as it takes."""
    asked = questions(count)
    expected = [number % 3 != 0 for number in range(count)]
    assert pool.begin(asked).answers() == expected
    assert pool.verify(asked) == expected
