"""
An operator's word that a node is off, for the moments in which it cannot be asked.

The word is recorded on the node that acts on it, with who gave it and why. It expires, it does not
survive a reboot of that node, and it is void as soon as the node that is said to be off answers: a
process of its own knocks there once a second for as long as the word counts, and the word counts only
while that process lives::

    member.fencing.record(declared(member.config, "mgmt1", "burnt PSU"), run, owner, seconds=900)
    member.fencing.require("mgmt1")       # raises unless it counts now
"""

import contextlib
import os
import socket
import time

from failback.errors import Refused
from failback.errors import Unavailable
from failback.host import files
from failback.host import system
from failback.state import ledger

VERSION = 1

#: Where a node answers if it is on: the two nodes of a pair reach each other over SSH.
PORT = 22
#: Seconds for an answer of a node that is on. On one link it takes milliseconds.
KNOCK = 1.0
#: Seconds between two knocks.
EVERY = 1.0
#: Seconds for the knocking process to begin.
BEGINS_WITHIN = 10
#: Characters of a reason.
LONGEST_REASON = 500


def declared(config, node, reason):
    """
    Check an operator's words. Pure.

    node
        What was given as ``fenced``: the id of the node that is off, or None.

    reason
        What was given as ``reason``, or None. A node that a fence agent switches off needs none.

    Returns ``{"node": …, "reason": …}``, or None when nothing was declared. Raises ``Refused``.
    """
    ids = (config["primary"]["id"], config["secondary"]["id"])
    how = 'fenced: <node that is off>, reason: "how you know"'
    if node is None and reason is None:
        return None
    if node is None:
        raise Refused(f"A reason without the node that is off says nothing. Give both: {how}")
    if not isinstance(node, str) or node not in ids:
        raise Refused(
            f"fenced must name {ids[0]} or {ids[1]}, the nodes of {config['name']}, not {node!r}. "
            f"Give both: {how}"
        )
    if reason is None and node in (config.get("fence") or {}).get("nodes", {}):
        return {"node": node, "reason": None}
    return {"node": node, "reason": require_reason(f"fenced: {node}", reason)}


def require_reason(word, reason):
    """
    What an operator says of a node needs a reason, one line that the history keeps. Pure.

    word
        What was said, as in ``fenced: mgmt1``.

    reason
        What was given as ``reason``, or None.

    Returns the reason without spaces around it. Raises ``Refused``.
    """
    if not isinstance(reason, str) or not reason.strip():
        raise Refused(
            f"{word} needs a reason: it is your word, and it is kept with the run. Give both: {word}, "
            'reason: "how you know"'
        )
    if len(reason) > LONGEST_REASON or any(ord(one) < 32 or ord(one) == 127 for one in reason):
        raise Refused(f"The reason of {word} must be one line of up to {LONGEST_REASON} characters.")
    return reason.strip()


def answers(host, port=PORT, timeout=KNOCK):
    """
    Whether a node's kernel answers at all, as a sentence, or None.

    A connection and a refusal of one both prove that it is on; silence proves nothing.

    host
        Name or address.

    timeout
        Seconds.
    """
    try:
        with socket.create_connection((host, port), timeout=timeout):
            return f"{host} accepts connections on port {port}"
    except ConnectionError as error:
        # Refused or reset: somebody is there to say so.
        return f"{host} answers on port {port} ({error.strerror})"
    except OSError:
        return None


def in_force(found, boot_id, now, process_started):
    """
    Whether a record still counts. Pure, but for the look-up of a process that it is given.

    boot_id, now
        This node's boot, and the seconds since it (``system.boottime``).

    process_started
        Function from a pid to its start time, or None where there is no such process.
    """
    observer = found.get("observer") or {}
    return (
        found.get("boot_id") == boot_id
        and now < found.get("until", 0)
        and observer.get("started") is not None
        and process_started(observer["pid"]) == observer.get("started")
    )


