"""Who is asked to endorse a transaction that carries transient data.

A gateway hands transient data to no member that the client has not named, and `instalments` needs
two members of different affiliate groups. So the client names its own member and one more: the
regulator first, who may read everything anyway, then each other group, so that no single node that
is away holds a record back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

REGULATOR: Final = "regulator"
_ACTIVE: Final = "active"


def endorsing_choices(
    members: Sequence[Mapping[str, Any]], own: str
) -> tuple[tuple[str, ...], ...]:
    """Sets of members any of which may endorse, the one to try first at the front.

    Args:
        members: the answer of the query `Members`.
        own: MSP id of the member whose gateway is used.

    Without a second group that is active there is one choice: *own* alone.
    """
    groups = {each["msp_id"]: each["affiliate_group"] for each in members}
    others = [
        each
        for each in members
        if each["status"] == _ACTIVE
        and each["msp_id"] != own
        and each["affiliate_group"] != groups.get(own)
    ]
    others.sort(key=lambda each: (each["member_class"] != REGULATOR, each["msp_id"]))
    return tuple((own, str(each["msp_id"])) for each in others) or ((own,),)
