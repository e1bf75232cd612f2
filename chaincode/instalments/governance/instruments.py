"""Legal instruments (rulebook 4, 5): what the regulator signed for tier 2 or 3.

instrument/<reference>   in `enforcement`, one `Instrument`, written once
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from chaincode.contract import ReadOnlyStub, Stub, decode_json, encode_json

from ..officers import Officer
from ..verdicts import RuleBroken


@dataclass(frozen=True, slots=True)
class Instrument:
    """A reference with its validity and territory, and the hash of the document."""

    reference: str
    tier: int
    valid_from: date
    valid_until: date
    territory: str
    document: str
    by: str
    on: date


def key_of(reference: str) -> str:
    """Return the key of an instrument."""
    return f"instrument/{reference}"


def find(stub: ReadOnlyStub, reference: str) -> Instrument | None:
    """Return an instrument, None where there is none; *stub* reads `enforcement`."""
    raw = stub.get_state(key_of(reference))
    return None if raw is None else decode_json(Instrument, raw, "an instrument on the ledger")


def record(stub: Stub, officer: Officer, instrument: Instrument) -> bool:
    """Write an instrument, and say whether it was new.

    Raises:
        RuleBroken: the signer is not of the regulator, its days are the wrong way round, or it is
            known with other content.
    """
    thing = f"instrument {instrument.reference}"
    if not officer.member.is_regulator:
        raise RuleBroken(thing, f"is the regulator's to record, not {officer.msp_id}'s", 5)
    if instrument.valid_until < instrument.valid_from:
        raise RuleBroken(thing, "ends before it begins", 5, "check its days")
    known = find(stub, instrument.reference)
    if known is None:
        stub.put_state(key_of(instrument.reference), encode_json(instrument))
        return True
    if _content(known) != _content(instrument):
        raise RuleBroken(
            thing, "is known with other content", 5, "give another one its own reference"
        )
    return False


def _content(instrument: Instrument) -> tuple[object, ...]:
    return (
        instrument.tier,
        instrument.valid_from,
        instrument.valid_until,
        instrument.territory,
        instrument.document,
    )
