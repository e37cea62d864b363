"""What an operator does in a rehearsal: wait until minions answer, mend, and recover until all is well."""

import contextlib
import json
import subprocess

from lab.faults import stage
from lab.host import HostOff
from lab.host import until

#: How often the operator runs what he is told to, before he gives up.
ATTEMPTS = 8


class Operator:
    """
    The part of a rehearsal that mends: looks at the status, and types what docs/operations.md says.

    It relies on what ``rehearsal.Rehearsal`` keeps: the lab, the two nodes, the moment, the timeline.
    """

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
            pillar = json.dumps({"pair": "salt", **(stage.ALLOWED if operation == "recover" else {})})
            command = ["salt-run", "--no-color", "state.orch", f"orch.{operation}", f"pillar={pillar}"]
            done = master.run(command, check=False, timeout=stage.LIMIT)
            self.note(f"{found['verdict']}: orch.{operation} on {master.name} ended with {done.returncode}")
            self.attempts.append(
                f"{found['verdict']} ({found['sentence']}) -> {operation} on {master.name}: "
                f"{done.returncode} {_failure(done.stdout) if done.returncode else ''}"
            )
        else:
            self.note("the operator gives up")

    def _look_at_plan(self, master):
        done = master.run(["salt-run", "--out=json", "pair.plan", "salt"], check=False, timeout=120)
        self.plans.append(done.stdout)

    def _set_reboot(self, wanted):
        for host in self.lab.nodes:
            with contextlib.suppress(HostOff):
                text = host.read(stage.PILLAR)
                old, new = f"reboot: {str(not wanted).lower()}", f"reboot: {str(wanted).lower()}"
                host.write(stage.PILLAR, text.replace(old, new))

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


def _failure(text):
    """The comments of the failed states of an orchestration."""
    found = []
    blocks = text.split("----------")
    for block in blocks:
        if "Result: False" in block and "requisite" not in block:
            comment = block.partition("Comment:")[2].partition("Started:")[0]
            found.append(" ".join(comment.split()))
    return " | ".join(found)[:1500] or text[-500:]
