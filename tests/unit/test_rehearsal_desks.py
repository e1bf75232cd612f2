"""An officer's desk asks for no more at once than a function of the contracts takes."""

from __future__ import annotations

import json
from typing import Any

from clients.rehearsal.desks import MOST_RECORDS, Desk


class _Asked(Desk):
    """A desk whose node answers with the agreements it was asked for."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    async def ask(self, namespace: str, function: str, *arguments: str) -> Any:
        assert (namespace, function, arguments[1]) == ("instalments", "Standings", "2026-05-31")
        agreements = json.loads(arguments[0])
        self.sizes.append(len(agreements))
        return [{"agreement": each} for each in agreements]


async def test_standings_of_a_large_book_are_asked_in_parts_and_answered_in_order() -> None:
    """A day on which more agreements were paid than one query takes is a day like any other."""
    desk = _Asked()
    agreements = [f"AG-{number}" for number in range(2 * MOST_RECORDS + 1)]
    found = await desk.standings(agreements, "2026-05-31")
    assert [each["agreement"] for each in found if each] == agreements
    assert desk.sizes == [MOST_RECORDS, MOST_RECORDS, 1]
