"""A host that is only slow: the kernel gives it less of the processors, and all else is as it was."""

import contextlib

from lab import cgroups

#: Microseconds in which a host gets its share; the kernel's own default.
PERIOD = 100_000


@contextlib.contextmanager
def slow(group, share):
    """
    The hosts of a control group together get so much of one processor while this lasts.

    share
        1.0 is a whole processor.
    """
    quota = int(PERIOD * share)
    if not _set(group, {"cpu.max": f"{quota} {PERIOD}", "cpu.cfs_quota_us": f"{quota}"}):
        raise RuntimeError(f"No control group of this machine limits the processors of {group}.")
    try:
        yield
    finally:
        # The group may be gone with its host.
        _set(group, {"cpu.max": "max", "cpu.cfs_quota_us": "-1"})


def _set(group, settings):
    # A machine has one of the two; see lab/cgroups.py.
    for hierarchy in cgroups.hierarchies():
        for name, value in settings.items():
            place = hierarchy / cgroups.TOP / group / name
            if place.exists():
                place.write_text(value)
                return True
    return False
