"""
What is wrong with the pillar of the pairs, as sentences that name the key. Pure.

::

    for problem in check.problems(pairs):
        print(check.sentence(problem))
    salt = normalise.normalise("salt", pairs["salt"])
"""

import difflib
import fnmatch
import ipaddress
import json
import re

from failback.decisions import addressing
from failback.decisions import hearing
from failback.errors import FailbackError
from failback.pillar import normalise
from failback.pillar import schema
from failback.pillar import validate
from failback.replication import lsyncd_config
from failback.replication import replicated

#: Never replicated, nor anything inside: what is each node's own, or what makes a node boot and be
#: itself.
NEVER_INSIDE = (
    "/proc", "/sys", "/dev", "/run", "/boot", "/bin", "/sbin", "/lib", "/lib32", "/lib64",
    "/libx32",
    "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/local/lib/failback", "/var/run", "/var/lock",
    "/etc/failback", "/var/lib/failback", "/etc/lsyncd", "/etc/cron.d", "/etc/systemd",
    "/etc/network", "/etc/ssh",
    "/etc/salt/pki/minion", "/var/cache/salt", "/var/lib/dpkg", "/var/lib/systemd", "/root/.ssh",
    "/lost+found",
)  # fmt: skip

#: Never replicated, nor a folder around them; something inside may be.
NEVER_ITSELF = (
    "/", "/etc", "/usr", "/usr/local", "/var", "/var/lib", "/var/cache", "/var/log", "/root",
    "/mnt", "/media", "/opt",
    "/usr/local/sbin/failback", "/etc/machine-id", "/etc/hostname", "/etc/fstab", "/etc/passwd",
    "/etc/shadow",
    "/etc/salt/minion", "/etc/salt/minion.d", "/etc/salt/minion_id",
)  # fmt: skip


def problems(pairs, files=None):
    """
    All that is wrong with the pairs, so that nothing has to be found out one after the other. Pure.

    pairs
        The pillar's ``pairs``: a dict of each pair's data by name.

    files
        Which file each pair came from, by name; without it ``pillar/pairs/<name>.sls``.

    Returns a list of ``{"pair", "key", "found", "wanted", "file"}``, all of them text; ``key`` is a
    dotted path such as ``floating_ips.salt-gw.address``. Empty when everything is right.
    """
    if not isinstance(pairs, dict) or not pairs:
        return [
            {
                "pair": "",
                "key": "pairs",
                "found": _words(pairs),
                "wanted": "a mapping of pairs by name",
                "file": "pillar/top.sls",
            }
        ]
    found = []
    sound = {}
    for name, data in pairs.items():
        own = list(_own_problems(name, data))
        found += own
        if not own:
            sound[name] = normalise.normalise(name, data)
    # What only several pairs together show is judged among those that can be read.
    found += _addresses(sound)
    found += _nodes(sound)
    found += _shared_paths(sound)
    found += _vms(sound)
    found += _order(sound, pairs)
    for problem in found:
        where = (files or {}).get(problem["pair"])
        problem["file"] = where or f"pillar/pairs/{problem['pair']}.sls"
    return found


def name_wanted(name):
    """
    What a pair should be called instead. Pure.

    name
        What stands where a pair's name should, whatever YAML or the command line has made of it.

    Returns words such as ``another name: …``; None for a name that can be used.
    """
    if not isinstance(name, str) or re.fullmatch(schema.NO_TEXT, name):
        return (
            "another name: YAML and the command line read this one as a number, or as true, false or "
            "nothing, and quotes in the pillar do not help on the command line"
        )
    if not re.fullmatch(schema.PAIR_NAME, name):
        return (
            "a pair's name of letters, digits, '_' and '-', at most 64, which begins with a letter or a digit"
        )
    if name in schema.RESERVED:
        return "another name: this word stands for every pair"
    return None


def sentence(problem):
    """One problem as a sentence with file, pair, key, what was found and what is wanted."""
    whose = f"pair {problem['pair']}, " if problem["pair"] else ""
    where = f"{problem['file']}: {whose}{problem['key']}"
    text = f"{where}: found {problem['found']}, wanted {problem['wanted']}."
    # What a terminal would act on, or show in another order, is shown as an escape.
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


def _problem(pair, key, found, wanted):
    return {"pair": str(pair), "key": key, "found": _words(found), "wanted": wanted, "file": None}


def _words(value):
    if value is None:
        return "nothing"
    try:
        words = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        words = str(value)
    return words if len(words) <= 200 else words[:197] + "..."


def _own_problems(name, data):
    # What one pair shows by itself: first its shape, and once that is right, its sense.
    wanted = name_wanted(name)
    if wanted:
        yield _problem(name, "pairs", name, wanted)
    data = normalise.as_meant(data)
    shape = list(_shape(name, data))
    yield from shape
    if not shape:
        yield from _both_ways(name, data.get("lease", {}))
        yield from _sense(normalise.normalise(str(name), data))


