"""The faults, as data: what is done to the lab at a moment, and how it is mended afterwards.

Each takes a ``Rehearsal``, whose ``primary``, ``secondary`` and ``client`` are hosts; its ``operator`` is the
host on which the orchestration runs. A fault is done from the machine, by power
switch, cable, signal or mount; it knows nothing of how Failback works.
"""

import contextlib
import dataclasses
import subprocess
import typing

from lab.faults import clock
from lab.faults import volumes
from lab.host import HostOff
from lab.host import kill_session

HOUR = 3600
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
    """

    name: str
    text: str
    inject: typing.Callable
    mend: typing.Callable
    cut_off: tuple = ()
    clock: str = None


def _quietly(host, argv, **options):
    """Run something in a host that may be off or have nothing to be killed."""
    with contextlib.suppress(HostOff, subprocess.SubprocessError):
        return host.run(argv, check=False, timeout=30, **options)


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
    chain = "type filter hook input priority 0; tcp dport 22 drop; tcp sport 22 drop;"
    rules = f"table inet lab {{ chain in {{ {chain} }} }}"
    _quietly(rehearsal.secondary, ["nft", rules])


def _ssh_mended(rehearsal):
    _quietly(rehearsal.secondary, ["nft", "delete table inet lab"])


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
    rules = "table arp lab { chain out { type filter hook output priority 0; arp operation reply drop; } }"
    rehearsal.muted = rehearsal.holder()
    if rehearsal.muted:
        _quietly(rehearsal.muted, ["nft", rules])
        rehearsal.unheard(rehearsal.muted)


def _watch_calm(rehearsal):
    if rehearsal.muted:
        _quietly(rehearsal.muted, ["nft", "delete table arp lab"])
        rehearsal.heard(rehearsal.muted)
        rehearsal.muted = None


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
            "salt_run", "the orchestrating salt-run is killed", _orchestration_killed, lambda rehearsal: None
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
        Fault("second_recover", "a second operator starts a recovery", *_second("recover")),
        Fault("second_failover", "a second operator starts a failover", *_second("failover")),
        Fault("second_boot", "a second operator boots the pair", *_second("boot")),
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
    )
}

#: Faults that are made at one moment only.
ONLY_AT = {"primary_gone": ("down",), "primary_quick": ("pair.reboot:new", "pair.reboot:ret")}


def at_all_moments(fault, moments):
    """The moments of a list at which a fault is made."""
    return [moment for moment in moments if moment in ONLY_AT.get(fault, moments)]
