"""Programs that behave as fence agents do, and as broken ones do."""

import json

import samples

from failback.host.paths import Paths
from failback.pair import Member

#: It keeps the state of its node in a file, and writes down what it was told.
AGENT = """#!/usr/bin/python3
import sys, pathlib
folder = pathlib.Path(__file__).parent
options = dict(line.rstrip("\\n").split("=", 1) for line in sys.stdin)
with open(folder / "told", "a") as log:
    log.write(repr((sys.argv[1:], options)) + "\\n")
state = folder / "state"
{body}
if options["action"] == "off":
    state.write_text("off")
    sys.exit(0)
if options["action"] in ("status", "monitor"):
    sys.exit(2 if state.exists() else 0)
sys.exit(1)
"""


def member(folder, body="", nodes=None, mode=0o755, **fence):
    """salt2 with an agent for salt1 below a folder; ``body`` is what else the agent does."""
    nodes = {"salt1": {"agent": "fence_test"}} if nodes is None else nodes
    settings = {"policy": "required", "timeout": 60, "delay": 10, "nodes": nodes, **fence}
    found = Member.of(samples.pair("salt2", fence=settings), Paths(folder))
    place = found.paths.fence_agent("salt")
    place.parent.mkdir(parents=True)
    options = {"ip": "10.0.0.21", "username": "admin", "password": "s3cret!", "lanplus": True, "ssl": False}
    content = {"version": 1, "node": "salt1", "agent": "fence_test", "options": options}
    place.write_text(json.dumps(content))
    program = folder / "usr/sbin/fence_test"
    program.parent.mkdir(parents=True)
    program.write_text(AGENT.format(body=body))
    program.chmod(mode)
    return found


def told(folder):
    """What the agent was told: a list of ``(arguments, options)``."""
    place = folder / "usr/sbin/told"
    return [eval(line) for line in place.read_text().splitlines()] if place.exists() else []
