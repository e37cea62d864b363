"""What the figures look like: a table on the terminal, JSON, docs/benchmarks.md and its plots."""

import html
import json
import statistics

#: What each does not do: first the headings, then one line each.
LACKS = (
    ("", "data", "keeps what it overwrites", "who has the newer data", "who holds the address", "way back"),
    ("Failback", "syncs them", "yes", "proved", "proved from outside", "yes"),
    (
        "keepalived",
        "no",
        "–",
        "not asked",
        "not proved: a killed daemon leaves it where it is, and both hold it",
        "the other node takes over",
    ),
    ("pacemaker with IPaddr2", "no", "–", "not asked", "made sure by fencing, where there is any", "yes"),
    (
        "script over ssh",
        "syncs them before the release: what is written meanwhile is lost",
        "no",
        "not asked",
        "not asked",
        "no",
    ),
)


def summary(row):
    """A dict of what the row says: medians with minimum and maximum, ratios to the others, the goal."""
    figures = {
        what: {
            "median": statistics.median(found),
            "minimum": min(found),
            "maximum": max(found),
            "runs": len(found),
        }
        for what, found in row.values.items()
        if found
    }
    ours = figures.get(row.ours, {}).get("median")
    others = row.against or tuple(what for what in figures if not what.startswith(row.ours))
    ratios = {
        what: ours / figures[what]["median"]
        for what in others
        if ours is not None and figures.get(what, {}).get("median")
    }
    met = row.met(row) if row.met else None
    return {
        "title": row.title,
        "unit": row.unit,
        "figures": figures,
        "ratio": ratios,
        "goal": row.goal,
        "met": met,
        "notes": row.notes,
    }


def number(value):
    """Three significant digits, for people."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def text(found):
    """One summary for the terminal."""
    lines = [f"{found['title']}  [{found['unit']}]"]
    for what, each in found["figures"].items():
        ratio = found["ratio"].get(what)
        lines.append(
            f"    {what:42} {number(each['median']):>9}   ({number(each['minimum'])} to "
            f"{number(each['maximum'])}, {each['runs']} runs)"
            + (f"   ours is {number(ratio)} × that" if ratio is not None else "")
        )
    if found["goal"]:
        lines.append(f"    goal: {found['goal']}: {_verdict(found['met'])}")
    lines += [f"    {note}" for note in found["notes"]]
    return "\n".join(lines)


def _verdict(met):
    return {True: "reached", False: "NOT reached", None: "not judged"}[met]


def page(found, about, missing=()):
    """docs/benchmarks.md; ``missing`` are the names of the rows that nobody has measured yet."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`, which measures Failback and what people use instead side by side on one "
        "machine. Medians, with minimum and maximum. No test asserts a time.",
        "",
        about,
        "",
        "Time without an answer: ICMP echo each 0.2 ms from a third host, forwarding off, lost probes × "
        "interval (1 ms in the crash rows). Who held the address when: `ip -ts monitor address` on both "
        "nodes, which share the machine's clock; `ip` stamps a notice when it reads it, which on a busy "
        "machine is milliseconds late.",
        "",
        *missed(missing),
        "What the others do not do:",
        "",
        *table(LACKS),
        "",
    ]
    for position, each in enumerate(found):
        lines += [f"## {each['title']}", "", f"![](benchmarks/{position:02d}.svg)", ""]
        if each.get("measured"):
            lines += [f"Begun {each['measured']}.", ""]
        cells = [("", f"median [{each['unit']}]", "minimum", "maximum", "runs", "ours is × that")]
        for what, figure in each["figures"].items():
            ratio = each["ratio"].get(what)
            shown = [number(figure[key]) for key in ("median", "minimum", "maximum")]
            cells.append((what, *shown, str(figure["runs"]), "" if ratio is None else number(ratio)))
        lines += [*table(cells), ""]
        if each["goal"]:
            lines += [f"Goal: {each['goal']}. **{_verdict(each['met']).capitalize()}.**", ""]
        lines += [f"- {note}" for note in each["notes"]] + ([""] if each["notes"] else [])
    return "\n".join(lines).rstrip() + "\n"


def missed(names):
    """The lines that say which rows are not there."""
    if not names:
        return []
    named = ", ".join(f"`{name}`" for name in names)
    return [f"**Not measured to their end yet, and so not here:** {named} (`make bench ROWS=…`).", ""]


def table(rows):
    """The lines of a table in Markdown; the first row is its head."""
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return [head, "|---" * len(rows[0]) + "|", *body]


def plot(found, width=720, bar=26, left=290):
    """An SVG of one row: a bar for each median, a line from minimum to maximum."""
    figures = list(found["figures"].items())
    top = max((each["maximum"] for _, each in figures), default=0) or 1
    room = width - left - 90
    height = 34 + bar * len(figures)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="8" y="18" fill="#444">{html.escape(found["unit"])}</text>',
    ]
    for position, (what, each) in enumerate(figures):
        y = 28 + position * bar
        length, low, high = (room * each[key] / top for key in ("median", "minimum", "maximum"))
        colour = "#2a6fb0" if what.startswith("Failback") else "#b8b8b8"
        parts += [
            f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{html.escape(what)}</text>',
            f'<rect x="{left}" y="{y + 3}" width="{max(length, 1):.1f}" height="{bar - 10}" '
            f'fill="{colour}"/>',
            f'<line x1="{left + low:.1f}" x2="{left + high:.1f}" y1="{y + 11}" y2="{y + 11}" '
            f'stroke="black"/>',
            f'<text x="{left + high + 8:.1f}" y="{y + 15}">{number(each["median"])}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def write(found, about, folder, missing=()):
    """benchmarks.json, benchmarks.md and the plots, below a folder; see :py:func:`page`."""
    (folder / "benchmarks").mkdir(parents=True, exist_ok=True)
    (folder / "benchmarks.json").write_text(json.dumps({"about": about, "rows": found}, indent=1) + "\n")
    (folder / "benchmarks.md").write_text(page(found, about, missing))
    for position, each in enumerate(found):
        (folder / "benchmarks" / f"{position:02d}.svg").write_text(plot(each))
