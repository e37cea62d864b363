"""
The steps of ``orch.adopt``, which sets a new pair up once and for good; they run on the master.

.. code-block:: yaml

    Each node knows how to recognise the other:
      pair_adoption.acquainted:
        - pair: salt
"""

from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltInvocationError

from failback.decisions import adoption as adoptions
from failback.decisions import predecessors
from failback.decisions import verdict as verdicts
from failback_master import highstate
from failback_master import orchestration
from failback_master import site
from failback_master import step
from failback_master.surface import live

__virtualname__ = "pair_adoption"


def __virtual__():
    # Steps of an orchestration: a minion has no other minions to ask.
    if __opts__.get("__role") != "master":
        return False, "pair_adoption holds the steps of an orchestration, which run on the master."
    return __virtualname__


def _step(name, pair, would, work):
    return step.run(__opts__, __pillar__, "adopt", name, pair, would, work)


def possible(name, pair=None):
    """
    Both nodes answer Salt and the pillar is right.

    name
        What this step is, in words.

    pair
        Name of the pair.
    """

    def work(config, nodes, ids):
        nodes.all(ids, "test.ping")
        return {}, f"{' and '.join(ids)} answer, and the pillar is right."

    return _step(name, pair, None, work)


def preceded(name, pair=None, harmless=None):
    """
    Nothing else looks after the pair, else this refuses before anything is changed. What highstate is
    going to replace is said, and a copy of it kept.

    name
        What this step is, in words.

    pair
        Name of the pair.

    harmless
        List of scripts, as absolute paths, that somebody has read, and that do not do what their words look
        like. Configuration files and processes are no guess, and cannot be named.
    """

    def work(config, nodes, ids):
        wrong = predecessors.harmless_problem(harmless)
        if wrong:
            raise SaltInvocationError(wrong)
        found = site.answers(nodes, ids, "pair.predecessors", config)
        reports = [predecessors.without(found[node], harmless or ()) for node in ids]
        refusal = predecessors.refusal(config, reports)
        if refusal:
            raise CommandExecutionError(refusal)
        said = predecessors.notes(config, reports)
        for sentence in said:
            live.SCREEN.line(f"      {sentence}")
        if __opts__["test"]:
            kept = {one["node"]: [each["kept"] for each in one["replaced"]] for one in reports}
        elif any(one["replaced"] for one in reports):
            kept = nodes.all(ids, "pair.keep_replaced", config)
        else:
            kept = {}
        changes = {node: {"kept": copies} for node, copies in kept.items() if copies}
        return changes, " ".join(said) or f"Nothing else looks after {pair}."

    return _step(name, pair, None, work)


def configured(name, pair=None, sls=None):
    """
    Highstate on both nodes, or a part of it; it must succeed on both.

    name
        What this step is, in words.

    pair
        Name of the pair.

    sls
        The part, such as ``pair.access``.
    """

    def work(config, nodes, ids):
        changed = highstate.highstate(nodes, ids, sls)
        changes = {node: states for node, states in changed.items() if states}
        return changes, f"Both nodes have {sls or 'their static configuration'}."

    return _step(name, pair, f"run {sls or 'highstate'} on both nodes", work)


def acquainted(name, pair=None):
    """
    Tell each node the other one's public key, its host keys, and from where it connects.

    name
        What this step is, in words.

    pair
        Name of the pair.
    """

    def work(config, nodes, ids):
        found = nodes.all(ids, "pair.identity")
        changes = {}
        for node, other in (ids, reversed(ids)):
            keys = found[other]
            known = (keys["public_key"], keys["host_keys"], keys["addresses"])
            if nodes.one(node, "pair.trust", pair, *known):
                changes[node] = f"knows the keys of {other}"
        return changes, "Each node knows the other's keys."

    return _step(name, pair, "exchange the public keys of both nodes", work)


def reachable(name, pair=None):
    """
    Prove that each node reaches the other with the pair's key.

    name
        What this step is, in words.

    pair
        Name of the pair.
    """

    def work(config, nodes, ids):
        found = nodes.all(ids, "pair.reaches_peer", pair)
        for node, other in (ids, reversed(ids)):
            if found[node] != other:
                raise CommandExecutionError(
                    f"{node} was answered by {found[node]} where {other} should be: is `host` in the "
                    f"pillar of {pair} right?"
                )
        return {}, "Each node reaches the other."

    return _step(name, pair, "prove that each node reaches the other", work)


def heard(name, pair=None):
    """
    A node that watches can tell whether it is itself cut off: there is somebody to ask.

    name
        What this step is, in words.

    pair
        Name of the pair.
    """

    def work(config, nodes, ids):
        reports = nodes.all(ids, "pair.report", pair)
        asked = {node: reports[node].get("reachable") for node in ids if reports[node].get("reachable")}
        problems = [one.get("problem") or one.get("error") for one in asked.values()]
        if any(problems):
            raise CommandExecutionError(" ".join(one for one in problems if one))
        told = [
            f"{node} takes over without asking anybody, as the pillar says."
            if one["asks"] is None
            else f"Before it takes over, {node} asks {', '.join(one['asks'])}."
            for node, one in asked.items()
        ]
        return {}, " ".join(told) or f"Nobody watches {pair}."

    return _step(name, pair, None, work)


def begun(name, pair=None, moved=None):
    """
    Begin the ledgers where there are none: the primary was active last, nobody is admitted yet.

    name
        What this step is, in words.

    pair
        Name of the pair.

    moved
        True: paths that lie elsewhere than they did were moved on purpose. The standby has to be compared
        as a whole then, so lsyncd is stopped until a recovery starts it.
    """

    def work(config, nodes, ids):
        reports = nodes.all(ids, "pair.report", pair)
        verdict = verdicts.judge(config, *(reports[node] for node in ids))
        adoption = adoptions.decide(config, verdict, reports, moved is True)
        if adoption.refusal:
            raise CommandExecutionError(adoption.refusal)
        run = orchestration.Run(__opts__, config, "adopt")
        run.lock(reports.values())
        try:
            _write(run, reports, adoption)
        finally:
            run.let_go()
            nodes.try_all(ids, "pair.unlock", pair, run.id)
        return adoptions.outcome(config, adoption)

    return _step(name, pair, "begin the ledgers", work)


def _write(run, reports, adoption):
    """Record where the paths lie, and begin the ledgers if they begin."""
    pair, (primary, secondary) = run.config["name"], run.ids
    for node, other in ((primary, secondary), (secondary, primary)):
        there = reports[other]["sources"]
        moved = bool(adoption.elsewhere)
        run.nodes.one(node, "pair.record_sources", pair, run.id, there, moved=moved)
    if adoption.elsewhere and reports[primary]["lsyncd"]["running"]:
        run.nodes.one(primary, "lsyncd.stop", pair)
    if adoption.begins:
        run.nodes.all(run.ids, "pair.adopt", pair, primary, run.id)
    if adoption.serves:
        # It has the addresses, and nobody else has. The watch takes nothing before the standby is in.
        why = "served when it was adopted"
        run.nodes.one(primary, "pair.admit", pair, 1, primary, run.id, why)
