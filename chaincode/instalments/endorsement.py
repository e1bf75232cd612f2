"""Key-level endorsement policies: the few bytes of a SignaturePolicyEnvelope that Fabric reads.

A contract may import no message classes, and needs one shape of policy only, so its protobuf form
is laid out here; a test reads it back with Fabric's own classes.

    SignaturePolicyEnvelope  1 version (0, left out) · 2 rule · 3 identities (repeated)
    SignaturePolicy          1 signed_by (index into identities) · 2 n_out_of
    NOutOf                   1 n · 2 rules (repeated)
    MSPPrincipal             1 principal_classification (ROLE = 0, left out) · 2 principal
    MSPRole                  1 msp_identifier · 2 role (PEER = 3)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_PEER: Final = 3


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _signed_by(index: int) -> bytes:
    # A member of a oneof is written even when it is zero.
    return _number(1, index)


def _out_of(count: int, rules: Sequence[bytes]) -> bytes:
    return _bytes(2, _number(1, count) + b"".join(_bytes(2, rule) for rule in rules))


def _peer_of(msp_id: str) -> bytes:
    role = _bytes(1, msp_id.encode("utf-8")) + _number(2, _PEER)
    return _bytes(2, role)


def lender_and_another_group(lender: str, others: Sequence[str]) -> bytes:
    """Return the policy "a peer of the lender, and a peer of any of the others".

    Args:
        lender: MSP id.
        others: MSP ids of the members outside the lender's affiliate group, in a fixed order.
    Returns:
        a marshalled SignaturePolicyEnvelope.
    """
    another = _out_of(1, [_signed_by(place) for place in range(1, len(others) + 1)])
    rule = _out_of(2, [_signed_by(0), another])
    identities = b"".join(_bytes(3, _peer_of(msp_id)) for msp_id in (lender, *others))
    return _bytes(2, rule) + identities
