"""The set-up says what is wrong where it cannot go on."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.structure.tree import ROOT


def find_python(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the search for a Python with only *environment* set."""
    return subprocess.run(
        ["/bin/sh", str(ROOT / "tools/find_python.sh")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_find_python_given_a_good_one_takes_it() -> None:
    """PYTHON overrides the search."""
    result = find_python({"PYTHON": sys.executable, "PATH": os.defpath})
    assert result.stdout.strip() == sys.executable, result.stderr


def test_find_python_given_a_bad_one_refuses_it_by_name() -> None:
    """A PYTHON that cannot serve is refused with the reason, never silently replaced."""
    result = find_python({"PYTHON": "/bin/false", "PATH": os.defpath})
    assert result.returncode == 1
    assert "/bin/false" in result.stderr
    assert "3.11" in result.stderr
