"""
How well a pair is, as one of its nodes sees it: for a monitoring plug-in, and for figures. Pure.

The facts are those of :py:func:`facts`, a selection of the node's report in which nothing is secret. A node
speaks for itself: what the other one has is only in the verdict, which a master draws from both reports.
"""

import dataclasses

from failback.decisions import readiness
from failback.decisions import unready

VERSION = 1

#: The exit statuses of a monitoring plug-in.
OK, WARNING, CRITICAL, UNKNOWN = 0, 1, 2, 3
NAMES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
#: What counts most comes first: one pair that is not known hides no other that is critical.
WORST_FIRST = (CRITICAL, UNKNOWN, WARNING, OK)

#: Seconds after which what a node, or its watch, has noted of itself is not the present any more. Both are
#: noted every ten seconds.
OUTDATED = 60.0
#: Seconds for which an address may be silent, with nobody taking it, before that is a problem of its own.
SILENT = 60.0
#: Seconds for which a node must not have been ready before that is a problem.
NOT_READY = 60.0
#: Seconds without an answer of etcd after which nobody can take over.
ETCD_SILENT = 60.0

#: Figures that a node may have of a pair, beside those that are always there: unit, and what it is. One that
#: is not known is left out.
FIGURES = {
    "lag": ("s", "Time since the standby was last known to have all that was written"),
    "verify_age": ("s", "Time since both nodes' files were compared last"),
    "drill_age": ("s", "Time since a takeover was rehearsed last"),
}


@dataclasses.dataclass(frozen=True)
class Health:
    """
    level
        ``OK``, ``WARNING``, ``CRITICAL`` or ``UNKNOWN``.

    sentences
        What is wrong, worst first; where nothing is, what the node does.

    figures
        By name ``(value, unit)``; what is not known is not there.
    """

    level: int
    sentences: tuple
    figures: dict


def facts(config, report, last, operations, watches, figures=None):
    """
    What everybody may know of a pair on this node.

    config
        The normalised pair.

    report
        What ``failback.report.report`` says.

    last
        The record of the newest run, or None.

    operations
        How many runs this node has kept, by operation.

    watches
        The cron names under which this node is to watch the pair.

    figures
        Those of ``FIGURES`` that are known, by name.

    Returns a dict of JSON types.
    """
    own = report["ledger"]
    kept = ("generation", "active", "since", "heard", "withdrawn", "unsaved", "unsynced")
    fence, misplaced = report.get("fence") or {}, report.get("misplaced") or {}
    reachable = report.get("reachable") or {}
    return {
        "version": VERSION,
        "pair": config["name"],
        "node": report["node"],
        "peer": config["secondary" if report["role"] == "primary" else "primary"]["id"],
        "role": report["role"],
        "time": report["time"],
        "boot_id": report["boot_id"],
        "ledger": {key: own[key] for key in kept if own.get(key) is not None} if own else None,
        "ledger_error": report["ledger_error"],
        "admitted": bool(own and own["boot_id"] == report["boot_id"]),
        "addresses": {one["name"]: one["held"] for one in report["addresses"]},
        "carries": bool(config["replicate"]),
        "lsyncd": report["lsyncd"]["running"],
        "gate": report["gate"],
        "services": report["services"],
        "active_services": report["active_services"],
        "pause": _part(report["pause"], ("until", "reason", "user", "run", "error")),
        "lock": _part(report["lock"], ("run", "operation", "state", "error")),
        "misplaced": sorted(misplaced),
        "uncompared": report["uncompared"],
        "fence": _part(fence, ("node", "agent", "well", "error")),
        "lease": _part(report.get("lease"), ("serves_for", "etcd_silent", "released", "error")),
        "nobody_to_ask": reachable.get("problem") or reachable.get("error"),
        "readiness": _part(report.get("readiness"), ("installed", "looked", "ready", "not_ready")),
        "watches": sorted(watches),
        # Without its sentence, which may name files of users; so may what a fence agent says passwords.
        "last_run": _part(last, ("run", "operation", "result", "finished")),
        "runs": operations,
        "figures": dict(figures or {}),
    }


def _part(found, keys):
    return {key: found[key] for key in keys if found.get(key) is not None} if found else None


def worst(levels):
    """The level of several; that of none is ``UNKNOWN``."""
    return min(levels, key=WORST_FIRST.index, default=UNKNOWN)


