"""
Whether a sync may begin: limits on deletions and changes, sources that are really there, room for
the backup.

Everything here is pure: it gets facts and returns sentences. No sentence means yes; each sentence
says what was found, why that is dangerous, and which command to run next.
"""

import json
import shlex

ALWAYS_ALLOWED = 20
"""Up to this number of overwritten and deleted files the percentage is not looked at: in a folder
of eight files three changes are everyday life. They are in the backup like any others."""

RESERVE = 0.05
"""Share of a file system that must remain free after a sync."""


def _plan(pair, operation, words=None):
    winner = (words or {}).get("winner")
    return (
        f"salt-run pair.plan {pair}"
        + ("" if operation == "recover" else f" operation={operation}")
        + (f" winner={winner}" if winner else "")
    )


def command(operation, pair, words):
    """
    How an orchestration is typed: quoted for YAML, and that for the shell.

    words
        Dict of what its pillar has beside the pair.
    """
    pillar = ", ".join(f"{key}: {_yaml(key, word)}" for key, word in {"pair": pair, **words}.items())
    return f"salt-run state.orch orch.{operation} pillar={shlex.quote('{' + pillar + '}')}"


def _yaml(key, word):
    if key not in ("plan", "reason") and not isinstance(word, bool):
        # A name or a number.
        return str(word)
    # JSON is YAML, but for what YAML calls not printable.
    text = json.dumps(word, ensure_ascii=False)
    return "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in text)


def limit_problems(
    previews, max_delete, max_change_percent, pair="PAIR", operation="recover", words=None
):
    """
    Compare previews with the limits of the pair.

    previews
        List of dicts as :py:func:`failback.pull.preview` returns them, one a path.

    max_delete
        Files that may be deleted on this node in all paths together.

    max_change_percent
        Share of the files of one path that may be overwritten or deleted, in percent.

    pair
        Name of the pair, for the command in the sentence.

    operation
        What is to be run, likewise.

    words
        Dict of what the operator has said beside the pair, likewise: without the ``winner`` and the
        ``reason`` of a split, for instance, the command would be refused as it stands.

    Returns a list of sentences, empty if all is within the limits. Their command allows all that was found.
    """
    needed, problems = {}, []
    deleted = sum(each["deleted"] for each in previews)
    if deleted > max_delete:
        where = ", ".join(f"{each['path']} {each['deleted']}" for each in previews if each["deleted"])
        problems.append(
            f"{deleted} files would be deleted here ({where}), and the pair allows {max_delete}. "
            "A source that is not mounted or was emptied by mistake looks just like this. "
            f"See which: {_plan(pair, operation, words)}. To allow this one run: "
        )
        needed["max_delete"] = deleted
    worst = 0
    found = []
    for each in previews:
        changed = each["overwritten"] + each["deleted"]
        total = each["total_files"]
        if changed <= ALWAYS_ALLOWED or not total:
            continue
        percent = min(100.0, 100.0 * changed / total)
        if percent > max_change_percent:
            found.append(f"{each['path']}: {changed} of {total} files ({percent:.0f} %)")
            worst = max(worst, int(percent) + (percent > int(percent)))
    if found:
        problems.append(
            f"More than {max_change_percent} % of the files here would be overwritten or deleted: "
            + "; ".join(found)
            + ". That is more than an outage usually leaves behind. "
            f"See which: {_plan(pair, operation, words)}. To allow this one run: "
        )
        needed["max_change_percent"] = worst
    allowing = command(operation, pair, {**(words or {}), **needed})
    return [problem + allowing for problem in problems]


def last_pass_sentence(path, max_delete, pair="PAIR", operation="recover"):
    """What is said when the last pass was stopped because it went beyond ``max_delete`` in a path."""
    more = 10 * max(10, max_delete)
    return (
        f"More than {max_delete} files of {path} were deleted on the serving node since the pass before, "
        f"and the pair allows {max_delete}. Somebody may be deleting what should be kept. What was deleted "
        f"here up to then is in this run's backup. See what is left there: {_plan(pair, operation)}. If it "
        f"is meant, run the same orchestration again: it compares everything anew before it begins. For a "
        f"service that deletes so many within a minute, allow more: "
        f"salt-run state.orch orch.{operation} pillar='{{pair: {pair}, max_delete: {more}}}'"
    )


