"""Connection profiles and checkpoints on disk: what is read, and what is said of what cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clients.fabric_sdk_py.network_profile import NetworkProfile
from clients.gateway.errors import ProfileError
from clients.gateway.events import FileCheckpointer
from clients.gateway.profile import ConnectionProfile, load_profile
from ledger.errors import LedgerError
from network.certificates import create_organisation


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A member's folder with a user."""
    folder = tmp_path_factory.mktemp("profile") / "bank"
    create_organisation(folder, "BankMSP").add_user("lending")
    return folder


def content(**changes: Any) -> dict[str, Any]:
    """A profile that can be read, with some of its top fields changed."""
    user = "bank/users/lending/msp"
    return {
        "client": {"organization": "Bank"},
        "channels": {"qist": {}, "other": {}},
        "organizations": {
            "Bank": {
                "mspid": "BankMSP",
                "peers": ["one", "two"],
                "users": {
                    "lending": {
                        "cert": f"{user}/signcerts/cert.pem",
                        "private_key": {"path": f"{user}/keystore/key.pem"},
                    }
                },
            },
            "Pta": {"mspid": "PtaMSP", "peers": ["three"]},
        },
        "peers": {
            name: {
                "url": f"grpcs://{name}.example:7050",
                "tlsCACerts": {"path": "bank/tlsca/ca-cert.pem"},
                "grpcOptions": {"ssl-target-name-override": "node"},
            }
            for name in ("one", "two", "three")
        },
        **changes,
    }


def profile_of(bank: Path, value: Any) -> ConnectionProfile:
    """A profile with that content, beside the member's folder."""
    path = bank.parent / "connection.json"
    path.write_text(json.dumps(value))
    return load_profile(path)


def test_profile_names_channels_gateways_and_users_of_its_member(bank: Path) -> None:
    """Paths are relative to the file; gateways of other members are not the member's own."""
    profile = profile_of(bank, content())
    assert profile.msp_id == "BankMSP"
    assert profile.channel_ids == ("qist", "other")
    assert [each.address for each in profile.endpoints()] == [
        "one.example:7050",
        "two.example:7050",
    ]
    assert [each.address for each in profile.endpoints("PtaMSP")] == ["three.example:7050"]
    assert profile.endpoints()[0].server_name == "node"
    assert profile.user("lending").msp_id == "BankMSP"
    assert load_profile(str(profile.path)) == profile


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"client": {}}, "lacks the field client.organization"),
        ({"client": {"organization": "No"}}, "lacks the field organizations.No"),
        ({"organizations": {}}, "lacks the field organizations.Bank"),
        ({"peers": {}}, "lacks the field peers.one"),
        ({"peers": {"one": {"url": "grpc://one:1", "tlsCACerts": {"pem": "x"}}}}, "grpcs://host"),
        ({"peers": {"one": {"url": "grpcs://one:1", "tlsCACerts": {}}}}, "needs 'pem' or 'path'"),
        (
            {"peers": {"one": {"url": "grpcs://one:1", "tlsCACerts": {"path": "no.pem"}}}},
            "no.pem, which cannot be read",
        ),
    ],
)
def test_profile_that_lacks_something_says_which_field(
    bank: Path, changes: dict[str, Any], message: str
) -> None:
    """A refusal names the field and the file."""
    profile = profile_of(bank, content(**changes))
    with pytest.raises(ProfileError, match=message) as raised:
        profile.endpoints()
    assert "connection.json" in str(raised.value)


def test_user_whom_the_profile_does_not_name_is_refused_with_those_it_names(bank: Path) -> None:
    """Who may sign is said, so that a slip is seen."""
    with pytest.raises(ProfileError, match="it names: lending"):
        profile_of(bank, content()).user("landing")


def test_user_with_the_key_of_another_is_refused(bank: Path) -> None:
    """Certificate and key belong together, or nothing would verify."""
    value = content()
    user = value["organizations"]["Bank"]["users"]["lending"]
    user["private_key"] = "bank/ca/ca-key.pem"
    with pytest.raises(LedgerError, match="private key"):
        profile_of(bank, value).user("lending")


@pytest.mark.parametrize(("text", "message"), [("{", "not JSON"), ("[]", "must be a JSON object")])
def test_file_that_is_no_profile_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """Not JSON, or not an object; both faces of the reader say so."""
    path = tmp_path / "connection.json"
    path.write_text(text)
    for read in (load_profile, NetworkProfile.load):
        with pytest.raises(ProfileError, match=message):
            read(path)
    with pytest.raises(ProfileError, match="cannot be read"):
        load_profile(tmp_path / "none.json")


def test_checkpoint_is_read_back_and_a_broken_one_is_refused(tmp_path: Path) -> None:
    """What was written is there after a restart; a damaged file is not taken for a beginning."""
    path = tmp_path / "checkpoint.json"
    first = FileCheckpointer(path)
    assert (first.block_num, first.tx_id) == (None, "")
    first.checkpoint(7, "ab")
    again = FileCheckpointer(path)
    assert (again.block_num, again.tx_id) == (7, "ab")
    again.checkpoint(8, "")
    assert json.loads(path.read_text()) == {"blockNumber": 8, "transactionId": ""}
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoint.json"]
    for broken in ("", "{}", '{"blockNumber": "x", "transactionId": ""}'):
        path.write_text(broken)
        with pytest.raises(ProfileError, match="no checkpoint file"):
            FileCheckpointer(path)
