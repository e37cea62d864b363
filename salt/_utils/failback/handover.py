"""
Addresses change hands: released on the serving node, the last changes brought over, taken here.

Two ends talk over one SSH connection that is opened before anything is released. The *near end* is
the node that becomes active and leads; the *far end* is the node that serves until then. Whatever
dies, somebody serves again by itself:

=============  ====================================================================================
far end is in  what it does when the near end, the network, or its own far-end process dies
=============  ====================================================================================
``armed``      it still serves; it starts again what ``quiesce`` has stopped
``released``   takes the addresses back in its own generation, at once when the connection ends, and
               at the deadline (a timer of systemd) when even this process is gone
``committed``  at the deadline it looks whether somebody answers for the addresses; if nobody does,
               it takes them back in a new generation, and tells the near end. It leaves that be when it
               could not look in time, the other node may have served since; or when nobody of
               ``watch.reachable`` answers either, so that it may be the one that is cut off
=============  ====================================================================================

Meanwhile the near end is ``taking``: its own watch takes nothing then.

Before anything is released the far end is *quiesced*: lsyncd and the active services stop there, so that
nothing is written or carried behind the last pass. Whenever it serves on, it starts them again.

The near end takes the addresses only after the far end has answered ``commit``, and only within
``TAKE_WITHIN`` seconds of asking for it. The far end commits only when its deadline is more than
``COMMIT_MARGIN`` seconds away, which is longer: the two can never both believe that it is their turn.
Both measure on their own monotonic clock, so the wall clocks may differ as they like.
"""

import contextlib
import json
import os
import selectors
import subprocess
import time

from failback import address
from failback import configuration
from failback import files
from failback import gate
from failback import guard
from failback import incoming
from failback import journal_service
from failback import ledger
from failback import lock
from failback import peer
from failback import reachable
from failback import services
from failback import sources
from failback import system
from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unavailable

#: Seconds after asking for the commit in which the near end may take the addresses.
TAKE_WITHIN = 2.0
#: Seconds that must be left before the deadline for the far end to commit.
COMMIT_MARGIN = 4.0
#: Seconds to wait for one answer of the far end that costs it no more than some I/O.
ANSWER_WITHIN = 5.0
#: Seconds for the far end to stop lsyncd and the active services; the way back is armed for longer.
QUIESCE_LIMIT = 120.0
#: Seconds after the deadline in which the timer has certainly done its work, or never will.
TAKEN_BACK_WITHIN = 30.0

ARMED, RELEASED, COMMITTED, DONE, TAKEN_BACK = "armed", "released", "committed", "done", "taken back"
#: Of the near end, from before the addresses are released until it has them or has failed.
TAKING = "taking"


# --- the far end: the node that serves ---------------------------------------------------------


def _state_file(config, paths):
    return paths.volatile(config["name"]) / "handover.json"


def _timer(config):
    return f"failback-take-back-{config['name']}"


def read_state(config, paths):
    """How far a handover is on this node: ``run``, ``phase``, ``deadline``, ``generation``; or ``{}``."""
    return files.read_json(_state_file(config, paths), "the state of a handover") or {}


def _write_state(config, paths, **changes):
    state = {**read_state(config, paths), **changes}
    files.write_json(_state_file(config, paths), state)
    return state


