"""Identifiers of people, phones and payments: plain rules for values, and keyed pseudonyms.

Invariants: nothing here reads a ledger, a clock or a file, and no error ever holds the value that
it refuses. Canonical forms: a CNIC is 13 digits, an IMEI its first 14 digits (the check digit is
not transmitted on a network), an MSISDN E.164 with its "+".

A pseudonym is ``key-id:`` and HMAC-SHA-256 in hexadecimal, with a domain for each kind of
identifier, so that one number used as two kinds gives two pseudonyms and keys can be rotated: a
new record takes the first key of a ring, a look-up tries every key. Plain hashes would be no
protection: all IMEIs of a model are tried in seconds (domain §0, finding 8).

Deliberately absent: looking anything up. Whether a number is in use nobody can tell from its form.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from .verdicts import RuleBroken

_SEPARATORS: Final = str.maketrans("", "", " -./()\t\u00a0")


class IdentifierRefusal(RuleBroken):
    """A value does not have the form of its kind; the message never holds the value."""


def _refuse(kind: str, what: str, way_out: str) -> IdentifierRefusal:
    return IdentifierRefusal(kind, what, 2, way_out)


# ---- check digits -------------------------------------------------------------------------------


def luhn_check_digit(digits: str) -> str:
    """Return the check digit that follows *digits* (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = ord(digit) - 48
        if place % 2 == 0:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return str(-total % 10)


def is_luhn(digits: str) -> bool:
    """Say whether the last of *digits* is the check digit of the others."""
    return len(digits) > 1 and luhn_check_digit(digits[:-1]) == digits[-1]


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


# ---- phones -------------------------------------------------------------------------------------

_TEST_BODY: Final = "00"  # reporting body identifier of test IMEIs (3GPP TS 23.003, GSMA TS.06)


def parse_tac(text: str) -> str:
    """Return a type allocation code as 8 digits.

    Raises:
        IdentifierRefusal: not 8 digits, all the same digit, or of the test range (`00…`).
    """
    tac = text.translate(_SEPARATORS)
    if len(tac) != 8 or not _is_digits(tac):
        raise _refuse("TAC", "must be 8 digits", "take the first 8 digits of the IMEI")
    if len(set(tac)) == 1 or tac.startswith(_TEST_BODY):
        raise _refuse("TAC", "is a test number", "register the model's allocated TAC")
    return tac


def parse_imei(text: str) -> str:
    """Return an IMEI as its first 14 digits.

    Args:
        text: 14 digits, 15 with the check digit, or 16 of an IMEISV; spaces, dashes, dots and
            slashes are passed over.
    Raises:
        IdentifierRefusal: another length, a wrong check digit, all zeros or one digit throughout,
            or a test TAC.
    Source: 3GPP TS 23.003 §6.2; domain §2.
    """
    digits = text.translate(_SEPARATORS)
    if not _is_digits(digits) or not 14 <= len(digits) <= 16:
        raise _refuse("IMEI", "must be 14, 15 or 16 digits", "dial *#06# on the handset to read it")
    if len(digits) == 15 and not is_luhn(digits):
        raise _refuse("IMEI", "has a wrong check digit", "read it again from the handset, *#06#")
    imei = digits[:14]
    if len(set(imei)) == 1:
        raise _refuse("IMEI", "is one digit throughout", "read it from the handset, *#06#")
    parse_tac(imei[:8])
    return imei


def imei_with_check_digit(imei: str) -> str:
    """Return the 15 digits that are printed on the box from the 14 that are kept."""
    return imei + luhn_check_digit(imei)


def tac_of(imei: str) -> str:
    """Return the type allocation code of a canonical IMEI."""
    return imei[:8]


# ---- people -------------------------------------------------------------------------------------

PROVINCES: Final = {
    "1": "Khyber Pakhtunkhwa",
    "2": "former FATA",
    "3": "Punjab",
    "4": "Sindh",
    "5": "Balochistan",
    "6": "Islamabad",
    "7": "Gilgit-Baltistan",
    "8": "Azad Kashmir",
}
"""First digit of a CNIC. 9 is issued too, without a province of its own."""


def parse_cnic(text: str) -> str:
    """Return a CNIC as 13 digits.

    Args:
        text: 13 digits, with or without the dashes of ``5-7-1``.
    Raises:
        IdentifierRefusal: another length, dashes elsewhere, first digit 0, or one digit throughout.
    Source: domain §2. There is no checksum; the last digit tells the sex (odd male, even female)
    and may be 0, and 8 as first digit is Azad Kashmir: libraries that refuse those refuse citizens.
    """
    stripped = text.strip()
    match = re.fullmatch(r"([1-9][0-9]{4})(-?)([0-9]{7})\2([0-9])", stripped)
    if match is None:
        raise _refuse(
            "CNIC", "must be 13 digits as 5-7-1 and not begin with 0", "read it from the card"
        )
    digits = match[1] + match[3] + match[4]
    if len(set(digits)) == 1:
        raise _refuse("CNIC", "is one digit throughout", "read it from the card")
    return digits


def format_cnic(cnic: str) -> str:
    """Return a canonical CNIC with its dashes."""
    return f"{cnic[:5]}-{cnic[5:12]}-{cnic[12]}"


_MSISDN: Final = {
    # libphonenumber's patterns; numbers are portable, so a prefix tells no operator.
    "PK": ("92", re.compile(r"3(?:[0-247][0-9]|3[0-79]|55|64)[0-9]{7}")),
    "RW": ("250", re.compile(r"7[237-9][0-9]{7}")),
}


def parse_msisdn(text: str, country: str = "PK") -> str:
    """Return a mobile number as E.164, ``+923001234567``.

    Args:
        text: international (``+92…``, ``0092…``, ``92…``) or national (``03…``, ``3…``).
        country: ``PK`` or ``RW``: the country whose national form is understood.
    Raises:
        IdentifierRefusal: not a mobile number of that country; an unknown country.
    Source: domain §2.
    """
    if country not in _MSISDN:
        raise _refuse("MSISDN", "is of a country that is not known here", "use PK or RW")
    code, pattern = _MSISDN[country]
    digits = text.strip().translate(_SEPARATORS)
    if digits.startswith("+"):
        digits = digits[1:]
        national = digits.removeprefix(code) if digits.startswith(code) else ""
    elif digits.startswith("00"):
        national = digits[2:].removeprefix(code) if digits[2:].startswith(code) else ""
    elif pattern.fullmatch(digits.removeprefix(code)) and digits.startswith(code):
        national = digits.removeprefix(code)
    else:
        national = digits.removeprefix("0")
    if pattern.fullmatch(national) is None:
        raise _refuse(
            "MSISDN", f"must be a mobile number of {country}", f"write it as +{code} and the number"
        )
    return f"+{code}{national}"


# ---- references of payments ---------------------------------------------------------------------

_REFERENCE: Final = re.compile(r"[A-Z0-9/-]{1,32}")
_NUMBERS: Final = re.compile(r"[0-9](?:[0-9/-]*[0-9])?")
_TEN_DIGITS: Final = re.compile(r"(?:[0-9][/-]*){10}")
_IBAN: Final = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")
_CNIC_DASHED: Final = re.compile(r"(?<![0-9])[1-9][0-9]{4}-[0-9]{7}-[0-9](?![0-9])")
_PHONE: Final = re.compile(r"(?:0|92|0092)3[0-9]{9}|(?:0|250|00250)7[237-9][0-9]{7}")


def check_reference(reference: str) -> str:
    """Return *reference* if it is fit for the ledger.

    Args:
        reference: the institution's own, A–Z, 0–9, ``-`` and ``/``, 1 to 32 characters.
    Raises:
        IdentifierRefusal: another form, or it holds what may be somebody's: a card number (13 to
            19 digits that pass the Luhn check, dashes and slashes passed over), an IBAN, a phone or
            wallet number, an identity card number, or an account number (ten digits or more and no
            letter).
    Source: rulebook 2, "References are the institution's own".
    """
    if _REFERENCE.fullmatch(reference) is None:
        raise _refuse(
            "reference",
            "must be A–Z, 0–9, - and /, at most 32 characters",
            "use the institution's own reference",
        )
    if _TEN_DIGITS.search(reference) is None:
        return reference  # too few digits for any number of a person: the usual case, done fast
    _refuse_numbers_of_people(reference)
    return reference


def _refuse_numbers_of_people(reference: str) -> None:
    bare = reference.replace("-", "").replace("/", "")
    if any(_is_iban(part) for part in (bare, *re.split("[-/]", reference))):
        raise _reference_refusal("an IBAN")
    if _CNIC_DASHED.search(reference) is not None:
        raise _reference_refusal("an identity card number")
    for run in _NUMBERS.findall(reference):
        # A number may be written with separators, or stand beside another between them.
        for digits in (run.replace("-", "").replace("/", ""), *re.split("[-/]", run)):
            if _PHONE.fullmatch(digits) is not None:
                raise _reference_refusal("a phone or wallet number")
            if 13 <= len(digits) <= 19 and is_luhn(digits):
                raise _reference_refusal("a card number")
    if _is_digits(bare):
        raise _reference_refusal("an account number (ten digits or more and no letter)")


def _reference_refusal(what: str) -> IdentifierRefusal:
    return _refuse(
        "reference", f"looks like {what}", "use the institution's own reference of the transaction"
    )


def _is_iban(text: str) -> bool:
    """Say whether it has the form of an IBAN and its check digits hold (ISO 13616, MOD 97-10)."""
    if _IBAN.fullmatch(text) is None:
        return False
    number = "".join(str(int(letter, 36)) for letter in text[4:] + text[:4])
    return int(number) % 97 == 1


# ---- pseudonyms ---------------------------------------------------------------------------------

PSEUDONYM_PATTERN: Final = r"[a-z0-9][a-z0-9-]{0,15}:[0-9a-f]{64}"
_PSEUDONYM: Final = re.compile(PSEUDONYM_PATTERN)
_KEY_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,15}")


