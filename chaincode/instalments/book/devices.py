"""Devices: the regulator's list of types, the register of handsets, exchanges after a repair.

Layout in `instalments`:

    tac/<tac>              {"tac","maker","registrants"}
    imei/<pseudonym>       {"device":id}: one key for each pseudonym of each IMEI
    device/<id>            {"device","imeis","tac","model","maker","country","by","on",
                            "exchanged_for"?,"exchanged_on"?,"reason"?,"replaces"?}
    encumbrance/<device>   {"agreement":id}: the newest agreement about the device

A device's id is the first pseudonym of its first IMEI. Invariant: one pseudonym belongs to one
device for ever. Whether a device is financed follows from the agreement its encumbrance names: as
long as that is not closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from chaincode.contract import Malformed, ReadOnlyStub, Stub

from .. import records, terms
from ..identifiers import IdentifierRefusal, check_pseudonyms, parse_imei, parse_tac, tac_of
from ..terms import IdentifiersInput
from ..verdicts import RuleBroken
from .accounts import Accounts
from .bulk import Entry
from .desk import Desk
from .inputs import DeviceInput, ExchangeInput, TacInput
from .ports import Cases

Plain = dict[str, Any]


def tac_key(tac: str) -> str:
    """Return the key of a type allocation code."""
    return f"tac/{tac}"


def imei_key(pseudonym: str) -> str:
    """Return the key of one pseudonym of one IMEI."""
    return f"imei/{pseudonym}"


def device_key(device: str) -> str:
    """Return the key of a device."""
    return f"device/{device}"


def encumbrance_key(device: str) -> str:
    """Return the key of what a device is pledged for."""
    return f"encumbrance/{device}"


def read_plain(stub: ReadOnlyStub, keys: Sequence[str]) -> list[Plain | None]:
    """Return the JSON objects under several keys, None where there is none."""
    return [None if raw is None else records.decode(raw) for raw in stub.get_states(keys)]


class Register:
    """Working copies of devices, of their pseudonyms and of what they are pledged for."""

    __slots__ = ("_devices", "_pledges", "_pseudonyms", "_stub")

    def __init__(self, stub: Stub, pseudonyms: Iterable[str], *, pledges: bool) -> None:
        self._stub = stub
        names = list(dict.fromkeys(pseudonyms))
        found = read_plain(stub, [imei_key(name) for name in names])
        self._pseudonyms: dict[str, str] = {
            name: entry["device"] for name, entry in zip(names, found, strict=True) if entry
        }
        ids = list(dict.fromkeys(self._pseudonyms.values()))
        devices = read_plain(stub, [device_key(device) for device in ids])
        self._devices: dict[str, Plain] = {
            device: plain for device, plain in zip(ids, devices, strict=True) if plain
        }
        self._pledges: dict[str, str] = {}
        if pledges:
            pledged = read_plain(stub, [encumbrance_key(device) for device in ids])
            for device, plain in zip(ids, pledged, strict=True):
                if plain:
                    self._pledges[device] = plain["agreement"]

    def find(self, pseudonyms: Sequence[str]) -> Plain | None:
        """Return the device that any of these pseudonyms is of: the first that is known counts."""
        for pseudonym in pseudonyms:
            device = self._pseudonyms.get(pseudonym)
            if device is not None:
                return self._devices[device]
        return None

    def device(self, pseudonyms: Sequence[str]) -> Plain:
        """Return the device that any of these pseudonyms is of.

        Raises:
            RuleBroken: none of them is known.
        """
        found = self.find(pseudonyms)
        if found is None:
            raise RuleBroken(
                "the device",
                "is not registered under any of the pseudonyms given",
                2,
                "have its manufacturer or importer register it",
            )
        return found

    def pledges(self) -> list[str]:
        """Return the agreements that name any of the devices read."""
        return list(self._pledges.values())

    def pledge_of(self, device: str) -> str:
        """Return the newest agreement about a device, "" without one."""
        return self._pledges.get(device, "")

    def pledge(self, device: str, agreement: str) -> None:
        """Put a device under an agreement."""
        self._pledges[device] = agreement
        self._stub.put_state(encumbrance_key(device), records.encode({"agreement": agreement}))

    def put(self, plain: Plain) -> None:
        """Write a device, its pseudonyms if it is new."""
        device = plain["device"]
        if device not in self._devices:
            entry = records.encode({"device": device})
            for pseudonym in (name for imei in plain["imeis"] for name in imei):
                self._pseudonyms[pseudonym] = device
                self._stub.put_state(imei_key(pseudonym), entry)
        self._devices[device] = plain
        self._stub.put_state(device_key(device), records.encode(plain))


class Tacs:
    """Working copies of types."""

    __slots__ = ("_stub", "_tacs")

    def __init__(self, stub: Stub, tacs: Iterable[str]) -> None:
        self._stub = stub
        names = list(dict.fromkeys(tacs))
        found = read_plain(stub, [tac_key(name) for name in names])
        self._tacs: dict[str, Plain | None] = dict(zip(names, found, strict=True))

    def find(self, tac: str) -> Plain | None:
        """Return a type, None where it is not listed."""
        return self._tacs.get(tac)

    def put(self, plain: Plain) -> None:
        """Write a type."""
        self._tacs[plain["tac"]] = plain
        self._stub.put_state(tac_key(plain["tac"]), records.encode(plain))


def register_tac(desk: Desk, tacs: Tacs, given: TacInput) -> Entry:
    """List a type with its maker and those who may register its devices (rulebook 2, Device)."""
    if not desk.officer.member.is_regulator:
        raise RuleBroken(
            "the list of TACs",
            f"is the regulator's, not {desk.msp_id}'s",
            2,
            "ask the regulator to list the type",
        )
    tac = parse_tac(given.tac)
    if tac != given.tac:
        raise RuleBroken("TAC", "must be 8 digits", 2, "leave out separators")
    if not given.registrants:
        raise RuleBroken(
            f"TAC {tac}", "names nobody who may register it", 2, "name the maker's MSP"
        )
    registrants = sorted(set(given.registrants))
    if any(desk.roster.find(msp_id) is None for msp_id in registrants):
        raise RuleBroken(f"TAC {tac}", "names a registrant that is no member", 2, "name members")
    plain = {"tac": tac, "maker": given.maker, "registrants": registrants}
    known = tacs.find(tac)
    if known is not None:
        if known != plain:
            raise RuleBroken(
                f"TAC {tac}", "is listed already with other content", 2, "see the query Tac"
            )
        return Entry(False, "registered")
    tacs.put(plain)
    return Entry(True, "registered", facts={"maker": given.maker})


def register_device(
    desk: Desk,
    tacs: Tacs,
    register: Register,
    given: DeviceInput,
    raw: IdentifiersInput | Malformed | None,
) -> Entry:
    """Register a handset by all its IMEIs (rulebook 2, Device)."""
    if not given.imeis or not all(given.imeis):
        raise RuleBroken("the device", "names no IMEI", 2, "name every IMEI of the handset")
    pseudonyms = [name for imei in given.imeis for name in imei]
    check_pseudonyms(pseudonyms, "the device")
    device = pseudonyms[0]
    listed = tacs.find(given.tac)
    if listed is None or listed["maker"] != given.maker:
        raise RuleBroken(
            "the device",
            "has a TAC that the regulator has not listed for its maker",
            2,
            "have the regulator list it with RegisterTacs",
        )
    if desk.msp_id not in listed["registrants"]:
        raise RuleBroken(
            "the device",
            f"cannot be registered by {desk.msp_id}, no registrant of its TAC",
            2,
            f"let {', '.join(listed['registrants'])} register it",
        )
    if raw is not None:
        _check_numbers(given, terms.well_formed(raw, "the device"))
    plain: Plain = {
        "device": device,
        "imeis": given.imeis,
        "tac": given.tac,
        "model": given.model,
        "maker": given.maker,
        "country": given.country,
        "by": desk.msp_id,
    }
    known = register.find(pseudonyms)
    if known is None:
        register.put(plain | {"on": desk.day})
        return Entry(True, "registered", facts={"tac": given.tac, "model": given.model})
    if not _is_same(known, plain):
        raise RuleBroken(
            "the device",
            "has an IMEI that is registered already, with other content",
            2,
            "see the query DeviceStatus; an IMEI belongs to one handset",
        )
    return Entry(False, "registered")


def _is_same(known: Plain, given: Plain) -> bool:
    """Say whether both are one device; an IMEI is the same if any of its pseudonyms is."""
    if any(known[name] != given[name] for name in ("tac", "model", "maker", "country", "by")):
        return False
    theirs, mine = known["imeis"], given["imeis"]
    return len(theirs) == len(mine) and all(
        not set(one).isdisjoint(other) for one, other in zip(theirs, mine, strict=True)
    )


def _check_numbers(given: DeviceInput, raw: IdentifiersInput) -> None:
    if len(raw.imeis) != len(given.imeis):
        raise RuleBroken(
            "the device", "has another number of IMEIs than of pseudonyms", 2, "name each IMEI once"
        )
    for number in raw.imeis:
        if tac_of(parse_imei(number)) != given.tac:
            raise IdentifierRefusal(
                "IMEI", "is of another TAC than the device", 2, "read it from the handset, *#06#"
            )


def exchange_device(
    desk: Desk,
    register: Register,
    accounts: Accounts,
    cases: Cases,
    given: ExchangeInput,
) -> Entry:
    """Let another handset take the place of a repaired one (rulebook 2, Exchange).

    Its agreement and its case follow; the old IMEIs are released.
    """
    old, new = register.device(given.old), register.device(given.new)
    thing = f"device {old['device']}"
    if not desk.roster.acts_for(desk.msp_id, old["by"], desk.today):
        raise RuleBroken(
            thing,
            f"can be exchanged by {old['by']} only, who registered it",
            2,
            "ask its manufacturer or importer",
        )
    if old.get("exchanged_for"):
        if old["exchanged_for"] == new["device"] and old["reason"] == given.reason:
            return Entry(False, "exchanged")
        raise RuleBroken(
            thing, f"was exchanged on {old['exchanged_on']} already", 2, "name the newest handset"
        )
    if old["device"] == new["device"]:
        raise RuleBroken(thing, "cannot be exchanged for itself", 2, "name another handset")
    _check_replacement(register, accounts, cases, new)
    agreement = register.pledge_of(old["device"])
    register.put(
        old
        | {
            "exchanged_for": new["device"],
            "exchanged_on": desk.day,
            "reason": given.reason,
        }
    )
    register.put(new | {"replaces": old["device"]})
    facts: dict[str, object] = {"new_device": new["device"], "reason": given.reason}
    if not agreement:
        return Entry(True, "exchanged", facts=facts)
    after = accounts.position(agreement)
    if not after.closed:
        after = after.with_summary(device=new["device"])
        accounts.put(after)
        register.pledge(new["device"], agreement)
    return Entry(True, "exchanged", agreement, cases.after_exchange(after, old["device"]), facts)


def _check_replacement(register: Register, accounts: Accounts, cases: Cases, new: Plain) -> None:
    thing = f"device {new['device']}"
    if new.get("exchanged_for") or new.get("replaces"):
        raise RuleBroken(thing, "has been exchanged itself", 2, "name a handset fresh from stock")
    pledge = register.pledge_of(new["device"])
    if not pledge:
        return
    if not accounts.position(pledge).closed:
        raise RuleBroken(thing, "is financed already", 2, "name a handset fresh from stock")
    if cases.blocked(pledge, new["device"]) != "none":
        raise RuleBroken(thing, "is blocked or not yet released", 2, "name another handset")


def require_not_exchanged(device: Plain) -> None:
    """Refuse a device that was exchanged.

    Raises:
        RuleBroken: another handset took its place.
    """
    if device.get("exchanged_for"):
        raise RuleBroken(
            f"device {device['device']}",
            "was exchanged for another",
            2,
            "name the handset that took its place",
        )
