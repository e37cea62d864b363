"""
The programs in ``/etc/failback/hooks.d`` are run for an event, each on its own: see :func:`deliver`.

They run as root, so they must be root's alone, with all folders on the way. All start at once, so that none
waits for another; each has a limit, after which it is killed with all that it has started in its process
group. What it prints is cut off. What goes wrong with one is a line in the system's log.
"""

import contextlib
import os
import pathlib
import stat
import tempfile
import threading
import time

from failback.decisions import events
from failback.decisions import ownership
from failback.errors import FailbackError
from failback.errors import Refused
from failback.host import files
from failback.host import owner
from failback.host import system

#: Seconds for a hook where the configuration, written by an earlier release, says nothing.
LIMIT = 60

#: Whether this process is confined; proc(5).
STATUS = pathlib.Path("/proc/self/status")
#: Seconds for systemd to begin.
HAND_OVER_WITHIN = 20

#: Nobody waits for a hook: a takeover that is still under way goes first.
NICENESS = 10


def deliver(member, told):
    """
    Run all hooks for an event, and wait for their ends.

    member
        :py:class:`failback.pair.Member`.

    told
        The event.

    Returns by the hook's name what went wrong, a sentence, or None. An empty dict where it was told before.
    """
    if not _is_news(member, told):
        return {}
    limit = (member.config.get("notify") or {}).get("timeout", LIMIT)
    found, threads = {}, []
    try:
        names = sorted(os.listdir(member.paths.hooks))
    except FileNotFoundError:
        return {}
    with contextlib.suppress(OSError):
        os.nice(NICENESS)

    def work(name):
        try:
            found[name] = _run(member, name, told, limit)
        except Exception as error:  # the next hook is another's program
            found[name] = str(error)
        if found[name]:
            system.log(f"{member.pair}: the hook {name} for {told['event']}: {found[name]}", system.ERR)

    for name in names:
        if events.is_chosen(name, member.config):
            threads.append(threading.Thread(target=work, args=(name,)))
            threads[-1].start()
    for thread in threads:
        thread.join()
    return found


def handed_over(member, text):
    """
    Let systemd run this command where it is not confined, if it is: True if it does.

    The guard is a unit with few rights, and what it starts has no more: a hook could send no mail there.

    text
        The event, as it was given to this command.
    """
    if "NoNewPrivs:\t1" not in STATUS.read_text():
        return False
    command = [str(member.paths.program), "tell", member.pair, text]
    unit = ["systemd-run", "--quiet", "--collect", f"--description=Hooks of {member.pair}"]
    try:
        system.run([*unit, "--", *command], HAND_OVER_WITHIN, "have systemd run the hooks")
    except FailbackError as error:
        system.log(f"{error} They run with the few rights of the unit that tells.", system.ERR)
        return False
    return True


def trial(member, kind):
    """An event that has not happened, for whoever tries the hooks. Raises ``Refused`` for an unknown one."""
    if kind not in events.ALL:
        raise Refused(f"{kind!r} is no event; there are: {', '.join(events.ALL)}.")
    said = f"A test of the hooks for {kind}: nothing has happened to {member.pair}."
    return events.event(kind, member.config, time.time(), said, test=True)


def _is_news(member, told):
    """Note that an event is told; False if it lasts and was told a short while ago."""
    kind, now = told["event"], system.boottime()
    if kind not in events.ONCE_WITHIN or told.get("test"):
        return True
    place = member.volatile / "told.json"
    with files.locked(member.volatile / ".told.flock"):
        known = {}
        with contextlib.suppress(FailbackError):
            known = files.read_json(place, f"what was told of {member.pair}") or {}
        if events.is_told_already(kind, known.get(kind), now):
            return False
        files.write_json(place, {**known, kind: now})
    return True


def _run(member, name, told, limit):
    """What went wrong with a hook, a sentence, or None."""
    path = member.paths.hooks / name
    above, hook = _looked(member.paths.hooks, name)
    problem = events.hook_problem(above, hook)
    if problem:
        raise Refused(f"not run: {problem}")
    with tempfile.TemporaryFile() as given:
        given.write(files.as_json(told).encode())
        given.seek(0)
        status, out, err = owner.run(
            owner.user(0, 0),
            [str(path)],
            limit,
            f"run {path}",
            stdin=given,
            environment=events.environment(told, member.config),
        )
    if status:
        return f"exit status {status}, {owner.said(err or out)}"
    return None


def _looked(folder, name):
    """The folders on the way to a hook and the hook itself, as ``ownership.Entry``."""
    above, opened = owner.entered(str(folder))
    try:
        status = os.stat(name, dir_fd=opened, follow_symlinks=False)
    finally:
        os.close(opened)
    kind = "link" if stat.S_ISLNK(status.st_mode) else "file" if stat.S_ISREG(status.st_mode) else "other"
    mode = stat.S_IMODE(status.st_mode)
    return above, ownership.Entry(str(folder / name), status.st_uid, mode, kind)
