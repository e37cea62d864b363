"""
The shape of a pair in the pillar, as a JSON Schema (draft 2020-12), with the defaults.

Editors complete from the published file ``docs/pair.schema.json``, which this module prints::

    PYTHONPATH=salt/_utils python3 -m failback.pillar.schema > docs/pair.schema.json

The defaults stand here and nowhere else. :py:mod:`failback.pillar.validate` checks against it.
"""

import json

from failback.decisions import events
from failback.decisions import hearing
from failback.decisions import readiness

#: A name that is safe as a file name, in a unit file and on a command line.
PAIR_NAME = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
#: Words that stand for something else where a pair's name is expected.
RESERVED = ("all",)
_WORDS = "|".join(
    "".join(f"[{letter.upper()}{letter}]" for letter in word)
    for word in ("true", "false", "yes", "no", "on", "off", "null", "none")
)
#: What YAML, or Salt on its command line, takes for a number, a truth or nothing. A name in quotes in the
#: pillar would be a text there, and something else in ``pair=…``, in ``pillar='{pair: …}'`` and in a state.
NO_TEXT = rf"[0-9][0-9_]*([eE][0-9]+)?|0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|{_WORDS}"
MINION_ID = "^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$"
HOST = "^[A-Za-z0-9:][A-Za-z0-9.:_-]{0,252}$"
UNIT = "^[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,200}$"
FENCE_AGENT = "^fence_[a-z0-9_]{1,60}$"
FENCE_OPTION = "^(?!action$)[a-z][a-z0-9_]{0,60}$"
#: An agent reads its options line by line: a value with a line break would give it another option.
FENCE_VALUE = "^[^\\n\\r\\x00]*(?![\\s\\S])"

URL = "^https?://[A-Za-z0-9\\[][A-Za-z0-9.:\\[\\]_-]{0,252}$"

_GUEST = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$"


def _id_and_host(description, **more):
    """A minion id, or a mapping of it, of what ``description`` says of its ``host``, and of ``more`` keys."""
    return [
        {"type": "string", "pattern": MINION_ID},
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["id"],
            "properties": {
                "id": {"description": "Its minion id.", "type": "string", "pattern": MINION_ID},
                "host": {"description": description, "type": "string", "pattern": HOST},
                **more,
            },
        },
    ]


_ADDRESS = "Name or fixed address for SSH between the two nodes; by default the id."
_NODE = {
    "description": (
        "A server: its minion id, or its minion id and the address under which the other node reaches it."
    ),
    "anyOf": _id_and_host(
        _ADDRESS,
        ssh_port={
            "description": "Port of its sshd; by default 22.",
            "type": "integer",
            "minimum": 1,
            "maximum": 65535,
        },
        ssh_user={
            "description": (
                "Account with which the other node logs in here, where root may not; by default root. "
                "Highstate lets it become root, with sudo, for the verbs of a peer alone."
            ),
            "type": "string",
            "pattern": "^[a-z_][a-z0-9_-]{0,31}$",
        },
    ),
}

_PATH = {"type": "string", "pattern": "^/", "maxLength": 4095}

#: Nothing that a header of a mail, or the environment of a hook, could be split at.
MAIL = "^[A-Za-z0-9_.+=-]{1,64}(@[A-Za-z0-9.-]{1,253})?$"

_NOTIFY = {
    "description": "Who is told what happens to the pair.",
    "type": "object",
    "additionalProperties": False,
    "default": {},
    "properties": {
        "events": {
            "description": "What is told.",
            "type": "array",
            "items": {"type": "string", "enum": list(events.ALL)},
            "default": list(events.ALL),
        },
        "hooks": {
            "description": "Those of the shipped hooks that highstate puts into /etc/failback/hooks.d.",
            "type": "array",
            "items": {"type": "string", "enum": list(events.HOOKS)},
            "default": [],
        },
        "mail": {
            "description": "To whom the hook mail writes.",
            "type": "array",
            "items": {"type": "string", "pattern": MAIL},
            "default": [],
        },
        "not_ready_after": {
            "description": "Seconds for which a node must not have been ready before that is told.",
            "type": "number",
            "minimum": 0,
            "maximum": 86400,
            "default": 600,
        },
        "timeout": {
            "description": "Seconds after which a hook is killed.",
            "type": "number",
            "minimum": 1,
            "maximum": 600,
            "default": 60,
        },
    },
}

