"""
The figures of the pairs of a node in Prometheus' text format, version 0.0.4. Pure.

What is not known is left out: a figure that is not there can be seen, one that was made up cannot.
"""

from failback.decisions import health
from failback.decisions import moments

#: Each metric: its type, and what it is.
METRICS = {
    "failback_info": ("gauge", "Which node this is in the pair; always 1"),
    "failback_state": (
        "gauge",
        "What `failback check` ends with: 0 well, 1 warning, 2 critical, 3 not known",
    ),
    "failback_noted_timestamp_seconds": ("gauge", "When the node noted all of this, by its clock"),
    "failback_generation": ("gauge", "The generation in the node's ledger"),
    "failback_active_since_timestamp_seconds": ("gauge", "Since when the active node serves, by this ledger"),
    "failback_serves": ("gauge", "1 on the node that is active by its own ledger"),
    "failback_admitted": ("gauge", "1 if the node has been admitted since it booted"),
    "failback_address_held": ("gauge", "1 if the node's kernel has the floating address"),
    "failback_address_silent_seconds": ("gauge", "How long nobody has answered the watch for the address"),
    "failback_service_active": ("gauge", "1 if the service runs"),
    "failback_lsyncd_running": ("gauge", "1 if lsyncd runs"),
    "failback_ready": ("gauge", "1 if a takeover would find what it depends on, as far as this node sees it"),
    "failback_paused": ("gauge", "1 while the watch is paused"),
    "failback_run_at_work": ("gauge", "1 while a run owns the lock of the pair on this node"),
    "failback_last_run_success": ("gauge", "1 if the newest run on this node succeeded"),
    "failback_runs": ("gauge", "Runs, takeovers and step-downs that this node has a record of"),
    "failback_watch_looked_timestamp_seconds": ("gauge", "When the watch last said how things stand"),
    "failback_etcd_silent_seconds": ("gauge", "Seconds since etcd answered the guard"),
    **{
        f"failback_{name}{'_seconds' if unit == 's' else ''}": ("gauge", text)
        for name, (unit, text) in health.FIGURES.items()
    },
}


def text(pairs, watches, now):
    """
    The figures of all pairs of a node.

    pairs
        A list of ``(facts, age)``: what was noted, and how many seconds ago.

    watches
        By cron name what the watch says of itself.

    now
        Seconds since the epoch.

    Returns the text, sorted by metric; each has its HELP and TYPE once.
    """
    samples = {}
    for known, age in pairs:
        judged = health.judge(known, watches, now, age)
        for name, labels, value in [*_of_pair(known, judged), *_of_watches(known, watches)]:
            every = {"pair": known["pair"], "node": known["node"], **labels}
            samples.setdefault(name, []).append(f"{name}{{{_labels(every)}}} {_value(value)}")
    lines = []
    for name, (kind, meaning) in METRICS.items():
        if name in samples:
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}", *samples[name]]
    return "".join(f"{line}\n" for line in lines)


def _of_pair(known, judged):
    own = known["ledger"] or {}
    yield "failback_info", {"role": known["role"], "peer": known["peer"]}, 1
    yield "failback_state", {}, judged.level
    yield "failback_noted_timestamp_seconds", {}, known["time"]
    if own:
        yield "failback_generation", {}, own["generation"]
        since = moments.epoch(own.get("since"))
        if since is not None:
            yield "failback_active_since_timestamp_seconds", {"active": own["active"]}, since
    yield "failback_serves", {}, health.serves(known)
    yield "failback_admitted", {}, known["admitted"]
    for name, held in sorted(known["addresses"].items()):
        yield "failback_address_held", {"address": name}, held
    for key, active in (("services", "no"), ("active_services", "yes")):
        for name, state in sorted(known[key].items()):
            yield "failback_service_active", {"service": name, "active_only": active}, state == "active"
    if known["carries"]:
        yield "failback_lsyncd_running", {}, known["lsyncd"]
    ready = (known.get("readiness") or {}).get("ready")
    if ready is not None:
        yield "failback_ready", {}, ready
    yield "failback_paused", {}, bool(known["pause"])
    yield "failback_run_at_work", {}, health.busy(known)
    if (known["last_run"] or {}).get("result"):
        yield "failback_last_run_success", {}, known["last_run"]["result"] == "succeeded"
    for operation, number in sorted(known["runs"].items()):
        yield "failback_runs", {"operation": operation}, number
    silent = (known["lease"] or {}).get("etcd_silent")
    if silent is not None:
        yield "failback_etcd_silent_seconds", {}, silent
    for name, (unit, _) in health.FIGURES.items():
        if name in judged.figures:
            yield f"failback_{name}{'_seconds' if unit == 's' else ''}", {}, judged.figures[name][0]


def _of_watches(known, watches):
    for cron in known["watches"]:
        status = watches.get(cron) or {}
        if status.get("updated"):
            yield "failback_watch_looked_timestamp_seconds", {"watch": cron}, status["updated"]
        addresses = status.get("pairs", {}).get(known["pair"], {}).get("addresses", {})
        for name, one in sorted(addresses.items()):
            if not one.get("held"):
                yield "failback_address_silent_seconds", {"address": name}, one.get("silent_seconds") or 0


def _labels(labels):
    return ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items())


def _escaped(value):
    return str(value).replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _value(value):
    return str(int(value)) if isinstance(value, bool) else repr(value)
