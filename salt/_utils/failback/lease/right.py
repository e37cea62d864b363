"""
A node's right to serve a pair that has a lease: got, renewed, passed on, given back, promised.

What was granted last lies in ``/run/failback/<pair>/lease.json``, where the guard, the watch and both sides
of a handover read it. No lock is owned while etcd is asked: two processes of one node cannot harm each other
there, because each write compares the revision.
"""

import contextlib
import dataclasses
import select

from failback.decisions import lease
from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unavailable
from failback.host import files
from failback.host import system
from failback.peer import answers
from failback.peer import ssh

#: A right that is certainly over: this node had one, and must release what it served by it.
SPENT = lease.Right(0, 0.0, 0.0)
#: Seconds for passing it on: the taker does not wait longer for the commit (``handover.phases.TAKE_WITHIN``).
PASS_ON_WITHIN = 1.5
#: How often a write is tried anew when it turns out that this node itself has written in between.
TRIES = 4


@dataclasses.dataclass(frozen=True)
class Record:
    """
    What a node remembers of a pair's lease in this boot.

    right, key
        As :py:mod:`failback.decisions.lease` has them, or None.

    promised_until
        Until when this node has promised the other one to take nothing (boot clock), or None.

    acquiring
        Until when a process of this node may get the lease that has asked for it, or None.

    released
        ``{"generation": …, "stopped": [unit, …]}``: the guard has released the addresses; or None.

    answered
        When etcd answered last (boot clock), or None.
    """

    right: lease.Right = None
    key: lease.Key = None
    promised_until: float = None
    acquiring: float = None
    released: dict = None
    answered: float = None


def configured(member):
    """Whether the pair has a lease."""
    return bool(member.config.get("lease"))


def client(member):
    """The :py:class:`failback.lease.etcd.Client` of the pair's cluster."""
    # Only here: it brings HTTP and TLS, which take about as long to load as all the rest of the program, and
    # cron starts that each minute on nodes without a lease too. No handover waits for it while nobody serves:
    # the giver asks etcd before it releases anything, and the taker's Salt has loaded both for itself.
    from failback.lease import etcd

    settings = member.config["lease"]
    return etcd.Client(settings["endpoints"], settings["tls"], clock=system.boottime)


def key_of(member):
    """The key's name in etcd."""
    return f"{member.config['lease']['prefix']}{member.pair}"


def ttl_of(member):
    """Seconds for which the pair's lease is granted."""
    return float(member.config["lease"]["ttl"])


def place(member):
    """The file of the :class:`Record`; it must not survive a reboot."""
    return member.volatile / "lease.json"


def read(member):
    """The :class:`Record`. Raises ``Unreadable``."""
    found = files.read_json(
        place(member), f"the lease of {member.pair} on this node", advice="A reboot of this node removes it."
    )
    found = found or {}
    right, key = found.get("right"), found.get("key")
    return Record(
        right=lease.Right(**right) if right else None,
        key=lease.Key(**key, claims=found.get("claims")) if key else None,
        promised_until=found.get("promised_until"),
        acquiring=found.get("acquiring"),
        released=found.get("released"),
        answered=found.get("answered"),
    )


def change(member, **changes):
    """Write some fields of the record anew. Returns the new :class:`Record`."""
    with _alone(member):
        return _write(member, dataclasses.replace(read(member), **changes))


def _write(member, record):
    content = dataclasses.asdict(record)
    # Beside the key: an earlier release, which may run still or again, reads no field of it that it does not
    # know.
    content["claims"] = content["key"] and content["key"].pop("claims")
    files.write_json(place(member), content)
    return record


def _alone(member):
    return files.locked(member.volatile / ".lease.flock")


def forget(member):
    """What was granted cannot be read: as good as over."""
    with _alone(member):
        return _write(member, Record(right=SPENT))


def in_force(member):
    """The right that this node has now, or None."""
    right = read(member).right
    return right if right and right.in_force(system.boottime()) else None


def look(member):
    """Look at the lease in etcd. Returns the new :class:`Record`; raises ``Unavailable``."""
    found = client(member).read(key_of(member), ttl_of(member) * lease.ASK_ETCD_WITHIN)
    return _note(member, found)


