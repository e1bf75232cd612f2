"""The command ``qist`` as users of members run it, in this process, on a network of a test."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import qist
from nodes.cli.lender_collections import collections_of, render_collections
from nodes.cli.members_description import USUAL_MEMBERS
from tests.support.local_network import MEMBERS, LocalNetwork

CLASSES = {
    "BankMSP": "bank",
    "OperatorMSP": "operator",
    "MakerMSP": "manufacturer",
    "PtaMSP": "regulator",
}
ROLES = ("lending", "governance", "enforcement", "executor", "admin")
COLLECTIONS = {
    "instalments": render_collections(
        USUAL_MEMBERS.members, collections_of(USUAL_MEMBERS.members, {})
    )
}
"""The private collections of a network of the usual members, by contract."""

FACTS = (
    "--operator",
    "OperatorMSP",
    "--maker",
    "MakerMSP",
    "--country",
    "PK",
    "--receiving",
    "BankMSP",
    "--receiving",
    "OperatorMSP",
    "--language",
    "ur",
    "--block-consent",
)


def write_profile(network: LocalNetwork, msp_id: str) -> Path:
    """A member's connection profile, as `qist network create` lays it out."""
    member = network.members[msp_id]
    for role in ROLES:
        network.signer(msp_id, role)
    folder = network.folder / msp_id
    users = {
        role: {
            "cert": f"org/users/{role}/msp/signcerts/cert.pem",
            "private_key": {"path": f"org/users/{role}/msp/keystore/key.pem"},
        }
        for role in ROLES
    }
    content = {
        "client": {"organization": msp_id},
        "channels": {network.channel_id: {}},
        "organizations": {msp_id: {"mspid": msp_id, "peers": ["node0"], "users": users}},
        "peers": {
            "node0": {
                "url": f"grpcs://localhost:{member.client_port}",
                "tlsCACerts": {"path": "org/tlsca/ca-cert.pem"},
            }
        },
    }
    keys = [
        f'[[{ring}]]\nid = "k1"\nsecret = "{ring[0].encode().hex() * 32}"\n'
        for ring in ("device", *(["lender.BankMSP"] if msp_id == "BankMSP" else []))
    ]
    (folder / "pseudonym-keys.toml").write_text("\n".join(keys))
    (folder / "pseudonym-keys.toml").chmod(0o600)
    path = folder / "connection.json"
    path.write_text(json.dumps(content))
    return path


class Commands:
    """Runs ``qist`` as a user of a member and gives back its exit code and JSON.

    ``at`` is a rehearsal's time, empty for the machine's.
    """

    def __init__(self, network: LocalNetwork, capsys: pytest.CaptureFixture[str]) -> None:
        self._profiles = {msp_id: write_profile(network, msp_id) for msp_id in MEMBERS}
        self._capsys = capsys
        self.at = ""

    async def run(self, msp_id: str, user: str, *words: str) -> tuple[int, Any]:
        """Exit code, and what was printed as JSON (of an error what stands on standard error)."""
        self._capsys.readouterr()
        options = ["--profile", str(self._profiles[msp_id]), "--user", user, "--json"]
        options += ["--at", self.at] if self.at else []
        code = await asyncio.to_thread(qist.main, [*words, *options])
        printed = self._capsys.readouterr()
        return code, json.loads(printed.out or printed.err)

    async def ok(self, msp_id: str, user: str, *words: str) -> Any:
        """What a command printed that must succeed."""
        code, value = await self.run(msp_id, user, *words)
        assert code == 0, value
        return value


async def found(commands: Commands) -> None:
    """Found the consortium: every organisation endorses."""
    members = [
        {"msp_id": msp_id, "member_class": kind, "affiliate_group": kind}
        for msp_id, kind in CLASSES.items()
    ]
    endorsed_by = [word for msp_id in MEMBERS for word in ("--endorsed-by", msp_id)]
    await commands.ok(
        "PtaMSP",
        "governance",
        "submit",
        "enforcement",
        "Found",
        json.dumps(members),
        "{}",
        *endorsed_by,
    )
