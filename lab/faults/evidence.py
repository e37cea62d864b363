"""The evidence of a rehearsal: what clients, nodes, backups and the network saw of it."""

import base64
import contextlib
import json
import subprocess
import time

from lab import client
from lab.faults import checker
from lab.faults import stage
from lab.host import HostOff


class Evidence:
    """
    The part of a rehearsal that collects what was seen, for :py:mod:`lab.faults.checker`.

    It relies on what ``rehearsal.Rehearsal`` keeps: the lab, the client, the timeline, where the load writes.
    """

    def _facts(self):
        for host in self.lab.nodes:
            with contextlib.suppress(HostOff, subprocess.SubprocessError):
                host.write(f"{self.local_log}.stop", "")
        entries = (self.writing and self._quietly(self.writing.stop)) or []
        normal = bool(self.timeline) and any(text == "the pair is normal" for _, text in self.timeline)
        drained = None
        if normal:
            drain = self.primary.run(["salt-call", "lsyncd.drain", "salt"], check=False, timeout=180)
            drained = drain.returncode == 0
        ended = time.time()
        facts = {
            "label": self.label,
            "seed": self.seed,
            "how": getattr(self, "how", None),
            "begun": self.begun,
            "ended": ended,
            "started": getattr(self, "started", None),
            "injected": getattr(self, "injected", None),
            "mended": getattr(self, "mended_at", None),
            "configuration": self.configuration,
            "patience": stage.PATIENCE,
            "waits": stage.WAITS[self.configuration],
            "hit": getattr(self, "hit", False),
            "fault": self.fault.name,
            "exit": getattr(self, "ended", None),
            "took": self.took and round(self.took, 1),
            "undisturbed": self.undisturbed,
            "said": getattr(self, "said", ""),
            "failed": self.failed,
            "timeline": self.timeline,
            "outages": self.outages,
            "silences": self.silences,
            "held_at_fault": getattr(self, "held_at_fault", []),
            "after_fault": getattr(self, "after_fault", []),
            "attempts": getattr(self, "attempts", []),
            "normal": normal,
            "drained": drained,
            "client": entries,
            "local": {host.name: self._quietly(self._local_entries, host) or [] for host in self.lab.nodes},
            "observed": {host.name: self._quietly(self._observed, host) or [] for host in self.lab.nodes},
            "arp": self._quietly(self._arp) or [],
            "macs": self.lab.macs,
            "plans": self.plans,
            "trees": {host.name: self._quietly(self._tree, host) or {} for host in self.lab.nodes},
            "kept": {host.name: self._quietly(self._kept, host) or {} for host in self.lab.nodes},
            "bait": {name: content for name, content in getattr(self, "expected_bait", {}).items()},
            "kept_bait": getattr(self, "kept_bait", {}),
            "bait_folder": self.bait,
            "places": {"client": stage.CLIENT_FILES, "local": f"{stage.SMALL}/local"},
        }
        self._clean()
        return facts

    def _quietly(self, function, *arguments):
        try:
            return function(*arguments)
        except (HostOff, subprocess.SubprocessError, OSError, RuntimeError) as error:
            self.note(f"{function.__name__}: {error}")
            return None

    def _local_entries(self, host):
        text = host.run(["cat", self.local_log], check=False).stdout
        return [json.loads(line) for line in text.splitlines(True) if line.endswith("\n")]

    def _observed(self, host):
        lines = checker.since(host.read(stage.OBSERVED), self.begun - 5)
        return sorted([*lines, *self.from_outside[host.name]], key=lambda one: one["time"])

    def _arp(self):
        text = self.client.run(["tail", "-n", "20000", "/var/log/arp.jsonl"]).stdout
        return checker.since(text, self.begun - 5)

    def _tree(self, host):
        """Every file of the load's folders, as text: {absolute path: content}."""
        found = {}
        for folder in (stage.CLIENT_FILES, f"{stage.SMALL}/local", self.bait):
            for name, content in client.files(host, folder).items():
                found[f"{folder}/{name}"] = content
        return found

    def _kept(self, host):
        """Every file kept in a backup of the runs since this one began: {path in the service: [content]}."""
        script = (
            "import base64, json, os, sys\n"
            "found = {}\n"
            "top = sys.argv[1]\n"
            "for run in sorted(os.listdir(top)) if os.path.isdir(top) else ():\n"
            "    folder = os.path.join(top, run)\n"
            "    if not os.path.isdir(folder + '/backup'): continue\n"
            "    if os.stat(folder).st_mtime < float(sys.argv[2]): continue\n"
            "    for module in os.listdir(folder + '/backup'):\n"
            "        for above, _, names in os.walk(os.path.join(folder, 'backup', module)):\n"
            "            for name in names:\n"
            "                path = os.path.join(above, name)\n"
            "                inner = os.path.relpath(path, os.path.join(folder, 'backup', module))\n"
            "                inner = inner.split('/', 1)[1]\n"
            "                data = base64.b64encode(open(path, 'rb').read()).decode()\n"
            "                found.setdefault(inner, []).append(data)\n"
            "print(json.dumps(found))\n"
        )
        top = f"{stage.STATE}/runs"
        text = host.run(["python3", "-", top, str(self.begun - 5)], input=script, timeout=60).stdout
        return {
            name: [base64.b64decode(each) for each in contents] for name, contents in json.loads(text).items()
        }

    def _clean(self):
        """The next run begins with empty folders; on the serving node, so that it is carried."""
        host = self.holder() or self.primary
        folders = [stage.CLIENT_FILES, f"{stage.SMALL}/local", stage.SMALL]
        self._quietly(host.run, ["find", *folders, "-mindepth", "1", "-type", "f", "-delete"])
