"""
Whether a sync may begin: limits on deletions and changes, and room for the backup.

Pure: facts go in, sentences come out. No sentence means yes; each says what was found, why that is
dangerous, and which command to run next.
"""

from failback.decisions import commands

ALWAYS_ALLOWED = 20
"""Up to this number of overwritten and deleted files the percentage is not looked at: in a folder
of eight files three changes are everyday life. They are in the backup like any others."""

ROOM = 0.25
"""Share by which a command allows more than was found: clients go on writing while it is typed."""

#: PATH_MAX of Linux, without its zero byte; and how many characters a sentence has of a path at most.
LONGEST_PATH = 4095
_SHORT = 240
RESERVE = 0.05
"""Share of a file system that must remain free after a sync."""


def limit_problems(
    previews, max_delete, max_change_percent, pair="PAIR", operation="recover", overrides=None
):
    """
    Compare previews with the limits of the pair.

    previews
        List of dicts as :py:func:`failback.recovery.dry_run.preview` returns them, one a path.

    max_delete
        Files that may be deleted on this node in all paths together.

    max_change_percent
        Share of the files of one path that may be overwritten or deleted, in percent.

    pair
        Name of the pair, for the command in the sentence.

    operation
        What is to be run, likewise.

    overrides
        Dict of what the operator has said beside the pair, likewise: without the ``winner`` and the
        ``reason`` of a split-brain, for instance, the command would be refused as it stands.

    Returns a list of sentences, empty if all is within the limits. Their command allows all that was found,
    and somewhat more (``ROOM``), of either limit that could be the next one to stop the run.
    """
    problems = []
    deleted = sum(each["deleted"] for each in previews)
    if deleted > max_delete:
        where = ", ".join(f"{each['path']} {each['deleted']}" for each in previews if each["deleted"])
        problems.append(
            f"{deleted} files would be deleted here ({where}), and the pair allows {max_delete}. "
            "A source that is not mounted or was emptied by mistake looks just like this. "
            f"See which: {commands.plan(pair, operation, overrides)}. To allow this one run: "
        )
    shares = {each["path"]: _share(each) for each in previews}
    found = [
        f"{each['path']}: {each['overwritten'] + each['deleted']} of {each['total_files']} files "
        f"({shares[each['path']]:.0f} %)"
        for each in previews
        if shares[each["path"]] > max_change_percent
    ]
    if found:
        problems.append(
            f"More than {max_change_percent} % of the files here would be overwritten or deleted: "
            + "; ".join(found)
            + ". That is more than an outage usually leaves behind. "
            f"See which: {commands.plan(pair, operation, overrides)}. To allow this one run: "
        )
    needed = {
        "max_delete": with_room(deleted),
        "max_change_percent": min(100, with_room(max(shares.values(), default=0), 5)),
    }
    allowed = {"max_delete": max_delete, "max_change_percent": max_change_percent}
    needed = {key: most for key, most in needed.items() if most > allowed[key]}
    allowing = commands.command(operation, pair, {**(overrides or {}), **needed})
    return [problem + allowing for problem in problems]


def with_room(found, step=10):
    """What a command allows so that it passes although more has come by then: a round number."""
    return int(-(-found * (1 + ROOM) // step)) * step


def _share(preview):
    """Percent of a path's files that would be overwritten or deleted; 0 where that is not looked at."""
    changed, total = preview["overwritten"] + preview["deleted"], preview["total_files"]
    return min(100.0, 100.0 * changed / total) if changed > ALWAYS_ALLOWED and total else 0.0


def final_sync_sentence(path, max_delete, pair="PAIR", operation="recover"):
    """What is said when the final sync was stopped because it went beyond ``max_delete`` in a path."""
    more = 10 * max(10, max_delete)
    return (
        f"More than {max_delete} files of {path} were deleted on the serving node since the pass before, "
        f"and the pair allows {max_delete}. Somebody may be deleting what should be kept. What was deleted "
        f"here up to then is in this run's backup. See what is left there: "
        f"{commands.plan(pair, operation)}. If it is meant, run the same orchestration again: it compares "
        f"everything anew before it begins. For a service that deletes so many within a minute, allow more: "
        f"salt-run state.orch orch.{operation} pillar='{{pair: {pair}, max_delete: {more}}}'"
    )


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


def depth_problems(longest, pair="PAIR"):
    """
    Judge whether the backup can hold what a sync overwrites or deletes, by the length of its path there.

    longest
        Pairs, one a replicated path: the bytes of the longest path that a file is going to have in
        the backup, and the file's own path (None: nothing is kept).

    Returns a list of sentences.
    """
    return [
        f"{_short(path)} is to be overwritten or deleted, and cannot be kept: its path in the backup would "
        f"have {length} bytes, and {LONGEST_PATH} are the most that Linux takes. Without the backup it would "
        "be lost. Move the file, or a folder above it, to a shorter path or out of the replicated one, on "
        f"this node, then run: salt-run pair.plan {pair}"
        for length, path in longest
        if path is not None and length > LONGEST_PATH
    ]


def _short(path):
    """Begin and end of a path that is longer than a page."""
    return path if len(path) <= _SHORT else f"{path[: _SHORT // 2]} … {path[-_SHORT // 2 :]}"


def _size(number):
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
