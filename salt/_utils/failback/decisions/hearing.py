"""
Who must answer a node before it takes over, and what it means that nobody has heard it since. Pure.

A node that is cut off hears nobody, exactly as one whose peer has died. So before a claim somebody else than
the peer must answer; and after it somebody must hear the node, or it takes the claim back.
"""

from failback.decisions import roles

#: What the pillar says in ``watch.reachable`` where takeovers are wanted without asking anybody.
NOBODY = "nobody"
#: The default: who is there on an ordinary site.
ORDINARY = "gateway-or-witness"

#: What a node may be asked for beside what every release knows; its report names them.
REQUESTS = ("serve-on", "carried")

#: What two nodes that both serve do about it.
STEP_DOWN, SERVE_ON, RENOUNCE, ASK, LEAVE = "step down", "serve on", "renounce", "ask", "leave"


def asked(config):
    """
    The addresses that the configuration itself names: the pillar's, or those of the witnesses.

    config
        The normalised pair. Of an earlier release it has an empty list where the pillar names nobody.

    Returns a list of text, or ``NOBODY``.
    """
    wanted = config["watch"]["reachable"]
    if wanted == NOBODY:
        return NOBODY
    return list(config.get("witness_hosts", {}).values()) if asks_gateways(config) else list(wanted)


def asks_gateways(config):
    """Whether a node asks the gateways of its own routes: where the pillar names no address."""
    wanted = config["watch"]["reachable"]
    return not wanted or wanted == ORDINARY


def watches(config):
    """Whether the watch runs on the node whose configuration this is, for any of the pair's addresses."""
    return any(one["watch"]["on"] in ("both", roles.role(config)) for one in config["floating_ips"])


def nobody_to_ask(pair, node):
    """Why a node takes nothing over, and what to write, as a sentence."""
    return (
        f"{node} takes nothing of {pair} over: there is nobody to ask whether {node} itself is cut off. It "
        f"has no route with a gateway by the interfaces of the pair's addresses, and the pillar has no "
        f"address of a witness. Write into the pillar of {pair} one of these: `watch: {{reachable: [<the "
        f"router>]}}`; `witnesses: [{{id: <minion id>, host: <its address>}}]`; or, if takeovers are wanted "
        f"without asking anybody, `watch: {{reachable: nobody}}`. Then run highstate on both nodes."
    )


def unheard(own):
    """Whether a ledger says that its node was heard by nobody since it claimed the pair."""
    return bool(own) and own.get("heard") is False


def serves(report):
    """Whether a node's report shows that it serves: admitted in this boot, active, and with an address."""
    own = report.get("ledger")
    if not own or own["active"] != report.get("node") or own["boot_id"] != report.get("boot_id"):
        return False
    return any(one["held"] for one in report.get("addresses") or [])


def meeting(own, holds, report):
    """
    What a node does when another host answers for what its ledger says is its own.

    The higher generation serves on, unless its node was heard by nobody since it claimed it and the other one
    was: what clients have written is with the other one then.

    own
        This node's ledger.

    holds
        Whether this node has one of the addresses.

    report
        What the other node has just reported.

    Returns ``STEP_DOWN`` to the other one's generation; ``SERVE_ON`` in a generation above the other one's;
    ``RENOUNCE`` the claim, so that the other one does; ``ASK`` the other one to step down; ``LEAVE`` it to a
    person.
    """
    theirs = report.get("ledger")
    if not own or not theirs:
        return ASK if holds else LEAVE
    if theirs["generation"] > own["generation"]:
        claimed = unheard(theirs) and theirs["active"] == report.get("node")
        return SERVE_ON if claimed and holds and not unheard(own) else STEP_DOWN
    if unheard(own) and serves(report) and not unheard(theirs):
        return RENOUNCE
    return ASK if holds else LEAVE
