"""Hostile client: signatures of a real member that are not as Fabric takes them.

Each at every RPC that asks for a signature, through gRPC over TLS.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from clients.gateway.ports import Signer
from network.msp import SigningIdentity
from network.msp.identity import load_private_key
from network.msp.keys import CURVE_ORDERS
from tests.support.hostile import Doors, Ending, Hostile, hostile_network
from tests.support.hostile_requests import (
    BAD_REQUEST,
    BANK,
    ENVELOPES,
    FORBIDDEN,
    PROPOSALS,
    PTA,
    REFUSING,
    REQUESTS,
)
from tests.support.local_network import CHANNEL

pytestmark = pytest.mark.asyncio(loop_scope="module")

Code = grpc.StatusCode


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hostile(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hostile]:
    async with hostile_network(tmp_path_factory.mktemp("network")) as running:
        organisation = running.network.members[BANK].organisation
        for algorithm in ("P-384", "Ed25519"):
            organisation.add_user(algorithm.lower(), algorithm=algorithm)
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def doors(hostile: Hostile) -> AsyncIterator[Doors]:
    async with Doors.of(hostile) as made:
        yield made


@dataclass
class Forger:
    """A member's client whose signatures are made by *make*, of its own signer and the message."""

    honest: SigningIdentity
    make: Callable[[SigningIdentity, bytes], bytes]

    @property
    def msp_id(self) -> str:
        """The member."""
        return self.honest.msp_id

    @property
    def serialized(self) -> bytes:
        """The identity of the honest one."""
        return self.honest.serialized

    def sign(self, message: bytes) -> bytes:
        """Sign as forged."""
        return self.make(self.honest, message)


def user(hostile: Hostile, name: str) -> SigningIdentity:
    folder = hostile.network.members[BANK].organisation.user_folder(name)
    return SigningIdentity.load(folder / "msp", BANK)


def private_key(hostile: Hostile, name: str) -> Any:
    folder = hostile.network.members[BANK].organisation.user_folder(name)
    return load_private_key((folder / "msp" / "keystore" / "key.pem").read_bytes(), "the key")


def forged(make: Callable[[SigningIdentity, bytes], bytes]) -> Callable[[Hostile], Signer]:
    return lambda hostile: Forger(hostile.network.signer(BANK), make)


def high_s(honest: SigningIdentity, message: bytes) -> bytes:
    r, s = decode_dss_signature(honest.sign(message))
    return encode_dss_signature(r, CURVE_ORDERS["secp256r1"] - s)


def damaged(honest: SigningIdentity, message: bytes) -> bytes:
    r, s = decode_dss_signature(honest.sign(message))
    return encode_dss_signature(r ^ 1, s)


def by_another(hostile: Hostile) -> Signer:
    other = hostile.network.signer(PTA)
    return Forger(hostile.network.signer(BANK), lambda _honest, message: other.sign(message))


def sha384(hostile: Hostile) -> Signer:
    """What some documents of clients tell those with a P-384 key to do."""
    key = private_key(hostile, "p-384")

    def make(_honest: SigningIdentity, message: bytes) -> bytes:
        order = CURVE_ORDERS["secp384r1"]
        r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA384())))
        return encode_dss_signature(r, min(s, order - s))

    return Forger(user(hostile, "p-384"), make)


def hashed_first(hostile: Hostile) -> Signer:
    return Forger(
        user(hostile, "ed25519"),
        lambda honest, message: honest.sign(hashlib.sha256(message).digest()),
    )


NOT_OURS = "does not verify: it was made with another key or over other bytes"
MALFORMED = "malformed: send the DER sequence of R and S"
HIGH = "high S: sign again and take order - S"
KINDS: dict[str, tuple[Callable[[Hostile], Signer], str]] = {
    "high S": (forged(high_s), HIGH),
    "damaged": (forged(damaged), NOT_OURS),
    "no DER": (forged(lambda _honest, _message: b"\x30\xff\x02\x01"), MALFORMED),
    "random bytes": (forged(lambda _honest, _message: b"\x5a" * 71), MALFORMED),
    "endless": (forged(lambda _honest, _message: b"\x30\x84\x7f\xff\xff\xff" * 500), MALFORMED),
    "zeros": (forged(lambda _honest, _message: encode_dss_signature(0, 0)), NOT_OURS),
    "of other bytes": (forged(lambda honest, message: honest.sign(message + b"\0")), NOT_OURS),
    "of another key": (by_another, NOT_OURS),
    "P-384 over SHA-384": (sha384, NOT_OURS),
    "Ed25519 over a hash": (hashed_first, NOT_OURS),
    "ECDSA for Ed25519": (
        lambda hostile: Forger(
            user(hostile, "ed25519"),
            lambda _honest, message: hostile.network.signer(BANK).sign(message),
        ),
        NOT_OURS,
    ),
}


def verify_refused(rpc: str, ending: Ending, words: str) -> None:
    """Check for Fabric's code of a signature that does not verify, and for the reason."""
    assert words in ending.words
    assert (ending.code, ending.status) == {
        "Evaluate": (Code.FAILED_PRECONDITION, 0),
        "Endorse": (Code.ABORTED, 0),
        "ProcessProposal": (Code.UNKNOWN, 0),
        "Submit": (Code.ABORTED, 0),
        **dict.fromkeys(REQUESTS, (Code.PERMISSION_DENIED, 0)),
    }.get(rpc, (Code.OK, FORBIDDEN))
    if rpc in PROPOSALS:
        assert f"access denied: channel [{CHANNEL}] creator org [{BANK}]" in ending.words
    if rpc == "Submit":
        assert "status=FORBIDDEN, info=permission denied" in ending.words


@pytest.mark.parametrize("rpc", REFUSING)
@pytest.mark.parametrize("kind", KINDS)
async def test_signature_that_does_not_verify_is_refused_at_every_rpc(
    hostile: Hostile, doors: Doors, kind: str, rpc: str
) -> None:
    """With the code of the RPC, and what is wrong with the signature."""
    make, words = KINDS[kind]
    verify_refused(rpc, await doors.ask(rpc, make(hostile)), words)


@pytest.mark.parametrize("rpc", REFUSING)
async def test_empty_signature_is_refused_at_every_rpc(
    hostile: Hostile, doors: Doors, rpc: str
) -> None:
    """Before anybody looks at the key: a proposal by name, an envelope as not well formed."""
    signer = Forger(hostile.network.signer(BANK), lambda _honest, _message: b"")
    ending = await doors.ask(rpc, signer)
    if rpc in PROPOSALS:
        assert "empty signature bytes; sign the proposal" in ending.words
    elif rpc == "Submit":
        assert ending.code is Code.INVALID_ARGUMENT
        assert ending.words == "prepared transaction must be signed"
    elif rpc in ENVELOPES:
        assert (ending.code, ending.status) == (Code.OK, BAD_REQUEST)
        assert "has no signature; make and sign the envelope anew" in ending.words
    else:
        verify_refused(rpc, ending, MALFORMED)


@pytest.mark.parametrize("algorithm", ["p-384", "ed25519"])
@pytest.mark.parametrize("rpc", [each for each in REFUSING if each != "ChaincodeEvents"])
async def test_other_key_that_signs_as_an_msp_asks_is_served(
    hostile: Hostile, doors: Doors, algorithm: str, rpc: str
) -> None:
    """P-384 over SHA-256, Ed25519 over the message: or the refusals above would show nothing."""
    ending = await doors.ask(rpc, user(hostile, algorithm))
    assert ending.code is Code.OK, ending
    assert ending.status in (0, 200)