def _note(member, found):
    """What etcd has shown, written down."""
    revision, value = found
    now = system.boottime()
    with _alone(member):
        record = read(member)
        holder, generation, ttl, claims = _fields(value)
        key = lease.seen(record.key, revision, holder, generation, ttl, now, claims)
        return _write(member, dataclasses.replace(record, key=key, answered=now))


def _fields(value):
    if value is None:
        return None, 0, 0.0, None
    try:
        # An earlier release claims nothing: its key has the new generation from the beginning.
        claims = value.get("claims")
        claims = claims if claims is None else int(claims)
        return value["holder"], int(value["generation"]), float(value["ttl"]), claims
    except (KeyError, TypeError, ValueError) as error:
        raise Refused(f"The lease's key in etcd has no usable holder and generation: {value!r}.") from error


def _value(member, generation, key, claims=False):
    """
    What this node writes into the key.

    key
        The :py:class:`failback.decisions.lease.Key` over which it writes.

    claims
        Whether it has no address in that generation yet, and takes none before it has written the key anew.
    """
    value = {
        "holder": member.node,
        "generation": generation,
        "ttl": ttl_of(member),
        "boot": system.boot_id(),
    }
    if lease.is_claim(key, member.node, generation, claims):
        value.update(generation=key.generation, claims=generation)
    return value


def status(member):
    """
    How things stand with a pair's lease on this node, for its report; None where the pair has none.

    Returns ``serves_for``, seconds for which this node has the right to serve; ``source``; ``holder`` and
    ``generation`` as etcd showed them last; ``promised_for``, seconds; ``etcd_silent``, seconds since etcd
    answered, or None if it never has; ``released``, whether the guard has released the addresses; ``guard``,
    its sentence, or None if it has said none in this boot.
    """
    if not configured(member):
        return None
    record, now = read(member), system.boottime()
    right = record.right if record.right and record.right.in_force(now) else None
    said = files.read_json(member.volatile / "guard.json", "what the guard says") or {}
    return {
        "serves_for": round(right.until - now, 1) if right else 0,
        "source": right.source if right else None,
        "holder": record.key.holder if record.key else None,
        "generation": record.key.generation if record.key else None,
        "promised_for": max(0, round((record.promised_until or 0) - now, 1)),
        "etcd_silent": None if record.answered is None else round(now - record.answered, 1),
        "released": bool(record.released),
        "guard": said.get("sentence"),
    }


def takeover_refusal(member):
    """
    Why this node may not take the pair over now: a sentence for the watch, by what the guard has seen.

    It asks nobody, because the watch has other pairs to look after. None where the pair has no lease, and
    where the lease can be asked for.
    """
    if not configured(member):
        return None
    pair, node, record, now = member.pair, member.node, read(member), system.boottime()
    if record.key is None:
        return (
            f"{node} takes nothing of {pair}: the guard, failback-lease@{pair}, has not seen its lease yet."
        )
    if record.answered is None or now - record.answered > ttl_of(member):
        return f"{node} takes nothing of {pair}: etcd has not answered for {ttl_of(member):g} s or longer."
    own = member.ledger.read()
    if own and own["active"] == node and (record.released or {}).get("generation") == own["generation"]:
        # With the services that it has stopped, and without a new generation.
        return f"{node} takes nothing of {pair}: the guard has released it, and takes it up again by itself."
    refusal = lease.acquisition_refusal(
        record.key,
        node,
        max(own["generation"] + 1, above_the_claim(member)) if own else 0,
        now,
        record.promised_until,
        pair=pair,
        exact=False,
    )
    return refusal and f"{node} takes nothing of {pair}: {refusal}"


def above_the_claim(member):
    """The least generation above what the other node claims, by the last look; 0 if it claims none."""
    return lease.above_the_claim(read(member).key, member.node) if configured(member) else 0


def obtain(member, generation, create=False, serving=False, wait=0.0, claims=False):
    """
    Get the right to serve in a generation, if this node does not have it already.

    create
        This node may be the first that ever had the lease.

    serving
        It is the active node that wants to go on: while etcd does not answer, the other node's promise is as
        good.

    wait
        Seconds to wait for another node's right to run out.

    claims
        This node has no address. If the generation is a newer one, the key says so until :func:`take`.

    Returns a :py:class:`failback.decisions.lease.Right`; None where the pair has no lease. Raises ``Refused``
    when another node has the right, ``Unavailable`` when nobody can be asked.
    """
    if not configured(member):
        return None
    right = in_force(member)
    if right and right.generation == generation:
        return right
    end = system.boottime() + wait
    while True:
        try:
            return _from_etcd(member, generation, create, claims)
        except Unavailable as error:
            if not serving:
                raise Unavailable(
                    f"{member.node} takes nothing of {member.pair}: {error} Without the lease it cannot be "
                    f"told that no other node serves. Start a majority of etcd's members, then run it again."
                ) from error
            return _from_peer(member, generation, error)
        except Refused:
            left = end - system.boottime()
            if left <= 0:
                raise
            # Somebody else's right runs out by itself; nothing tells when it is renewed.
            select.select([], [], [], min(left, 0.5))


