"""A member's connection profile in Fabric's JSON form, with which clients find its node.

It names the gateways of all members with the TLS authorities that vouch for them, and the member's
own users by their certificates and keys; paths are relative to the file. Official clients, which
take an address, a TLS certificate and an MSP folder, find all three beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Gateway:
    """One member's node as clients reach it.

    Attributes:
        msp_id: the member.
        name: of the node in the profile.
        address: host and client port.
        tls_ca_pem: the member's TLS authority.
    """

    msp_id: str
    name: str
    address: str
    tls_ca_pem: str


def render_profile(
    network: str,
    channel_id: str,
    own: str,
    gateways: Sequence[Gateway],
    users: Mapping[str, str],
) -> str:
    """Return the text of a member's `connection.json`.

    Args:
        network: name of the network, for people.
        channel_id: its channel.
        own: MSP id of the member it is for.
        gateways: of all members; the member's own are asked.
        users: name of each user and its MSP folder, relative to the file.
    """
    organisations: dict[str, dict[str, Any]] = {}
    for gateway in gateways:
        entry = organisations.setdefault(gateway.msp_id, {"mspid": gateway.msp_id, "peers": []})
        entry["peers"].append(gateway.name)
    organisations[own]["users"] = {
        name: {
            "cert": f"{folder}/signcerts/cert.pem",
            "private_key": f"{folder}/keystore/key.pem",
        }
        for name, folder in users.items()
    }
    content = {
        "name": network,
        "version": "1.0.0",
        "client": {"organization": own},
        "channels": {channel_id: {"peers": {gateway.name: {} for gateway in gateways}}},
        "organizations": organisations,
        "peers": {
            gateway.name: {
                "url": f"grpcs://{gateway.address}",
                "tlsCACerts": {"pem": gateway.tls_ca_pem},
                "grpcOptions": {},
            }
            for gateway in gateways
        },
    }
    return json.dumps(content, indent=2) + "\n"
