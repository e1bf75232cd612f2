"""Any certificates in any place of a member's definition: it is set up, or refused with the reason.

Whoever may change a member's MSP chooses these bytes, and every orderer and committer sets them up.
"""

from __future__ import annotations

from contextlib import suppress
from random import Random
from typing import Any

from fabric_protos.common import configtx_pb2
from fabric_protos.msp import msp_config_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import Refusal
from network.configuration import ChannelConfiguration, describe_changes
from network.errors import ConfigurationError, PolicyError
from tests.support.members import CHANNEL, NOW, Member, genesis

BANK, PTA = Member("BankMSP"), Member("PtaMSP", intermediate=True)
ADMIN = PTA.identity("admin", "admin")
CURRENT = ChannelConfiguration.from_block(genesis([BANK, PTA]))
LISTS = (
    "root_certs",
    "intermediate_certs",
    "tls_root_certs",
    "tls_intermediate_certs",
    "admins",
    "revocation_list",
)
POOL = (
    PTA.root.pem,
    PTA.issuing.pem,
    PTA.tls.pem,
    ADMIN.certificate.pem,
    PTA.tls_identity().certificate_pem,
    BANK.root.pem,
    PTA.issuing.revocation_list({5: NOW}, 1, NOW),
    b"",
    b"none",
)


def changed(random: Random) -> Any:
    """Return the MSPConfig of the regulator with a few things put elsewhere."""
    config = PTA.msp_config()
    fabric = msp_config_pb2.FabricMSPConfig.FromString(config.config)
    units = fabric.fabric_node_ous
    for _ in range(random.randint(1, 3)):
        entries = getattr(fabric, random.choice(LISTS))
        match random.randrange(6):
            case 0 | 1:
                entries.append(random.choice(POOL))
            case 2:
                del entries[:]
            case 3:
                unit = random.choice((units.client_ou_identifier, units.admin_ou_identifier))
                unit.certificate = random.choice(POOL)
                unit.organizational_unit_identifier = random.choice(("", "admin", "client"))
            case 4:
                fabric.organizational_unit_identifiers.add(
                    certificate=random.choice(POOL), organizational_unit_identifier="client"
                )
            case _:
                units.enable = random.random() < 0.5
                fabric.crypto_config.identity_identifier_hash_function = random.choice(
                    ("SHA256", "SHA3_384", "none")
                )
    config.config = fabric.SerializeToString()
    return config


@given(st.randoms(use_true_random=False))
@settings(max_examples=150)
def test_definition_of_any_certificates_is_set_up_or_refused(random: Random) -> None:
    """And what is set up judges identities and connections, and can be told in words."""
    config = configtx_pb2.Config()
    config.CopyFrom(CURRENT.config)
    member = config.channel_group.groups["Application"].groups["PtaMSP"]
    member.values["MSP"].value = changed(random).SerializeToString()
    with suppress(ConfigurationError):
        describe_changes(CURRENT.config, config)
    try:
        configuration = ChannelConfiguration(CHANNEL, config)
    except (ConfigurationError, PolicyError):
        return
    with suppress(Refusal):
        configuration.msps.deserialize(ADMIN.serialized)
    with suppress(Refusal):
        configuration.msps.member_of_tls_certificate(POOL[4])
