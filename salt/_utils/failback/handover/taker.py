"""
The taker of a handover: the node that becomes active. It leads, over one SSH connection.

:func:`become_active` goes from the open connection to the proof; in between lies the window in which nobody
serves. Whatever fails in it is undone here, and the giver serves again.
"""

import contextlib
import json
import os
import selectors
import subprocess
import time

from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unavailable
from failback.handover import alone
from failback.handover import phases
from failback.host import files
from failback.host import system
from failback.lease import right
from failback.network import address_holder
from failback.network import floating
from failback.network import neighbours
from failback.peer import answers
from failback.peer import ssh
from failback.replication import gate
from failback.replication import incoming
from failback.state import ledger


class PeerConnection:
    """The connection to the giver. Its ``control`` socket carries the final sync as well."""

    def __init__(self, member, run):
        self.name = member.peer["id"]
        self.control = str(member.volatile / "ssh")
        files.make_folder(member.volatile)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.control)
        # The handover's own session is the master connection, so both live and die together.
        self._process = subprocess.Popen(
            [*ssh.command(member, "-M", "-S", self.control), "--", "handover", run],
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
        while True:
            # What root's shell prints there comes before the first answer.
            while b"\n" in self._buffer:
                line, _, self._buffer = self._buffer.partition(b"\n")
                found = answers.object_in(line)
                if found is not None:
                    return found
            left = end - time.monotonic()
            if left <= 0 or not self._selector.select(left):
                raise Unavailable(f"{self.name} gave no answer in {seconds} s.")
            chunk = os.read(self._process.stdout.fileno(), 65536)
            if not chunk:
                said = self._process.stderr.read(2000).decode(errors="replace").strip()
                raise Unavailable(f"The connection to {self.name} ended. {said}".strip())
            self._buffer += chunk

    def ask(self, do, within=phases.ANSWER_WITHIN, **request):
        """One request and its answer within so many seconds. ``Refused`` when the giver says no."""
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


def become_active(member, run, prepare_final_sync):
    """
    Make this node, primary or secondary, active: everything from the open connection to the proof.

    member
        :py:class:`failback.pair.Member`.

    run
        The run that owns the lock on both nodes.

    prepare_final_sync
        Function from the control socket of the connection to a ``recovery.handover_sync.FinalSync``, or to
        None for a pair without paths. It is called before anything is released.

    Returns a dict: ``generation``; ``window_milliseconds``, the time from the request to release to the
    addresses taken; ``timeline``, and ``far_timeline`` on the other node's own clock; ``connections``, how
    many of clients were reset; ``answering``, who answered for each address afterwards as the far
    end saw it; ``final_sync``; ``stopped``, the units that were stopped on the other node. Raises
    ``FailbackError`` whose message says who serves.
    """
    member.lock.require(run)
    with alone.only_one(member, run, "taker"), _Handover(member, run) as handover:
        handover.require_that_the_other_node_serves()
        handover.stop_what_writes_there()
        handover.prepare(prepare_final_sync)
        handover.arm_the_way_back()
        with handover.or_back():
            if handover.brings_files:
                handover.have_the_addresses_released()
                handover.bring_the_last_changes()
                handover.have_the_pair_given()
                handover.write_the_ledger()
            else:
                # Nothing has to come over, so the ledgers can be written while the other node still serves.
                handover.have_the_pair_given()
                handover.write_the_ledger()
                handover.have_the_addresses_released()
            handover.take_the_addresses()
        handover.prove_it()
    address_holder.announce_later(member)
    return handover.told()


class _Handover:
    """
    The steps of :py:func:`become_active`, in its order, and what one of them leaves to the next.

    A context manager: the connection, the sockets and what was prepared end with it.
    """

    def __init__(self, member, run):
        self._member, self._run = member, run
        self._limit = float(member.config["recovery"]["handover_timeout"])
        self._wanted = floating.of_pair(member.config)
        self._timeline = phases.Timeline()
        self._stack = contextlib.ExitStack()
        self._far = self._holder = self._final_sync = self._prepared = self._also = None
        self._theirs, self._given, self._released = {}, {}, {}
        self._result = {"final_sync": None}
        self._released_at = self._may_take_since = 0.0

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self._far = stack.enter_context(PeerConnection(self._member, self._run))
            self._holder = stack.enter_context(address_holder.Holder(self._wanted))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error):
        return self._stack.__exit__(*error)

    @property
    def brings_files(self):
        """Whether the pair has paths, so that the last changes come over while nobody serves."""
        return bool(self._member.config["replicate"])

    def require_that_the_other_node_serves(self):
        """Nothing was changed yet, and nothing is if this raises ``Refused``."""
        pair, node, other = self._member.pair, self._member.node, self._far.name
        hello = self._far.answer(15)
        self._theirs = hello["ledger"]
        if self._theirs is None or self._theirs["active"] != other:
            raise Refused(f"{other} does not serve {pair}: nothing was changed.")
        # A ledger that could not take the new generation must not be found out when nobody serves.
        own = self._member.ledger.read()
        if own and own["generation"] > self._theirs["generation"]:
            raise Refused(
                f"{node} knows generation {own['generation']} of {pair} and {other} only "
                f"{self._theirs['generation']}: the newer data may be here. Nothing was changed; see "
                f"`salt-run pair.status {pair}`."
            )
        _require_sole_holder(self._member.config, self._wanted, hello["macs"], other)
        self._require_in_place(f"{other} serves {pair} on.")

    def stop_what_writes_there(self):
        """lsyncd and the active services of the other node stop; it starts them again if this ends here."""
        # Armed for as long as stopping may take, and anew for the handover itself.
        self._far.ask("arm", 15, seconds=self._limit + phases.QUIESCE_LIMIT)
        self._result["stopped"] = self._far.ask("quiesce", phases.QUIESCE_LIMIT)["stopped"]
        # An rsync of the lsyncd that was stopped must not write between the final sync and the end.
        incoming.end(self._member)

    def prepare(self, prepare_final_sync):
        """All that can be done before anything is released: connections opened, the ledger on the disk."""
        self._final_sync = prepare_final_sync(self._far.control)
        if self._final_sync:
            # Closed when somebody serves, which takes its time.
            self._stack.callback(self._final_sync.close)
            self._also = self._final_sync.expect()
            self._far.ask("look_closely", 15)
        prepared = self._member.ledger.prepared(self._entry(self._theirs["generation"] + 1))
        self._prepared = self._stack.enter_context(prepared)

    def arm_the_way_back(self):
        """From here on the other node serves again by itself if it does not hear the end in time."""
        self._stack.enter_context(_taking(self._member, self._run, self._limit))
        self._require_in_place(f"{self._far.name} serves {self._member.pair} on.")
        self._far.ask("arm", 15, seconds=self._limit, again=True)
        self._timeline.note("the way back is armed")

    def have_the_addresses_released(self):
        """The window begins: nobody has them."""
        self._begin_to_count()
        self._released_at = self._timeline.note("release is asked for")
        asked = system.boottime()
        self._released = self._far.ask("release", also=self._also)
        if not self.brings_files:
            self._take_note_of_the_lease(asked, self._released)
        self._timeline.note("the addresses are released")

    def bring_the_last_changes(self):
        """What was written on the other node since the pre-sync comes over."""
        if self._final_sync:
            self._final_sync.name(self._released["changes"], self._released["why"])
            self._result["final_sync"] = self._final_sync.run(self._limit - phases.COMMIT_MARGIN - 1)
        self._timeline.note("the final sync has ended")
        # What has come over must be where this node is going to serve it from.
        self._require_in_place(f"{self._member.node} does not take {self._member.pair}.")

    def have_the_pair_given(self):
        """The other node's ledger names this node; it takes the addresses back only if nobody has them."""
        self._begin_to_count()
        asked = system.boottime()
        self._given = self._far.ask("commit", phases.TAKE_WITHIN)
        if self.brings_files:
            self._take_note_of_the_lease(asked, self._given)
        self._timeline.note("the other node has given the pair away")

    def _take_note_of_the_lease(self, asked, answer):
        """It was passed on with the last thing that the giver did; it counts from the moment of asking."""
        right.accept(self._member, self._given["generation"], asked, answer.get("lease"))

    def write_the_ledger(self):
        """Before the addresses: after a crash the higher generation is where clients may have written."""
        self._member.ledger.write(self._entry(self._given["generation"]), prepared=self._prepared)
        self._timeline.note("the ledger names this node")

    def take_the_addresses(self):
        """The window ends. Raises ``Unavailable`` when it may be the other node's turn again."""
        node = self._member.node
        if time.monotonic() - self._may_take_since > phases.TAKE_WITHIN:
            raise Unavailable(f"{node} was too slow to take the addresses safely.")
        right.take(self._member, self._holder, self._wanted)
        taken_at = self._timeline.note("the addresses are taken and announced")
        self._result["window_milliseconds"] = round(taken_at - self._released_at, 3)
        self._holder.tickle(self._released["connections"])
        self._timeline.note("the clients' connections are reset")
        if time.monotonic() - self._may_take_since > phases.COMMIT_MARGIN:
            # Stopped in the very moment: the giver may have taken them back since.
            raise Unavailable(f"{node} stood still while it took the addresses.")

    def prove_it(self):
        """The other node sees this one answer, and stops the timer that would take the addresses back."""
        self._result["answering"] = _proved(self._member, self._far, self._wanted, self._give_up)
        self._timeline.note("the other node sees this one answer")
        self._far.ask("disarm", 15)

    def told(self):
        """What :py:func:`become_active` returns."""
        last_answer = self._given if self.brings_files else self._released
        return {
            **self._result,
            "generation": self._given["generation"],
            "timeline": self._timeline.steps,
            "far_timeline": last_answer["timeline"],
            "connections": len(self._released["connections"]),
        }

    @contextlib.contextmanager
    def or_back(self):
        """Whatever fails in the window: undo what was done here, and let the giver serve again at once."""
        try:
            yield
        except (FailbackError, OSError, ValueError, LookupError) as error:
            raise Unavailable(f"{error} {_gone_back(self._far, self._give_up)}") from error

    def _begin_to_count(self):
        """The time in which this node may take the addresses begins with the request, not with its answer."""
        self._may_take_since = time.monotonic()

    def _give_up(self):
        self._holder.release(self._wanted)
        _renounce(self._member, self._run)
        right.give_back(self._member)

    def _entry(self, generation):
        return ledger.Entry(generation, self._member.node, self._run, f"handover from {self._far.name}")

    def _require_in_place(self, otherwise):
        gate.require_in_place(self._member, otherwise)


