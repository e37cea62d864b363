"""
What lsyncd has still to do, proved.

::

    status = lsyncd_status.observe(Paths(), "salt", lsyncd_status.unit())
    lsyncd_status.drain(Paths(), "salt", limit=60)

lsyncd's status file alone proves nothing: a dead daemon leaves its last one behind, and lsyncd
2.2.3 writes it only when something happens. Three things make it a proof:

- It counts only when systemd names a running lsyncd, written after that process started, and not
  older than ``STALE`` seconds: the rendered configuration makes lsyncd write it anew at least every
  two seconds.
- The queue in it misses what lsyncd has not yet read from the kernel. ``drain`` therefore creates
  an empty file in a folder of ours that the same lsyncd watches. The kernel delivers events in
  order, so once lsyncd has written down that file's name, all earlier changes are in its queue, and
  a status file written *after that* with nothing in it proves that they have been carried.
  While others write, it is enough that each name that was in the queue then has left it once.
- A file that is changed without a pause is always in the queue. So lsyncd itself remembers which changes
  waited when it saw the name, and notes when the last of these has been carried, whatever came later.
- A change leaves the queue only when rsync has ended with a status that means "all of it" (see
  :py:mod:`failback.replication.lsyncd_config`).

What this does not prove: that a change made *while* draining was carried, that nobody changed the
other side, and changes that inotify does not report: the permissions of the top folder itself, and
writes through ``mmap`` without a close. The comparison at the end of a run is for these.
"""

import contextlib
import os
import re
import secrets
import time

from failback.errors import Unavailable
from failback.errors import Unreadable
from failback.host import files
from failback.host import system
from failback.replication import lsyncd_config

UNIT = "lsyncd.service"

#: Seconds after which a status file is too old: twice the two seconds within which lsyncd renews
#: it, and one.
STALE = 5.0

#: Seconds by which the wall clock must have gone back to count as set: one that is slewed goes back by less
#: between two looks.
SET_BACK = 0.01

#: How many waiting changes are named.
NAMED = 10

#: Failed runs of rsync, for each folder, after which a first pass is not waited for any more. A connection
#: that breaks once, or a node that is just coming up, is not that.
FAILURES = 5

_HEADER = re.compile(r"Sync(\d+) source=(.*)")
_DELAYS = re.compile(r"There are (\d+) delays")
_DELAY = re.compile(r"(wait|active|block) +(Init|Blanket|Attrib|Modify|Create|Delete|Move) (.*)", re.DOTALL)
_WATCHING = re.compile(r"Inotify watching (\d+) directories")


def parse(text):
    """
    Read a status file of lsyncd 2.2.3. Pure.

    File names stand in it as they are, so a hostile one may bring lines of its own. It cannot make
    a queue look empty: its name is written only below the true count of its own queue, which is
    then not zero, and the text is read from the top.

    text
        The file's text, bytes that are not UTF-8 as surrogates.

    Returns ``{"syncs": [{"source", "delays", "named": [{"status", "event", "path"}]}],
    "watched"}``, with ``watched`` the number of folders. Raises ``Unreadable`` for a file that is
    empty, cut off or of another format.
    """
    lines = text.split("\n")
    if not lines[0].startswith("Lsyncd status report at "):
        raise Unreadable("lsyncd's status file is empty or of another format.")
    syncs = []
    position = 1
    while position < len(lines):
        watching = _WATCHING.fullmatch(lines[position])
        if watching:
            if len(lines) - position - 1 < int(watching[1]) + 1:
                break
            return {"syncs": syncs, "watched": int(watching[1])}
        header = _HEADER.fullmatch(lines[position])
        if header and int(header[1]) == len(syncs) + 1:
            position = _parse_sync(header[2], lines, position + 1, syncs)
        else:
            position += 1
    raise Unreadable("lsyncd's status file is cut off; lsyncd may be writing it.")


