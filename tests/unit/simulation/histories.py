"""
Faults, and histories of them.

A history is a list of ``(seconds, fault)``: so long after the one before. A fault is a function of the world;
those here are made by calling what they are named after::

    run([(1, isolate("salt2")), (45, mend())], configuration)

After the last one the network is whole, both nodes run, and time passes; then the judge is asked.
"""

import dataclasses
import functools

from hypothesis import strategies

from simulation import operator
from simulation import seams
from simulation.cluster import MEMBERS
from simulation.cluster import USUAL
from simulation.disk import LOST
from simulation.disk import NAMES
from simulation.disk import WRITTEN
from simulation.world import CLIENT
from simulation.world import NODES
from simulation.world import ROUTER
from simulation.world import World

#: Seconds before the first fault, between two looks, and after everything is mended.
BEFORE, LOOK_EVERY, AFTER = 2.0, 0.25, 27.0
#: Seconds that a history goes on at least after everything is mended, however well it looks.
AT_LEAST = 6.0

FAULTS = {}


@dataclasses.dataclass(frozen=True)
class End:
    """How things are in the end: who has the address, generation and active node by node, the verdict."""

    serving: str
    ledgers: list
    verdict: str
    world: World


class Fault:
    """A fault with its arguments. It is its own description."""

    def __init__(self, function, arguments):
        self.function, self.arguments = function, arguments

    def __call__(self, world):
        self.function(world, *self.arguments)

    def __repr__(self):
        return f"{self.function.__name__}({', '.join(map(repr, self.arguments))})"


def fault(function):
    """A function of the world and some arguments becomes a maker of faults."""

    @functools.wraps(function)
    def make(*arguments):
        return Fault(function, arguments)

    FAULTS[function.__name__] = make
    return make


# --- the network --------------------------------------------------------------------------------------


def _cut(world, *directions):
    world.segment.cuts |= set(directions)
    world.network_changed()


@fault
def deafen(world, sender, receiver):
    """What one host sends does not arrive at the other; the other way all is well."""
    _cut(world, (sender, receiver))


@fault
def part(world, one, other):
    """Two hosts do not hear each other; both hear the others."""
    _cut(world, (one, other), (other, one))


@fault
def isolate(world, name):
    """A host hears nobody and is heard by nobody; its interface still shows a link."""
    others = [one for one in world.segment.hosts if one != name]
    _cut(world, *((name, one) for one in others), *((one, name) for one in others))


@fault
def mute(world, name):
    """A host hears all others, and is heard by nobody: a switch drops what it sends."""
    _cut(world, *((name, one) for one in world.segment.hosts if one != name))


@fault
def mend(world):
    """Everybody hears everybody, cables are in."""
    world.segment.cuts.clear()
    world.segment.loss = 0.0
    for node in world.nodes.values():
        if not node.carrier:
            node.carrier = True
            node.tell_kernel_news()
    world.network_changed()


@fault
def unplug(world, name):
    """The cable of a node is out."""
    world.nodes[name].carrier = False
    world.nodes[name].tell_kernel_news()
    world.network_changed()


@fault
def lose_packets(world, share):
    """Everywhere, by chance."""
    world.segment.loss = share
    world.network_changed()


# --- processes ----------------------------------------------------------------------------------------


@fault
def freeze(world, name):
    """The processes of a node stand still."""
    world.freeze(name)


@fault
def thaw(world, name):
    """They go on."""
    world.thaw(name)


@fault
def kill_watch(world, name):
    """Cron starts it again within a minute."""
    if world.nodes[name].watch is not None:
        world.engine.kill(world.nodes[name].watch)


@fault
def kill_guard(world, name):
    """systemd starts it again at once."""
    if world.nodes[name].guard is not None:
        world.engine.kill(world.nodes[name].guard)


@fault
def slow_etcd(world, seconds):
    """Each question to etcd takes so long."""
    world.cluster.latency = seconds


@fault
def kill_at(world, name, steps):
    """The process that makes the so-manieth step on a node from now on is killed just before it."""
    _plan(world, name, steps, world.engine.kill)


@fault
def stop_at(world, name, steps, seconds):
    """That process stops there with all its threads, and goes on after so many seconds."""

    def stop(process):
        whole = process.whole
        world.engine.after(seconds, lambda: [world.engine.go_on(one) for one in whole])
        # Itself last: from there on it does nothing.
        for one in sorted(whole, key=lambda one: one is process):
            world.engine.stop(one)

    _plan(world, name, steps, stop)


def _plan(world, name, steps, do):
    left = [steps]

    def plan(process, _what, _detail):
        if process.node.name == name:
            left[0] -= 1
            if left[0] == 0:
                world.plans.remove(plan)
                do(process)

    world.plans.append(plan)


# --- nodes --------------------------------------------------------------------------------------------


@fault
def lose_power(world, name, fate=LOST):
    """Its disk keeps what was synced, and of the rest what the fate says."""
    world.lose_power(name, fate)


@fault
def boot(world, name):
    """It is switched on."""
    world.boot(name)


@fault
def slow_disk(world, name, seconds):
    """Each fsync takes so long."""
    world.nodes[name].disk.latency = seconds


@fault
def set_clock(world, name, seconds):
    """The wall clock of a node steps."""
    world.nodes[name].wall += seconds


