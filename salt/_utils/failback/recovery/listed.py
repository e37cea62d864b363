"""What a run has done to the files of this node, by its lists: for whoever looks at the run afterwards."""

import os

from failback.errors import FailbackError
from failback.host import notation
from failback.recovery import backup
from failback.recovery import itemize

ACTIONS = (itemize.OVERWRITTEN, itemize.DELETED, itemize.CREATED, itemize.ATTRIBUTES)


def of_run(member, run, limit):
    """
    The files of a run by path and kind.

    member
        :py:class:`failback.pair.Member`.

    run
        Its id.

    limit
        How many names of each kind, and of conflicts, are returned for each path; the counts are complete.
        Memory stays the same however many files there are.

    Returns a list of dicts: ``path``; ``passes`` and ``conflicts``, numbers; ``counts`` and ``names``, by
    kind; ``conflict_names``, path to reason. It is empty where the run has no lists here. A list says what
    its pass was about to do: after a pass that failed, not all of it was done.
    """
    folder = backup.Folder(member.run_folder(run))
    try:
        items = folder.items()
    except FailbackError:
        return []
    return [_of_item(folder, item, limit) for item in items]


def _of_item(folder, item, limit):
    numbers = folder.passes(item.module)
    found = {
        "path": notation.readable(os.fsencode(item.path)),
        "passes": len(numbers),
        "counts": dict.fromkeys(ACTIONS, 0),
        "names": {action: [] for action in ACTIONS},
        "conflicts": 0,
        "conflict_names": {},
    }
    for number in numbers:
        for entry in backup.entries(folder, item.module, number):
            action = entry.get("action")
            if action not in found["counts"]:
                continue
            found["counts"][action] += 1
            if len(found["names"][action]) < limit:
                found["names"][action].append(entry["path"])
            if entry.get("conflict"):
                found["conflicts"] += 1
                if len(found["conflict_names"]) < limit:
                    found["conflict_names"][entry["path"]] = entry["conflict"]
    return found
