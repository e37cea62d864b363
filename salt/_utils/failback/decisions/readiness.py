"""
What a node of a pair is worth: all that a takeover would depend on, judged while nobody needs it.

    for finding in wrong(config, report, ACTIVE_ROLE): print(finding.sentence)

Pure. :py:mod:`failback.readiness` finds the facts. A fact that is not there, of a release that does not know
it or of a node on which nobody looks, is no finding: what is not proved is not reported. That nobody looks is
one.
"""

from __future__ import annotations

from dataclasses import dataclass

from failback.decisions import commands
from failback.decisions import moments
from failback.decisions import verified

#: What a node is for the pair at this moment.
SERVES, STANDS_BY = "serves", "stands by"

#: Seconds without a round of looks after which nobody looks.
LOOKS_WITHIN = 45.0

#: Seconds without a word of the watch after which it hangs: it writes its status at least every ten.
WATCH_WITHIN = 35.0

#: Room below which nothing can be relied on: a path needs some for what comes, and for the backup. Of a file
#: system that is small by itself it is a tenth.
LEAST_BYTES = 64 << 20
LEAST_FILES = 500
LEAST_SHARE = 0.1

#: What the watch may do beyond the largest lag: serve and say so, or leave the pair alone.
SERVE, REFUSE = "serve", "refuse"

#: What systemd calls a unit that it cannot start (``LoadState``).
CANNOT_START = {
    "masked": "is masked",
    "not-found": "is no unit",
    "bad-setting": "has a setting that systemd refuses",
    "error": "cannot be read by systemd",
}

#: What ssh says when the other node's host key is another one, and how such keys are exchanged.
HOST_KEY = "host key verification failed"


@dataclass(frozen=True)
class Finding:
    """
    One thing that is not ready.

    about
        A word for programs: ``looks``, ``watch``, ``address``, ``path``, ``room``, ``services``, ``in_step``,
        ``rsync``, ``ssh``, ``inotify``, ``gate``, ``verified``.

    sentence
        What was found, why that is dangerous, what to run.

    stops
        True: a planned move of the pair to the standby would fail, or leave the service down.
    """

    node: str
    about: str
    sentence: str
    stops: bool = False


def max_lag(config):
    """Seconds since it was in step after which a standby counts as behind."""
    return float(config["watch"].get("max_lag", 30))


def refuses(config):
    """Whether the watch leaves the pair alone if the standby is further behind."""
    return config["watch"].get("beyond_max_lag") == REFUSE


def behind(config, known):
    """
    Why a takeover now would lose more than it may, a sentence; None where it would not.

    known
        ``at``, ``age``, ``admitted_for`` of the node that takes over: ``failback.replication.in_step.read``.
    """
    limit, age = max_lag(config), known["age"]
    if age is None:
        # When it was admitted it had all there was.
        age = known["admitted_for"]
    if not config["replicate"] or (age is not None and age <= limit):
        return None
    node, other = config["secondary"]["id"], config["primary"]["id"]
    if known["at"] is None:
        when = "nobody knows when" if age is None else f"not since it was admitted {age:.0f} s ago"
        return f"{node} was last in step with {other}: {when}"
    return f"{node} was last in step with {other} at {moments.iso(known['at'])}, {age:.0f} s ago"


def wrong(config, report, role):
    """
    What is not ready on one node.

    config
        The normalised pair.

    report
        What the node reports of itself; its ``readiness`` is that of ``failback.readiness.facts``.

    role
        ``SERVES`` or ``STANDS_BY``, by the verdict.

    Returns a tuple of :py:class:`Finding`.
    """
    facts = report.get("readiness") or {}
    return (
        *_looks(config, report["node"], facts),
        *_watch(config, report["node"], facts),
        *_paths(config, report["node"], facts, role),
        *_services(report, role),
        *_ssh(config, report["node"], facts, role),
        *(_carrier(config, report, facts) if role == SERVES else ()),
        *(_lag(config, report["node"], facts) if role == STANDS_BY else ()),
    )


def together(config, active, standby):
    """
    What is not ready in a pair whose primary serves.

    active, standby
        What the two nodes report. Whether the standby hears of being in step depends on the lsyncd of the
        active one, which may be of an earlier release.

    Returns a tuple of :py:class:`Finding`, those of the active node first.
    """
    told = (active.get("readiness") or {}).get("beats")
    findings = [*wrong(config, active, SERVES), *wrong(config, standby, STANDS_BY)]
    never, other = _never(standby), standby["node"]
    return tuple(one for one in findings if told or not never or one.about != "in_step" or one.node != other)


def alone(config, report, role):
    """
    What a node finds of itself, without the other one's report: see :py:func:`wrong`.

    That it was never in step may be the other node's release, and is left out.
    """
    never = role == STANDS_BY and _never(report)
    return tuple(one for one in wrong(config, report, role) if one.about != "in_step" or not never)


