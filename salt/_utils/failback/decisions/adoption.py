"""
What ``orch.adopt`` does with the ledgers of a pair: begin them, leave them, or refuse.

Pure: from what both nodes report ``decide`` draws what is to be written; ``outcome`` says what came of it.
"""

from __future__ import annotations

import dataclasses

from failback.decisions import places
from failback.decisions import plan as plans
from failback.decisions import verdict as verdicts


@dataclasses.dataclass(frozen=True)
class Adoption:
    """
    What an adoption has to do.

    new
        Ids of the nodes that have no ledger.

    begins
        Whether the ledgers begin: nobody has ever been admitted.

    serves
        Whether the primary has all addresses of a pair in which nobody was ever admitted: it goes on
        serving.

    elsewhere
        Dict of node to its paths that lie elsewhere than they did.

    refusal
        Why nothing may be written, or None.
    """

    new: tuple = ()
    begins: bool = False
    serves: bool = False
    elsewhere: dict = dataclasses.field(default_factory=dict)
    refusal: str | None = None


def decide(config, verdict, reports, moved=False):
    """
    Decide what is written when a pair is adopted, for the first time or again.

    config
        The normalised pair.

    verdict
        The verdict on it.

    reports
        What each node reports, by id; both have answered.

    moved
        The operator's word that paths which lie elsewhere than they did were moved on purpose.

    Returns an ``Adoption``.
    """
    new = tuple(node for node in _nodes(config) if reports[node]["ledger"] is None)
    known = [report["ledger"] for report in reports.values() if report["ledger"]]
    # Also after an adoption that ended half way.
    never_admitted = not any(ledger["generation"] > 1 or ledger["boot_id"] for ledger in known)
    adoption = Adoption(
        new=new,
        begins=bool(new) and never_admitted,
        elsewhere={node: reports[node]["misplaced"] for node in _nodes(config) if reports[node]["misplaced"]},
    )
    refusals = (
        _two_histories(config, verdict),
        _a_history_is_lost(config, verdict, adoption),
        _the_secondary_serves(config, reports, adoption),
        None if moved else _paths_lie_elsewhere(config, adoption),
    )
    refusal = next((sentence for sentence in refusals if sentence), None)
    serves = never_admitted and _serves(config, reports, adoption)
    return dataclasses.replace(adoption, serves=serves, refusal=refusal)


def outcome(config, adoption):
    """What a state says when it is done: a dict of node to what changed there, and a sentence."""
    pair = config["name"]
    if adoption.elsewhere:
        return {node: sorted(paths) for node, paths in adoption.elsewhere.items()}, (
            f"It is recorded where these paths lie now. Before anything is carried both nodes are "
            f"compared as a whole: `salt-run pair.status {pair}` names the command."
        )
    if adoption.serves:
        primary, secondary = _nodes(config)
        return {node: "ledger in generation 1" for node in (primary, secondary)}, (
            f"{pair} is adopted, and {primary} goes on serving. Take {secondary} in, which reboots it: "
            f"{plans.command(plans.RECOVER, config)}"
        )
    if adoption.begins:
        return {node: "ledger in generation 1" for node in _nodes(config)}, (
            f"{pair} is adopted. Start it: salt-run state.orch orch.boot pillar='{{pair: {pair}}}'"
        )
    if adoption.new:
        return {}, (
            f"{adoption.new[0]} has no ledger of {pair}. The recovery gives it one, when it has saved what "
            f"is there: `salt-run pair.status {pair}` names the command."
        )
    return {}, f"{pair} has its ledgers already; it is recorded where its paths lie."


def _nodes(config):
    return config["primary"]["id"], config["secondary"]["id"]


def _serves(config, reports, adoption):
    """
    Whether the primary has been serving all the time, under somebody else's care.

    All addresses, not some: with half of them nobody knows what serves. Paths that lie elsewhere than they
    did belong to a pair that was adopted before.
    """
    addresses, other = (reports[node]["addresses"] for node in _nodes(config))
    everything = bool(addresses) and all(one["held"] for one in addresses)
    return everything and not any(one["held"] for one in other) and not adoption.elsewhere


def _two_histories(config, verdict):
    if verdict.name != verdicts.SPLIT:
        return None
    # The keys are in order by now: nodes that reach each other may end the split-brain by themselves.
    refusal = plans.decide(plans.RECOVER, config, verdict).refusal
    return f"{config['name']} is {verdict.name}: {verdict.sentence} {refusal}"


def _a_history_is_lost(config, verdict, adoption):
    if not adoption.new or adoption.begins or verdict.active:
        return None
    pair, without = config["name"], adoption.new[0]
    other = next(node for node in _nodes(config) if node != without)
    return (
        f"{without} has no ledger of {pair} and {other} has one, so {pair} has a history that {without} has "
        f"lost. Nothing was written. `salt-run pair.status {pair}` shows what is known."
    )


def _the_secondary_serves(config, reports, adoption):
    pair, (_, secondary) = config["name"], _nodes(config)
    has = [address["address"] for address in reports[secondary]["addresses"] if address["held"]]
    if not adoption.begins or not has:
        return None
    return (
        f"{secondary} has {', '.join(has)}, so it may have the newer data; a new pair begins with its "
        f"primary. Bring {pair} home by hand first, or swap the nodes in the pillar."
    )


def _paths_lie_elsewhere(config, adoption):
    if not adoption.elsewhere:
        return None
    pair = config["name"]
    sentences = [places.misplaced_sentence(node, paths, pair) for node, paths in adoption.elsewhere.items()]
    return f"Where the paths of {pair} lie was not recorded. {' '.join(sentences)}"
