"""Identifiers: what is one, what is none, and pseudonyms under rotating keys (domain §2)."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum import luhn

from chaincode.instalments.identifiers import (
    IdentifierKind,
    IdentifierRefusal,
    Keyring,
    PseudonymKey,
    borrower_pseudonym,
    check_pseudonyms,
    check_reference,
    device_pseudonyms,
    format_cnic,
    imei_with_check_digit,
    is_luhn,
    is_pseudonym,
    luhn_check_digit,
    parse_cnic,
    parse_imei,
    parse_msisdn,
    parse_tac,
    sim_pseudonym,
    tac_of,
)

OLD = PseudonymKey("k1", b"o" * 32)
NEW = PseudonymKey("k2", b"n" * 32)
digits = st.text("0123456789", min_size=1, max_size=20)


def refused(call, *args: str) -> str:
    with pytest.raises(IdentifierRefusal) as refusal:
        call(*args)
    message = str(refusal.value)
    assert args[0] == "" or args[0].strip() not in message
    return message


@given(digits)
def test_check_digit_is_luhns(number: str) -> None:
    """The same as a library's."""
    assert luhn_check_digit(number) == luhn.calc_check_digit(number)
    assert is_luhn(number + luhn_check_digit(number))


@pytest.mark.parametrize(
    "text",
    [
        "35209900176148",
        "352099001761481",
        "35-209900-176148-1",
        "3520990017614801",
        "35 209900 176148",
    ],
)
def test_imei_in_any_of_its_forms_is_its_first_fourteen_digits(text: str) -> None:
    """With or without check digit, as IMEISV, with separators."""
    assert parse_imei(text) == "35209900176148"
    assert tac_of(parse_imei(text)) == "35209900"
    assert imei_with_check_digit(parse_imei(text)) == "352099001761481"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "352099001761482",
        "3520990017614",
        "35209900176148012",
        "00000000000000",
        "000000000000000",
        "11111111111111",
        "00440245000001",
        "3520990017614A",
        "٣٥٢٠٩٩٠٠١٧٦١٤٨",
    ],
)
def test_imei_that_is_none_is_refused_without_it(text: str) -> None:
    """Check digit, length, one digit throughout, test TAC."""
    assert "IMEI" in refused(parse_imei, text) or "TAC" in refused(parse_imei, text)


@pytest.mark.parametrize("text", ["3520990", "352099001", "77777777", "00123456", "A5209900"])
def test_tac_that_is_none_is_refused_without_it(text: str) -> None:
    """Eight digits, no test number."""
    refused(parse_tac, text)


@pytest.mark.parametrize(
    "text", ["60460-0000001-5", "6046000000015", "80186-0000005-2", "90186-0000005-0"]
)
def test_cnic_of_every_province_is_taken(text: str) -> None:
    """8 is Azad Kashmir, 9 is issued too, the last digit may be 0: all of them citizens."""
    cnic = parse_cnic(text)
    assert cnic == text.replace("-", "")
    assert parse_cnic(format_cnic(cnic)) == cnic


@pytest.mark.parametrize(
    "text",
    ["", "00460-0000001-5", "6046-00000001-5", "60460-00000015", "604600000001", "1111111111111"],
)
def test_cnic_that_is_none_is_refused_without_it(text: str) -> None:
    """Thirteen digits as 5-7-1, not beginning with 0."""
    refused(parse_cnic, text)


@pytest.mark.parametrize(
    "text",
    [
        "+923001234567",
        "00923001234567",
        "923001234567",
        "03001234567",
        "3001234567",
        "+92 300 1234567",
    ],
)
def test_msisdn_in_any_of_its_forms_is_e164(text: str) -> None:
    """International, national, with separators."""
    assert parse_msisdn(text) == "+923001234567"


@pytest.mark.parametrize(
    "text",
    ["", "+924235123456", "0300123456", "030012345678", "+250788123456", "+92 0300 1234567x"],
)
def test_msisdn_that_is_no_mobile_number_is_refused_without_it(text: str) -> None:
    """Landlines, other countries, other lengths."""
    refused(parse_msisdn, text)
    assert parse_msisdn("0788123456", "RW") == "+250788123456"


