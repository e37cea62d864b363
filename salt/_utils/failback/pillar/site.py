"""
What in the pillar of a pair does not fit the site: nodes that Salt does not know, interfaces that a node does
not have. Pure.

A pillar may be right by itself and name things that do not exist. Nodes say what they have
(:py:mod:`failback.surroundings`); here it is compared. None of it stops a run: whoever starts one is told
by the step that needs the thing.
"""

import difflib
import ipaddress

ROLES = ("primary", "secondary")
#: Stands in a sentence for the node, or for both.
NODE = "<node>"
#: The prefix of an address that comes without its network, as other programs of this kind write it.
ALONE = {4: 32, 6: 128}


def warnings(config, known):
    """
    What does not fit.

    config
        The pair as ``normalise`` gives it.

    known
        ``accepted`` and ``waiting``, lists of minion ids by the state of their keys; ``facts``, by node what
        ``surroundings`` returns; ``errors``, by node why there are none.

    Returns a list of ``{"pair", "key", "found", "wanted"}``, all of them text, as ``check.problems`` does.
    """
    name = config["name"]
    found = [
        one
        for key, node in [(role, config[role]["id"]) for role in ROLES]
        + [(f"witnesses.{at}", witness) for at, witness in enumerate(config["witnesses"])]
        for one in _minion(key, node, known)
    ]
    for role, other in zip(ROLES, reversed(ROLES)):
        facts = known["facts"].get(config[role]["id"])
        if facts:
            found += _host(role, config[role], facts, known["facts"].get(config[other]["id"]), name)
    found += _of_both(config, known["facts"])
    found += _witness_hosts(config, known["facts"])
    found += _paths(config, known["facts"])
    unique = {(key, value, wanted): None for key, value, wanted in found}
    return [
        {"pair": name, "key": key, "found": f'"{value}"', "wanted": wanted} for key, value, wanted in unique
    ]


def _minion(key, node, known):
    """A minion whose key is accepted, and that answers."""
    if node in known["waiting"]:
        yield key, node, f"a minion whose key is accepted; this one's waits: salt-key --accept={node}"
    elif node not in known["accepted"]:
        meant = _meant(node, known["accepted"])
        if _address(node):
            yield key, node, f"a minion id; an address belongs in host: {{id: …, host: {node}}}{meant}"
        else:
            yield (
                key,
                node,
                f"the id of a minion whose key is accepted here{meant or ' (salt-key --list=all)'}",
            )
    elif node in known["errors"]:
        yield key, node, f"a minion that answers: {known['errors'][node]}".rstrip(".")