def _parse_sync(source, lines, position, syncs):
    # The source is a path of ours; one with a line break is refused in the pillar.
    count = _DELAYS.fullmatch(lines[position]) if position < len(lines) else None
    if not count:
        raise Unreadable("lsyncd's status file is cut off or of another format.")
    sync = {"source": source, "delays": int(count[1]), "named": []}
    syncs.append(sync)
    position += 1
    started = 0
    while position < len(lines) and (started < sync["delays"] or lines[position] != "Filtering:"):
        delay = _DELAY.fullmatch(lines[position]) if started < sync["delays"] else None
        if delay:
            started += 1
            sync["named"].append({"status": delay[1], "event": delay[2], "path": delay[3]})
        elif sync["named"]:
            sync["named"][-1]["path"] += "\n" + lines[position]
        position += 1
    return position


def unit(name=UNIT):
    """
    What systemd says of lsyncd's unit.

    Returns ``{"ActiveState": "active", "MainPID": "815", …}``. Raises ``Unavailable`` when systemd
    does not answer within ten seconds.
    """
    text = system.run(
        ["systemctl", "show", name, "--property=ActiveState,SubState,Result,MainPID"],
        timeout=10,
        what="ask systemd about lsyncd",
    )
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def has_begun(member, unit_state):
    """
    Whether the lsyncd that runs has begun to carry: it watches its folders, and has written its status.

    One that has just been started may end at once, and is active to systemd until then.

    member
        :py:class:`failback.pair.Member`.

    unit_state
        What ``unit`` returned.

    Returns True or False; None where systemd has no process of it.
    """
    pid = int(unit_state.get("MainPID") or 0)
    if unit_state.get("ActiveState") != "active" or not pid:
        return None
    ticks, written = system.process_started(pid), _written(lsyncd_config.places(member).status)
    # Without ticks it has ended, and systemd does not know it yet.
    return bool(ticks is not None and written and _is_its_own(time.time() - written / 1e9, _age(ticks)))


def _age(ticks):
    """Of a process, in seconds. Both clocks are read now, so a wall clock set meanwhile does no harm."""
    return system.boottime() - ticks / os.sysconf("SC_CLK_TCK")


def _is_its_own(status_age, age):
    """Whether a process of that age has written a file of that age."""
    return status_age <= age + 1


def children(pid):
    """Command lines of the processes that lsyncd has started and not yet collected, as a list."""
    found = []
    for folder in system.children(pid):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
            found.append(os.fsdecode(b" ".join(words)))
    return found


def observe(member, unit_state):
    """
    Whether lsyncd runs on this node and what it has still to do.

    member
        :py:class:`failback.pair.Member`.

    unit_state
        What ``unit`` returned.

    Returns a dict:

    running
        Whether systemd has a running lsyncd.

    unit
        systemd's word for it: ``active``, ``inactive``, ``failed``, ``activating`` (also while it
        waits to start it again).

    pid, since
        Its process and when it started, in seconds since 1970; None when it does not run.

    waiting
        How many files and folders are queued or being carried; None when that is not known.

    waiting_for
        The first of them, as ``{"path", "event", "status"}``. The event ``Init`` is the first pass,
        which looks at everything.

    watched
        How many folders lsyncd watches; None when that is not known.

    status_age
        Seconds since lsyncd wrote its status file; None when there is none.

    trustworthy, why
        Whether ``waiting`` may be relied on, and a sentence that says why or why not.
    """
    return _observe(member, unit_state)[0]


def look(member, unit_state):
    """
    The same look for whoever goes on from one to the next.

    Returns the status of :py:func:`observe`; when lsyncd wrote what it is drawn from, in nanoseconds since
    1970 or None; and the names that wait or are being carried, as a set.
    """
    status, written, syncs = _observe(member, unit_state)
    return status, written, _names(syncs)


