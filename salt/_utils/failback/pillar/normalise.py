"""A pair completed with its defaults, in the one form that all other parts read. Pure."""

import copy

from failback.decisions import addressing
from failback.host import nagios
from failback.pillar import schema

#: Where the certificates of the nodes lie that highstate makes for the members that it sets up.
LEASE = "/etc/failback/lease"


def normalise(name, data):
    """
    A pair with every key present, as all other parts read it. Pure.

    name
        Name of the pair.

    data
        What the pillar says of it; it must have no ``problems``.

    Returns a new dict that JSON can hold. Node ids become ``{"id", "host"}``, with ``ssh_port`` and
    ``ssh_user`` where they are given, floating addresses a list with their ``name``, paths ``{"path",
    "then"}``, services ``{"name", "proof", "status"}``, ``witnesses`` a list of minion ids, and
    ``witness_hosts`` their addresses by id, as far as the pillar has them; what is missing gets the schema's
    default.
    """
    data = as_meant(data)
    return {
        "name": name,
        "primary": _node(data["primary"]),
        "secondary": _node(data["secondary"]),
        "mode": data.get("mode", schema.default("mode")),
        "floating_ips": [_floating_ip(key, value) for key, value in data.get("floating_ips", {}).items()],
        "replicate": [_replicated(entry) for entry in data.get("replicate", [])],
        "git": [_clean(path) for path in data.get("git", [])],
        "services": [_service(entry) for entry in data.get("services", [])],
        "active_services": [_service(entry) for entry in data.get("active_services", [])],
        "vms": list(data.get("vms", [])),
        "after": list(data.get("after", [])),
        "fence": _fence(data.get("fence", {})),
        "witnesses": [_node(one)["id"] for one in data.get("witnesses", [])],
        "witness_hosts": {
            one["id"]: one["host"]
            for one in data.get("witnesses", [])
            if isinstance(one, dict) and "host" in one
        },
        **{
            group: {
                **copy.deepcopy(schema.defaults(group)),
                **copy.deepcopy(dict(data.get(group, {}))),
            }
            for group in ("watch", "lsyncd", "recovery", "virtualization", "notify")
        },
        **({"lease": _lease(data["lease"])} if "lease" in data else {}),
    }


def _lease(lease):
    """``endpoints``, ``members``, ``tls``, ``ttl``, ``watchdog`` and ``prefix``."""
    members = [_node(one) for one in lease.get("members", [])]
    tls = {key: lease[key] for key in ("ca", "cert", "key") if key in lease}
    if members:
        tls = {"ca": f"{LEASE}/ca.crt", "cert": f"{LEASE}/client.crt", "key": f"{LEASE}/client.key"}
    return {
        **schema.defaults("lease"),
        **{key: lease[key] for key in ("ttl", "watchdog", "prefix") if key in lease},
        "endpoints": [f"https://{addressing.in_brackets(one['host'])}:2379" for one in members]
        or list(lease.get("endpoints", [])),
        "members": members,
        "tls": tls or None,
    }


def as_meant(data):
    """A pair as its author meant it, where YAML 1.1 has read the key ``on`` as true."""
    # PyYAML reads YAML 1.1, in which the bare key "on" is true; as JSON it then becomes "true".
    if not isinstance(data, dict) or not isinstance(data.get("floating_ips"), dict):
        return data
    entries = {}
    for name, entry in data["floating_ips"].items():
        if isinstance(entry, dict) and isinstance(entry.get("watch"), dict):
            watch = {
                "on" if key is True or key == "true" else key: value for key, value in entry["watch"].items()
            }
            entry = {**entry, "watch": watch}
        entries[name] = entry
    return {**data, "floating_ips": entries}


def _node(node):
    if isinstance(node, str):
        return {"id": node, "host": node}
    given = {key: node[key] for key in ("ssh_port", "ssh_user") if key in node}
    return {"id": node["id"], "host": node.get("host", node["id"]), **given}


def _floating_ip(name, entry):
    return {
        "name": name,
        "address": entry["address"],
        "interface": entry["interface"],
        "label": entry.get("label"),
        "watch": {**schema.defaults("floating_ips", "watch"), **entry.get("watch", {})},
    }


def _fence(fence):
    # Without the options: a password belongs in the one file that is made for it; see failback.pillar.pairs.
    nodes = {node: {"agent": entry["agent"]} for node, entry in fence.get("nodes", {}).items()}
    return {**schema.defaults("fence"), **fence, "nodes": nodes}


def _replicated(entry):
    if isinstance(entry, str):
        entry = {"path": entry}
    return {"path": _clean(entry["path"]), "then": entry.get("then")}


def _service(entry):
    if isinstance(entry, str):
        entry = {"name": entry}
    name = entry["name"]
    return {
        "name": name,
        "proof": list(entry["proof"]) if "proof" in entry else None,
        "status": list(entry["status"]) if "status" in entry else nagios.default_status(name),
    }


def _clean(path):
    return "/" + "/".join(components(path))


def components(path):
    """The names that a path is made of."""
    return [part for part in path.split("/") if part]
