"""
The giver of a handover: the node that serves until then, asked by the taker over SSH.

:func:`serve` answers its requests until it is done or gone: quiesce, release, commit, prove. Before anything
is released the node is *quiesced*: lsyncd and the active services stop, so that nothing is written or carried
behind the final sync. Whenever it serves on, :py:mod:`failback.handover.way_back` starts them again.
"""

import contextlib
import json
import time

from failback.errors import FailbackError
from failback.errors import Refused
from failback.handover import alone
from failback.handover import phases
from failback.handover import way_back
from failback.host import services
from failback.host import system
from failback.journal import service
from failback.lease import right
from failback.network import address_holder
from failback.network import floating
from failback.network import neighbours
from failback.state import ledger


def quiesce(member, run):
    """
    Stop what writes or carries on this node by itself: lsyncd, then the active services, last one first.

    Which they were is written down before the first is stopped; every way back starts them again. So it does
    with what a dead run has left stopped, as far as the pillar still names it.

    Returns ``{"stopped": [unit, …]}`` in the order of stopping. Raises ``FailbackError``.
    """
    with member.ledger.changing_hands():
        state = phases.read_state(member)
        if state.get("run") != run or state.get("phase") != phases.ARMED:
            raise Refused(f"The handover of run {run} is not armed, so nothing is stopped.")
        known = services.of_the_active_node(member.config)
        found = services.states(one for _, one in known)
        running = [(key, one) for key, one in known if found[one["name"]] in services.RUNNING]
        before = state.get("stopped", [])
        stopped = [one["name"] for key, one in known if (key, one) in running or one["name"] in before]
        if stopped != before:
            phases.write_state(member, stopped=stopped)
        end = time.monotonic() + phases.QUIESCE_LIMIT - 10
        for key, one in running:
            services.stop(member.pair, key, one, member.node, limit=max(1, end - time.monotonic()))
    return {"stopped": stopped}


def release(member, run, holder):
    """
    Release the addresses. The state is written first: a crash in between must lead back to serving.

    Open TCP connections are left as they are: reset now, their clients would connect again while nobody
    answers, and wait a second before they try once more. The taker resets them when it answers; if
    the handover goes back, they go on.

    Returns ``{"released": […], "connections": […]}``; the second is what ``Holder.connections`` says. Of a
    pair that was given away before, also ``lease``: what ``right.pass_on`` says.
    """
    wanted = floating.of_pair(member.config)
    with member.ledger.changing_hands():
        state = phases.read_state(member)
        given_away = state.get("phase") == phases.COMMITTED and not member.config["replicate"]
        if state.get("run") != run or not (state.get("phase") == phases.ARMED or given_away):
            raise Refused(f"The handover of run {run} is not armed, so nothing is released.")
        _require_time(member.config, state)
        if not given_away:
            phases.write_state(member, phase=phases.RELEASED)
        connections = holder.connections(wanted)
        released = {"released": holder.release(wanted, reset=False), "connections": connections}
        if given_away:
            released["lease"] = right.pass_on(member, member.ledger.read()["generation"])
        return released


def prepare_commit(member, run):
    """The ledger that :py:func:`commit` is going to write, on the disk already; a context manager."""
    own = member.ledger.read()
    other = member.peer["id"]
    generation = own["generation"] + 1 if own else 0
    return member.ledger.prepared(
        ledger.Entry(generation, other, run, f"handover to {other}", admitted=False)
    )


def commit(member, run, prepared=None):
    """
    Give the pair away: from here on the other node may take the addresses, and this one may not.

    A pair without replicated paths is given away before its addresses are released, while this node
    still serves: no data have to come over in between, and nobody waits for the disks then.

    prepared
        What :py:func:`prepare_commit` returned.

    Returns ``generation``, the new one, and ``lease``, what ``right.pass_on`` says if the addresses are
    released. Raises ``Refused`` when it is too late to be safe.
    """
    pair = member.pair
    with member.ledger.changing_hands():
        state = phases.read_state(member)
        ready = phases.RELEASED if member.config["replicate"] else phases.ARMED
        if state.get("run") != run or state.get("phase") != ready:
            raise Refused(f"The addresses of {pair} are not {ready} by run {run}: {state.get('phase')}.")
        _require_time(member.config, state)
        own = member.ledger.read()
        if own is None or own["active"] != member.node or own["generation"] != state["generation"]:
            raise Refused(f"{member.node} has changed hands on its own since the handover of {pair} began.")
        other = member.peer["id"]
        if ready == phases.ARMED:
            # First, so that an end between the two is judged as after the commit: it still serves.
            phases.write_state(member, phase=phases.COMMITTED)
        # Not admitted to it: what is written there from now on has yet to come here.
        new = member.ledger.write(
            ledger.Entry(own["generation"] + 1, other, run, f"handover to {other}", admitted=False),
            prepared=prepared,
        )
        given = {"generation": new["generation"]}
        if ready == phases.RELEASED:
            phases.write_state(member, phase=phases.COMMITTED)
            given["lease"] = right.pass_on(member, new["generation"])
    return given


def _require_time(config, state):
    """Too near to the deadline the two nodes' turns could overlap."""
    left = state.get("deadline", 0) - system.boottime()
    if left < phases.COMMIT_MARGIN:
        raise Refused(
            f"Only {left:.1f} s are left until {config['node']} takes the addresses back; the other node "
            f"could not take them safely any more."
        )


