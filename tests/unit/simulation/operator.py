"""
What an orchestration does to the two nodes: the steps of the real plan, by jobs on the nodes.

Verdict, plan, lock, pause, gate, handover and ledger are the real ones. Files and lsyncd are the model's. The
master is where the client is; a job goes on when nobody waits for its end any more.
"""

import contextlib

import samples

from failback.decisions import plan
from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unavailable
from failback.handover import taker
from failback.host import files
from failback.host import services
from failback.lease import right
from failback.network import address_holder
from failback.network import floating
from failback.replication import gate
from failback.state import ledger
from failback.state import lock

#: Seconds in which a job's end is waited for, one of a handover, and a question to a node that is off.
JOB_WITHIN, HANDOVER_WITHIN, NO_ANSWER = 20.0, 170.0, 1.0
#: Seconds for which the watch is paused at most.
PAUSED_FOR = 3600.0
#: Seconds for lsyncd to have carried everything, and for a node to boot.
CARRIED_WITHIN, BOOTED_WITHIN = 10.0, 10.0


def start(world, operation):
    """Begin an orchestration, unless one is under way. Returns its process, or None."""
    if any(one.node is None and one.name.startswith("orch.") for one in world.engine.living()):
        return None
    number = next(world.runs)
    run = f"{samples.RUN[:-4]}{number:04x}"
    return world.start(f"orch.{operation}", None, Orchestration(world, operation, run).run)


