"""The history of pairs, merged from what both nodes of each remember. Pure."""

KEYS = ("run", "pair", "operation", "started", "finished", "sentence", "user", "master", "backup")
#: What an operator has said, where he has.
WORDS = ("fenced", "winner", "reason")


def merged(answers):
    """
    One entry a run, oldest first.

    answers
        By node, the records that it keeps; see ``pair.history`` of the modules.

    Returns a list of dicts as the runner's ``pair.history`` describes them.
    """
    found = {}
    for node, records in answers.items():
        for record in records:
            one = found.setdefault(record["run"], {**record, "backup": [], "locks": []})
            if record.get("finished") and not one.get("finished"):
                one.update({**record, "backup": one["backup"], "locks": one["locks"]})
            if record["backup"]:
                one["backup"].append(node)
            if record.get("lock"):
                one["locks"].append(record["lock"])
    return [_shown(found[run]) for run in sorted(found)]


def _shown(one):
    shown = {key: one.get(key) for key in KEYS}
    states = {lock["state"] for lock in one["locks"]}
    if one.get("result"):
        shown["result"] = one["result"]
    elif "held" in states and "dead" not in states:
        shown["result"] = "running"
        # Both nodes are told of a step at once; one that reboots knows an earlier one.
        lock = min(
            (one for one in one["locks"] if one["state"] == "held"),
            key=lambda lock: lock["seconds"] if lock["seconds"] is not None else float("inf"),
        )
        shown.update(step=lock["step"], seconds=lock["seconds"])
    else:
        shown["result"] = "interrupted"
    shown.update({key: one[key] for key in WORDS if one.get(key)})
    return shown
