"""The node port answers callers whose TLS certificate is a member's, and nobody else."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from network.configuration import ChannelConfiguration
from nodes.errors import ChannelUnavailable
from nodes.rpc.connections import MemberGuard, caller_certificate_der
from nodes.rpc.failures import RpcFailure
from tests.support.members import Member, genesis

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