def source_problems(now, recorded=None, files_here=None, pair="PAIR"):
    """
    Judge what the serving node says about its paths.

    now
        What :py:func:`failback.sources.facts` returned on the serving node.

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
    found = {
        path: _elsewhere(before, now[path]) for path, before in (recorded or {}).items() if path in now
    }
    return {path: what for path, what in found.items() if what}


def _elsewhere(before, fact):
    """What is wrong with the place of a path, or None. One that was not there had no place."""
    was, mount = before["file_system"], fact["file_system"]
    if not before["exists"] or not was:
        return None
    if not _same_file_system(was, mount):
        return f"lies on {_named(mount)}, and used to lie on {_named(was)}"
    for one in before.get("below") or []:
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
        What :py:func:`failback.sources.facts` returns on the same node now.
    """
    elsewhere = misplaced(now, recorded)
    return {path: recorded[path] if path in elsewhere else fact for path, fact in now.items()}


def _mount_or_record(pair):
    return (
        f"Mount the right file system there; or if the move was meant, record it: "
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
        return f"{told}. Mount the right file system there; {otherwise}"
    return f"{told}. {_mount_or_record(pair)}"


LSYNCD_WOULD = "lsyncd would delete on the other node what is missing here"
LAST_PASS_WOULD = "the last pass would delete on the other node what is missing here"


def own_source_problems(now, recorded, pair="PAIR", danger=LSYNCD_WOULD):
    """
    Judge this node's own paths before they are carried to the other node.

    now, recorded
        What :py:func:`failback.sources.facts` returns on this node now, and when the pair was last known
        to be well (or ``None``: nothing to compare with).

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


def room_needed(previews):
    """
    What previews say about the room that a sync takes.

    Returns a dict: ``incoming`` and ``kept`` bytes, ``incoming_files`` and ``kept_files``.
    """
    return {
        "incoming": sum(each["bytes"] for each in previews),
        "kept": sum(each["kept_bytes"] for each in previews),
        "incoming_files": sum(each["created"] for each in previews),
        "kept_files": sum(each["overwritten"] + each["deleted"] for each in previews),
    }


def room_problems(demands, pair="PAIR"):
    """
    Judge whether the file systems can take what a sync adds to them.

    demands
        List of dicts, one a file system: ``where`` (a folder on it), ``bytes`` and ``files`` that
        will be added, ``free``, ``size`` (bytes), ``free_files``, ``all_files`` (inodes; 0 if
        unlimited).

    Returns a list of sentences.
    """
    problems = []
    for each in demands:
        remaining = each["free"] - each["bytes"]
        reserve = int(each["size"] * RESERVE)
        if each["bytes"] and remaining < reserve:
            problems.append(
                f"The file system of {each['where']} has {_size(each['free'])} free; what comes "
                f"in and the backup of what is overwritten or deleted need {_size(each['bytes'])}, "
                f"and {_size(reserve)} (5 %) must remain. Without the backup files would be lost. "
                f"Make room, for instance by deleting old runs, then run: salt-run pair.plan {pair}"
            )
        reserve = int(each["all_files"] * RESERVE)
        if each["all_files"] and each["files"] and each["free_files"] - each["files"] < reserve:
            problems.append(
                f"The file system of {each['where']} can take {each['free_files']} more files; "
                f"{each['files']} are needed, and {reserve} (5 %) must remain. Without the backup "
                "files would be lost. Delete what is not needed there, then run: "
                f"salt-run pair.plan {pair}"
            )
    return problems


def _named(file_system):
    if not file_system:
        return "no known file system"
    sub = "" if file_system["root"] == "/" else f", folder {file_system['root']}"
    return f"{file_system['source']} ({file_system['type']}, at {file_system['mount']}{sub})"


def _size(number):
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
