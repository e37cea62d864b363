"""Made-up facts of a run of the fault campaign in which all went well, for tests that break them."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))

from lab import load  # noqa: E402

FILES = "/srv/salt/files"
BAIT = "/srv/small/bait-1"


def line(time, what, **more):
    return {"time": time, "what": what, **({what: more.pop("value")} if "value" in more else {}), **more}


def holds(time, value):
    return line(time, "holds", value=value)


def operation(sequence, kind, name, node="salt1", answered=..., **more):
    entry = {"sequence": sequence, "operation": kind, "name": name, "sent": 100.0 + sequence}
    entry["answered"] = 100.1 + sequence if answered is ... else answered
    return {**entry, "node": node, **more}


MACS = {"02:00:00:00:00:01": "salt1", "02:00:00:00:00:02": "salt2"}


def arp(*steps):
    """What the client's monitor saw, ten times a second: from each (moment, nodes that answer) on."""
    found = []
    for (begin, nodes), (end, _) in zip(steps, steps[1:]):
        macs = [mac for mac, node in MACS.items() if node in nodes]
        number = round((end - begin) * 10)
        found += [{"time": round(begin + one / 10, 1), "macs": macs} for one in range(number)]
    return found


def facts():
    """A run in which all went well: salt1 was cut off at 110 s, salt2 took over, salt1 came home at 150 s."""
    clients = [
        operation(1, "create", "f-1"),
        operation(9, "create", "f-9"),
        operation(20, "create", "f-20", node="salt2"),
        operation(60, "append", "f-20"),
    ]
    tree = {f"{FILES}/f-1": load.block(1), f"{FILES}/f-20": load.block(20) + load.block(60)}
    tree[f"{BAIT}/1"] = b"serving 1\n"
    return {
        "label": "recover/none/done",
        "seed": 1,
        "how": "cut",
        "begun": 100.0,
        "started": 130.0,
        "injected": 140.0,
        "ended": 200.0,
        "hit": True,
        "exit": 0,
        "said": "",
        "failed": None,
        "normal": True,
        "drained": True,
        "timeline": [],
        "attempts": [],
        "outages": [["salt1", 110.0, 120.0, "cut"]],
        "silences": [],
        "client": clients,
        "local": {"salt1": [], "salt2": []},
        "plans": [f'{{"deleted": ["{FILES}/f-9"]}}'],
        "trees": {"salt1": dict(tree), "salt2": dict(tree)},
        "kept": {"salt1": {"files/f-9": [load.block(9)], "bait-1/1": [b"before 1\n"]}, "salt2": {}},
        "bait": {"1": "serving 1\n", "2": None},
        "kept_bait": {"1": "before 1\n"},
        "bait_folder": BAIT,
        "macs": dict(MACS),
        "arp": arp(
            (95, ["salt1"]),
            (110, []),
            (112, ["salt2"]),
            (120, ["salt1", "salt2"]),
            (122, ["salt2"]),
            (149.9, []),
            (150.1, ["salt1"]),
            (200, []),
        ),
        "places": {"client": FILES, "local": "/srv/small/local"},
        "observed": {
            "salt1": [
                line(95, "begun", boot="a"),
                holds(95, True),
                line(95, "ledger", value=[1, "salt1"]),
                line(95, "lsyncd", value=[[7, 1]]),
                line(122, "ledger", value=[2, "salt2"]),
                holds(122, False),
                line(123, "lsyncd", value=[]),
                line(150, "ledger", value=[3, "salt1"]),
                holds(150.1, True),
                line(155, "lsyncd", value=[[9, 500]]),
            ],
            "salt2": [
                line(95, "begun", boot="b"),
                holds(95, False),
                line(95, "ledger", value=[1, "salt1"]),
                line(112, "ledger", value=[2, "salt2"]),
                holds(112, True),
                holds(149.9, False),
                line(150, "ledger", value=[3, "salt1"]),
            ],
        },
    }
