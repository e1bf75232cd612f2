"""Cut and slow links on a machine without network namespaces, whatever this one has.

A part of `test_perturbations`, with members on loopback behind proxies.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.loopback_links import NO_LOSS, LoopbackLinks
from tests.support.payment_load import open_book, payment_load
from tests.support.perturbations import HALVED, SLOW_AND_LOSSY, perturb
from tests.support.perturbed_network import PerturbedNetwork

pytestmark = pytest.mark.slow


async def test_links_on_loopback_are_cut_and_slowed(tmp_path: Path) -> None:
    """Two halves order nothing and go on when they meet again; late answers are waited for."""
    chance = random.Random(1)
    with PerturbedNetwork.serving(tmp_path / "net", kind=LoopbackLinks) as network:
        open_book(network, tmp_path)
        async with payment_load(network, "P") as load:
            await perturb(network, load, HALVED, chance)
            slow = await perturb(network, load, SLOW_AND_LOSSY, chance)
            assert NO_LOSS in slow.notes
        load.verify(network.verify())
