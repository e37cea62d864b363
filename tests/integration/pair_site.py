"""
One master and the two nodes of a pair, with their files where a test can see and change them.

``site.run("pair.status", "salt")`` is the real ``salt-run`` with what it printed and its exit status.
Each node keeps its state in a folder of its own (the minion's option ``failback_root``), so two nodes
fit on one machine; ``systemctl`` is a program that answers from that folder.
"""

import json
import pathlib
import shutil
import stat
import subprocess
import sys

import warm

from failback.host import release
from failback.host.paths import Paths
from failback.pair import Member
from failback.pillar import normalise
from failback.state import ledger

PRIMARY = "salt1"
SECONDARY = "salt2"

#: A pair of which everything can be shown without an address, a daemon or a second machine.
PLAIN = {"primary": PRIMARY, "secondary": SECONDARY, "mode": "manual"}

#: An address on an interface that no machine has: it is never held.
ADDRESS = {
    "floating_ips": {
        "salt-gw": {
            "address": "192.0.2.5/24",
            "interface": "absent0",
            "watch": {"on": "secondary", "cron": "gateway-ip"},
        }
    },
    # There is nobody on an interface that no machine has.
    "watch": {"reachable": "nobody"},
}

#: The operator of ``docs/security.md``, who has no account on the master: what salt-api lets alice do.
OPERATOR = "alice"
SECRET = "for this test alone"
API = {
    "sharedsecret": SECRET,
    "external_auth": {
        "sharedsecret": {
            OPERATOR: [
                {
                    "@pair": [
                        "status",
                        "check",
                        "history",
                        "nodes",
                        "plan",
                        "recover",
                        "failover",
                        "boot",
                        "pause",
                        "resume",
                    ]
                }
            ],
            # Somebody else, who may run this tree's orchestrations by their long names.
            "bob": [{"@state": [{"orch": {"args": ["orch\\.(recover|failover|boot)"]}}]}],
        }
    },
    "netapi_enable_clients": ["runner"],
}

SINCE = "2026-11-22T18:00:00Z"

#: Answers what ``failback.host.services`` and ``pair.start_services`` ask; a unit's state is a file. Where
#: one says so, a unit that is started is something else than active a moment later.
SYSTEMCTL = """#!/bin/sh
case "$1" in
--version) echo "systemd 252"; exit 0 ;;
show) ;;
start) cat "UNITS/$3.starts" 2>/dev/null > "UNITS/$3" || echo active > "UNITS/$3"; exit 0 ;;
*) echo "the test's systemctl does not know: $*" >&2; exit 1 ;;
esac
while [ "$1" != -- ]; do shift; done
shift
first=yes
for unit; do
    [ $first = yes ] || echo
    first=no
    if [ -f "UNITS/$unit" ]; then
        echo LoadState=loaded
        echo "ActiveState=$(cat "UNITS/$unit")"
    else
        echo LoadState=not-found
        echo ActiveState=inactive
    fi
done
"""