def obtain_as_active(member, generation):
    """
    :func:`obtain` for the node that its ledger, and an orchestration, call active.

    It may be the first that ever had the lease, and waits for another node's right to run out.
    """
    wait = ttl_of(member) + 1 if configured(member) else 0.0
    return obtain(member, generation, create=True, serving=True, wait=wait)


def renew(member, generation):
    """
    Ask for the right anew, at etcd and then at the other node. For the guard, while its right is in force.

    Returns the new right. Raises ``FailbackError`` when neither grants it. The right that this node has stays
    as it is then; it is over when etcd has shown another holder.
    """
    before = read(member).right
    try:
        return _from_etcd(member, generation, create=True)
    except Refused:
        with _alone(member):
            record = read(member)
            # Not a right that another process has got since.
            if record.right == before and record.key and record.key.holder not in (None, member.node):
                _write(member, dataclasses.replace(record, right=SPENT))
        raise
    except Unavailable as error:
        return _from_peer(member, generation, error)


def _from_etcd(member, generation, create, claims=False):
    node, ttl = member.node, ttl_of(member)
    cluster, within = client(member), ttl * lease.ASK_ETCD_WITHIN
    record = read(member)
    if record.key is None or record.key.holder != node:
        # What another node has, it may have given back since.
        _note(member, cluster.read(key_of(member), within))
    for _ in range(TRIES):
        with _alone(member):
            record = read(member)
            now = system.boottime()
            refusal = lease.acquisition_refusal(
                record.key, node, generation, now, record.promised_until, create, member.pair
            )
            if refusal:
                raise Refused(refusal)
            # From here on nothing is promised any more, until it is known how this has ended.
            record = _write(member, dataclasses.replace(record, acquiring=now + ttl + lease.MARGIN))
        asked = system.boottime()
        value = _value(member, generation, record.key, claims)
        done, found = cluster.replace(key_of(member), record.key.revision, value, within)
        if not done:
            # This node itself, by a write whose answer was lost; or another one, which the next round
            # refuses.
            _note(member, found)
            change(member, acquiring=None)
            continue
        right = lease.Right(generation, asked, ttl, lease.LEASE)
        now = system.boottime()
        key = lease.Key(found, node, value["generation"], ttl, now, value.get("claims"))
        change(member, right=right, key=key, acquiring=None, promised_until=None, answered=now)
        if not right.in_force(system.boottime()):
            raise Unavailable(f"etcd took longer to grant the lease of {member.pair} than it lasts.")
        return right
    raise Refused(f"The lease of {member.pair} changes all the time: see who runs as {node} twice.")


def _from_peer(member, generation, why):
    """The other node's promise in the place of the lease."""
    ttl = ttl_of(member)
    asked = system.boottime()
    try:
        answer = ssh.ask(member, "promise", str(generation), timeout=round(ttl * lease.ASK_PEER_WITHIN, 1))
        found = answers.object_in(answer, "promised")
        if found is None:
            raise Unavailable(answers.unreadable(answer, member.peer["id"]))
        promised = float(found["promised"])
    except (FailbackError, ValueError, TypeError) as error:
        raise Unavailable(
            f"{why} And {member.peer['id']} does not promise to leave it alone: {error}"
        ) from error
    right = lease.Right(generation, asked, min(ttl, promised), lease.PROMISE)
    change(member, right=right)
    if not right.in_force(system.boottime()):
        raise Unavailable(f"{why} The promise of {member.peer['id']} came too late.")
    return right


