"""A page about a pair's last days: who served, how far the standby was behind, what was run. Pure."""

import math

from failback.decisions import lag_history
from failback.decisions import moments
from failback.decisions import readiness
from failback.decisions import unready
from failback_master.surface import html
from failback_master.surface import words

DAYS = 90
DAY = 86400.0

#: What the watch does by itself, by the names of its records.
WATCH = ("takeover", "stepdown")


def page(config, records, reports, now, errors=None, days=DAYS, lags=None):
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

    lags
        By node the worst lag of each hour; see ``pair.lags`` of the modules.

    Returns HTML.
    """
    begin = now - days * DAY
    found = merged(records, begin)
    title = f"{config['name']}, the last {days} days"
    parts = [f"<h1>{html.text(title)}</h1>", f'<p class="dim">As of {moments.iso(now)}.</p>']
    for node, error in sorted((errors or {}).items()):
        parts.append(f'<p class="warn">{html.text(node)} did not answer: {html.text(error)}</p>')
    parts += [
        *_now(reports),
        _counts(found),
        "<h2>Who served</h2>",
        *_served(config, found, reports, begin, now),
    ]
    parts += ["<h2>How far the standby was behind</h2>", *_lags(config, lags or {}, begin, now)]
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
            at = moments.epoch(record.get("started"))
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
            known.append((moments.epoch(one.get("finished")) or one["at"], after))
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
    drawing = html.Drawing(86, f"who served {config['name']}, from {moments.iso(left)} to {moments.iso(now)}")
    scale = 880 / max(now - left, 1.0)
    for number, node in enumerate(nodes):
        top = 10 + 26 * number
        drawing.say(92, top + 14, node, "end")
        drawing.bar(100, top, 880, 18, "skip", "the other node, or not on record")
        for first, last, served in spans:
            if served == node:
                said = f"{node}: {moments.iso(first)} to {moments.iso(last)}"
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
            return moments.epoch(own["since"]), report["node"]
    return None


#: Bars in the drawing of the lags, at most; each shows the worst of its hours.
BARS = 180
#: Seconds that fill the drawing at least, so that an ordinary lag does not look like an alarm.
USUAL = 60.0


def _lags(config, lags, begin, now):
    """A line of time with the worst lags, and the worst of the last day, week and all."""
    known = lag_history.merged(map(lag_history.from_list, lags.values()))
    hours = [(hour * lag_history.HOUR, worst) for hour, worst in sorted(known.items())]
    hours = [(at, worst) for at, worst in hours if begin <= at + lag_history.HOUR and at <= now]
    if not hours:
        yield '<p class="dim">Not on record yet: each node notes it while it is at work.</p>'
        return
    limit = readiness.max_lag(config)
    left = max(begin, hours[0][0])
    wide = max(lag_history.HOUR, math.ceil((now - left) / BARS / lag_history.HOUR) * lag_history.HOUR)
    tallest = max(USUAL, limit, *(worst for _, worst in hours))
    drawing = html.Drawing(132, f"how far the standby of {config['name']} was behind")
    # The hour that has just begun has its place too.
    right = max(now, left + wide)
    scale = 880 / (right - left)
    for at, worst in _bars(hours, left, wide):
        said = f"{_day(at)}: {words.duration(worst)}"
        kind = "none" if worst > limit else "first"
        width = min(wide, max(now - at, 0.0)) * scale
        height = max(1.5, 90 * worst / tallest)
        drawing.bar(100 + (at - left) * scale, 100 - height, max(1.5, width - 1), height, kind, said)
    line = 100 - 90 * limit / tallest
    drawing.rule(100, line, 980, line)
    drawing.rule(100, 100, 980, 100)
    drawing.say(92, 16, words.duration(tallest), "end", "dim")
    if line > 30:
        drawing.say(92, line + 4, words.duration(limit), "end", "dim")
    drawing.say(100, 122, _day(left), kind="dim")
    drawing.say(980, 122, _day(right), "end", "dim")
    yield drawing.html()
    yield (
        '<p class="dim">A takeover would have lost what was written in so much time, at most. It is proved '
        "every ten seconds, so some seconds are usual; the line is <code>watch.max_lag</code>, "
        f"{words.duration(limit)}.</p>"
    )
    yield _worst_lags(hours, now)


def _worst_lags(hours, now):
    """The worst of the last day, of the last week, and of all."""
    rows = []
    for name, seconds in (
        ("the last day", DAY),
        ("the last 7 days", 7 * DAY),
        ("all that is on record", now),
    ):
        some = [(worst, at) for at, worst in hours if at + lag_history.HOUR > now - seconds]
        if some:
            worst, at = max(some)
            rows.append([name, words.duration(worst), f"in the hour from {_day(at)}"])
    return html.table(["worst of", "behind", "UTC"], rows, ["", "number", ""])


def _bars(hours, left, wide):
    """The worst of each ``wide`` seconds: ``[(where it begins, worst)]``."""
    found = {}
    for at, worst in hours:
        number = int(max(at - left, 0) // wide)
        found[number] = max(worst, found.get(number, 0.0))
    return [(left + number * wide, worst) for number, worst in sorted(found.items())]


def _day(moment):
    return moments.iso(moment)[:16].replace("T", " ")


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