class Orchestration:
    """One run."""

    def __init__(self, world, operation, run):
        self._world, self._operation, self._run = world, operation, run
        self._config = world.nodes["salt1"].config
        self._verdict = self._plan = None

    def run(self):
        """Returns the verdict at its end. Raises ``FailbackError``, having closed the run."""
        self._look()
        if self._plan.refusal:
            raise Refused(self._plan.refusal)
        if not self._plan.steps:
            return self._verdict.name
        self._open()
        try:
            for step in self._plan.steps:
                getattr(self, step.replace("-", "_"))()
        finally:
            self._close()
        return self._world.judged().name

    # --- nodes ---

    def _on(self, name, function, within=JOB_WITHIN):
        """A job on a node: a function of its member."""
        world, node, master = self._world, self._world.nodes[name], self._world.client.host
        engine = world.engine
        if not (node.acts and world.segment.talk(master, node)):
            engine.wait(engine.now + NO_ANSWER)
            raise Unavailable(f"{name} did not return.")
        job = world.start("job", node, lambda: function(world.member(node)))
        engine.wait(engine.now + within, [job])
        if not job.finished or job.dead or not world.segment.talk(master, node):
            raise Unavailable(f"{name} did not return.")
        if job.error is not None:
            raise job.error
        return job.result

    def _other(self, name):
        return self._world.other(self._world.nodes[name]).name

    def _until(self, what, seconds):
        """Wait for a fact."""
        engine = self._world.engine
        end = engine.now + seconds
        while not what():
            if engine.now >= end:
                raise Unavailable(f"{self._operation}: not within {seconds} s.")
            engine.wait(engine.now + 0.25)

    # --- around the steps ---

    def _look(self):
        from failback import report
        from failback.decisions import verdict

        found = []
        for name in self._world.nodes:
            try:
                found.append(self._on(name, report.report))
            except FailbackError:
                found.append(None)
        self._verdict = verdict.judge(self._config, *found)
        self._plan = plan.decide(self._operation, self._config, self._verdict)

    def _open(self):
        owner = {
            "master": "elsewhere",
            "machine": "elsewhere",
            "boot_id": "elsewhere",
            "pid": 1,
            "started": 1,
        }
        taken = []
        try:
            for name in self._world.nodes:
                self._on(
                    name, lambda member: member.lock.acquire(self._run, self._operation, owner, lock.LEASE)
                )
                taken.append(name)
            self._look()
            if self._plan.refusal:
                raise Refused(self._plan.refusal)
            # As any run does, though only the steps that move something need it.
            self.pause()
        except FailbackError:
            self._close()
            raise

    def _close(self):
        for name in self._world.nodes:
            with contextlib.suppress(FailbackError):
                self._on(name, lambda member: (member.pause.clear(self._run), member.lock.release(self._run)))

    # --- the steps ---

    def pause(self):
        for name in self._world.nodes:
            self._on(name, lambda member: member.pause.set(PAUSED_FOR, "an orchestration", self._run))

    def static(self):
        if not self._config["recovery"]["reboot"]:
            return
        world, name = self._world, self._plan.returned
        world.nodes[name].disk.sync()
        world.data[name].sync()
        world.lose_power(name)
        world.boot(name)
        self._until(lambda: world.nodes[name].watch and not world.nodes[name].watch.finished, BOOTED_WITHIN)

    def services(self):
        pass

    def git(self):
        pass

    def drain(self):
        data = self._world.data
        self._until(lambda: data["salt1"].files <= data["salt2"].files, CARRIED_WITHIN)

    def pre_sync(self):
        def pull(member):
            gate.require_pull(member, self._run)
            self._copy(member.node)

        self._on(self._plan.target, pull)

    def _copy(self, name):
        """What is replaced is in the backup first."""
        world = self._world
        mine, theirs = world.data[name], world.data[self._other(name)]
        world.judge.saved |= mine.files - theirs.files
        new = theirs.files - mine.files
        mine.files = set(theirs.files)
        mine.cached.update(dict.fromkeys(new, world.engine.now))

    def handover(self):
        for name in self._world.nodes:
            self._on(name, lambda member: member.lock.renew(self._run, HANDOVER_WITHIN))
        self._on(
            self._plan.active,
            lambda member: taker.become_active(member, self._run, lambda control: FinalSync(self, member)),
            HANDOVER_WITHIN,
        )

    def compare(self):
        def compared(member):
            record(member, self._verdict.uncompared or self._run, True)

        self._on(self._plan.active, compared)

    def admit(self):
        active, unsaved = self._plan.active, self._verdict.unsaved and "pre-sync" not in self._plan.steps
        self._admit(active, self._verdict.generation)
        self._admit(self._other(active), self._verdict.generation, admitted=False, unsaved=unsaved)

    def _admit(self, name, generation, **how):
        entry = ledger.Entry(generation, self._plan.active, self._run, self._operation, **how)
        self._on(name, lambda member: (member.lock.require(self._run), member.ledger.write(entry)))

    def take(self):
        def taken(member):
            with member.ledger.changing_hands():
                if not ledger.is_active(member.ledger.read(), member.node):
                    raise Refused(f"{member.node} is not the active node.")
                wanted = floating.of_pair(member.config)
                missing = [one for one in wanted if not floating.status(one)["held"]]
                if missing:
                    with address_holder.Holder(missing) as holder:
                        holder.check(missing)
                        right.obtain_as_active(member, member.ledger.read()["generation"])
                        right.take(member, holder, missing)

        self._on(self._plan.active, taken)

    def activate(self):
        active = self._plan.active
        standby = self._other(active)

        def stand_by(member):
            for key, one in services.of_the_active_node(member.config):
                services.stop(member.pair, key, one, member.node)
            own = member.ledger.read()
            return ledger.is_admitted(own), bool(own and own.get("unsaved"))

        admitted, unsaved = self._on(standby, stand_by)
        if active != "salt1":
            return
        if not unsaved:
            self._on(active, lambda member: self._start_lsyncd(member, anew=not admitted))
            self._until(lambda: self._world.lsyncd.carried is not None, CARRIED_WITHIN)
            generation = self._on(active, lambda member: member.ledger.read()["generation"])
            self._admit(standby, generation)

    def _start_lsyncd(self, member, anew):
        gate.require_lsyncd(member)
        if anew or services.LSYNCD not in self._world.node.units:
            self._world.lsyncd.start()


def record(member, run, compared):
    """What the final sync leaves on the node that it was made for."""
    files.write_json(
        member.run_folder(run) / "last-pass.json", {"version": 1, "ended": 1.0, "compared": compared}
    )


class FinalSync:
    """In place of ``reverse_rsync``'s: the files of the giver come over at once."""

    def __init__(self, orchestration, member):
        self._orchestration, self._member = orchestration, member

    def expect(self):
        return None

    def name(self, changes, why):
        pass

    def run(self, limit=None):
        world = self._orchestration._world
        node = world.node
        world.step("final sync")
        if not world.segment.talk(node, world.other(node)) or not world.other(node).acts:
            world.engine.wait(world.engine.now + limit)
            raise Unavailable("rsync ended with exit code 30.")
        record(self._member, self._orchestration._run, False)
        self._orchestration._copy(node.name)
        world.sync_file_systems()

    def finish(self):
        pass

    def close(self):
        pass