def promise(member, generation):
    """
    Promise the other node to take nothing for a TTL, because it serves and etcd does not answer it.

    generation
        In which it serves.

    Returns seconds from now. Raises ``Refused`` when this node does not agree.
    """
    if not configured(member):
        raise Refused(f"{member.pair} has no lease on {member.node}: run highstate on both nodes.")
    node, ttl = member.node, ttl_of(member)
    with _alone(member):
        own, record = member.ledger.read(), read(member)
        now = system.boottime()
        refusal = lease.promise_refusal(
            node,
            member.peer["id"],
            own and own["generation"],
            own and own["active"],
            bool(own) and own["boot_id"] == system.boot_id(),
            generation,
            record.right,
            record.acquiring,
            now,
        )
        if refusal:
            raise Refused(refusal)
        _write(member, dataclasses.replace(record, promised_until=now + ttl))
    return ttl


def pass_on(member, generation):
    """
    Make the other node the holder: the end of a giver's part in a handover.

    generation
        In which the other node is going to serve.

    Returns ``{"revision": …, "ttl": …}`` for :func:`accept`, or None where the pair has no lease. This node
    has no right afterwards, whatever happens. Raises ``Unavailable``, ``Refused``.
    """
    if not configured(member):
        return None
    # Not one that is over: it has released all, its ledger names the other node, and a right that it is given
    # later is another matter.
    record = change(member, right=None)
    cluster, ttl = client(member), ttl_of(member)
    within = min(ttl * lease.ASK_ETCD_WITHIN, PASS_ON_WITHIN)
    if record.key is None:
        record = _note(member, cluster.read(key_of(member), within))
    value = {"holder": member.peer["id"], "generation": generation, "ttl": ttl, "boot": None}
    for _ in range(TRIES):
        if record.key.holder != member.node:
            raise Refused(f"{member.node} does not have the lease of {member.pair} any more.")
        done, found = cluster.replace(key_of(member), record.key.revision, value, within)
        if done:
            key = lease.Key(found, member.peer["id"], generation, ttl, system.boottime())
            change(member, key=key)
            return {"revision": found, "ttl": ttl}
        # The guard has renewed it in between.
        record = _note(member, found)
    raise Refused(f"The lease of {member.pair} changes all the time, and could not be passed on.")


def accept(member, generation, asked, given):
    """
    Take note of a lease that the giver has passed on to this node.

    asked
        When this node asked for it, on its boot clock.

    given
        What :func:`pass_on` returned on the other node; None where the pair has no lease.

    Raises ``Refused`` when the giver has passed nothing on although the pair has a lease.
    """
    if not configured(member):
        return
    if not given:
        raise Refused(
            f"{member.peer['id']} has passed on no lease of {member.pair}: it does not know of it. Run "
            f"highstate on both nodes, then run it again."
        )
    ttl = float(given["ttl"])
    change(
        member,
        right=lease.Right(generation, asked, ttl, lease.LEASE),
        key=lease.Key(int(given["revision"]), member.node, generation, ttl, system.boottime()),
        promised_until=None,
        released=None,
    )


def require_to_give(member):
    """
    The giver's check before anything is released: the lease must be there, and etcd must answer.

    Raises ``Unavailable`` or ``Refused``; nothing was changed.
    """
    if not configured(member):
        return
    own = member.ledger.read()
    try:
        _from_etcd(member, own["generation"], create=False)
    except FailbackError as error:
        raise Refused(
            f"The lease of {member.pair} cannot be passed on, so {member.node} serves on: {error}"
        ) from error


@contextlib.contextmanager
def to_take_over(member, generation, patient=False):
    """
    The right to serve for a node that takes over; given back when what is done in this block fails.

    patient
        Wait for the other node's right to run out; somebody has seen to it that it does not renew it.

    Raises what :func:`obtain` raises.
    """
    wait = ttl_of(member) + 1 if patient and configured(member) else 0.0
    obtain(member, generation, wait=wait, claims=True)
    try:
        yield
    except (FailbackError, OSError):
        give_back(member)
        raise


def give_back(member):
    """
    Let the other node have the lease at once, if this one has it and does not serve. Raises nothing.

    The generation in the key stays: of a claim that never had an address, the one before it.
    """
    if not configured(member):
        return
    with contextlib.suppress(FailbackError):
        change(member, right=SPENT)
        cluster = client(member)
        within = ttl_of(member) * lease.ASK_ETCD_WITHIN
        record = _note(member, cluster.read(key_of(member), within))
        if record.key.holder != member.node:
            return
        value = {"holder": None, "generation": record.key.generation, "ttl": record.key.ttl, "boot": None}
        done, found = cluster.replace(key_of(member), record.key.revision, value, within)
        if not done:
            _note(member, found)
            return
        change(member, key=lease.Key(found, None, record.key.generation, record.key.ttl, system.boottime()))