class Fencing:
    """
    The word that the other node of one pair is off, as this node has it.

    member
        :py:class:`failback.pair.Member`.
    """

    def __init__(self, member):
        self._member = member

    @property
    def path(self):
        """The file."""
        return self._member.paths.fenced(self._member.pair)

    def read(self):
        """
        The word that counts on this node now, or None.

        Returns a dict: ``node``, ``reason``, ``since`` (ISO 8601, UTC), ``left`` (seconds), ``run``,
        ``user``, ``master``, ``agent`` (the fence agent that has proved it, None for a mere word). Raises
        ``Unreadable``.
        """
        found = files.read_json(self.path, f"the word that a node of {self._member.pair} is off", VERSION)
        now = system.boottime()
        if found is None or not in_force(found, system.boot_id(), now, system.process_started):
            return None
        return {**found, "left": round(found["until"] - now)}

    def record(self, word, run, owner, seconds, observe=None):
        """
        Record the word that the other node is off, for as long as that node stays silent.

        word
            What ``declared`` returned; with ``agent`` if a fence agent has proved it.

        run, owner
            The run in which it was given, and its process; see ``failback.state.lock.acquire``.

        seconds
            How long it counts.

        observe
            Starts the process that knocks; tests give another one.

        Returns the record. Raises ``Refused`` when the node answers.
        """
        pair, peer = self._member.pair, self._member.peer
        if word["node"] != peer["id"]:
            raise Refused(f"{word['node']} is this very node, so it is not off. Nothing was done.")
        _require_silence(peer)
        new = {
            "version": VERSION,
            "node": word["node"],
            "reason": word["reason"],
            "agent": word.get("agent"),
            "since": ledger.now(),
            "until": system.boottime() + seconds,
            "boot_id": system.boot_id(),
            "run": run,
            "user": owner.get("user"),
            "master": owner.get("master"),
            "observer": None,
        }
        with self._locked():
            files.write_json(self.path, new)
        (observe or _observe)(self._member)
        end = time.monotonic() + BEGINS_WITHIN
        while self.read() is None:
            if time.monotonic() >= end:
                raise Unavailable(
                    f"Nothing knocks at {peer['id']} after {BEGINS_WITHIN} s, so nobody would notice its "
                    f"return: systemctl status {unit(pair)}"
                )
            time.sleep(0.05)
        system.log(f"{pair}: {said(new)} ({run}).")
        return new

    def require(self, node):
        """Raise ``Refused`` unless an operator's word that ``node`` is off counts here now."""
        found = self.read()
        if not found or found["node"] != node:
            raise Refused(
                f"{node} does not answer, and nobody has declared it off. If you know that it is, say so: "
                f'fenced: {node}, reason: "how you know"'
            )
        _require_silence(self._member.peer)
        return found

    def void(self, why):
        """Let the word count no more. Returns True when there was one."""
        with self._locked():
            found = self.read()
            self.path.unlink(missing_ok=True)
        if found:
            system.log(f"{self._member.pair}: the word that {found['node']} is off is void: {why}.")
        return bool(found)

    def observe(self):
        """
        Knock at the node that is said to be off, until it answers or the word expires.

        Returns why it ended, a sentence.
        """
        pair, peer = self._member.pair, self._member.peer
        with self._locked():
            found = files.read_json(self.path, f"the word that a node of {pair} is off", VERSION)
            if not found or found.get("boot_id") != system.boot_id():
                return f"Nobody has declared a node of {pair} off."
            own = {"pid": os.getpid(), "started": system.process_started(os.getpid())}
            files.write_json(self.path, {**found, "observer": own})
        while True:
            now = self.read()
            if not now or now["observer"] != own:
                # Expired, voided, or given anew, with another process to knock.
                return f"The word that {found['node']} is off counts no more."
            said = answers(peer["host"])
            if said:
                self.void(said)
                return said
            time.sleep(EVERY)

    def _locked(self):
        return files.locked(self._member.state / ".fenced.flock")


def said(record):
    """Who says that a node is off, and why, in a sentence without its end. Pure."""
    if record.get("agent"):
        return f"{record['node']} is off: {record['reason']}"
    return f"{record['node']} is off by the word of {record['user']}: {record['reason']}"


def _require_silence(peer):
    said = answers(peer["host"])
    if said:
        raise Refused(
            f"{peer['id']} is not off: {said}. What is said to be off and is not would be served twice. "
            f"Nothing was done; leave `fenced` out, or take its power away."
        )


def unit(pair):
    """The transient unit in which the knocking process runs."""
    return f"failback-fenced-{pair}.service"


def _observe(member):
    # A unit of its own: it must outlive the minion's job, and a word given anew replaces it.
    with contextlib.suppress(Unavailable):
        system.run(["systemctl", "stop", unit(member.pair)], 10, "stop knocking")
    system.run(
        [
            "systemd-run",
            "--quiet",
            "--collect",
            f"--unit={unit(member.pair)}",
            str(member.paths.program),
            "observe",
            member.pair,
        ],
        10,
        "start a process that notices when the node is back",
    )
