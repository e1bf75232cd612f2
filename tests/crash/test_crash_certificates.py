"""A write that fails while certificates are made: the old state stays, and a second try works."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from network.certificates import (
    Organisation,
    create_organisation,
    retire_authorities,
    rotate_authorities,
)
from network.errors import CertificateError, IdentityError
from network.msp import MSP, SigningIdentity


class FailingDisk:
    """Lets `os.fsync` fail at its n-th call; every file and folder that is written goes by it."""

    def __init__(self, monkeypatch) -> None:
        self.calls = 0
        self.fail_at = 0
        monkeypatch.setattr(os, "fsync", self._fsync)

    def _fsync(self, descriptor: int) -> None:
        self.calls += 1
        if self.calls == self.fail_at:
            raise OSError(28, "No space left on device")

    def counted(self, work: Callable[[], object]) -> int:
        """Return how often *work* writes."""
        self.calls = self.fail_at = 0
        work()
        return self.calls

    def failing(self, at: int, work: Callable[[], object]) -> None:
        """Have *work* fail at its write number *at*, with an error that names the disk's reason."""
        self.calls, self.fail_at = 0, at
        with pytest.raises(CertificateError, match="No space left on device"):
            work()
        self.fail_at = 0


@pytest.fixture
def disk(monkeypatch) -> FailingDisk:
    return FailingDisk(monkeypatch)


def _hidden(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*") if path.name not in (".", "..")]


def test_organisation_appears_whole_or_not_at_all(tmp_path, disk) -> None:
    """Whichever write fails; then it can be made at the same place."""
    steps = disk.counted(lambda: create_organisation(tmp_path / "first", "BankMSP"))
    assert steps > 10
    for step in range(1, steps + 1):
        place = tmp_path / f"org{step}"
        disk.failing(step, lambda place=place: create_organisation(place, "BankMSP"))
        assert _hidden(tmp_path) == []
        if not place.exists():
            create_organisation(place, "BankMSP")
        Organisation.open(place).add_user("user")


@pytest.mark.parametrize("kind", ["nodes", "users"])
def test_identity_appears_whole_or_not_at_all(tmp_path, disk, kind) -> None:
    """No folder with a certificate and no key, and no name that is taken by half a folder."""
    bank = create_organisation(tmp_path / "org", "BankMSP")
    add = bank.add_node if kind == "nodes" else bank.add_user
    steps = disk.counted(lambda: add("first"))
    for step in range(1, steps + 1):
        name = f"name{step}"
        disk.failing(step, lambda name=name: add(name))
        assert _hidden(bank.folder) == []
        folder = bank.folder / kind / name
        if not folder.exists():
            add(name)
        signer = SigningIdentity.load(folder / "msp", "BankMSP")
        MSP.from_config(bank.msp_config()).deserialize(signer.serialized)


def test_failed_renewal_leaves_a_usable_certificate(tmp_path, disk) -> None:
    """The old one or the new one, with its key."""
    bank = create_organisation(tmp_path / "org", "BankMSP")
    node = bank.add_node("node0")
    steps = disk.counted(lambda: bank.renew("node0"))
    for step in range(1, steps + 1):
        disk.failing(step, lambda: bank.renew("node0"))
        assert _hidden(bank.folder) == []
        signer = SigningIdentity.load(node / "msp", "BankMSP")
        MSP.from_config(bank.msp_config()).deserialize(signer.serialized)
    bank.renew("node0")


def test_failed_revocation_can_be_tried_again(tmp_path, disk) -> None:
    """A list is the old one or the new one, and the second try completes it."""
    bank = create_organisation(tmp_path / "org", "BankMSP")
    bank.add_node("first")
    steps = disk.counted(lambda: bank.revoke("first"))
    for step in range(1, steps + 1):
        name = f"node{step}"
        node = bank.add_node(name)
        signer = SigningIdentity.load(node / "msp", "BankMSP")
        disk.failing(step, lambda name=name: bank.revoke(name))
        assert _hidden(bank.folder) == []
        bank.msp_config()
        bank.revoke(name)
        msp = MSP.from_config(bank.msp_config())
        with pytest.raises(IdentityError, match="revoked"):
            msp.deserialize(signer.serialized)


def test_place_that_cannot_be_written_is_named(tmp_path) -> None:
    """A file stands where a folder should be."""
    (tmp_path / "file").write_text("")
    with pytest.raises(CertificateError, match="cannot be written"):
        create_organisation(tmp_path / "file" / "org", "BankMSP")


def test_failed_rotation_keeps_old_identities_and_is_repeated(tmp_path, disk) -> None:
    """Whichever write fails, what was valid stays valid, and the same command goes on."""
    create_organisation(tmp_path / "count", "BankMSP")
    steps = disk.counted(lambda: rotate_authorities(tmp_path / "count"))
    assert steps > 10
    for step in range(1, steps + 1):
        bank = create_organisation(tmp_path / f"org{step}", "BankMSP")
        user = SigningIdentity.load(bank.add_user("user") / "msp", "BankMSP")
        disk.failing(step, lambda bank=bank: rotate_authorities(bank.folder))
        MSP.from_config(bank.msp_config()).deserialize(user.serialized)
        Organisation.open(bank.folder).add_user("other")
        if not Organisation.open(bank.folder).is_rotating:
            rotate_authorities(bank.folder)
        rotating = Organisation.open(bank.folder)
        late = SigningIdentity.load(rotating.add_user("late") / "msp", "BankMSP")
        msp = MSP.from_config(rotating.msp_config())
        for each in (user, late):
            msp.deserialize(each.serialized)


def test_failed_retirement_keeps_new_identities_and_is_repeated(tmp_path, disk) -> None:
    """Whichever write fails, the new authority's certificates stay valid to the end."""

    def rotated(name: str) -> Organisation:
        create_organisation(tmp_path / name, "BankMSP").add_node("node0")
        bank = rotate_authorities(tmp_path / name)
        bank.renew("node0")
        bank.add_user("gone")
        bank.revoke("gone")
        return bank

    counted = rotated("count")
    steps = disk.counted(lambda: retire_authorities(counted.folder))
    for step in range(1, steps + 1):
        bank = rotated(f"org{step}")
        node = SigningIdentity.load(bank.node_folder("node0") / "msp", "BankMSP")
        gone = SigningIdentity.load(bank.user_folder("gone") / "msp", "BankMSP")
        disk.failing(step, lambda bank=bank: retire_authorities(bank.folder))
        MSP.from_config(bank.msp_config()).deserialize(node.serialized)
        if 'rotation = ""' not in (bank.folder / "organisation.toml").read_text():
            retire_authorities(bank.folder)
        retired = Organisation.open(bank.folder)
        assert not retired.is_rotating
        msp = MSP.from_config(retired.msp_config())
        msp.deserialize(node.serialized)
        with pytest.raises(IdentityError, match="revoked"):
            msp.deserialize(gone.serialized)
        retired.add_user("late")
