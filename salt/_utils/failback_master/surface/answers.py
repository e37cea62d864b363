"""The answers of the runner ``pair`` as lines: of which kind each is, and how it is printed. Pure."""

import json

from failback.decisions import moments
from failback_master.surface import pairs
from failback_master.surface import states
from failback_master.surface import words

HISTORY = ("WHEN", "PAIR", "WHAT", "RESULT", "BY", "ID")


def lines(data, width, now, with_steps=True):
    """
    An answer as lines.

    data
        What a function of the runner has returned, or what ``state.orch`` has of one of this tree's
        orchestrations.

    width
        Columns of the terminal; None for a file or a pipe, in which nothing is broken or cut.

    now
        Seconds since the epoch.

    with_steps
        As for ``states.lines``.
    """
    if not isinstance(data, dict):
        return words.paragraph(data, width)
    if data.get("outputter") == "highstate":
        return states.lines(states.outcome(states.in_order(data)), width, with_steps)
    if "error" in data:
        return words.paragraph(data["error"], width)
    if "file" in data:
        # A text to be kept: as it is, and on no other line.
        return str(data["file"]).rstrip("\n").split("\n")
    if "comment" in data:
        return words.paragraph(data["comment"], width)
    if isinstance(data.get("pairs"), dict) and "failed_step" not in data:
        return _status(data, width, now)
    if isinstance(data.get("runs"), list):
        return history(data, now, width)
    if "failed_step" in data:
        return states.lines(data, width, with_steps)
    return _nested({key: one for key, one in data.items() if key != "retcode"}, width)


def _status(data, width, now):
    found = data["pairs"]
    if len(found) == 1:
        text = [line for pair, one in found.items() for line in pairs.page(pair, one, now, width)]
    else:
        text = pairs.table(found, now, width)
    # Only where it was asked for: what is drawn again and again has its lines for other things.
    return [*text, f"Failback {data['version']}"] if "version" in data else text


def history(data, now, width=None):
    """
    A line a run, and below it its sentence where it did not succeed.

    data
        ``runs``, a list of dicts; ``no answer``, a list of sentences.
    """
    rows = []
    for one in data["runs"]:
        began = moments.epoch(one["started"])
        result = one["result"]
        if one.get("step"):
            result = f"{result}: {one['step']} {words.duration(one['seconds'] or 0)}"
        rows.append(
            (
                words.clock(began, now) if began else "-",
                one["pair"],
                one["operation"] or "-",
                result,
                one["user"] or "-",
                one["run"],
            )
        )
    head, *table = words.table(HISTORY, rows) if rows else ["No run is remembered."]
    text = [head]
    for line, one in zip(table, data["runs"]):
        text.append(line)
        # An operator's reason, and why it did not succeed; or why a node took over.
        told = ("reason",) if one["result"] in ("succeeded", "running") else ("reason", "sentence")
        why = [one[key] for key in told if one.get(key)]
        if why:
            text.append(words.cut(f"    {words.safe(' '.join(why))}", width or 1000))
    return text + [words.safe(one) for one in data.get("no answer", ())]


def _nested(found, width, indent=""):
    """Anything else: keys in the order in which they were said, lists a line each."""
    text = []
    for key, one in found.items():
        label = f"{indent}{words.safe(key)}:"
        if isinstance(one, dict) and one:
            text += [label, *_nested(one, width, indent + "  ")]
        elif isinstance(one, list) and one:
            text.append(label)
            for each in one:
                plain = each if isinstance(each, str) else json.dumps(each, ensure_ascii=False)
                text += words.paragraph(plain, width, indent + "  ")
        elif str(one).startswith(words.COMMAND):
            text.append(f"{label} {words.safe(one)}")
        else:
            plain = one if isinstance(one, str) else json.dumps(one)
            text += words.paragraph(f"{words.safe(key)}: {plain}", width, indent)
    return text
