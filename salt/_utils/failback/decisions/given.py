"""What may be given to an orchestration, whoever calls it: salt-run, salt-api, another runner. Pure."""

import difflib

#: What each orchestration takes in ``pillar=``.
ORCHESTRATIONS = {
    "orch.recover": {  # fmt: skip
        "pair",
        "plan",
        "max_delete",
        "max_change_percent",
        "winner",
        "reason",
        "at_once",
        "vms",
    },
    "orch.failover": {  # fmt: skip
        "pair",
        "plan",
        "max_delete",
        "max_change_percent",
        "fenced",
        "reason",
        "moved",
        "at_once",
        "vms",
    },
    "orch.boot": {"pair", "plan", "at_once"},
    "orch.adopt": {"pair", "moved", "harmless", "at_once"},
    "orch.verify": {"pair", "repair", "limit", "max_delete", "at_once"},
    "orch.drill": {"pair", "max_delete", "max_change_percent"},
    "orch.lease": {"pair"},
    "orch.retire": {"pair"},
    "orch.vm": {"vm", "host", "away_from", "how", "fenced", "reason"},
}

#: Those that are typed otherwise than ``pillar='{pair: <pair>}'``.
USAGES = {"orch.vm": "{vm: <guest or all>, host: <host>}"}


def usage(orchestration):
    """How an orchestration is typed."""
    return (
        f"Usage: salt-run state.orch {orchestration} pillar='{USAGES.get(orchestration, '{pair: <pair>}')}'"
    )


def unknown(orchestration, given, own=()):
    """
    Why an orchestration cannot be run with what it was given.

    A key that nobody reads is no trifle: with a misspelt ``plan``, nothing would hold the run to that plan.

    orchestration
        Such as ``orch.recover``.

    given
        The keys.

    own
        Keys that the master's pillar has of itself; nobody gave those.

    Returns a sentence, or None when all of them are known.
    """
    known = ORCHESTRATIONS.get(orchestration)
    if known is None:
        return None
    wrong = sorted(str(one) for one in set(given) - known - set(own))
    if not wrong:
        return None
    named = []
    for one in wrong:
        close = difflib.get_close_matches(one.lower().replace("-", "_"), sorted(known), n=1)
        named.append(f"{one} (did you mean {close[0]}?)" if close else one)
    return (
        f"{orchestration} does not know {', '.join(named)}; it knows {', '.join(sorted(known))}. "
        f"Nothing was done. {usage(orchestration)}"
    )
