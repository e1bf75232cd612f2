"""Money: integers of a currency's smallest unit, never a fraction.

A unit is called *paisa* throughout, after the rupee's; of a currency without decimals (RWF) it is
the franc itself. Deliberately absent: conversion between currencies, interest.
"""

from __future__ import annotations

import re
from typing import Final

from .verdicts import RuleBroken

DECIMALS: Final = {"PKR": 2, "RWF": 0}
"""Decimals of each currency that agreements may be in (ISO 4217)."""
MAX_PAISA: Final = 10**13
"""Largest amount of a record: a hundred billion rupees, above any phone and below 64 bits."""

# Thousands (13,333) or lakhs (1,33,333): the last group has three digits, the others two or three.
_AMOUNT: Final = re.compile(r"(?:[0-9]{1,15}|[0-9]{1,3}(?:,[0-9]{2,3})*,[0-9]{3})(?:\.([0-9]+))?")


class MoneyRefusal(RuleBroken):
    """A text is no amount of its currency, or a currency is not known."""


def decimals_of(currency: str) -> int:
    """Return how many decimals a currency has.

    Raises:
        MoneyRefusal: the currency is not known.
    """
    decimals = DECIMALS.get(currency)
    if decimals is None:
        raise MoneyRefusal("currency", "is not known", 2, f"use {', '.join(DECIMALS)}")
    return decimals


def parse_amount(text: str, currency: str = "PKR") -> int:
    """Return an amount such as ``13,333.00`` in the currency's smallest unit.

    Args:
        text: digits with or without separators of thousands or lakhs, and as many decimals as the
            currency has, or none; a currency without decimals takes only zeros after a point.
    Raises:
        MoneyRefusal: anything else: signs, letters, half a separator, fractions of the unit.
    """
    decimals = decimals_of(currency)
    match = _AMOUNT.fullmatch(text.strip())
    fraction = "" if match is None else match[1] or ""
    spelled = len(fraction) in (0, decimals) or (decimals == 0 and not fraction.strip("0"))
    if match is None or not spelled:
        raise MoneyRefusal(
            "amount",
            f"must be digits with {decimals} decimals or none, in {currency}",
            2,
            "write it as 13333.00" if decimals else "write it as 13333",
        )
    whole = match[0].partition(".")[0].replace(",", "")
    amount = int(whole + (fraction if decimals else "").ljust(decimals, "0"))
    if amount > MAX_PAISA:
        raise MoneyRefusal("amount", "is larger than any record may hold", 2, "check its decimals")
    return amount


def format_amount(amount_paisa: int, currency: str = "PKR") -> str:
    """Return an amount as ``13,333.00``."""
    decimals = decimals_of(currency)
    sign = "-" if amount_paisa < 0 else ""
    whole, fraction = divmod(abs(amount_paisa), 10**decimals)
    return f"{sign}{whole:,}" + (f".{fraction:0{decimals}d}" if decimals else "")


def equal_instalments(financed_paisa: int, count: int, currency: str = "PKR") -> list[int]:
    """Split what is financed: instalments equal in whole units, the last takes the rest.

    Raises:
        MoneyRefusal: fewer than one instalment, or less than one whole unit for each.
    """
    unit = 10 ** decimals_of(currency)
    if count < 1 or financed_paisa < count * unit:
        raise MoneyRefusal(
            "instalments", "must be at least one, each of a whole unit or more", 2, "use fewer"
        )
    each = financed_paisa // count // unit * unit
    return [each] * (count - 1) + [financed_paisa - each * (count - 1)]
