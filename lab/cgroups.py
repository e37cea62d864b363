"""Control groups: each host has its own, and nothing outside them is ever killed.

Everything that a lab starts lives below ``failback-lab/<lab>``: ``hosts/<host>`` for a host,
``keepers/<host>`` for the process that starts it again. So "what belongs to this lab" is a fact
that the kernel keeps, not a list of process ids that may be old.
"""

import contextlib
import os
import pathlib
import signal
import time

TOP = "failback-lab"
#: What all labs together get of the processors when others want them too, as so many programs of their own:
#: hosts stand for machines that have a processor each, and what is measured on them is time.
SHARE = 20
#: What a lab gets of that for each host, beside other labs: one of four hosts has 1.
SHARE_OF_HOST = 0.25
#: What all other programs of the tests together get beside them.
SHARE_OF_TESTS = 0.5
#: What says so, in the older kind of hierarchy and in the unified one; and what a program or a new group has.
SHARES = {"cpu.shares": 1024, "cpu.weight": 100}


def hierarchies():
    """Where control groups are mounted: one place on a unified machine, many on an older one."""
    places = []
    for line in pathlib.Path("/proc/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        # A new cpuset group takes no process before it is given processors; it is not needed.
        if kind == "cgroup2" or (kind == "cgroup" and "cpuset" not in options.split(",")):
            places.append(pathlib.Path(place))
    return places


def create(group):
    """Make a group in all hierarchies."""
    for hierarchy in hierarchies():
        _create(hierarchy, group)


def _create(hierarchy, group):
    (hierarchy / TOP / group).mkdir(parents=True, exist_ok=True)
    _share(hierarchy / TOP, SHARE)


def _share(folder, share):
    for name, one in SHARES.items():
        if (folder / name).exists():
            (folder / name).write_text(f"{int(share * one)}\n")


def share_by_hosts(lab, number):
    """Give a lab, whose groups have been made, a share of the processors for each of its hosts."""
    for hierarchy in hierarchies():
        _share(hierarchy / TOP / lab, SHARE_OF_HOST * number)


def beside_labs(group):
    """
    Make a group for programs that are no hosts: together they get half of what a lab of four hosts gets.

    A niceness would not do: it holds within a session only (see sched(7), "The autogroup feature").

    Returns the files by which a process enters it: it stays where it is in what does not share processors.
    """
    places = [hierarchy for hierarchy in hierarchies() if _shares_processors(hierarchy)]
    for hierarchy in places:
        _create(hierarchy, group)
        _share(hierarchy / TOP / group, SHARE_OF_TESTS)
    return [str(hierarchy / TOP / group / "cgroup.procs") for hierarchy in places]


def _shares_processors(hierarchy):
    given = hierarchy / "cgroup.subtree_control"
    return (hierarchy / "cpu.shares").exists() or (given.exists() and "cpu" in given.read_text().split())


def entrance(group):
    """The files that a process writes ``0`` to in order to move itself into the group."""
    return [str(hierarchy / TOP / group / "cgroup.procs") for hierarchy in hierarchies()]


def neighbours(pid):
    """The same for the groups that process ``pid`` is in now."""
    wanted = set(hierarchies())
    places = _mounted_controllers()
    files = []
    for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        place = places.get(controllers)
        if place in wanted and f"/{TOP}/" in path:
            files.append(str(place / path.lstrip("/") / "cgroup.procs"))
    return files


def _mounted_controllers():
    places = {}
    for line in pathlib.Path("/proc/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup2":
            places[""] = pathlib.Path(place)
        elif kind == "cgroup":
            known = [part for part in options.split(",") if part not in MOUNT_OPTIONS]
            named = [part for part in known if part.startswith("name=")]
            places[",".join(named or known)] = pathlib.Path(place)
    return places


MOUNT_OPTIONS = {"rw", "ro", "nosuid", "nodev", "noexec", "relatime", "xattr", "clone_children"}


def entering(files, arguments):
    """An argument list that runs ``arguments`` inside the groups behind ``files``.

    A shell and not ``preexec_fn``: that is unsafe in a program with threads.
    """
    script = 'n=$1; shift; while [ $n -gt 0 ]; do echo 0 >"$1"; shift; n=$((n-1)); done; exec "$@"'
    return ["/bin/sh", "-c", script, "enter", str(len(files)), *files, *arguments]


def seen(group):
    """
    The same as ``members``, at a tenth of its cost: for looking again and again, not for killing.

    A process enters its group in all hierarchies before it becomes a host's; one of them tells of it. In that
    of systemd, and in the unified one, a host makes a group for each of its units, so another one is read.
    """
    places = hierarchies()
    plain = [place for place in places if place.name not in ("systemd", "unified")]
    return _members(group, (plain or places)[:1])


def members(group):
    """The ids of all processes in the group and below, as a set."""
    return _members(group, hierarchies())


def _members(group, places):
    pids = set()
    for hierarchy in places:
        # os.walk passes over folders that go away meanwhile, as they do when a host shuts down.
        for folder, _, _ in os.walk(hierarchy / TOP / group):
            try:
                procs = pathlib.Path(folder, "cgroup.procs").read_text()
            except OSError:
                continue  # the group went away while it was read
            pids.update(int(line) for line in procs.split())
    pids.discard(0)  # in another pid namespace: cannot be ours
    return pids


def used():
    """Seconds of a processor that the hosts of each lab have used: a dict by the lab's name."""
    found = {}
    for top in (hierarchy / TOP for hierarchy in hierarchies()):
        labs = []
        with contextlib.suppress(OSError):  # none is up
            labs = os.listdir(top)
        for lab in labs:
            # One number of nanoseconds in the older kind of hierarchy, a line of microseconds in the unified
            # one. What cannot be read is not there, or has just gone away.
            with contextlib.suppress(OSError):
                found[lab] = int((top / lab / "cpuacct.usage").read_text()) / 1e9
            with contextlib.suppress(OSError, StopIteration):
                lines = (line.split() for line in (top / lab / "cpu.stat").read_text().splitlines())
                micro = next(int(value) for name, value in lines if name == "usage_usec")
                found.setdefault(lab, micro / 1e6)
    return found


def contains(group, pid):
    """Whether the process is in the group (or below) now."""
    try:
        lines = pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return False
    inside = f"/{TOP}/{group}"
    paths = [line.split(":", 2)[2] for line in lines]
    return any(path == inside or path.startswith(inside + "/") for path in paths)


def kill(group, pid):
    """``kill -9`` of one process, only if it is in the group.

    A pidfd is opened before the check, so the id cannot pass to another process in between.
    """
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if not contains(group, pid):
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)


@contextlib.contextmanager
def frozen(group):
    """All processes of the group stand still while this lasts, also those that begin meanwhile."""
    _set_frozen(group, True)
    try:
        yield
    finally:
        _set_frozen(group, False)


def _set_frozen(group, frozen):
    # A machine has one of the two; the older kind has a hierarchy of its own for it.
    for hierarchy in hierarchies():
        for name, values in (("freezer.state", ("THAWED", "FROZEN")), ("cgroup.freeze", ("0", "1"))):
            setting = hierarchy / TOP / group / name
            if setting.exists():
                setting.write_text(values[frozen])
                return


def empty(group, limit=30):
    """Kill all that is in the group; returns when nothing is left in it."""
    deadline = time.monotonic() + limit
    # What was left frozen would not even die.
    _set_frozen(group, False)
    while True:
        left = members(group) - {os.getpid()}
        if not left:
            return
        for pid in left:
            kill(group, pid)
        if time.monotonic() > deadline:
            raise TimeoutError(f"{group}: {sorted(left)} are still running after {limit} s.")
        time.sleep(0.02)


def remove(group, limit=10):
    """Remove an emptied group and those below it, in all hierarchies."""
    deadline = time.monotonic() + limit
    for hierarchy in hierarchies():
        top = hierarchy / TOP / group
        while top.is_dir():
            for folder, _, _ in os.walk(top, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:
                    if time.monotonic() > deadline:
                        raise
            # The kernel needs a moment after the last process.
            time.sleep(0.01 if top.is_dir() else 0)
        for parent in (top.parent, hierarchy / TOP):
            try:
                if parent.is_relative_to(hierarchy / TOP):
                    parent.rmdir()  # only if no other lab is in it
            except OSError:
                pass
