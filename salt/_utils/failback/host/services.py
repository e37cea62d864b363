"""
Systemd's units of a pair: what they do, starting them so that they are proved up, stopping them.

Works without Salt, because the watch and the giver of a handover start and stop services as well.

An entry of the pillar's ``services`` or ``active_services`` may name two commands: ``proof`` ends with
0 when the service really answers, and ``status`` tells in systemd's stead whether it is on, with the
exit statuses of an LSB init script: 0 on, 3 off, anything else is no answer. A switch inside another
daemon, such as Nagios' notifications, has a unit that says "active" whatever the daemon does.
"""

import threading
import time

from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unavailable
from failback.host import system

LSYNCD = "lsyncd.service"

#: Seconds a service must stay up before it counts as started.
STAYS_UP = 2.0
#: Seconds for a service's own proof, such as ``scontrol ping``, to succeed.
PROOF_LIMIT = 60
#: Seconds for one answer of a ``status`` command, and for it to follow a start or a stop.
STATUS_LIMIT = 5
FOLLOWS_LIMIT = 20
#: Seconds for systemd to start or stop one unit. Its own limits end at 90 (DefaultTimeoutStartSec).
SYSTEMD_LIMIT = 180

#: Exit statuses of ``status``, LSB 5.0 (22.2, Init Script Actions).
ON, OFF = 0, 3

#: Systemd's states in which a unit does something.
RUNNING = ("active", "activating", "reloading", "deactivating")


#: What systemd says (LoadState) of a unit that it cannot start.
NOT_LOADED = ("not-found", "masked", "bad-setting", "error")


def unit(name):
    """The entry of a unit of which systemd itself tells the truth; the shape is the normalised pillar's."""
    return {"name": name, "proof": None, "status": None}


def of_the_active_node(config):
    """
    What runs on the active node alone, in the order in which it is stopped: lsyncd, then the active
    services, last started first.

    Returns a list of ``(key, entry)``, as :func:`stop` takes them.
    """
    last_first = reversed(config["active_services"])
    return [("replicate", unit(LSYNCD)), *(("active_services", one) for one in last_first)]


def stop_active(config):
    """
    Stop what only the active node runs, last started first, each on its own.

    config
        The node's configuration of the pair.

    Returns what did not stop, as sentences.
    """
    return stop_each(config, of_the_active_node(config))


def stop_each(config, entries):
    """
    :func:`stop` some services of a pair, each on its own: one that does not stop keeps no other running.

    entries
        ``(key, service)`` as :func:`of_the_active_node` has them.

    Returns what did not stop, as sentences.
    """
    still = []
    for key, one in entries:
        try:
            stop(config["name"], key, one, config["node"])
        except FailbackError as error:
            still.append(str(error))
    return still