def _observe(member, unit_state):
    # Returns the status, the time in nanoseconds at which lsyncd wrote what it is drawn from, and the
    # syncs in it.
    status = {
        "running": False,
        "unit": "unknown",
        "pid": None,
        "since": None,
        "waiting": None,
        "waiting_for": [],
        "watched": None,
        "status_age": None,
        "trustworthy": False,
        "why": "",
    }
    place = lsyncd_config.places(member)
    written = _written(place.status)
    if written:
        status["status_age"] = round(time.time() - written / 1e9, 1)
    pid = int(unit_state.get("MainPID") or 0)
    state = unit_state.get("ActiveState") or "unknown"
    status["unit"] = state
    ticks = system.process_started(pid) if pid else None
    if state != "active" or ticks is None:
        left = "; its status file is that of an earlier process" if written else ""
        status["why"] = f"lsyncd does not run on this node (systemd says {state}){left}."
        return status, None, []
    age = _age(ticks)
    status.update(running=True, pid=pid, since=round(time.time() - age, 1))
    status["why"] = _why_its_file_says_nothing(place, status, age)
    if status["why"]:
        return status, None, []
    found, written = _read(place.status)
    if found is None:
        status["why"] = f"{place.status} could not be read whole; lsyncd is busy writing it."
        return status, None, []
    own = os.path.realpath(place.marker)
    carried = [sync for sync in found["syncs"] if sync["source"].rstrip("/") != own]
    if len(carried) == len(found["syncs"]):
        status["why"] = (
            f"lsyncd (process {pid}) does not run with the configuration of the pair {member.pair}."
        )
        return status, None, []
    status.update(
        waiting=sum(_distinct(sync) for sync in carried),
        waiting_for=_first_of(carried),
        watched=found["watched"],
        trustworthy=True,
        why=f"Written {status['status_age']} seconds ago by lsyncd (process {pid}), which runs.",
    )
    return status, written, carried


def _why_its_file_says_nothing(place, status, age):
    """Why the file of a lsyncd that has run for ``age`` seconds proves nothing, a sentence, or ``""``."""
    pid = status["pid"]
    if status["status_age"] is None:
        return f"lsyncd (process {pid}) runs but has not written {place.status} yet."
    if not _is_its_own(status["status_age"], age):
        return f"{place.status} is older than lsyncd itself (process {pid}): an earlier process wrote it."
    if not -1 <= status["status_age"] <= STALE:
        return (
            f"{place.status} is {status['status_age']} seconds old although lsyncd (process {pid}) "
            f"should renew it every {2 * lsyncd_config.HEARTBEAT} seconds: it hangs, or runs with another "
            "configuration."
        )
    return ""


def _distinct(sync):
    # lsyncd 2.2.3 queues every event of a file, although its source means to merge them.
    return len({delay["path"] for delay in sync["named"]}) or sync["delays"]


def _first_of(syncs):
    found = {}
    for sync in syncs:
        for delay in sync["named"]:
            path = sync["source"].rstrip("/") + "/" + delay["path"].lstrip("/")
            found.setdefault(path, {**delay, "path": path})
            if len(found) == NAMED:
                return list(found.values())
    return list(found.values())


def _written(path):
    with contextlib.suppress(FileNotFoundError):
        return os.stat(path).st_mtime_ns
    return None


def _read(path, attempts=20):
    # lsyncd empties the file and writes it again, so a reader may come in between. Returns what is
    # in it and when it was written; (None, None) when that did not succeed.
    for _ in range(attempts):
        with contextlib.suppress(OSError, Unreadable), open(path, "rb") as handle:
            text = os.fsdecode(handle.read())
            written = os.fstat(handle.fileno()).st_mtime_ns
            found = parse(text)
            # Once more in full: was it rewritten while it was being read?
            handle.seek(0)
            if os.fsdecode(handle.read()) == text and os.fstat(handle.fileno()).st_mtime_ns == written:
                return found, written
        time.sleep(0.02)
    return None, None


