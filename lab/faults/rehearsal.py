"""One run: an outage under load, an orchestration, a fault in the middle of it, and what an operator does.

Nothing here knows how Failback works. It types what docs/operations.md says, and looks from outside.
"""

import base64
import contextlib
import json
import pathlib
import pickle
import random
import subprocess
import threading
import time

from lab import cache
from lab import client
from lab import load
from lab.faults import checker
from lab.faults import clock
from lab.faults import injectors
from lab.faults import moments
from lab.faults import volumes
from lab.host import HostOff
from lab.host import kill_session
from lab.host import until
from lab.site import Site
from lab.site import in_parallel

ADDRESS = "10.0.0.5"
STATE = "/var/lib/failback/salt"
TOOLS = "/usr/local/lib/failback-lab"
PILLAR = "/srv/salt/pillar/pairs/salt.sls"
CLIENT_FILES = "/srv/salt/files"
SMALL = volumes.PLACES["small"]
#: Seconds that an orchestration may take with a fault in it, before it counts as hanging.
LIMIT = 300
#: How often the operator runs what he is told to, before he gives up.
ATTEMPTS = 8
#: Allowed to one run: the load deletes and overwrites what it likes.
ALLOWED = {"max_delete": 100000, "max_change_percent": 100}
OBSERVED = "/var/log/observer.jsonl"
UNIT = """[Unit]
Description=What can be seen of this node from outside Failback

[Service]
ExecStart=/usr/bin/python3 {tools}/observer.py --address {address} --ledger {state}/ledger.json --log {log}
{time}
Restart=always
RestartSec=0.1

[Install]
WantedBy=sysinit.target
"""


