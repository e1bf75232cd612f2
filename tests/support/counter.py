"""A small contract for tests of nodes: counters, with what a test of the way around them needs."""

from __future__ import annotations

import threading
import time

from chaincode.contract import Context, Contract, ContractRefusal, query, transaction
from network.policy import parse_policy


class Counter(Contract):
    """Adds numbers up under keys."""

    name = "counter"

    @transaction
    def Add(self, ctx: Context, key: str, number: int) -> int:
        """Add to a counter and announce its new value."""
        total = int(ctx.stub.get_state(key) or b"0") + number
        ctx.stub.put_state(key, str(total).encode())
        ctx.stub.set_event("Added", str(total).encode())
        return total

    @transaction
    def Put(self, ctx: Context, key: str, value: str) -> None:
        """Write without reading; announces nothing."""
        ctx.stub.put_state(key, value.encode())

    @transaction
    def PutSecret(self, ctx: Context, key: str) -> None:
        """Write what comes as transient data."""
        ctx.stub.put_state(key, ctx.stub.get_transient()["secret"])

    @transaction
    def Guard(self, ctx: Context, key: str, policy: str) -> None:
        """Write a key and let only those who meet *policy* change it from now on."""
        ctx.stub.put_state(key, b"0")
        ctx.stub.set_state_validation_parameter(
            key, parse_policy(policy).SerializeToString(deterministic=True)
        )

    @transaction
    def Guess(self, ctx: Context, key: str) -> None:
        """Write what no two nodes agree about."""
        ctx.stub.put_state(key, str(time.perf_counter_ns()).encode())

    @transaction
    def Refuse(self, ctx: Context) -> None:
        """Refuse."""
        raise ContractRefusal("the counter", "does not count that", "count something else")

    @transaction
    def Break(self, ctx: Context) -> None:
        """Be broken."""
        raise RuntimeError("not for anybody's eyes")

    @query
    def Spin(self, ctx: Context, milliseconds: int) -> str:
        """Be busy for a while, and tell which thread was."""
        end = time.perf_counter() + milliseconds / 1000
        while time.perf_counter() < end:
            pass
        return threading.current_thread().name

    @query
    def Get(self, ctx: Context, key: str) -> int:
        """Return a counter."""
        return int(ctx.stub.get_state(key) or b"0")
