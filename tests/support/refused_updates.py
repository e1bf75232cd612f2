"""Three members whose admins agree to updates, and updates of theirs that fall."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fabric_protos.orderer import configuration_pb2 as orderer_pb2

from network.configuration import ChannelConfiguration, apply_update
from network.errors import ConfigurationError, PolicyError
from tests.support.members import CHANNEL, Member
from tests.support.updates import sent_update, update_message

BANK, OPERATOR, PTA = Member("BankMSP"), Member("OperatorMSP"), Member("PtaMSP")
MEMBERS = [BANK, OPERATOR, PTA]
ADMINS = {member.msp_id: member.identity("admin", "admin") for member in MEMBERS}
ALL = list(ADMINS.values())
MAJORITY = [ADMINS["BankMSP"], ADMINS["PtaMSP"]]


def slower(config: Any) -> None:
    """An edit: blocks are cut after three seconds."""
    value = config.channel_group.groups["Orderer"].values["BatchTimeout"]
    value.value = orderer_pb2.BatchTimeout(timeout="3s").SerializeToString()


def group(config: Any, *path: str) -> Any:
    """Return a group of a Config message by the names on its way."""
    found = config.channel_group
    for name in path:
        found = found.groups[name]
    return found


def refused(
    current: ChannelConfiguration, change: Callable[[Any], None], edit: Any = slower
) -> str:
    """Change the update that an edit gives, have everybody sign it, and return why it falls."""
    update = update_message(current, edit)
    change(update)
    raw = update.SerializeToString(deterministic=True)
    with pytest.raises((ConfigurationError, PolicyError)) as reason:
        apply_update(current, sent_update(CHANNEL, raw, ALL))
    return str(reason.value)


def orderer_value(update: Any, side: str = "write_set") -> Any:
    """Return the batch timeout in one of an update's sets."""
    return getattr(update, side).groups["Orderer"].values["BatchTimeout"]
