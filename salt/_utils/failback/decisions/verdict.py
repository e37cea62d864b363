"""
The one judgement over a pair, drawn from what its two nodes report of themselves.

    judge(config, primary_report, secondary_report).name      ->  "failed_over"

A pure function. Nothing but it decides which node has the newer data, and everything that moves
data or addresses asks it first. What it cannot prove it calls ``unknown``.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field

from failback.decisions import generations
from failback.decisions import hearing
from failback.decisions import moments
from failback.decisions import places
from failback.decisions import readiness

NORMAL = "normal"
FAILED_OVER = "failed_over"
STANDBY_RETURNED = "standby_returned"
PRIMARY_RETURNED = "primary_returned"
COLD = "cold"
SPLIT = "split-brain"
PRIMARY_DOWN = "primary_down"
SECONDARY_DOWN = "secondary_down"
UNKNOWN = "unknown"

#: Every verdict there is.
ALL = (
    NORMAL,
    FAILED_OVER,
    STANDBY_RETURNED,
    PRIMARY_RETURNED,
    COLD,
    SPLIT,
    PRIMARY_DOWN,
    SECONDARY_DOWN,
    UNKNOWN,
)


#: Seconds by which the moments of two nodes may be wrong against each other.
CLOCKS = 30.0


@dataclass(frozen=True)
class Verdict:
    """What was found, and who serves and who has the newest data by that."""

    name: str
    sentence: str
    #: Node that serves the pair now, or None.
    active: str | None = None
    #: Node proved to hold the newest generation, or None when nothing proves it.
    newest: str | None = None
    generation: int | None = None
    #: What to do about it, where the name of the verdict does not say that already.
    advice: str | None = None
    #: The run that brought the primary home and ended before the nodes were compared, or None.
    uncompared: str | None = None
    #: The node that is not to be active stepped down after it had served too; what it alone has is in no
    #: backup yet.
    unsaved: bool = False
    #: Active services that do not run on the active node: what a takeover in a manual pair leaves to do.
    incomplete: tuple = ()
    #: What differs from the desired state without changing the verdict.
    drift: tuple = field(default=())
    #: What is not ready, as sentences; part of ``drift``.
    unready: tuple = ()
    #: Those of them with which a planned move to the standby would fail.
    stops: tuple = ()
    #: Why the node that does not answer is not off: what a witness has seen, or None.
    contradicted: str | None = None


def claims(report):
    """
    Does a node say of itself that it is active?

    Its ledger must name it, it must have been admitted in this boot, and where the pair has addresses
    it must hold one: a record alone is no claim.
    """
    own = report.get("ledger")
    if not own or own["active"] != report["node"] or not admitted(report):
        return False
    addresses = report.get("addresses") or []
    return not addresses or any(one["held"] for one in addresses)


def admitted(report):
    """Has an orchestration or the watch admitted this node since it booted?"""
    own = report.get("ledger")
    return bool(own) and own["boot_id"] == report["boot_id"]


def judge(config, primary, secondary):
    """
    Judge a pair.

    config
        The normalised pair.

    primary, secondary
        What each node reports (see ``failback.report``), or None for no answer.

    Returns a ``Verdict``.
    """
    names = (config["primary"]["id"], config["secondary"]["id"])
    silent = [name for name, one in zip(names, (primary, secondary)) if one is None]
    if len(silent) == 2:
        return Verdict(UNKNOWN, f"Neither {names[0]} nor {names[1]} answers.")
    if silent:
        return _one_silent(config, primary, secondary)

    unreadable = [
        f"{one['node']}: {one['ledger_error']}" for one in (primary, secondary) if one.get("ledger_error")
    ]
    if unreadable:
        return Verdict(UNKNOWN, "A ledger cannot be read. " + " ".join(unreadable))
    if primary.get("ledger") is None or secondary.get("ledger") is None:
        return _ledger_missing(config, primary, secondary)
    behind, ahead = sorted((primary, secondary), key=lambda one: one["ledger"]["generation"])
    unlikely = generations.problem(behind["ledger"]["generation"], ahead["ledger"]["generation"])
    if unlikely:
        advice = generations.advice(config["name"], behind["node"], ahead["node"])
        return Verdict(UNKNOWN, f"{ahead['node']} is not believed: {unlikely}. {advice}")

    both_hold = sorted(_held(primary) & _held(secondary))
    if both_hold:
        return Verdict(
            SPLIT,
            f"{names[0]} and {names[1]} both hold {', '.join(both_hold)}. {_histories(primary, secondary)}",
        )
    if claims(primary) and claims(secondary):
        return Verdict(SPLIT, f"Both nodes are active. {_histories(primary, secondary)}")

    mine, theirs = primary["ledger"], secondary["ledger"]
    if mine["generation"] == theirs["generation"] and mine["active"] != theirs["active"]:
        return Verdict(
            SPLIT,
            f"Both nodes changed generation {mine['generation']}. {_histories(primary, secondary)}",
        )
    if claims(secondary):
        return _one_serves(config, secondary, primary)
    if claims(primary):
        return _one_serves(config, primary, secondary)
    return _nobody_serves(config, primary, secondary)


def _ledger_missing(config, primary, secondary):
    """
    A node that has been installed anew, or lost its ledger, is behind the one that serves.

    What it has is saved before it is overwritten: it may have served later than anybody remembers.
    """
    pair = config["name"]
    for server, other in ((primary, secondary), (secondary, primary)):
        if claims(server) and other.get("ledger") is None and not _held(other):
            return _one_serves(config, server, other)
    missing = [one["node"] for one in (primary, secondary) if one.get("ledger") is None]
    if len(missing) == 2:
        advice = f"Set the new pair up: salt-run state.orch orch.adopt pillar='{{pair: {pair}}}'"
    else:
        advice = (
            f"{missing[0]} has lost its ledger in /var/lib/failback/{pair}. Restore it from a backup of the "
            f"node; or make sure that the primary has the newer data, move both ledgers aside, adopt the "
            f"pair anew and boot it."
        )
    return Verdict(
        UNKNOWN,
        f"{' and '.join(missing)} {'has' if len(missing) == 1 else 'have'} no ledger of {pair}, so nothing "
        f"proves who has the newer data.",
        advice=advice,
    )


def _one_silent(config, primary, secondary):
    """One node does not answer: nothing is known of it, so nothing may be decided against it."""
    answering, gone = (primary, config["secondary"]["id"])
    name = SECONDARY_DOWN
    if answering is None:
        answering, gone, name = (secondary, config["primary"]["id"], PRIMARY_DOWN)
    own = answering.get("ledger")
    serving = claims(answering)
    state = (
        f"serves the pair in generation {own['generation']} since {own['since']}"
        if serving
        else "does not serve the pair"
    )
    return Verdict(
        name,
        f"{gone} does not answer; {answering['node']} {state}. {gone} may be dead or merely cut off, "
        f"so what it holds is not known.",
        active=answering["node"] if serving else None,
        generation=own["generation"] if own else None,
        incomplete=tuple(_missing(answering)) if serving else (),
    )


def _missing(active):
    """What the active node has not begun yet, or has lost: addresses, and the services that it alone runs."""
    for one in active.get("addresses") or []:
        if not one["held"]:
            yield one["address"]
    for service, state in (active.get("active_services") or {}).items():
        if state != "active":
            yield service


def _one_serves(config, server, other):
    """One node serves; the other one is behind, in step, or was active later than that."""
    node = server["node"]
    own, theirs = server["ledger"], other["ledger"]
    if theirs and theirs["generation"] > own["generation"]:
        return Verdict(
            SPLIT,
            f"{node} serves in generation {own['generation']}, but {other['node']} was active in the later "
            f"generation {theirs['generation']}. {_histories(server, other)}",
            active=node,
        )
    serves = f"{node} serves (generation {own['generation']}, since {own['since']})"
    if node == config["secondary"]["id"]:
        name = FAILED_OVER
        at = f"is at generation {theirs['generation']}" if theirs else "has no ledger"
        sentence = (
            f"{node} has served since {own['since']} (generation {own['generation']}: {own['why']}); "
            f"{other['node']} {at}."
        )
    elif theirs is None:
        name = STANDBY_RETURNED
        sentence = f"{serves}; {other['node']} has no ledger, and what it has is saved first."
    elif _unsaved(other):
        name = STANDBY_RETURNED
        sentence = f"{serves}; {other['node']} had served too, and what it alone has is in no backup yet."
    elif not admitted(other) or theirs["generation"] < own["generation"]:
        name = STANDBY_RETURNED
        sentence = f"{serves}; {other['node']} has not been admitted since it came back."
    else:
        name = NORMAL
        sentence = f"{serves}; {other['node']} stands by."
    unready = _unready(config, name, server, other)
    return Verdict(
        name,
        sentence,
        active=node,
        newest=node,
        generation=own["generation"],
        uncompared=server.get("uncompared") if node == config["primary"]["id"] else None,
        unsaved=name == STANDBY_RETURNED and _unsaved(other),
        incomplete=tuple(
            service for service, state in (server.get("active_services") or {}).items() if state != "active"
        ),
        drift=(*_drift(config, server, other), *(one.sentence for one in unready)),
        unready=tuple(one.sentence for one in unready),
        stops=(*_misplaced(config, name, other), *(one.sentence for one in unready if one.stops)),
    )


def _misplaced(config, name, standby):
    """Of a standby that would not be let receive anything: the sentence, which is drift as well."""
    if name == NORMAL and standby.get("misplaced"):
        yield places.misplaced_sentence(standby["node"], standby["misplaced"], config["name"])


def _unready(config, name, server, other):
    """What a takeover would depend on and is not so; where it is not normal, what the active node lacks."""
    if name == NORMAL:
        return readiness.together(config, server, other)
    # The other one is not ready by the verdict itself; a recovery ends with a look at both.
    found = readiness.wrong(config, server, readiness.SERVES)
    return tuple(one for one in found if one.about in ("looks", "path", "room"))


def _nobody_serves(config, primary, secondary):
    mine, theirs = primary["ledger"], secondary["ledger"]
    newest = max(mine, theirs, key=lambda one: one["generation"])
    held = sorted(_held(primary) | _held(secondary))
    if held:
        return Verdict(
            UNKNOWN,
            f"{', '.join(held)} is held by a node that no ledger names active in this boot. Somebody "
            f"configured it by hand or at boot: remove it there, then look again. "
            f"{_histories(primary, secondary)}",
        )
    for report, other in ((primary, secondary), (secondary, primary)):
        # The other one may know the same generation: it has stepped down to it.
        if report["ledger"]["generation"] == newest["generation"] and _has_holes(report):
            return Verdict(
                SPLIT,
                f"{report['node']} became active (generation {newest['generation']}, since "
                f"{newest['since']}) and went down before its files were known to be on its disk: what "
                f"{other['node']} had just carried to it may be missing there. "
                f"{_histories(primary, secondary)}",
            )
        if _may_not_have_been_alone(config, report, other):
            return Verdict(
                SPLIT,
                f"{report['node']} took over (generation {newest['generation']}, since "
                f"{newest['since']}) and went down before it was known whether anybody heard it: "
                f"{other['node']} may have served on, and have what was written then. "
                f"{_histories(primary, secondary)}",
            )
        if _served_on(config, report, other):
            return Verdict(
                SPLIT,
                f"{report['node']} became active (generation {newest['generation']}, since "
                f"{newest['since']}), and others heard {other['node']} as the active node until "
                f"{moments.iso(other['last_heard']['at'])}: each may hold writes that the other one "
                f"does not. {_histories(primary, secondary)}",
            )
    node = config["primary"]["id"]
    agree = (mine["generation"], mine["active"]) == (theirs["generation"], theirs["active"])
    stood_by = agree and admitted(secondary) and not theirs.get("unsaved")
    if not config["floating_ips"] and newest["active"] == node and stood_by:
        # The watch takes addresses; where there are none only an orchestration makes the secondary active.
        return Verdict(
            PRIMARY_RETURNED,
            f"{node} has rebooted since it was active (generation {newest['generation']}, since "
            f"{newest['since']}); {secondary['node']} has stood by, and without an address to take over it "
            f"has not served.",
            newest=node,
            generation=newest["generation"],
        )
    return Verdict(
        COLD,
        f"Neither node serves. {newest['active']} was active last (generation {newest['generation']}, "
        f"since {newest['since']}).",
        newest=newest["active"],
        generation=newest["generation"],
        # The primary's own changes are saved by the recovery that follows, before anything is written there.
        unsaved=bool(mine.get("unsaved") if newest["active"] == secondary["node"] else _unsaved(secondary)),
    )


def _unsaved(report):
    """
    Whether a node that is not the active one may have what no other node and no backup has.

    That is so as long as its ledger names itself: who gives a pair away in a handover writes the other one
    into it, so this node has lost the pair in another way after it had served. And without a ledger.
    """
    own = report["ledger"]
    return own is None or bool(own.get("unsaved")) or own["active"] == report["node"]


def _has_holes(report):
    """Whether a node went down between its takeover and the moment at which its disk had all of its files."""
    own = report["ledger"]
    return own["active"] == report["node"] and bool(own.get("unsynced")) and not admitted(report)


def _may_not_have_been_alone(config, report, other):
    """
    Whether a node took over while the other one may have served on, for as long as it likes.

    A lease, or a fence agent, has seen to it that the other one did not.
    """
    own, theirs = report["ledger"], other["ledger"]
    if _ends_the_other(config, other["node"]):
        return False
    claimed = own["active"] == report["node"] and hearing.unheard(own) and not admitted(report)
    return claimed and theirs["active"] == other["node"] and theirs["generation"] < own["generation"]


def _served_on(config, report, other):
    """
    Whether others still heard the other node as the active one when this one had served for a while.

    By the nodes' own clocks, as far apart as they are now: what is less than ``CLOCKS`` proves nothing.
    """
    own, theirs, heard = report["ledger"], other["ledger"], other.get("last_heard")
    if _ends_the_other(config, other["node"]) or not heard or own["active"] != report["node"]:
        return False
    if (
        theirs["active"] != other["node"]
        or not heard["generation"] == theirs["generation"] < own["generation"]
    ):
        return False
    since = moments.epoch(own["since"])
    ahead = other.get("time", 0.0) - report.get("time", 0.0)
    return since is not None and heard["at"] - ahead > since + CLOCKS


def _ends_the_other(config, node):
    """Whether a takeover from this node is proved to have ended its service: by a lease, or by an agent."""
    fence = config.get("fence") or {}
    return bool(config.get("lease")) or (node in fence.get("nodes", ()) and fence["policy"] == "required")


def _held(report):
    return {one["address"] for one in report.get("addresses") or [] if one["held"]}


def _histories(primary, secondary):
    """Who holds what since when, for a person who must name a winner."""
    parts = []
    for report in (primary, secondary):
        own = report["ledger"]
        held = ", ".join(sorted(_held(report))) or "no address"
        parts.append(
            f"{report['node']}: generation {own['generation']}, {own['active']} active since "
            f"{own['since']} ({own['why']}), holds {held}"
            f"{'' if admitted(report) else ', has rebooted since'}"
        )
    return "; ".join(parts) + "."


def _drift(config, active, standby):
    """What a repair would put right, as sentences."""
    node, other = active["node"], standby["node"]
    for one in active.get("addresses") or []:
        if not one["held"]:
            yield f"{node} does not hold {one['address']}."
    if (active.get("ledger") or {}).get("unsynced"):
        yield f"The files of {node} are not known to be on its disk since it took over."
    if standby.get("lsyncd", {}).get("running") or _begins(standby):
        yield f"lsyncd runs on the standby {other}."
    primary_active = node == config["primary"]["id"]
    # It has to wait for the recovery that saves what the standby alone has.
    carries = config["replicate"] and primary_active and not _unsaved(standby)
    if carries and not active.get("lsyncd", {}).get("running"):
        yield f"lsyncd does not run on {node}."
    if not primary_active and (active.get("lsyncd", {}).get("running") or _begins(active)):
        yield f"lsyncd runs on {node}, the secondary."
    yield from _lease_drift(config["name"], active, standby)
    for report in (active, standby):
        if report.get("misplaced"):
            yield places.misplaced_sentence(report["node"], report["misplaced"], config["name"])
        fence = report.get("fence") or {}
        if fence.get("well") is False:
            yield (
                f"{report['node']} could not switch {fence['node']} off: {fence['agent']}: "
                f"{fence['sentence']}. Try it: salt '{report['node']}' pair.fence_test {config['name']}"
            )
        for service, state in (report.get("services") or {}).items():
            if state != "active":
                yield f"{service} is {state} on {report['node']}."
    for service, state in (active.get("active_services") or {}).items():
        if state != "active":
            yield f"{service} is {state} on {node}."
    for service, state in (standby.get("active_services") or {}).items():
        if state in ("active", "activating", "reloading"):
            yield f"{service} runs on the standby {other}."
        elif state == "unknown":
            yield f"It is not known whether {service} runs on the standby {other}."


def _begins(report):
    """Whether systemd is about to start lsyncd there, or starts it again and again."""
    return report.get("lsyncd", {}).get("state") == "activating"


#: Seconds without an answer of etcd after which a person has to know.
ETCD_SILENT = 30


def _lease_drift(pair, active, standby):
    """Of a pair with a lease: what keeps a node from serving, or from taking over."""
    for report in (active, standby):
        lease = report.get("lease") or {}
        if lease.get("error"):
            yield f"The lease of {pair} on {report['node']}: {lease['error']}"
        elif lease and (lease["etcd_silent"] is None or lease["etcd_silent"] > ETCD_SILENT):
            yield (
                f"etcd does not answer {report['node']}, or its guard does not run: nobody can take {pair} "
                f"over. See `systemctl status etcd` on the members and `systemctl status "
                f"failback-lease@{pair}`."
            )
    lease = active.get("lease") or {}
    if lease and not lease.get("error") and not lease["serves_for"]:
        yield f"{active['node']} has no right to serve {pair} at this moment: {lease['guard']}."
