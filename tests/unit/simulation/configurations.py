"""The configurations of a pair whose promises are asked for."""

from failback.decisions import hearing
from simulation.judge import MUTE
from simulation.judge import SPLIT
from simulation.judge import Configuration
from simulation.world import CLIENT

#: Without a lease: docs/faults.md, ``one holder``, and the known limit of docs/protocol.md.
WITHOUT_LEASE = frozenset({MUTE, SPLIT})

#: Whom the watch asks, and on which nodes it watches.
ALL = [
    Configuration("secondary watches, nobody is asked", excuses=WITHOUT_LEASE),
    Configuration("both watch, nobody is asked", on="both", excuses=WITHOUT_LEASE),
    Configuration("secondary watches, router asked", reachable=hearing.ORDINARY, excuses=WITHOUT_LEASE),
    Configuration("both watch, router asked", on="both", reachable=hearing.ORDINARY, excuses=WITHOUT_LEASE),
]
NOBODY_ASKED, BOTH_WATCH, ROUTER_ASKED, _ = ALL

#: A pair whose right to serve is a lease has no excuse. There is none yet: this asks the code as it is.
LEASE = Configuration("no excuse", reachable=(CLIENT,))


def without(configuration, *excuses):
    """The same, with fewer excuses."""
    return Configuration(
        f"{configuration.name}, no excuse: {', '.join(excuses)}",
        on=configuration.on,
        reachable=configuration.reachable,
        excuses=configuration.excuses - set(excuses),
    )
