"""From a certificate to the root that a member trusts, as Go's X.509 verification walks.

A chain runs from the certificate through intermediate authorities to a root. Its time is one second
after the certificate's own beginning: an MSP does not judge expiry, callers do. All chains are
searched, because more than one means that it is unclear who answers for the certificate.

Two things are narrower than in Go: authorities with name constraints are refused when they are
configured, and certificate policies are not followed.

Source: Go crypto/x509 `Certificate.Verify`; Fabric msp/mspimplvalidate.go
(`getValidityOptsForCert`), msp/mspimpl.go (`getUniqueValidationChain`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

from cryptography.x509 import ObjectIdentifier
from cryptography.x509.oid import ExtendedKeyUsageOID

from network.errors import IdentityError
from network.msp.certificate import Certificate

MAX_SIGNATURE_CHECKS: Final = 100
"""A search that needs more is given up (Go, crypto/x509 `maxChainSignatureChecks`)."""

SERVER: Final = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT: Final = ExtendedKeyUsageOID.CLIENT_AUTH

Chain = tuple[Certificate, ...]


class TrustStore:
    """The authorities of one member: roots and intermediates."""

    def __init__(
        self, roots: Iterable[Certificate], intermediates: Iterable[Certificate] = ()
    ) -> None:
        self.roots = tuple({root.der: root for root in roots}.values())
        self.intermediates = tuple({each.der: each for each in intermediates}.values())
        self._root_ders = {root.der for root in self.roots}

    def chain(self, certificate: Certificate, usage: ObjectIdentifier = SERVER) -> Chain:
        """Return the only chain of *certificate*, itself first.

        Args:
            certificate: of anybody; a root has itself as its chain.
            usage: what every certificate of the chain must allow. Go asks for server
                authentication where nothing is asked for, and an MSP asks for nothing.
        Raises:
            IdentityError: no chain, or more than one.
        """
        try:
            moment = certificate.not_before + timedelta(seconds=1)
        except OverflowError as reason:
            raise IdentityError("the certificate begins after the end of time") from reason
        if _is_unusable(certificate, moment):
            raise IdentityError(
                "the certificate is not valid a second after it begins, or has a critical "
                "extension of unknown meaning: issue another one"
            )
        if certificate.der in self._root_ders:
            found: list[Chain] = [(certificate,)]
        else:
            found = list(self._extend((certificate,), moment, [MAX_SIGNATURE_CHECKS]))
        chains = [chain for chain in found if all(each.allows(usage) for each in chain)]
        if not chains:
            raise IdentityError(
                "the certificate is signed by no authority of this MSP: use one that the "
                "member's own authority has issued"
            )
        if len(chains) > 1:
            raise IdentityError(
                f"the certificate has {len(chains)} chains and an MSP allows one: configure each "
                "authority once"
            )
        return chains[0]

    def _extend(self, chain: Chain, moment: datetime, budget: list[int]) -> Iterator[Chain]:
        for authority, is_root in self._parents(chain[-1]):
            if any(
                authority.subject == each.subject
                and authority.public_key_der == each.public_key_der
                for each in chain
            ):
                continue
            budget[0] -= 1
            if budget[0] < 0:
                raise IdentityError(
                    "the certificate's chain takes too many checks: configure fewer authorities "
                    "of the same name"
                )
            if (
                _is_unusable(authority, moment)
                or (authority.path_length is not None and len(chain) - 1 > authority.path_length)
                or not chain[-1].is_issued_by(authority)
            ):
                continue
            if is_root:
                yield (*chain, authority)
            else:
                yield from self._extend((*chain, authority), moment, budget)

    def _parents(self, child: Certificate) -> Iterator[tuple[Certificate, bool]]:
        for root in self.roots:
            if root.subject == child.issuer:
                yield root, True
        for intermediate in self.intermediates:
            if intermediate.subject == child.issuer:
                yield intermediate, False


def _is_unusable(certificate: Certificate, moment: datetime) -> bool:
    return (
        certificate.has_unknown_critical_extension
        or moment < certificate.not_before
        or moment > certificate.not_after
    )
