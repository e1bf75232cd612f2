"""Contract packages on disk: installed whole or not at all, verified, loaded side by side."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chaincode.contract import Creator
from chaincode.errors import DeterminismError, PackageError
from chaincode.packages import PackageRegistry, PackageStore, read_package
from chaincode.packages.package import make_package
from chaincode.simulator import ContractChaincode, Invocation, Simulator
from tests.structure.tree import ROOT
from tests.support.memory_state import MemoryState
from tests.support.toy_package import define, toy_files, write_package


@pytest.fixture
def store(tmp_path: Path) -> PackageStore:
    return PackageStore(tmp_path / "contracts")


def install(store: PackageStore, files: dict[str, bytes]) -> str:
    """Install a package made of files and return its id."""
    source = write_package(store.folder.parent / "source", files)
    try:
        return store.install(source).package_id
    finally:
        shutil.rmtree(source)


def ask(registry: PackageRegistry, state: MemoryState) -> tuple[int, str, str]:
    """Return status, answer or message, and version of a call of the toy."""
    result = Simulator(registry).simulate(
        state,
        Invocation("qist", "ab" * 32, "toy", (b"Answer",), Creator("BankMSP"),
                   datetime(2026, 1, 1, tzinfo=UTC)),
    )  # fmt: skip
    return result.status, result.payload.decode() or result.message, result.version


def defined(version: str, sequence: int = 1) -> MemoryState:
    """Return a state that defines the toy."""
    state = MemoryState()
    define(state, "toy", version, sequence)
    return state


def test_package_once_installed_is_listed_and_answers(store: PackageStore) -> None:
    """An installed package is listed with what it offers, and its contract runs."""
    package_id = install(store, toy_files())
    (listed,) = store.installed()
    assert (listed.package_id, listed.version, listed.contracts) == (package_id, "1", ("toy",))
    assert store.offers("toy", "1")
    assert not store.offers("toy", "2")
    assert ask(PackageRegistry(store), defined("1")) == (200, "one", "1")


def test_package_installed_twice_is_left_as_it_is(store: PackageStore) -> None:
    """Installing again changes nothing."""
    first = install(store, toy_files())
    before = (store.folder / first / "main.py").stat()
    assert install(store, toy_files()) == first
    after = (store.folder / first / "main.py").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_two_versions_live_side_by_side_in_one_process(store: PackageStore) -> None:
    """Each state gets the version it defines, at the same time, from modules of its own."""
    install(store, toy_files("1", "one"))
    install(store, toy_files("2", "two"))
    registry = PackageRegistry(store)
    one, two = defined("1"), defined("2", sequence=2)
    answers = [ask(registry, state) for state in (one, two, one, two)]
    assert answers == [(200, "one", "1"), (200, "two", "2")] * 2
    assert "main" not in sys.modules
    assert "rules" not in sys.modules


def test_modules_are_loaded_under_a_private_name(store: PackageStore) -> None:
    """The module's name carries the package's hash: nothing else imports it by chance."""
    package_id = install(store, toy_files())
    chaincode = store.load(package_id)["toy"]
    assert isinstance(chaincode, ContractChaincode)
    module = type(chaincode.contract.contract).__module__
    assert module == f"_qist_contract_{package_id.partition(':')[2]}.main"


@pytest.mark.parametrize("path", ["contract.toml", "__init__.py", "main.py", "rules.py"])
def test_package_changed_after_installation_is_refused(store: PackageStore, path: str) -> None:
    """One byte more in any file, and the package is neither listed nor loaded."""
    package_id = install(store, toy_files())
    with (store.folder / package_id / path).open("ab") as file:
        file.write(b"\n")
    with pytest.raises(PackageError, match="was changed after it was installed"):
        store.load(package_id)
    later = PackageStore(store.folder)
    assert later.installed() == ()
    assert not later.offers("toy", "1")
    assert "was changed after it was installed" in later.faults()[0]
    status, message, _ = ask(PackageRegistry(later), defined("1"))
    assert status == 500
    assert "was changed after it was installed" in message


@pytest.mark.parametrize("change", ["added", "removed"])
def test_package_with_a_module_more_or_less_is_refused(store: PackageStore, change: str) -> None:
    """A module that was added or taken away is found like a changed one."""
    package_id = install(store, toy_files())
    if change == "added":
        (store.folder / package_id / "json.py").write_text("loads = None\n")
    else:
        (store.folder / package_id / "rules.py").unlink()
    with pytest.raises(PackageError, match="was changed after it was installed"):
        store.load(package_id)


def test_files_that_are_no_part_of_a_package_change_nothing(store: PackageStore) -> None:
    """Caches, hidden files and other data are left out of the package and of its hash."""
    source = write_package(store.folder.parent / "source", toy_files())
    plain = read_package(source)
    write_package(
        source,
        {
            "__pycache__/main.cpython-311.pyc": b"x",
            ".git/config": b"x",
            ".hidden.py": b"import os",
            "README.md": b"x",
            "native.so": b"x",
        },
    )
    assert read_package(source).package_id == plain.package_id
    installed = store.install(source)
    names = {path.name for path in installed.folder.rglob("*") if path.is_file()}
    assert names == {"contract.toml", "__init__.py", "main.py", "rules.py"}


def test_link_in_a_package_is_refused(store: PackageStore) -> None:
    """What a package holds must lie in its own folder."""
    source = write_package(store.folder.parent / "source", toy_files())
    (source / "more.py").symlink_to(source / "rules.py")
    with pytest.raises(PackageError, match=r"more\.py is a link"):
        store.install(source)


def test_package_that_uses_what_is_forbidden_is_not_installed(store: PackageStore) -> None:
    """The guard's refusal names file and line, and nothing is left behind."""
    with pytest.raises(DeterminismError, match=r"rules\.py:2: import of time"):
        install(store, toy_files(rules="ANSWER = 'x'\nimport time\n"))
    assert store.installed() == ()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (toy_files(rules="ANSWER = 1 / 0\n"), "broke while it was loaded"),
        (toy_files(rules="NOTHING = 1\n"), "broke while it was loaded"),
        (toy_files(main="class Toy: pass\n"), "is no class under"),
        (toy_files(main="x = 1\n"), "is no class under"),
        (toy_files(main=toy_files()["main.py"].decode().replace('"toy"', '"other"')),
         "calls itself 'other'"),
        (toy_files(main=toy_files()["main.py"].decode().replace("key: str", "key: object()")),
         "cannot be offered"),
    ],
)  # fmt: skip
def test_package_that_cannot_be_loaded_is_not_installed(
    store: PackageStore, files: dict[str, bytes], words: str
) -> None:
    """What breaks or is not what the manifest says is refused when it is installed."""
    with pytest.raises(PackageError, match=words):
        install(store, files)
    assert store.installed() == ()
    assert not any(name.startswith("_qist_contract_" + make_package(files).hash)
                   for name in sys.modules)  # fmt: skip