def arm(config, run, seconds, paths, again=False):
    """
    Arm this node's own way back, before it stops or releases anything; or set its deadline anew.

    seconds
        After which the addresses are taken back unless the handover has ended by then.

    again
        It must be armed by this run: what has been stopped since must not run again already.

    Raises ``Refused`` when this node does not hold the pair for this run, or does not serve.
    """
    pair, node = config["name"], config["node"]
    lock.require(pair, paths, run)
    with ledger.changing_hands(config["name"], paths):
        own = ledger.read(pair, paths)
        if not ledger.is_active(own, node):
            raise Refused(f"{node} does not serve {pair}, so there is nothing to hand over.")
        _require_own_sources(config, paths)
        before = read_state(config, paths)
        if again and (before.get("run"), before.get("phase")) != (run, ARMED):
            raise Refused(
                f"It took too long to get ready for the handover: {node} has started again what it had "
                f"stopped, and serves {pair} on. Run it again."
            )
        _require_no_other(config, run, before)
        _stop_timer(config)
        _write_state(
            config,
            paths,
            run=run,
            phase=ARMED,
            deadline=system.boottime() + seconds,
            generation=own["generation"],
            # Also what a run had stopped that died, and that was not started again: nobody else knows.
            stopped=before.get("stopped", []) if before.get("phase") in (ARMED, RELEASED, TAKEN_BACK) else [],
        )
    system.run(
        [
            "systemd-run",
            "--quiet",
            "--collect",
            f"--unit={_timer(config)}",
            f"--on-active={seconds}",
            "--timer-property=AccuracySec=50ms",
            # A cable that is out at that very moment must not be the end of it.
            "--property=Restart=on-failure",
            "--property=RestartSec=1",
            "--property=StartLimitIntervalSec=0",
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


def _require_no_other(config, run, before):
    """A handover may go on for seconds after its run has died: the next one waits for its end."""
    left = before.get("deadline", 0) - system.boottime()
    if before.get("phase") == RELEASED and before.get("run") != run and left > -TAKEN_BACK_WITHIN:
        raise Refused(
            f"The handover of run {before['run']} has released the addresses of {config['name']} here and "
            f"has not ended yet. It ends, or {config['node']} takes them back, within "
            f"{max(0.0, left) + TAKEN_BACK_WITHIN:.0f} s; run this again then."
        )


def quiesce(config, run, paths):
    """
    Stop what writes or carries on this node by itself: lsyncd, then the active services, last one first.

    Which they were is written down before the first is stopped; every way back starts them again. So it does
    with what a dead run has left stopped, as far as the pillar still names it.

    Returns ``{"stopped": [unit, …]}`` in the order of stopping. Raises ``FailbackError``.
    """
    with ledger.changing_hands(config["name"], paths):
        state = read_state(config, paths)
        if state.get("run") != run or state.get("phase") != ARMED:
            raise Refused(f"The handover of run {run} is not armed, so nothing is stopped.")
        known = services.of_the_active_node(config)
        found = services.states(one for _, one in known)
        running = [(key, one) for key, one in known if found[one["name"]] in services.RUNNING]
        before = state.get("stopped", [])
        stopped = [one["name"] for key, one in known if (key, one) in running or one["name"] in before]
        if stopped != before:
            _write_state(config, paths, stopped=stopped)
        end = time.monotonic() + QUIESCE_LIMIT - 10
        for key, one in running:
            services.stop(config["name"], key, one, config["node"], limit=max(1, end - time.monotonic()))
    return {"stopped": stopped}


def _start_again(config, paths):
    """What ``quiesce`` has stopped runs again, for this node serves on; the gate still judges lsyncd."""
    stopped = read_state(config, paths).get("stopped")
    if stopped:
        # Not waited for: this must end within the time in which somebody has to serve.
        system.run(["systemctl", "start", "--no-block", "--", *reversed(stopped)], 10, "start services again")
        _write_state(config, paths, stopped=[])


def _require_own_sources(config, paths):
    """
    The paths that are handed over must be where they were.

    The warm pass has looked at this minutes ago. A path that has been unmounted since is empty, and the last
    pass would make it empty on the other node, which then serves.
    """
    pair = config["name"]
    now = sources.facts([one["path"] for one in config["replicate"]], str(paths.root))
    recorded = sources.recorded(pair, paths)["own"]
    problems = guard.own_source_problems(now, recorded, pair, guard.LAST_PASS_WOULD)
    if problems:
        raise Refused(f"{config['node']} does not hand {pair} over and serves on. {' '.join(problems)}")


def release(config, run, holder, paths):
    """
    Release the addresses. The state is written first: a crash in between must lead back to serving.

    Open TCP connections are left as they are: reset now, their clients would connect again while nobody
    answers, and wait a second before they try once more. The near end resets them when it answers; if
    the handover goes back, they go on.

    Returns ``{"released": […], "connections": […]}``; see :py:meth:`failback.address.Holder.connections`.
    """
    wanted = address.of_pair(config)
    with ledger.changing_hands(config["name"], paths):
        state = read_state(config, paths)
        given_away = state.get("phase") == COMMITTED and not config["replicate"]
        if state.get("run") != run or not (state.get("phase") == ARMED or given_away):
            raise Refused(f"The handover of run {run} is not armed, so nothing is released.")
        _require_time(config, state)
        if not given_away:
            _write_state(config, paths, phase=RELEASED)
        connections = holder.connections(wanted)
        return {"released": holder.release(wanted, reset=False), "connections": connections}


def prepare_commit(config, run, paths):
    """The ledger that :py:func:`commit` is going to write, on the disk already; a context manager."""
    own = ledger.read(config["name"], paths)
    other = configuration.peer(config)["id"]
    generation = own["generation"] + 1 if own else 0
    return ledger.Prepared(
        config["name"], paths, generation, other, run, f"handover to {other}", admitted=False
    )


def commit(config, run, paths, prepared=None):
    """
    Give the pair away: from here on the other node may take the addresses, and this one may not.

    A pair without replicated paths is given away before its addresses are released, while this node
    still serves: no data have to come over in between, and nobody waits for the disks then.

    prepared
        What :py:func:`prepare_commit` returned.

    Returns the new generation. Raises ``Refused`` when it is too late to be safe.
    """
    pair = config["name"]
    with ledger.changing_hands(config["name"], paths):
        state = read_state(config, paths)
        ready = RELEASED if config["replicate"] else ARMED
        if state.get("run") != run or state.get("phase") != ready:
            raise Refused(f"The addresses of {pair} are not {ready} by run {run}: {state.get('phase')}.")
        _require_time(config, state)
        own = ledger.read(pair, paths)
        if own is None or own["active"] != config["node"] or own["generation"] != state["generation"]:
            raise Refused(
                f"{config['node']} has changed hands on its own since the handover of {pair} began."
            )
        other = configuration.peer(config)["id"]
        if ready == ARMED:
            # First, so that an end between the two is judged as after the commit: it still serves.
            _write_state(config, paths, phase=COMMITTED)
        # Not admitted to it: what is written there from now on has yet to come here.
        new = ledger.write(
            pair,
            paths,
            own["generation"] + 1,
            other,
            run,
            f"handover to {other}",
            admitted=False,
            prepared=prepared,
        )
        if ready == RELEASED:
            _write_state(config, paths, phase=COMMITTED)
    return {"generation": new["generation"]}


def _require_time(config, state):
    """Too near to the deadline the two nodes' turns could overlap."""
    left = state.get("deadline", 0) - system.boottime()
    if left < COMMIT_MARGIN:
        raise Refused(
            f"Only {left:.1f} s are left until {config['node']} takes the addresses back; the other node "
            f"could not take them safely any more."
        )


def disarm(config, run, paths):
    """End this run's handover: the timer is stopped, nothing is taken back any more."""
    with ledger.changing_hands(config["name"], paths):
        state = read_state(config, paths)
        if state.get("run") != run:
            raise Refused(f"The handover of {config['name']} is not that of run {run}.")
        if state.get("phase") in (RELEASED, TAKEN_BACK):
            raise Refused(f"{config['node']} serves {config['name']} again, or is about to.")
        if state.get("phase") == ARMED:
            # First: should it fail, the timer does it.
            _start_again(config, paths)
        _write_state(config, paths, phase=DONE)
        _stop_timer(config)
    return {"disarmed": True}


def _stop_timer(config):
    # One that goes off all the same finds that there is nothing to do; one that does not exist is no error.
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            ["systemctl", "stop", f"{_timer(config)}.timer"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=10,
            check=False,
        )


def prove(config, run, paths):
    """
    Who answers for the addresses that this node has given away.

    Returns ``answering``, as :py:func:`failback.address.probe_all`, and ``unlinked``, the addresses on
    interfaces of this node without a link: nothing can be seen there, and nobody sees this node. Raises
    ``Refused`` when it has taken them back.
    """
    phase = read_state(config, paths).get("phase")
    if phase != COMMITTED:
        raise Refused(f"The handover of {config['name']} is not given away by run {run} any more: {phase}.")
    # Two, so that a second holder is not overlooked behind the first answer.
    linked, unlinked = address.by_link(address.of_pair(config))
    return {
        "answering": address.probe_all(linked, timeout=0.4, count=2),
        "unlinked": [one.address for one in unlinked],
    }


def take_back(config, run, paths, asked=False):
    """
    Serve again when a handover did not end. Run by the far end itself, and by the timer.

    asked
        The near end gives the pair back: it can be heard, so this node is not cut off.

    Returns a sentence about what was done.
    """
    pair, node = config["name"], config["node"]
    with ledger.changing_hands(config["name"], paths):
        state = read_state(config, paths)
        phase = state.get("phase") if state.get("run") == run else None
        if phase == ARMED:
            # The time is over before anything was released, and nothing may be released any more.
            _start_again(config, paths)
            _write_state(config, paths, phase=DONE)
        elif phase == TAKEN_BACK:
            # Once more, after an end in which not everything had been started again.
            _start_again(config, paths)
        if phase not in (RELEASED, COMMITTED):
            return f"Nothing to take back in {pair}: the handover is {state.get('phase', 'unknown')}."
        wanted = address.of_pair(config)
        if not wanted:
            if phase == RELEASED:
                # Its ledger still names it active: without addresses that is all there is to serving.
                _start_again(config, paths)
            _write_state(config, paths, phase=DONE)
            return f"{pair} has no addresses to take back."
        if phase == COMMITTED and system.boottime() > state["deadline"] + TAKEN_BACK_WITHIN:
            _write_state(config, paths, phase=DONE)
            sentence = (
                f"{node} leaves the addresses of {pair} alone: it could not look in time whether the other "
                f"node has them, which may have served since. See salt-run pair.status {pair}"
            )
            system.log(sentence)
            return sentence
        linked, _ = address.by_link(wanted)
        # With no link at all this raises, and the timer's unit tries again. So it does while this node may be
        # the one that is cut off: the other one has been given the pair, and clients may be with it.
        if phase == COMMITTED and not asked and reachable.answers(config) is False:
            raise Unavailable(
                f"None of {', '.join(config['watch']['reachable'])} answers {node}, which may be the one "
                f"that is cut off: the addresses of {pair} were given away, and are not taken back."
            )
        found = address.probe_all(linked or wanted, timeout=0.3)
        answering = sorted({mac for macs in found.values() for mac in macs})
        if answering:
            _write_state(config, paths, phase=DONE)
            return f"{', '.join(answering)} answers for {pair}: {node} leaves the addresses alone."
        given_away = ledger.read(pair, paths)["active"] != node
        if given_away:
            # Whatever the phase says: a crash may lie between the two.
            own = ledger.read(pair, paths)
            ledger.write(pair, paths, own["generation"] + 1, node, run, "nobody answered after a handover")
        with address.Holder(wanted) as holder:
            holder.take(wanted, check=False)
        _write_state(config, paths, phase=TAKEN_BACK)
        address.announce_later(pair, paths)
        _start_again(config, paths)
    if given_away:
        # The near end's ledger may name it active already, and its watch would rely on that.
        system.start_detached([str(paths.program), "ask-to-yield", pair])
    sentence = f"{node} took the addresses of {pair} back: the handover of run {run} did not end"
    system.log(sentence)
    return sentence


def serve(config, run, paths, requests, answers):
    """
    Be the far end: answer the near end's requests, one JSON object a line, until it is done or gone.

    requests, answers
        Text streams; the SSH connection's standard input and output.
    """
    wanted = address.of_pair(config)
    timeline = Timeline()

    def say(**answer):
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    def do_release(request):
        timeline.note("asked to release")
        done = release(config, run, holder, paths)
        timeline.note("the addresses are released")
        # Asked last: what was written up to the release is in it.
        done.update(journals.changes(request.get("also")))
        if config["replicate"]:
            timeline.note("what has changed is named")
        return {**done, "timeline": timeline.steps}

    def do_commit(_request):
        timeline.note("asked to give the pair away")
        done = commit(config, run, paths, prepared)
        timeline.note("the ledger names the other node")
        return {**done, "timeline": timeline.steps}

    def do_disarm(_request):
        done = disarm(config, run, paths)
        # Nobody waits for it now. Its clients were reset by the node that answers since.
        return {**done, "connections_reset": holder.reset_connections()}

    try:
        with contextlib.ExitStack() as stack:
            holder = stack.enter_context(address.Holder(wanted))
            journals = stack.enter_context(_Journals(config, run, paths))
            prepared = stack.enter_context(prepare_commit(config, run, paths))
            verbs = {
                "arm": lambda request: {
                    **arm(config, run, float(request["seconds"]), paths, bool(request.get("again"))),
                    **journals.open(),
                },
                "look_closely": lambda request: journals.look_closely(),
                "quiesce": lambda request: quiesce(config, run, paths),
                "release": do_release,
                "commit": do_commit,
                "prove": lambda request: prove(config, run, paths),
                "disarm": do_disarm,
                "abort": lambda request: {"comment": take_back(config, run, paths, asked=True)},
            }
            own = ledger.read(config["name"], paths)
            say(ready=True, ledger=own, macs=_macs(config))
            for line in requests:
                number = None
                try:
                    request = json.loads(line)
                    number = request["number"]
                    say(number=number, ok=True, **verbs[request["do"]](request))
                except (FailbackError, ValueError, LookupError, TypeError, OSError) as error:
                    say(number=number, ok=False, error=str(error) or repr(error))
    finally:
        _end(config, run, paths)


class _Journals:
    """The journals of changes on this node, if any are kept; connected to before anything is released."""

    def __init__(self, config, run, paths):
        self._arguments = config["name"], paths
        self._run = run
        self._client = None
        self._why = "no journal of changes was asked for"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._client:
            self._client.close()

    def open(self):
        if self._client is None:
            try:
                self._client = journal_service.Client(*self._arguments)
            except FailbackError as error:
                self._why = str(error)
        return {"journal": None if self._client else self._why}

    def look_closely(self):
        """Do now what would take its time in the window: :py:func:`failback.journal.look_closely`."""
        if self._client:
            try:
                self._client.ask("look_closely")
            except FailbackError as error:
                self._give_up(error)
        return {"journal": None if self._client else self._why}

    def _give_up(self, error):
        self._why = str(error)
        self._client.close()
        self._client = None

    def changes(self, also):
        """``changes``: what the journals answer, or None; ``why`` there is nothing."""
        if self._client:
            try:
                return {"changes": self._client.changes(self._run, also), "why": None}
            except FailbackError as error:
                self._give_up(error)
        return {"changes": None, "why": self._why}


def _end(config, run, paths):
    """The connection has ended, in order or not: whoever cannot go on must not leave nobody serving."""
    state = read_state(config, paths)
    if state.get("run") == run and state.get("phase") == RELEASED:
        # The near end was not given the pair and cannot take it any more, so serve now.
        take_back(config, run, paths)
    elif state.get("run") == run and state.get("phase") == ARMED:
        disarm(config, run, paths)


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
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.control)
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
        self._number = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        peer.hang_up(self._process)
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
        self._number += 1
        message = {"number": self._number, "do": do, **request}
        end = time.monotonic() + within
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise Unavailable(f"The connection to {self.name} has ended: {error}.") from error
        found = self.answer(within)
        while found.pop("number", None) != self._number:
            # The late answer to a request that was given up.
            found = self.answer(max(0.0, end - time.monotonic()))
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


def become_active(config, run, paths, prepare_last_pass):
    """
    Make this node, primary or secondary, active: everything from the open connection to the proof.

    config
        This node's configuration of the pair.

    run
        The run that holds the pair on both nodes.

    prepare_last_pass
        Function from the control socket of the connection to a ``failback.reverse_rsync.LastPass``, or to
        None for a pair without paths. It is called before anything is released.

    Returns a dict: ``generation``; ``window_milliseconds``, the time from the request to release to the
    addresses taken; ``timeline``, and ``far_timeline`` on the other node's own clock; ``connections``, how
    many of clients were reset; ``answering``, who answered for each address afterwards as the far
    end saw it; ``last_pass``; ``stopped``, the units that were stopped on the other node. Raises
    ``FailbackError`` whose message says who serves.
    """
    pair, node = config["name"], config["node"]
    lock.require(pair, paths, run)
    wanted = address.of_pair(config)
    limit = float(config["recovery"]["handover_timeout"])
    timeline = Timeline()
    with contextlib.ExitStack() as stack:
        far = stack.enter_context(FarEnd(config, run, paths))
        holder = stack.enter_context(address.Holder(wanted))
        hello = far.answer(15)
        other = far.name
        theirs = hello["ledger"]
        if theirs is None or theirs["active"] != other:
            raise Refused(f"{other} does not serve {pair}: nothing was changed.")
        # A ledger that could not take the new generation must not be found out when nobody serves.
        own = ledger.read(pair, paths)
        if own and own["generation"] > theirs["generation"]:
            raise Refused(
                f"{node} knows generation {own['generation']} of {pair} and {other} only "
                f"{theirs['generation']}: the newer data may be here. Nothing was changed; see "
                f"`salt-run pair.status {pair}`."
            )
        _require_sole_holder(config, wanted, hello["macs"], other)
        gate.require_in_place(config, paths, f"{other} serves {pair} on.")
        # Armed for as long as stopping may take, and anew for the handover itself.
        far.ask("arm", 15, seconds=limit + QUIESCE_LIMIT)
        stopped = far.ask("quiesce", QUIESCE_LIMIT)["stopped"]
        # An rsync of the lsyncd that was stopped must not write between the last pass and the end.
        incoming.end(pair, paths)
        last_pass, also = prepare_last_pass(far.control), None
        if last_pass:
            # Closed when somebody serves, which takes its time.
            stack.callback(last_pass.close)
            also = last_pass.expect()
            far.ask("look_closely", 15)
        generation, why = theirs["generation"] + 1, f"handover from {other}"
        prepared = stack.enter_context(ledger.Prepared(pair, paths, generation, node, run, why))
        stack.enter_context(_taking(config, run, limit, paths))
        gate.require_in_place(config, paths, f"{other} serves {pair} on.")
        far.ask("arm", 15, seconds=limit, again=True)
        timeline.note("the way back is armed")
        brought = None

        def give_up():
            holder.release(wanted)
            _renounce(config, run, paths)

        with _or_back(far, give_up):
            if not config["replicate"]:
                # Nothing has to come over, so the ledgers can be written while the other node still serves.
                given = far.ask("commit", TAKE_WITHIN)
                timeline.note("the other node has given the pair away")
                ledger.write(pair, paths, given["generation"], node, run, why, prepared=prepared)
            asked = time.monotonic()
            released_at = timeline.note("release is asked for")
            released = far.ask("release", also=also)
            timeline.note("the addresses are released")
            if config["replicate"]:
                if last_pass:
                    last_pass.name(released["changes"], released["why"])
                    brought = last_pass.run(limit - COMMIT_MARGIN - 1)
                timeline.note("the last pass has ended")
                # What has come over must be where this node is going to serve it from.
                gate.require_in_place(config, paths, f"{node} does not take {pair}.")
                asked = time.monotonic()
                given = far.ask("commit", TAKE_WITHIN)
                timeline.note("the other node has given the pair away")
        with _or_back(far, give_up):
            if config["replicate"]:
                ledger.write(pair, paths, given["generation"], node, run, why, prepared=prepared)
                timeline.note("the ledger names this node")
            if time.monotonic() - asked > TAKE_WITHIN:
                raise Unavailable(f"{node} was too slow to take the addresses safely.")
            holder.take(wanted, check=False)
            taken_at = timeline.note("the addresses are taken and announced")
            holder.tickle(released["connections"])
            timeline.note("the clients' connections are reset")
            if time.monotonic() - asked > COMMIT_MARGIN:
                # Stopped in the very moment: the far end may have taken them back since.
                raise Unavailable(f"{node} stood still while it took the addresses.")
        answering = _proved(config, far, wanted, give_up)
        timeline.note("the other node sees this one answer")
        far.ask("disarm", 15)
    address.announce_later(pair, paths)
    return {
        "generation": given["generation"],
        "window_milliseconds": round(taken_at - released_at, 3),
        "timeline": timeline.steps,
        "far_timeline": (released if not config["replicate"] else given)["timeline"],
        "connections": len(released["connections"]),
        "answering": answering,
        "last_pass": brought,
        "stopped": stopped,
    }


@contextlib.contextmanager
def _taking(config, run, seconds, paths):
    """This node is about to take the addresses: its own watch leaves them alone for so many seconds."""
    pair, node = config["name"], config["node"]
    with ledger.changing_hands(pair, paths):
        _require_no_other(config, run, read_state(config, paths))
        if ledger.is_active(ledger.read(pair, paths), node):
            raise Refused(f"{node} has taken {pair} over by itself since this run began.")
        deadline = system.boottime() + seconds
        _write_state(config, paths, run=run, phase=TAKING, deadline=deadline, stopped=[])
    try:
        yield
    finally:
        _write_state(config, paths, phase=DONE)


@contextlib.contextmanager
def _or_back(far, undo):
    """Whatever fails in the window: undo what was done here, and let the far end serve again at once."""
    try:
        yield
    except (FailbackError, OSError, ValueError, LookupError) as error:
        raise Unavailable(f"{error} {_gone_back(far, undo)}") from error


def _gone_back(far, undo):
    try:
        undo()
    except (FailbackError, OSError) as error:
        # The far end looks before it takes anything.
        return f"This could not be undone here: {error}. {_back_to(far)}"
    return _back_to(far)


def _renounce(config, run, paths):
    """
    Not active after all: the far end serves, or will. Only an orchestration admits this node again.

    Otherwise its watch could take over later, when the far end dies, with the data of this moment.
    """
    pair, node = config["name"], config["node"]
    own = ledger.read(pair, paths)
    if ledger.is_active(own, node) and own["run"] == run:
        # Clients may have been served for a moment.
        why = own["why"]
        ledger.write(pair, paths, own["generation"], node, run, why, admitted=False, unsaved=True)


def _proved(config, far, wanted, give_up):
    """Who answers for the addresses now, as the far end sees it; nobody but this node may."""
    pair, node, other = config["name"], config["node"], far.name
    try:
        said = far.ask("prove", 5.0 + len(wanted))
    except Refused as error:
        raise Unavailable(f"{error} {_gone_back(far, give_up)}") from error
    except Unavailable as error:
        # The far end finds this node answering when its time is over, and leaves the addresses here.
        sentence = f"{node} has the addresses of {pair}, but {other} proved nothing: {error}"
        raise Unavailable(sentence) from error
    answering, mine = said["answering"], _macs(config)
    unseen = [
        one
        for one in wanted
        if one.address not in said["unlinked"] and answering.get(one.address) != [mine[one.address]]
    ]
    if unseen:
        # Left as it is, the far end would take them back beside this node.
        seen = "; ".join(f"{one.address}: {', '.join(answering[one.address]) or 'nobody'}" for one in unseen)
        raise Unavailable(
            f"{other} does not see {node} answer for the addresses of {pair}, but {seen}. Look at the "
            f"network between them. {_gone_back(far, give_up)}"
        )
    return answering


def _require_sole_holder(config, wanted, macs, other):
    """Duplicate-address detection while it costs nothing: nobody but the far end may answer."""
    for answered, answering in address.probe_all(wanted, timeout=0.4, count=2).items():
        strangers = [mac for mac in answering if mac != macs[answered]]
        if strangers:
            raise Refused(
                f"{answered} is answered for by {', '.join(strangers)}, which is not {other} "
                f"({macs[answered]}). A third host has the address of {config['name']}: find it first. "
                f"Nothing was changed."
            )


def _back_to(far):
    """Ask the far end to serve again at once, and say how that went."""
    try:
        return f"{far.name} serves again: {far.ask('abort')['comment']}."
    except FailbackError as error:
        return f"{far.name} takes the addresses back by itself within seconds ({error})."
