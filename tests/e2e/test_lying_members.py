"""One of four members lies, or has a wrong clock, while everybody posts payments (CometBFT).

The order of what happens and who does it follow from the seed, which is printed and can be given as
QIST_CHAOS_SEED; `make chaos` mixes these with everything that can break without a lie. QIST_LIE,
some words of the name of one (`tests.support.lies`), has that one alone happen.
"""

from __future__ import annotations

import logging
import os
import random
from pathlib import Path

import pytest

from tests.support.lies import LIES, PLACES
from tests.support.payment_load import open_book, payment_load
from tests.support.perturbations import perturb
from tests.support.perturbed_network import PerturbedNetwork

pytestmark = pytest.mark.slow

log = logging.getLogger(__name__)


async def test_one_that_lies_stops_nobody_and_gets_nothing_into_the_chain(tmp_path: Path) -> None:
    """The three others go on within 15 s, each lie is told or refused, and all end equal."""
    seed = int(os.environ.get("QIST_CHAOS_SEED", random.randrange(1 << 32)))
    log.warning("QIST_CHAOS_SEED=%d", seed)
    chance = random.Random(seed)
    chosen = [each for each in LIES if os.environ.get("QIST_LIE", "") in each.name]
    with PerturbedNetwork.serving(tmp_path / "net", PLACES) as network:
        open_book(network, tmp_path)
        async with payment_load(network, "L") as load:
            for perturbation in chance.sample(chosen, len(chosen)):
                outcome = await perturb(network, load, perturbation, chance)
                log.warning("%s", outcome)
        places = network.verify()
        load.verify(places)