def _shape(name, data):
    for path, found, wanted, known in validate.violations(data):
        close = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.6) if known else []
        if known and not close and path[-1].lower().replace("-", "_") in known:
            close = [path[-1].lower().replace("-", "_")]
        if close:
            wanted = f"the key {close[0]!r} instead (did you mean that?)"
        yield _problem(name, ".".join(path) or "the pair", _unless_secret(path, found), wanted)
    for path, text in _texts(data, ()):
        if not text.isprintable():
            wanted = "text without control characters and line breaks"
            yield _problem(name, ".".join(path), _unless_secret(path, text), wanted)


def _unless_secret(path, value):
    # An option of a fence agent may be a password, and what is wrong is printed and logged.
    return "a value that is not shown" if path[:1] == ("fence",) and "options" in path else value


def _texts(value, path):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, (*path, str(key)))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _texts(inner, (*path, str(position)))
    elif isinstance(value, str):
        yield path, value


def _sense(pair):
    name = pair["name"]
    primary, secondary = pair["primary"], pair["secondary"]
    if primary["id"] == secondary["id"]:
        yield _problem(name, "secondary", secondary["id"], "another node than the primary")
    elif primary["host"] == secondary["host"]:
        yield _problem(name, "secondary.host", secondary["host"], "another address than the primary's")
    for role in ("primary", "secondary"):
        wanted = addressing.host(pair[role]["host"])
        if wanted:
            yield _problem(name, f"{role}.host", pair[role]["host"], wanted)
    for entry in pair["floating_ips"]:
        yield from _floating_ip_problems(name, entry)
    yield from _path_problems(pair)
    yield from _service_problems(pair)
    yield from _guest_problems(pair)
    yield from _lease_problems(pair)
    for position, witness in enumerate(pair["witnesses"]):
        if witness in (primary["id"], secondary["id"]):
            yield _problem(
                name,
                f"witnesses.{position}",
                witness,
                "a third host, which sees the pair from outside",
            )
    for node in pair["fence"]["nodes"]:
        if node not in (primary["id"], secondary["id"]):
            wanted = f"a node of the pair: {primary['id']} or {secondary['id']}"
            yield _problem(name, "fence.nodes", node, wanted)
    if "mail" in pair["notify"]["hooks"] and not pair["notify"]["mail"]:
        wanted = "the addresses to which the hook mail in notify.hooks is to write"
        yield _problem(name, "notify.mail", pair["notify"]["mail"], wanted)
    yield from _reachable_problems(pair)
    if pair["watch"]["patience"] < pair["watch"]["interval"]:
        yield _problem(
            name,
            "watch.patience",
            pair["watch"]["patience"],
            f"at least the interval, {pair['watch']['interval']}",
        )


def _reachable_problems(pair):
    """Whom a node would ask in vain whether it is cut off: as far as the pillar alone shows it."""
    name, wanted = pair["name"], pair["watch"]["reachable"]
    if wanted == []:
        yield _problem(
            name,
            "watch.reachable",
            wanted,
            f"an address such as the router's; or leave it out, and gateways and witnesses are asked; or "
            f"{hearing.NOBODY!r}, if takeovers are wanted without asking anybody",
        )
    named = {} if isinstance(wanted, str) else {f"watch.reachable.{at}": one for at, one in enumerate(wanted)}
    for at, witness in enumerate(pair["witnesses"]):
        if witness in pair["witness_hosts"]:
            named[f"witnesses.{at}.host"] = pair["witness_hosts"][witness]
    own = {ipaddress.ip_interface(one["address"]).ip for one in pair["floating_ips"] if _interface(one)}
    own |= {addressing.parsed(pair[role]["host"]) for role in ("primary", "secondary")}
    for key, text in named.items():
        if addressing.fixed(text):
            yield _problem(name, key, text, addressing.fixed(text))
        elif addressing.parsed(text) in own:
            yield _problem(name, key, text, "the address of a third host: this one goes with the pair itself")


def _interface(entry):
    try:
        return ipaddress.ip_interface(entry["address"])
    except ValueError:
        return None


def _floating_ip_problems(pair, entry):
    key = f"floating_ips.{entry['name']}"
    address, wanted = _interface(entry), addressing.floating(entry["address"])
    if wanted:
        yield _problem(pair, f"{key}.address", entry["address"], wanted)
    if entry["interface"] in (".", ".."):
        yield _problem(pair, f"{key}.interface", entry["interface"], "the name of an interface")
    label = entry["label"]
    if label is None:
        return
    start = entry["interface"] + ":"
    if not label.startswith(start) or any(character.isspace() or character == "/" for character in label):
        yield _problem(pair, f"{key}.label", label, f"a label that begins with {start!r}, such as {start}0")
    elif len(label) == len(start):
        yield _problem(pair, f"{key}.label", label, f"something behind the colon, such as {start}0")
    if address is not None and address.version == 6:
        yield _problem(pair, f"{key}.label", label, "no label: the kernel keeps them for IPv4 addresses only")


