"""A good signature is proved once under one configuration, and counts for nothing else."""

from __future__ import annotations

from dataclasses import replace
from threading import Thread
from typing import Any

import pytest

from network.errors import IdentityError, SignatureError
from network.msp import Identity, MSPManager, directory
from network.msp.identity import LONGEST_REMEMBERED
from network.policy import SignedData
from network.policy.signed_data import valid_identities
from tests.support.members import Member


class CountingKey:
    """A public key that counts how often it is asked."""

    def __init__(self, key: Any) -> None:
        self.key = key
        self.asked = 0

    def verify(self, message: bytes, signature: bytes) -> None:
        self.asked += 1
        self.key.verify(message, signature)


@pytest.fixture(scope="module")
def bank() -> Member:
    return Member("BankMSP")


def counted(manager: MSPManager, serialized: bytes) -> tuple[Identity, CountingKey]:
    """Return an identity of the directory whose key counts."""
    identity = manager.deserialize(serialized)
    key = CountingKey(identity.key)
    return replace(identity, key=key), key


def test_signature_is_proved_once(bank: Member) -> None:
    """The very bytes by the very certificate; through a policy too."""
    signer = bank.identity()
    manager = MSPManager([bank.msp()])
    identity, key = counted(manager, signer.serialized)
    message, signature = b"m" * 5000, signer.sign(b"m" * 5000)
    for _ in range(3):
        identity.verify(message, signature)
    assert key.asked == 1
    again = SignedData(message, signer.serialized, signature)
    assert [each.identity_id for each in valid_identities([again], manager)] == [
        identity.identity_id
    ]


def test_signature_over_other_bytes_is_asked_anew_and_refused(bank: Member) -> None:
    """One byte more, less or other; and one other byte of the signature."""
    signer = bank.identity()
    identity, key = counted(MSPManager([bank.msp()]), signer.serialized)
    message = b"what was signed"
    signature = signer.sign(message)
    identity.verify(message, signature)
    damaged = bytearray(signature)
    damaged[-1] ^= 1
    others = ((message + b"\0", signature), (message[:-1], signature), (b"x" + message, signature))
    for asked, (other, shown) in enumerate((*others, (message, bytes(damaged))), start=2):
        with pytest.raises(SignatureError):
            identity.verify(other, shown)
        assert key.asked == asked


def test_bad_signature_is_refused_each_time(bank: Member) -> None:
    """Only what is good is remembered, so nobody can make a good one count as bad."""
    signer, other = bank.identity(), bank.identity("other")
    identity, key = counted(MSPManager([bank.msp()]), signer.serialized)
    for _ in range(2):
        with pytest.raises(SignatureError):
            identity.verify(b"message", other.sign(b"message"))
    assert key.asked == 2


def test_signature_of_one_certificate_proves_nothing_for_another(bank: Member) -> None:
    """Not even for a certificate of the same name, or of the same key."""
    signer, namesake = bank.identity("user"), bank.identity("user")
    manager = MSPManager([bank.msp()])
    signature = signer.sign(b"message")
    manager.deserialize(signer.serialized).verify(b"message", signature)
    with pytest.raises(SignatureError):
        manager.deserialize(namesake.serialized).verify(b"message", signature)


def test_proof_ends_with_its_configuration(bank: Member) -> None:
    """A directory of the next configuration asks again, and who is revoked is nobody there."""
    member = Member("BankMSP")
    signer = member.identity()
    signature = signer.sign(b"message")
    before = MSPManager([member.msp()])
    before.deserialize(signer.serialized).verify(b"message", signature)
    identity, key = counted(MSPManager([member.msp()]), signer.serialized)
    identity.verify(b"message", signature)
    assert key.asked == 1
    member.revoke(signer)
    with pytest.raises(IdentityError, match="revoked"):
        MSPManager([member.msp()]).deserialize(signer.serialized)


def test_what_is_remembered_is_bounded(bank: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    """In number; and what carries other bytes behind the signature is not remembered at all."""
    monkeypatch.setattr(directory, "SIGNATURES_CACHED", 10)
    signer = bank.identity()
    manager = MSPManager([bank.msp()])
    identity, key = counted(manager, signer.serialized)
    for number in range(50):
        message = b"%d" % number
        identity.verify(message, signer.sign(message))
    assert identity.proved is not None
    assert len(identity.proved) <= 10
    long = signer.sign(b"message") + b"\0" * LONGEST_REMEMBERED
    for _ in range(2):
        identity.verify(b"message", long)
    assert key.asked == 52


def test_threads_may_ask_at_once(bank: Member) -> None:
    """They prove it twice at worst, and never the wrong way."""
    signer = bank.identity()
    identity, _ = counted(MSPManager([bank.msp()]), signer.serialized)
    good, bad = signer.sign(b"message"), signer.sign(b"another")
    wrong: list[str] = []

    def ask() -> None:
        for _ in range(200):
            identity.verify(b"message", good)
            try:
                identity.verify(b"message", bad)
            except SignatureError:
                continue
            wrong.append("a bad signature counted")

    threads = [Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
