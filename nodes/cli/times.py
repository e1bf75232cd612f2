"""Times as people give them on the command line."""

from __future__ import annotations

from datetime import UTC, datetime

from ledger.errors import Refusal


def parse_time(text: str) -> datetime:
    """Return a time given on the command line, aware UTC.

    Raises:
        Refusal: not of ISO form, or without its zone.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise Refusal(
            f"{text[:40]!r} is no time: write it like 2025-01-31T09:00:00+05:00"
        ) from error
    if found.tzinfo is None:
        raise Refusal(f"{text[:40]!r} has no zone: write it like 2025-01-31T09:00:00+05:00")
    return found.astimezone(UTC)
