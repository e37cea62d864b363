"""
Where a virtual machine on shared storage may be started, and what it takes to get it there.

Everything here is pure: from what both hosts of a pair say of a guest, and what the operator wants,
``decide`` draws a plan or a refusal::

    plan = decide("idm", "mgmt2", config, {"mgmt1": facts, "mgmt2": facts})
    plan.action                     # nothing, start, resume, migrate or restart; or plan.refusal

What a host says is described in ``failback.guests.virsh.facts``.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from dataclasses import dataclass
from xml.etree import ElementTree

from failback.errors import Refused
from failback.errors import Unreadable

#: What a guest's name may look like. The pillar's schema says the same: it becomes a file name, and a
#: word on virsh's command line.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")

#: Word that stands for every guest of a pair.
ALL = "all"

NOTHING = "nothing"
START = "start"
RESUME = "resume"
MIGRATE = "migrate"
RESTART = "restart"

#: How a guest changes its host.
LIVE = "live"
HOW = (LIVE, RESTART)

#: libvirt's virDomainState (include/libvirt/libvirt-domain.h), in the words of ``virsh domstate``; those
#: with a process of the emulator's.
ACTIVE = {
    1: "running",
    2: "running",  # "blocked": it waits for a resource
    3: "paused",
    4: "in shutdown",
    6: "crashed",
    7: "suspended",
}
OFF = "off"
UNDEFINED = "undefined"

#: virDomainPausedReason; the words are for people.
PAUSED = {
    1: "by a person",
    2: "in a migration",
    3: "to be saved",
    4: "to be dumped",
    5: "because of an I/O error",
    6: "by its watchdog",
    7: "from a snapshot",
    8: "while it shuts down",
    9: "for a snapshot",
    10: "because it crashed",
    11: "while it starts",
    12: "in a migration",
    13: "because a migration failed",
    14: "because its disk was not to be had",
}
#: A migration that was cut off leaves the guest paused for one of these (14: virtlockd did not give the
#: disk back at once).
LEFT_BY_MIGRATION = (2, 14)


@dataclass(frozen=True)
class Plan:
    """What will be done to a guest. ``refusal`` is None or the reason why nothing will."""

    guest: str
    target: str
    action: str = NOTHING
    #: The host that runs it now, or None.
    source: str | None = None
    sentence: str = ""
    refusal: str | None = None


def chosen(pairs, vm, host, away_from):
    """
    Find the pair and the guests that an operator means.

    pairs
        Normalised pairs by name.

    vm
        Name of a guest, or ``all``.

    host, away_from
        Where it should run, or which host it should leave; one of them.

    Returns ``(pair, [guest, …], target)``: the name of the pair, and the id of the node where they should
    run. Raises ``Refused``.
    """
    homes = {guest: name for name, pair in sorted(pairs.items()) for guest in pair["vms"]}
    known = ", ".join(sorted(homes)) or "none: no pair lists `vms` in the pillar"
    if not isinstance(vm, str) or not vm:
        raise Refused(f"No guest was named (guests: {known}; or all).")
    if vm != ALL and not NAME.fullmatch(vm):
        raise Refused(f"{vm!r} is not the name of a guest (guests: {known}; or all).")
    if vm != ALL and vm not in homes:
        raise Refused(f"There is no guest {vm} (guests: {known}; or all).")
    if (host is None) == (away_from is None):
        raise Refused(
            "Name the host where it should run, or the one that it should leave: host or away_from."
        )
    word, node = ("host", host) if host is not None else ("away_from", away_from)
    hosts = {
        pair[role]["id"]: name
        for name, pair in sorted(pairs.items())
        if pair["vms"]
        for role in ("primary", "secondary")
    }
    if not isinstance(node, str) or node not in hosts:
        raise Refused(f"{word} must be one of {', '.join(hosts) or 'no hosts'}, not {node!r}.")
    name = homes.get(vm, hosts[node])
    if hosts[node] != name:
        ids = " or ".join(pairs[name][role]["id"] for role in ("primary", "secondary"))
        raise Refused(f"{vm} belongs to the pair {name}; its host is {ids}, not {node}.")
    target = node if host is not None else other(pairs[name], node)
    return name, list(pairs[name]["vms"]) if vm == ALL else [vm], target


def other(config, node):
    """The id of the other node of a pair."""
    ids = (config["primary"]["id"], config["secondary"]["id"])
    return ids[1] if node == ids[0] else ids[0]


def domain(config, guest):
    """What libvirt calls a guest; its definition is ``/etc/libvirt/qemu/<domain>.xml``."""
    return f"{config['virtualization']['prefix']}{guest}"


def active(fact):
    """Whether a host's word on a guest says that it has, or may have, a process of it."""
    return fact["state"] not in (OFF, UNDEFINED) or bool(fact["processes"])


