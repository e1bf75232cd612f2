"""The raw identifiers of an agreement: what an executor must know to block or release a phone.

Layout in the private collection of the lender's identifiers (`circles`), canonical JSON:

    device/<agreement>/<device>   {"salt","imeis":[14 digits…]}: of each handset it was about
    sim/<agreement>               {"salt","msisdn":E.164}

They come as transient data when an agreement is opened, or later with `RecordIdentifiers`, are
shown to the addressees of a live order (`cases/release_queries`), and are purged once the agreement
is closed and its phone free. No number stands in a block, a message or an event.

Invariant: nothing here can be made to say whose number something is: numbers are found by the
agreement alone, and their hashes are salted. Whether they are those of the pseudonyms no endorser
can tell, since none has the keys; the lender answers for that.
"""

from __future__ import annotations

from typing import Any, Final

from chaincode.contract import Malformed, ReadOnlyStub, Stub

from .. import circles, records
from ..identifiers import (
    IdentifierRefusal,
    imei_with_check_digit,
    parse_imei,
    parse_msisdn,
    tac_of,
)
from ..terms import RawInput, well_formed
from ..verdicts import RuleBroken
from .accounts import Accounts
from .bulk import Entry, named
from .desk import Desk
from .devices import Plain, device_key, read_plain
from .inputs import NamedAgreement
from .ports import Cases
from .position import Position

RWANDA: Final = "250"
_MOST_EXCHANGES: Final = 64


def phone_key(agreement: str, device: str) -> str:
    """Return the private key of a handset's IMEIs."""
    return f"device/{agreement}/{device}"


def sim_key(agreement: str) -> str:
    """Return the private key of the number of the SIM."""
    return f"sim/{agreement}"


def checked(thing: str, given: RawInput | Malformed, device: Plain) -> RawInput:
    """Return identifiers in their canonical form.

    Args:
        thing: the agreement, for messages.
        device: the handset that they are said to be of.
    Raises:
        RuleBroken: a number has not its form, is of another TAC, or one is missing; the message
            holds none.
    """
    raw = well_formed(given, thing)
    if len(raw.imeis) != len(device["imeis"]):
        raise RuleBroken(
            thing,
            f"comes with {len(raw.imeis)} IMEIs for a handset of {len(device['imeis'])}",
            2,
            "name each IMEI once",
        )
    imeis = [parse_imei(number) for number in raw.imeis]
    if any(tac_of(imei) != device["tac"] for imei in imeis) or len(set(imeis)) != len(imeis):
        raise IdentifierRefusal(
            "IMEI", "is of another TAC than the device, or named twice", 2, "read it with *#06#"
        )
    return RawInput(raw.salt, imeis, _msisdn(raw.msisdn) if raw.msisdn else "")


def _msisdn(text: str) -> str:
    is_rwandan = text.lstrip(" +0").startswith(RWANDA)
    return parse_msisdn(text, "RW" if is_rwandan else "PK")


def save(stub: Stub, lender: str, agreement: str, device: str, raw: RawInput) -> None:
    """Write identifiers that were checked."""
    collection = circles.identifiers_of(lender)
    phone = {"salt": raw.salt, "imeis": raw.imeis}
    stub.put_private_data(collection, phone_key(agreement, device), records.encode(phone))
    if raw.msisdn:
        sim = {"salt": raw.salt, "msisdn": raw.msisdn}
        stub.put_private_data(collection, sim_key(agreement), records.encode(sim))


def record(
    desk: Desk, accounts: Accounts, given: NamedAgreement, raw: RawInput | Malformed
) -> Entry:
    """Put identifiers on record, or others in their place (after an exchange, a correction)."""
    position = accounts.position(given.agreement)
    thing = named("agreement", given.agreement)
    desk.require_lender(position, "given identifiers")
    if position.closed:
        raise RuleBroken(
            thing, f"is closed ({position.closed})", 2, "nothing is kept of a closed agreement"
        )
    stub: Stub = desk.ctx.stub
    device = read_plain(stub, [device_key(position.device)])[0]
    assert device is not None
    wanted = checked(thing, raw, device)
    phone = _read(stub, position, phone_key(given.agreement, position.device))
    known = phone is not None and phone["imeis"] == wanted.imeis
    if known and wanted.msisdn:
        sim = _read(stub, position, sim_key(given.agreement))
        known = sim is not None and sim["msisdn"] == wanted.msisdn
    if known:
        return Entry(False, "recorded", given.agreement)
    save(stub, position.lender, given.agreement, position.device, wanted)
    return Entry(True, "recorded", given.agreement)


def purge(desk: Desk, accounts: Accounts, cases: Cases, given: NamedAgreement) -> Entry:
    """Remove what is kept of a closed agreement whose phone is free, for good and everywhere."""
    position = accounts.position(given.agreement)
    thing = named("agreement", given.agreement)
    if not desk.officer.member.is_regulator:
        desk.require_lender(position, "purged")
    if not position.closed:
        raise RuleBroken(
            thing, "is open, and a case may need its identifiers", 2, "purge them once it is closed"
        )
    blocked = cases.blocked(given.agreement)
    if blocked != "none":
        raise RuleBroken(
            thing,
            f"is about a phone that is not free ({blocked})",
            2,
            "purge its identifiers once the release is verified",
        )
    stub: Stub = desk.ctx.stub
    collection = circles.identifiers_of(position.lender)
    written = False
    for key in [
        *[phone_key(given.agreement, device) for device in _devices_of(stub, position)],
        sim_key(given.agreement),
    ]:
        if stub.get_private_data_hash(collection, key) is not None:
            stub.purge_private_data(collection, key)
            written = True
    return Entry(written, "purged", given.agreement)


def _devices_of(stub: ReadOnlyStub, position: Position) -> list[str]:
    """Return the handsets that an agreement was about, the first one first."""
    devices: list[str] = []
    device = str(position.facts["device"])
    while device and device not in devices and len(devices) < _MOST_EXCHANGES:
        devices.append(device)
        plain = read_plain(stub, [device_key(device)])[0]
        device = "" if plain is None else str(plain.get("exchanged_for") or "")
    return devices


def imeis_of(stub: ReadOnlyStub, position: Position, device: str) -> list[str]:
    """Return a handset's IMEIs as they are printed on the box; none if there is no record."""
    found = _read(stub, position, phone_key(position.agreement, device))
    return [] if found is None else [imei_with_check_digit(imei) for imei in found["imeis"]]


def msisdn_of(stub: ReadOnlyStub, position: Position) -> str:
    """Return the number of the SIM; "" if there is no record."""
    found = _read(stub, position, sim_key(position.agreement))
    return "" if found is None else str(found["msisdn"])


def _read(stub: ReadOnlyStub, position: Position, key: str) -> dict[str, Any] | None:
    raw = stub.get_private_data(circles.identifiers_of(position.lender), key)
    return None if raw is None else records.decode(raw)