class IdentifierKind(Enum):
    """What a pseudonym stands for; each kind is a domain of its own."""

    DEVICE = "device"
    BORROWER = "borrower"
    SIM = "sim"


@dataclass(frozen=True, slots=True)
class PseudonymKey:
    """A secret that turns identifiers into pseudonyms.

    Attributes:
        key_id: stands before every pseudonym: a–z, 0–9 and ``-``, at most 16.
        secret: at least 32 bytes; never printed.
    """

    key_id: str
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if _KEY_ID.fullmatch(self.key_id) is None:
            raise _refuse("pseudonym key", "has no proper id", "use a–z, 0–9 and -, at most 16")
        if len(self.secret) < 32:
            raise _refuse("pseudonym key", "is too short", "make one of 32 random bytes")

    def pseudonym(self, kind: IdentifierKind, canonical: str) -> str:
        """Return the pseudonym of a canonical identifier under this key."""
        message = f"qist/pseudonym/1\x00{kind.value}\x00{canonical}".encode()
        return f"{self.key_id}:{hmac.new(self.secret, message, hashlib.sha256).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Keyring:
    """The active keys of one circle of members, the current one first.

    Device pseudonyms use a ring that all members share; borrower and SIM pseudonyms one that only
    a lender and the regulator have (rulebook 2).
    """

    keys: tuple[PseudonymKey, ...]

    def __post_init__(self) -> None:
        if not self.keys:
            raise _refuse("keyring", "holds no key", "give it the circle's current key")
        if len({key.key_id for key in self.keys}) != len(self.keys):
            raise _refuse("keyring", "holds two keys of one id", "give every key its own id")

    def pseudonym(self, kind: IdentifierKind, canonical: str) -> str:
        """Return the pseudonym for a new record: under the current key."""
        return self.keys[0].pseudonym(kind, canonical)

    def pseudonyms(self, kind: IdentifierKind, canonical: str) -> tuple[str, ...]:
        """Return the pseudonym under every active key, the current one first, for a look-up."""
        return tuple(key.pseudonym(kind, canonical) for key in self.keys)