def test_second_package_of_one_version_is_refused(store: PackageStore) -> None:
    """A definition names a version, so a version must lead to one package."""
    install(store, toy_files("1", "one"))
    with pytest.raises(PackageError, match="is installed in version 1 already"):
        install(store, toy_files("1", "other"))
    assert len(store.installed()) == 1


def test_installation_that_was_cut_off_leaves_nothing_that_counts(store: PackageStore) -> None:
    """A half-written package is never listed, and goes with the next installation."""
    left = store.folder / ".installing-x"
    write_package(left, {"contract.toml": toy_files()["contract.toml"]})
    assert store.installed() == ()
    install(store, toy_files())
    assert not left.exists()
    assert len(store.installed()) == 1
    assert store.faults() == ()


def test_damaged_package_is_not_covered_up_by_installing_again(store: PackageStore) -> None:
    """Whoever installs a package again over a changed one hears that it was changed, and what to
    do about it.
    """
    package_id = install(store, toy_files())
    (store.folder / package_id / "rules.py").write_bytes(b"ANSWER = 'other'\n")
    with pytest.raises(PackageError, match=r"remove .* and install the package again"):
        install(PackageStore(store.folder), toy_files())
    shutil.rmtree(store.folder / package_id)
    assert install(PackageStore(store.folder), toy_files()) == package_id


