"""Which links tests of a network get, and what a machine without namespaces means to a test."""

from __future__ import annotations

import pytest

from tests.support import namespaces, perturbations
from tests.support.loopback_links import LoopbackLinks
from tests.support.namespaces import Namespaces
from tests.support.perturbations import PERTURBATIONS, SMALL_DISK_MEMBER, possible_here
from tests.support.perturbed_network import links_here

REASON = "the kernel does not let us"


def lacking(reason: str, monkeypatch: pytest.MonkeyPatch, ci: str = "") -> None:
    """Have this machine lack namespaces and disks for a reason, or nothing; CI or not."""
    monkeypatch.setattr(namespaces, "why_not", lambda: reason)
    monkeypatch.setattr(perturbations, "why_no_small_disk", lambda: reason)
    monkeypatch.setenv("CI", ci)


def test_need_of_namespaces_skips_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of CI a machine may lack them."""
    lacking(REASON, monkeypatch)
    with pytest.raises(pytest.skip.Exception, match=REASON):
        namespaces.need()


def test_need_of_namespaces_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """What CI is to show must not vanish unseen."""
    lacking(REASON, monkeypatch, ci="true")
    with pytest.raises(pytest.fail.Exception, match=REASON):
        namespaces.need()


def test_need_of_something_else_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that needs more than namespaces gives its own reasons."""
    lacking("", monkeypatch)
    namespaces.need("", "")
    with pytest.raises(pytest.skip.Exception, match="no disk"):
        namespaces.need("no disk")


def test_links_without_namespaces_are_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite goes on there."""
    lacking(REASON, monkeypatch)
    assert links_here() is LoopbackLinks
    lacking("", monkeypatch)
    assert links_here() is Namespaces


def test_perturbations_without_small_disks_leave_out_the_full_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And nothing else."""
    lacking(REASON, monkeypatch)
    possible, disks = possible_here(PERTURBATIONS)
    (left_out,) = set(PERTURBATIONS) - set(possible)
    assert (left_out.name, disks) == ("a full disk", [])
    lacking("", monkeypatch)
    assert possible_here(PERTURBATIONS) == (list(PERTURBATIONS), [SMALL_DISK_MEMBER])
