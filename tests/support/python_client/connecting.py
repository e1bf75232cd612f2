"""Connecting: TLS, and the identities that a gateway takes."""

from __future__ import annotations

import grpc
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate

from qist import EndorseError, EvaluateError, EventsError, Gateway
from tests.support.python_client.world import (
    TIMEOUTS,
    Member,
    World,
    contains,
    equal,
    failure,
    first,
    scenario,
    verify,
)


@scenario
def connect_over_tls(world: World) -> None:
    with world.member().connect() as gateway:
        gateway.wait_until_ready(10)
        equal(world.contract(gateway).evaluate("WhoAmI").decode(), world.home)


@scenario
def connect_with_another_authority(world: World) -> None:
    member = world.member()
    endpoint = type(member.endpoint)(
        member.endpoint.address, world.member(world.second).endpoint.tls_ca_pem
    )
    with Gateway(endpoint, member.signer, timeouts=TIMEOUTS) as gateway:
        error = failure(EvaluateError, lambda: world.contract(gateway).evaluate("WhoAmI"))
        equal(error.code, grpc.StatusCode.UNAVAILABLE)


@scenario
def identity_p256(world: World) -> None:
    member = world.member()
    verify(isinstance(member.key.curve, ec.SECP256R1), "another curve")
    certificate = load_pem_x509_certificate(member.certificate_pem)
    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    equal(certificate.public_key().public_bytes(*spki), member.key.public_key().public_bytes(*spki))
    equal(world.gateway().identity.msp_id, world.home)
    verify(member.certificate_pem in world.gateway().identity.serialized, "the certificate")


@scenario
def identity_p384(world: World) -> None:
    member = world.member(user=getattr(world.settings.identities, "P-384"))
    verify(isinstance(member.key.curve, ec.SECP384R1), "another curve")
    _try_identity(world, member, "p384")


@scenario
def identity_ed25519(world: World) -> None:
    member = world.member(user=world.settings.identities.Ed25519)
    verify(isinstance(member.key, ed25519.Ed25519PrivateKey), "another kind of key")
    _try_identity(world, member, "ed25519")


def _try_identity(world: World, member: Member, name: str) -> None:
    """Submit and listen as a user: all that is signed is taken."""
    with member.connect() as gateway:
        contract, network = world.contract(gateway), world.network(gateway)
        equal(contract.evaluate("WhoAmI").decode(), world.home)
        status = contract.submit("Add", world.key(name), "5").status
        start = status.block_num
        heard = network.chaincode_events(world.settings.contract, start_block=start)
        equal(first(heard).tx_id, status.tx_id)
        equal(first(network.block_events(start_block=start)).header.number, start)


class _Impostor:
    """A user's certificate with another's key."""

    def __init__(self, member: Member, other: Member) -> None:
        self.msp_id = member.msp_id
        self.serialized = member.offline.serialized
        self.sign = other.signer.sign


@scenario
def identity_with_another_key(world: World) -> None:
    member = world.member()
    with member.connect(_Impostor(member, world.member(world.second))) as gateway:
        contract, network = world.contract(gateway), world.network(gateway)
        contains(failure(EvaluateError, lambda: contract.evaluate("WhoAmI")), "access denied")
        put = failure(EndorseError, lambda: contract.submit("Put", world.key("stranger"), "x"))
        contains(put, "access denied")
        start = world.settings.firstBlock
        events = network.chaincode_events(world.settings.contract, start_block=start)
        denied = failure(EventsError, lambda: first(events))
        equal(denied.code, grpc.StatusCode.PERMISSION_DENIED)
        refused = failure(EventsError, lambda: first(network.block_events(start_block=start)))
        contains(refused, "FORBIDDEN")