def judge(known, watches, now, age):
    """
    How well a pair is.

    known
        The :py:func:`facts` as they were noted.

    watches
        By cron name what that watch says of itself (``failback.watch.loop.Watch.status``).

    now
        Seconds since the epoch.

    age
        Seconds since the facts were noted, by a clock that nobody sets.

    Returns a :py:class:`Health`.
    """
    figures = _figures(known, watches, now, age)
    if age > OUTDATED:
        sentence = (
            f"{known['node']} has noted nothing of {known['pair']} for {age:.0f} s: its keeper does not run. "
            f"See: systemctl status cron; journalctl -t failback"
        )
        return Health(UNKNOWN, (sentence,), figures)
    found = [*_ledger(known), *_serving(known), *_shared(known), *_watched(known, watches, now)]
    found += [*_ready(known), *_run(known)]
    found.sort(key=lambda one: WORST_FIRST.index(one[0]))
    level = worst([OK, *(each for each, _ in found)])
    return Health(level, tuple(sentence for _, sentence in found) or (_well(known),), figures)


def serves(known):
    """Whether a node is the active one by its ledger, and was admitted in its present boot."""
    own = known["ledger"]
    return bool(own and known["admitted"] and own["active"] == known["node"] and not own.get("withdrawn"))


def busy(known):
    """Whether a run is at work: what it has stopped is not missed."""
    return (known["lock"] or {}).get("state") == "held"


def _well(known):
    does = "serves" if serves(known) else "stands by in"
    return f"{known['node']} {does} {known['pair']}, generation {known['ledger']['generation']}"


def _ledger(known):
    node, pair, own = known["node"], known["pair"], known["ledger"]
    if known["ledger_error"]:
        yield CRITICAL, known["ledger_error"]
    elif own is None:
        yield WARNING, f"{node} has no ledger of {pair}: run orch.adopt."
    elif own.get("withdrawn"):
        yield WARNING, f"{node} has given its claim to {pair} back, because nobody heard it."
    elif not known["admitted"] and not busy(known):
        yield WARNING, f"{node} has rebooted, or stepped down, and takes no part in {pair}: run orch.recover."
    if own and own.get("unsaved"):
        yield WARNING, f"What {node} alone has of {pair} is in no backup yet: run orch.recover."


def _serving(known):
    node, pair, own = known["node"], known["pair"], known["ledger"]
    away = WARNING if busy(known) else CRITICAL
    held = sorted(name for name, held in known["addresses"].items() if held)
    missing = sorted(set(known["addresses"]) - set(held))
    if not serves(known):
        # A node whose ledger cannot be read may be the active one.
        if held and own:
            yield away, f"{node} has {', '.join(held)}, although its ledger does not name it the active node."
        for name, state in sorted(known["active_services"].items()):
            if state == "active" and own:
                yield WARNING, f"{name} runs on {node}, which is not the active node."
        if known["lsyncd"] and own:
            yield WARNING, f"lsyncd runs on {node}, which is not the active node."
        return
    if missing:
        yield away, f"{node} is the active node, and {', '.join(missing)} is not there."
    for name, state in sorted(known["active_services"].items()):
        if state != "active":
            yield away, f"{name} is {state} on the active node {node}."
    if known["role"] == "secondary":
        yield WARNING, f"the secondary {node} serves {pair} since {own.get('since')}: run orch.recover."
    elif known["carries"] and not known["lsyncd"]:
        why = f" {known['gate']}" if known["gate"] else ""
        yield away, f"lsyncd does not run on {node}, so {known['peer']} gets no changes.{why}"
    if own.get("heard") is False:
        yield WARNING, f"nobody has heard {node} since it took {pair}."
    if own.get("unsynced"):
        yield WARNING, f"the files of {node} are not known to be on its disk since it took over."