@pytest.mark.parametrize(
    "reference",
    ["PAY-000001-1", "RAAST/20260405/77AB12", "A", "X" * 32, "FT26095ABCDE/1", "20260405/A/123"],
)
def test_reference_of_an_institution_is_taken(reference: str) -> None:
    """A–Z, 0–9, - and /, at most 32."""
    assert check_reference(reference) == reference


@pytest.mark.parametrize(
    ("reference", "what"),
    [
        ("4111111111111111", "card number"),
        ("4111-1111-1111-1111", "card number"),
        ("PAY/4111111111111111", "card number"),
        ("PK36SCBL0000001123456702", "IBAN"),
        ("X/PK36SCBL0000001123456702", "IBAN"),
        ("03001234567", "phone or wallet number"),
        ("PAY-923001234567", "phone or wallet number"),
        ("60460-0000001-5", "identity card number"),
        ("12345678901", "account number"),
        ("1234/5678/901", "account number"),
        ("", "at most 32"),
        ("x", "at most 32"),
        ("A B", "at most 32"),
        ("Ä", "at most 32"),
        ("X" * 33, "at most 32"),
    ],
)
def test_reference_that_may_be_a_persons_number_is_refused_without_it(
    reference: str, what: str
) -> None:
    """Never a card, account, wallet or phone number."""
    with pytest.raises(IdentifierRefusal) as refusal:
        check_reference(reference)
    assert what in str(refusal.value)
    if len(reference) > 4:
        assert reference not in str(refusal.value)


def test_pseudonym_is_a_keyed_hash_with_a_domain_for_each_kind() -> None:
    """key-id and HMAC-SHA-256; one number as two kinds gives two pseudonyms."""
    message = b"qist/pseudonym/1\x00device\x0035209900176148"
    wanted = "k1:" + hmac.new(b"o" * 32, message, hashlib.sha256).hexdigest()
    assert OLD.pseudonym(IdentifierKind.DEVICE, "35209900176148") == wanted
    assert is_pseudonym(wanted)
    assert len({OLD.pseudonym(kind, "1") for kind in IdentifierKind}) == len(IdentifierKind)


def test_pseudonyms_for_a_look_up_are_those_of_every_active_key() -> None:
    """A new record takes the current key, a look-up tries all."""
    ring = Keyring((NEW, OLD))
    found = device_pseudonyms(ring, "352099001761481")
    assert [name.partition(":")[0] for name in found] == ["k2", "k1"]
    assert found == device_pseudonyms(ring, "35209900176148")
    assert borrower_pseudonym(ring, "60460-0000001-5") == borrower_pseudonym(ring, "6046000000015")
    assert sim_pseudonym(ring, "03001234567") == sim_pseudonym(ring, "+923001234567")
    assert borrower_pseudonym(ring, "60460-0000001-5").startswith("k2:")


def test_keys_that_are_too_short_doubled_or_badly_named_are_refused() -> None:
    """At least 32 bytes; an id of its own; never printed."""
    for make in (
        lambda: PseudonymKey("k1", b"short"),
        lambda: PseudonymKey("K 1", b"o" * 32),
        lambda: Keyring(()),
        lambda: Keyring((OLD, PseudonymKey("k1", b"x" * 32))),
    ):
        with pytest.raises(IdentifierRefusal):
            make()
    assert "ooo" not in repr(Keyring((OLD,)))


@pytest.mark.parametrize("text", ["", "k1:" + "A" * 64, "k1:" + "a" * 63, ":" + "a" * 64, "a" * 64])
def test_pseudonym_in_another_form_is_none(text: str) -> None:
    """key-id, colon, 64 lower-case hex digits."""
    assert not is_pseudonym(text)
    with pytest.raises(IdentifierRefusal):
        check_pseudonyms([text], "the device")


def test_pseudonyms_of_a_device_are_some_and_all_different() -> None:
    """Name each IMEI once."""
    name = OLD.pseudonym(IdentifierKind.DEVICE, "1")
    check_pseudonyms([name], "the device")
    for names in ([], [name, name]):
        with pytest.raises(IdentifierRefusal):
            check_pseudonyms(names, "the device")