class Node:
    """A minion of the pair, and its files."""

    def __init__(self, name, root, tree):
        self.id = name
        self.root = root
        self.paths = Paths(root)
        self.member = Member("salt", self.paths)
        self.units = root / "units"
        self.programs = root / "bin"
        self.minion = None
        self._tree = tree
        self.programs.mkdir(parents=True)
        systemctl = self.programs / "systemctl"
        systemctl.write_text(SYSTEMCTL.replace("UNITS", str(self.units)))
        systemctl.chmod(0o755)

    def begin(self, pair):
        """As after highstate: the programs, the pair's configuration, and no history."""
        for folder in ("etc", "var", "run", "units"):
            shutil.rmtree(self.root / folder, ignore_errors=True)
        self.units.mkdir()
        self.set_unit("lsyncd.service", "inactive")
        shutil.rmtree(self.paths.library, ignore_errors=True)
        release.install(self._tree / "salt/_utils/failback", self.paths)
        self.configure(pair)

    def configure(self, pair):
        config = {**normalise.normalise("salt", pair), "node": self.id, "version": 1}
        self._write(self.paths.pair_config("salt"), json.dumps(config))

    def set_unit(self, unit, state):
        (self.units / unit).write_text(state)

    def set_dying_unit(self, unit):
        """One that systemd starts without complaint, and that is dead when one looks again."""
        self.set_unit(unit, "inactive")
        self.set_unit(f"{unit}.starts", "failed")

    def set_ledger(self, generation, active, admitted=True, **changes):
        """A ledger as a run would have written it; ``admitted``: since this machine booted."""
        own = ledger.Entry(generation, active, None, "a test", since=SINCE).content()
        if not admitted:
            own["boot_id"] = "an earlier boot"
        self._write(self.member.ledger.path, json.dumps({**own, **changes}))

    def damage_ledger(self, text):
        self._write(self.member.ledger.path, text)

    def set_lock(self, run, owner, seconds=600):
        self.member.lock.acquire(run, "recover", owner, seconds)

    def set_run(self, run, **record):
        self.member.runs.write(run, {"operation": "recover", "started": SINCE, **record})

    def _write(self, path, text):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(text)

    def tree(self):
        """All that lies on the node, down to the time of each file's last change."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            facts = path.lstat()
            is_file = stat.S_ISREG(facts.st_mode)
            found[str(path.relative_to(self.root))] = (
                facts.st_mode,
                facts.st_mtime_ns if is_file else None,
                path.read_bytes() if is_file else None,
            )
        return found


class Pillar:
    """The copy of the pillar that the master reads."""

    def __init__(self, root, tree):
        self.root = root
        self._shipped = tree / "pillar"

    def reset(self):
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self._shipped, self.root)
        # Of the examples that of the masters; the cluster's other nodes are not here.
        top = self.root / "top.sls"
        top.write_text(top.read_text().replace("\n# salt salt1", "\nsalt salt1"))

    def write(self, pair, name="salt"):
        # JSON is YAML; what a person would write by hand is tested with the shipped file.
        (self.root / "pairs" / f"{name}.sls").write_text(json.dumps({"pairs": {name: pair}}))

    def shipped(self):
        return (self._shipped / "pairs/salt.sls").read_text()

    def write_text(self, text, name="salt"):
        (self.root / "pairs" / f"{name}.sls").write_text(text)

    def list_pair(self, line):
        """Add a line to the list in top.sls, as docs say one does for a new pair."""
        top = self.root / "top.sls"
        marked = top.read_text().replace("\nsalt salt1 salt2\n", f"\nsalt salt1 salt2\n{line}\n")
        assert line in marked
        top.write_text(marked)


class Site:
    """What the tests speak to."""

    def __init__(self, master, nodes, pillar, tree):
        self.master = master
        self.tree = tree
        words = (self.program("salt-run"), "-c", master.config_dir, "--no-color", "--log-level=error")
        self._salt_run = warm.SaltRun(words)
        self.nodes = nodes
        self.primary, self.secondary = nodes
        self.pillar = pillar

    def begin(self, **changes):
        """A pair that was never adopted, as the pillar and both nodes know it."""
        pair = {**PLAIN, **changes}
        self.pillar.reset()
        self.pillar.write(pair)
        for node in self.nodes:
            node.begin(pair)

    def ledgers(self, primary, secondary):
        """Both ledgers: each is ``(generation, active, admitted in this boot)``."""
        self.primary.set_ledger(*primary)
        self.secondary.set_ledger(*secondary)

    @staticmethod
    def program(name):
        """The program that pip installed: the test framework's own ones end in another way."""
        return str(pathlib.Path(sys.executable).with_name(name))

    def start(self, *words):
        """salt-run in the background, as an operator types it."""
        return self._salt_run.start(*words)

    def run(self, *words):
        """salt-run to its end."""
        return Said(words, self.start(*words))

    def run_together(self, *commands):
        """Several of them at once, for questions that change nothing."""
        begun = [(words, self.start(*words)) for words in commands]
        return [Said(words, process) for words, process in begun]

    def close(self):
        self._salt_run.close()

    def trees(self):
        return [node.tree() for node in self.nodes]


class Said:
    """What a command printed, and how it ended."""

    def __init__(self, words, process, limit=120):
        self.words = " ".join(words)
        try:
            self.text, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            process.kill()
            self.text, _ = process.communicate()
            raise AssertionError(f"No end of salt-run {self.words}:\n{self.text}") from None
        self.status = process.returncode

    def __repr__(self):
        return f"salt-run {self.words}\n{self.text}\nexit status {self.status}"

    @property
    def flat(self):
        """The text as one line: salt-run breaks and indents it."""
        return " ".join(self.text.split())

    def refused(self, *words):
        """It said no, in words for a person, with these among them."""
        assert self.status != 0, self
        assert "Traceback" not in self.text, self
        for word in words:
            assert word in self.flat, (word, self)
        return self

    def good(self, *words):
        assert self.status == 0, self
        assert "Traceback" not in self.text, self
        for word in words:
            assert word in self.flat, (word, self)
        return self
