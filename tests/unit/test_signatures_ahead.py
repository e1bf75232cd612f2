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


@pytest.mark.parametrize("begun", [0, 1, 70, 150])
def test_answers_are_those_of_the_questions_whatever_was_begun(
    pool: SignaturePool, begun: int
) -> None:
    """Some were begun, in another order and with others among them; the rest is verified now."""
    asked = questions(150)
    others = questions(20)
    ahead = pool.begin([*others, *reversed(asked[:begun])])
    expected = [number % 3 != 0 for number in range(150)]
    assert pool.verify(asked, ahead) == expected
    assert pool.verify(asked) == expected


def test_question_of_another_identity_is_not_answered_by_what_was_begun(
    pool: SignaturePool,
) -> None:
    """A new configuration makes new identities, whose signatures are verified anew."""
    (asked,) = questions(2)[1:]
    again = MSPManager([MEMBER.msp()]).deserialize(SIGNER.serialized)
    ahead = pool.begin([asked])
    assert ahead.answer(asked) is True
    assert ahead.answer(asked._replace(identity=again)) is None
    assert pool.verify([asked._replace(identity=again)], ahead) == [True]
