"""
The site around a pillar, as this master sees it: its keys, its files, and what the nodes say of themselves.
"""

import re

import salt.key

from failback.pillar import check
from failback.pillar import normalise
from failback.pillar import site
from failback_master import minions
from failback_master import pillar_files

#: How Salt says that a minion has not got the modules of this tree yet.
UNKNOWN = "is not available"


def keys(opts):
    """The ids of minions by the state of their keys: ``accepted`` and ``waiting``, both lists."""
    with salt.key.get_key(opts) as found:
        listed = found.list_keys()
    return {"accepted": list(listed.get("minions", ())), "waiting": list(listed.get("minions_pre", ()))}


def try_answers(nodes, ids, function, *args, **kwargs):
    """
    Ask minions something for which nothing of Failback needs to be set up there.

    nodes
        ``minions.Nodes``.

    ids
        Minions. One that has never had the modules of this tree gets them; nothing else is changed.

    function, args, kwargs
        What they are asked.

    Returns ``(answers, errors)``, both by minion.
    """
    found, errors = nodes.try_all(ids, function, *args, **kwargs)
    new = [node for node, error in errors.items() if UNKNOWN in error]
    if new:
        nodes.try_all(new, "saltutil.sync_all")
        again, still = nodes.try_all(new, function, *args, **kwargs)
        found = {**found, **again}
        errors = {**{node: error for node, error in errors.items() if node not in new}, **still}
    return found, errors


def answers(nodes, ids, function, *args, **kwargs):
    """:func:`try_answers`, of which none may fail: raises ``minions.NodesFailed``."""
    found, errors = try_answers(nodes, ids, function, *args, **kwargs)
    if errors:
        raise minions.NodesFailed(" ".join(errors.values()))
    return found


def look(opts, configs, more=()):
    """
    Ask the nodes and the witnesses of some pairs what they are like.

    configs
        Normalised pairs.

    more
        Ids of further minions.

    Returns what ``failback.pillar.site.warnings`` is told. A minion that has never had the modules of this
    tree gets them; nothing else is changed.
    """
    known = keys(opts)
    wanted = {one[role]["id"] for one in configs for role in ("primary", "secondary")}
    wanted = sorted({*wanted, *more, *(witness for one in configs for witness in one["witnesses"])})
    asked = [one for one in wanted if one in known["accepted"]]
    nodes = minions.Nodes(opts, master_within=0)
    facts, errors = try_answers(nodes, asked, "pair.surroundings", look=minions.LOOK_WITHIN, pairs=configs)
    return {**known, "facts": facts, "errors": errors}


def warnings(opts, pairs, files, pillar_of):
    """
    What does not fit the site, in the pairs that are right by themselves.

    pairs
        The master's ``pairs``, not all of them right.

    files
        As ``pillar_files.read`` returns them.

    pillar_of
        Function of a minion id to the pillar that this minion gets.

    Returns a list as of ``check.problems``.
    """
    wrong = {one["pair"] for one in check.problems(pairs)}
    configs = [normalise.normalise(name, one) for name, one in pairs.items() if name not in wrong]
    known = look(opts, configs)
    found = [*_unlisted(pairs, files, pillar_files.top(opts)), *_misnamed(pairs, files)]
    for config in configs:
        found += site.warnings(config, known)
        found += _unseen(config, known["accepted"], pillar_of)
    return found


def _unlisted(pairs, files, top):
    """Files that no minion gets, because the list in top.sls does not name them, not even in a comment."""
    for one in files:
        for pair in one.pairs:
            if pair not in pairs and not re.search(rf"(?<![\w-]){re.escape(one.stem)}(?![\w-])", top):
                yield {
                    "pair": pair,
                    "key": "the file",
                    "found": one.name,
                    "wanted": f"a line in the list of pillar/top.sls: {one.stem} <primary> <secondary>",
                }


def _misnamed(pairs, files):
    for one in files:
        for pair in one.pairs:
            if pair in pairs and one.pairs == [pair] and pair != one.stem:
                yield {
                    "pair": pair,
                    "key": "the file",
                    "found": one.name,
                    "wanted": f"the pair's own name, {pair}.sls, by which people look for it",
                }


def _unseen(config, accepted, pillar_of):
    """Nodes that do not get their own pair: the line in top.sls names others."""
    for role in ("primary", "secondary"):
        node = config[role]["id"]
        if node in accepted and config["name"] not in (pillar_of(node).get("pairs") or {}):
            yield {
                "pair": config["name"],
                "key": role,
                "found": f'"{node}"',
                "wanted": f"its id in pillar/top.sls beside {config['name']}: {node} does not get this pair",
            }
