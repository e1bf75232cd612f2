"""The elements of a configuration: every group, value and policy by its place.

A configuration is a tree of groups; each group, value and policy has a version and names the policy
by which it may be modified. Its key is Fabric's, ``[Value]  /Channel/Orderer/BatchSize``; updates
are judged element by element.

Invariants: elements are yielded in one order for all (a group before what is in it; groups, values,
policies by name), so that everybody who judges an update names the same first fault.

Source: Fabric common/configtx/{configmap,compare,validator}.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fabric_protos.common import configtx_pb2

from network.errors import ConfigurationError

ROOT: Final = "Channel"

GROUP: Final = "Group"
VALUE: Final = "Value"
POLICY: Final = "Policy"

MAX_DEPTH: Final = 32
"""Groups inside groups; Fabric's configurations have three levels."""

MAX_ELEMENTS: Final = 50_000
"""Elements of one configuration; a channel of a thousand members stays below."""

MAX_PATHS: Final = 4_000_000
"""Characters of all their paths together, or long names of outer groups would cost too much."""

_NAME = re.compile(r"[a-zA-Z0-9.-]{1,249}")
_ORDERER_CAPABILITIES = f"[Value]  /{ROOT}/Orderer/Capabilities"
_ADMINS = "Admins"


@dataclass(frozen=True, slots=True)
class Element:
    """A group, a value or a policy of a configuration.

    Attributes:
        kind: `GROUP`, `VALUE` or `POLICY`.
        groups: names of the groups it stands in, the root first; empty for the root itself.
        name: its own.
        message: the ConfigGroup, ConfigValue or ConfigPolicy; not to be changed.
    """

    kind: str
    groups: tuple[str, ...]
    name: str
    message: Any

    @property
    def path(self) -> str:
        """Its place, e.g. ``/Channel/Orderer/BatchSize``; one place may hold each kind once."""
        return "/" + "/".join((*self.groups, self.name))

    @property
    def key(self) -> str:
        """Its kind and place, as Fabric writes them."""
        return element_key(self.kind, self.path)

    @property
    def version(self) -> int:
        """How often it was modified."""
        version: int = self.message.version
        return version

    @property
    def mod_policy(self) -> str:
        """The policy by which it may be modified, absolute or relative to its group."""
        policy: str = self.message.mod_policy
        return policy


def element_key(kind: str, path: str) -> str:
    """Return the key of an element, as Fabric writes it."""
    return f"{f'[{kind}]':<9}{path}"


def walk_elements(root: Any, what: str) -> Iterator[Element]:
    """Yield every element of a root ConfigGroup, the root first.

    Args:
        root: the message.
        what: the tree, for messages, e.g. ``the read set``.
    Raises:
        ConfigurationError: a name breaks Fabric's rule, or the tree is too deep or too large.
    """
    characters = 0
    for count, element in enumerate(_walk(root, (), ROOT, what)):
        characters += sum(map(len, element.groups)) + len(element.name)
        if count >= MAX_ELEMENTS or characters > MAX_PATHS:
            raise ConfigurationError(
                f"{what} has more than {MAX_ELEMENTS} elements, or {MAX_PATHS} characters in "
                "their paths: name only those that change, and keep names short"
            )
        yield element


def _walk(group: Any, groups: tuple[str, ...], name: str, what: str) -> Iterator[Element]:
    if len(groups) > MAX_DEPTH:
        raise ConfigurationError(f"{what} has groups deeper than {MAX_DEPTH} levels: have three")
    _verify_name(name, GROUP, groups, what)
    yield Element(GROUP, groups, name, group)
    inside = (*groups, name)
    for inner in sorted(group.groups):
        yield from _walk(group.groups[inner], inside, inner, what)
    for kind, entries in ((VALUE, group.values), (POLICY, group.policies)):
        for inner in sorted(entries):
            _verify_name(inner, kind, inside, what)
            yield Element(kind, inside, inner, entries[inner])


def map_elements(root: Any, what: str) -> dict[str, Element]:
    """Return every element of a root ConfigGroup by its key; see `walk_elements`."""
    return {element.key: element for element in walk_elements(root, what)}


def is_name(text: str) -> bool:
    """Tell whether *text* may be the name of an element, or of a policy in a path."""
    return _NAME.fullmatch(text) is not None and text not in (".", "..")


def _verify_name(name: str, kind: str, groups: tuple[str, ...], what: str) -> None:
    if not is_name(name):
        raise ConfigurationError(
            f"{what} has a {kind.lower()} named {name[:80]!r} in /{'/'.join(groups)[:400]}: use "
            "letters, digits, dots and dashes, 1 to 249 of them"
        )


def build_group(elements: Mapping[str, Element]) -> Any:
    """Put elements together into the root ConfigGroup that they make.

    A group says which members it has; what no group names any more is left out. An element without
    modification policy gets ``Admins`` once the orderers have capabilities, as Fabric mends the
    channels of its first version.

    Raises:
        ConfigurationError: a group names a member that is not among the elements.
    """
    group = _build(elements, f"/{ROOT}")
    if _ORDERER_CAPABILITIES in elements:
        _fill_mod_policies(group)
    return group


def _build(elements: Mapping[str, Element], path: str) -> Any:
    source = _element(elements, GROUP, path).message
    built = configtx_pb2.ConfigGroup()
    built.CopyFrom(source)
    for name in source.groups:
        built.groups[name].CopyFrom(_build(elements, f"{path}/{name}"))
    for name in source.values:
        built.values[name].CopyFrom(_element(elements, VALUE, f"{path}/{name}").message)
    for name in source.policies:
        built.policies[name].CopyFrom(_element(elements, POLICY, f"{path}/{name}").message)
    return built


def _element(elements: Mapping[str, Element], kind: str, path: str) -> Element:
    key = element_key(kind, path)
    found = elements.get(key)
    if found is None:
        raise ConfigurationError(
            f"missing {kind.lower()} at path: {key}; put it into the write set"
        )
    return found


def _fill_mod_policies(group: Any) -> None:
    group.mod_policy = group.mod_policy or _ADMINS
    for entries in (group.values, group.policies):
        for entry in entries.values():
            entry.mod_policy = entry.mod_policy or _ADMINS
    for inner in group.groups.values():
        _fill_mod_policies(inner)
