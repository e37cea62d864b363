"""
Virtual machines on this host, through ``virsh``: what is true of them, and what is done to them.

``virsh`` is there wherever libvirt is, and speaks alike to all its releases; Salt 3008 has no module of
its own for it any more, and the binding of Python is not in Salt's own Python. Each call is an argument list
with a limit; a libvirt that hangs is an error, never an answer.
"""

import os
import pathlib
import time

from failback.decisions import guests
from failback.errors import FailbackError
from failback.errors import Unavailable
from failback.guests import claims
from failback.guests import storage
from failback.host import system

URI = "qemu:///system"
#: Seconds for an answer of libvirt's that needs no guest.
ANSWER = 10
#: Seconds for a start: the emulator may have to fetch and clear a lot of memory.
START_LIMIT = 120


def call(*words, limit=ANSWER, what="ask libvirt"):
    """Run virsh and return what it prints. Raises ``Unavailable``."""
    # The words of messages and states are translated otherwise.
    return system.run(["virsh", "--quiet", "--connect", URI, *words], limit, what, env={"LC_ALL": "C"})


def facts(member):
    """
    What is true of the guests of a pair on this host now.

    Returns a dict of JSON types:

    ``node``, ``boot_id``
        Who says so, and its current boot.
    ``storage``, ``storage_error``
        The mark on the shared storage; why the storage cannot be used here, or None.
    ``locks_error``
        Why virtlockd would not guard a disk here, or None; not looked at without the storage.
    ``guests``
        For each guest: ``state`` (``running``, ``paused``, ``in shutdown``, ``crashed``, ``suspended``,
        ``off`` or ``undefined``), ``reason`` (libvirt's number), ``processes`` (ids of the emulator's),
        ``claimed`` (somebody is at it), ``saved`` (its memory is saved here), ``autostart``,
        ``definition`` (a digest), ``file`` (that of its file), ``problems`` (sentences).

    Raises ``FailbackError`` when libvirt does not answer: then nothing is known.
    """
    names = {guest: guests.domain(member.config, guest) for guest in member.config["vms"]}
    # Before the states: who claims a guest after this look will ask this host's peer, and find its claim.
    at_work = {guest: claims.claimed(member, guest) for guest in names}
    states = parse_states(call("domstats", "--state", "--nowait", what="ask libvirt for the guests' states"))
    saved = set(call("list", "--all", "--with-managed-save", "--name").split())
    autostart = set(call("list", "--all", "--autostart", "--name").split())
    processes = emulators(names.values())
    mark, storage_error = storage.storage_mark(member)
    found = {}
    for guest, name in names.items():
        state, reason = states.get(name, (guests.UNDEFINED, 0))
        definition, problems = None, []
        if name in states:
            text = known_definition(name)
            definition = guests.definition_digest(text)
            # Links are followed on storage that answers.
            resolved = os.path.normpath if storage_error else os.path.realpath
            problems = guests.problems(text, member.config["virtualization"]["storage"], resolved)
        found[guest] = {
            "state": state,
            "reason": reason,
            "processes": processes.get(name, []),
            "claimed": at_work[guest],
            "saved": name in saved,
            "autostart": name in autostart,
            "definition": definition,
            "file": _file_digest(name, member.paths),
            "problems": problems,
        }
    return {
        "node": member.node,
        "boot_id": system.boot_id(),
        "storage": mark,
        "storage_error": storage_error,
        "locks_error": None if storage_error else storage.locks_error(member),
        "guests": found,
    }


def parse_states(text):
    """
    What ``virsh domstats --state`` printed, as ``{domain: (state, reason)}``. Pure.

    The numbers are libvirt's own and never change their meaning; unlike the words, they are not translated.
    """
    found, name = {}, None
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("Domain: '") and line.endswith("'"):
            name = line[len("Domain: '") : -1]
            found[name] = {}
        elif "=" in line and name is not None:
            key, _, value = line.partition("=")
            found[name][key] = int(value) if value.isdigit() else value
    return {
        name: (
            guests.ACTIVE.get(one.get("state.state"), guests.OFF),
            one.get("state.reason", 0),
        )
        for name, one in found.items()
    }