def decide(guest, target, config, reports, how=LIVE, fenced=False, only_if_active=False, own_claim=None):
    """
    Decide how a guest gets to a host, or why it must not.

    guest, target
        The guest, and the id of the node where it should run.

    config
        The normalised pair.

    reports
        What each node said (``failback.guests.virsh.facts``), by id; None for one that did not answer.

    how
        ``live``, or ``restart``: an orderly shutdown there and a start here.

    fenced
        Whether an operator's word that the other node is off counts (``failback.state.fencing``).

    only_if_active
        Leave a guest alone that runs nowhere (``away_from``).

    own_claim
        The node whose claim on the guest is the caller's own.

    Returns a ``Plan``.
    """
    case = _Case(config, guest, target, reports, how, fenced, own_claim)
    for refusal in REFUSALS:
        sentence = refusal(case)
        if sentence:
            return case.refused(sentence)
    if active(case.here):
        return _stays(case)
    if case.there is not None and active(case.there):
        return _moves(case)
    if only_if_active:
        return case.plan(NOTHING, "runs nowhere, and stays off.")
    wrong = _unfit(config, guest, target, reports)
    if wrong:
        return case.refused(wrong)
    return case.plan(START, f"runs nowhere; will be started on {target}.")


class _Case:
    """What ``decide`` was asked, and what both hosts say: ``here`` is the target, ``there`` the other one."""

    def __init__(self, config, guest, target, reports, how, fenced, own_claim):
        self.config, self.guest, self.target, self.reports = config, guest, target, reports
        self.how, self.fenced, self.own_claim = how, fenced, own_claim
        self.source = other(config, target)
        self.name = domain(config, guest)
        self.here, self.there = (
            ((reports.get(node) or {}).get("guests", {}).get(guest)) for node in (target, self.source)
        )

    @property
    def answers(self):
        """``(node, what it says of the guest)`` of each host that says something."""
        pairs = ((self.target, self.here), (self.source, self.there))
        return [(node, fact) for node, fact in pairs if fact is not None]

    @property
    def runs_on_both(self):
        return self.there is not None and active(self.here) and active(self.there)

    def refused(self, sentence):
        return Plan(self.guest, self.target, refusal=f"{self.guest}: {sentence}")

    def plan(self, action, sentence, source=None):
        return Plan(self.guest, self.target, action, source, f"{self.guest}: {sentence}")


def _the_target_is_silent(case):
    if case.here is not None:
        return None
    return _silence(case.config, case.target, case.reports) + " A guest is not started where nobody can look."


def _the_fenced_node_answers(case):
    if not case.fenced or case.there is None:
        return None
    return (
        f"{case.source} answers, so it is not off, and the word that it is no longer counts. Leave `fenced` "
        f"out; or take its power away first."
    )


def _the_other_host_is_silent(case):
    if case.there is not None or active(case.here) or case.fenced:
        return None
    return (
        _silence(case.config, case.source, case.reports)
        + f" {case.guest} may run there, and two hosts with one disk destroy it. Bring {case.source} back; "
        f'or, if you know that it is off, say so: fenced: {case.source}, reason: "how you know"'
    )


def _somebody_is_at_it(case):
    for node, fact in case.answers:
        if fact["claimed"] and node != case.own_claim:
            return f"it is just being started, moved or stopped on {node}. Wait, then run this again."
    return None


def _it_runs_twice(case):
    if not case.runs_on_both or _migrates(case.here, case.there):
        return None
    return (
        f"RUNS ON BOTH HOSTS: {_words(case.here)} on {case.target}, {_words(case.there)} on {case.source}. "
        f"Each moment may destroy its disk. End it at once where it does not serve: virsh destroy {case.name}"
    )


def _it_is_migrating(case):
    if not case.runs_on_both:
        return None
    return (
        f"a migration is running or was cut off: {_words(case.here)} on {case.target}, {_words(case.there)} "
        f"on {case.source}. libvirt ends it within half a minute; then run this again."
    )


def _it_runs_without_libvirt(case):
    for node, fact in case.answers:
        if fact["processes"] and fact["state"] in (OFF, UNDEFINED):
            return (
                f"{node} has a process of it ({_numbers(fact['processes'])}) that libvirt there does not "
                f"know: it runs, and nobody can stop it in order. Look at it before you end it."
            )
    return None


#: Why a guest must not be touched, in the order in which it is asked. Each takes the case, and returns a
#: sentence or None. A claim comes before what runs where: in the middle of a move two hosts that are asked
#: one after the other may both say that it runs.
REFUSALS = (
    _the_target_is_silent,
    _the_fenced_node_answers,
    _the_other_host_is_silent,
    _somebody_is_at_it,
    _it_runs_twice,
    _it_is_migrating,
    _it_runs_without_libvirt,
)