def test_two_processes_that_install_at_once_both_succeed(store: PackageStore) -> None:
    """The one that comes second finds the package there."""
    second = PackageStore(store.folder)
    assert second.installed() == ()
    first_id = install(store, toy_files())
    second._scan = lambda: ()  # type: ignore[method-assign]  # it looked before the first wrote
    assert install(second, toy_files()) == first_id
    assert store.faults() == ()


def test_folder_of_another_kind_is_reported_and_changes_nothing(store: PackageStore) -> None:
    """What is no package among the packages is named, and the others serve on."""
    install(store, toy_files())
    (store.folder / "notes").mkdir()
    assert len(store.installed()) == 1
    assert "notes is no installed package" in store.faults()[0]


def test_package_installed_by_another_process_is_found(store: PackageStore) -> None:
    """A running node finds a package that a command installed beside it."""
    registry, state = PackageRegistry(store), defined("1")
    assert ask(registry, state)[0] == 500
    install(PackageStore(store.folder), toy_files())
    assert ask(registry, state) == (200, "one", "1")


def test_contract_that_is_not_defined_says_so(store: PackageStore) -> None:
    """Fabric's words, and what to do."""
    status, message, version = ask(PackageRegistry(store), MemoryState())
    assert (status, version) == (500, "")
    assert "has been successfully defined on channel qist and try again" in message
    assert "chaincode toy not found; commit its definition first" in message


def test_contract_that_is_defined_but_not_installed_says_so(store: PackageStore) -> None:
    """The message names the version that is defined and those that are installed."""
    install(store, toy_files("1"))
    status, message, _ = ask(PackageRegistry(store), defined("7"))
    assert status == 500
    assert "chaincode definition for 'toy' exists (version 7), but chaincode is not installed" in (
        message
    )
    assert "which has version 1" in message


def test_package_that_breaks_on_this_node_is_logged_and_explained(
    store: PackageStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A package that cannot be loaded any more is a fault of this node, with its reason."""
    package_id = install(store, toy_files(answer="seven"))
    assert store.offers("toy", "1")
    (store.folder / package_id / "rules.py").write_bytes(b"ANSWER = 'other'\n")
    with caplog.at_level(logging.ERROR):
        status, message, _ = ask(PackageRegistry(store), defined("1"))
    assert status == 500
    assert "was changed after it was installed" in message
    assert "contract toy 1 cannot be run" in caplog.text


def test_hash_of_package_is_the_same_in_another_process(tmp_path: Path) -> None:
    """The package id depends on the files alone, not on the process or its hash seed."""
    source = write_package(tmp_path / "source", toy_files())
    command = (
        "import sys; from pathlib import Path; from chaincode.packages import read_package; "
        "print(read_package(Path(sys.argv[1])).package_id)"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", command, str(source)], cwd=ROOT, text=True, check=True,
            capture_output=True, env={"PYTHONHASHSEED": seed},
        ).stdout.strip()
        for seed in ("1", "2")
    }  # fmt: skip
    assert found == {read_package(source).package_id}


def test_package_of_consortium_can_be_installed(store: PackageStore) -> None:
    """The consortium's own package passes the guard and offers both contracts."""
    installed = store.install(Path(ROOT) / "chaincode" / "instalments")
    assert installed.contracts == ("enforcement", "instalments")
    assert set(store.load(installed.package_id)) == {"enforcement", "instalments"}