@contextlib.contextmanager
def _taking(member, run, seconds):
    """This node is about to take the addresses: its own watch leaves them alone for so many seconds."""
    pair, node = member.pair, member.node
    with member.ledger.changing_hands():
        phases.require_no_other(member.config, run, phases.read_state(member))
        if ledger.is_active(member.ledger.read(), node):
            raise Refused(f"{node} has taken {pair} over by itself since this run began.")
        right.forget_what_is_over(member)
        deadline = system.boottime() + seconds
        phases.write_state(member, run=run, phase=phases.TAKING, deadline=deadline, stopped=[])
    try:
        yield
    finally:
        phases.write_state(member, phase=phases.DONE)


def _gone_back(far, undo):
    try:
        undo()
    except (FailbackError, OSError) as error:
        # The giver looks before it takes anything.
        return f"This could not be undone here: {error}. {_back_to(far)}"
    return _back_to(far)


def _renounce(member, run):
    """
    Not active after all: the giver serves, or will. Only an orchestration admits this node again.

    Otherwise its watch could take over later, when the giver dies, with the data of this moment.
    """
    own = member.ledger.read()
    if ledger.is_active(own, member.node) and own["run"] == run:
        # Clients may have been served for a moment.
        gone = ledger.Entry(own["generation"], member.node, run, own["why"], admitted=False, unsaved=True)
        member.ledger.write(gone)