def _never(standby):
    """Whether a standby has never been told that it was in step."""
    return ((standby.get("readiness") or {}).get("in_step") or {}).get("at") is None


def lag(report, role):
    """
    For how many seconds the standby may lack something, at most, as a node knows it; None where it does not.

    It is the time since all was proved to be carried, which is proved every ten seconds, so it is never 0 for
    long. A standby had all there was when it was admitted.

    report, role
        As for :py:func:`wrong`.
    """
    facts = report.get("readiness") or {}
    if role == STANDS_BY:
        known = facts.get("in_step") or {}
        ages = [known.get("age"), known.get("admitted_for")]
        return None if None in ages else min(ages)
    if role == SERVES and None not in (facts.get("lag"), facts.get("looked")):
        return round(facts["lag"] + facts["looked"], 1)
    return None


def role_of(own, node, admitted):
    """What a node is by its own ledger; None for one that takes no part in this boot."""
    if not own or not admitted:
        return None
    return SERVES if own["active"] == node else STANDS_BY


# --- one kind each


def _looks(config, node, facts):
    if not facts.get("installed"):
        return
    looked = facts.get("looked")
    if looked is None or looked > LOOKS_WITHIN:
        since = "" if looked is None else f" since {looked:.0f} s"
        unit = f"failback-look@{config['name']}"
        yield Finding(
            node,
            "looks",
            f"Nobody looks{since} at what {node} is worth: {unit} does not run there, or hangs. See "
            f"`systemctl status {unit}` on {node}, then run: salt '{node}' state.apply pair.look",
        )


def _watch(config, node, facts):
    pair = config["name"]
    for cron, watch in sorted((facts.get("watch") or {}).items()):
        unit = f"failback-watch@{cron}"
        if facts.get("installed") and not watch["alive"]:
            yield Finding(
                node,
                "watch",
                f"The watch {cron} does not run on {node}, so nobody there takes {pair} over. See `systemctl "
                f"status {unit}` on {node}, then run: salt '{node}' state.apply pair.watch",
            )
        elif facts.get("installed") and (watch["silent"] or 0) > WATCH_WITHIN:
            yield Finding(
                node,
                "watch",
                f"The watch {cron} on {node} has said nothing for {watch['silent']:.0f} s, so it may not "
                f"take {pair} over. Run: salt '{node}' service.restart {unit}",
            )
        for address, macs in sorted(watch["several"].items()):
            yield Finding(
                node,
                "address",
                f"{address} is answered by {' and '.join(macs)}, as {node} sees it: a foreign host has the "
                f"address too, and some clients reach that one. Find it by its hardware address and take the "
                f"address from it; `ip neigh show` on a client names the one that it uses.",
            )


def _paths(config, node, facts, role):
    for path, one in sorted((facts.get("paths") or {}).items()):
        if one["error"]:
            yield Finding(
                node,
                "path",
                f"{path} cannot be written on {node}: {one['error']}. "
                f"{_without_it(node, role)} Make it writable there: `findmnt -T {path}`, `lsattr -d {path}`.",
                stops=role == STANDS_BY,
            )
        elif _is_full(one):
            left = f"{one['free_bytes'] >> 20} MiB"
            if one["free_files"] is not None:
                left += f" and {one['free_files']} inodes"
            yield Finding(
                node,
                "room",
                f"{path} has {left} left on {node}. What comes next does not fit, and no backup does. Make "
                f"room on its file system (`df {path}`, `df -i {path}`).",
                stops=role == STANDS_BY,
            )


def _without_it(node, role):
    if role == STANDS_BY:
        return f"Nothing is carried there any more, and {node} would serve read-only."
    return "Clients cannot write there."


def _is_full(one):
    for free, total, least in (("free_bytes", "bytes", LEAST_BYTES), ("free_files", "files", LEAST_FILES)):
        enough = min(least, LEAST_SHARE * one[total]) if total in one else least
        if one[free] is not None and one[free] < enough:
            return True
    return False


def _services(report, role):
    """Active services that the standby could not start; those that run everywhere are drift by themselves."""
    if role != STANDS_BY:
        return
    node = report["node"]
    for service, state in (report.get("active_services") or {}).items():
        if state in CANNOT_START:
            mend = f"systemctl unmask {service}" if state == "masked" else f"systemctl status {service}"
            yield Finding(
                node,
                "services",
                f"{service} {CANNOT_START[state]} on {node}, so it would be down after a takeover. Run on "
                f"{node}: {mend}",
                stops=True,
            )


def _ssh(config, node, facts, role):
    peer = facts.get("ssh")
    if not peer or peer["well"] is not False:
        return
    yield Finding(
        node,
        "ssh",
        f"{node} cannot ask {peer['node']} over SSH: {_ended(peer['sentence'])} Without that nothing is "
        f"handed over and nothing comes home. {_mend_ssh(config, peer['node'], peer['sentence'])}",
        stops=role == STANDS_BY,
    )


