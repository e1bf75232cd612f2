"""What differs between two configurations, for people who are asked to sign.

Every element is put into lines, a path and a text: each field of a value by itself, a policy in
words, a certificate by its name, serial number, end and fingerprint. What has no words shows by
size and SHA-256.

Invariants:
- Nothing that differs is left out: a value or policy whose bytes differ gives at least one line,
  and what words cannot say of it is shown by its hash.
- A text is printable, whatever bytes it came from.

Absent: versions, which follow from the changes.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from fabric_protos.msp import msp_config_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError

from network.configuration.elements import GROUP, VALUE, Element, map_elements
from network.configuration.values import (
    APPLICATION_ORGANISATION_VALUES,
    APPLICATION_VALUES,
    CHANNEL_VALUES,
    ORDERER_ORGANISATION_VALUES,
    ORDERER_VALUES,
)
from network.errors import IdentityError, PolicyError
from network.msp import Certificate
from network.msp.certificate import MALFORMED
from network.msp.der import decode_pem
from network.policy.language import parse_policy
from network.policy.words import policy_in_words

__all__ = ["Change", "describe_changes", "rule_in_words", "type_of_value"]

MAX_TEXT: Final = 400
"""Characters of one text; a longer one is cut and its hash added."""

_ORGANISATION_VALUES: Final[Mapping[str, Mapping[str, Any]]] = {
    "Application": APPLICATION_ORGANISATION_VALUES,
    "Orderer": ORDERER_ORGANISATION_VALUES,
}
_GROUP_VALUES: Final[Mapping[str, Mapping[str, Any]]] = {
    "Application": APPLICATION_VALUES,
    "Orderer": ORDERER_VALUES,
}

_Lines = dict[str, Counter[str]]


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that differs.

    Attributes:
        path: its place, e.g. ``/Channel/Orderer/BatchSize/max_message_count``.
        before: what stands there now; None if nothing does.
        after: what is to stand there; None if nothing is.
    """

    path: str
    before: str | None
    after: str | None


def describe_changes(original: Any, updated: Any) -> list[Change]:
    """Return what differs between two `common.Config` messages, by path.

    Raises:
        ConfigurationError: one of them has impossible names, or is too deep or too large.
    """
    before = map_elements(original.channel_group, "the configuration in force")
    after = map_elements(updated.channel_group, "the edited configuration")
    changes: list[Change] = []
    for key in sorted({*before, *after}, key=lambda each: _place(before.get(each) or after[each])):
        old, new = before.get(key), after.get(key)
        if old is None or new is None or _differ(old, new):
            changes.extend(_changes_of(old, new))
    return changes


def _place(element: Element) -> tuple[tuple[str, ...], str]:
    inside = (*element.groups, element.name)
    return inside, "" if element.kind == GROUP else element.kind


def _differ(old: Element, new: Element) -> bool:
    if old.mod_policy != new.mod_policy:
        return True
    if old.kind == GROUP:
        return False  # its members are elements of their own
    if old.kind == VALUE:
        return bool(old.message.value != new.message.value)
    return bool(old.message.policy != new.message.policy)


def _changes_of(old: Element | None, new: Element | None) -> Iterator[Change]:
    before, after = _lines_of(old), _lines_of(new)
    found = False
    for path in sorted({*before, *after}):
        gone = before.get(path, Counter()) - after.get(path, Counter())
        come = after.get(path, Counter()) - before.get(path, Counter())
        if gone.total() == come.total() == 1:
            yield Change(path, next(iter(gone)), next(iter(come)))
        else:
            yield from (Change(path, text, None) for text in sorted(gone.elements()))
            yield from (Change(path, None, text) for text in sorted(come.elements()))
        found = found or bool(gone or come)
    if not found and old is not None and new is not None:
        # Only the order of a list, say, or the way the bytes are written.
        yield Change(old.path, f"as written: {_digest(_raw(old))}", f"{_digest(_raw(new))}")


def _raw(element: Element) -> bytes:
    if element.kind == VALUE:
        return bytes(element.message.value)
    raw: bytes = element.message.policy.SerializeToString()
    return raw


def _lines_of(element: Element | None) -> _Lines:
    lines: _Lines = {}
    for path, text in () if element is None else _describe(element):
        lines.setdefault(path, Counter())[text] += 1
    return lines


def _describe(element: Element) -> Iterator[tuple[str, str]]:
    yield f"{element.path} (mod_policy)", _printable(element.mod_policy)
    if element.kind == VALUE:
        yield from _describe_value(element)
    elif element.kind != GROUP:
        yield element.path, _policy(element)


def _policy(element: Element) -> str:
    policy = element.message.policy
    try:
        words = policy_in_words(policy, element.path)
    except PolicyError:
        return _digest(policy.SerializeToString())
    text = _printable(words)
    return text if _is_said_by(words, policy) else f"{text} {_digest(policy.value)}"


def rule_in_words(element: Element) -> str | None:
    """Return the rule of a policy as `config_policy` reads it; None if words cannot say all of it.

    Args:
        element: a policy.
    """
    policy = element.message.policy
    try:
        words = policy_in_words(policy, element.path)
        if not words.isprintable() or not _is_said_by(words, policy):
            return None
    except (DecodeError, PolicyError):
        return None
    return f"OR({words})" if words.startswith("'") else words