def take(member, holder, wanted):
    """
    Take addresses with this node's right to serve: the kernel keeps them no longer than that lasts.

    holder
        An open ``address_holder.Holder``.

    wanted
        List of ``FloatingAddress``. They are not asked for on the network; the caller has done that.

    If this node has claimed a generation, the key names that from now on: one question to etcd.

    Returns what ``Holder.take`` returns. Raises ``Refused`` when there is no right, and what that and etcd
    raise.
    """
    if not configured(member):
        return holder.take(wanted, check=False)
    _require_right(member)
    _end_the_claim(member)
    right, seconds = _require_right(member)
    taken = holder.take(wanted, check=False, lifetime=seconds)
    if not right.in_force(system.boottime()):
        # Stopped in the very moment, and gone on when it may be another's turn.
        holder.release(wanted)
        raise Unavailable(
            f"{member.node} stood still while it took {member.pair}, and has released it again."
        )
    change(member, released=None)
    return taken


def _require_right(member):
    """The right that this node has, and for how many seconds the kernel may keep addresses by it."""
    right = read(member).right
    seconds = lease.lifetime(right, system.boottime())
    if not seconds:
        raise Refused(f"{member.node} has no right to serve {member.pair} at this moment: nothing was taken.")
    return right, seconds


def _end_the_claim(member):
    """
    Write the generation that this node claims into the key: from here on it may have the addresses in it.

    Nothing is done if it claims none. Raises ``Unavailable``, ``Refused``; nothing may be taken then.
    """
    key = read(member).key
    if key is None or not key.is_claimed_by(member.node):
        return
    cluster, ttl = client(member), ttl_of(member)
    for number in range(TRIES):
        asked = system.boottime()
        with _alone(member):
            record = read(member)
            if number and record.key.holder != member.node:
                raise Refused(f"{member.node} does not have the lease of {member.pair} any more.")
            if not record.key.is_claimed_by(member.node):
                return
            generation = record.key.claims
            refusal = lease.acquisition_refusal(
                record.key, member.node, generation, asked, record.promised_until, pair=member.pair
            )
            if refusal:
                raise Refused(refusal)
            # As when it was claimed: nothing is promised until it is known how this has ended.
            _write(member, dataclasses.replace(record, acquiring=asked + ttl + lease.MARGIN))
        value = _value(member, generation, dataclasses.replace(record.key, claims=None))
        within = ttl * lease.ASK_ETCD_WITHIN
        done, found = cluster.replace(key_of(member), record.key.revision, value, within)
        if done:
            now = system.boottime()
            key = lease.Key(found, member.node, generation, ttl, now)
            right = lease.Right(generation, asked, ttl, lease.LEASE)
            change(member, right=right, key=key, acquiring=None, answered=now)
            return
        # The guard has renewed it in between, or it is another node's by now.
        _note(member, found)
        change(member, acquiring=None)
    raise Refused(f"The lease of {member.pair} changes all the time: see who runs as {member.node} twice.")


def let_go(member, generation, release):
    """
    Release what this node served by a right that is over, and note that, unless it has got another one since.

    generation
        In which it has served.

    release
        A function that releases the addresses. No right is written down while it works, so what is taken by a
        newer one is not released with it.

    Returns whether that was done. Raises what it raises.
    """
    with _alone(member):
        record, now = read(member), system.boottime()
        if record.right and record.right.in_force(now):
            return False
        release()
        stopped = record.released["stopped"] if record.released else []
        ended = record.right.until if record.right else now
        released = {"generation": generation, "stopped": stopped, "ended": ended}
        _write(member, dataclasses.replace(record, right=None, released=released))
    return True


def forget_what_is_over(member):
    """
    On a node that does not serve: a right that is over, and what was released then, are no matter any more.

    Its ledger may name it active before it has the lease, and its guard would release by that right.
    """
    if not configured(member):
        return
    with _alone(member):
        record = read(member)
        # Within its time nothing is promised to the other node.
        over = record.right is None or system.boottime() >= record.right.asked + record.right.ttl
        if over and (record.right or record.released):
            _write(member, dataclasses.replace(record, right=None, released=None))
