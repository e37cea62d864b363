"""The faults, as data: what is done to the lab at a moment, and how it is mended afterwards.

Each takes a ``Rehearsal``, whose ``primary``, ``secondary`` and ``client`` are hosts; its ``operator`` is the
host on which the orchestration runs. A fault is done from the machine, by power
switch, cable, signal or mount; it knows nothing of how Failback works.
"""

import contextlib
import dataclasses
import subprocess
import time
import typing

from lab.faults import clock
from lab.faults import moments
from lab.faults import throttle
from lab.faults import volumes
from lab.host import HostOff
from lab.host import kill_session

HOUR = 3600
#: Of a hundred packets, how many a bad cable loses.
LOST = 30
#: Of a second, what a host that is only slow gets of a processor.
SLOW = 0.05
#: Seconds between the primary's loss of power and the site's.
LATER = 3
KILL = ["systemctl", "kill", "--signal=KILL"]


@dataclasses.dataclass(frozen=True)
class Fault:
    """One fault.

    name
        As in the table.

    text
        What happens, in words.

    inject, mend
        Functions of the rehearsal.

    cut_off
        Roles of the nodes that are cut off or without power from then on: who is alone may hold an address
        that another one has taken, until it is heard again.

    clock
        Role of the node whose clock can be set during the run.

    operations
        In which it can be made.
    """

    name: str
    text: str
    inject: typing.Callable
    mend: typing.Callable
    cut_off: tuple = ()
    clock: str = None
    operations: tuple = tuple(moments.PHASES)


def _quietly(host, argv, **options):
    """Run something in a host that may be off or have nothing to be killed."""
    with contextlib.suppress(HostOff, subprocess.SubprocessError):
        return host.run(argv, check=False, timeout=30, **options)


def _rule(host, chain, family="inet", name="in"):
    """A host that is on gets a rule of nftables, until :py:func:`_no_rule`; a refused one is an error."""
    with contextlib.suppress(HostOff):
        host.run(["nft", f"table {family} lab {{ chain {name} {{ {chain} }}; }}"], timeout=30)


def _no_rule(host, family="inet"):
    _quietly(host, ["nft", f"delete table {family} lab"])


def _power_off(role):
    def inject(rehearsal):
        rehearsal.lost(getattr(rehearsal, role))

    def mend(rehearsal):
        rehearsal.back(getattr(rehearsal, role))

    return inject, mend


def _unit_killed(unit, *roles):
    def inject(rehearsal):
        for role in roles:
            _quietly(getattr(rehearsal, role), [*KILL, unit])

    def mend(rehearsal):
        for role in roles:
            _quietly(getattr(rehearsal, role), ["systemctl", "start", unit])

    return inject, mend


def _killed(program, *roles):
    def inject(rehearsal):
        for role in roles:
            _quietly(getattr(rehearsal, role), ["pkill", "-KILL", "-x", program])

    return inject, lambda rehearsal: None


def _orchestration_killed(rehearsal):
    kill_session(rehearsal.process)


def _ssh_cut(rehearsal):
    _rule(rehearsal.secondary, "type filter hook input priority 0; tcp dport 22 drop; tcp sport 22 drop;")


def _ssh_mended(rehearsal):
    _no_rule(rehearsal.secondary)


def _cut(role, silent):
    def inject(rehearsal):
        rehearsal.cut(getattr(rehearsal, role), silent)

    def mend(rehearsal):
        rehearsal.mended(getattr(rehearsal, role))

    return inject, mend


def _full(volume, role):
    def inject(rehearsal):
        volumes.fill(getattr(rehearsal, role), volume)

    def mend(rehearsal):
        volumes.make_room(getattr(rehearsal, role), volume)

    return inject, mend


def _unmounted(rehearsal):
    _quietly(rehearsal.secondary, ["umount", "--lazy", volumes.PLACES["small"]])


def _mounted(rehearsal):
    volumes.mount_again(rehearsal.secondary, "small")


def _clock_set(role, seconds):
    def inject(rehearsal):
        with contextlib.suppress(HostOff, subprocess.SubprocessError):
            clock.set_ahead(getattr(rehearsal, role), seconds)

    def mend(rehearsal):
        clock.set_ahead(getattr(rehearsal, role), 0)

    return inject, mend, (), role


def _second(what):
    def inject(rehearsal):
        rehearsal.second_operator(what)

    return inject, lambda rehearsal: rehearsal.second_operator_ends()


