"""What keeps a rehearsal from being run, as opposed to what comes out of one."""

from __future__ import annotations

from ledger.errors import Refusal


class RehearsalRefused(Refusal):
    """The folder, the policy file or the network of a rehearsal cannot be used; says why."""


class RehearsalFailed(Refusal):
    """A step of the rehearsal did not end as its own rules say: a fault worth reporting."""
