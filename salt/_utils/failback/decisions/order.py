"""
In which order several pairs are brought up, and how many of them at once.

    names = chosen("all", pairs)
    start = ready(after, names, running=(), ended=(), at_once=4)

Pure. ``after`` in a pair's pillar is an order and no condition: a pair whose predecessor failed has its
turn all the same, for it may be the one that people wait for.
"""

from failback.errors import Refused

ALL = "all"
#: How many pairs at once unless an operator says otherwise: each costs its master a process of its own.
AT_ONCE = 4


def chosen(wanted, known):
    """
    The names that an operator means.

    wanted
        ``all``, one name, or a list of names.

    known
        Names of all pairs.

    Returns a list without repetitions. Raises ``Refused`` for anything else, and for unknown pairs.
    """
    if wanted == ALL:
        return sorted(known)
    names = [wanted] if isinstance(wanted, str) else wanted
    if not isinstance(names, (list, tuple)) or not names or not all(isinstance(one, str) for one in names):
        raise Refused(f"pair must be a name, a list of names, or all; not {wanted!r}. Nothing was done.")
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise Refused(
            f"There is no pair {', '.join(unknown)} (pairs: {', '.join(sorted(known))}). Nothing was done."
        )
    return list(dict.fromkeys(names))


def predecessors(configs):
    """
    Which of the chosen pairs each one waits for.

    configs
        Normalised pairs by name.

    Returns ``{name: set of names}``. Raises ``Refused`` when the order goes in a circle.
    """
    found = {
        name: {other for other in config["after"] if other in configs and other != name}
        for name, config in configs.items()
    }
    ended = set()
    while len(ended) < len(found):
        free = {name for name, others in found.items() if name not in ended and others <= ended}
        if not free:
            circle = ", ".join(sorted(set(found) - ended))
            raise Refused(
                f"`after` of {circle} goes in a circle, so none of them can be the first. Correct the "
                f"pillar: salt-run pair.check. Nothing was done."
            )
        ended |= free
    return found


def ready(after, waiting, running, ended, at_once=AT_ONCE):
    """
    Which pairs may begin now.

    after
        What ``predecessors`` returned.

    waiting
        Names that have not begun, in the order in which they are wanted.

    running, ended
        Names that are under way, and that have ended, well or not.

    at_once
        How many may be under way together.

    Returns a list of names.
    """
    free = [name for name in waiting if after[name] <= set(ended)]
    return free[: max(0, at_once - len(running))]