def _watch_fires(rehearsal):
    """Nobody holds the watch back any more, and the node that serves is not heard for some seconds."""
    for host in (rehearsal.primary, rehearsal.secondary):
        _quietly(host, ["rm", "-f", "/var/lib/failback/salt/hold.json"])
    rehearsal.muted = rehearsal.holder()
    if rehearsal.muted:
        _rule(rehearsal.muted, "type filter hook output priority 0; arp operation reply drop;", "arp", "out")
        rehearsal.unheard(rehearsal.muted)


def _watch_calm(rehearsal):
    if rehearsal.muted:
        _no_rule(rehearsal.muted, "arp")
        rehearsal.heard(rehearsal.muted)
        rehearsal.muted = None


def _frozen(role):
    def inject(rehearsal):
        host = getattr(rehearsal, role)
        rehearsal.stands_still(host)
        rehearsal.effects.enter_context(host.freeze())

    def mend(rehearsal):
        rehearsal.effects.close()
        rehearsal.outage_ends(getattr(rehearsal, role), "frozen")

    return inject, mend


def _slow(role):
    def inject(rehearsal):
        host = getattr(rehearsal, role)
        rehearsal.outage_begins(host, "slow")
        rehearsal.effects.enter_context(throttle.slow(host.group, SLOW))

    def mend(rehearsal):
        rehearsal.effects.close()
        rehearsal.outage_ends(getattr(rehearsal, role), "slow")

    return inject, mend


def _apart(*roles):
    """A partial partition: two hosts do not hear each other, and all others hear both."""

    def inject(rehearsal):
        hosts = [getattr(rehearsal, role) for role in roles]
        for host in hosts:
            host.keep_apart()
        rehearsal.apart(hosts)

    def mend(rehearsal):
        hosts = [getattr(rehearsal, role) for role in roles]
        for host in hosts:
            # One that was fenced has no interface; its next one is as the others are.
            if host.running:
                host.keep_apart(False)
        rehearsal.together(hosts)

    return inject, mend


def _drops(host, which):
    _rule(host, f"type filter hook ingress device eth0 priority 0; {which} drop;", "netdev")


def _one_way(role, hears, share=100):
    """
    What others send to a node is lost, or what it sends.

    hears
        Whether it hears the others: then it is not heard.

    share
        Percent of the packets.
    """
    chance = f"numgen random mod 100 < {share}" if share < 100 else ""

    def others(rehearsal):
        return [one for one in rehearsal.lab.site.hosts if one is not getattr(rehearsal, role)]

    def inject(rehearsal):
        host = getattr(rehearsal, role)
        if share == 100:
            rehearsal.outage_begins(host, "cut")
        if hears:
            sent = f"ether saddr {host.mac()}"
            for one in others(rehearsal):
                _drops(one, f"{sent} {chance}")
        else:
            _drops(host, chance)

    def mend(rehearsal):
        host = getattr(rehearsal, role)
        for one in others(rehearsal) if hears else [host]:
            _no_rule(one, "netdev")
        if share == 100:
            rehearsal.outage_ends(host, "cut")

    return inject, mend


def _link_lost(role):
    """Its own interface goes down and up again: the kernel forgets the IPv6 addresses on it."""

    def inject(rehearsal):
        for state in ("down", "up"):
            _quietly(getattr(rehearsal, role), ["ip", "link", "set", "eth0", state])

    return inject, lambda rehearsal: None


def _site_power(rehearsal):
    rehearsal.lost(rehearsal.primary)
    time.sleep(LATER)
    rehearsal.lost(rehearsal.secondary)


def _site_power_back(rehearsal):
    for host in (rehearsal.primary, rehearsal.secondary):
        rehearsal.back(host)


def _members_gone(*roles):
    """These members of etcd stop."""

    def inject(rehearsal):
        for role in roles:
            _quietly(getattr(rehearsal, role), ["systemctl", "stop", "etcd"])

    def mend(rehearsal):
        for role in roles:
            _quietly(getattr(rehearsal, role), ["systemctl", "start", "--no-block", "etcd"])

    return inject, mend


