"""
What becomes of a claim of the watch: it is heard, withdrawn, or renounced.

A claim is the ledger of a takeover: the next generation, with ``heard: false`` until somebody has heard this
node (:py:mod:`failback.decisions.hearing`):

=============  ===================================================================================
it is          when, and what the ledger says
=============  ===================================================================================
heard          somebody answered after the claim, and no other host did: ``heard: true``
withdrawn      nobody did in time: the addresses are released, ``withdrawn: true`` in the same generation. The
               node may claim the pair again
renounced      another host answers, or the claim has failed: released, not admitted. The node that serves
               raises its own generation above it, and this one steps down to that
=============  ===================================================================================

A note in ``/run`` says of a claim that it never had an address, until one is about to be taken. Of such a
claim nothing needs saving: when the node that serves has carried what was refused meanwhile, the standby is
admitted again (:func:`admit_again`).
"""

import contextlib
import time

from failback.decisions import events
from failback.decisions import generations
from failback.decisions import hearing
from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unavailable
from failback.handover import phases
from failback.host import files
from failback.host import services
from failback.host import system
from failback.lease import right
from failback.network import address_holder
from failback.network import floating
from failback.notify import tell
from failback.peer import answers
from failback.peer import ssh
from failback.replication import gate
from failback.replication import lsyncd_status
from failback.replication import on_disk
from failback.state import ledger

#: How the other node is asked to serve on in a generation above one that is renounced, and whether it has
#: carried all that it has.
SERVE_ON, CARRIED = hearing.REQUESTS
#: Seconds for the answer to the first, and for lsyncd to do the second.
ANSWER_WITHIN = 10
CARRIED_WITHIN = 60


def _note(member):
    return member.volatile / "claim.json"


def _offer(member):
    return member.volatile / "offered.json"


def next_generation(member, own):
    """
    The generation of the next claim: above the ledger's, and above what was offered to the other node.

    The other node may serve on in that one although its answer was lost, and two nodes in one generation
    never settle who serves. The same of one that the other node claims in the lease.

    own
        This node's ledger.
    """
    offered = files.read_json(_offer(member), "the generation that was offered") or {}
    return max(own["generation"] + 1, offered.get("generation", 0) + 1, right.above_the_claim(member))


def _entry(member, generation, reason, run, known):
    heard = None if run else False
    # Nobody waits for the disk here. What lsyncd has brought last may not be on it, and this entry soon is:
    # so it says that. The keeper sees to it, and takes the word out.
    unsynced = not on_disk.is_settled(member)
    at = known["at"] if known else None
    return ledger.Entry(
        generation, member.node, run, reason, heard=heard, unsynced=unsynced, in_step=at and round(at, 3)
    )


@contextlib.contextmanager
def prepared(member, generation, reason, run, known=None):
    """
    A claim that lies on the disk beside the ledger, for :func:`begin`; a context manager.

    With a lease alone: a disk that is full or slow is found out before that is asked for. None otherwise, and
    where a run waits for the lease: a claim says when it began.
    """
    if run or not right.configured(member):
        yield None
        return
    with member.ledger.prepared(_entry(member, generation, reason, run, known)) as entry:
        yield entry


def begin(member, generation, reason, run, known=None, prepared=None):
    """
    Write the claim of a generation into the ledger, before any address is taken.

    generation
        See :func:`next_generation`.

    reason, run
        As for :func:`failback.handover.takeover.take_over`. A person who has a run take over has said that
        the other node is off: nobody needs to hear this one.

    known
        Until when all had been carried to this node, see ``failback.replication.in_step.read``; or None.

    prepared
        What :func:`prepared` gave.

    Returns what was written.
    """
    # First: without this note a claim counts as one that may have had an address.
    files.write_json(_note(member), {"generation": generation, "boot_id": system.boot_id(), "had": False})
    return member.ledger.write(_entry(member, generation, reason, run, known), prepared=prepared)


def note_what_came(member, claim):
    """
    Look once more whether something has come in: lsyncd was let in until the claim was written.

    Called when every rsync that may write here has been told to end. Writing the claim anew takes its time,
    but only where the other node is alive: it has sent something.

    claim
        The ledger as it was written.
    """
    if not claim.get("unsynced") and not on_disk.is_settled(member):
        _rewrite(member, claim, unsynced=True)


def about_to_take(member, claim):
    """Note that a claim has, or may have, an address from now on."""
    note = {"generation": claim["generation"], "boot_id": system.boot_id(), "had": True}
    files.write_json(_note(member), note)


