"""
What looked after a pair before Failback: whether it can be adopted beside that, and what is replaced. Pure.

Two programs that each believe an address to be theirs are two holders, and an lsyncd that knows no gate
deletes what is newer. So a *new* pair is not adopted while one of these is at work; of a pair that has its
ledgers already, the same is said and nothing is refused: its keys must be repairable at night.
"""

from __future__ import annotations

from failback.decisions import commands
from failback.decisions import scripts

#: What systemd says of a unit that the next boot starts, and of one that runs.
STARTS = ("enabled", "enabled-runtime", "generated")
RUNS = ("active", "activating", "reloading")
#: Where the steps are.
PAGE = "docs/migrate.md has the steps"

#: What makes a unit part of which product.
PRODUCTS = {"keepalived": "keepalived", "pacemaker": "Pacemaker", "corosync": "Pacemaker"}


def at_work(unit):
    """Whether a unit, as ``{"active", "enabled"}``, runs or will at the next boot."""
    return bool(unit) and (unit["active"] in RUNS or unit["enabled"] in STARTS)


def _rivals(config, facts):
    """What would take an address or carry files beside Failback, as ``(what, remedy)``."""
    for one in facts["set_up"]:
        yield (
            f"{one['file']}, line {one['line']} ({one['by']}), gives {one['interface'] or 'an interface'} "
            f"{one['address']}: a node that boots would take it, whoever has it then",
            "Remove it from that file and leave the interface up: the address stays until somebody stops it",
        )
    keepalived = facts["units"].get("keepalived")
    for one in facts["keepalived"]:
        if at_work(keepalived):
            yield (
                f"keepalived has {one['address']} as its own (instance {one['instance']}, {one['file']}, "
                f"line {one['line']}), and would move it without looking at the data",
                "End keepalived on the standby first",
            )
    if any(at_work(facts["units"].get(one)) for one in ("pacemaker", "corosync")):
        for one in facts["cluster"]:
            yield (
                f"Pacemaker runs {one['address'] or one['unit']} as its resource {one['id']} "
                f"({one['agent']}), and would move or stop it without looking at the data",
                "Set maintenance-mode, then stop and disable pacemaker and corosync on both nodes",
            )
    for one in _at_work(facts):
        does = {
            scripts.TAKES: f"takes {one['what']} and asks nobody who has the newer data",
            scripts.STARTS_LSYNCD: "starts lsyncd past the gate, and its first pass deletes what is newer",
            scripts.CARRIES: f"carries {one['what']} between the nodes, in a direction that nobody checks",
        }
        yield (
            f"{_place(one)} {does[one['does']]}",
            f"Comment the line in {one['file']} out"
            if one["by"] == "cron"
            else f"Disable {one['file'].rpartition('/')[2]}",
        )
    yield from _lsyncd(config, facts)


def _at_work(facts):
    """The lines of scripts that do something for the pair, and that something starts."""
    return [one for one in facts["programs"] if one["does"] != scripts.MENTIONS and not one["off"]]


def _place(one):
    """Where a line of cron, of a unit or of a script that these call stands."""
    if one["script"]:
        return f"{one['script']}, line {one['line']}, which {one['file']} starts ({one['by']}),"
    return f"{one['file']}, line {one['line']} ({one['by']}),"


def _lsyncd(config, facts):
    secondary = facts["node"] == config["secondary"]["id"]
    for one in facts["lsyncd"]:
        if secondary:
            yield (
                f"lsyncd runs there (process {one['pid']}, {one['unit'] or 'no unit'}): a new pair begins "
                f"with the data of its primary, and this one may carry those of {facts['node']} over them",
                "Make sure that the primary has all that is to be kept, and stop it",
            )
        elif one["unit"] != "lsyncd.service":
            yield (
                f"lsyncd runs as process {one['pid']}, not as lsyncd.service ({one['unit'] or 'no unit'}), "
                f"so nothing here would stop it, and two of them would carry the same files",
                "Stop it",
            )


def harmless_problem(harmless):
    """Why this cannot be the ``harmless`` of an adoption, a sentence; or None."""
    if harmless is None:
        return None
    if isinstance(harmless, list) and all(isinstance(one, str) and one.startswith("/") for one in harmless):
        return None
    return (
        f"harmless must be a list of scripts, each as an absolute path, not {harmless!r}. Such as: "
        "pillar='{pair: web, harmless: [/usr/local/sbin/check-lsyncd]}'"
    )


def without(facts, harmless):
    """The facts of a node without what is only guessed of these scripts."""
    kept = [one for one in facts["programs"] if (one["script"] or one["file"]) not in harmless]
    return {**facts, "programs": kept}


def refusal(config, reports):
    """
    Why a pair cannot be adopted beside what is there, or None.

    config
        The normalised pair.

    reports
        Of both nodes, what ``failback.predecessors.looks.facts`` returns.
    """
    if all(one["begun"] for one in reports):
        return None
    found = [(facts["node"], what, remedy) for facts in reports for what, remedy in _rivals(config, facts)]
    if not found:
        return None
    said = " ".join(f"On {node}: {what}. {remedy}." for node, what, remedy in found)
    again = commands.command("adopt", config["name"], {})
    scripts_of = sorted({one["script"] or one["file"] for facts in reports for one in _at_work(facts)})
    if scripts_of:
        known = commands.command("adopt", config["name"], {"harmless": scripts_of})
        said += f" What a script does is guessed from its words. If it only looks like that: {known}"
    return f"Refused, nothing was changed. {said} The service can go on meanwhile: {PAGE}. Then: {again}"


def notes(config, reports):
    """
    What the adoption replaces, and what stays beside it, as sentences.

    config, reports
        As for :func:`refusal`.
    """
    said = []
    for facts in reports:
        node = facts["node"]
        for one in facts["replaced"]:
            said.append(
                f"{node}: {one['file']} is replaced ({one['what']}). A copy is kept as {one['kept']}."
            )
        for unit in facts["enabled"]:
            said.append(f"{node}: {unit} will not start at boot any more. It goes on running.")
        if all(one["begun"] for one in reports):
            said += [
                f"{node}: {what}. {remedy}. {PAGE[0].upper()}{PAGE[1:]}."
                for what, remedy in _rivals(config, facts)
            ]
        said += [f"{node}: {sentence}" for sentence in _beside(facts)]
    return said


def _beside(facts):
    """What has to do with the pair and stops nothing."""
    for one in facts["programs"]:
        if one["does"] == scripts.MENTIONS:
            yield f"{_place(one)} names {one['what']}. Look whether it takes the address."
        elif one["off"]:
            yield f"{_place(one)} is for the pair and is off. Delete it, so that nobody enables it."
    if facts["keepalived"] and not at_work(facts["units"].get("keepalived")):
        file = facts["keepalived"][0]["file"]
        yield f"keepalived is off, and {file} still has the pair's address. Remove it there."
    if facts["cluster"] and not any(at_work(facts["units"].get(one)) for one in ("pacemaker", "corosync")):
        yield "Pacemaker is off, and still has the pair's resources. Delete them before it is started again."
    for one in facts["unread"]:
        yield f"{one} Look there yourself."
