"""What a policy is to those who evaluate one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from network.msp import Identity


class Policy(Protocol):
    """A rule about who must have signed."""

    def evaluate(self, identities: Sequence[Identity]) -> None:
        """Check that *identities*, valid and each there once, satisfy the policy.

        Raises:
            PolicyError: they do not.
        """

    def is_satisfied(self, identities: Sequence[Identity]) -> bool:
        """Tell whether *identities*, valid and each there once, satisfy the policy."""