def _meant(node, accepted):
    """The minion that was meant: of the same name with or without a domain, or nearly of that name."""
    same = [one for one in accepted if one.partition(".")[0].lower() == node.partition(".")[0].lower()]
    close = same or difflib.get_close_matches(node, accepted, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _host(role, node, facts, other, pair):
    """The name or address under which the other node reaches this one must be this one's."""
    if other is None:
        return
    seen = other["pairs"].get(pair, {}).get("hosts", {}).get(node["host"], [])
    own = {address.partition("/")[0] for one in facts["interfaces"].values() for address in one}
    if not seen:
        yield (
            f"{role}.host",
            node["host"],
            f"a name that {other['node']} knows, or an address of {node['id']}, which has {_listed(own)}",
        )
    elif not own & set(seen):
        says = "" if seen == [node["host"]] else f", and not {_listed(seen)}, as {other['node']} has it"
        yield f"{role}.host", node["host"], f"an address of {node['id']}, which has {_listed(own)}{says}"


def _of_both(config, facts):
    """What holds for both nodes in the same words is said once."""
    said = {}
    for role in ROLES:
        node = config[role]["id"]
        for key, value, wanted in _of_node(config, NODE, facts[node]) if node in facts else ():
            said.setdefault((key, value, wanted), []).append(node)
    return [(*key, wanted.replace(NODE, " and ".join(who))) for (*key, wanted), who in said.items()]


def _of_node(config, node, facts):
    """What a pair wants to find on a node."""
    own = facts["pairs"].get(config["name"], {})
    floating = {ipaddress.ip_interface(one["address"]).ip for one in config["floating_ips"]}
    for entry in config["floating_ips"]:
        yield from _address_fits(entry, node, facts["interfaces"], floating)
        key = f"floating_ips.{entry['name']}"
        for one in own.get("configured", ()):
            if one["address"] == entry["address"]:
                yield (
                    f"{key}.address",
                    entry["address"],
                    f"that nothing but Failback takes it, and {one['file']}, line {one['line']}, on {node} "
                    f"has {one['by']} take it: remove it there, and do not take the interface down for that",
                )
        file = own.get("dropped", {}).get(entry["interface"])
        if file:
            yield (
                f"{key}.interface",
                entry["interface"],
                f"an interface whose addresses systemd-networkd leaves alone when it sets it up again: write "
                f"KeepConfiguration=static below [Network] of {file} on {node}, then run "
                f"there networkctl reload",
            )
    for group in ("services", "active_services"):
        for position, service in enumerate(config[group]):
            unit = own.get("units", {}).get(service["name"])
            if unit and unit["state"] == "not-found":
                close = f" (did you mean {unit['close'][0]}?)" if unit["close"] else ""
                yield f"{group}.{position}", service["name"], f"a unit of systemd on {node}{close}"
            program = (service["proof"] or service["status"] or [None])[0]
            if program in own.get("programs", ()):
                which = "proof" if service["proof"] else "status"
                yield f"{group}.{position}.{which}", program, f"a program that {node} has"
    problem = (own.get("asks") or {}).get("problem")
    if problem:
        yield "watch.reachable", config["watch"]["reachable"], f"somebody to ask. {problem}".rstrip(".")


def _address_fits(entry, node, interfaces, floating):
    """The interface is there, and the address lies in its network."""
    key, wanted = f"floating_ips.{entry['name']}", entry["interface"]
    if wanted not in interfaces:
        close = difflib.get_close_matches(wanted, list(interfaces), n=1)
        has = f"did you mean {close[0]}?" if close else f"it has {_listed(interfaces)}"
        yield f"{key}.interface", wanted, f"an interface of {node} ({has})"
        return
    mine = ipaddress.ip_interface(entry["address"])
    fixed = [ipaddress.ip_interface(one) for one in interfaces[wanted]]
    fixed = [one for one in fixed if one.version == mine.version and one.ip not in floating]
    if not fixed:
        return  # an interface that has nothing but what moves
    around = [one.network for one in fixed if mine.ip in one.network]
    if not around:
        elsewhere = [
            name
            for name, addresses in interfaces.items()
            if any(mine.ip in ipaddress.ip_interface(one).network for one in addresses)
        ]
        meant = f"; {elsewhere[0]} has that network" if elsewhere else ""
        networks = _listed(str(one.network) for one in fixed)
        yield (
            f"{key}.address",
            entry["address"],
            f"an address in the network of {wanted} on {node}, {networks}{meant}",
        )
    elif mine.network not in around and mine.network.prefixlen != ALONE[mine.version]:
        yield (
            f"{key}.address",
            entry["address"],
            f"the prefix that {wanted} has on {node}: {mine.ip}/{around[0].prefixlen}",
        )


def _witness_hosts(config, facts):
    for position, witness in enumerate(config["witnesses"]):
        host, there = config["witness_hosts"].get(witness), facts.get(witness)
        if host and there:
            own = {one.partition("/")[0] for addresses in there["interfaces"].values() for one in addresses}
            if host not in own:
                yield f"witnesses.{position}.host", host, f"an address of {witness}, which has {_listed(own)}"


def _paths(config, facts):
    """What is to be replicated is there, and on the primary, which a new pair begins with."""
    primary, secondary = (facts.get(config[role]["id"]) for role in ROLES)
    if not primary:
        return
    pair = config["name"]
    kinds = (
        ("replicate", "paths", [one["path"] for one in config["replicate"]], "a path that is there"),
        ("git", "repositories", config["git"], "a bare repository"),
    )
    for group, fact, paths, what in kinds:
        for position, path in enumerate(paths):
            if primary["pairs"].get(pair, {}).get(fact, {}).get(path) is not False:
                continue
            there = secondary and secondary["pairs"].get(pair, {}).get(fact, {}).get(path)
            only = f"; {secondary['node']} has it: is the right one the primary?" if there else ""
            yield f"{group}.{position}", path, f"{what} on {primary['node']}{only}"


def _address(text):
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _listed(names):
    return ", ".join(sorted(names)) or "none"