def device_pseudonyms(keyring: Keyring, imei: str) -> tuple[str, ...]:
    """Return the pseudonyms of one IMEI, given in any of its forms."""
    return keyring.pseudonyms(IdentifierKind.DEVICE, parse_imei(imei))


def borrower_pseudonym(keyring: Keyring, cnic: str) -> str:
    """Return the pseudonym of a borrower, given by CNIC."""
    return keyring.pseudonym(IdentifierKind.BORROWER, f"PK/{parse_cnic(cnic)}")


def sim_pseudonym(keyring: Keyring, msisdn: str, country: str = "PK") -> str:
    """Return the pseudonym of a SIM, given by its number."""
    return keyring.pseudonym(IdentifierKind.SIM, parse_msisdn(msisdn, country))


def is_pseudonym(text: str) -> bool:
    """Say whether *text* has the form of a pseudonym."""
    return _PSEUDONYM.fullmatch(text) is not None


def check_pseudonyms(pseudonyms: Sequence[str], record: str) -> None:
    """Refuse a list that is empty, holds anything but pseudonyms, or one twice."""
    if not pseudonyms or not all(map(is_pseudonym, pseudonyms)):
        raise _refuse(
            record,
            "must be named by pseudonyms, key-id and 64 hex digits",
            "make them with the circle's key; raw numbers never go to the ledger",
        )
    if len(set(pseudonyms)) != len(pseudonyms):
        raise _refuse(record, "has one pseudonym twice", "name each IMEI once")
