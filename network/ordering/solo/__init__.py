"""The engine `solo`: one member's node orders, the others follow it.

`cutter.py` decides where a block ends, `sequencer.py` orders and signs, `follower.py` forwards this
node's envelopes to the sequencer and takes its committed blocks, `session.py` keeps the streams to
it. It tolerates no lying sequencer and no dead one: while it is away nothing can be submitted, and
the other nodes say so. What it cannot do unseen is change a result: every follower validates for
itself, compares, and halts at the first difference.
"""

from network.ordering.solo.follower import Follower
from network.ordering.solo.sequencer import Sequencer

__all__ = ["Follower", "Sequencer"]
