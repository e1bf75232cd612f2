"""An identity whose key is elsewhere: in a vault, on a token, on a machine without a network.

Drafts made for it are carried to the key by their ``encode`` and ``digest``, and come back with
``new_signed_proposal``, ``new_signed_transaction`` and ``new_signed_commit``.
"""

from __future__ import annotations

from dataclasses import dataclass

from fabric_protos.msp import identities_pb2

from ledger.errors import Refusal


@dataclass(frozen=True, slots=True)
class OfflineIdentity:
    """A certificate without its key.

    Attributes:
        msp_id: the member.
        certificate_pem: the user's certificate.
    """

    msp_id: str
    certificate_pem: bytes

    @property
    def serialized(self) -> bytes:
        """See :class:`clients.gateway.ports.Signer`."""
        identity = identities_pb2.SerializedIdentity(
            mspid=self.msp_id, id_bytes=self.certificate_pem
        )
        return bytes(identity.SerializeToString())

    def sign(self, message: bytes) -> bytes:
        """Refuse: there is no key here.

        Raises:
            Refusal: always.
        """
        raise Refusal(
            f"the key of this identity of {self.msp_id} is elsewhere; sign the draft's digest "
            f"there ({len(message)} bytes to sign) and go on with new_signed_…"
        )
