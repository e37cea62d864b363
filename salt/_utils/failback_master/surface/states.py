"""
What an orchestration has come to, from the states that Salt returns of it; and the lines that say so. Pure.

Salt's own outputter prints ten lines a state, and after a refusal one "requisite failed" for every state that
followed. Here a refusal is printed once, a run that succeeded as what it has brought about.
"""

from failback_master.surface import words

#: What Salt says of a state that was not run because another one failed.
NOT_RUN = "One or more requisite failed"
#: How comments begin of steps that the plan does not have; nobody needs to read those.
IDLE = ("Not needed", "No run was opened", "The virtual machines are left alone")
#: At most so many names of conflicts, and so many pairs of steps and seconds, in what is printed.
NAMES = 3

ACTIONS = ("overwritten", "deleted", "created", "attributes")


def in_order(data):
    """
    The states of an orchestration, in their order.

    data
        What ``state.orch`` returns: by the master's id, or wrapped in ``data``; a list of sentences when an
        SLS could not be rendered.

    Returns a list of dicts with ``id``, ``result``, ``comment``, ``changes``.
    """
    found = data
    while isinstance(found, dict) and found:
        values = [one for one in found.values() if isinstance(one, dict)]
        if values and all("result" in one and "__run_num__" in one for one in values):
            return [
                {
                    "id": one.get("__id__", key),
                    "result": one["result"],
                    "comment": str(one.get("comment", "")),
                    "changes": one.get("changes") or {},
                }
                for key, one in sorted(found.items(), key=lambda item: item[1]["__run_num__"])
            ]
        found = found.get("data") or next((one for key, one in found.items() if key != "retcode"), None)
    return [
        {"id": "", "result": False, "comment": str(one), "changes": {}}
        for one in (found if isinstance(found, list) else [found] if found else [])
    ]


def outcome(states):
    """
    What came of an orchestration.

    states
        As of ``in_order``.

    Returns a dict of JSON types: ``result`` (True, False, or None for what a test would do), ``sentence``,
    ``refused`` (whether nothing was changed), ``failed_step`` (its id, or None), ``steps`` (those that did
    something, or would, each ``{"step", "result", "comment"}``), ``pairs`` (of an orchestration of several,
    by name) and ``summary`` (what the run itself says at its close, see
    ``failback_master.orchestration.Run.facts``).
    """
    ran = [one for one in states if NOT_RUN not in one["comment"]]
    # The close says where a run was interrupted, and who serves.
    ran = [one for one in ran if one["comment"] != words.INTERRUPTED]
    failed = [one for one in ran if one["result"] is False]
    said = [one for one in ran if not one["comment"].startswith(IDLE)]
    told = failed[:1] + failed[-1:] if failed else said[-1:]
    pairs, summary = {}, {}
    for one in ran:
        if one["changes"] and all(
            isinstance(each, dict) and "seconds" in each for each in one["changes"].values()
        ):
            pairs = one["changes"]
        if "seconds" in one["changes"] and "run" in one["changes"]:
            summary = one["changes"]
    would = [one for one in ran if one["result"] is None]
    if would and not failed:
        told = would[:1]
    first = failed[0]["comment"] if failed else ""
    return {
        "result": False if failed else None if would else True,
        "sentence": " ".join(dict.fromkeys(one["comment"] for one in told)),
        "refused": first.startswith(("Refused", "Interrupted before"))
        or (len(ran) == len(failed) == 1 and not pairs),
        "failed_step": failed[0]["id"] if failed else None,
        "steps": [{"step": one["id"], "result": one["result"], "comment": one["comment"]} for one in said],
        "pairs": pairs,
        "summary": summary,
    }


def lines(found, width, with_steps):
    """
    An outcome as lines.

    found
        As ``outcome`` returns it.

    width
        Columns, or None.

    with_steps
        Whether the steps are to be listed, because nobody has seen them while they ran.
    """
    if found["refused"]:
        return words.paragraph(found["sentence"], width)
    text = []
    if found["pairs"]:
        rows = [
            (pair, {True: "done", False: "FAILED", None: "would"}[one["result"]], f"{one['seconds']} s")
            for pair, one in sorted(found["pairs"].items())
        ]
        text += words.table(("PAIR", "RESULT", "TOOK"), rows)
        for pair, one in sorted(found["pairs"].items()):
            text += words.paragraph(f"{pair}: {one['comment']}", width)
    elif found["result"] is None:
        for one in found["steps"]:
            text += words.paragraph(one["comment"], width, "  ")
        return text
    elif with_steps and not found["sentence"].startswith("Interrupted"):
        for one in found["steps"][:-1]:
            said = f"FAILED {one['step']}: " if one["result"] is False else "done   "
            text += words.paragraph(f"{said}{one['comment']}", width, hanging=" " * 7)
    if found["summary"] and found["result"]:
        text += summary(found["summary"], found["sentence"], width)
    elif found["sentence"]:
        text += words.paragraph(found["sentence"], width)
    return text


def summary(facts, sentence, width):
    """What a run that has succeeded brought about, in at most 25 lines."""
    found = []
    for key in ("before", "after"):
        if facts.get(key):
            one = facts[key]
            serves = f"{one['active']} serves" if one["active"] else "no node serves"
            found.append((key, f"{one['verdict']}, {serves}, generation {one['generation']}"))
    if facts.get("window_milliseconds") is not None:
        found.append(("window", f"{facts['window_milliseconds']} ms without service"))
    whole = facts.get("compared_as_a_whole") or {}
    for path, why in list(whole.items())[:NAMES]:
        found.append(("", f"{path} was compared as a whole in it, because {why}"))
    counts = facts.get("files") or {}
    if any(counts.values()):
        found.append(("files", ", ".join(f"{counts[key]} {key}" for key in ACTIONS if counts.get(key))))
    if facts.get("compared") is not None:
        found.append(("compared", f"{words.plural(facts['compared'], 'file')}, the same on both nodes"))
    if counts.get("overwritten") or counts.get("deleted"):
        found.append(("undo", f"salt-run pair.undo {facts['run']} takes back all of it"))
    found += _conflicts(facts)
    slow = sorted(facts["seconds"].items(), key=lambda one: -one[1])[:NAMES]
    took = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in slow)
    found.append(("took", f"{sum(facts['seconds'].values()):.0f} s; longest: {took}"))
    text = [f"{key:<9} {words.safe(value)}" for key, value in found]
    return text + words.paragraph(sentence, width)


def _conflicts(facts):
    missed = facts.get("conflicts") or {}
    if not missed.get("count"):
        return []
    names = missed["names"][:NAMES]
    more = f" and {missed['count'] - len(names)} more" if missed["count"] > len(names) else ""
    return [
        ("conflicts", f"{missed['count']}: {', '.join(names)}{more}"),
        (
            "",
            f"their other version is in the backup on {missed['node']}. To see all; to bring them back:",
        ),
        ("", f"salt-run pair.undo {facts['run']} conflicts=True test=True"),
        ("", f"salt-run pair.undo {facts['run']} conflicts=True"),
    ]
