"""
What ``pair.status`` answers: its typed facts, the table of several pairs, the page of one. Pure.

The shape of the facts is ``docs/status.schema.json``.
"""

from failback.decisions import advice
from failback.decisions import moments
from failback.decisions import verdict as verdicts
from failback_master.surface import words

#: What lines about a node begin with, below its name.
BESIDE = " " * 9
HEADER = ("PAIR", "STATE", "ACTIVE", "SINCE", "GEN", "READY", "RUN", "NEXT")


def facts(config, found, reports, errors, here=None, seen=None):
    """
    The facts of one pair.

    config
        The normalised pair.

    found
        The ``Verdict``.

    reports
        Both nodes' reports, the primary's first; None for one that did not answer.

    errors
        Why nodes did not answer, by node.

    here
        The node of the pair on which the asking master runs, or None.

    seen
        ``{"<address> by <witness>": who answers}``, where one node does not answer; or None.

    Returns a dict of JSON types.
    """
    answered = [one for one in reports if one]
    run = advice.living(answered)
    todo = advice.next_step(config, found, run, here)
    active = next((one for one in answered if one["node"] == found.active), None)
    nodes = {}
    for role, report in zip(("primary", "secondary"), reports):
        node = config[role]["id"]
        nodes[node] = _node(role, report) if report else _silent(role, errors.get(node))
    return {
        "verdict": found.name,
        "sentence": found.sentence,
        "active": found.active,
        "since": active["ledger"]["since"] if active and active["ledger"] else None,
        "generation": found.generation,
        "ready": _ready(found),
        "drift": list(found.drift),
        "unready": list(found.unready),
        "watch_wrong": _nobody_to_ask(answered),
        "seen_by_witnesses": dict(seen or {}),
        "verified": _newest(answered, "verified"),
        "drilled": _newest(answered, "drilled"),
        "run": run,
        "pause": _longest([one["pause"] for one in nodes.values()]),
        "next": todo.text,
        "next_brief": todo.brief,
        "commands": list(todo.commands),
        "master": todo.master,
        "nodes": nodes,
    }


def _newest(reports, key):
    """What the nodes keep of the last comparison, or the last drill: the newer one; None without one."""
    known = [(report.get("readiness") or {}).get(key) for report in reports]
    found = max((one for one in known if one), key=lambda one: one["at"], default=None)
    return found and {**found, "at": moments.iso(found["at"])}


def _nobody_to_ask(reports):
    """The nodes whose watch takes nothing over because there is nobody to ask, as sentences."""
    asked = [report.get("reachable") or {} for report in reports]
    return [one.get("problem") or one["error"] for one in asked if one.get("problem") or one.get("error")]


def _ready(found):
    """Whether the node that does not serve could take over at once; None where that is not known."""
    if found.name == verdicts.NORMAL:
        return not found.uncompared and not found.unready
    return None if found.name in (verdicts.UNKNOWN, verdicts.SPLIT) else False


def _silent(role, error):
    return {"role": role, "answers": False, "error": str(error or "no answer"), "pause": None}


def _node(role, report):
    own = report["ledger"]
    return {
        "role": role,
        "answers": True,
        "error": None,
        "ledger": {
            key: own.get(key) for key in ("generation", "active", "since", "why", "run", "heard", "withdrawn")
        }
        if own
        else None,
        "ledger_error": report["ledger_error"],
        "unsaved": bool(own and own.get("unsaved")),
        "admitted": verdicts.admitted(report),
        "addresses": {
            one["name"]: {
                key: one.get(key) for key in ("address", "interface", "interface_exists", "carrier", "held")
            }
            for one in report["addresses"]
        },
        "lsyncd": {"running": report["lsyncd"]["running"]},
        "gate": report["gate"] if role == "primary" else None,
        "services": report["services"],
        "active_services": report["active_services"],
        "pause": pause_of(report.get("pause")),
        "lock": _lock(report.get("lock")),
        "fenced": report.get("fenced"),
        "fence": report.get("fence"),
        "lease": report.get("lease"),
        "asks": (report.get("reachable") or {}).get("asks"),
    }