def _is_said_by(words: str, policy: Any) -> bool:
    """Tell whether words are all there is to a policy: no principal or rule without a word."""
    if "(" not in words and "'" not in words:
        return True  # an implicit-meta policy
    try:
        parsed = parse_policy(words if not words.startswith("'") else f"OR({words})")
    except PolicyError:
        return False
    found = type(parsed).FromString(policy.value)
    return len(found.identities) == len(parsed.identities) and found.version == 0


def _describe_value(element: Element) -> Iterator[tuple[str, str]]:
    message_type = type_of_value(element)
    if message_type is None:
        yield element.path, _digest(element.message.value)
        return
    try:
        message = message_type.FromString(element.message.value)
        if message_type is msp_config_pb2.MSPConfig:
            yield from _describe_msp(message, element.path)
        else:
            yield from _fields(message, element.path)
    except DecodeError:
        yield element.path, f"malformed {_digest(element.message.value)}"


def type_of_value(element: Element) -> Any:
    """Return the type of message that a value of this place and name holds; None if unknown."""
    match element.groups:
        case (_,):
            return CHANNEL_VALUES.get(element.name)
        case (_, group):
            return _GROUP_VALUES.get(group, {}).get(element.name)
        case (_, group, _):
            return _ORGANISATION_VALUES.get(group, {}).get(element.name)
    return None


def _describe_msp(message: Any, path: str) -> Iterator[tuple[str, str]]:
    if message.type != 0:
        yield path, f"MSP of type {message.type} {_digest(message.config)}"
        return
    yield from _unknown_fields(message, path)
    yield from _fields(msp_config_pb2.FabricMSPConfig.FromString(message.config), path)


def _fields(message: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield every field that is set, those of inner messages below their own paths."""
    yield from _unknown_fields(message, path)
    for field, value in message.ListFields():
        place = f"{path}/{field.name}"
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for key in sorted(value):
                yield from _entry(value[key], f"{place}/{_printable(str(key))}")
        elif isinstance(value, bytes | str | int | float | bool):
            yield from _scalar(field, value, place)
        elif field.message_type is None:
            for each in value:
                yield from _scalar(field, each, place)
        elif hasattr(value, "ListFields"):
            yield from _fields(value, place)
        elif field.name == "consenter_mapping" and len({each.id for each in value}) == len(value):
            for each in value:
                yield from _fields(each, f"{place}/{each.id}")
        else:
            for each in value:
                # One line an entry, so that its fields stay together.
                inner = sorted((where.removeprefix("/"), text) for where, text in _fields(each, ""))
                yield place, _printable(", ".join(f"{where} {text}" for where, text in inner))


def _entry(value: Any, place: str) -> Iterable[tuple[str, str]]:
    if not hasattr(value, "ListFields"):
        return [(place, _printable(str(value)))]
    return list(_fields(value, place)) or [(place, "set")]


def _unknown_fields(message: Any, path: str) -> Iterator[tuple[str, str]]:
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    if known.ByteSize() != message.ByteSize():
        yield f"{path} (fields that are not known here)", _digest(message.SerializeToString())


def _scalar(field: Any, value: Any, place: str) -> Iterator[tuple[str, str]]:
    if field.type == FieldDescriptor.TYPE_ENUM:
        named = field.enum_type.values_by_number.get(value)
        yield place, f"unknown {value}" if named is None else named.name
    elif not isinstance(value, bytes):
        yield place, _printable(str(value))
    elif field.name == "revocation_list":
        yield from _revocations(value, place)
    else:
        yield place, _bytes(value)


def _bytes(value: bytes) -> str:
    """Return a certificate's name, or the hash of anything else."""
    if not value.lstrip().startswith(b"-----BEGIN"):
        return _digest(value)
    try:
        found = Certificate.from_pem(value)
    except IdentityError:
        return _digest(value)
    key = found.public_key
    # Of a consenter it is the key that is agreed on.
    shown = (
        f", key {key.public_bytes_raw().hex()}" if isinstance(key, ed25519.Ed25519PublicKey) else ""
    )
    return _printable(
        f"certificate {found.common_name!r}, serial {found.serial_number:x}, until "
        f"{found.not_after:%Y-%m-%d}{shown} {_digest(value)}"
    )


def _revocations(value: bytes, place: str) -> Iterator[tuple[str, str]]:
    """Yield a line for each certificate that a list revokes, and one for the list itself."""
    try:
        _, der, _ = decode_pem(value)
        found = x509.load_der_x509_crl(der)
        issuer = _printable(found.issuer.rfc4514_string())
        serials = [each.serial_number for each in found]
    except MALFORMED:
        yield place, _digest(value)
        return
    yield f"{place} (list)", f"of {issuer}, {len(serials)} certificates {_digest(value)}"
    for serial in serials:
        yield f"{place} (revoked)", f"serial {serial:x} of {issuer}"


def _digest(raw: bytes) -> str:
    return f"({len(raw)} bytes, SHA-256 {hashlib.sha256(raw).hexdigest()[:16]})"


def _printable(text: str) -> str:
    if len(text) > MAX_TEXT:
        text = f"{text[:MAX_TEXT]}… {_digest(text.encode(errors='surrogateescape'))}"
    return text if text.isprintable() else repr(text)