def drain(member, limit=60, unit_reader=unit, partly=None):
    """
    Wait until everything that was changed before this call has been carried to the standby.

    member
        :py:class:`failback.pair.Member`.

    limit
        Seconds to wait at most.

    unit_reader
        Function that returns what systemd says of lsyncd's unit.

    partly
        Seconds after which names that have waited all that time do not keep this from ending any more: a file
        that is changed without a pause always waits. ``None``: they do.

    Returns ``{"seconds": …, "carried": …, "left": …}``: how long it took, how many changes waited when it
    was first known, and which were not carried, ``(source, path)``
    each. Raises ``Unavailable`` with what still waits, or when lsyncd does not run.
    """
    started = time.monotonic()
    place = lsyncd_config.places(member)
    files.make_folder(place.marker)
    markers = _Markers(place)
    first = seen_at = earlier = before_the_step = None
    clocks = system.clocks()
    try:
        while True:
            status, written, syncs = _observe(member, unit_reader())
            clocks, since = system.clocks(), clocks
            if system.clock_step(since) < -SET_BACK:
                # What was written until now may bear a later time than what follows: begin again.
                markers.remove()
                markers = _Markers(place)
                seen_at, earlier, before_the_step = None, None, written
            if not status["running"]:
                raise Unavailable(
                    f"Nothing drains: {status['why']} What was changed since is not on the standby."
                )
            if first is None:
                first = status["waiting"]
            if markers.carried():
                return {"seconds": round(time.monotonic() - started, 2), "carried": first or 0, "left": []}
            if seen_at is None:
                seen_at = markers.seen()
            elif status["trustworthy"] and written > seen_at and written != before_the_step:
                waiting = _names(syncs)
                # What has left the queue once since then is carried, whatever was changed later.
                earlier = waiting if earlier is None else earlier & waiting
                took = time.monotonic() - started
                enough = partly is not None and took > partly and (None not in {one[1] for one in earlier})
                if (not earlier or enough) and (waiting or not children(status["pid"])):
                    return {"seconds": round(took, 2), "carried": first or 0, "left": sorted(earlier)}
            if time.monotonic() - started > limit:
                raise Unavailable(_not_drained(member.pair, limit, status, seen_at))
            time.sleep(0.05)
    finally:
        markers.remove()


class _Markers:
    """
    Files that one call of :py:func:`drain` makes for lsyncd to see, one at a time.

    A queue that overflowed has lost the event, and lsyncd starts anew. To touch the same file again would
    tell it nothing: only a name that did not exist is an event that it acts on. So there is a new one every
    ``AGAIN`` seconds until one of them has been seen; each is younger than the call.
    """

    #: Seconds.
    AGAIN = 1.0

    def __init__(self, place):
        self._place = place
        self._call = secrets.token_hex(8)
        self._number = 0
        self._made = None

    def seen(self):
        """When lsyncd noted one of them, in nanoseconds since 1970, or None. Makes one when it is due."""
        if self._made is None or time.monotonic() - self._made >= self.AGAIN:
            self.remove()
            self._number += 1
            self._path().touch(exist_ok=False)
            self._made = time.monotonic()
        return _seen(self._place.seen, f"{self._call}-")

    def carried(self):
        """Whether all that waited when lsyncd saw one of them has been carried."""
        return _carried(self._place.carried, f"{self._call}-")

    def remove(self):
        """Remove the last one."""
        self._path().unlink(missing_ok=True)

    def _path(self):
        return self._place.marker / f"{self._call}-{self._number}"