def pause_of(found):
    """A node's pause with its end as ISO 8601; ``{"error": why}`` for one that cannot be read; or None."""
    if not found or "until" not in found:
        return {"error": found["error"]} if found else None
    return {
        "until": moments.iso(found["until"]),
        "reason": found.get("reason"),
        "user": found.get("user"),
        "run": found.get("run"),
    }


def _lock(found):
    if not found or "run" not in found:
        return {"error": found["error"]} if found else None
    owner = found.get("owner") or {}
    return {
        "run": found["run"],
        "state": found["state"],
        "user": owner.get("user"),
        "master": owner.get("master"),
        "expires": moments.iso(found["expires"]),
    }


def _longest(pauses):
    found = [one for one in pauses if one and one.get("until")]
    return max(found, key=lambda one: one["until"], default=None)


def is_good(shown):
    """Whether the exit status is 0: normal, and nothing is wrong."""
    return shown["verdict"] == verdicts.NORMAL and not wrong(shown)


def wrong(shown):
    """All that is wrong although the verdict is clear, as sentences."""
    return [*shown["drift"], *shown["watch_wrong"], *shown.get("guests_wrong", ())]


# --- several pairs ----------------------------------------------------------------------------------


def table(pairs, now, width=None):
    """
    A line a pair, and below it what is wrong, in a few words each.

    pairs
        The facts by pair.

    now
        Seconds since the epoch.

    width
        Columns of the terminal, or None.
    """
    text = words.table(HEADER, [_row(pair, one, now) for pair, one in sorted(pairs.items())], width)
    sentences = [f"{pair}: {sentence}" for pair, one in sorted(pairs.items()) for sentence in wrong(one)]
    # What is wrong with many pairs at once has one cause; the pages have the rest.
    text += [words.cut(words.safe(one), width or 1000) for one in sentences[:3]]
    if len(sentences) > 3:
        text.append(f"{len(sentences) - 3} more: salt-run pair.status <pair>")
    return text


def _row(pair, one, now):
    since = moments.epoch(one["since"])
    pause = moments.epoch((one["pause"] or {}).get("until"))
    state = one["verdict"] + ("*" if wrong(one) else "")
    run = one["run"]
    doing = ""
    if run:
        doing = f"{run['operation']} {run['step'] or ''} {words.duration(run['seconds'] or 0)}"
    elif pause:
        doing = f"paused until {words.clock(pause, now)}"
    return (
        pair,
        state,
        one["active"] or "-",
        words.clock(since, now) if since else "-",
        "-" if one["generation"] is None else str(one["generation"]),
        {True: "yes", False: "no", None: "?"}[one["ready"]],
        doing,
        one["next_brief"],
    )


# --- one pair ---------------------------------------------------------------------------------------


def page(pair, one, now, width):
    """All that a person needs of one pair, what counts first."""
    state = words.safe(one["verdict"])
    # A pair that is normal and could not fail over is not what somebody reads who reads one line.
    state += ", but not ready" if one["verdict"] == "normal" and one["ready"] is False else ""
    text = [f"{pair} is {state}"]
    text += words.paragraph(one["sentence"], width, "  ")
    if one["run"] and one["next"]:
        text += ["", *words.paragraph(one["next"], width)]
    elif one["next"]:
        text += ["", *_next(one, width)]
    titles = {"drift": "Wrong:", "watch_wrong": "Wrong with the watch:", "guests_wrong": "Wrong with guests:"}
    for key, title in titles.items():
        if one.get(key):
            text += ["", title, *(line for each in one[key] for line in words.paragraph(each, width, "  "))]
    for place, macs in sorted(one["seen_by_witnesses"].items()):
        text += words.paragraph(f"{place}: {macs}", width)
    pause = one["pause"]
    if pause and not pause["run"]:
        text += ["", paused(pause, now)]
    text += [line for sentence in _proved(one, now) for line in ["", *words.paragraph(sentence, width)]]
    for node, facts_of_it in one["nodes"].items():
        text += ["", *_of_node(node, facts_of_it, width)]
    for guest, where in sorted((one.get("guests") or {}).items()):
        text += words.paragraph(f"guest {guest}: {where}", width)
    return text


