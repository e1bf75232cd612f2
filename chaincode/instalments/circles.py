"""The private collections of a lender, and how their values are salted.

Every lender has two in the definition of `instalments`; who is a member of them says the network
(docs/adr/0016):

    terms-<MSP id>         price, schedules, payments, refunds: what competitors must not learn
    identifiers-<MSP id>   raw IMEIs and numbers: what executors need for a block

A name of a collection takes letters, digits, `-` and `_`, an MSP id dots as well; so `_` and `.`
are written `_u` and `_d`.

In blocks stand SHA-256 hashes of values. Amounts and numbers are few enough to be tried, so every
value holds a salt that only the members know: 16 to 32 random bytes that the lender sends along
when it opens an agreement.
"""

from __future__ import annotations

from typing import Annotated

from chaincode.contract import MaxLength, Pattern

TERMS = "terms-"
IDENTIFIERS = "identifiers-"

Salt = Annotated[
    str, MaxLength(64), Pattern(r"[0-9a-f]{32,64}", "32 to 64 lower-case hex digits of chance")
]


def terms_of(lender: str) -> str:
    """Return the collection of a lender's terms."""
    return TERMS + _written(lender)


def identifiers_of(lender: str) -> str:
    """Return the collection of the raw identifiers in a lender's agreements."""
    return IDENTIFIERS + _written(lender)


def _written(msp_id: str) -> str:
    return msp_id.replace("_", "_u").replace(".", "_d")
