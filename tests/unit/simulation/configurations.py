"""The configurations of a pair whose promises are asked for."""

from failback.decisions import hearing
from simulation.judge import MOMENT
from simulation.judge import MUTE
from simulation.judge import SPLIT
from simulation.judge import TAKEN_BACK
from simulation.judge import Configuration
from simulation.world import CLIENT

#: Of the leases here, in seconds.
TTL = 10.0

#: Without a lease: docs/guarantees.md.
WITHOUT_LEASE = frozenset({MUTE, SPLIT, MOMENT})
#: And where nobody is asked.
ASKING_NOBODY = WITHOUT_LEASE | {TAKEN_BACK}

#: Whom the watch asks, and on which nodes it watches.
ALL = [
    Configuration("secondary watches, nobody is asked", excuses=ASKING_NOBODY),
    Configuration("both watch, nobody is asked", on="both", excuses=ASKING_NOBODY),
    Configuration("secondary watches, router asked", reachable=hearing.ORDINARY, excuses=WITHOUT_LEASE),
    Configuration("both watch, router asked", on="both", reachable=hearing.ORDINARY, excuses=WITHOUT_LEASE),
]
NOBODY_ASKED, BOTH_WATCH, ROUTER_ASKED, _ = ALL

#: What a lease excuses nobody from, asked of a pair without one.
NO_EXCUSE = Configuration("no excuse", reachable=(CLIENT,))

#: A pair whose right to serve is a lease: never two holders, nothing rolled back.
WITH_LEASE = [
    Configuration("lease, secondary watches", reachable=(CLIENT,), ttl=TTL),
    Configuration("lease, both watch, nobody is asked", on="both", ttl=TTL),
]
LEASE = WITH_LEASE[0]


def without(configuration, *excuses):
    """The same, with fewer excuses."""
    return Configuration(
        f"{configuration.name}, no excuse: {', '.join(excuses)}",
        on=configuration.on,
        reachable=configuration.reachable,
        excuses=configuration.excuses - set(excuses),
    )