def prove(member, run):
    """
    Who answers for the addresses that this node has given away.

    Returns ``answering``, as :py:func:`failback.network.neighbours.probe_all`, and ``unlinked``, the
    addresses on interfaces of this node without a link: nothing can be seen there, and nobody sees this
    node. Raises ``Refused`` when it has taken them back.
    """
    phase = phases.read_state(member).get("phase")
    if phase != phases.COMMITTED:
        raise Refused(f"The handover of {member.pair} is not given away by run {run} any more: {phase}.")
    # Two, so that a second holder is not overlooked behind the first answer.
    linked, unlinked = floating.by_link(floating.of_pair(member.config))
    return {
        "answering": neighbours.probe_all(linked, timeout=0.4, count=2),
        "unlinked": [one.address for one in unlinked],
    }


def serve(member, run, requests, answers):
    """
    Be the giver: answer the taker's requests, one JSON object a line, until it is done or gone.

    requests, answers
        Text streams; the SSH connection's standard input and output.

    Raises ``Refused`` when the handover of this run is served already.
    """
    # Of another run it may be what a taker has left that is gone for good: sshd would notice that in hours.
    with alone.only_one(member, run, "giver", lambda other: other.get("run") in (None, run)):
        _serve(member, run, requests, answers)


def _serve(member, run, requests, answers):
    def say(**answer):
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        with _Giver(member, run) as giver:
            say(ready=True, ledger=member.ledger.read(), macs=floating.own_macs(member.config))
            for line in requests:
                number = None
                try:
                    request = json.loads(line)
                    number = request["number"]
                    say(number=number, ok=True, **giver.answer(request))
                except (FailbackError, ValueError, LookupError, TypeError, OSError) as error:
                    say(number=number, ok=False, error=str(error) or repr(error))
    finally:
        _end(member, run)


class _Giver:
    """
    What this node does when it is asked: a method for each request, which returns the answer's keys.

    A context manager: what can be opened and written beforehand is.
    """

    REQUESTS = ("arm", "look_closely", "quiesce", "release", "commit", "prove", "disarm", "abort")

    def __init__(self, member, run):
        self._member, self._run = member, run
        self._timeline = phases.Timeline()
        self._stack = contextlib.ExitStack()
        self._holder = self._journals = self._prepared = None

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self._holder = stack.enter_context(address_holder.Holder(floating.of_pair(self._member.config)))
            self._journals = stack.enter_context(_Journals(self._member, self._run))
            self._prepared = stack.enter_context(prepare_commit(self._member, self._run))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error):
        return self._stack.__exit__(*error)

    def answer(self, request):
        """Do what is asked for. Raises ``LookupError`` for anything that is none of ``REQUESTS``."""
        if request["do"] not in self.REQUESTS:
            raise LookupError(f"{request['do']!r} is not a request of a handover.")
        return getattr(self, request["do"])(request)

    def arm(self, request):
        """The way back, with the time that the taker asks for."""
        again = bool(request.get("again"))
        right.require_to_give(self._member)
        armed = way_back.arm(self._member, self._run, float(request["seconds"]), again)
        return {**armed, **self._journals.open()}

    def look_closely(self, _request):
        """Of the journals of changes: what would take its time in the window."""
        return self._journals.look_closely()

    def quiesce(self, _request):
        """See :py:func:`quiesce`."""
        return quiesce(self._member, self._run)

    def release(self, request):
        """See :py:func:`release`; with what has changed on this node since the pre-sync."""
        self._timeline.note("asked to release")
        done = release(self._member, self._run, self._holder)
        self._timeline.note("the addresses are released")
        # Asked last: what was written up to the release is in it.
        done.update(self._journals.changes(request.get("also")))
        if self._member.config["replicate"]:
            self._timeline.note("what has changed is named")
        return {**done, "timeline": self._timeline.steps}

    def commit(self, _request):
        """See :py:func:`commit`."""
        self._timeline.note("asked to give the pair away")
        done = commit(self._member, self._run, self._prepared)
        self._timeline.note("the ledger names the other node")
        return {**done, "timeline": self._timeline.steps}

    def prove(self, _request):
        """See :py:func:`prove`."""
        return prove(self._member, self._run)

    def disarm(self, _request):
        """The end. Nobody waits for it: clients were reset by the node that answers since."""
        done = way_back.disarm(self._member, self._run)
        return {**done, "connections_reset": self._holder.reset_connections()}

    def abort(self, _request):
        """The taker gives the pair back."""
        return {"comment": way_back.take_back(self._member, self._run, asked=True)}


class _Journals:
    """The journals of changes on this node, if any are kept; connected to before anything is released."""

    def __init__(self, member, run):
        self._member, self._run = member, run
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
                self._client = service.Client(self._member)
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


def _end(member, run):
    """The connection has ended, in order or not: whoever cannot go on must not leave nobody serving."""
    state = phases.read_state(member)
    if state.get("run") == run and state.get("phase") == phases.RELEASED:
        # The taker was not given the pair and cannot take it any more, so serve now.
        way_back.take_back(member, run)
    elif state.get("run") == run and state.get("phase") == phases.ARMED:
        way_back.disarm(member, run)