class Lab:
    """The hosts of a campaign, used by one run after the other: each ends as the next one begins."""

    def __init__(self, name):
        self.site = Site(name, "salt")
        self.primary, self.secondary, self.client = (
            self.site.host(one) for one in ("salt1", "salt2", "client")
        )
        self.nodes = (self.primary, self.secondary)
        self.follow = False  # print what happens as it happens
        self.undisturbed = {}  # operation to seconds, for random moments

    def up(self):
        """A pair that is ``normal``, with volumes that can be filled, and observers on its nodes."""
        fresh = not (self.site.state / "faults").exists()
        if fresh:
            self.site.down()
            self.site.up(masters=False)
            in_parallel(lambda host: host.power_off(), self.nodes)
            for host in self.nodes:
                volumes.prepare(host)
        for host in self.site.hosts:
            host.power_on(wait=False)
        in_parallel(lambda host: host.wait_booted(), self.site.hosts)
        for host in self.site.hosts:
            for name in ("observer.py", "follow_arp.py"):
                text = pathlib.Path(__file__).with_name(name).read_text()
                host.write(f"{TOOLS}/{name}", text)
            host.write(f"{TOOLS}/load.py", pathlib.Path(load.__file__).read_text())
        if fresh:
            self._set_up()
        for host in self.nodes:
            host.run(["systemctl", "restart", "lab-observer"])
            # What a campaign that was ended has left at work would change files behind the next run's back.
            host.run(["systemctl", "stop", "lab-local-*.service"], timeout=60)
        self.client.run(["pkill", "-f", f"{TOOLS}/load.py write"], check=False)
        follow = [
            "systemd-run",
            "--quiet",
            "--collect",
            "--unit=lab-arp",
            "--property=Restart=always",
            "python3",
        ]
        follow += [f"{TOOLS}/follow_arp.py", "--address", ADDRESS, "--interface", "eth0"]
        if self.client.run(["systemctl", "is-active", "lab-arp"], check=False).returncode:
            self.client.run([*follow, "--log", "/var/log/arp.jsonl"])
        self.macs = {host.mac(): host.name for host in self.nodes}
        return self

    def _set_up(self):
        for host in self.nodes:
            unit = UNIT.format(
                tools=TOOLS, address=ADDRESS, state=STATE, log=OBSERVED, time=clock.MACHINES_TIME
            )
            host.write("/etc/systemd/system/lab-observer.service", unit)
            host.run(["systemctl", "enable", "--now", "--quiet", "lab-observer"])
            text = host.read(PILLAR)
            text = text.replace("    replicate:\n", f"    replicate:\n      - {SMALL}\n")
            text = text.replace(
                "boot_timeout: 300", "boot_timeout: 60\n      reboot: false\n      keep_backups: 50"
            )
            # As a site has its router: without it a node that is cut off takes what clients still write to.
            text += f"    watch: {{reachable: [{self.client.address()}]}}\n"
            host.write(PILLAR, text)
        minions = {host: _minion(host) for host in self.nodes}
        self.site.start_masters(list(self.nodes))
        (self.site.state / "masters-begun").touch()
        # The highstate at boot finds a master now, and restarts the minion with its new settings: a job that
        # came in between would be lost with it.
        for host, before in minions.items():
            until(
                lambda host=host, before=before: _minion(host) not in (before, "0"),
                120,
                f"the minion of {host.name} to restart after the highstate at boot",
            )
        in_parallel(lambda host: self.site.wait_answered(host, ["salt1", "salt2"], 60), self.nodes)
        self.primary.run(["mkdir", "-p", f"{SMALL}/local", CLIENT_FILES])
        for host in self.nodes:
            host.run(["salt-run", "saltutil.sync_all"], timeout=120)
        for what in ("adopt", "boot"):
            self.orchestrate(self.primary, what)
        (self.site.state / "faults").touch()

    def push(self):
        """The checkout's tree on both masters, and what it makes of the nodes."""
        pillars = [host.read(PILLAR) for host in self.nodes]
        self.site.push_tree()
        for host, text in zip(self.nodes, pillars):
            host.write(PILLAR, text)
            host.run(["salt-run", "saltutil.sync_all"], timeout=120)
        done = self.primary.run(["salt", "-L", "salt1,salt2", "state.apply"], timeout=300, check=False)
        if done.returncode:
            raise RuntimeError(f"highstate failed: {done.stdout[-3000:]}")

    def orchestrate(self, host, what, **pillar):
        """An orchestration that must succeed."""
        pillar = json.dumps({"pair": "salt", **pillar})
        return host.run(
            ["salt-run", "--no-color", "state.orch", f"orch.{what}", f"pillar={pillar}"], timeout=600
        )

    def status(self, host, limit=90):
        """What ``pair.status`` says of the pair on a master; raises when it says nothing usable."""
        done = host.run(["salt-run", "--out=json", "pair.status", "salt"], check=False, timeout=limit)
        return json.loads(done.stdout)["salt"]


