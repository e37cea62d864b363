"""
The far end of a handover: the node that serves until then, asked by the near end over SSH.

:func:`serve` answers its requests until it is done or gone: quiesce, release, commit, prove. Before anything
is released the node is *quiesced*: lsyncd and the active services stop, so that nothing is written or carried
behind the last pass. Whenever it serves on, :py:mod:`failback.handover.way_back` starts them again.
"""

import contextlib
import json
import time

from failback.decisions import roles
from failback.errors import FailbackError
from failback.errors import Refused
from failback.handover import phases
from failback.handover import way_back
from failback.host import services
from failback.host import system
from failback.journal import service
from failback.network import address_holder
from failback.network import floating
from failback.network import neighbours
from failback.state import ledger


def quiesce(config, run, paths):
    """
    Stop what writes or carries on this node by itself: lsyncd, then the active services, last one first.

    Which they were is written down before the first is stopped; every way back starts them again. So it does
    with what a dead run has left stopped, as far as the pillar still names it.

    Returns ``{"stopped": [unit, …]}`` in the order of stopping. Raises ``FailbackError``.
    """
    with ledger.changing_hands(config["name"], paths):
        state = phases.read_state(config, paths)
        if state.get("run") != run or state.get("phase") != phases.ARMED:
            raise Refused(f"The handover of run {run} is not armed, so nothing is stopped.")
        known = services.of_the_active_node(config)
        found = services.states(one for _, one in known)
        running = [(key, one) for key, one in known if found[one["name"]] in services.RUNNING]
        before = state.get("stopped", [])
        stopped = [one["name"] for key, one in known if (key, one) in running or one["name"] in before]
        if stopped != before:
            phases.write_state(config, paths, stopped=stopped)
        end = time.monotonic() + phases.QUIESCE_LIMIT - 10
        for key, one in running:
            services.stop(config["name"], key, one, config["node"], limit=max(1, end - time.monotonic()))
    return {"stopped": stopped}


def release(config, run, holder, paths):
    """
    Release the addresses. The state is written first: a crash in between must lead back to serving.

    Open TCP connections are left as they are: reset now, their clients would connect again while nobody
    answers, and wait a second before they try once more. The near end resets them when it answers; if
    the handover goes back, they go on.

    Returns ``{"released": […], "connections": […]}``; the second is what ``Holder.connections`` says.
    """
    wanted = floating.of_pair(config)
    with ledger.changing_hands(config["name"], paths):
        state = phases.read_state(config, paths)
        given_away = state.get("phase") == phases.COMMITTED and not config["replicate"]
        if state.get("run") != run or not (state.get("phase") == phases.ARMED or given_away):
            raise Refused(f"The handover of run {run} is not armed, so nothing is released.")
        _require_time(config, state)
        if not given_away:
            phases.write_state(config, paths, phase=phases.RELEASED)
        connections = holder.connections(wanted)
        return {"released": holder.release(wanted, reset=False), "connections": connections}


def prepare_commit(config, run, paths):
    """The ledger that :py:func:`commit` is going to write, on the disk already; a context manager."""
    own = ledger.read(config["name"], paths)
    other = roles.peer(config)["id"]
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
        state = phases.read_state(config, paths)
        ready = phases.RELEASED if config["replicate"] else phases.ARMED
        if state.get("run") != run or state.get("phase") != ready:
            raise Refused(f"The addresses of {pair} are not {ready} by run {run}: {state.get('phase')}.")
        _require_time(config, state)
        own = ledger.read(pair, paths)
        if own is None or own["active"] != config["node"] or own["generation"] != state["generation"]:
            raise Refused(
                f"{config['node']} has changed hands on its own since the handover of {pair} began."
            )
        other = roles.peer(config)["id"]
        if ready == phases.ARMED:
            # First, so that an end between the two is judged as after the commit: it still serves.
            phases.write_state(config, paths, phase=phases.COMMITTED)
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
        if ready == phases.RELEASED:
            phases.write_state(config, paths, phase=phases.COMMITTED)
    return {"generation": new["generation"]}


def _require_time(config, state):
    """Too near to the deadline the two nodes' turns could overlap."""
    left = state.get("deadline", 0) - system.boottime()
    if left < phases.COMMIT_MARGIN:
        raise Refused(
            f"Only {left:.1f} s are left until {config['node']} takes the addresses back; the other node "
            f"could not take them safely any more."
        )


def prove(config, run, paths):
    """
    Who answers for the addresses that this node has given away.

    Returns ``answering``, as :py:func:`failback.network.neighbours.probe_all`, and ``unlinked``, the
    addresses on interfaces of this node without a link: nothing can be seen there, and nobody sees this
    node. Raises ``Refused`` when it has taken them back.
    """
    phase = phases.read_state(config, paths).get("phase")
    if phase != phases.COMMITTED:
        raise Refused(f"The handover of {config['name']} is not given away by run {run} any more: {phase}.")
    # Two, so that a second holder is not overlooked behind the first answer.
    linked, unlinked = floating.by_link(floating.of_pair(config))
    return {
        "answering": neighbours.probe_all(linked, timeout=0.4, count=2),
        "unlinked": [one.address for one in unlinked],
    }


def serve(config, run, paths, requests, answers):
    """
    Be the far end: answer the near end's requests, one JSON object a line, until it is done or gone.

    requests, answers
        Text streams; the SSH connection's standard input and output.
    """
    wanted = floating.of_pair(config)
    timeline = phases.Timeline()

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
        done = way_back.disarm(config, run, paths)
        # Nobody waits for it now. Its clients were reset by the node that answers since.
        return {**done, "connections_reset": holder.reset_connections()}

    try:
        with contextlib.ExitStack() as stack:
            holder = stack.enter_context(address_holder.Holder(wanted))
            journals = stack.enter_context(_Journals(config, run, paths))
            prepared = stack.enter_context(prepare_commit(config, run, paths))
            verbs = {
                "arm": lambda request: {
                    **way_back.arm(config, run, float(request["seconds"]), paths, bool(request.get("again"))),
                    **journals.open(),
                },
                "look_closely": lambda request: journals.look_closely(),
                "quiesce": lambda request: quiesce(config, run, paths),
                "release": do_release,
                "commit": do_commit,
                "prove": lambda request: prove(config, run, paths),
                "disarm": do_disarm,
                "abort": lambda request: {"comment": way_back.take_back(config, run, paths, asked=True)},
            }
            own = ledger.read(config["name"], paths)
            say(ready=True, ledger=own, macs=floating.own_macs(config))
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
                self._client = service.Client(*self._arguments)
            except FailbackError as error:
                self._why = str(error)
        return {"journal": None if self._client else self._why}

    def look_closely(self):
        """Do now what would take its time in the window: :py:func:`failback.journal.changes.look_closely`."""
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
    state = phases.read_state(config, paths)
    if state.get("run") == run and state.get("phase") == phases.RELEASED:
        # The near end was not given the pair and cannot take it any more, so serve now.
        way_back.take_back(config, run, paths)
    elif state.get("run") == run and state.get("phase") == phases.ARMED:
        way_back.disarm(config, run, paths)
