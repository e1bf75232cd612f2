"""Foreign bytes in identities, signatures and configurations: one of our errors, or the truth."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from fabric_protos.common import configtx_pb2
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import Refusal
from network.configuration import ChannelConfiguration, config_of_block
from network.errors import ConfigurationError, IdentityError, SignatureError
from network.msp import MSP, MSPManager, serialize_identity
from network.msp.certificate import read_attributes
from network.msp.config_yaml import parse_config_yaml
from network.msp.der import decode_ecdsa_signature, decode_pem, encode_pem
from network.msp.keys import CURVE_ORDERS
from tests.support.members import CHANNEL, Member, genesis

MEMBER = Member("BankMSP", intermediate=True)
SIGNER = MEMBER.identity(attributes={"qist.role": "lending"})
MANAGER = MSPManager([MEMBER.msp()])
IDENTITY = MANAGER.deserialize(SIGNER.serialized)
GENESIS = config_of_block(genesis([Member("BankMSP"), Member("PtaMSP")]))
ORDER = CURVE_ORDERS["secp256r1"]

edits = st.lists(
    st.tuples(st.floats(0, 1), st.binary(max_size=4), st.integers(0, 4)), min_size=1, max_size=3
)


def _edited(raw: bytes, edits) -> bytes:
    for share, put, taken in edits:
        at = int(share * len(raw))
        raw = raw[:at] + put + raw[at + taken :]
    return raw


@given(edits)
def test_damaged_certificate_is_refused_or_the_same_identity(edits) -> None:
    """Every byte of a certificate is signed, but for what stands around it."""
    der = _edited(SIGNER.certificate.der, edits)
    raw = serialize_identity("BankMSP", encode_pem("CERTIFICATE", der))
    refused = None
    try:
        found = MANAGER.deserialize(raw)
    except IdentityError as error:
        refused = error
    if refused is None:
        assert (
            found.certificate.der[: len(SIGNER.certificate.der) - 72]
            == (SIGNER.certificate.der[: len(SIGNER.certificate.der) - 72])
        )


@given(edits)
def test_damaged_identity_is_refused_or_well_understood(edits) -> None:
    """Also at the doors of a node, where the form is judged more strictly."""
    raw = _edited(SIGNER.serialized, edits)
    for check in (MANAGER.deserialize, MANAGER.verify_well_formed):
        refused = None
        try:
            check(raw)
        except IdentityError as error:
            refused = error
        assert refused is None or str(refused)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_no_identity(raw) -> None:
    """Whether as message or as certificate."""
    for each in (raw, serialize_identity("BankMSP", raw)):
        with pytest.raises(IdentityError):
            MANAGER.deserialize(each)


@given(edits)
def test_damaged_signature_is_refused_unless_it_says_the_same(edits) -> None:
    """Bytes behind the two numbers are passed over; everything else is refused."""
    signature = SIGNER.sign(b"message")
    damaged = _edited(signature, edits)
    refused = None
    try:
        IDENTITY.verify(b"message", damaged)
    except SignatureError as error:
        refused = error
    if refused is None:
        assert decode_ecdsa_signature(damaged) == decode_dss_signature(signature)


@given(r=st.integers(1, ORDER - 1), s=st.integers(1, ORDER - 1), tail=st.binary(max_size=8))
def test_signature_is_read_as_it_was_written(r, s, tail) -> None:
    """With anything behind it."""
    assert decode_ecdsa_signature(encode_dss_signature(r, s) + tail) == (r, s)


@given(st.binary(max_size=80))
def test_arbitrary_bytes_are_no_signature(raw) -> None:
    """Nothing but SignatureError comes out."""
    with pytest.raises(SignatureError):
        IDENTITY.verify(b"message", raw)


@given(
    label=st.sampled_from(["CERTIFICATE", "X509 CRL", "A B"]),
    content=st.binary(max_size=200),
    before=st.sampled_from([b"", b"text\n", b"-----BEGIN X-----\nno end\n"]),
    after=st.binary(max_size=30),
)
def test_pem_block_is_found_between_other_text(label, content, before, after) -> None:
    """The first well-formed block counts, and what follows is given back."""
    found = decode_pem(before + encode_pem(label, content) + after)
    assert found == (label, content, after)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_hold_no_pem_block(raw) -> None:
    """A block has its dashes."""
    if b"-----BEGIN" not in raw:
        with pytest.raises(ValueError, match="no PEM block"):
            decode_pem(raw)


json_like = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["attrs", "a"]), inner)
    ),
).map(lambda value: json.dumps(value).encode())


@given(st.one_of(st.binary(max_size=60), json_like))
def test_attribute_extension_never_fails(raw) -> None:
    """What is no attributes is none."""
    for name, value in read_attributes(raw).items():
        assert isinstance(name, str)
        assert isinstance(value, str)


@given(st.one_of(st.binary(max_size=60), st.text("NodeOUs: -\n\t#'\"{}|&", max_size=60)))
def test_config_yaml_is_read_or_refused(raw) -> None:
    """With one kind of error."""
    raw = raw.encode() if isinstance(raw, str) else raw
    refused = None
    try:
        parse_config_yaml(raw, "config.yaml")
    except ConfigurationError as error:
        refused = error
    assert refused is None or str(refused).startswith("config.yaml")


@given(edits)
def test_damaged_configuration_is_read_or_refused(edits) -> None:
    """A member may send any bytes as its proposal; none of them may stop a node."""
    assert GENESIS is not None
    raw = _edited(GENESIS[1], edits)
    refused = None
    try:
        ChannelConfiguration.from_config_envelope(raw, CHANNEL)
    except Refusal as error:
        refused = error
    if refused is None:
        configtx_pb2.ConfigEnvelope.FromString(raw)


@given(edits)
def test_damaged_msp_definition_is_read_or_refused(edits) -> None:
    """The same for one member's part of it."""
    raw = _edited(MEMBER.msp_config().SerializeToString(), edits)
    refused = None
    try:
        MSP.from_config(raw)
    except ConfigurationError as error:
        refused = error
    assert refused is None or str(refused)
