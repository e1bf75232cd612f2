"""Everything that can happen to members of a network ordered by CometBFT, under load, one after
another: `make chaos` does the same for longer and by chance.

Each member runs in a network namespace of its own. The order of perturbations and who meets them
follow from the seed, which is printed and can be given as QIST_CHAOS_SEED.
"""

from __future__ import annotations

import logging
import os
import random
from pathlib import Path

import pytest

from tests.support.links import Links, why_not
from tests.support.node_network import MEMBERS
from tests.support.payment_load import open_book, payment_load
from tests.support.perturbations import PERTURBATIONS, SMALL_DISK_MEMBER, perturb
from tests.support.perturbed_network import PerturbedNetwork

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "-"),
]

PAUSE_S = 5.0

log = logging.getLogger(__name__)


async def test_nothing_is_lost_or_forked_whatever_happens(tmp_path: Path) -> None:
    """Progress while at most one of four is faulty, none and no fork while more are."""
    seed = int(os.environ.get("QIST_CHAOS_SEED", random.randrange(1 << 32)))
    log.warning("QIST_CHAOS_SEED=%d", seed)
    chance = random.Random(seed)
    with (
        Links.between(MEMBERS) as links,
        PerturbedNetwork.serving(
            tmp_path / "net", links, small_disks=[SMALL_DISK_MEMBER]
        ) as network,
    ):
        open_book(network, tmp_path)
        async with payment_load(network, "P") as load:
            for perturbation in chance.sample(PERTURBATIONS, len(PERTURBATIONS)):
                outcome = await perturb(network, load, perturbation, chance, PAUSE_S)
                log.warning("%s", outcome)
        places = network.verify()
        load.verify(places)