def first_pass(member, limit=600, unit_reader=unit):
    """
    Wait until the first pass of a lsyncd that has been started has ended, on every path.

    The first pass makes the standby equal to this node, deletions included. Unlike :py:func:`drain` it
    ends however much is written meanwhile.

    member, limit, unit_reader
        As for :py:func:`drain`.

    Returns ``{"seconds": …}``. Raises ``Unavailable`` when it does not end in time, when lsyncd ends, or when
    its rsync has failed ``FAILURES`` times for each folder.
    """
    started = time.monotonic()
    while True:
        status, _, syncs = _observe(member, unit_reader())
        if not status["running"]:
            raise Unavailable(f"lsyncd's first pass of {member.pair} has not ended: {status['why']}")
        if status["trustworthy"] and not any(
            delay["event"] == "Init" for sync in syncs for delay in sync["named"]
        ):
            return {"seconds": round(time.monotonic() - started, 2)}
        _require_progress(lsyncd_config.places(member).failed, member.pair, len(syncs))
        if time.monotonic() - started > limit:
            raise Unavailable(_not_drained(member.pair, limit, status, True))
        time.sleep(0.05)


def _require_progress(failed, pair, number):
    """
    Raise when lsyncd's rsync fails again and again: it would go on trying for as long as somebody waits.

    failed
        File with the exit status of each that failed.

    number
        Of folders that lsyncd carries; one cut of the network fails each of them.
    """
    try:
        codes = failed.read_text().split()
    except FileNotFoundError:
        return
    if len(codes) >= FAILURES * max(1, number):
        raise Unavailable(
            f"lsyncd's first pass of {pair} does not end: rsync has failed {len(codes)} times, the last time "
            f"with exit code {codes[-1]} (rsync(1)). lsyncd goes on trying. See `journalctl -u lsyncd`, fix "
            f"what it says, then run this again.{_about(codes[-1])}"
        )


def _about(code):
    """What an exit code of rsync is often about here, a sentence; empty for most."""
    if code != "5":
        return ""
    return (
        " Exit code 5 often means that root's shell on the other node prints something over SSH: "
        "`salt-call state.apply pair.access` there names it."
    )


def _names(syncs):
    """What waits or is being carried, as a set of names; one stands for a queue without names."""
    return {
        (sync["source"], delay["path"])
        for sync in syncs
        for delay in sync["named"] or [{"path": None}] * bool(sync["delays"])
    }


def seen_at(member, name):
    """When lsyncd noted a name in its marker folder, in nanoseconds since 1970; None if it has not."""
    return _seen(lsyncd_config.places(member).seen, name)


def carried_since(member, name):
    """Whether all has been carried that waited when lsyncd saw a name in its marker folder."""
    return _carried(lsyncd_config.places(member).carried, name)


def _carried(path, beginning):
    # lsyncd replaces the file as a whole.
    with contextlib.suppress(FileNotFoundError):
        return any(name.startswith(beginning) for name in path.read_text(errors="replace").splitlines())
    return False


def _seen(path, beginning):
    # When lsyncd noted a name that begins so, or None.
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as handle:
        # In this order: asked for before it is read, the time may be that of an older name.
        if os.fsdecode(handle.read()).startswith(beginning):
            return os.fstat(handle.fileno()).st_mtime_ns
    return None


def _not_drained(pair, limit, status, seen_at):
    if not status["trustworthy"]:
        found = status["why"]
    elif seen_at is None:
        found = (
            "It has not read its events all that time: it has not noted a file that was made for it to see. "
            "It is stopped, or still busy with what came before."
        )
    else:
        names = ", ".join(
            f"{one['path']!r} ({one['event']}, {one['status']})" for one in status["waiting_for"][:3]
        )
        more = f", and {status['waiting'] - 3} more" if status["waiting"] > 3 else ""
        found = (
            f"{status['waiting']} changes still wait: {names}{more}."
            if names
            else (
                "The queue is empty, but these run: "
                f"{'; '.join(children(status['pid']))[:300] or 'none any more'}."
            )
        )
    return (
        f"lsyncd of {pair} has not carried everything to the standby within {limit} seconds. "
        f"{found} What is not carried would be lost with this node. See `journalctl -u lsyncd`, "
        "fix what it reports, then run this again."
    )
