"""
The steps of ``orch.adopt``, which sets a new pair up once and for good; they run on the master.

.. code-block:: yaml

    Each node knows how to recognise the other:
      pair_adoption.acquainted:
        - pair: salt
"""

from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltException

from failback.decisions import places
from failback.decisions import plan as plans
from failback.decisions import verdict as verdicts
from failback_master import checks
from failback_master import highstate
from failback_master import minions
from failback_master import orchestration

__virtualname__ = "pair_adoption"

USAGE = "salt-run state.orch orch.adopt pillar='{pair: <pair>}'"


def __virtual__():
    # Steps of an orchestration: a minion has no other minions to ask.
    if __opts__.get("__role") != "master":
        return False, "pair_adoption holds the steps of an orchestration, which run on the master."
    return __virtualname__


def _step(name, pair, would, work):
    """What the steps have in common: the pair is looked up, test mode changes nothing, errors are said."""
    ret = {"name": name, "result": False, "changes": {}, "comment": ""}
    try:
        config = checks.configuration(checks.pairs_of(__pillar__), pair, USAGE)
        nodes = minions.Nodes(__opts__)
        ids = (config["primary"]["id"], config["secondary"]["id"])
        if __opts__["test"] and would:
            ret["result"] = None
            ret["changes"] = {pair: would}
            ret["comment"] = f"Would {would}."
            return ret
        ret["changes"], ret["comment"] = work(config, nodes, ids)
        ret["result"] = True
    except SaltException as error:
        ret["comment"] = str(error)
    return ret


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


def configured(name, pair=None, sls=None):
    """
    Highstate on both nodes, or a part of it; it must succeed on both.

    name, pair
        As for ``possible``.

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

    name, pair
        As for ``possible``.
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

    name, pair
        As for ``possible``.
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


def begun(name, pair=None, moved=None):
    """
    Begin the ledgers where there are none: the primary was active last, nobody is admitted yet.

    name, pair
        As for ``possible``.

    moved
        True: paths that lie elsewhere than they did were moved on purpose. The standby has to be compared
        as a whole then, so lsyncd is stopped until a recovery starts it.
    """

    def work(config, nodes, ids):
        primary, secondary = ids
        reports = nodes.all(ids, "pair.report", pair)
        found = verdicts.judge(config, reports[primary], reports[secondary])
        if found.name == verdicts.SPLIT:
            # The keys are in order by now: nodes that reach each other may end the split-brain by themselves.
            refusal = plans.decide(plans.RECOVER, config, found).refusal
            raise CommandExecutionError(f"{pair} is {found.name}: {found.sentence} {refusal}")
        held = [one["address"] for one in reports[secondary]["addresses"] if one["held"]]
        new = [node for node in ids if reports[node]["ledger"] is None]
        known = [one["ledger"] for one in reports.values() if one["ledger"]]
        # Nobody was ever admitted: an adoption that ended between the two nodes.
        begins = bool(new) and not any(one["generation"] > 1 or one["boot_id"] for one in known)
        if new and not begins and not found.active:
            raise CommandExecutionError(
                f"{new[0]} has no ledger of {pair} and {secondary if new[0] == primary else primary} has "
                f"one, so {pair} has a history that {new[0]} has lost. Nothing was written. "
                f"`salt-run pair.status {pair}` shows what is known."
            )
        if begins and held:
            raise CommandExecutionError(
                f"{secondary} holds {', '.join(held)}, so it may have the newer data; a new pair begins with "
                f"its primary. Bring {pair} home by hand first, or swap the nodes in the pillar."
            )
        elsewhere = {node: reports[node]["misplaced"] for node in ids if reports[node]["misplaced"]}
        told = " ".join(places.misplaced_sentence(node, found, pair) for node, found in elsewhere.items())
        if elsewhere and moved is not True:
            raise CommandExecutionError(f"Where the paths of {pair} lie was not recorded. {told}")
        run = orchestration.Run(__opts__, config, "adopt")
        run.lock(reports.values())
        try:
            for node, other in (ids, reversed(ids)):
                there = reports[other]["sources"]
                nodes.one(node, "pair.record_sources", pair, run.id, there, moved=bool(elsewhere))
            if elsewhere and reports[primary]["lsyncd"]["running"]:
                nodes.one(primary, "lsyncd.stop", pair)
            if begins:
                nodes.all(ids, "pair.adopt", pair, primary, run.id)
        finally:
            run.let_go()
            nodes.try_all(ids, "pair.unlock", pair, run.id)
        if elsewhere:
            return (
                {node: sorted(found) for node, found in elsewhere.items()},
                f"It is recorded where these paths lie now. Before anything is carried both nodes are "
                f"compared as a whole: `salt-run pair.status {pair}` names the command.",
            )
        if new and not begins:
            return {}, (
                f"{new[0]} has no ledger of {pair}. The recovery gives it one, when it has saved what is "
                f"there: `salt-run pair.status {pair}` names the command."
            )
        if not new:
            return {}, f"{pair} has its ledgers already; it is recorded where its paths lie."
        return (
            {node: "ledger in generation 1" for node in ids},
            f"{pair} is adopted. Start it: salt-run state.orch orch.boot pillar='{{pair: {pair}}}'",
        )

    return _step(name, pair, "begin the ledgers", work)
