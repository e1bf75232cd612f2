"""The update that leads from one configuration to another.

It names what changes and what the change rests on, no more: elements that stay as they are appear
only where the members of their group change, with their version alone. The read set holds what must
still be so, the write set what is to be.

Source: Fabric internal/configtxlator/update/update.go, fabric-config configtx/update.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from fabric_protos.common import configtx_pb2

from network.configuration.elements import ROOT, map_elements
from network.errors import ConfigurationError

__all__ = ["compute_update"]


def compute_update(channel_id: str, original: Any, updated: Any) -> Any:
    """Return the ConfigUpdate that makes *updated* of *original*, as Fabric's tools compute it.

    Versions and sequence of *updated* are not looked at: those of *original* count.

    Args:
        channel_id: the channel, which the update names.
        original: the `common.Config` in force.
        updated: the same, edited.
    Raises:
        ConfigurationError: nothing differs, or one of the two is no usable configuration.
    """
    for config, what in ((original, "the configuration in force"), (updated, "the edited one")):
        if not config.HasField("channel_group"):
            raise ConfigurationError(f"{what} has no channel group: give a whole common.Config")
        # Names that nobody would take, and trees too deep to go through, end here.
        map_elements(config.channel_group, what)
    read_set, write_set, changed = _compare_groups(original.channel_group, updated.channel_group)
    if not changed:
        raise ConfigurationError(
            f"no differences detected between original and updated config of /{ROOT}: change "
            "something before an update is computed"
        )
    return configtx_pb2.ConfigUpdate(channel_id=channel_id, read_set=read_set, write_set=write_set)


class _Sides:
    """What one kind of members of a group gives to both sets."""

    def __init__(self) -> None:
        self.read: dict[str, Any] = {}
        self.write: dict[str, Any] = {}
        self.same: dict[str, Any] = {}
        self.members_changed = False

    def all_of(self, chosen: dict[str, Any]) -> dict[str, Any]:
        """Return *chosen* together with what stayed the same."""
        return {**chosen, **self.same}


def _compare_groups(original: Any, updated: Any) -> tuple[Any, Any, bool]:
    """Return read set, write set, and whether anything differs, of one group."""
    values = _compare_values(original.values, updated.values)
    policies = _compare_policies(original.policies, updated.policies)
    groups = _compare_inner_groups(original.groups, updated.groups)
    version = original.version
    every = (values, policies, groups)
    if any(sides.members_changed for sides in every) or original.mod_policy != updated.mod_policy:
        read = _group(version, *(sides.all_of(sides.read) for sides in every))
        write = _group(version + 1, *(sides.all_of(sides.write) for sides in every))
        write.mod_policy = updated.mod_policy
        return read, write, True
    changed = any(sides.read or sides.write for sides in every)
    read = _group(version, *(sides.read for sides in every))
    write = _group(version, *(sides.write for sides in every))
    return read, write, changed


def _group(
    version: int, values: dict[str, Any], policies: dict[str, Any], groups: dict[str, Any]
) -> Any:
    return configtx_pb2.ConfigGroup(
        version=version, values=values, policies=policies, groups=groups
    )


def _compare_entries(
    original: Any,
    updated: Any,
    is_same: Callable[[Any, Any], bool],
    make: Callable[[Any, int], Any],
    unchanged: Callable[[int], Any],
) -> _Sides:
    sides = _Sides()
    for name, old in original.items():
        if name not in updated:
            sides.members_changed = True
        elif is_same(old, updated[name]):
            sides.same[name] = unchanged(old.version)
        else:
            sides.write[name] = make(updated[name], old.version + 1)
    for name in _added(original, updated):
        sides.members_changed = True
        sides.write[name] = make(updated[name], 0)
    return sides


def _added(original: Any, updated: Any) -> Iterable[str]:
    return [name for name in updated if name not in original]


def _compare_values(original: Any, updated: Any) -> _Sides:
    return _compare_entries(
        original,
        updated,
        lambda old, new: old.mod_policy == new.mod_policy and old.value == new.value,
        lambda new, version: configtx_pb2.ConfigValue(
            version=version, mod_policy=new.mod_policy, value=new.value
        ),
        lambda version: configtx_pb2.ConfigValue(version=version),
    )


def _compare_policies(original: Any, updated: Any) -> _Sides:
    def is_same(old: Any, new: Any) -> bool:
        return bool(
            old.mod_policy == new.mod_policy
            and old.HasField("policy") == new.HasField("policy")
            and old.policy == new.policy
        )

    def make(new: Any, version: int) -> Any:
        return configtx_pb2.ConfigPolicy(
            version=version,
            mod_policy=new.mod_policy,
            policy=new.policy if new.HasField("policy") else None,
        )

    return _compare_entries(
        original,
        updated,
        is_same,
        make,
        lambda version: configtx_pb2.ConfigPolicy(version=version),
    )


def _compare_inner_groups(original: Any, updated: Any) -> _Sides:
    sides = _Sides()
    for name, old in original.items():
        if name not in updated:
            sides.members_changed = True
            continue
        read, write, changed = _compare_groups(old, updated[name])
        if changed:
            sides.read[name], sides.write[name] = read, write
        else:
            sides.same[name] = read
    for name in _added(original, updated):
        sides.members_changed = True
        _, write, _ = _compare_groups(configtx_pb2.ConfigGroup(), updated[name])
        # A new group is at version 0, whatever it holds.
        write.version = 0
        write.mod_policy = updated[name].mod_policy
        sides.write[name] = write
    return sides