def _migrates(here, there):
    """Is the one the source and the other the target of a migration?"""
    return any(fact["state"] == "paused" and fact["reason"] in LEFT_BY_MIGRATION for fact in (here, there))


def _silence(config, node, reports):
    why = (reports.get(node) or {}).get("error")
    return f"{node} does not say whether it runs there{f' ({why})' if why else ''}."


def _words(fact):
    if fact["state"] == "paused":
        return f"paused {PAUSED.get(fact['reason'], 'for an unknown reason')}"
    if fact["state"] in (OFF, UNDEFINED) and fact["processes"]:
        return f"running unknown to libvirt (process {_numbers(fact['processes'])})"
    return fact["state"]


def _numbers(processes):
    return ", ".join(str(one) for one in processes)


def _stays(case):
    """The guest is on the wanted host already, and not known to be on the other one: is it well?"""
    here, target = case.here, case.target
    other_is_off = case.fenced or case.there is not None
    if here["state"] == "running":
        return case.plan(NOTHING, f"runs on {target}.", target)
    if here["state"] == "paused" and here["reason"] in LEFT_BY_MIGRATION and other_is_off:
        return case.plan(RESUME, f"was left paused on {target} by a migration; will be resumed.", target)
    return case.refused(_odd(case.name, target, here))


def _odd(name, node, fact):
    advice = {
        "paused": f"If nothing speaks against it: virsh resume {name}",
        "crashed": f"It was kept for a look; when you have had it: virsh destroy {name}, then run this "
        "again.",
        "suspended": f"Wake it: virsh dompmwakeup {name}",
        "in shutdown": "Wait until it is off, then run this again.",
    }
    return f"it is {_words(fact)} on {node}, and is not touched. {advice[fact['state']]}"


def _moves(case):
    """The guest is on the other host."""
    there, source, target = case.there, case.source, case.target
    if there["state"] == "paused" and there["reason"] in LEFT_BY_MIGRATION:
        sentence = f"was left paused on {source} by a migration; will be resumed there."
        return case.plan(RESUME, sentence, source)
    if there["state"] != "running":
        return case.refused(_odd(case.name, source, there))
    wrong = _unfit(case.config, case.guest, target, case.reports)
    if wrong:
        return case.refused(wrong)
    if case.how == RESTART:
        return case.plan(RESTART, f"will be shut down on {source} and started on {target}.", source)
    return case.plan(MIGRATE, f"will be migrated live from {source} to {target}.", source)


def _unfit(config, guest, target, reports):
    """What keeps a host from running a guest that it does not run now, or None."""
    source = other(config, target)
    here, there = reports[target]["guests"][guest], (reports.get(source) or {}).get("guests", {}).get(guest)
    place = f"/etc/libvirt/qemu/{domain(config, guest)}.xml"
    if here["state"] == UNDEFINED:
        return f"it is not defined on {target}: {place} is missing there, or libvirt refuses it."
    for node, fact in ((target, here), (source, there)):
        if fact is not None and fact["file"] != fact["definition"] and fact["state"] != UNDEFINED:
            return (
                f"libvirt on {node} does not know {place} as it is on the disk: it is missing, or "
                "libvirt refuses "
                f"it. See why: virsh define {place}"
            )
    if here["problems"]:
        return f"its definition on {target} does not fit: {' '.join(here['problems'])}"
    if there is not None and there["state"] == UNDEFINED:
        return (
            f"it is defined on {target} alone. Without {place} on {source} it could not come back: let the "
            f"replication carry it, or remove it from `vms`."
        )
    if there is not None and here["definition"] != there["definition"]:
        return (
            f"its definitions differ between {target} and {source}: it would start as another machine. "
            "Compare "
            f"{place} on both, and let the replication carry the right one."
        )
    for node, fact in ((target, here), (source, there)):
        if fact is not None and fact["saved"]:
            name = domain(config, guest)
            return (
                f"{node} keeps its saved memory. Resumed later over a disk that has changed, it would "
                "destroy it. "
                f"Start it there by hand (virsh start {name}), or give the memory up: virsh "
                f"managedsave-remove {name}"
            )
    own = reports[target]
    if own["storage_error"]:
        return own["storage_error"]
    peer = reports.get(source)
    if peer and "guests" in peer and not peer["storage_error"] and own["storage"] != peer["storage"]:
        return (
            f"{config['virtualization']['storage']} is not the same storage on {target} and {source}: "
            "each has a "
            f"mark of its own. Is it mounted on both?"
        )
    return own["locks_error"]


