"""A page about a pair's last days: who served, what happened, what was run. Pure."""

from failback.decisions import readiness
from failback.decisions import unready
from failback_master.surface import html
from failback_master.surface import words

DAYS = 90
DAY = 86400.0

#: What the watch does by itself, by the names of its records.
WATCH = ("takeover", "stepdown")


def page(config, records, reports, now, errors=None, days=DAYS):
    """
    The page of a pair.

    config
        The normalised pair.

    records
        By node the records that it keeps; see ``pair.history`` of the modules.

    reports
        Both nodes' reports; None for one that did not answer.

    now
        Seconds since the epoch.

    errors
        By node why it did not answer.

    days
        How far back.

    Returns HTML.
    """
    begin = now - days * DAY
    found = merged(records, begin)
    title = f"{config['name']}, the last {days} days"
    parts = [f"<h1>{html.text(title)}</h1>", f'<p class="dim">As of {words.iso(now)}.</p>']
    for node, error in sorted((errors or {}).items()):
        parts.append(f'<p class="warn">{html.text(node)} did not answer: {html.text(error)}</p>')
    parts += [
        *_now(reports),
        _counts(found),
        "<h2>Who served</h2>",
        *_served(config, found, reports, begin, now),
    ]
    parts += ["<h2>What happened</h2>", _table(found)]
    return html.page(f"Failback: {title}", parts)


def merged(records, begin):
    """
    One entry a run or takeover, oldest first, none from before a moment.

    Each is the record with ``node``, where it happened (both names for a run of both), and ``at``.
    """
    found = {}
    for node, kept in sorted(records.items()):
        for record in kept:
            at = words.epoch(record.get("started"))
            if at is None or at < begin:
                continue
            one = found.setdefault(record["run"], {**record, "nodes": [], "at": at})
            if record.get("finished") and not one.get("finished"):
                one.update({**record, "nodes": one["nodes"], "at": at})
            one["nodes"].append(node)
    return sorted(found.values(), key=lambda one: (one["at"], one["run"]))


def _now(reports):
    """What each node is worth at this moment, as it sees it by itself."""
    rows = []
    for report in reports:
        if report is None:
            continue
        own, facts = report.get("ledger"), report.get("readiness") or {}
        admitted = bool(own and own["boot_id"] == report["boot_id"])
        role = readiness.role_of(own, report["node"], admitted)
        lag = readiness.lag(report, role)
        rows.append(
            [
                html.text(report["node"]),
                html.text(role or "takes no part"),
                _ready(facts),
                "" if lag is None else f"{unready.duration(lag)} ago",
            ]
        )
    if rows:
        yield html.table(["node", "now", "ready", "known to be in step"], rows, ["time", "time", "", ""])


def _ready(facts):
    spell = facts.get("not_ready")
    if facts.get("ready") is False:
        about = f": {unready.meaning(spell['about'])}" if spell else ""
        return f'<span class="warn">no{html.text(about)}</span>'
    return '<span class="good">yes</span>' if facts.get("ready") else '<span class="dim">not known</span>'


def _counts(found):
    takeovers = sum(one.get("operation") == "takeover" for one in found)
    runs = [one for one in found if one.get("operation") not in WATCH]
    failed = sum(one.get("result") != "succeeded" for one in runs)
    rows = [
        ["takeovers by the watch", str(takeovers)],
        ["runs", str(len(runs))],
        ["of these failed, or never closed", str(failed)],
    ]
    windows = [(one.get("facts") or {}).get("window_milliseconds") for one in runs]
    windows = [one for one in windows if isinstance(one, (int, float))]
    if windows:
        rows.append(["longest window of a handover", f"{max(windows):.1f} ms"])
    return html.table(["", ""], rows, ["", "number"])


def changes(found):
    """When a node became the active one, as far as it is on record: ``[(seconds since the epoch, node)]``."""
    known = []
    for one in found:
        after = ((one.get("facts") or {}).get("after") or {}).get("active")
        if one.get("operation") == "takeover":
            known.append((one["at"], one["nodes"][0]))
        elif after:
            known.append((words.epoch(one.get("finished")) or one["at"], after))
    return known


def _served(config, found, reports, begin, now):
    """A line of time. What is not on record is drawn as such."""
    nodes = [config[role]["id"] for role in ("primary", "secondary")]
    known = [(at, node) for at, node in changes(found) if node in nodes]
    spans = [
        (max(at, begin), following[0], node)
        for (at, node), following in zip(known, [*known[1:], (now, None)])
    ]
    present = _present(reports)
    if present and (not spans or spans[-1][2] != present[1]):
        # By the ledger of the node that serves now, whatever the records say.
        since = min(max(present[0] or begin, begin), now)
        spans = [(first, min(last, since), node) for first, last, node in spans if first < since]
        spans.append((since, now, present[1]))
    # A pair that is young, or whose records begin later, fills the line all the same.
    left = spans[0][0] if spans else begin
    drawing = html.Drawing(86, f"who served {config['name']}, from {words.iso(left)} to {words.iso(now)}")
    scale = 880 / max(now - left, 1.0)
    for number, node in enumerate(nodes):
        top = 10 + 26 * number
        drawing.say(92, top + 14, node, "end")
        drawing.bar(100, top, 880, 18, "skip", "the other node, or not on record")
        for first, last, served in spans:
            if served == node:
                said = f"{node}: {words.iso(first)} to {words.iso(last)}"
                width = (last - first) * scale
                drawing.bar(100 + (first - left) * scale, top, width, 18, ("first", "second")[number], said)
    drawing.say(100, 80, _day(left), kind="dim")
    drawing.say(980, 80, _day(now), "end", "dim")
    yield drawing.html()
    if not spans:
        yield '<p class="dim">Nothing is on record, and no node says that it serves.</p>'
    share = dict.fromkeys(nodes, 0.0)
    for first, last, node in spans:
        share[node] += last - first
    rows = [[html.text(node), _days(seconds)] for node, seconds in share.items()]
    unknown = (now - begin) - sum(share.values())
    if unknown > 60:
        rows.append(["not on record", _days(unknown)])
    yield html.table(["node", "served"], rows, ["", "number"])


def _present(reports):
    """Since when which node serves now, by its own ledger: ``(seconds or None, node)``, or None."""
    for report in reports:
        own = (report or {}).get("ledger")
        if own and own["active"] == report["node"] and own["boot_id"] == report["boot_id"]:
            return words.epoch(own["since"]), report["node"]
    return None


def _day(moment):
    return words.iso(moment)[:16].replace("T", " ")


def _days(seconds):
    return f"{seconds / DAY:.1f} days" if seconds >= DAY else words.duration(seconds)


def _table(found):
    if not found:
        return '<p class="dim">Nothing.</p>'
    rows = []
    for one in reversed(found):
        result = one.get("result") or "never closed"
        kind = "warn" if one.get("operation") in WATCH else "good" if result == "succeeded" else "bad"
        window = (one.get("facts") or {}).get("window_milliseconds")
        said = html.text(one.get("sentence") or "")
        if one.get("reason"):
            said += f'<br><span class="dim">{html.text(one["reason"])}</span>'
        rows.append(
            [
                html.text(str(one.get("started"))),
                html.text(one.get("operation")),
                f'<span class="{kind}">{html.text(result)}</span>',
                "" if window is None else f"{window} ms",
                f"{said}<br><code>{html.text(one['run'])}</code>",
            ]
        )
    return html.table(["UTC", "what", "result", "window", ""], rows, ["time", "", "", "number", ""])
