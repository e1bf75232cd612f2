"""Loading a package's modules under a private name made of its hash.

`_qist_contract_<hash>` is the name of the package's own root module, so that two versions of one
contract live side by side and neither can be reached by its usual name. Modules are compiled from
the bytes that were hashed, never from the folder again; the path of the installed file is only
told to tracebacks.

What is loaded stays loaded: a definition may name it again as long as the process lives.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Final

from chaincode.contract.functions import Contract
from chaincode.errors import ContractDefinitionError, PackageError
from chaincode.packages.package import ContractPackage
from chaincode.simulator.chaincode import ContractChaincode

PREFIX: Final = "_qist_contract_"


class _ModuleLoader(InspectLoader):
    """Runs one module from its bytes."""

    def __init__(self, source: bytes, path: str, *, is_package: bool) -> None:
        self._source = source
        self._path = path
        self._is_package = is_package

    def get_source(self, fullname: str) -> str:
        """Return the source, for tracebacks."""
        return self._source.decode("utf-8")

    def is_package(self, fullname: str) -> bool:
        """Say whether it is the `__init__.py` of a folder."""
        return self._is_package

    def exec_module(self, module: ModuleType) -> None:
        """Run the module."""
        # The bytes were verified against the package's hash; running them is what a node is for.
        exec(compile(self._source, self._path, "exec", dont_inherit=True), module.__dict__)


class _Finder(MetaPathFinder):
    """Finds modules of loaded packages, and of nothing else."""

    def __init__(self) -> None:
        self.modules: dict[str, _ModuleLoader] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a package's module."""
        loader = self.modules.get(fullname)
        return None if loader is None else spec_from_loader(fullname, loader)


_finder: Final = _Finder()
_loading: Final = threading.Lock()
_loaded: Final[dict[str, Mapping[str, ContractChaincode]]] = {}


def load_package(package: ContractPackage, folder: Path) -> Mapping[str, ContractChaincode]:
    """Return the contracts of *package* by name, loaded once in a process.

    Args:
        package: verified against the id that was agreed.
        folder: where its files lie, for tracebacks.
    Raises:
        PackageError: a module breaks while it is loaded, or a contract is not what the manifest
            says.
    """
    with _loading:
        found = _loaded.get(package.hash)
        if found is None:
            found = _loaded[package.hash] = _load(package, folder)
        return found


def _load(package: ContractPackage, folder: Path) -> Mapping[str, ContractChaincode]:
    root = PREFIX + package.hash
    if _finder not in sys.meta_path:
        sys.meta_path.append(_finder)
    modules = dict(_modules_of(package, root, folder))
    _finder.modules.update(modules)
    try:
        return {
            name: _load_contract(package, root, name, place)
            for name, place in package.manifest.contracts.items()
        }
    except BaseException:
        for module in modules:
            _finder.modules.pop(module)
            sys.modules.pop(module, None)
        raise


def _modules_of(
    package: ContractPackage, root: str, folder: Path
) -> Sequence[tuple[str, _ModuleLoader]]:
    modules = []
    for path, content in package.files.items():
        if not path.endswith(".py"):
            continue
        parts = path.removesuffix(".py").split("/")
        is_package = parts[-1] == "__init__"
        name = ".".join([root, *(parts[:-1] if is_package else parts)])
        loader = _ModuleLoader(content, str(folder / path), is_package=is_package)
        modules.append((name, loader))
    return modules


def _load_contract(package: ContractPackage, root: str, name: str, place: str) -> ContractChaincode:
    module_name, _, class_name = place.partition(":")
    what = f"contract {name} ({place} of package {package.manifest.label})"
    try:
        module = import_module(f"{root}.{module_name}")
        kind = getattr(module, class_name, None)
        if not isinstance(kind, type) or not issubclass(kind, Contract):
            raise PackageError(
                f"{what} is no class under chaincode.contract.Contract; correct the manifest"
            )
        if kind.name != name:
            raise PackageError(
                f"{what} calls itself {kind.name!r}; give class and manifest the same name"
            )
        return ContractChaincode(kind(), package.manifest.version)
    except ContractDefinitionError as error:
        raise PackageError(f"{what} cannot be offered: {error}") from error
    except PackageError:
        raise
    except Exception as error:  # a contract is foreign code: this is its edge
        raise PackageError(
            f"{what} broke while it was loaded ({type(error).__name__}: {error}); correct it and "
            "install it under another version"
        ) from error
