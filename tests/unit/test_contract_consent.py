"""Which package a node runs for a definition: by approvals, or for a first one by its version."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from chaincode.contract import Creator
from chaincode.packages import Approvals, PackageRegistry, PackageStore
from chaincode.packages.package import make_package
from chaincode.simulator import Invocation, Simulator
from chaincode.system.approvals import package_key
from chaincode.system.fields import metadata_key
from ledger.state.ports import VersionedValue
from ledger.state.version import Version
from ledger.transactions.private import hash_key, hash_value
from tests.support.consortium import MEMBERS, NOW, Consortium, first_definition
from tests.support.toy_package import toy_files

BANK, OPERATOR, PTA = MEMBERS
ONE = make_package(toy_files("1", "one"))
TWO = make_package(toy_files("2", "two"))


class World(Consortium):
    """A consortium whose nodes have toy 1 and 2 installed in folders of their own."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.registries = {}
        for msp_id in MEMBERS:
            store = PackageStore(folder / msp_id)
            store.add(ONE)
            store.add(TWO)
            self.packages[msp_id].offered = {("toy", "1"), ("toy", "2")}
            self.registries[msp_id] = PackageRegistry(
                store, (), Approvals(msp_id, self.channel, "qist")
            )

    def ask(self, msp_id: str) -> tuple[str, str]:
        """Return answer and stated version of the toy on a node, or "" and why there is none."""
        invocation = Invocation("qist", "ab" * 32, "toy", (b"Answer",), Creator(msp_id), NOW)
        result = Simulator(self.registries[msp_id]).simulate(self.state, invocation)
        if result.status == 200:
            return result.payload.decode(), result.version
        assert result.status == 500
        return "", result.message

    def standing(self, msp_id: str) -> tuple[str, str]:
        """Return package id and reason, as a node's status has them."""
        (toy,) = self.registries[msp_id].standings(self.state)
        return toy.package_id, toy.reason


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_first_definition_is_served_by_name_and_version(world: World) -> None:
    """Nobody approved it; every node with the package runs it."""
    world.write(world.found(BANK, first_definition()))
    assert [world.ask(each) for each in MEMBERS] == [("one", "1")] * 3
    assert world.standing(PTA) == (ONE.package_id, "")


def test_first_definition_goes_on_while_some_approve_it_late(world: World) -> None:
    """Who approves runs what it has approved; the others what they had."""
    world.write(world.found(BANK, first_definition()))
    world.write(world.approve(PTA, package_id=TWO.package_id))
    assert world.ask(PTA) == ("two", "1")
    assert world.ask(BANK) == ("one", "1")


def test_approved_definition_is_run_only_by_who_has_approved_it(world: World) -> None:
    """Even where the package is there in the very version."""
    world.write(world.approve(BANK, package_id=ONE.package_id))
    world.write(world.approve(OPERATOR, package_id=ONE.package_id))
    world.write(world.commit(BANK))
    assert world.ask(BANK) == ("one", "1")
    answer, message = world.ask(PTA)
    assert answer == ""
    assert (
        "chaincode definition for 'toy' at sequence 1 on channel 'qist' has not yet been approved "
        "by this org (PtaMSP)" in message
    )
    assert world.standing(PTA)[1] in message
    world.write(world.approve(PTA, package_id=ONE.package_id))
    assert world.ask(PTA) == ("one", "1")


def test_approval_of_something_else_does_not_count(world: World) -> None:
    """The parameters must be those of the definition, each of them."""
    world.write(world.approve(PTA, version="9", package_id=ONE.package_id))
    world.write(world.approve(BANK, package_id=ONE.package_id))
    world.write(world.commit(BANK))
    assert "has not yet been approved by this org (PtaMSP)" in world.ask(PTA)[1]
    world.write(world.approve(PTA, package_id=ONE.package_id))
    assert world.ask(PTA) == ("one", "1")


def test_package_is_the_one_approved_whatever_its_own_version(world: World) -> None:
    """The response states the definition's version; another approval changes the package."""
    world.define(version="1.0", package_id=ONE.package_id)
    assert world.ask(BANK) == ("one", "1.0")
    world.write(world.approve(BANK, version="1.0", package_id=TWO.package_id))
    assert world.ask(BANK) == ("two", "1.0")
    assert world.ask(PTA) == ("one", "1.0")