def had_an_address(member, own):
    """
    Whether this node may have had an address in the generation of its ledger: yes, unless noted otherwise.

    own
        The ledger.
    """
    never = {"generation": own["generation"], "boot_id": system.boot_id(), "had": False}
    try:
        return bool(own.get("unsaved")) or files.read_json(_note(member), "the note of a claim") != never
    except FailbackError:
        return True


def may_have_served(member, own):
    """
    Whether a node that its ledger names active may have what no other node has.

    own
        The ledger.
    """
    return not hearing.unheard(own) or had_an_address(member, own)


def heard(member):
    """Somebody has heard this node since its claim. Returns whether the ledger said otherwise."""
    own = member.ledger.read()
    if not hearing.unheard(own) or own["active"] != member.node or own.get("withdrawn"):
        return False
    # At once: whoever meets the other node now must know it, and the disk may be slow.
    member.ledger.note_heard(own)
    with member.ledger.changing_hands():
        now = member.ledger.read()
        if now is None or not ledger.is_same_entry({**now, "heard": False}, own):
            return False
        _rewrite(member, now, heard=True)
    system.log(f"{member.node} is heard as the active node of {member.pair}, generation {own['generation']}")
    return True


def catch_up(member):
    """
    Let the ledger say that this node's claim was heard, if its disk has refused that before.

    After a reboot the ledger alone counts: a person would be asked who has the newest data.

    Returns whether it was written. Raises what the disk does.
    """
    with member.ledger.changing_hands():
        if not member.ledger.is_behind():
            return False
        _rewrite(member, member.ledger.read(), heard=True)
    return True


def withdraw(member, why):
    """
    Give a claim back that nobody has heard: release the addresses, and say so in the ledger.

    The node stays admitted: its data are what they were, and when somebody answers it and the addresses are
    still silent it may claim the pair again.

    why
        For the sentence.

    Returns a sentence, an empty one where there is no such claim. Raises ``FailbackError`` when an address is
    still there.
    """
    with member.ledger.changing_hands():
        own = member.ledger.read()
        if not hearing.unheard(own) or own["active"] != member.node or own.get("withdrawn"):
            return ""
        _require_no_handover(member)
        with address_holder.Holder(floating.of_pair(member.config)) as holder:
            holder.release()
        _rewrite(member, own, heard=False, withdrawn=True)
    # It may have started services by now, and stopping them may take its time.
    if member.config["active_services"]:
        system.start_detached([str(member.paths.program), "stop-active", member.pair])
    sentence = f"{why} The claim of generation {own['generation']} is withdrawn."
    tell.tell(member, events.STEP_DOWN, sentence)
    return sentence


def stop_active(member):
    """Stop what only the active node runs, on a node that is not active. Returns sentences."""
    with member.ledger.changing_hands():
        if ledger.is_active(member.ledger.read(), member.node):
            return [f"{member.node} is the active node of {member.pair}: nothing is stopped."]
        return services.stop_active(member.config)


def give_up(member, claim, answered):
    """
    Undo on this node a claim that has failed: it has no address, and its ledger says so.

    claim
        The ledger as it was written.

    answered
        Whether another host serves. Then this node is not admitted any more: the other one's lsyncd was
        refused since the claim, so this node must not take over later with the data of this moment. If nobody
        serves, it may claim the pair again.
    """
    with address_holder.Holder(floating.of_pair(member.config)) as holder:
        holder.release()
    if not ledger.is_same_entry(member.ledger.read(), claim):
        return
    if answered:
        _renounce_here(member, claim)
    else:
        _rewrite(member, claim, heard=False, withdrawn=True)


def _renounce_here(member, own):
    _rewrite(member, own, admitted=False, unsaved=had_an_address(member, own), heard=False, withdrawn=True)


def renounce(member, own):
    """
    Let the other node serve on instead of this one, whose claim nobody has heard.

    The other node raises its own generation first, and this one steps down to that: there is one history,
    whatever ends in between.

    own
        This node's ledger, as it was when the two met.

    Returns the generation to which this node has to step down. Raises ``FailbackError``.
    """
    files.write_json(_offer(member), {"generation": own["generation"] + 1})
    said = ssh.ask(member, SERVE_ON, str(own["generation"]), timeout=ANSWER_WITHIN)
    found = answers.object_in(said, "generation")
    if found is None:
        raise Unavailable(answers.unreadable(said, member.peer["id"]))
    generation = found["generation"]
    if not isinstance(generation, int) or generation <= own["generation"]:
        raise Unavailable(f"{member.peer['id']} serves on in generation {generation!r}, which is not above.")
    return generation


