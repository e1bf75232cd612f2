"""Sizes and names: a reader finds a rule by its folder and reads its module in one sitting."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

from tests.structure.tree import PACKAGES, files, python_files, read

# The aim is 400 and 70 (CONTRIBUTING.md); these are where the aim has been missed.
MODULE_LINES = 450
FUNCTION_LINES = 80
TEST_MODULE_LINES = 600

# Names that say nothing about the domain and so attract everything.
SAYS_NOTHING = {"utils", "util", "common", "helpers", "helper", "manager", "core", "misc"}
UNFINISHED = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME")) + r")\b")


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, the docstring left out: describing more must not cost."""
    total = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        total -= (first.end_lineno or first.lineno) - first.lineno + 1
    return total


def test_module_of_any_package_stays_one_subject() -> None:
    """No module of ours is longer than can be read at one go."""
    long = {
        str(path): count
        for path in python_files()
        if (count := read(path).count("\n"))
        > (TEST_MODULE_LINES if path.parts[0] == "tests" else MODULE_LINES)
    }
    assert not long, f"longer than {MODULE_LINES} lines (tests: {TEST_MODULE_LINES}): {long}"


def test_function_anywhere_fits_a_screen_or_two() -> None:
    """No function of ours is longer than 80 lines without its docstring."""
    long = {
        f"{path}:{node.lineno} {node.name}": lines_of(node)
        for path in python_files()
        for node in ast.walk(ast.parse(read(path)))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and lines_of(node) > FUNCTION_LINES
    }
    assert not long, f"longer than {FUNCTION_LINES} lines: {long}"


def test_names_of_folders_and_modules_say_what_is_inside() -> None:
    """Folders and modules are named after things of the domain."""
    empty = [
        str(path)
        for path in files()
        if path.parts[0] in (*PACKAGES, "tests", "tools")
        if any(part in SAYS_NOTHING for part in (*path.parts[:-1], path.stem))
        or path.stem.endswith(tuple(f"_{name}" for name in SAYS_NOTHING))
    ]
    assert not empty, f"rename after what they hold: {empty}"


def test_names_of_test_modules_are_unique() -> None:
    """A test module's name alone tells which one failed."""
    places: dict[str, list[str]] = defaultdict(list)
    for path in python_files("tests"):
        if path.name.startswith("test_"):
            places[path.name].append(str(path.parent))
    twice = {name: folders for name, folders in places.items() if len(folders) > 1}
    assert not twice, f"the same name in several folders: {twice}"


def test_test_functions_live_where_their_level_is_known() -> None:
    """A test module stands in the folder of its level, by which `make check` chooses."""
    levels = {
        "unit",
        "vectors",
        "property",
        "contract",
        "crash",
        "integration",
        "e2e",
        "structure",
    }
    lost = [
        str(path)
        for path in python_files("tests")
        if path.name.startswith("test_") and path.parts[1] not in levels
    ]
    assert not lost, f"move into one of {sorted(levels)}: {lost}"


def test_nothing_committed_is_marked_as_unfinished() -> None:
    """What is to be done is done or said in the documentation, not left as a mark in the code."""
    kinds = {".py", ".md", ".toml", ".sh", ".mjs", ".js", ".html", ".css"}
    marks = [
        f"{path}:{number}"
        for path in files()
        if path.suffix in kinds or path.name in {"Makefile", "run"}
        for number, line in enumerate(read(path).splitlines(), start=1)
        if UNFINISHED.search(line)
    ]
    assert not marks, f"finish or describe: {marks}"


def test_every_package_folder_is_a_package() -> None:
    """A folder with modules has an `__init__.py` whose docstring says what the room is for."""
    folders = {path.parent for path in python_files(*PACKAGES)}
    missing = [
        str(folder)
        for folder in sorted(folders)
        if Path(folder, "__init__.py") not in set(files())
        or not ast.get_docstring(ast.parse(read(folder / "__init__.py")))
    ]
    assert not missing, f"no __init__.py with a docstring: {missing}"
