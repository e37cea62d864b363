"""What a guard does to a node: give its addresses an end, release them, take them up again, step down."""

import contextlib

from failback.decisions import events
from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unavailable
from failback.handover import phases
from failback.handover import takeover
from failback.host import services
from failback.host import system
from failback.lease import right as rights
from failback.network import address_holder
from failback.network import floating
from failback.notify import tell
from failback.state import ledger


def busy(member):
    """Why this node's addresses are somebody else's to take at this moment, a sentence; or None."""
    try:
        state = phases.read_state(member)
        pause = member.pause.read()
    except FailbackError as error:
        return str(error)
    if phases.under_way(state, system.boottime()):
        return f"a handover is under way (run {state['run']})"
    if pause:
        return f"the watch is paused ({pause.get('reason') or 'no reason given'})"
    return None


def limit(member, right, seconds):
    """
    Give the addresses that this node has an end in the kernel.

    right
        By which it serves.

    seconds
        Whole seconds from now.

    Returns the addresses that it does not have: the kernel may have deleted them just before.
    """
    wanted = floating.of_pair(member.config)
    if not wanted:
        return []
    with address_holder.Holder(wanted) as holder:
        limited = holder.limit(seconds)
        if limited and not right.in_force(system.boottime()):
            # Frozen between the look at the clock and the kernel, which may have put back what had run out.
            holder.release()
            raise Unavailable(
                f"{member.node} stood still while it renewed {member.pair}, and has released it."
            )
    return [one.address for one in wanted if one.address not in limited]


def put_back(member, generation):
    """
    Take addresses again that the kernel has deleted although this node has the right to serve.

    The kernel counts whole seconds, so an address may go up to a second before the right ends; when that is
    renewed in this second, nothing is released, and nobody else can have served.

    generation
        In which it serves.

    Returns a sentence, an empty one if they were all there. Raises ``FailbackError`` when another host
    answers, or something else is in the way.
    """
    wanted = floating.of_pair(member.config)
    with member.ledger.changing_hands():
        own, record = member.ledger.read(), rights.read(member)
        if not ledger.is_active(own, member.node) or own["generation"] != generation or record.released:
            return f"{member.node} has nothing to put back of {member.pair}: its ledger has changed."
        reason = busy(member)
        if reason:
            raise Refused(f"{member.node} puts nothing back of {member.pair} yet: {reason}.")
        with address_holder.Holder(wanted) as holder:
            holder.check()
            taken = rights.take(member, holder, wanted)
    if not any(one["taken"] for one in taken):
        # Whoever was about to take them when they were missed has done it.
        return ""
    address_holder.announce_later(member)
    sentence = f"{member.node} has put back the addresses of {member.pair}, which the kernel had deleted"
    system.log(sentence)
    return sentence


def without_lease(member):
    """The pillar has no lease any more: the addresses of the active node stay from now on."""
    record = rights.read(member)
    wanted = floating.of_pair(member.config)
    if record.right and wanted and member.is_active():
        with address_holder.Holder(wanted) as holder:
            holder.limit(None)
    with contextlib.suppress(FileNotFoundError):
        rights.place(member).unlink()


def release(member, generation):
    """
    Release the addresses, because nothing gives this node the right to serve any more.

    generation
        In which it has served.

    Returns whether it was done: not if this node has got a right since. Raises ``Unavailable`` when the
    kernel says no. :func:`stop_services` does the rest, which may take its time.
    """
    with address_holder.Holder(floating.of_pair(member.config)) as holder:
        # Also of what has been deleted by the kernel: its connections are reset.
        if not rights.let_go(member, generation, holder.release):
            return False
    sentence = (
        f"{member.node} has released the addresses of {member.pair}: its right to serve has run out, and it "
        f"could not renew it. It serves again by itself when etcd, or {member.peer['id']}, answers and "
        f"nobody has taken over."
    )
    system.log(sentence)
    tell.tell(member, events.STEP_DOWN, sentence)
    return True


def stop_services(member):
    """
    Stop what only the active node runs, last started first, after :func:`release`; it is written down before.

    Raises ``Unavailable`` for what did not stop.
    """
    known = services.of_the_active_node(member.config)
    states = services.states(one for _, one in known)
    running = [(key, one) for key, one in known if states[one["name"]] in services.RUNNING]
    record = rights.read(member)
    if record.released:
        stopped = sorted({*record.released["stopped"], *(one["name"] for _, one in running)})
        rights.change(member, released={**record.released, "stopped": stopped})
    still = services.stop_each(member.config, running)
    if still:
        raise Unavailable(" ".join(still))


def resume(member):
    """
    Serve again after a release, with a right that was granted since: nobody else can have served in between.

    Returns a sentence. Raises ``FailbackError`` when another host answers, or something else is in the way.
    """
    wanted = floating.of_pair(member.config)
    with member.ledger.changing_hands():
        own, record = member.ledger.read(), rights.read(member)
        if not ledger.is_active(own, member.node) or not record.released:
            return f"{member.node} is not to serve {member.pair} again: its ledger has changed."
        reason = busy(member)
        if reason:
            raise Refused(f"{member.node} does not serve {member.pair} again yet: {reason}.")
        if wanted:
            with address_holder.Holder(wanted) as holder:
                holder.check()
                rights.take(member, holder, wanted)
        stopped = record.released["stopped"]
        rights.change(member, released=None)
    address_holder.announce_later(member)
    if stopped:
        # In the order in which they start; the gate still judges lsyncd.
        order = [one["name"] for _, one in reversed(services.of_the_active_node(member.config))]
        units = [one for one in order if one in stopped]
        system.run(["systemctl", "start", "--no-block", "--", *units], 10, "start services again")
    sentence = f"{member.node} serves {member.pair} again, with its right renewed"
    system.log(sentence)
    tell.tell(member, events.SERVES_AGAIN, sentence)
    return sentence


def step_down(member, key):
    """Another node serves in a newer generation: see ``takeover.yield_to``. Returns a sentence."""
    rights.change(member, right=None)
    sentence = takeover.yield_to(member, key.generation, key.holder)
    rights.change(member, released=None)
    return sentence