def _path_problems(pair):
    name = pair["name"]
    listed = [(f"replicate.{position}", entry["path"]) for position, entry in enumerate(pair["replicate"])]
    repositories = [(f"git.{position}", path) for position, path in enumerate(pair["git"])]
    judged = []
    for key, path in listed + repositories:
        wanted = _wanted_path(path, key.startswith("git."))
        if wanted:
            yield _problem(name, key, path, wanted)
            continue
        for other_key, other in judged:
            if path == other:
                yield _problem(name, key, path, f"each path once; {other_key} is the same")
            elif covers(other, path) or covers(path, other):
                yield _problem(name, key, path, f"a path that does not overlap {other} ({other_key})")
        judged.append((key, path))


def _wanted_path(path, repository):
    # What is wanted instead of the path, or None when it may be replicated.
    components = normalise.components(path)
    if any(part in (".", "..") for part in components):
        return "a path without '.' and '..'"
    globbed = [part for part in components if replicated.has_wildcards(part)]
    if repository and globbed:
        return "the path of one bare repository, without wildcards"
    if globbed and (len(globbed) > 1 or globbed[0] != components[-1]):
        return "wildcards in the last component only"
    for never in NEVER_INSIDE:
        if covers(path, never) or covers(never, path):
            return f"a path that neither holds {never} nor lies in it: that is each node's own"
    for never in NEVER_ITSELF:
        if covers(path, never):
            return "a path further down" if path == never else f"a path that does not hold {never}"
    try:
        item = replicated.item(path, is_directory=False)
        if item.pattern is not None:
            lsyncd_config.lua_pattern(item.pattern)
    except FailbackError as error:
        return f"a path that rsync can be told: {error}"
    return None


def covers(outer, inner):
    """Whether ``inner`` is ``outer`` or lies in it; the last part of ``outer`` may be a glob."""
    ours, theirs = normalise.components(outer), normalise.components(inner)
    if len(ours) > len(theirs):
        return False
    return all(
        mine == other
        or (replicated.has_wildcards(mine) and fnmatch.fnmatchcase(other, mine.replace("[^", "[!")))
        for mine, other in zip(ours, theirs)
    )


def _service_problems(pair):
    seen = {}
    for group in ("services", "active_services"):
        for position, entry in enumerate(pair[group]):
            key = f"{group}.{position}"
            unit = entry["name"][: -len(".service")] if entry["name"].endswith(".service") else entry["name"]
            if unit in seen:
                yield _problem(
                    pair["name"], key, entry["name"], f"each service once; {seen[unit]} is the same"
                )
            elif unit == "lsyncd":
                yield _problem(
                    pair["name"],
                    key,
                    entry["name"],
                    "no lsyncd: Failback itself starts it, behind its gate",
                )
            seen.setdefault(unit, key)


def _both_ways(name, lease):
    """What a normalised pair does not show: members are Failback's, and all the rest is the site's."""
    if "members" in lease:
        for key in ("endpoints", "ca", "cert", "key"):
            if key in lease:
                yield _problem(
                    name, f"lease.{key}", lease[key], f"members or {key}, not both: orch.lease sees to it"
                )


def _lease_problems(pair):
    name, lease = pair["name"], pair.get("lease")
    if not lease:
        return
    members, tls = lease["members"], lease["tls"] or {}
    if not members and not lease["endpoints"]:
        yield _problem(name, "lease", None, "members, or the endpoints of the site's own etcd")
    if members and len(members) not in (3, 5):
        found = [one["id"] for one in members]
        yield _problem(
            name, "lease.members", found, "three members, or five: then a majority outlives one, or two"
        )
    for position, one in enumerate(members):
        if addressing.fixed(one["host"]):
            yield _problem(name, f"lease.members.{position}.host", one["host"], addressing.fixed(one["host"]))
        if one["id"] in [other["id"] for other in members[:position]]:
            yield _problem(name, f"lease.members.{position}", one["id"], "each member once")
    if not members and ("cert" in tls) != ("key" in tls):
        yield _problem(name, "lease.cert", tls.get("cert"), "cert and key, or none of them")
    if not members and tls and any(one.startswith("http:") for one in lease["endpoints"]):
        yield _problem(name, "lease.endpoints", lease["endpoints"], "https, as there are certificates")
    if not pair["floating_ips"]:
        yield _problem(name, "lease", "a lease", "floating_ips as well: it gives addresses an end")


