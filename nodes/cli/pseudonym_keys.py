"""Fresh keys for the pseudonyms of a network's members, as the file that each member keeps.

    [[device]]               one key that all members share
    [[lender.BankMSP]]       borrowers, SIMs and documents: this lender's and the regulators'

Of each list the first key is the current one; older ones stay below it for look-ups. The keys are
made once, when a network is created on one machine; members on machines of their own exchange
them by a way they trust. Absent: rotation, which is a new first entry written by the member.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

from chaincode.instalments.identifiers import PseudonymKey
from nodes.cli.members_description import NetworkMember

_SECRET_BYTES = 32


def make_key(owner: str) -> PseudonymKey:
    """Return a new key; its id begins with *owner*, so that people see whose it is."""
    readable = re.sub(r"[^a-z0-9]", "", owner.lower().removesuffix("msp"))[:12] or "key"
    return PseudonymKey(f"{readable}-1", secrets.token_bytes(_SECRET_BYTES))


def render_key_files(members: Sequence[NetworkMember]) -> dict[str, str]:
    """Return, by MSP id, the text of each member's file, with keys made for this network.

    A lender holds its own ring, a regulator all of them, everybody the one of devices.
    """
    device = make_key("device")
    lenders = {each.msp_id: make_key(each.msp_id) for each in members if each.may_lend}
    files = {}
    for member in members:
        held = [
            (f"lender.{msp_id}", key)
            for msp_id, key in lenders.items()
            if member.is_regulator or msp_id == member.msp_id
        ]
        sections = [_section(name, key) for name, key in [("device", device), *held]]
        head = "# Secret. Whoever has these keys can try all numbers; give this file to nobody.\n"
        files[member.msp_id] = "\n".join([head, *sections])
    return files


def _section(name: str, key: PseudonymKey) -> str:
    # A quoted name: an MSP id may hold dots.
    table, _, owner = name.partition(".")
    heading = f'{table}."{owner}"' if owner else table
    return f'[[{heading}]]\nid = "{key.key_id}"\nsecret = "{key.secret.hex()}"\n'
