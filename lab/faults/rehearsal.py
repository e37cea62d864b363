"""One run: an outage under load, an orchestration, a fault in the middle of it, and what an operator does.

Nothing here knows how Failback works. It types what docs/operations.md says, and looks from outside.
"""

import collections
import contextlib
import json
import pickle
import random
import subprocess
import threading
import time

from lab import client
from lab.faults import checker
from lab.faults import clock
from lab.faults import injectors
from lab.faults import moments
from lab.faults import outside
from lab.faults import stage
from lab.faults.evidence import Evidence
from lab.faults.operator import Operator
from lab.host import kill_session
from lab.host import until
from lab.site import in_parallel

#: Seconds that the primary is away at least before a recovery.
OUTAGE = 6.0


class Rehearsal(Operator, Evidence):
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
        self.configuration = moments.configuration(operation)
        self.far_end = lab.secondary
        self.random = random.Random(f"{seed}")
        self.label = f"{operation}/{fault}/{moment}"
        self.timeline = []
        self.outages = []  # [host, from, to, how]: "cut" off, "frozen", "slow", or without "power"
        self.silences = []  # [node, from, to]: it answers nobody's ARP
        self.writing = self.process = self.second = self.jobs = self.muted = self.took = None
        self.undisturbed = lab.undisturbed.get(operation, moments.UNDISTURBED.get(operation))
        self.plans = []
        self.clocks, self.effects = contextlib.ExitStack(), contextlib.ExitStack()
        self.from_outside = collections.defaultdict(list)  # by node: lines of a monitor that is not on it
        lab.switched = self.switched
        self.begun = time.time()

    def note(self, text):
        self.timeline.append((time.time(), text))
        if self.lab.follow:
            print(f"  {time.time() - self.begun:7.2f} s  {text}", flush=True)

    # --- what faults do

    def lost(self, host):
        if host.switched_on:
            self.outage_begins(host, "power")
            host.power_off()

    def switched(self, name, what):
        """A board has switched a host."""
        self.note(f"the board of {name} has switched it {what}")
        if what == "off":
            self.outage_begins(self.lab.site.host(name), "power")
        else:
            self.outage_ends(self.lab.site.host(name), "power")

    def power_cycled(self, host):
        """Off, and on again at once: gone for so short a time that nobody need notice."""
        self.lost(host)
        host.power_on(wait=False)
        self.outage_ends(host, "power")

    def on(self, host):
        if not host.switched_on:
            host.power_on(limit=120)
            self.outage_ends(host, "power")

    def back(self, host):
        self.on(host)
        self._wait_highstate_at_boot(host)

    def cut(self, host, silent=True):
        self.outage_begins(host, "cut")
        host.cut("eth0", silent=silent)

    def mended(self, host):
        host.mend("eth0")
        self.outage_ends(host, "cut")

    def outage_begins(self, host, how):
        self.outages.append([host.name, time.time(), None, how])

    def outage_ends(self, host, how):
        self._ended([one for one in self.outages if one[3] == how], host)

    def stands_still(self, host):
        self.outage_begins(host, "frozen")
        monitor = outside.Monitor(host, stage.ADDRESS)
        self.effects.callback(lambda: self.from_outside[host.name].extend(monitor.stop()))

    def apart(self, hosts):
        """
        Two hosts do not hear each other.

        If one is the client, it cannot see who serves. Of two nodes each may take the other for dead, which
        nothing but a lease or fencing prevents: with them there is no excuse.
        """
        if self.client in hosts:
            self.outage_begins(self.client, "cut")
        elif not self.configuration:
            for host in hosts:
                self.outage_begins(host, "cut")

    def together(self, hosts):
        for host in hosts:
            self.outage_ends(host, "cut")

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
        return next((host for host in self.lab.nodes if self._bears(host)), None)

    def second_operator(self, what):
        pillar = json.dumps({"pair": "salt", **(stage.ALLOWED if what == "recover" else {})})
        command = ["salt-run", "--no-color", "state.orch", f"orch.{what}", f"pillar={pillar}"]
        other = self.primary if self._master_runs(self.primary) else self.secondary
        self.second = other.spawn(command, stderr=subprocess.STDOUT)

    def second_operator_ends(self):
        if self.second:
            with contextlib.suppress(subprocess.TimeoutExpired):
                output, _ = self.second.communicate(timeout=stage.LIMIT)
                self.note(f"the second operator's run ended with {self.second.returncode}")
                self.second_output = output.decode(errors="replace")
            if self.second.poll() is None:
                kill_session(self.second)

    # --- the run

    def run(self):
        """Everything; returns the report, a dict (see ``checker.judge``)."""
        self.lab.configure(self.configuration)
        self.begun = time.time()
        self._name_what_is_written()
        if self.lab.follow:
            print(f"{self.label} seed {self.seed}", flush=True)
        try:
            if self.fault.clock:
                self.clocks.enter_context(clock.settable(getattr(self, self.fault.clock)))
                self._ready(self.operator)
            self._load()
            if self.operation in moments.SERVING:
                self._serve()
            else:
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
        self._quietly(self.effects.close)
        facts = self._facts()
        self._quietly(self.clocks.close)
        report = checker.judge(facts)
        if report["broken"]:
            # For a second look with a better checker: python3 -m lab.faults --judge FILE
            place = stage.folder() / f"{self.label.replace('/', '-').replace(':', '_')}-{self.seed}.facts"
            place.write_bytes(pickle.dumps(facts))
        return report

    def _name_what_is_written(self):
        """Before anything can fail: the evidence of a rehearsal that fails is looked for there, too."""
        stamp = f"{int(self.begun)}"
        self.bait = f"{stage.SMALL}/bait-{stamp}"
        self.prefix = f"c{stamp}"
        self.log = f"/var/log/load-{stamp}.jsonl"
        self.local_log = f"/var/log/local-{stamp}.jsonl"

    def _load(self):
        """Clients and local writers write from now on."""
        self.writing = client.start_writing(
            self.client,
            stage.ADDRESS,
            log=self.log,
            rate=10,
            changes=True,
            # Names are new in every run; what is done with them is the seed's.
            prefix=self.prefix,
            seed=f"{self.seed}/client",
        )
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
        command += ["python3", f"{stage.TOOLS}/load.py", "local", "--held", stage.ADDRESS]
        command += ["--root", f"{stage.SMALL}/local"]
        command += ["--log", self.local_log, "--prefix", f"{host.name}-{int(self.begun)}"]
        command += ["--seed", f"{self.seed}/{host.name}"]
        host.run(command)

    def _outage(self):
        """The primary is gone for a while: without power, or cut off. The secondary serves then."""
        self.how = self.random.choice(("cut", "cut", "power"))
        if self.moment in moments.REBOOT:
            self.how = "cut"
        self._wait_watched()
        self.note(f"salt1 is gone ({self.how})")
        if self.how == "power":
            self.lost(self.primary)
        else:
            self.cut(self.primary)
        until(lambda: self.holder_seen() == "salt2", 30, "salt2 to answer", pause=0)
        self.note("salt2 answers")
        self.writing.wait_acknowledged(10, node="salt2")
        # Not just as salt2 takes over: what becomes of so young a claim is tried while the pair serves.
        time.sleep(max(0.0, self.outages[-1][1] + OUTAGE - time.time()))
        if self.how == "power":
            self.back(self.primary)
            self._local_writer(self.primary)
        else:
            self.mended(self.primary)
        until(lambda: not self._bears(self.primary), 30, "salt1 to step down", pause=0.1)
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

    def _before_boot(self):
        """Both nodes lose power, salt1 last; no master runs until the operator starts it."""
        self._same_files_in_the_end()
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

    def _serve(self):
        """No orchestration: the fault comes, lasts, and goes; and the nodes find out who serves."""
        self.how = {"": "as shipped", "lease": "with a lease", "fence": "fenced"}[self.configuration]
        self._same_files_in_the_end()
        self._wait_watched()
        self.started = self.injected = time.time()
        self.held_at_fault, self.hit, self.ended, self.said = self._holders_now(), True, 0, ""
        self.note(self.fault.text)
        self.fault.inject(self)
        # The time it lasts is what is tried here.
        time.sleep(max(0.0, self.injected + moments.lasts(self.moment) - time.time()))
        self.note("mended")
        self.fault.mend(self)
        self.mended_at = time.time()
        with contextlib.suppress(TimeoutError):  # the checker says so
            self._wait_settled()

    def _wait_watched(self):
        # The run before may have died, and its pause outlives it by a minute: nobody takes over until then.
        until(lambda: not self._paused(self.secondary), 90, "the watch of salt2 to go on", pause=1)

    def _wait_settled(self):
        """Until one node alone has had the address for as long as a claim may take."""
        since = {}

        def settled():
            holders = self._holders_now()
            if len(holders) != 1 or since.get("who") != holders:
                since.update(who=holders, when=time.monotonic())
            return len(holders) == 1 and time.monotonic() - since["when"] > checker.CLAIMS + 1

        until(settled, checker.SETTLES + 20, "one node alone to have the address", pause=0.1)

    def _same_files_in_the_end(self):
        """Nobody changes the bait."""
        self.expected_bait, self.kept_bait = {str(n): f"before {n}\n" for n in range(1, 7)}, {}

    def _before_failover(self):
        self._same_files_in_the_end()
        self.far_end = self.primary
        self._ready(self.secondary)

    def _orchestrate(self):
        self.jobs = moments.Jobs(self.operator)
        pillar = {"pair": "salt", **(stage.ALLOWED if self.operation == "recover" else {})}
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
        seen = moments.wait(self.moment, self, self.process, self.undisturbed, stage.LIMIT)
        self.hit = seen.time is not None
        self.injected = time.time()
        self.held_at_fault = self._holders_now() if self.fault.name != "none" else []
        if self.hit:
            self.note(f"{self.moment}: {self.fault.text}")
            self.fault.inject(self)
        else:
            self.note(f"{self.moment} did not come")
        try:
            self.process.wait(stage.LIMIT)
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

    def _observe(self):
        """For 20 s nobody mends anything, unless somebody serves before: then it has shown what it should."""
        end = time.monotonic() + 20
        while self.hit and time.monotonic() < end and not self._holders_now():
            time.sleep(0.2)
        self.after_fault = self._holders_now()

    # --- looking, and waiting for facts

    def holder_seen(self):
        """The node that answers, as the client sees it; None for nobody or two."""
        found = self.lab.site.holders(stage.ADDRESS, seconds=0.25)
        return found[0] if len(found) == 1 else None

    def _holders_now(self):
        return [host.name for host in self.lab.nodes if self._bears(host)]

    def _bears(self, host):
        """Whether its kernel has the address; a host may stand still meanwhile."""
        return stage.ADDRESS in host.lifetimes()

    def _paused(self, host):
        report = json.loads(host.run(["/usr/local/sbin/failback", "report", "salt"]).stdout)
        return report["pause"] is not None
