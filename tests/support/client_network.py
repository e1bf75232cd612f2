"""A network with the contract of the scenarios, and its description as every client reads it.

    with client_network(folder) as network:
        settings = write_settings(network, folder / "go.json", prefix="go ")

The description (`settings`) is a JSON file that could be of any Fabric network:

| field | is |
|---|---|
| `channel`, `contract` | names of the channel, and of the contract of the scenarios on it |
| `user` | the usual user of every member |
| `firstBlock` | number of a block from which all blocks can be had |
| `prefix` | put before every key, so that clients and runs do not meet on one network |
| `members` | in order: `mspId`, `profile` (file with the connection profile), `users` (folder) |
| `identities` | users of the first member by kind of key: `P-384`, `Ed25519` |
| `collection` | name of a collection whose members are the first two; its data are for them alone |
| `restart` | `mspId` of a member, not one of the first three; commands `stop` and `start` |
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from network.certificates import Organisation
from tests.support.processes import BIN, network_down_at_the_end, qist

SUPPORT = Path(__file__).parent
MEMBERS = ("BankMSP", "OperatorMSP", "MakerMSP", "PtaMSP")
CONTRACT = "scenarios"
COLLECTION = "shared"
IDENTITIES = {"P-384": "scenarios-p384", "Ed25519": "scenarios-ed25519"}
USER = "lending"


@contextmanager
def client_network(folder: Path) -> Iterator[Path]:
    """A founded network in *folder* that has the contract of the scenarios; down at the end."""
    with network_down_at_the_end(folder) as network:
        for words in (("create", network, "--base-port", "0"), ("up", network)):
            answer = qist("network", *words)
            assert answer.code == 0, answer.err
        define_scenarios(network)
        home = Organisation.open(network / MEMBERS[0] / "org")
        for algorithm, user in IDENTITIES.items():
            home.add_user(user, attributes={"qist.role": USER}, algorithm=algorithm)
        yield network


def define_scenarios(network: Path) -> None:
    """Install the contract of the scenarios on every node; define it with all members' consent."""

    def install(msp_id: str) -> None:
        package = SUPPORT / "scenario_contract"
        answer = qist("node", "install", network / msp_id / "node", "--package", package)
        assert answer.code == 0, answer.err

    with ThreadPoolExecutor() as pool:
        list(pool.map(install, MEMBERS))
    peers = ", ".join(f"'{msp_id}.peer'" for msp_id in MEMBERS)
    endorsed_by = [word for msp_id in MEMBERS for word in ("--endorsed-by", msp_id)]
    profile = network / "BankMSP" / "connection.json"
    user = ("--profile", profile, "--user", "admin")
    version = ("--version", "1")
    policy = f"OutOf(2, {peers})"
    path = network.with_name("collections.json")
    path.write_text(json.dumps([collection_of(MEMBERS[:2])]), "utf-8")
    collections = ("--collections", f"{CONTRACT}={path}")
    words: list[str | Path] = [CONTRACT, policy, *version, *collections, *user, *endorsed_by]
    defined = qist("contract", "define", *words)
    assert defined.code == 0, defined.err


def collection_of(members: Sequence[str]) -> dict[str, Any]:
    """The collection of the scenarios in the form of Fabric's tools."""
    return {
        "name": COLLECTION,
        "policy": "OR({})".format(", ".join(f"'{each}.member'" for each in members)),
        "requiredPeerCount": 1,
        "maxPeerCount": 2,
        "blockToLive": 0,
        "memberOnlyRead": True,
        "memberOnlyWrite": True,
    }


def write_settings(network: Path, path: Path, *, prefix: str) -> Path:
    """Describe the network for one client; return *path*."""
    command = str(BIN / "qist")
    last = MEMBERS[-1]
    content = {
        "channel": "qist",
        "contract": CONTRACT,
        "user": USER,
        "firstBlock": 0,
        "prefix": prefix,
        "members": [
            {
                "mspId": msp_id,
                "profile": str(network / msp_id / "connection.json"),
                "users": str(network / msp_id / "org" / "users"),
            }
            for msp_id in MEMBERS
        ],
        "identities": IDENTITIES,
        "collection": COLLECTION,
        "restart": {
            "mspId": last,
            "stop": [command, "node", "stop", str(network / last / "node")],
            "start": [command, "network", "up", str(network)],
        },
        "pseudonymKeys": str(network / MEMBERS[0] / "pseudonym-keys.toml"),
    }
    path.write_text(json.dumps(content, indent=2), "utf-8")
    return path