def states(entries):
    """
    What services do: asked of systemd in one call, and of their ``status`` commands all at once.

    entries
        Normalised entries of the pillar: ``{"name", "proof", "status"}``; ``.service`` may be left out
        of a name.

    Returns ``{name: state}`` with systemd's ActiveState (``active``, ``inactive``, ``failed`` …), or, for a
    unit that does not run and cannot be started, its LoadState (``not-found``, ``masked`` …). With a
    ``status`` command: ``active``, ``inactive``, or ``unknown`` when it gave no answer.
    """
    entries = list(entries)
    units = _systemd([one["name"] for one in entries])
    found = {name: _state(facts) for name, facts in units.items()}
    asked = [one for one in entries if one.get("status") and found[one["name"]] not in NOT_LOADED]
    # Not concurrent.futures: the giver asks too, and it takes longer to load than most answers take.
    threads = [
        threading.Thread(target=lambda one=one: found.update({one["name"]: _truth(one)[0]}), daemon=True)
        for one in asked
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def start(pair, key, service, node):
    """
    Start a service and see to it that it is up: it stays up, is on by its ``status``, and its proof succeeds.

    A unit that systemd calls active while its ``status`` says otherwise is restarted, for systemd starts
    nothing that it believes to run.

    pair, key, node
        For the sentences: the pair, ``services`` or ``active_services``, and the node on which this is.

    service
        One normalised entry.

    Returns ``"started"`` or ``"already running"``. Raises ``Refused`` for a unit that does not exist,
    ``Unavailable`` for one that does not start, does not stay up, or does not prove itself.
    """
    name = service["name"]
    where = f"{pair}: {name} ({key})"
    before = _systemd([name])[name]
    if _state(before) == "not-found":
        raise Refused(
            f"{pair}: {key} names {name}, which is no unit on {node}. Install it or correct the pillar; "
            f"nothing after it was started."
        )
    up = _state(before) == "active"
    on = up and (not service.get("status") or _truth(service)[0] == "active")
    if not on:
        if _state(before) == "failed":
            # One that died often has used up its starts (StartLimitBurst=); this one is meant.
            _systemctl(["reset-failed"], name, f"clear the failure of {name}")
        try:
            _systemctl(["restart" if up else "start"], name, f"start {name}")
        except Unavailable as error:
            said = f"{error} {_said(name)}".strip()
            raise Unavailable(
                f"{where} did not start on {node}; nothing after it was started. {said}"
            ) from error
        _stays_up(where, name, node)
    if not on and service.get("status"):
        _follows(where, service, node)
    if service["proof"]:
        _prove(where, service, node)
    return "already running" if on else "started"


def stop(pair, key, service, node, limit=SYSTEMD_LIMIT):
    """
    Stop a service, and see to it that it is off.

    A service that is on by its ``status`` while its unit is not active is started first: systemd runs
    the commands that stop a unit only if it believes it to be up.

    pair, key, service, node
        As in :func:`start`.

    limit
        Seconds for systemd to stop it.

    Returns ``"stopped"``, ``"not running"``, or ``"unknown"`` when its ``status`` command gives no answer
    even after the unit was stopped. Raises ``Unavailable`` when it is still on.
    """
    name = service["name"]
    where = f"{pair}: {name} ({key})"
    believed = _state(_systemd([name])[name])
    truth = believed
    if service.get("status") and believed != "not-found":
        truth, _ = _truth(service)
    if believed not in RUNNING and truth != "active":
        return "unknown" if truth == "unknown" else "not running"
    try:
        if believed not in RUNNING:
            _systemctl(["start"], name, f"start {name}, so that it can be stopped")
        _systemctl(["stop"], name, f"stop {name}", limit)
    except Unavailable as error:
        raise Unavailable(f"{where} did not stop on {node}. {error} {_said(name)}".strip()) from error
    believed = _state(_systemd([name])[name])
    if believed in RUNNING:
        raise Unavailable(f"{where} was stopped on {node} and is still {believed}. {_said(name)}".strip())
    if not service.get("status"):
        return "stopped"
    truth, said = _wait_for(service, lambda state: state != "active")
    if truth == "active":
        raise Unavailable(
            f"{where} was stopped on {node} and is still on after {FOLLOWS_LIMIT} s, says its status "
            f"command: {said}".strip()
        )
    return "stopped" if truth == "inactive" else "unknown"


def facts(names):
    """
    What systemd says of several units, in one call.

    Returns by name ``LoadState``, ``ActiveState``, ``NRestarts`` and ``MainPID``, as texts. Raises
    ``Unavailable`` when systemd does not answer within ten seconds.
    """
    return _systemd(names)


def _systemd(names):
    """Facts of several units in one call, by name; a unit that does not exist says so in LoadState."""
    names = list(names)
    if not names:
        return {}
    text = system.run(
        ["systemctl", "show", "--property=LoadState,ActiveState,NRestarts,MainPID", "--", *names],
        10,
        "ask systemd for the state of services",
    )
    blocks = text.strip().split("\n\n")
    return {
        name: dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        for name, block in zip(names, blocks)
    }


def _state(facts):
    loaded, state = facts.get("LoadState"), facts.get("ActiveState", "unknown")
    missing = loaded == "not-found" or (loaded in NOT_LOADED and state not in RUNNING)
    return loaded if missing else state


def _truth(service):
    """What the ``status`` command says: ``active``, ``inactive`` or ``unknown``, and its own words."""
    argv = list(service["status"])
    try:
        code, said = system.exit_status(argv, STATUS_LIMIT, f"ask for the status of {service['name']}")
    except FailbackError as error:
        return "unknown", str(error)
    return {ON: "active", OFF: "inactive"}.get(code, "unknown"), said or f"exit status {code}, nothing said."


def _wait_for(service, wanted):
    """Ask the ``status`` command until it says what is wanted, or the limit is over; its last answer."""
    end = time.monotonic() + FOLLOWS_LIMIT
    while True:
        truth, said = _truth(service)
        if wanted(truth) or time.monotonic() >= end:
            return truth, said
        time.sleep(0.2)


def _follows(where, service, node):
    truth, said = _wait_for(service, lambda state: state == "active")
    if truth != "active":
        state = "off" if truth == "inactive" else "not known to be on"
        raise Unavailable(
            f"{where} was started on {node} and is {state} after {FOLLOWS_LIMIT} s, by its status command; "
            f"nothing after it was started. {said}".strip()
        )


def _stays_up(where, name, node):
    """A service that starts and dies at once has not started: look for as long as that takes."""
    begun = time.monotonic()
    first = None
    while True:
        facts = _systemd([name])[name]
        state, restarts = _state(facts), facts.get("NRestarts")
        first = first or facts
        if state not in ("active", "activating", "reloading") or restarts != first.get("NRestarts"):
            raise Unavailable(
                f"{where} started on {node} and is now {state} after {restarts} restarts; nothing after it "
                f"was started. {_said(name)}".strip()
            )
        passed = time.monotonic() - begun
        if passed >= STAYS_UP and state == "active":
            return
        if passed >= STAYS_UP + PROOF_LIMIT:
            raise Unavailable(
                f"{where} is still {state} on {node} after {PROOF_LIMIT} s; nothing after it was started. "
                f"{_said(name)}".strip()
            )
        time.sleep(0.2)


def _prove(where, service, node):
    end = time.monotonic() + PROOF_LIMIT
    while True:
        try:
            return system.run(list(service["proof"]), 10, f"prove that {service['name']} serves")
        except FailbackError as error:
            if time.monotonic() >= end:
                raise Unavailable(
                    f"{where} runs on {node} but did not prove itself within {PROOF_LIMIT} s; nothing after "
                    f"it was started. {error}"
                ) from error
        time.sleep(0.5)


def _systemctl(verb, name, what, limit=SYSTEMD_LIMIT):
    return system.run(["systemctl", *verb, "--", name], limit, what)


def _said(name):
    """The last lines that a service logged."""
    try:
        return system.run(
            ["journalctl", "--no-pager", "--quiet", "--output=cat", "--lines=5", f"--unit={name}"],
            10,
            "read the journal",
        ).strip()
    except FailbackError:
        return ""