def renounce_here(member):
    """
    Renounce on this node alone, while the other one serves: it has no address, and is not admitted.

    Returns whether there was anything to renounce.
    """
    with member.ledger.changing_hands():
        own = member.ledger.read()
        if not hearing.unheard(own) or own["active"] != member.node or not ledger.is_admitted(own):
            return False
        _require_no_handover(member)
        with address_holder.Holder(floating.of_pair(member.config)) as holder:
            holder.release()
        _renounce_here(member, own)
    return True


def serve_on(member, generation):
    """
    Serve on in a generation above one that the other node renounces, because nobody has heard its claim.

    Nothing is taken and nothing stops: this node has the addresses, and lsyncd goes on. It has served since
    then, so the moment at which it began stays.

    generation
        The one that is renounced.

    Returns the generation in which this node serves. Raises ``Refused`` when it does not serve, and in the
    middle of a handover.
    """
    pair, node = member.pair, member.node
    with member.ledger.changing_hands():
        own = member.ledger.read()
        wanted = floating.of_pair(member.config)
        held = any(floating.status(one)["held"] for one in wanted)
        if not ledger.is_active(own, node) or not held or hearing.unheard(own):
            raise Refused(
                f"{node} does not serve {pair} undisputed, so it does not serve on in a newer generation."
            )
        _require_no_handover(member)
        if own["generation"] > generation:
            return own["generation"]
        unlikely = generations.problem(own["generation"], generation)
        if unlikely:
            advice = generations.advice(pair, node, member.peer["id"])
            raise Refused(f"{node} does not serve {pair} on above {generation}: {unlikely}. {advice}")
        why = f"served on: {member.peer['id']} renounced generation {generation}, in which nobody heard it"
        kept = {"since": own["since"], "heard": own.get("heard"), "unsynced": bool(own.get("unsynced"))}
        new = member.ledger.write(ledger.Entry(generation + 1, node, own["run"], why, **kept))
    system.log(f"{node} serves {pair} on in generation {new['generation']}: {why}")
    return new["generation"]


def carried(member, generation):
    """
    See to it that the other node has all that was changed here until now, so that it may stand by again.

    generation
        The one in which this node serves, by what the other one knows.

    Raises ``FailbackError`` when lsyncd has not carried it in time.
    """
    own = member.ledger.read()
    if not ledger.is_active(own, member.node) or own["generation"] != generation:
        raise Refused(f"{member.node} does not serve {member.pair} in generation {generation}.")
    if not member.config["replicate"]:
        return
    # Refused by the other node, lsyncd has ended; systemd starts it again, and its first pass compares all.
    end = time.monotonic() + CARRIED_WITHIN
    while True:
        try:
            lsyncd_status.first_pass(member, max(1.0, end - time.monotonic()))
            lsyncd_status.drain(member, max(1.0, end - time.monotonic()))
            return
        except FailbackError:
            lsyncd = services.unit(services.LSYNCD)
            comes = services.states([lsyncd])[lsyncd["name"]] in services.RUNNING
            if not comes or time.monotonic() >= end:
                raise
        time.sleep(0.5)


def admit_again(member, report):
    """
    Stand by again after a claim that never had an address: the other node proves that it has carried all.

    report
        What the other node reported.

    Returns a sentence. Raises ``FailbackError``; the node is not admitted then, and an orchestration does it.
    """
    pair, node, other = member.pair, member.node, member.peer["id"]
    own = member.ledger.read()
    if own["active"] != other or own.get("unsaved") or CARRIED not in report.get("requests", ()):
        return f"{node} is not admitted to {pair}: orch.recover does that."
    gate.require_in_place(member, f"{node} is not admitted to {pair}.")
    ssh.ask(member, CARRIED, str(own["generation"]), timeout=CARRIED_WITHIN + ANSWER_WITHIN)
    with member.ledger.changing_hands():
        if not ledger.is_same_entry(member.ledger.read(), own):
            raise Refused(f"{node} has changed hands since it asked {other} what it has carried.")
        _rewrite(member, own, admitted=True)
    sentence = f"{node} stands by in {pair} again, in generation {own['generation']}"
    system.log(sentence)
    return sentence


def _require_no_handover(member):
    """A handover changes hands by itself, and nobody else may meanwhile."""
    state = phases.read_state(member)
    if phases.unsettled(state, system.boottime()):
        raise Refused(f"A handover of {member.pair} is under way (run {state['run']}): it ends by itself.")


def _rewrite(member, own, **changes):
    """The same change of hands with something new about it."""
    kept = {
        "admitted": ledger.is_admitted(own),
        "unsaved": bool(own.get("unsaved")),
        "heard": own.get("heard"),
        "withdrawn": bool(own.get("withdrawn")),
    }
    entry = ledger.Entry(own["generation"], own["active"], own["run"], own["why"], **{**kept, **changes})
    return member.ledger.write(entry)