def _while_serving():
    """Faults that are made while the pair just serves."""
    for role in ("primary", "secondary"):
        whose = f"the {role}"
        yield f"{role}_deaf", f"{whose} hears nobody, and is heard", *_one_way(role, hears=False)
        yield f"{role}_mute", f"{whose} is heard by nobody, and hears", *_one_way(role, hears=True)
        yield f"{role}_lossy", f"{whose} loses {LOST} % of what it is sent", *_one_way(role, False, LOST)
        yield f"{role}_frozen", f"{whose} stands still, and its kernel answers", *_frozen(role)
        yield f"{role}_slow", f"{whose} gets a twentieth of a processor", *_slow(role)
        yield f"{role}_off_client", f"{whose} and the clients do not hear each other", *_apart(role, "client")
    yield "apart", "the nodes do not hear each other, and others hear both", *_apart("primary", "secondary")
    yield "link", "the primary's interface goes down and up again", *_link_lost("primary")
    yield "site_power", "the primary loses power, and the site does soon after", _site_power, _site_power_back


ALL = {
    one.name: one
    for one in (
        Fault("none", "nothing happens", lambda rehearsal: None, lambda rehearsal: None),
        Fault("primary_power", "the primary loses power", *_power_off("primary"), ("primary",)),
        Fault("secondary_power", "the secondary loses power", *_power_off("secondary"), ("secondary",)),
        Fault("primary_minion", "the primary's minion is killed", *_unit_killed("salt-minion", "primary")),
        Fault(
            "secondary_minion", "the secondary's minion is killed", *_unit_killed("salt-minion", "secondary")
        ),
        Fault("master", "the orchestrating master is killed", *_unit_killed("salt-master", "operator")),
        Fault(
            "salt_run",
            "the orchestrating salt-run is killed",
            _orchestration_killed,
            lambda rehearsal: None,
            operations=moments.ORCHESTRATIONS,
        ),
        Fault("ssh_cut", "SSH between the nodes is cut", _ssh_cut, _ssh_mended),
        Fault("primary_cut", "the primary is cut from everything", *_cut("primary", True), ("primary",)),
        Fault(
            "secondary_cut", "the secondary is cut from everything", *_cut("secondary", True), ("secondary",)
        ),
        Fault("primary_unplugged", "the primary's cable is pulled", *_cut("primary", False), ("primary",)),
        Fault("client_cut", "the clients' side is cut", *_cut("client", True)),
        Fault("rsync", "rsync is killed on both nodes", *_killed("rsync", "primary", "secondary")),
        Fault("lsyncd", "lsyncd is killed on both nodes", *_killed("lsyncd", "primary", "secondary")),
        Fault("full_primary", "a disk of the primary is full", *_full("small", "primary")),
        Fault("full_backup", "the disk of the primary's backups is full", *_full("runs", "primary")),
        Fault("full_secondary", "a disk of the secondary is full", *_full("small", "secondary")),
        Fault("unmounted", "a replicated path is unmounted on the secondary", _unmounted, _mounted),
        *(
            Fault(f"{role}_{name}", f"the {role}'s clock is set {how}", *_clock_set(role, seconds))
            for role in ("primary", "secondary")
            for name, how, seconds in (("ahead", "an hour ahead", HOUR), ("behind", "back an hour", -HOUR))
        ),
        *(
            Fault(
                f"second_{what}",
                f"a second operator {does}",
                *_second(what),
                operations=moments.ORCHESTRATIONS,
            )
            for what, does in (
                ("recover", "starts a recovery"),
                ("failover", "starts a failover"),
                ("boot", "boots the pair"),
            )
        ),
        Fault("watch", "the watch is not held, and the serving node not heard", _watch_fires, _watch_calm),
        Fault(
            "primary_gone",
            "the primary does not come back from its reboot",
            *_power_off("primary"),
            ("primary",),
        ),
        Fault(
            "primary_quick",
            "the primary is back from its reboot in a second",
            lambda rehearsal: rehearsal.power_cycled(rehearsal.primary),
            lambda rehearsal: None,
        ),
        *(Fault(*words, operations=moments.SERVING) for words in _while_serving()),
        Fault(
            "members",
            "two of etcd's three members stop",
            *_members_gone("secondary", "client"),
            operations=("serving_lease",),
        ),
    )
}

#: Faults that are made at one moment only.
ONLY_AT = {"primary_gone": ("down",), "primary_quick": ("pair.reboot:new", "pair.reboot:ret")}


def at_all_moments(fault, operation, among=None):
    """The moments of an operation, or those ``among`` them, at which a fault is made."""
    if operation not in ALL[fault].operations:
        return []
    found = moments.BY_OPERATION[operation] if among is None else among
    return [moment for moment in found if moment in ONLY_AT.get(fault, found)]