class Rehearsal:
    """One run.

    operation, fault, moment
        What is run, what happens, when; the names are those of ``moments`` and ``injectors``.

    seed
        Of everything else that is left to chance.
    """

    def __init__(self, lab, operation, fault, moment, seed):
        self.lab, self.operation, self.moment, self.seed = lab, operation, moment, seed
        self.fault = injectors.ALL[fault]
        self.primary, self.secondary, self.client = lab.primary, lab.secondary, lab.client
        self.returned = lab.primary
        self.operator = lab.secondary
        self.far_end = lab.secondary
        self.random = random.Random(f"{seed}")
        self.label = f"{operation}/{fault}/{moment}"
        self.timeline = []
        self.outages = []  # [node, from, to]: cut off, or without power
        self.silences = []  # [node, from, to]: it answers nobody's ARP
        self.process = self.second = self.jobs = self.muted = self.took = None
        self.undisturbed = lab.undisturbed.get(operation, moments.UNDISTURBED[operation])
        self.plans = []
        self.clocks = contextlib.ExitStack()
        self.begun = time.time()

    def note(self, text):
        self.timeline.append((time.time(), text))
        if self.lab.follow:
            print(f"  {time.time() - self.begun:7.2f} s  {text}", flush=True)

    # --- what faults do

    def lost(self, host):
        if host.switched_on:
            self.outages.append([host.name, time.time(), None, "power"])
            host.power_off()

    def power_cycled(self, host):
        """Off, and on again at once: gone for so short a time that nobody need notice."""
        self.lost(host)
        host.power_on(wait=False)
        self._ended(self.outages, host)

    def on(self, host):
        if not host.switched_on:
            host.power_on(limit=120)
            self._ended(self.outages, host)

    def back(self, host):
        self.on(host)
        self._wait_highstate_at_boot(host)

    def cut(self, host, silent=True):
        self.outages.append([host.name, time.time(), None, "cut"])
        host.cut("eth0", silent=silent)

    def mended(self, host):
        host.mend("eth0")
        self._ended(self.outages, host)

    def unheard(self, host):
        self.silences.append([host.name, time.time(), None])

    def heard(self, host):
        self._ended(self.silences, host)

    def _ended(self, spans, host):
        for span in spans:
            if span[0] == host.name and span[2] is None:
                span[2] = time.time()

    def holder(self):
        """The node that bears the address, as its kernel says."""
        for host in self.lab.nodes:
            with contextlib.suppress(HostOff, subprocess.SubprocessError):
                if f" {ADDRESS}/" in host.run(["ip", "-4", "-o", "addr"], timeout=10).stdout:
                    return host
        return None

    def second_operator(self, what):
        pillar = json.dumps({"pair": "salt", **(ALLOWED if what == "recover" else {})})
        command = ["salt-run", "--no-color", "state.orch", f"orch.{what}", f"pillar={pillar}"]
        other = self.primary if self._master_runs(self.primary) else self.secondary
        self.second = other.spawn(command, stderr=subprocess.STDOUT)

    def second_operator_ends(self):
        if self.second:
            with contextlib.suppress(subprocess.TimeoutExpired):
                output, _ = self.second.communicate(timeout=LIMIT)
                self.note(f"the second operator's run ended with {self.second.returncode}")
                self.second_output = output.decode(errors="replace")
            if self.second.poll() is None:
                kill_session(self.second)

    # --- the run

    def run(self):
        """Everything; returns the report, a dict (see ``checker.judge``)."""
        self.begun = time.time()
        if self.lab.follow:
            print(f"{self.label} seed {self.seed}", flush=True)
        try:
            if self.fault.clock:
                self.clocks.enter_context(clock.settable(getattr(self, self.fault.clock)))
                self._ready(self.operator)
            self._load()
            getattr(self, f"_before_{self.operation}")()
            self._orchestrate()
            self._observe()
            self._mend()
            self._repeat()
        except Exception as error:  # the report says what it was; the campaign goes on
            self.note(f"the rehearsal itself failed: {type(error).__name__}: {error}")
            self.failed = f"{type(error).__name__}: {error}"
        else:
            self.failed = None
        facts = self._facts()
        self._quietly(self.clocks.close)
        report = checker.judge(facts)
        if report["broken"]:
            # For a second look with a better checker: python3 -m lab.faults --judge FILE
            place = folder() / f"{self.label.replace('/', '-').replace(':', '_')}-{self.seed}.facts"
            place.write_bytes(pickle.dumps(facts))
        return report

    def _load(self):
        """Clients and local writers write from now on."""
        stamp = f"{int(self.begun)}"
        self.bait = f"{SMALL}/bait-{stamp}"
        self.prefix = f"c{stamp}"
        self.log = f"/var/log/load-{stamp}.jsonl"
        self.writing = client.start_writing(
            self.client,
            ADDRESS,
            log=self.log,
            rate=10,
            changes=True,
            # Names are new in every run; what is done with them is the seed's.
            prefix=self.prefix,
            seed=f"{self.seed}/client",
        )
        self.local_log = f"/var/log/local-{stamp}.jsonl"
        for host in self.lab.nodes:
            self._local_writer(host)
        script = 'mkdir -p "$1" && cd "$1" && for n in 1 2 3 4 5 6; do echo "before $n" > $n; done && sync'
        self.primary.run(["/bin/sh", "-c", script, "bait", self.bait])
        there = f"{self.bait}/6"
        until(
            lambda: self.secondary.run(["test", "-s", there], check=False).returncode == 0,
            30,
            "lsyncd to carry the bait",
            pause=0.2,
        )
        self.writing.wait_acknowledged(20)

    def _local_writer(self, host):
        command = ["systemd-run", "--quiet", "--collect", f"--unit=lab-local-{int(self.begun)}"]
        command += [f"--property={clock.MACHINES_TIME}"]
        command += ["python3", f"{TOOLS}/load.py", "local", "--held", ADDRESS, "--root", f"{SMALL}/local"]
        command += ["--log", self.local_log, "--prefix", f"{host.name}-{int(self.begun)}"]
        command += ["--seed", f"{self.seed}/{host.name}"]
        host.run(command)

    def _outage(self):
        """The primary is gone for a while: without power, or cut off. The secondary serves then."""
        self.how = self.random.choice(("cut", "cut", "power"))
        if self.moment in moments.REBOOT:
            self.how = "cut"
        # The run before may have died, and its pause outlives it by a minute: nobody takes over until then.
        until(lambda: not self._paused(self.secondary), 90, "the watch of salt2 to go on", pause=1)
        self.note(f"salt1 is gone ({self.how})")
        if self.how == "power":
            self.lost(self.primary)
        else:
            self.cut(self.primary)
        until(lambda: self.holder_seen() == "salt2", 30, "salt2 to answer", pause=0)
        self.note("salt2 answers")
        self.writing.wait_acknowledged(10, node="salt2")
        if self.how == "power":
            self.back(self.primary)
            self._local_writer(self.primary)
        else:
            self.mended(self.primary)
        until(lambda: not self._bears(self.primary), 30, "salt1 to give way", pause=0.1)
        self.note("salt1 is back and does not serve")
        self._bait_changes()

    def _bait_changes(self):
        """Files whose fate is known beforehand: name to (content in the service, content kept)."""
        here = (
            'cd "$1" && echo "serving 1" > 1 && rm 2 && echo "serving 3" > 3 && echo "serving 7" > 7 && sync'
        )
        self.secondary.run(["/bin/sh", "-c", here, "bait", self.bait])
        there = 'cd "$1" && echo "returned 3" > 3 && echo "returned 8" > 8 && rm 4 && sync'
        self.primary.run(["/bin/sh", "-c", there, "bait", self.bait])
        self.expected_bait = {
            "1": "serving 1\n",
            "2": None,
            "3": "serving 3\n",
            "4": "before 4\n",
            "5": "before 5\n",
            "6": "before 6\n",
            "7": "serving 7\n",
            "8": None,
        }
        self.kept_bait = {"1": "before 1\n", "2": "before 2\n", "3": "returned 3\n", "8": "returned 8\n"}

    def _before_recover(self):
        self._outage()
        self._ready(self.secondary)
        self._look_at_plan(self.secondary)

    def _look_at_plan(self, master):
        done = master.run(["salt-run", "--out=json", "pair.plan", "salt"], check=False, timeout=120)
        self.plans.append(done.stdout)

    def _before_boot(self):
        """Both nodes lose power, salt1 last; no master runs until the operator starts it."""
        self.expected_bait, self.kept_bait = {str(n): f"before {n}\n" for n in range(1, 7)}, {}
        self.lost(self.secondary)
        self.lost(self.primary)
        self.operator = self.primary

        def begin(host):
            # No highstate comes at its boot: there is no master.
            self.on(host)
            self._local_writer(host)
            self._start_master(host)

        in_parallel(begin, self.lab.nodes)
        self._ready(self.primary)

    def _before_failover(self):
        self.expected_bait, self.kept_bait = {str(n): f"before {n}\n" for n in range(1, 7)}, {}
        self.far_end = self.primary
        self._ready(self.secondary)

    def _orchestrate(self):
        self.jobs = moments.Jobs(self.operator)
        pillar = {"pair": "salt", **(ALLOWED if self.operation == "recover" else {})}
        if self.moment in moments.REBOOT:
            self._set_reboot(True)
        command = ["salt-run", "--no-color", "state.orch", f"orch.{self.operation}"]
        self.process = self.operator.spawn(
            [*command, f"pillar={json.dumps(pillar)}"], stderr=subprocess.STDOUT
        )
        self.started = time.time()
        self.note(f"orch.{self.operation} begins on {self.operator.name}")
        said = []
        reader = threading.Thread(target=lambda: said.append(self.process.stdout.read()), daemon=True)
        reader.start()
        seen = moments.wait(self.moment, self, self.process, self.undisturbed, LIMIT)
        self.hit = seen.time is not None
        self.injected = time.time()
        self.held_at_fault = self._holders_now() if self.fault.name != "none" else []
        if self.hit:
            self.note(f"{self.moment}: {self.fault.text}")
            self.fault.inject(self)
        else:
            self.note(f"{self.moment} did not come")
        try:
            self.process.wait(LIMIT)
            self.ended = self.process.returncode
            self.took = time.time() - self.started
        except subprocess.TimeoutExpired:
            self.ended = None
            kill_session(self.process)
            self.process.wait()
        reader.join(10)
        self.said = b"".join(one for one in said if one).decode(errors="replace")
        self.jobs.stop()
        self.note(f"orch.{self.operation} ended with {self.ended}")
        if self.moment in moments.REBOOT:
            self.reset_reboot = True

    def _set_reboot(self, wanted):
        for host in self.lab.nodes:
            with contextlib.suppress(HostOff):
                text = host.read(PILLAR)
                old, new = f"reboot: {str(not wanted).lower()}", f"reboot: {str(wanted).lower()}"
                host.write(PILLAR, text.replace(old, new))

    def _observe(self):
        """For 20 s nobody mends anything, unless somebody serves before: then it has shown what it should."""
        end = time.monotonic() + 20
        while self.hit and time.monotonic() < end and not self._holders_now():
            time.sleep(0.2)
        self.after_fault = self._holders_now()

    def _mend(self):
        if self.hit:
            self.note("mended")
            self.fault.mend(self)
        if getattr(self, "reset_reboot", False):
            self._set_reboot(False)

    def _repeat(self):
        """What an operator does: look at the status, and do what it says, until all is well."""
        self.attempts = []
        for _ in range(ATTEMPTS):
            for host in self.lab.nodes:
                if not host.switched_on:
                    self.back(host)
            running = [host for host in (self.secondary, self.primary) if self._master_runs(host)]
            if not running:
                for host in self.lab.nodes:
                    self._start_master(host)
                running = [self.secondary, self.primary]
            master = running[0]
            self._ready(master)
            try:
                found = self.lab.status(master)
                self.note(f"pair.status on {master.name}: {found['verdict']} {found.get('drift', '')}")
            except (ValueError, KeyError, TypeError, subprocess.SubprocessError) as error:
                self.attempts.append(f"no status: {error}")
                continue
            if found["verdict"] == "normal" and not found.get("drift"):
                self.note("the pair is normal")
                break
            operation = "boot" if found["verdict"] == "cold" else "recover"
            if operation == "recover" and found["verdict"] == "failed_over":
                master = self.secondary
                if not self._master_runs(master):
                    self._start_master(master)
                    self._ready(master)
            if "static" in json.dumps(found.get("next", "")):
                master = self.primary
            if operation == "recover":
                # Also where the one that returned is a standby: it may have served for a moment.
                self._look_at_plan(master)
            pillar = json.dumps({"pair": "salt", **(ALLOWED if operation == "recover" else {})})
            command = ["salt-run", "--no-color", "state.orch", f"orch.{operation}", f"pillar={pillar}"]
            done = master.run(command, check=False, timeout=LIMIT)
            self.note(f"{found['verdict']}: orch.{operation} on {master.name} ended with {done.returncode}")
            self.attempts.append(
                f"{found['verdict']} ({found['sentence']}) -> {operation} on {master.name}: "
                f"{done.returncode} {_failure(done.stdout) if done.returncode else ''}"
            )
        else:
            self.note("the operator gives up")

    # --- looking, and waiting for facts

    def holder_seen(self):
        """The node that answers, as the client sees it; None for nobody or two."""
        found = self.lab.site.holders(ADDRESS, seconds=0.25)
        return found[0] if len(found) == 1 else None

    def _holders_now(self):
        return [host.name for host in self.lab.nodes if self._bears(host)]

    def _bears(self, host):
        with contextlib.suppress(HostOff, subprocess.SubprocessError):
            return f" {ADDRESS}/" in host.run(["ip", "-4", "-o", "addr"], timeout=10).stdout
        return False

    def _paused(self, host):
        return json.loads(host.run(["/usr/local/sbin/failback", "report", "salt"]).stdout)["hold"] is not None

    def _master_runs(self, host):
        with contextlib.suppress(HostOff, subprocess.SubprocessError):
            return (
                host.run(["systemctl", "is-active", "salt-master"], check=False, timeout=10).returncode == 0
            )
        return False

    def _start_master(self, host):
        with contextlib.suppress(HostOff):
            host.run(["systemctl", "reset-failed", "salt-master"], check=False)
            host.run(["systemctl", "start", "salt-master"], timeout=60)

    def _ready(self, master, limit=60):
        """Until both minions answer a master and no state runs on them; what does not is left so."""

        def ready():
            command = ["salt", "-L", "salt1,salt2", "--static", "--timeout=2", "--out=json"]
            with contextlib.suppress(ValueError, subprocess.SubprocessError, HostOff):
                done = master.run([*command, "saltutil.is_running", "state.*"], check=False, timeout=30)
                return json.loads(done.stdout) == {"salt1": [], "salt2": []}
            return False

        with contextlib.suppress(TimeoutError):
            until(ready, limit, "both minions to answer", pause=0.2)

    def _wait_highstate_at_boot(self, host):
        find = ["find", "/var/cache/salt/minion/highstate.cache.p", "-newer", "/proc/1"]
        with contextlib.suppress(TimeoutError):
            until(
                lambda: host.run(find, check=False).stdout.strip(),
                60,
                "the highstate at boot",
                pause=0.3,
            )

    # --- what was seen

    def _facts(self):
        for host in self.lab.nodes:
            with contextlib.suppress(HostOff, subprocess.SubprocessError):
                host.write(f"{self.local_log}.stop", "")
        entries = self._quietly(self.writing.stop) or []
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
            "places": {"client": CLIENT_FILES, "local": f"{SMALL}/local"},
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
        return checker.since(host.read(OBSERVED), self.begun - 5)

    def _arp(self):
        text = self.client.run(["tail", "-n", "20000", "/var/log/arp.jsonl"]).stdout
        return checker.since(text, self.begun - 5)

    def _tree(self, host):
        """Every file of the load's folders, as text: {absolute path: content}."""
        found = {}
        for folder in (CLIENT_FILES, f"{SMALL}/local", self.bait):
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
        top = f"{STATE}/runs"
        text = host.run(["python3", "-", top, str(self.begun - 5)], input=script, timeout=60).stdout
        return {
            name: [base64.b64decode(each) for each in contents] for name, contents in json.loads(text).items()
        }

    def _clean(self):
        """The next run begins with empty folders; on the serving node, so that it is carried."""
        host = self.holder() or self.primary
        self._quietly(
            host.run,
            ["find", CLIENT_FILES, f"{SMALL}/local", SMALL, "-mindepth", "1", "-type", "f", "-delete"],
        )


def _minion(host):
    """The process of a host's salt-minion."""
    return host.run(["systemctl", "show", "--property=MainPID", "--value", "salt-minion"]).stdout.strip()


def _failure(text):
    """The comments of the failed states of an orchestration."""
    found = []
    blocks = text.split("----------")
    for block in blocks:
        if "Result: False" in block and "requisite" not in block:
            comment = block.partition("Comment:")[2].partition("Started:")[0]
            found.append(" ".join(comment.split()))
    return " | ".join(found)[:1500] or text[-500:]


def folder():
    """Where reports of failed runs are kept."""
    place = cache.folder() / "faults"
    place.mkdir(exist_ok=True)
    return place
