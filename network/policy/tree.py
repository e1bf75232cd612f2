"""The policies of a channel configuration, by their paths.

A path is absolute (``/Channel/Application/Writers``) or relative to /Channel
(``Application/Writers``). A path that leads nowhere is refused, never passed.

Source: Fabric common/policies/policy.go (`ManagerImpl`), core/policy/application.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fabric_protos.peer import policy_pb2

from network.decoding import decode_message
from network.errors import PolicyError
from network.msp import Identity
from network.msp.bounded import BoundedCache
from network.policy.implicit_meta import ImplicitMetaPolicy, read_implicit_meta
from network.policy.ports import Policy
from network.policy.signature import SignaturePolicy
from network.policy.signed_data import Identities, SignedData, valid_identities

ROOT: Final = "Channel"
POLICIES_CACHED: Final = 1024
"""Policies of contracts and keys kept compiled."""

MAX_DEPTH: Final = 32
"""Groups inside groups; Fabric's configurations have three levels."""

_SIGNATURE = 1
_IMPLICIT_META = 3


class PolicyGroup:
    """One group of the configuration: its policies, and by longer names those of its groups."""

    def __init__(self, group: Any, msps: Identities, path: str) -> None:
        """Read a ConfigGroup message and all below it.

        Raises:
            PolicyError: a policy is malformed or of an unknown type, or groups lie too deep.
        """
        if path.count("/") > MAX_DEPTH:
            raise PolicyError(f"groups of the configuration lie deeper than {MAX_DEPTH} levels")
        self.path = path
        self._groups = {
            name: PolicyGroup(inner, msps, f"{path}/{name}") for name, inner in group.groups.items()
        }
        self.policies: dict[str, Policy] = {}
        for name, entry in group.policies.items():
            self.policies[name] = self._read(entry, msps, f"/{path}/{name}")
        for group_name, inner in self._groups.items():
            for name, policy in inner.policies.items():
                self.policies[f"{group_name}/{name}"] = policy

    def _read(self, entry: Any, msps: Identities, name: str) -> Policy:
        if not entry.HasField("policy"):
            raise PolicyError(f"the policy {name} is empty: give it a rule")
        kind, raw = entry.policy.type, entry.policy.value
        if kind == _SIGNATURE:
            return self._read_signature(raw, msps, name)
        if kind == _IMPLICIT_META:
            sub_policy, rule = read_implicit_meta(raw, name)
            below = [inner.find(sub_policy) for inner in self._groups.values()]
            return ImplicitMetaPolicy(sub_policy, rule, below, name)
        raise PolicyError(
            f"the policy {name} is of unknown type {kind}: use signature or implicit-meta policies"
        )

    @staticmethod
    def _read_signature(raw: bytes, msps: Identities, name: str) -> Policy:
        try:
            policy = SignaturePolicy(raw, msps, name)
        except PolicyError as reason:
            raise PolicyError(f"the policy {name} did not compile: {reason}") from reason
        # Fabric looks at the version here only, and not in policies of contracts and keys.
        if policy.envelope.version != 0:
            raise PolicyError(
                f"the policy {name} is of version {policy.envelope.version}, and only 0 is known: "
                "write it as version 0"
            )
        return policy

    def find(self, path: str) -> Policy | None:
        """Return the policy of an absolute path, or one relative to this group; or None."""
        if path.startswith("/"):
            prefix = f"/{self.path}"
            if not path.startswith(prefix):
                return None
            # Fabric takes any character for the one after the prefix, and so must we.
            path = path[len(prefix) + 1 :]
        return self.policies.get(path)

    def below(self, names: Sequence[str]) -> PolicyGroup | None:
        """Return the group of that path below this one; itself for an empty path."""
        found: PolicyGroup | None = self
        for name in names:
            found = None if found is None else found._groups.get(name)
        return found


class PolicyManager:
    """All policies of one channel configuration, and those of contracts under it."""

    def __init__(self, channel_group: Any, msps: Identities) -> None:
        """Read the policies of a channel's root ConfigGroup.

        Raises:
            PolicyError: one of them is malformed or of an unknown type.
        """
        self._root = PolicyGroup(channel_group, msps, ROOT)
        self._msps = msps
        self._compiled: BoundedCache[tuple[bool, bytes], Policy] = BoundedCache(POLICIES_CACHED)

    @property
    def paths(self) -> tuple[str, ...]:
        """Absolute paths of all policies, sorted."""
        return tuple(sorted(f"/{ROOT}/{name}" for name in self._root.policies))

    def policy(self, path: str) -> Policy:
        """Return the policy at *path*.

        Raises:
            PolicyError: there is none.
        """
        found = self._root.find(path)
        if found is None:
            raise PolicyError(
                f"no such policy: '{path}'; use one of the channel configuration's paths"
            )
        return found

    def policy_seen_from(self, groups: Sequence[str], path: str) -> Policy | None:
        """Return the policy that an element of a group means by *path*; None if there is none.

        Args:
            groups: names of the groups from below the root down to the element's own.
            path: absolute, or relative to that group.
        """
        group = self._root if path.startswith("/") else self._root.below(groups)
        return None if group is None else group.find(path)

    def evaluate(self, path: str, signed: Sequence[SignedData]) -> list[Identity]:
        """Check that those who signed satisfy the policy at *path*.

        Returns:
            the valid identities among them, each once.
        Raises:
            PolicyError: no such policy, or they do not satisfy it.
        """
        policy = self.policy(path)
        identities = valid_identities(signed, self._msps)
        policy.evaluate(identities)
        return identities

    def signature_policy(self, raw: bytes) -> Policy:
        """Return the policy of a marshalled SignaturePolicyEnvelope, as keys hold it.

        Raises:
            PolicyError: malformed.
        """
        found = self._compiled.get((True, raw))
        if found is None:
            found = SignaturePolicy(raw, self._msps)
            self._compiled.put((True, raw), found)
        return found

    def application_policy(self, raw: bytes) -> Policy:
        """Return the policy of a marshalled ApplicationPolicy, as contract definitions hold it.

        It is a signature policy, or the path of a policy of the channel.

        Raises:
            PolicyError: malformed, or a path that leads nowhere.
        """
        found = self._compiled.get((False, raw))
        if found is None:
            found = self._application_policy(raw)
            self._compiled.put((False, raw), found)
        return found

    def _application_policy(self, raw: bytes) -> Policy:
        message = decode_message(
            policy_pb2.ApplicationPolicy, raw, "the contract's policy", PolicyError
        )
        kind = message.WhichOneof("Type")
        if kind == "signature_policy":
            return SignaturePolicy(message.signature_policy, self._msps)
        if kind == "channel_config_policy_reference":
            return self.policy(message.channel_config_policy_reference)
        raise PolicyError(
            "the contract's policy is empty: give a signature policy or a path of the channel's"
        )