def _guest_problems(pair):
    for position, guest in enumerate(pair["vms"]):
        if guest in schema.RESERVED:
            yield _problem(
                pair["name"], f"vms.{position}", guest, "another name: this word stands for every guest"
            )
    storage = pair["virtualization"]["storage"]
    components = normalise.components(storage)
    if pair["vms"] and (
        any(part in (".", "..") for part in components)
        or '"' in storage
        or any(covers(storage, each) for each in ("/", *NEVER_INSIDE, *NEVER_ITSELF))
    ):
        yield _problem(
            pair["name"],
            "virtualization.storage",
            storage,
            "a folder of the shared storage's own, such as /srv/vms",
        )
    for key, path in [
        *((f"replicate.{position}", one["path"]) for position, one in enumerate(pair["replicate"])),
        *((f"git.{position}", path) for position, path in enumerate(pair["git"])),
    ]:
        if pair["vms"] and (covers(path, storage) or covers(storage, path)):
            # lsyncd would copy a disk over itself while a guest writes to it.
            yield _problem(
                pair["name"], key, path, f"a path that does not overlap {storage} (virtualization.storage)"
            )


def _addresses(pairs):
    # Floating addresses, and the fixed ones of the nodes where the pillar gives them as numbers.
    seen = {}
    found = []
    for name, pair in pairs.items():
        entries = [
            (f"{role}.host", pair[role]["host"], addressing.parsed(pair[role]["host"]))
            for role in ("primary", "secondary")
        ] + [
            (
                f"floating_ips.{entry['name']}.address",
                entry["address"],
                ipaddress.ip_interface(entry["address"]).ip,
            )
            for entry in pair["floating_ips"]
        ]
        for key, text, address in entries:
            if address is None:
                continue
            if address in seen:
                found.append(_problem(name, key, text, f"each address once; {seen[address]} is the same"))
            else:
                seen[address] = f"{name}: {key}"
    return found


def _nodes(pairs):
    seen = {}
    found = []
    for name, pair in pairs.items():
        for role in ("primary", "secondary"):
            node = pair[role]["id"]
            if node in seen and not seen[node].startswith(f"{name}: "):
                found.append(_problem(name, role, node, f"each node in one pair; {seen[node]} is the same"))
            seen.setdefault(node, f"{name}: {role}")
    return found


def _shared_paths(pairs):
    # A path means something else on other nodes, so only pairs that share a node can collide.
    by_node = {}
    found = []
    for name, pair in pairs.items():
        for node in {pair["primary"]["id"], pair["secondary"]["id"]}:
            for other in by_node.get(node, []):
                found += _collisions(pair, pairs[other])
            by_node.setdefault(node, []).append(name)
    return found


def _collisions(pair, other):
    return [
        _problem(
            pair["name"],
            f"replicate.{position}",
            entry["path"],
            f"a path that does not overlap {theirs} ({other['name']})",
        )
        for position, entry in enumerate(pair["replicate"])
        for theirs in [each["path"] for each in other["replicate"]] + other["git"]
        if covers(theirs, entry["path"]) or covers(entry["path"], theirs)
    ]


def _vms(pairs):
    seen = {}
    found = []
    for name, pair in pairs.items():
        for position, machine in enumerate(pair["vms"]):
            if machine in seen:
                found.append(
                    _problem(
                        name,
                        f"vms.{position}",
                        machine,
                        f"each machine once; {seen[machine]} is the same",
                    )
                )
            else:
                seen[machine] = f"{name}: vms.{position}"
    return found


def _order(pairs, known):
    found = []
    for name, pair in pairs.items():
        for position, other in enumerate(pair["after"]):
            if other not in known:
                close = difflib.get_close_matches(
                    other, [each for each in known if isinstance(each, str)], n=1
                )
                wanted = f"a pair that exists (did you mean {close[0]!r}?)" if close else "a pair that exists"
                found.append(_problem(name, f"after.{position}", other, wanted))
    for circle in _circles({name: pair["after"] for name, pair in pairs.items()}):
        found.append(
            _problem(
                circle[0],
                "after",
                " after ".join([*circle, circle[0]]),
                "an order without a circle",
            )
        )
    return found


def _circles(after):
    # Each circle once, by a walk that never goes deeper than Python's stack allows.
    state = {}
    circles = []
    for start in after:
        if start in state:
            continue
        trail = [(start, iter(after[start]))]
        state[start] = "open"
        while trail:
            name, rest = trail[-1]
            following = next(rest, None)
            if following is None:
                state[name] = "done"
                trail.pop()
            elif state.get(following) == "open":
                names = [each for each, _ in trail]
                circles.append(names[names.index(following) :])
            elif following in after and following not in state:
                state[following] = "open"
                trail.append((following, iter(after[following])))
    return circles
