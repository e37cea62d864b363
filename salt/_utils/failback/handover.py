"""
Addresses change hands: released on the serving node, the last changes brought over, taken here.

Two ends talk over one SSH connection that is opened before anything is released. The *near end* is
the node that becomes active and leads; the *far end* is the node that serves until then. Whatever
dies, somebody serves again by itself:

=============  ====================================================================================
far end is in  what it does when the near end, the network, or its own far-end process dies
=============  ====================================================================================
``armed``      nothing: it still serves
``released``   takes the addresses back in its own generation, at once when the connection ends, and
               at the deadline (a timer of systemd) when even this process is gone
``committed``  at the deadline it looks whether somebody answers for the addresses; if nobody does,
               it takes them back in a new generation
=============  ====================================================================================

The near end takes the addresses only after the far end has answered ``commit``, and only within
``TAKE_WITHIN`` seconds of asking for it. The far end commits only when its deadline is more than
``COMMIT_MARGIN`` seconds away, which is longer: the two can never both believe that it is their turn.
Both measure on their own monotonic clock, so the wall clocks may differ as they like.
"""

import json
import os
import selectors
import subprocess
import time

from failback import address
from failback import configuration
from failback import files
from failback import ledger
from failback import lock
from failback import peer
from failback import system
from failback import takeover
from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unavailable

#: Seconds after asking for the commit in which the near end may take the addresses.
TAKE_WITHIN = 2.0
#: Seconds that must be left before the deadline for the far end to commit.
COMMIT_MARGIN = 4.0
#: Seconds to wait for one answer of the far end that costs it no more than some I/O.
ANSWER_WITHIN = 5.0

ARMED, RELEASED, COMMITTED, DONE, TAKEN_BACK = "armed", "released", "committed", "done", "taken back"


# --- the far end: the node that serves ---------------------------------------------------------


def _state_file(config, paths):
    return paths.volatile(config["name"]) / "handover.json"


def _timer(config):
    return f"failback-take-back-{config['name']}"


def _read_state(config, paths):
    return files.read_json(_state_file(config, paths), "the state of a handover") or {}


def _write_state(config, paths, **changes):
    state = {**_read_state(config, paths), **changes}
    files.write_json(_state_file(config, paths), state)
    return state


def arm(config, run, seconds, paths):
    """
    Arm this node's own way back, before it releases anything.

    seconds
        After which the addresses are taken back unless the handover has ended by then.

    Raises ``Refused`` when this node does not hold the pair for this run, or does not serve.
    """
    pair, node = config["name"], config["node"]
    lock.require(pair, paths, run)
    own = ledger.read(pair, paths)
    if own is None or own["active"] != node or own["boot_id"] != system.boot_id():
        raise Refused(f"{node} does not serve {pair}, so there is nothing to hand over.")
    disarm(config, paths)
    _write_state(
        config, paths, run=run, phase=ARMED, deadline=system.boottime() + seconds, boot_id=own["boot_id"]
    )
    system.run(
        [
            "systemd-run",
            "--quiet",
            "--collect",
            f"--unit={_timer(config)}",
            f"--on-active={seconds}",
            "--timer-property=AccuracySec=50ms",
            f"--description=Takes the addresses of {pair} back when a handover does not end",
            str(paths.program),
            "take-back",
            pair,
            run,
        ],
        10,
        "arm the timer that takes the addresses back",
    )
    return {"armed": True}


def release(config, run, holder, paths):
    """Release the addresses. The state is written first: a crash in between must lead back to serving."""
    state = _read_state(config, paths)
    if state.get("run") != run or state.get("phase") != ARMED:
        raise Refused(f"The handover of run {run} is not armed, so nothing is released.")
    _write_state(config, paths, phase=RELEASED)
    return {"released": holder.release(address.of_pair(config))}


def commit(config, run, paths):
    """
    Give the pair away: from here on the other node may take the addresses, and this one may not.

    Returns the new generation. Raises ``Refused`` when it is too late to be safe.
    """
    pair = config["name"]
    with files.locked(paths.state(pair) / ".change.flock"):
        state = _read_state(config, paths)
        left = state.get("deadline", 0) - system.boottime()
        if state.get("run") != run or state.get("phase") != RELEASED:
            raise Refused(f"The addresses of {pair} are not released by run {run}: {state.get('phase')}.")
        if left < COMMIT_MARGIN:
            raise Refused(
                f"Only {left:.1f} s are left until {config['node']} takes the addresses back; the other "
                f"node could not take them safely any more."
            )
        own = ledger.read(pair, paths)
        other = configuration.peer(config)["id"]
        new = ledger.write(pair, paths, own["generation"] + 1, other, run, f"handover to {other}")
        _write_state(config, paths, phase=COMMITTED)
    return {"generation": new["generation"]}