_SERVICES = {
    "type": "array",
    "items": {
        "anyOf": [
            {"type": "string", "pattern": UNIT},
            {
                "type": "object",
                "additionalProperties": False,
                "required": ["name"],
                "properties": {
                    "name": {
                        "description": "Name of the systemd unit.",
                        "type": "string",
                        "pattern": UNIT,
                    },
                    "proof": {
                        "description": (
                            "Command that ends with status 0 when the service really answers, a "
                            "list of words."
                        ),
                        "type": "array",
                        "minItems": 1,
                        "items": {"type": "string", "minLength": 1},
                    },
                    "status": {
                        "description": (
                            "Command that says in systemd's stead whether the service is on: exit status 0 "
                            "on, 3 off, other: not known. A list of words."
                        ),
                        "type": "array",
                        "minItems": 1,
                        "items": {"type": "string", "minLength": 1},
                    },
                },
            },
        ]
    },
}

PAIR = {
    "type": "object",
    "additionalProperties": False,
    "required": ["primary", "secondary"],
    "properties": {
        "primary": _NODE,
        "secondary": _NODE,
        "mode": {
            "description": (
                "automatic: a node that takes over starts the active_services; manual: the addresses alone "
                "move, and a person decides when the services follow."
            ),
            "type": "string",
            "enum": ["automatic", "manual"],
            "default": "automatic",
        },
        "notify": _NOTIFY,
        "floating_ips": {
            "description": "Addresses that the active node holds, by name.",
            "type": "object",
            "default": {},
            "propertyNames": {"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"},
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "required": ["address", "interface"],
                "properties": {
                    "address": {
                        "description": "IPv4 or IPv6 with its prefix: 10.0.0.5/24.",
                        "type": "string",
                    },
                    "interface": {
                        "description": "The interface that bears it, such as eth0; an altname will do.",
                        "type": "string",
                        "pattern": "^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,126}$",
                    },
                    "label": {
                        "description": (
                            "Label of an IPv4 address: the interface, a colon and more, such as eth0:0."
                        ),
                        "type": "string",
                        "maxLength": 15,
                    },
                    "watch": {
                        "description": "Where the automatic flip runs.",
                        "type": "object",
                        "additionalProperties": False,
                        "default": {},
                        "properties": {
                            "on": {
                                "type": "string",
                                "enum": ["secondary", "both", "nobody"],
                                "default": "secondary",
                            },
                            "cron": {
                                "description": (
                                    "Name of its file in /etc/cron.d; cron reads no name with a dot in it."
                                ),
                                "type": "string",
                                "pattern": "^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$",
                                "default": "gateway-ip",
                            },
                        },
                    },
                },
            },
        },
        "replicate": {
            "description": (
                "What lsyncd carries from primary to secondary: a folder, a file, or a glob in the "
                "last component."
            ),
            "type": "array",
            "default": [],
            "items": {
                "anyOf": [
                    _PATH,
                    {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["path"],
                        "properties": {
                            "path": _PATH,
                            "then": {
                                "description": ("Service to reload on the node that received changes."),
                                "type": "string",
                                "pattern": UNIT,
                            },
                        },
                    },
                ]
            },
        },
        "git": {
            "description": "Bare Git repositories; pushed, never copied as files.",
            "type": "array",
            "default": [],
            "items": _PATH,
        },
        "services": {
            "description": ("Services on both nodes, in order, primary first; never enabled at boot."),
            "default": [],
            **_SERVICES,
        },
        "active_services": {
            "description": "Services on the active node only, beside lsyncd and the addresses.",
            "default": [],
            **_SERVICES,
        },
        "vms": {
            "description": "Virtual machines on storage that both nodes share.",
            "type": "array",
            "default": [],
            "items": {"type": "string", "pattern": _GUEST},
        },
        "virtualization": {
            "description": "How the two hosts run the virtual machines of vms.",
            "type": "object",
            "additionalProperties": False,
            "default": {},
            "properties": {
                "storage": {
                    "description": "Folder on the storage that both hosts share; the disks lie in it.",
                    "default": "/srv/vms",
                    **_PATH,
                },
                "prefix": {
                    "description": "What libvirt's name of a guest begins with: "
                    "/etc/libvirt/qemu/shared-<vm>.xml.",
                    "type": "string",
                    "pattern": "^([A-Za-z0-9_][A-Za-z0-9_.-]{0,31})?$",
                    "default": "shared-",
                },
                "migration_timeout": {
                    "description": "Seconds for a live migration; then the guest stays where it is.",
                    "type": "integer",
                    "minimum": 10,
                    "maximum": 86400,
                    "default": 600,
                },
                "shutdown_timeout": {
                    "description": "Seconds for a guest to shut down; then it is left alone.",
                    "type": "integer",
                    "minimum": 5,
                    "maximum": 86400,
                    "default": 300,
                },
            },
        },
        "after": {
            "description": "Pairs to be recovered before this one.",
            "type": "array",
            "default": [],
            "items": {"type": "string"},
        },
        "witnesses": {
            "description": (
                "Third hosts that prove from outside who answers for an address: a minion id, or the minion "
                "id and the address at which a node asks whether it is itself cut off."
            ),
            "type": "array",
            "default": [],
            "items": {"anyOf": _id_and_host("Its fixed address, without a prefix.")},
        },
        "watch": {
            "description": "How the watch judges.",
            "type": "object",
            "additionalProperties": False,
            "default": {},
            "properties": {
                "interval": {
                    "description": "Seconds between two looks.",
                    "type": "number",
                    "minimum": 0.05,
                    "maximum": 60,
                    "default": 0.5,
                },
                "patience": {
                    "description": ("Seconds without an answer after which the address counts as gone."),
                    "type": "number",
                    "minimum": 0.1,
                    "maximum": 3600,
                    "default": 2.0,
                },
                "reachable": {
                    "description": (
                        "Who must answer before a takeover, else this node is the one that is cut off: "
                        "addresses, of which one must; gateway-or-witness; or nobody, for takeovers "
                        "without asking anybody."
                    ),
                    "anyOf": [
                        {"type": "string", "enum": [hearing.ORDINARY, hearing.NOBODY]},
                        {"type": "array", "items": {"type": "string"}},
                    ],
                    "default": hearing.ORDINARY,
                },
                "max_lag": {
                    "description": (
                        "Seconds since the standby was last in step after which it counts as behind: "
                        "pair.status says so, and so does a takeover."
                    ),
                    "type": "number",
                    "minimum": 15,
                    "maximum": 86400,
                    "default": 30,
                },
                "beyond_max_lag": {
                    "description": (
                        "What the watch does when the standby is further behind: serve, and say since when "
                        "writes are missing; or refuse, and leave the pair without service."
                    ),
                    "type": "string",
                    "enum": [readiness.SERVE, readiness.REFUSE],
                    "default": readiness.SERVE,
                },
            },
        },
        "fence": {
            "description": "How a node is switched off by a fence agent before the other one takes over.",
            "type": "object",
            "additionalProperties": False,
            "default": {},
            "properties": {
                "nodes": {
                    "description": "The agent that switches a node off, by the node's minion id.",
                    "type": "object",
                    "default": {},
                    "propertyNames": {"pattern": MINION_ID},
                    "additionalProperties": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["agent"],
                        "properties": {
                            "agent": {
                                "description": "Its name in Debian's fence-agents, such as fence_ipmilan.",
                                "type": "string",
                                "pattern": FENCE_AGENT,
                            },
                            "options": {
                                "description": (
                                    "Its options, as its manual page names them for standard input: ip, "
                                    "username, password, plug."
                                ),
                                "type": "object",
                                "default": {},
                                "propertyNames": {"pattern": FENCE_OPTION},
                                "additionalProperties": {
                                    "anyOf": [
                                        {"type": "string", "pattern": FENCE_VALUE},
                                        {"type": "boolean"},
                                        {"type": "number"},
                                    ]
                                },
                            },
                        },
                    },
                },
                "policy": {
                    "description": (
                        "required: no takeover by the watch unless the agent has proved the other node off; "
                        "preferred: without that proof it takes over as if there were no agent."
                    ),
                    "type": "string",
                    "enum": ["required", "preferred"],
                    "default": "required",
                },
                "timeout": {
                    "description": "Seconds for an agent to switch a node off, and again to ask its state.",
                    "type": "number",
                    "minimum": 5,
                    "maximum": 600,
                    "default": 30,
                },
                "delay": {
                    "description": (
                        "Seconds that the node which is not the active one waits longer before it has the "
                        "other one switched off, where both watch: a fence race has one winner."
                    ),
                    "type": "number",
                    "minimum": 0,
                    "maximum": 600,
                    "default": 10,
                },
            },
        },
        "lease": {
            "description": (
                "The right to serve is a lease in etcd: no fault gives two nodes the addresses. Off by "
                "default."
            ),
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "endpoints": {
                    "description": "URLs of a site's own etcd, by address: https://10.0.0.91:2379.",
                    "type": "array",
                    "minItems": 1,
                    "items": {"type": "string", "pattern": URL},
                },
                "members": {
                    "description": (
                        "Three hosts on which highstate sets etcd up, in the stead of endpoints: minion id "
                        "and address."
                    ),
                    "type": "array",
                    "minItems": 1,
                    "items": {**_NODE, "anyOf": _id_and_host(_ADDRESS)},
                },
                "ca": {
                    "description": "File of the authority that signed the members' certificates.",
                    **_PATH,
                },
                "cert": {"description": "File of the node's own certificate.", **_PATH},
                "key": {"description": "File of the key of cert.", **_PATH},
                "ttl": {
                    "description": (
                        "Seconds that the right to serve lasts, and after which the other node may take over."
                    ),
                    "type": "number",
                    "minimum": 6,
                    "maximum": 30,
                    "default": 10,
                },
                "watchdog": {
                    "description": (
                        "Use /dev/watchdog: a node that stands still is reset before the other one may serve."
                    ),
                    "type": "boolean",
                    "default": False,
                },
                "prefix": {
                    "description": "What the names of the keys in etcd begin with.",
                    "type": "string",
                    "pattern": "^/[A-Za-z0-9/_.-]{0,99}$",
                    "default": "/failback/",
                },
            },
        },
        "lsyncd": {
            "description": "How lsyncd carries.",
            "type": "object",
            "additionalProperties": False,
            "default": {},
            "properties": {
                "delay": {
                    "description": "Seconds in which it gathers changes.",
                    "type": "number",
                    "minimum": 0,
                    "maximum": 3600,
                    "default": 0.22,
                },
                "max_processes": {
                    "description": "How many rsync processes it runs at once for each path.",
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 64,
                    "default": 2,
                },
            },
        },
        "recovery": {
            "description": "Limits of orch.recover.",
            "type": "object",
            "additionalProperties": False,
            "default": {},
            "properties": {
                "reboot": {
                    "description": "Reboot the returned node between its two highstates.",
                    "type": "boolean",
                    "default": True,
                },
                "boot_timeout": {
                    "description": "Seconds for a reboot until the minion answers.",
                    "type": "integer",
                    "minimum": 10,
                    "default": 1200,
                },
                "max_delete": {
                    "description": "More deletions than these are refused.",
                    "type": "integer",
                    "minimum": 0,
                    "default": 100,
                },
                "max_change_percent": {
                    "description": "More changed files, in percent of all, are refused.",
                    "type": "number",
                    "minimum": 0,
                    "maximum": 100,
                    "default": 25,
                },
                "max_passes": {
                    "description": "Passes before the handover at most.",
                    "type": "integer",
                    "minimum": 1,
                    "default": 5,
                },
                "small_pass": {
                    "description": "A pass of so few changes is small enough for the handover.",
                    "type": "integer",
                    "minimum": 0,
                    "default": 20,
                },
                "handover_timeout": {
                    "description": "Seconds until the secondary takes back; the final sync has 5 less.",
                    "type": "number",
                    "minimum": 7,
                    "maximum": 600,
                    "default": 10,
                },
                "keep_backups": {
                    "description": "Runs whose backups are kept, however old they are.",
                    "type": "integer",
                    "minimum": 1,
                    "default": 5,
                },
                "keep_days": {
                    "description": "Days for which every backup is kept, however many there are.",
                    "type": "number",
                    "minimum": 0,
                    "maximum": 3650,
                    "default": 7,
                },
                "fenced_for": {
                    "description": "Seconds for which a person's word that a node is off counts.",
                    "type": "integer",
                    "minimum": 30,
                    "maximum": 86400,
                    "default": 900,
                },
            },
        },
    },
}

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Pairs of Failback",
    "description": "A file in pillar/pairs: the pairs of active and standby servers.",
    "type": "object",
    "required": ["pairs"],
    "properties": {
        "pairs": {
            "description": "The pairs by name.",
            "type": "object",
            "propertyNames": {"pattern": f"^(?!({NO_TEXT}|{'|'.join(RESERVED)})$){PAIR_NAME.lstrip('^')}"},
            "additionalProperties": {"$ref": "#/$defs/pair"},
        }
    },
    "$defs": {"pair": PAIR},
}


def default(*path):
    """The default of a key of a pair, as in ``default("recovery", "max_delete")``."""
    schema = PAIR
    for key in path:
        schema = schema["properties"][key]
    return schema["default"]


def defaults(*path):
    """Defaults of a group's keys: ``defaults("watch")``, ``defaults("floating_ips", "watch")``."""
    schema = PAIR
    for key in path:
        inner = schema["properties"][key]
        # A mapping by name has the keys of interest in its entries.
        schema = inner["additionalProperties"] or inner
    return {key: inner["default"] for key, inner in schema["properties"].items() if "default" in inner}


def text():
    """The published file."""
    return json.dumps(SCHEMA, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(text(), end="")
