"""Perturb a network ordered by CometBFT by chance, for as long as asked, and say what came of it.

    .venv/bin/python tools/chaos.py [--minutes 20] [--seed N] [--output build/chaos]

`make chaos` runs it. Four members post payments all the while, in network namespaces of their own
where the machine allows it, else on loopback behind proxies, which the report says then.
After every perturbation all nodes must have equal heights and hashes; then they are stopped,
checked by fsck, and everything that clients were told is compared with what the ledgers hold. The
report, a table in Markdown, says the seed, with which the same happens in the same order.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.lies import ALL, PLACES
from tests.support.namespaces import why_not
from tests.support.node_network import MEMBERS
from tests.support.payment_load import open_book, payment_load
from tests.support.perturbations import Outcome, perturb, possible_here
from tests.support.perturbed_network import PerturbedNetwork

PAUSE_S = 30.0
SMALL_DISK = "1g"
"""Of the member whose disk gets full; an hour of perturbations needs a fifth of it."""


def main() -> int:
    """Perturb, and write the report."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--minutes", type=float, default=20.0)
    arguments.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    arguments.add_argument("--output", type=Path, default=Path("build/chaos"))
    given = arguments.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    print(f"seed {given.seed}")
    folder = Path(tempfile.mkdtemp(prefix="qist-chaos-"))
    outcomes: list[Outcome] = []
    told: Counter[str] = Counter()
    try:
        asyncio.run(_perturb_for(given.minutes, given.seed, folder, outcomes, told))
    except BaseException:
        print(f"chaos: broken off; the network's folders are kept in {folder}", file=sys.stderr)
        raise
    else:
        shutil.rmtree(folder)
    finally:
        report = _report(given.seed, given.minutes, outcomes, told)
        (given.output / "report.md").write_text(report, "utf-8")
        print(report)
    return 0


async def _perturb_for(
    minutes: float, seed: int, folder: Path, outcomes: list[Outcome], told: Counter[str]
) -> None:
    """Perturb a network, noting in *outcomes* and *told* what came of it as it comes."""
    chance = random.Random(seed)
    end = time.monotonic() + 60 * minutes
    possible, disks = possible_here(ALL)
    with PerturbedNetwork.serving(
        folder / "net", PLACES, small_disks=disks, small_disk=SMALL_DISK
    ) as network:
        open_book(network, folder)
        while time.monotonic() < end:
            # Each once, in an order of its own, before any comes again.
            for perturbation in chance.sample(possible, len(possible)):
                async with payment_load(network, f"R{len(outcomes)}X") as load:
                    outcome = await perturb(network, load, perturbation, chance, PAUSE_S)
                load.verify(network.verify())
                told.update(load.told())
                outcomes.append(outcome)
                print(outcome, flush=True)
                await asyncio.to_thread(network.restart, *MEMBERS)
                network.all_accept()
                if time.monotonic() > end:
                    break


def _report(seed: int, minutes: float, outcomes: list[Outcome], told: Counter[str]) -> str:
    lines = [
        f"Seed {seed}, {minutes:g} minutes, {len(outcomes)} perturbations; attempts of clients: "
        + ", ".join(f"{count} {how}" for how, count in told.most_common())
        + ".",
        *(["", f"Links on loopback: {why_not()}."] if why_not() else []),
        "",
        "| perturbation | times | others went on after, s | everybody went on after, s |",
        "|---|---|---|---|",
    ]
    for perturbation in ALL:
        those = [each for each in outcomes if each.name == perturbation.name]
        if not those:
            continue
        progress = [each.progress_s for each in those if each.progress_s is not None]
        recovery = [each.recovery_s for each in those]
        lines.append(
            f"| {perturbation.name} | {len(those)} | {_range(progress)} | {_range(recovery)} |"
        )
    return "\n".join([*lines, ""])


def _range(seconds: list[float]) -> str:
    if not seconds:
        return "stood still, as it must"
    return f"{min(seconds):.1f} to {max(seconds):.1f}"


if __name__ == "__main__":
    sys.exit(main())
