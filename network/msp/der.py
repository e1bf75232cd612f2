"""The few pieces of DER and PEM where Fabric's rules differ from those of OpenSSL.

Validation must reach Fabric's verdict on every byte string, so these follow Go's decoders: a PEM
block may stand between other text, and an ECDSA signature may be followed by further bytes.
Everything here is pure and raises ``ValueError`` on foreign bytes; nothing here verifies anything.

Source: Go encoding/pem, encoding/asn1 and crypto/x509 (`parseName`, `parseASN1String`), as used by
Fabric msp/mspimpl.go (`getCertFromPem`) and fabric-lib-go bccsp/utils/ecdsa.go
(`UnmarshalECDSASignature`).
"""

from __future__ import annotations

import base64
import binascii
import re

_SEQUENCE = 0x30
_INTEGER = 0x02
_BIT_STRING = 0x03
_OBJECT_IDENTIFIER = 0x06
_SET = 0x31
_NAME_STRINGS = frozenset({0x0C, 0x12, 0x13, 0x14, 0x16, 0x1E})
"""UTF8String, NumericString, PrintableString, T61String, IA5String, BMPString."""

_SPACES = re.compile(rb"[ \t\r\n]")
_DASHES = b"-----"


def _line(data: bytes, start: int) -> tuple[bytes, int]:
    """Return the line at *start* without the blanks at its end, and where the next one begins."""
    end = data.find(b"\n", start)
    if end < 0:
        return data[start:].rstrip(b" \t"), len(data)
    return data[start:end].removesuffix(b"\r").rstrip(b" \t"), end + 1


def _find_line(data: bytes, prefix: bytes, start: int) -> int:
    """Return where the first line that begins with *prefix* stands, at or after *start*, or -1."""
    if data.startswith(prefix, start):
        return start
    found = data.find(b"\n" + prefix, start)
    return found if found < 0 else found + 1


def _block(data: bytes, begin: int) -> tuple[str, bytes, int] | None:
    """Read the PEM block whose BEGIN line stands at *begin*; None if it is malformed."""
    line, start = _line(data, begin)
    label = line.removeprefix(b"-----BEGIN ")
    if not label.endswith(_DASHES):
        return None
    label = label.removesuffix(_DASHES)
    while start < len(data):
        line, following = _line(data, start)
        if b":" not in line:
            break
        start = following
    end = _find_line(data, b"-----END ", start)
    if end < 0:
        return None
    line, rest = _line(data, end)
    if line != b"-----END " + label + _DASHES:
        return None
    try:
        content = base64.b64decode(_SPACES.sub(b"", data[start:end]), validate=True)
    except (binascii.Error, ValueError):
        return None
    return label.decode("utf-8", "replace"), content, rest


def decode_pem(data: bytes) -> tuple[str, bytes, bytes]:
    """Return type, content and rest of the first well-formed PEM block in *data*.

    The time grows with the square of the number of BEGIN lines; callers bound the size.

    Raises:
        ValueError: there is no such block.
    """
    begin = _find_line(data, b"-----BEGIN ", 0)
    while begin >= 0:
        block = _block(data, begin)
        if block is not None:
            label, content, rest = block
            return label, content, data[rest:]
        begin = _find_line(data, b"-----BEGIN ", begin + 1)
    raise ValueError("no PEM block")


def encode_pem(label: str, content: bytes) -> bytes:
    """Write *content* as a PEM block with lines of 64 characters."""
    text = base64.b64encode(content)
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return b"".join(
        (
            b"-----BEGIN " + label.encode() + b"-----\n",
            *(line + b"\n" for line in lines),
            b"-----END " + label.encode() + b"-----\n",
        )
    )


def read_element(data: bytes, offset: int, tag: int) -> tuple[int, int]:
    """Return where the content of the DER element at *offset* begins and ends.

    Raises:
        ValueError: another tag, a length that is indefinite or not minimal, or too few bytes.
    """
    if len(data) < offset + 2 or data[offset] != tag:
        raise ValueError("not the expected DER element")
    length = data[offset + 1]
    start = offset + 2
    if length & 0x80:
        count = length & 0x7F
        if not 1 <= count <= 4 or len(data) < start + count or data[start] == 0:
            raise ValueError("malformed DER length")
        length = int.from_bytes(data[start : start + count], "big")
        if length < 0x80:
            raise ValueError("DER length is not minimal")
        start += count
    if len(data) < start + length:
        raise ValueError("DER element is cut short")
    return start, start + length


def verify_name_strings(name: bytes) -> None:
    """Check that every value of a DER X.509 name is a text as Go reads texts in names.

    What else ASN.1 has may stand there for other libraries. Go refuses the certificate, and TLS
    fails to load it, and with it those that stand behind it in a bundle.

    Raises:
        ValueError: one is not, or it is no name.
    """
    place, end = read_element(name, 0, _SEQUENCE)
    while place < end:
        inner, place = read_element(name, place, _SET)
        while inner < place:
            start, inner = read_element(name, inner, _SEQUENCE)
            _, value = read_element(name, start, _OBJECT_IDENTIFIER)
            if value >= inner or name[value] not in _NAME_STRINGS:
                raise ValueError("a name holds what is no text")
            _, over = read_element(name, value, name[value])
            if over != inner:
                raise ValueError("a name has an attribute of more than one value")


def _read_positive(data: bytes, offset: int, limit: int) -> tuple[int, int]:
    start, end = read_element(data, offset, _INTEGER)
    content = data[start:end]
    if end > limit or not content:
        raise ValueError("malformed DER integer")
    if len(content) > 1 and content[0] == 0 and content[1] < 0x80:
        raise ValueError("DER integer is not minimal")
    number = int.from_bytes(content, "big", signed=True)
    if number <= 0:
        raise ValueError("an ECDSA signature holds two numbers above zero")
    return number, end


def decode_ecdsa_signature(signature: bytes) -> tuple[int, int]:
    """Return r and s as Go reads them: bytes after s, or after the sequence, are passed over.

    Raises:
        ValueError: no DER sequence that begins with two positive integers.
    """
    start, end = read_element(signature, 0, _SEQUENCE)
    r, offset = _read_positive(signature, start, end)
    s, _ = _read_positive(signature, offset, end)
    return r, s


def _element(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def replace_certificate_signature(certificate: bytes, signature: bytes) -> bytes:
    """Return the DER *certificate* with *signature* as its signature value.

    Raises:
        ValueError: not an X.509 certificate.
    """
    start, end = read_element(certificate, 0, _SEQUENCE)
    _, signed_end = read_element(certificate, start, _SEQUENCE)
    _, algorithm_end = read_element(certificate, signed_end, _SEQUENCE)
    if algorithm_end > end:
        raise ValueError("malformed certificate")
    value = _element(_BIT_STRING, b"\x00" + signature)
    return _element(_SEQUENCE, certificate[start:algorithm_end] + value)