# --- people -------------------------------------------------------------------------------------------


@fault
def pause(world, name, seconds):
    """An operator pauses the watch."""
    node = world.nodes[name]
    if node.acts:
        world.start("pause", node, lambda: world.member(node).pause.set(seconds, "an operator"))


@fault
def resume(world, name):
    """An operator ends it."""
    node = world.nodes[name]
    if node.acts:
        world.start("resume", node, lambda: world.member(node).pause.clear())


@fault
def operate(world, operation):
    """An operator runs an orchestration, if none is running."""
    operator.start(world, operation)


# --- histories ----------------------------------------------------------------------------------------


def run(history, configuration, recorder=None, active="salt1", **changes):
    """
    Live through a history. Raises :py:class:`simulation.judge.Broken`, and what the code must not raise.

    recorder
        A list for everything that programs do, in order.

    active
        The node that serves when it begins.

    changes
        To the pair's configuration.

    Returns an :class:`End`.
    """
    world = World(configuration, **changes)
    world.recorder = recorder
    with seams.inhabited(world):
        world.begin(active)
        _look(world)
        world.run_for(BEFORE)
        for seconds, event in history:
            if seconds:
                world.run_for(seconds)
            event(world)
        all_is_well(world)
        settle(world)
        world.judge.at_the_end()
        return End(world.serving(), world.ledgers(), world.judged().name, world)


def _look(world):
    world.judge.look()
    world.engine.after(LOOK_EVERY, lambda: _look(world))


def all_is_well(world):
    """Nothing is broken from now on."""
    world.plans.clear()
    world.cluster.latency = USUAL
    mend()(world)
    for name, node in world.nodes.items():
        node.disk.latency = 0.0
        node.wall = 0.0
        world.thaw(name)
        world.boot(name)
        world.start_guard(node)
        world.start_cron(node)
        resume(name)(world)


def settle(world):
    """Until nothing is under way, or the time is over in which all has to be settled."""
    end = world.engine.now + AFTER
    world.run_for(AT_LEAST)
    while world.engine.now < end and not _settled(world):
        world.run_for(1.0)


def _settled(world):
    if len(world.judge.holders) > 1 or any(node.timers or node.timer_runs for node in world.nodes.values()):
        return False
    if any(one not in (one.node.watch, one.node.keeper) for one in world.engine.living() if one.node):
        return False
    return world.judge.ended_well()


#: How long after the fault before: what a watch needs to claim lies between the second and the third.
SECONDS = strategies.sampled_from([0.0, 0.3, 1.0, 3.0, 7.0])
_NODE = strategies.sampled_from(NODES)
_HOST = strategies.sampled_from([*NODES, CLIENT, ROUTER])
_FATE = strategies.sampled_from([LOST, WRITTEN, NAMES, 1, 2, 3])
_STEPS = strategies.integers(1, 30)

#: By name, the strategies of its arguments.
ARGUMENTS = {
    "deafen": (_HOST, _HOST),
    "part": (_HOST, _HOST),
    "isolate": (_HOST,),
    "mute": (_HOST,),
    "mend": (),
    "unplug": (_NODE,),
    "lose_packets": (strategies.sampled_from([0.0, 0.3, 0.9]),),
    "freeze": (_NODE,),
    "thaw": (_NODE,),
    "kill_watch": (_NODE,),
    "kill_at": (_NODE, _STEPS),
    "stop_at": (_NODE, _STEPS, strategies.sampled_from([1.0, 5.0, 12.0])),
    "lose_power": (_NODE, _FATE),
    "boot": (_NODE,),
    "slow_disk": (_NODE, strategies.sampled_from([0.2, 1.5, 6.0])),
    "set_clock": (_NODE, strategies.sampled_from([-3600.0, 3600.0])),
    "pause": (_NODE, strategies.sampled_from([2.0, 600.0])),
    "resume": (_NODE,),
    "operate": (strategies.sampled_from(["recover", "failover", "boot"]),),
}


_HOST_OR_MEMBER = strategies.sampled_from([*NODES, CLIENT, ROUTER, *MEMBERS])
#: The same of a pair with a lease, as far as they differ. What etcd is given for one question is 2 s of a TTL
#: of 10, and the other node 3.
LEASED = {
    "deafen": (_HOST_OR_MEMBER, _HOST_OR_MEMBER),
    "part": (_HOST_OR_MEMBER, _HOST_OR_MEMBER),
    "isolate": (_HOST_OR_MEMBER,),
    "mute": (_HOST_OR_MEMBER,),
    "kill_guard": (_NODE,),
    "slow_etcd": (strategies.sampled_from([1.0, 1.9, 3.9, 30.0]),),
}


def faults(*names, leased=False):
    """A strategy of faults; of all by default."""
    assert {*ARGUMENTS, *LEASED} == set(FAULTS)
    known = {**ARGUMENTS, **LEASED} if leased else ARGUMENTS
    return strategies.one_of(
        *(strategies.builds(FAULTS[name], *known[name]) for name in names or sorted(known))
    )


def histories(*names, most=8, leased=False):
    """A strategy of histories with these faults, for a pair with a lease or without one."""
    return strategies.lists(
        strategies.tuples(SECONDS, faults(*names, leased=leased)), min_size=1, max_size=most
    )