def test_upgrade_changes_the_package_with_the_state_alone(world: World) -> None:
    """Policy only, then package only: the sequence decides, not the version."""
    world.define(package_id=ONE.package_id)
    world.define(sequence=2, package_id=ONE.package_id, validation_parameter=b"")
    assert world.ask(BANK) == ("one", "1")
    for msp_id in MEMBERS:
        world.write(
            world.approve(
                msp_id, sequence=3, version="2", validation_parameter=b"",
                package_id=TWO.package_id,
            )
        )  # fmt: skip
    assert world.ask(BANK) == ("one", "1")
    world.write(world.commit(BANK, sequence=3, version="2", validation_parameter=b""))
    assert [world.ask(each) for each in MEMBERS] == [("two", "2")] * 3


@pytest.mark.parametrize(
    ("package_id", "words"),
    [
        (f"toy:{'0' * 64}", f"has approved package toy:{'0' * 64}; install exactly that package"),
        ("", "PtaMSP has approved sequence 1 without a package"),
        ("../../etc", "has approved package ../../etc; install exactly that package"),
    ],
)
def test_package_that_is_not_here_is_named(world: World, package_id: str, words: str) -> None:
    """Error and status say which one is missing."""
    world.define(package_id=ONE.package_id)
    world.write(world.approve(PTA, package_id=package_id))
    answer, message = world.ask(PTA)
    assert answer == ""
    assert words in message
    assert "chaincode is not installed" in message
    assert world.standing(PTA)[0] == ""
    assert words in world.standing(PTA)[1]


def test_package_without_that_contract_is_named(world: World) -> None:
    """An approval may name a package of something else."""
    for msp_id in MEMBERS:
        world.write(world.approve(msp_id, "sister", package_id=ONE.package_id))
    world.write(world.commit(BANK, "sister"))
    (standing,) = world.registries[BANK].standings(world.state)
    assert "which has no contract sister; approve one that has" in standing.reason


def test_approval_that_this_node_does_not_hold_is_said(world: World) -> None:
    """Its hashes are here, so the organisation has approved; the package id is not."""
    world.define(package_id=ONE.package_id)
    key = package_key("toy", 1)
    entry = VersionedValue(hash_value(b"hidden"), Version(9, 0))
    world.state.put_private("_lifecycle", f"_implicit_org_{PTA}", key, None, Version(9, 0))
    world.state.put_hashed("_lifecycle", f"_implicit_org_{PTA}", hash_key(key), entry)
    answer, message = world.ask(PTA)
    assert answer == ""
    assert "PtaMSP has approved 'toy' at sequence 1, but this node does not hold the" in message
    installed = world.call(PTA, "QueryInstalledChaincodes", b"")
    assert installed.status == 200

    # It says it again, without reading what it has lost.
    world.write(world.approve(PTA, package_id=ONE.package_id))
    assert world.ask(PTA) == ("one", "1")


def test_first_definition_by_votes_is_told_from_one_without(world: World) -> None:
    """An approval older than the definition is a vote; a younger one is not."""
    world.write(world.approve(BANK, package_id=ONE.package_id))
    world.write(world.commit(BANK))
    assert world.ask(PTA)[0] == ""
    key = hash_key(metadata_key("namespaces", "toy#1"))
    place = ("_lifecycle", f"_implicit_org_{BANK}", key)
    entry = world.state.get_hashed(*place)
    assert entry is not None
    world.state.put_hashed(*place, VersionedValue(entry.value, Version(99, 0)))
    world.registries[PTA] = PackageRegistry(
        world.registries[PTA]._store, (), Approvals(PTA, world.channel, "qist")
    )
    assert world.ask(PTA) == ("one", "1")


def test_package_that_breaks_is_run_once_and_named(world: World, tmp_path: Path) -> None:
    """Every proposal gets the same words, and so does the status; a package written anew counts."""
    count = tmp_path / "loads"
    main = f"open({str(count)!r}, 'a').write('x')\nraise OSError"
    broken = make_package(toy_files("7", "x", main=main))
    store = PackageStore(tmp_path / BANK)
    store.add(broken, load=False)
    world.define(package_id=broken.package_id)
    for _ in range(3):
        answer, message = world.ask(BANK)
        assert answer == ""
        assert "broke while it was loaded (OSError" in message
    assert count.read_text() == "x"
    assert world.standing(BANK)[0] == ""
    assert "broke while it was loaded" in world.standing(BANK)[1]
    shutil.rmtree(tmp_path / BANK / broken.package_id)
    store.add(broken, load=False)
    world.ask(BANK)
    assert count.read_text() == "xx"


def test_definition_of_nothing_is_explained(world: World) -> None:
    """As before there is a definition."""
    assert "chaincode toy not found; commit its definition first" in world.ask(BANK)[1]
    assert world.registries[BANK].standings(world.state) == []