def _shared(known):
    """What concerns a node in both roles."""
    node, pair = known["node"], known["pair"]
    bad = CRITICAL if serves(known) and not busy(known) else WARNING
    for name, state in sorted(known["services"].items()):
        if state != "active":
            yield bad, f"{name} is {state} on {node}."
    if known["misplaced"]:
        paths = ", ".join(known["misplaced"])
        yield CRITICAL, f"{paths} of {pair} lies on another file system of {node} than it did."
    if known["nobody_to_ask"]:
        yield WARNING, known["nobody_to_ask"]
    fence, lease = known["fence"] or {}, known["lease"] or {}
    if fence.get("error") or fence.get("well") is False:
        agent = fence.get("error") or fence.get("agent")
        yield (
            WARNING,
            f"{node} cannot switch {fence.get('node')} off: {agent}. See salt-run pair.status {pair}",
        )
    if lease.get("error"):
        yield CRITICAL, f"the lease of {pair} on {node}: {lease['error']}"
    elif lease and (lease.get("etcd_silent") is None or lease["etcd_silent"] > ETCD_SILENT):
        yield WARNING, f"etcd does not answer {node}: nobody can take {pair} over."
    if lease.get("released"):
        yield CRITICAL, f"{node} has released {pair}: it could not renew its right to serve."
    pause = known["pause"] or {}
    if pause.get("error"):
        yield WARNING, pause["error"]
    elif pause and pause.get("run") is None:
        yield WARNING, f"the watch of {pair} is paused ({pause.get('reason')})."


def _watched(known, watches, now):
    pair = known["pair"]
    for cron in known["watches"]:
        status = watches.get(cron) or {}
        age = now - status.get("updated", 0)
        own = status.get("pairs", {}).get(pair)
        if not status or abs(age) > OUTDATED or own is None:
            yield (
                CRITICAL,
                f"the watch {cron} does not run on {known['node']}: it would not take {pair} over.",
            )
            continue
        if known["pause"] or busy(known):
            continue
        for name, address in sorted(own.get("addresses", {}).items()):
            silent = address.get("silent_seconds") or 0
            if not address.get("held") and silent > SILENT:
                yield CRITICAL, f"{name} has not answered for {silent:.0f} s: {own.get('sentence')}"


def _ready(known):
    """Whether a takeover would find what it needs; the sentences of what does not may name files of users."""
    node, pair, facts = known["node"], known["pair"], known.get("readiness") or {}
    if busy(known) or not facts.get("installed"):
        return
    if facts.get("looked") is None or facts["looked"] > readiness.LOOKS_WITHIN:
        yield WARNING, f"nobody looks at what {node} is worth: systemctl status failback-look@{pair}"
        return
    spell = facts.get("not_ready")
    if spell and spell["for"] >= NOT_READY:
        yield (
            WARNING,
            f"{node} has not been ready for {unready.duration(spell['for'])} "
            f"({unready.meaning(spell['about'])}): salt-run pair.status {pair}",
        )


def _run(known):
    last = known["last_run"]
    if not last or busy(known):
        return
    if last.get("result") == "failed":
        yield WARNING, f"the last run {last['run']} failed: salt-run pair.history {known['pair']}"
    elif last.get("result") is None:
        yield WARNING, f"the last run {last['run']} never closed: run the same command again."


def _figures(known, watches, now, age):
    found = {"facts_age": (max(0.0, age), "s")}
    if known["ledger"]:
        found["generation"] = (known["ledger"]["generation"], "")
    looked = [watches[one]["updated"] for one in known["watches"] if (watches.get(one) or {}).get("updated")]
    if looked:
        found["watch_age"] = (max(0.0, now - min(looked)), "s")
    for name, (unit, _) in FIGURES.items():
        value = known["figures"].get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            found[name] = (value, unit)
    return found


def line(judged):
    """
    The one line of a monitoring plug-in, with its performance data.

    judged
        By pair its :py:class:`Health`.

    Returns ``(level, line)``.
    """
    level = worst([one.level for one in judged.values()])
    shown = {pair: one for pair, one in sorted(judged.items()) if level == OK or one.level != OK}
    text = "; ".join(
        " ".join(one.sentences) if len(judged) == 1 else f"{pair}: {' '.join(one.sentences)}"
        for pair, one in shown.items()
    )
    data = [
        f"{_label(pair, name, judged)}={_number(value)}{unit};;;0"
        for pair, one in sorted(judged.items())
        for name, (value, unit) in sorted(one.figures.items())
    ]
    # The bar begins the performance data; a name in a sentence may have one.
    text = " ".join("".join(char if char.isprintable() else "?" for char in text).split()).replace("|", "/")
    return level, f"FAILBACK {NAMES[level]}: {text[:1500]} | {' '.join(data)}".removesuffix(" | ")


def _label(pair, name, judged):
    return name if len(judged) == 1 else f"{pair}_{name}"


def _number(value):
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