def disarm(config, paths):
    """End a handover: the timer is stopped, nothing is taken back any more."""
    if _read_state(config, paths):
        _write_state(config, paths, phase=DONE)
    # Stopping a timer that does not exist is no error worth reporting.
    subprocess.run(
        ["systemctl", "stop", f"{_timer(config)}.timer"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=10,
        check=False,
    )
    return {"disarmed": True}


def take_back(config, run, paths):
    """
    Serve again when a handover did not end. Run by the far end itself, and by the timer.

    Returns a sentence about what was done.
    """
    pair, node = config["name"], config["node"]
    with files.locked(paths.state(pair) / ".change.flock"):
        state = _read_state(config, paths)
        if state.get("run") != run or state.get("phase") not in (RELEASED, COMMITTED):
            return f"Nothing to take back in {pair}: the handover is {state.get('phase', 'unknown')}."
        wanted = address.of_pair(config)
        if not wanted:
            _write_state(config, paths, phase=DONE)
            return f"{pair} has no addresses to take back."
        answering = sorted({mac for one in wanted for mac in address.probe(one, timeout=0.3, count=1)})
        if answering:
            _write_state(config, paths, phase=DONE)
            return f"{', '.join(answering)} answers for {pair}: {node} leaves the addresses alone."
        if state["phase"] == COMMITTED:
            own = ledger.read(pair, paths)
            ledger.write(
                pair, paths, own["generation"] + 1, node, run, "nobody answered after a handover"
            )
        with address.Holder(wanted) as holder:
            holder.take(wanted, check=False)
        _write_state(config, paths, phase=TAKEN_BACK)
    address.announce_later(pair, paths)
    sentence = f"{node} took the addresses of {pair} back: the handover of run {run} did not end"
    takeover.tell(sentence)
    return sentence


def serve(config, run, paths, requests, answers):
    """
    Be the far end: answer the near end's requests, one JSON object a line, until it is done or gone.

    requests, answers
        Text streams; the SSH connection's standard input and output.
    """
    wanted = address.of_pair(config)

    def say(**answer):
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        with address.Holder(wanted) as holder:
            verbs = {
                "arm": lambda request: arm(config, run, float(request["seconds"]), paths),
                "release": lambda request: release(config, run, holder, paths),
                "commit": lambda request: commit(config, run, paths),
                "prove": lambda request: {
                    "answering": {one.address: address.probe(one, timeout=1.0, count=1) for one in wanted}
                },
                "disarm": lambda request: disarm(config, paths),
                "abort": lambda request: {"comment": take_back(config, run, paths)},
            }
            own = ledger.read(config["name"], paths)
            say(ready=True, ledger=own, macs=_macs(config))
            for line in requests:
                try:
                    request = json.loads(line)
                    say(ok=True, **verbs[request["do"]](request))
                except (FailbackError, ValueError, KeyError, OSError) as error:
                    say(ok=False, error=str(error) or repr(error))
    finally:
        _end(config, run, paths)


def _end(config, run, paths):
    """The connection has ended, in order or not: whoever cannot go on must not leave nobody serving."""
    state = _read_state(config, paths)
    if state.get("run") == run and state.get("phase") == RELEASED:
        # The near end was not given the pair and cannot take it any more, so serve now.
        take_back(config, run, paths)
    elif state.get("run") == run and state.get("phase") == ARMED:
        disarm(config, paths)


def _macs(config):
    """This node's own link-layer addresses on the pair's interfaces."""
    found = {}
    for entry in config["floating_ips"]:
        try:
            with open(f"/sys/class/net/{entry['interface']}/address") as handle:
                found[entry["address"]] = handle.read().strip()
        except OSError:
            found[entry["address"]] = None
    return found


# --- the near end: the node that becomes active ------------------------------------------------


class FarEnd:
    """The connection to the far end. Its ``control`` socket carries the last pass as well."""

    def __init__(self, config, run, paths):
        self.name = configuration.peer(config)["id"]
        self.control = str(paths.volatile(config["name"]) / "ssh")
        files.make_folder(paths.volatile(config["name"]))
        try:
            os.unlink(self.control)
        except FileNotFoundError:
            pass
        # The handover's own session is the master connection, so both live and die together.
        self._process = subprocess.Popen(
            [*peer.ssh(config, paths, "-M", "-S", self.control), "--", "handover", run],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)
        self._buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for stream in (self._process.stdin, self._process.stdout):
            try:
                stream.close()
            except OSError:
                pass
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stderr.close()
        self._selector.close()

    def answer(self, seconds=ANSWER_WITHIN):
        """The next answer. Raises ``Unavailable`` after so many seconds, or when the connection ends."""
        end = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            left = end - time.monotonic()
            if left <= 0 or not self._selector.select(left):
                raise Unavailable(f"{self.name} gave no answer in {seconds} s.")
            chunk = os.read(self._process.stdout.fileno(), 65536)
            if not chunk:
                said = self._process.stderr.read(2000).decode(errors="replace").strip()
                raise Unavailable(f"The connection to {self.name} ended. {said}".strip())
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def ask(self, do, within=ANSWER_WITHIN, **request):
        """One request and its answer within so many seconds. ``Refused`` when the far end says no."""
        try:
            self._process.stdin.write(json.dumps({"do": do, **request}).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise Unavailable(f"The connection to {self.name} has ended: {error}.") from error
        found = self.answer(within)
        if not found.pop("ok"):
            raise Refused(f"{self.name}: {found['error']}")
        return found


class Timeline:
    """What happened when, on this node's own clock."""

    def __init__(self):
        self._start = time.monotonic_ns()
        self.steps = []

    def note(self, what):
        milliseconds = (time.monotonic_ns() - self._start) / 1e6
        self.steps.append({"step": what, "milliseconds": round(milliseconds, 3)})
        return milliseconds


def bring_home(config, run, paths, prepare_last_pass):
    """
    Make this node active: everything from the open connection to the proof.

    config
        This node's configuration of the pair.

    run
        The run that holds the pair on both nodes.

    prepare_last_pass
        Function from the control socket of the connection to the last pass, itself a function of its limit
        in seconds; or to None for a pair without paths. It is called before anything is released.

    Returns a dict: ``generation``; ``window_milliseconds``, the time from the request to release to the
    addresses taken; ``timeline``; ``answering``, who answered for each address afterwards as the far
    end saw it; ``last_pass``. Raises ``FailbackError`` whose message says who serves.
    """
    pair, node = config["name"], config["node"]
    lock.require(pair, paths, run)
    wanted = address.of_pair(config)
    limit = float(config["recovery"]["handover_timeout"])
    timeline = Timeline()
    with FarEnd(config, run, paths) as far, address.Holder(wanted) as holder:
        hello = far.answer(15)
        other = far.name
        theirs = hello["ledger"]
        if theirs is None or theirs["active"] != other:
            raise Refused(f"{other} does not serve {pair}: nothing was changed.")
        _require_sole_holder(config, wanted, hello["macs"], other)
        last_pass = prepare_last_pass(far.control)
        far.ask("arm", 15, seconds=limit)
        timeline.note("the way back is armed")
        released_at = timeline.note("release is asked for")
        try:
            far.ask("release")
            timeline.note("the addresses are released")
            brought = last_pass(limit - COMMIT_MARGIN - 1) if last_pass else None
            timeline.note("the last pass has ended")
        except FailbackError as error:
            raise Unavailable(f"{error} {_back_to(far)}") from error

        asked = time.monotonic()
        try:
            generation = far.ask("commit", TAKE_WITHIN)["generation"]
        except Refused as error:
            raise Unavailable(f"{error} {_back_to(far)}") from error
        timeline.note("the other node has given the pair away")
        try:
            ledger.write(pair, paths, generation, node, run, f"handover from {other}")
            if time.monotonic() - asked > TAKE_WITHIN:
                raise Unavailable(f"{node} was too slow to take the addresses safely.")
            holder.take(wanted, check=False)
            taken_at = timeline.note("the addresses are taken and announced")
        except (FailbackError, OSError) as error:
            holder.release(wanted)
            raise Unavailable(f"{error} {_back_to(far)}") from error

        answering = far.ask("prove", 5.0 + len(wanted))["answering"]
        mine = _macs(config)
        for one in wanted:
            if answering.get(one.address) != [mine[one.address]]:
                raise Unavailable(
                    f"{other} does not see {node} ({mine[one.address]}) answer for {one.address}, but "
                    f"{', '.join(answering.get(one.address) or []) or 'nobody'}. {node} holds it; look at "
                    f"the network between them, then run the recovery again."
                )
        timeline.note("the other node sees this one answer")
        far.ask("disarm", 15)
    address.announce_later(pair, paths)
    return {
        "generation": generation,
        "window_milliseconds": round(taken_at - released_at, 3),
        "timeline": timeline.steps,
        "answering": answering,
        "last_pass": brought,
    }


def _require_sole_holder(config, wanted, macs, other):
    """Duplicate-address detection while it costs nothing: nobody but the far end may answer."""
    for one in wanted:
        strangers = [mac for mac in address.probe(one, timeout=0.5, count=1) if mac != macs[one.address]]
        if strangers:
            raise Refused(
                f"{one.address} is answered for by {', '.join(strangers)}, which is not {other} "
                f"({macs[one.address]}). A third host has the address of {config['name']}: find it first. "
                f"Nothing was changed."
            )


def _back_to(far):
    """Ask the far end to serve again at once, and say how that went."""
    try:
        return f"{far.name} serves again: {far.ask('abort')['comment']}."
    except FailbackError as error:
        return f"{far.name} takes the addresses back by itself within seconds ({error})."
