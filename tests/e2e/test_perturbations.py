"""Everything that can happen to members of a network ordered by CometBFT, under load, one after
another: `make chaos` does the same for longer and by chance.

Each member runs in a network namespace of its own where the machine allows it, else on loopback
behind proxies (`tests.support.loopback_links`, which says what that cannot show). The order of
perturbations and who meets them follow from the seed, which is printed and can be given as
QIST_CHAOS_SEED.
"""

from __future__ import annotations

import logging
import os
import random
from pathlib import Path

import pytest

from tests.support.namespaces import need
from tests.support.payment_load import open_book, payment_load
from tests.support.perturbations import PERTURBATIONS, perturb, possible_here
from tests.support.perturbed_network import PerturbedNetwork, why_no_small_disk

pytestmark = pytest.mark.slow

PAUSE_S = 5.0

log = logging.getLogger(__name__)


def test_all_of_it_can_happen_here() -> None:
    """Lost packets and a full disk need what some machines do not allow; the rest goes on there."""
    need(why_no_small_disk())


async def test_nothing_is_lost_or_forked_whatever_happens(tmp_path: Path) -> None:
    """Progress while at most one of four is faulty, none and no fork while more are."""
    seed = int(os.environ.get("QIST_CHAOS_SEED", random.randrange(1 << 32)))
    log.warning("QIST_CHAOS_SEED=%d", seed)
    chance = random.Random(seed)
    possible, disks = possible_here(PERTURBATIONS)
    with PerturbedNetwork.serving(tmp_path / "net", small_disks=disks) as network:
        open_book(network, tmp_path)
        async with payment_load(network, "P") as load:
            for perturbation in chance.sample(possible, len(possible)):
                outcome = await perturb(network, load, perturbation, chance, PAUSE_S)
                log.warning("%s", outcome)
        places = network.verify()
        load.verify(places)