def known_definition(name):
    """The definition that libvirt would start a domain by, as XML with all secrets."""
    return call("dumpxml", "--inactive", "--security-info", "--domain", name)


def _file_digest(name, paths):
    try:
        return guests.definition_digest(definition_file(name, paths).read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, FailbackError):
        return "unreadable"


def definition_file(name, paths):
    """Where libvirt keeps the definition of a domain."""
    return paths.root / "etc/libvirt/qemu" / f"{name}.xml"


def emulators(names, proc="/proc"):
    """
    The processes of domains on this host, whether libvirt knows them or not: ``{domain: [pid, …]}``.

    libvirt names the guest on the emulator's command line, ``-name guest=<domain>,…``.
    """
    wanted = {f"guest={name}".encode(): name for name in names}
    found = {}
    for place in pathlib.Path(proc).iterdir():
        if not place.name.isdigit():
            continue
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        for before, word in zip(words, words[1:]):
            name = wanted.get(word.split(b",")[0]) if before == b"-name" else None
            if name:
                found.setdefault(name, []).append(int(place.name))
    return found


def running(config):
    """The guests of a pair that have a process on this host, by the kernel's word alone."""
    names = {guests.domain(config, guest): guest for guest in config["vms"]}
    found = emulators(names) if names else {}
    return [guest for name, guest in names.items() if name in found]


def autostarted(config):
    """The guests that libvirt would start at boot."""
    names = {guests.domain(config, guest): guest for guest in config["vms"]}
    listed = call("list", "--all", "--autostart", "--name").split()
    return [names[name] for name in listed if name in names]


def no_autostart(config):
    """Have none of them started at boot. Returns those that were."""
    found = autostarted(config)
    for guest in found:
        call("autostart", "--disable", "--domain", guests.domain(config, guest))
    return found


def learn(member):
    """
    Let libvirt know the definitions that have changed on the disk. A running guest is not disturbed.

    Returns the guests whose definition was news. Raises ``Unavailable`` when libvirt refuses some, after all
    others are known.
    """
    learned, refused = [], []
    for guest in member.config["vms"]:
        name = guests.domain(member.config, guest)
        place = definition_file(name, member.paths)
        there = _file_digest(name, member.paths)
        if there is None:
            continue
        try:
            known = guests.definition_digest(known_definition(name))
        except Unavailable:
            known = None
        if known == there:
            continue
        try:
            call("define", "--file", str(place), what=f"let libvirt know {place}")
            learned.append(guest)
        except Unavailable as error:
            refused.append(str(error))
    if refused:
        raise Unavailable(" ".join(refused))
    return learned


def start(name):
    """Start a domain. Raises ``Unavailable``, with virtlockd's word if another host has its disk."""
    call("start", "--domain", name, limit=START_LIMIT, what=f"start {name}")


def resume(name):
    """Let a paused domain go on. Raises ``Unavailable``."""
    call("resume", "--domain", name, limit=START_LIMIT, what=f"resume {name}")


def state(name):
    """State and reason of one domain, as in ``parse_states``."""
    text = call(
        "domstats", "--state", "--nowait", "--domain", name, what=f"ask libvirt for the state of {name}"
    )
    return parse_states(text)[name]


def shut_down(name, limit):
    """
    Ask a guest to shut down, and wait until it is off.

    limit
        Seconds.

    Raises ``Unavailable`` when it runs still: nobody pulls its plug but a person.
    """
    end = time.monotonic() + limit
    asked = 0.0
    while True:
        found, _ = state(name)
        if found == guests.OFF:
            return
        now = time.monotonic()
        if now >= end:
            raise Unavailable(
                f"{name} was asked to shut down and is {found} after {limit:g} s. It was left alone; shut it "
                f"down from inside, or end it: virsh destroy {name}"
            )
        if now - asked >= 10:
            # A guest that is still starting misses the first time.
            call("shutdown", "--domain", name, what=f"shut {name} down")
            asked = now
        time.sleep(0.2)
