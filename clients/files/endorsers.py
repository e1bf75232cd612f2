"""Who is asked to endorse a transaction that carries transient data.

A gateway hands transient data to no member that the client has not named, unless it belongs to a
collection; and `instalments` needs two members of different affiliate groups. So the client names
its own member and one more: the regulator first, who may read everything anyway, then each other
group, so that no single node that is away holds a record back. Of terms only members of the
lender's circle may learn (`circles`); so nobody is named who shares none with the own member.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from clients.files.circles import Circles

REGULATOR: Final = "regulator"
_ACTIVE: Final = "active"


def endorsing_choices(
    members: Sequence[Mapping[str, Any]], own: str, circles: Circles = MappingProxyType({})
) -> tuple[tuple[str, ...], ...]:
    """Sets of members any of which may endorse, the one to try first at the front.

    Args:
        members: the answer of the query `Members`.
        own: MSP id of the member whose gateway is used.
        circles: who keeps the terms of each lender. Who is in most of those that *own* is in comes
            first after the regulator; a member in none of them, where there are any, not at all.

    Without a second group that is active there is one choice: *own* alone.
    """
    groups = {each["msp_id"]: each["affiliate_group"] for each in members}
    shared = [circle for circle in circles.values() if own in circle]
    others = [
        each
        for each in members
        if each["status"] == _ACTIVE
        and each["msp_id"] != own
        and each["affiliate_group"] != groups.get(own)
        and (not shared or any(each["msp_id"] in circle for circle in shared))
    ]

    def rank(each: Mapping[str, Any]) -> tuple[bool, int, str]:
        common = sum(each["msp_id"] in circle for circle in shared)
        return each["member_class"] != REGULATOR, -common, each["msp_id"]

    return tuple((own, str(each["msp_id"])) for each in sorted(others, key=rank)) or ((own,),)
