"""The node port answers callers whose TLS certificate is a member's, and nobody else."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta
from typing import Any

import grpc
import pytest

from network.configuration import ChannelConfiguration
from nodes.errors import ChannelUnavailable
from nodes.rpc import connections
from nodes.rpc.connections import MemberGuard, caller_certificate_der
from nodes.rpc.failures import RpcFailure
from tests.support.members import Member, genesis

DEADLINE_S = 10.0
BRIEF_S = 0.1
BANK, PTA = Member("BankMSP"), Member("PtaMSP")
CONFIGURATION = ChannelConfiguration.from_block(genesis([BANK, PTA]))


async def never(_sequence: int) -> ChannelConfiguration:
    """No further configuration comes."""
    raise ChannelUnavailable("the node is leaving")


class Call:
    """What gRPC tells of a call's connection."""

    def __init__(self, *certificates: bytes) -> None:
        self._context = {"x509_pem_cert": certificates} if certificates else {}

    def auth_context(self) -> Any:
        return self._context


@pytest.mark.parametrize("member", [BANK, PTA])
def test_guard_lets_any_members_tls_certificate_pass(member: Member) -> None:
    """Whose node it is does not matter here; what it may do is asked of its signatures."""
    tls = member.tls_identity()
    check = MemberGuard(lambda: CONFIGURATION, never)
    check(Call(tls.certificate_pem))
    assert caller_certificate_der(Call(tls.certificate_pem)) == tls.certificate_der


@pytest.mark.parametrize(
    "call",
    [
        Call(),
        Call(Member("BankMSP").tls_identity().certificate_pem),
        Call(BANK.identity(unit="peer").certificate.pem),
        Call(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
    ],
    ids=["none", "another authority of that name", "an identity", "no certificate"],
)
def test_guard_refuses_every_other_certificate(call: Call) -> None:
    """PERMISSION_DENIED, with the reason."""
    with pytest.raises(RpcFailure, match="serves members' nodes only") as refused:
        MemberGuard(lambda: CONFIGURATION, never)(call)
    assert refused.value.code is grpc.StatusCode.PERMISSION_DENIED


async def test_guard_ends_the_stream_of_a_member_that_a_new_configuration_removes() -> None:
    """At the first configuration in which its certificate is nobody's; others keep theirs."""
    configurations = [
        CONFIGURATION,
        ChannelConfiguration.from_block(genesis([BANK])),
    ]

    async def reconfigured(_sequence: int) -> ChannelConfiguration:
        if not configurations:
            raise ChannelUnavailable("the node is leaving")
        return configurations.pop(0)

    guard = MemberGuard(lambda: CONFIGURATION, reconfigured)
    await guard.watch(Call(BANK.tls_identity().certificate_pem))
    assert configurations == []
    configurations += [CONFIGURATION, ChannelConfiguration.from_block(genesis([BANK]))]
    with pytest.raises(RpcFailure, match="serves members' nodes only"):
        await guard.watch(Call(PTA.tls_identity().certificate_pem))


async def test_guard_ends_what_outlives_its_certificate() -> None:
    """A call is refused once it has expired, and a stream ends at that time."""
    tls = PTA.tls_identity()
    call, ends = Call(tls.certificate_pem), tls.not_after
    begin = time.monotonic()

    def nearly_over() -> datetime:
        return ends + timedelta(seconds=time.monotonic() - begin - BRIEF_S)

    async def unchanged(_sequence: int) -> ChannelConfiguration:
        await asyncio.Event().wait()
        raise AssertionError

    guard = MemberGuard(lambda: CONFIGURATION, unchanged, nearly_over)
    guard(call)
    with pytest.raises(RpcFailure, match="the TLS certificate of the node of PtaMSP expired at"):
        async with asyncio.timeout(DEADLINE_S):
            await guard.watch(call)
    assert time.monotonic() - begin >= BRIEF_S
    with pytest.raises(RpcFailure, match="expired at") as refused:
        guard(call)
    assert refused.value.code is grpc.StatusCode.PERMISSION_DENIED


async def test_guard_looks_at_the_clock_again_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that was set forward ends a stream without waiting for what it said before."""
    monkeypatch.setattr(connections, "LOOK_AGAIN_S", 0.001)
    tls = PTA.tls_identity()
    times = iter([tls.not_after - timedelta(days=300), tls.not_after + timedelta(seconds=1)])

    async def unchanged(_sequence: int) -> ChannelConfiguration:
        await asyncio.Event().wait()
        raise AssertionError

    guard = MemberGuard(lambda: CONFIGURATION, unchanged, lambda: next(times))
    with pytest.raises(RpcFailure, match="expired at"):
        async with asyncio.timeout(DEADLINE_S):
            await guard.watch(Call(tls.certificate_pem))