def shown(config, reports):
    """
    Where each guest runs, in words: ``{guest: sentence}``.

    reports
        What each node said, by id, as for ``decide``.
    """
    sentences = {}
    for guest in config["vms"]:
        facts = {node: each["guests"][guest] for node, each in reports.items() if each and "guests" in each}
        silent = [node for node in reports if node not in facts]
        words = [f"{_words(fact)} on {node}" for node, fact in facts.items() if active(fact)]
        at_work = [node for node, fact in facts.items() if fact["claimed"]]
        words += [f"just being started, moved or stopped by {node}" for node in at_work]
        if not words and not silent:
            undefined = all(fact["state"] == UNDEFINED for fact in facts.values())
            words = ["defined nowhere" if undefined else "runs nowhere"]
        words += [f"not known of {node}" for node in silent]
        sentences[guest] = ", ".join(words)
    return sentences


def wrong(config, reports):
    """What is not as it should be with the guests of a pair, as sentences; see ``decide``."""
    found = []
    known = {node: one for node, one in reports.items() if one and "guests" in one}
    for node, one in reports.items():
        if node not in known:
            found.append(f"{node} says nothing of its guests: {(one or {}).get('error')}")
        else:
            found += [one[key] for key in ("storage_error", "locks_error") if one[key]]
    for guest in config["vms"]:
        at_work = any(one["guests"][guest]["claimed"] for one in known.values())
        for node, one in known.items():
            here = one["guests"][guest]
            if active(here) and here["state"] != "running" and not at_work:
                found.append(f"{guest} is {_words(here)} on {node}.")
            if here["autostart"]:
                found.append(f"{guest} would be started at boot on {node}: highstate ends that.")
            if here["saved"]:
                found.append(f"{node} keeps a saved memory of {guest}.")
            found += [f"{guest} on {node}: {problem}" for problem in here["problems"]]
        if len(known) == 2:
            found += _differences(config, guest, known)
    if len(known) == 2:
        first, second = known.values()
        usable = not first["storage_error"] and not second["storage_error"]
        if usable and first["storage"] != second["storage"]:
            found.append(f"{config['virtualization']['storage']} is not the same storage on both hosts.")
    return found


def _differences(config, guest, known):
    (node, here), (other_node, there) = ((node, one["guests"][guest]) for node, one in known.items())
    at_work = here["claimed"] or there["claimed"] or _migrates(here, there)
    if active(here) and active(there) and not at_work:
        yield f"{guest} RUNS ON BOTH HOSTS. End it at once on one: virsh destroy {domain(config, guest)}"
    for mine, his, where in ((here, there, node), (there, here, other_node)):
        if mine["state"] != UNDEFINED and his["state"] == UNDEFINED:
            yield f"{guest} is defined on {where} alone."
    if here["definition"] and there["definition"] and here["definition"] != there["definition"]:
        yield f"The definitions of {guest} differ between {node} and {other_node}."


def definition_digest(text):
    """
    Name what a definition says: the same for the same content, however it is written.

    text
        A domain's XML. Raises ``Unreadable`` when it is none.
    """
    try:
        plain = ElementTree.canonicalize(text, strip_text=True)
    except ElementTree.ParseError as error:
        raise Unreadable(f"It is no XML: {error}.") from error
    return hashlib.sha256(plain.encode()).hexdigest()[:16]


def problems(text, storage, resolved=posixpath.normpath):
    """
    What keeps a definition from being safe on two hosts, as sentences.

    text
        A domain's XML as libvirt prints it.

    storage
        The folder that both hosts share.

    resolved
        Function that follows links in a path.

    virtlockd locks each disk that is written to, by its path, and lets one host have it. It locks nothing
    for a disk that is marked shareable, and knows no path for one that is reached over the network
    (libvirt, Virtual machine lock manager).
    """
    found = []
    written = 0
    for disk in ElementTree.fromstring(text).findall("devices/disk"):
        if disk.find("readonly") is not None or disk.get("device") == "cdrom":
            continue
        written += 1
        source = disk.find("source")
        path = source.get("file") or source.get("dev") if source is not None else None
        name = path or f"its disk {disk.find('target').get('dev')}"
        if disk.get("type") not in ("file", "block") or not path:
            found.append(f"{name} is neither a file nor a block device, so virtlockd cannot lock it.")
        elif disk.find("shareable") is not None:
            found.append(f"{name} is marked shareable, so virtlockd would let both hosts have it.")
        elif disk.get("type") == "file" and not inside(resolved(path), resolved(storage)):
            found.append(f"{name} does not lie in {storage}, which both hosts share.")
    if not written:
        found.append("It has no disk that it writes to, so virtlockd has nothing to lock.")
    return found


def inside(path, folder):
    """Whether a path lies in a folder."""
    return path.startswith(folder.rstrip("/") + "/")
