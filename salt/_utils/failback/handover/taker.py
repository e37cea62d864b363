"""
The near end of a handover: the node that becomes active. It leads, over one SSH connection.

:func:`become_active` goes from the open connection to the proof; in between lies the window in which nobody
serves. Whatever fails in it is undone here, and the far end serves again.
"""

import contextlib
import json
import os
import selectors
import subprocess
import time

from failback.decisions import roles
from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unavailable
from failback.handover import phases
from failback.host import files
from failback.host import system
from failback.network import address_holder
from failback.network import floating
from failback.network import neighbours
from failback.peer import ssh
from failback.replication import gate
from failback.replication import incoming
from failback.state import ledger
from failback.state import lock


class FarEnd:
    """The connection to the far end. Its ``control`` socket carries the last pass as well."""

    def __init__(self, config, run, paths):
        self.name = roles.peer(config)["id"]
        self.control = str(paths.volatile(config["name"]) / "ssh")
        files.make_folder(paths.volatile(config["name"]))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.control)
        # The handover's own session is the master connection, so both live and die together.
        self._process = subprocess.Popen(
            [*ssh.command(config, paths, "-M", "-S", self.control), "--", "handover", run],
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
        ssh.hang_up(self._process)
        self._selector.close()

    def answer(self, seconds=phases.ANSWER_WITHIN):
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

    def ask(self, do, within=phases.ANSWER_WITHIN, **request):
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


def become_active(config, run, paths, prepare_last_pass):
    """
    Make this node, primary or secondary, active: everything from the open connection to the proof.

    config
        This node's configuration of the pair.

    run
        The run that holds the pair on both nodes.

    prepare_last_pass
        Function from the control socket of the connection to a ``recovery.handover_pass.LastPass``, or to
        None for a pair without paths. It is called before anything is released.

    Returns a dict: ``generation``; ``window_milliseconds``, the time from the request to release to the
    addresses taken; ``timeline``, and ``far_timeline`` on the other node's own clock; ``connections``, how
    many of clients were reset; ``answering``, who answered for each address afterwards as the far
    end saw it; ``last_pass``; ``stopped``, the units that were stopped on the other node. Raises
    ``FailbackError`` whose message says who serves.
    """
    pair, node = config["name"], config["node"]
    lock.require(pair, paths, run)
    wanted = floating.of_pair(config)
    limit = float(config["recovery"]["handover_timeout"])
    timeline = phases.Timeline()
    with contextlib.ExitStack() as stack:
        far = stack.enter_context(FarEnd(config, run, paths))
        holder = stack.enter_context(address_holder.Holder(wanted))
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
        far.ask("arm", 15, seconds=limit + phases.QUIESCE_LIMIT)
        stopped = far.ask("quiesce", phases.QUIESCE_LIMIT)["stopped"]
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
                given = far.ask("commit", phases.TAKE_WITHIN)
                timeline.note("the other node has given the pair away")
                ledger.write(pair, paths, given["generation"], node, run, why, prepared=prepared)
            asked = time.monotonic()
            released_at = timeline.note("release is asked for")
            released = far.ask("release", also=also)
            timeline.note("the addresses are released")
            if config["replicate"]:
                if last_pass:
                    last_pass.name(released["changes"], released["why"])
                    brought = last_pass.run(limit - phases.COMMIT_MARGIN - 1)
                timeline.note("the last pass has ended")
                # What has come over must be where this node is going to serve it from.
                gate.require_in_place(config, paths, f"{node} does not take {pair}.")
                asked = time.monotonic()
                given = far.ask("commit", phases.TAKE_WITHIN)
                timeline.note("the other node has given the pair away")
        with _or_back(far, give_up):
            if config["replicate"]:
                ledger.write(pair, paths, given["generation"], node, run, why, prepared=prepared)
                timeline.note("the ledger names this node")
            if time.monotonic() - asked > phases.TAKE_WITHIN:
                raise Unavailable(f"{node} was too slow to take the addresses safely.")
            holder.take(wanted, check=False)
            taken_at = timeline.note("the addresses are taken and announced")
            holder.tickle(released["connections"])
            timeline.note("the clients' connections are reset")
            if time.monotonic() - asked > phases.COMMIT_MARGIN:
                # Stopped in the very moment: the far end may have taken them back since.
                raise Unavailable(f"{node} stood still while it took the addresses.")
        answering = _proved(config, far, wanted, give_up)
        timeline.note("the other node sees this one answer")
        far.ask("disarm", 15)
    address_holder.announce_later(pair, paths)
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
        phases.require_no_other(config, run, phases.read_state(config, paths))
        if ledger.is_active(ledger.read(pair, paths), node):
            raise Refused(f"{node} has taken {pair} over by itself since this run began.")
        deadline = system.boottime() + seconds
        phases.write_state(config, paths, run=run, phase=phases.TAKING, deadline=deadline, stopped=[])
    try:
        yield
    finally:
        phases.write_state(config, paths, phase=phases.DONE)


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
    answering, mine = said["answering"], floating.own_macs(config)
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
    for answered, answering in neighbours.probe_all(wanted, timeout=0.4, count=2).items():
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