def _proved(member, far, wanted, give_up):
    """Who answers for the addresses now, as the giver sees it; nobody but this node may."""
    pair, node, other = member.pair, member.node, far.name
    try:
        said = far.ask("prove", 5.0 + len(wanted))
    except Refused as error:
        raise Unavailable(f"{error} {_gone_back(far, give_up)}") from error
    except Unavailable as error:
        # The giver finds this node answering when its time is over, and leaves the addresses here.
        sentence = f"{node} has the addresses of {pair}, but {other} proved nothing: {error}"
        raise Unavailable(sentence) from error
    answering, mine = said["answering"], floating.own_macs(member.config)
    unseen = [
        one
        for one in wanted
        if one.address not in said["unlinked"] and answering.get(one.address) != [mine[one.address]]
    ]
    if unseen:
        # Left as it is, the giver would take them back beside this node.
        seen = "; ".join(f"{one.address}: {', '.join(answering[one.address]) or 'nobody'}" for one in unseen)
        raise Unavailable(
            f"{other} does not see {node} answer for the addresses of {pair}, but {seen}. Look at the "
            f"network between them. {_gone_back(far, give_up)}"
        )
    return answering


def _require_sole_holder(config, wanted, macs, other):
    """Duplicate-address detection while it costs nothing: nobody but the giver may answer."""
    for answered, answering in neighbours.probe_all(wanted, timeout=0.4, count=2).items():
        strangers = [mac for mac in answering if mac != macs[answered]]
        if strangers:
            raise Refused(
                f"{answered} is answered for by {', '.join(strangers)}, which is not {other} "
                f"({macs[answered]}). A third host has the address of {config['name']}: find it first. "
                f"Nothing was changed."
            )


def _back_to(far):
    """Ask the giver to serve again at once, and say how that went."""
    try:
        return f"{far.name} serves again: {far.ask('abort')['comment']}."
    except FailbackError as error:
        return f"{far.name} takes the addresses back by itself within seconds ({error})."