def _proved(one, now):
    """When both nodes were compared last, and a takeover was tried, with what came of it."""
    compared, drill = one.get("verified"), one.get("drilled")
    if compared:
        differ = words.plural(compared["differing"], "file") + " differed" if compared["differing"] else None
        yield (
            f"verified {words.duration(now - moments.epoch(compared['at']))} ago: "
            f"{differ or 'both nodes had the same files'} ({compared['files']} compared by checksum)"
        )
    if drill:
        windows = ", ".join(f"{what} {ms:.0f} ms" for what, ms in sorted(drill["windows"].items()))
        yield f"drilled {words.duration(now - moments.epoch(drill['at']))} ago: {windows} without service"


def _next(one, width):
    if one["commands"] and one["next"].endswith("'") and "Start " not in one["next"]:
        where = f", on the master of {one['master']}" if one["master"] else ""
        return [f"Next{where}:", *(f"    {words.safe(command)}" for command in one["commands"])]
    return words.paragraph(f"Next: {one['next']}", width)


def paused(pause, now):
    """``paused until 13:51 by root: switch maintenance``"""
    until = moments.epoch(pause["until"])
    by = f" by {pause['user']}" if pause.get("user") else ""
    return words.safe(f"paused until {words.clock(until, now)}{by}: {pause['reason']}")


def _of_node(node, one, width):
    head = f"{node:<8} {one['role']}"
    if not one["answers"]:
        return words.paragraph(f"{head}: {one['error']}", width, hanging=BESIDE)
    own = one["ledger"]
    parts = [
        one["ledger_error"]
        or (
            f"generation {own['generation']}: {own['active']} active since {own['since']} ({own['why']})"
            f"{_claim(own)}"
            if own
            else "no ledger"
        ),
        "admitted in this boot" if one["admitted"] else "not admitted since it booted",
    ]
    parts += ["what it alone has is in no backup"] if one["unsaved"] else []
    text = words.paragraph(f"{head}: {'; '.join(parts)}", width, hanging=BESIDE)
    details = [f"{name} {each['address']} {_address(each)}" for name, each in one["addresses"].items()]
    details.append("lsyncd runs" if one["lsyncd"]["running"] else "lsyncd is stopped")
    details += [f"{name} {state}" for name, state in {**one["services"], **one["active_services"]}.items()]
    text += words.paragraph(", ".join(details), width, BESIDE)
    if one["gate"]:
        text += words.paragraph(f"gate closed: {one['gate']}", width, BESIDE)
    for key in ("pause", "lock"):
        if one[key] and one[key].get("error"):
            text += words.paragraph(f"{key}: {one[key]['error']}", width, BESIDE)
    if one["lock"] and one["lock"].get("run"):
        text += words.paragraph(
            f"lock of run {one['lock']['run']}, {one['lock']['state']}", width, "         "
        )
    for sentence in _about_taking_over(one):
        text += words.paragraph(sentence, width, BESIDE)
    return text


def _claim(own):
    """What a claim of the watch has come to, where nobody has heard it."""
    if own["heard"] is not False:
        return ""
    return ", withdrawn: nobody heard it" if own["withdrawn"] else ", heard by nobody since"


def _about_taking_over(one):
    """Whom the node asks first, what switches the other one off, and whether that one is said to be off."""
    if one["asks"] is not None:
        yield f"asks before a takeover: {', '.join(one['asks']) or 'there is none'}"
    fence, fenced = one["fence"], one["fenced"]
    if fence:
        yield fence.get("error") or f"{fence['agent']}: {fence['sentence']}"
    if fenced:
        yield fenced.get("error") or f"declares {fenced.get('node')} off: {fenced.get('reason')}"


def _address(one):
    if not one["interface_exists"]:
        return f"no interface {one['interface']}"
    return "held" if one["held"] else "not held"
