"""
Whether the data of a node lie where they did, and what is said when they do not.

A path that is not mounted looks like an empty folder, and a sync from there would delete everything on
the other side. Pure: :py:mod:`failback.replication.sources` finds the facts, this judges them. No sentence
means yes; each says what was found, why that is dangerous, and which command to run next.
"""

from failback.decisions import mounts


def source_problems(now, recorded=None, files_here=None, pair="PAIR"):
    """
    Judge what the serving node says about its paths.

    now
        What :py:func:`failback.replication.sources.facts` returned on the serving node.

    recorded
        What it returned when that node was last known to be well, or ``None``.

    files_here
        Dict of path to the number of files on this node, where known: an empty source is only a
        problem if something here would be lost.

    Returns a list of sentences.
    """
    recorded = recorded or {}
    problems = []
    for path, fact in sorted(now.items()):
        before = recorded.get(path)
        if not fact["exists"]:
            problems.append(
                f"{path} does not exist on the serving node. Syncing it would delete it here. "
                f"Put it back or mount it there, then run: salt-run pair.plan {pair}"
            )
            continue
        if fact["empty"] and (files_here is None or files_here.get(path, 1)):
            problems.append(
                f"{path} is empty on the serving node, and not here. Syncing it would delete all "
                "of it here. Mount or fill it there (or empty it here, if that is what is meant), "
                f"then run: salt-run pair.plan {pair}"
            )
        what = before and _elsewhere(before, fact)
        if what:
            problems.append(
                f"{path} on the serving node {what}. What is there may not be the data that was served. "
                f"{_mount_or_record(pair)}"
            )
    return problems


def misplaced(now, recorded):
    """
    This node's own paths that lie on another file system than they did: what is there is something else.

    now, recorded
        As for :py:func:`own_source_problems`.

    Returns a dict of path to what is wrong, the predicate of a sentence.
    """
    found = {path: _elsewhere(before, now[path]) for path, before in (recorded or {}).items() if path in now}
    return {path: what for path, what in found.items() if what}


def _elsewhere(before, fact):
    """What is wrong with the place of a path, or None. One that was not there had no place."""
    was, mount = before["file_system"], fact["file_system"]
    if not before["exists"] or not was:
        return None
    if not _same_file_system(was, mount):
        return f"lies on {_named(mount)}, and used to lie on {_named(was)}"
    for one in mounts.recorded(before):
        if not any(_same_file_system(one, other) for other in fact.get("below") or []):
            return f"lacks {_named(one)}, which used to be mounted below it"
    return None


def _same_file_system(was, mount):
    """By its UUID where both have one: a kernel may give the same disk another name after a reboot."""
    if not mount:
        return False
    identity = "uuid" if was.get("uuid") and mount.get("uuid") else "source"
    return all(was[key] == mount[key] for key in ("mount", "type", "root", identity))


def kept(recorded, now):
    """
    What to remember of paths, where something is remembered already: what lies elsewhere now is no news,
    until an operator says that it was moved.

    recorded
        As for :py:func:`own_source_problems`.

    now
        What :py:func:`failback.replication.sources.facts` returns on the same node now.
    """
    elsewhere = misplaced(now, recorded)
    return {path: recorded[path] if path in elsewhere else fact for path, fact in now.items()}


def _mount_or_record(pair):
    return (
        f"Mount the right file system there, or unmount what covers it; or if the move was meant, record it: "
        f"salt-run state.orch orch.adopt pillar='{{pair: {pair}, moved: true}}'"
    )


def misplaced_sentence(node, found, pair="PAIR", otherwise=None):
    """
    What is said of paths that :py:func:`misplaced` has found on a node.

    found
        Also ``{"error": sentence}``: what is recorded of them cannot be read.

    otherwise
        What to do if the move was meant, in place of having it recorded on both nodes.
    """
    if "error" in found:
        return f"{node}: {found['error']}"
    told = "; ".join(f"{path} on {node} {what}" for path, what in sorted(found.items()))
    if otherwise:
        return f"{told}. Mount the right file system there, or unmount what covers it; {otherwise}"
    return f"{told}. {_mount_or_record(pair)}"


LSYNCD_WOULD = "lsyncd would delete on the other node what is missing here"
FINAL_SYNC_WOULD = "the final sync would delete on the other node what is missing here"


def own_source_problems(now, recorded, pair="PAIR", danger=LSYNCD_WOULD):
    """
    Judge this node's own paths before they are carried to the other node.

    now, recorded
        What :py:func:`failback.replication.sources.facts` returns on this node now, and when the pair was
        last known to be well (or ``None``: nothing to compare with).

    danger
        What would happen otherwise.

    Returns a list of sentences.
    """
    problems = []
    elsewhere = misplaced(now, recorded)
    for path, before in sorted((recorded or {}).items()):
        fact = now.get(path)
        if fact is None or not before["exists"]:
            continue
        if not fact["exists"]:
            found = "does not exist any more"
        elif fact["empty"] and not before["empty"]:
            found = "is empty, and was not"
        elif path in elsewhere:
            found = elsewhere[path]
        else:
            continue
        problems.append(
            f"{path} on this node {found}: {danger}. Mount "
            f"or fill it; or if that is what is meant, record it: salt-run state.orch orch.adopt "
            f"pillar='{{pair: {pair}, moved: true}}'"
        )
    return problems


def _named(file_system):
    if not file_system:
        return "no known file system"
    sub = "" if file_system["root"] == "/" else f", folder {file_system['root']}"
    return f"{file_system['source']} ({file_system['type']}, at {file_system['mount']}{sub})"