#: What ssh itself says of a node that lets nobody in. rsync ends with 5 then, as after a shell that prints.
OF_SSH = ("ssh: ", "permission denied", "password", "connection closed by", "connection reset by")


#: What is said of a path that is not where it was; see ``failback.decisions.places``.
OF_A_PLACE = " lies on "


def _mend_ssh(config, other, said):
    if HOST_KEY in said.lower():
        adopt = commands.command("adopt", config["name"], {})
        return f"If {other} has new host keys that are its own, exchange them: {adopt}"
    if "prints" in said:
        return f"Run on {other}: salt-call state.apply pair.access"
    return f"Run on {other}: systemctl status ssh; salt-call state.apply pair.access"


def _carrier(config, report, facts):
    """Of the node on which lsyncd runs."""
    node, other = report["node"], other_node(config, report["node"])
    differing = verified.finding(config, other, facts.get("verified"))
    if differing:
        yield Finding(other, "verified", differing, stops=True)
    inotify = facts.get("inotify")
    if inotify:
        yield Finding(
            node,
            "inotify",
            f"{node} cannot watch its files for changes: {_ended(inotify)} lsyncd carries nothing new then. "
            f"Raise it on {node} (`sysctl fs.inotify`), then run: "
            f"{commands.command('recover', config['name'], {})}",
        )
    restarts = facts.get("restarts")
    if restarts:
        yield Finding(
            node,
            "rsync",
            f"lsyncd does not stay up on {node}, systemd has started it again {_times(restarts['times'])}"
            f"{_said(restarts.get('said'))} What is written now is on {node} alone. See `journalctl -u "
            f"lsyncd` there, fix what it says, then run: {commands.command('recover', config['name'], {})}",
            stops=True,
        )
    elif (report.get("lsyncd") or {}).get("begun") is False:
        yield Finding(
            node,
            "rsync",
            f"lsyncd on {node} has just been started and watches nothing yet: it is not known to stay up. "
            f"What is written now is on {node} alone until it does. If it stays so, see `journalctl -u "
            f"lsyncd` there, fix what it says, then run: {commands.command('recover', config['name'], {})}",
            stops=True,
        )
    if facts.get("beats") is False:
        yield Finding(
            node,
            "in_step",
            f"lsyncd on {node} runs with a configuration of before, by which {other} does not learn when it "
            f"was last in step. Nothing is lost by that; a takeover could not say what is missing. Run: "
            f"{commands.command('recover', config['name'], {})}",
        )
    failing = facts.get("failing")
    if failing:
        said = failing.get("said") or ""
        # In full it stands beside this, where the path itself is found wrong.
        shown = "the place of a path there is another one" if OF_A_PLACE in said else said
        yield Finding(
            node,
            "rsync",
            f"lsyncd on {node} has not carried all to {other} since {moments.iso(failing['since'])}: rsync "
            f"has failed {_times(failing['times'])}, with exit code {failing['code']}{_said(shown)} What was "
            f"written since would be lost with {node}. "
            f"{_mend_rsync(config, node, other, failing['code'], said)}",
            stops=failing["times"] > 1,
        )


def _times(number):
    return "once" if number == 1 else f"{number} times"


def _said(said):
    return f": {_ended(said)}" if said else "."


def _ended(text):
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _mend_rsync(config, node, other, code, said):
    if OF_A_PLACE in said:
        return f"What to do is said of that path; lsyncd goes on trying (`journalctl -u lsyncd` on {node})."
    if HOST_KEY in said.lower() or any(word in said.lower() for word in OF_SSH):
        return _mend_ssh(config, other, said)
    if code == "5" or "rather than greeting" in said:
        return _mend_ssh(config, other, "prints")
    if code == "255" or code == "12":
        return _mend_ssh(config, other, said)
    return f"Fix that on {other}; lsyncd goes on trying (`journalctl -u lsyncd`)."


def _lag(config, node, facts):
    known, limit = facts.get("in_step"), max_lag(config)
    if not known or not config["replicate"]:
        return
    waited = known["admitted_for"]
    age = known["age"]
    if waited is None or waited <= limit or (age is not None and age <= limit):
        return
    other = other_node(config, node)
    when = (
        f"was last in step with {other} at {moments.iso(known['at'])}, {age:.0f} s ago"
        if age is not None
        else (f"has not been in step with {other} since it was admitted {waited:.0f} s ago")
    )
    yield Finding(
        node,
        "in_step",
        f"{node} {when}: what was written since would be lost with {other}. See `salt '{other}' "
        f"lsyncd.status {config['name']}` and `journalctl -u lsyncd` on {other}.",
    )


def other_node(config, node):
    """The id of the other node."""
    primary, secondary = config["primary"]["id"], config["secondary"]["id"]
    return secondary if node == primary else primary
