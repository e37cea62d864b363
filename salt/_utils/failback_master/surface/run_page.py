"""A page about one run: its plan and what came of it, its time, its window, its files, its log. Pure."""

from failback.decisions import moments
from failback.decisions import plan as plans
from failback_master.surface import html
from failback_master.surface import words

KINDS = ("overwritten", "deleted", "created", "attributes")

#: Words for priorities of the system's log (syslog(3)) that stand out.
LOUD = {0: "bad", 1: "bad", 2: "bad", 3: "bad", 4: "warn"}


def page(run, config, details, errors):
    """
    The page of a run.

    run
        Its id.

    config
        The normalised pair.

    details
        By node what it has kept of the run: see ``pair.run_details`` of the modules.

    errors
        By node why it said nothing.

    Returns HTML.
    """
    records = [one["record"] for one in details.values() if one["record"]]
    # One node may have died before the end was written there.
    record = next((one for one in records if one.get("finished")), records[0] if records else {})
    title = f"{record.get('operation') or 'run'} of {config['name']}, {record.get('started') or run}"
    parts = [
        *_head(run, record, title, config["name"]),
        *_silent(errors),
        *_steps(record),
        *_window(record, config),
        *_files(details),
    ]
    return html.page(f"Failback: {title}", [*parts, *_log(details)])


def _result(record):
    return record.get("result") or "never closed"


def _mark(result):
    return "good" if result == "succeeded" else "bad"


#: The longest name of a step that fits beside its bar.
LABEL = 16


def _head(run, record, title, pair):
    result = _result(record)
    yield f"<h1>{html.text(title)}</h1>"
    badge = f'<span class="badge {_mark(result)}">{html.text(result)}</span>'
    yield f"<p>{badge} <code>{html.text(run)}</code></p>"
    if record.get("sentence"):
        yield f"<p>{html.text(record['sentence'])}</p>"
    if not record.get("result"):
        status = f"<code>salt-run pair.status {html.text(pair)}</code>"
        yield f"<p>It is still at work, or it has died: {status} says which, and what to run next.</p>"
    facts = record.get("facts") or {}
    rows = [
        ("by", " on ".join(str(record[key]) for key in ("user", "master") if record.get(key))),
        ("began", record.get("started")),
        ("ended", record.get("finished")),
        ("found", _served(facts.get("before")) or record.get("verdict")),
        ("left", _served(facts.get("after"))),
        ("the operator said", _overrides(record)),
        ("files compared", facts.get("compared")),
    ]
    known = [[html.text(name), html.text(value)] for name, value in rows if value]
    yield html.table(["", ""], known, ["time", ""])


def _overrides(record):
    said = {key: record.get(key) for key in ("winner", "fenced", "moved", "reason") if record.get(key)}
    return ", ".join(f"{key}: {value}" for key, value in said.items())


def _served(found):
    if not found:
        return None
    by = f", {found['active']} active" if found.get("active") else ""
    return f"{found.get('verdict')}{by}, generation {found.get('generation')}"


def _silent(errors):
    for node, error in sorted(errors.items()):
        yield f'<p class="warn">{html.text(node)} said nothing of this run: {html.text(error)}</p>'


def _steps(record):
    """The plan beside what came of it."""
    done = record.get("steps") or []
    # Records of an earlier release have no plan: there what was done is all that is known.
    planned = record.get("plan") or []
    yield "<h2>The plan, and what came of it</h2>"
    if not planned and not done:
        yield '<p class="dim">No step is on record.</p>'
        return
    yield _bars(done)
    # In the order in which they were done; some are done twice.
    reached = {one["step"] for one in done}
    rows = [_step(one["step"], one) for one in done]
    rows += [_step(name, None) for name in planned if name not in reached]
    yield html.table(
        ["step", "", "seconds", "what came of it"],
        rows,
        ["", "time", "number", ""],
    )


def _step(name, one):
    meaning = f'<br><span class="dim">{html.text(plans.STEPS[name])}</span>' if name in plans.STEPS else ""
    label = f"<strong>{html.text(name)}</strong>{meaning}"
    if one is None:
        return [label, '<span class="dim">not reached</span>', "", ""]
    state = {True: '<span class="good">done</span>', False: '<span class="bad">failed</span>'}
    return [
        label,
        state.get(one["result"], '<span class="dim">skipped</span>'),
        f"{one['seconds']:.2f}",
        html.text(one["comment"]),
    ]


def _bars(done):
    """All steps on one line of time, each below the other."""
    total = sum(one["seconds"] for one in done) or 1.0
    row, left, room = 20, 110, 780
    drawing = html.Drawing(row * len(done) + 34, "how long each step took, one after the other")
    at = 0.0
    for number, one in enumerate(done):
        top = 8 + row * number
        kind = {True: "good", False: "bad"}.get(one["result"], "skip")
        name = words.safe(one["step"])
        drawing.say(left - 8, top + 12, name if len(name) <= LABEL else f"{name[: LABEL - 1]}…", "end")
        start, width = left + room * at / total, room * one["seconds"] / total
        drawing.bar(start, top, width, row - 6, kind, f"{one['step']}: {one['seconds']:.2f} s")
        drawing.say(min(start + width + 6, left + room + 6), top + 12, f"{one['seconds']:.1f} s", kind="dim")
        at += one["seconds"]
    bottom = 8 + row * len(done)
    drawing.rule(left, bottom, left + room, bottom)
    drawing.say(left, bottom + 16, "0 s", kind="dim")
    drawing.say(left + room, bottom + 16, f"{total:.1f} s", "end", "dim")
    return drawing.html()


def _window(record, config):
    """The window in milliseconds, on both nodes, and who had the addresses in it."""
    window = record.get("window")
    if not window:
        return
    facts = record.get("facts") or {}
    unassigned = facts.get("window_milliseconds")
    yield "<h2>The window</h2>"
    if unassigned is not None:
        yield f"<p>No node had the addresses for <strong>{html.text(unassigned)} ms</strong>.</p>"
    taker = window.get("taker")
    nodes = sorted(window["nodes"], key=lambda node: node != taker)
    yield _holders(window, config, taker, next((one for one in nodes if one != taker), "the other node"))
    yield '<p class="dim">Each node by its own clock: only differences within one list mean anything.</p>'
    for node in nodes:
        rows = [[f"{one['milliseconds']:.3f}", html.text(one["step"])] for one in window["nodes"][node]]
        yield f"<h3>{html.text(node)}</h3>"
        yield html.table(["ms", "what"], rows, ["number", ""])


#: Of the taker's timeline: between these two no node has the addresses.
RELEASED, TAKEN = "release is asked for", "the addresses are taken and announced"


def _holders(window, config, taker, giver):
    """Who had the addresses: a line of time by the taker's clock, in milliseconds."""
    steps = {one["step"]: one["milliseconds"] for one in window["nodes"].get(taker, ())}
    if RELEASED not in steps or TAKEN not in steps:
        return '<p class="dim">Who had the addresses when is not on record.</p>'
    before, after = steps[RELEASED], steps[TAKEN]
    length = max(after - before, 0.001)
    first, last = before - length * 0.3, after + length * 0.3
    drawing = html.Drawing(
        74, f"{giver} had the addresses, then nobody for {after - before:.1f} ms, then {taker}"
    )
    scale = 960 / (last - first)
    # Each node in the colour that it has on the page of the pair.
    colours = ("first", "second") if giver == config["primary"]["id"] else ("second", "first")
    for begin, end, kind, who in (
        (first, before, colours[0], giver),
        (before, after, "none", f"nobody, {after - before:.1f} ms"),
        (after, last, colours[1], taker),
    ):
        left, width = 20 + (begin - first) * scale, (end - begin) * scale
        drawing.bar(left, 26, width, 20, kind, who)
        drawing.say(left + width / 2, 18, who, "middle")
    drawing.say(20 + (before - first) * scale, 64, f"{before:.1f} ms", "middle", "dim")
    drawing.say(20 + (after - first) * scale, 64, f"{after:.1f} ms", "middle", "dim")
    return drawing.html()


def _files(details):
    for node, one in sorted(details.items()):
        if not one["files"]:
            continue
        yield f"<h2>Files on {html.text(node)}</h2>"
        yield '<p class="dim">By the lists that are written before each pass. What was overwritten or deleted'
        yield "is in the run's backup, until it is pruned.</p>"
        yield html.table(
            ["path", "passes", *KINDS, "conflicts"],
            [
                [
                    f"<code>{html.text(path['path'])}</code>",
                    *(html.count(number) for number in (path["passes"], *map(path["counts"].get, KINDS))),
                    html.count(path["conflicts"]),
                ]
                for path in one["files"]
            ],
            ["path", *["number"] * (len(KINDS) + 2)],
        )
        for path in one["files"]:
            yield from _names(path)


def _names(path):
    if path["conflicts"]:
        kind = "conflict" if path["conflicts"] == 1 else "conflicts"
        shown = [
            f'{html.text(name)} <span class="dim">{html.text(why)}</span>'
            for name, why in sorted(path["conflict_names"].items())
        ]
        yield html.names(
            f'<span class="warn">{_number(path["conflicts"], len(shown))} {kind}</span> in '
            f"{html.text(path['path'])}: what only this node had",
            shown,
        )
    for kind in KINDS:
        shown = [html.text(name) for name in path["names"][kind]]
        if shown:
            count = _number(path["counts"][kind], len(shown))
            yield html.names(f"{count} {kind} in {html.text(path['path'])}", shown)


def _number(count, shown):
    counted = html.count(count)
    return counted if count <= shown else f"{counted} (the first {shown} named here)"


def _log(details):
    lines = sorted(
        ((line["time"], node, line) for node, one in details.items() for line in one["log"]),
        key=lambda one: one[:2],
    )
    yield "<h2>The log of both nodes</h2>"
    for node, one in sorted(details.items()):
        if one.get("log_error"):
            yield f'<p class="warn">{html.text(node)}: {html.text(one["log_error"])}</p>'
    if not lines:
        yield '<p class="dim">No line of that time is left.</p>'
        return
    yield html.table(
        ["UTC", "node", "what"],
        [
            [
                _clock(moment),
                html.text(node),
                f'<span class="{LOUD.get(line["priority"], "")}">{html.text(line["text"])}</span>',
            ]
            for moment, node, line in lines
        ],
        ["time", "", ""],
    )


def _clock(moment):
    milliseconds = round(moment * 1000)
    return f"{moments.iso(milliseconds // 1000)[11:19]}.{milliseconds % 1000:03d}"
