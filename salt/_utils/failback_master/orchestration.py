"""
One run of an orchestration on a pair, from its opening to its close: its lock, its heartbeat and its record.
"""

import contextlib
import dataclasses
import logging
import os
import threading
import time

import salt.client
import salt.utils.user
from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltException

from failback.decisions import plan as plans
from failback.decisions import verdict as verdicts
from failback.host import system
from failback.state import lock as locks
from failback.state import runs
from failback_master import minions
from failback_master import witnesses
from failback_master.surface import ear
from failback_master.surface import progress

log = logging.getLogger(__name__)

#: The same where it is known already that one of the nodes is off: each look waits in vain for that one.
LOOK_BESIDE_DEAD_WITHIN = 3

#: Seconds between two renewals. A node that does not answer makes it ``LOOK_WITHIN + LOOK_GONE_WITHIN`` more.
RENEW_EVERY = 15
#: Seconds after which the nodes have been told of a step that began. Most steps end sooner, and being told
#: costs a node a process: in a run of many short ones the node hears of those that it is worth.
TOLD_WITHIN = 2
#: Seconds for which a run relies on what both nodes have last said of its lock.
FRESH = 20
#: Seconds a lock holds beyond the limit of a step that goes on without its run.
LOCK_MARGIN = 60
#: In the environment of a run that another one starts, for one of several pairs: who has asked for all of
#: them.
ASKED_BY = "FAILBACK_ASKED_BY"
#: Where the steps of one orchestration find their run.
CONTEXT = "failback.run"
#: Where those find them that come after its close: a list.
CLOSED = "failback.closed"


def dead_runs(reports, nodes, own=None):
    """
    The runs that the machine of their process has proved dead.

    A node that was away when its run ended still has that run's lock, and cannot know. So this master and
    the minion of that machine's name are asked about the process. No other node is believed: one that was
    broken into could call a run dead that lives, and have a second one begin beside it.

    own
        The run that asks; it lives.
    """
    reports = list(reports)
    found = [report["lock"] or {} for report in reports]
    dead = set()
    for one in found:
        if one.get("state") not in ("held", "dead") or one["run"] in dead | {own}:
            continue
        # Of one run's locks, that of the node which was broken into could name another process.
        owners = [other["owner"] for other in found if other.get("run") == one["run"]]
        if any(owner != owners[0] for owner in owners):
            continue
        # It may have run on this very master, which need not be a node of the pair.
        if locks.owner_has_ended(one["owner"]) or _says_its_own_machine(reports, one, nodes):
            dead.add(one["run"])
    return dead


def _says_its_own_machine(reports, lock, nodes):
    """Whether the machine on which a run's process was says that it has ended."""
    name = _machine(lock["owner"])
    if not name:
        return False
    ids = [report["node"] for report in reports if _short(report["node"]) == _short(name)] or [name]
    answers, _ = nodes.try_all(ids, "pair.owner_has_ended", lock["owner"])
    return any(answers.get(node) is True for node in ids)


def _machine(owner):
    """The name of the machine on which a run's process was; empty where nobody knows."""
    return str((owner or {}).get("machine", "")).partition("/")[2]


def _short(name):
    """A minion's id may have the domain that a host's name lacks, and the other way round."""
    return name.partition(".")[0]


class Run:
    """One execution of an orchestration on a pair, from opening to close."""

    def __init__(self, opts, config, operation, overrides=None):
        overrides = overrides or {}
        self.id = runs.new_id(operation, config["name"])
        self.config = config
        self.nodes = minions.Nodes(opts)
        self.operation = operation
        #: The overrides: which node won a split-brain, which one is off, and why.
        self.winner = overrides.get("winner")
        self.fenced = overrides.get("fenced")
        self.reason = overrides.get("reason")
        self.moved = bool(overrides.get("moved"))
        #: How it is known that a node is off, once it is: what its fence agent has said, and that reason.
        self.known_by = None
        self.plan = None
        self.verdict = None
        self.opened = False
        #: The dead or expired run that had the pair.
        self.took_over = None
        #: Whether the watch is paused for as long as the lock holds.
        self.pausing = False
        self.steps = []
        #: What the run has brought about, for its last lines; see ``failback_master.surface.states``.
        self.facts = {}
        #: How the handover went on both nodes, in milliseconds: ``taker``, and ``nodes`` by name.
        self.window = None
        #: Ctrl-C was typed: nothing more is begun, and nothing is given back.
        self.interrupted = False
        #: Limits that the operator has allowed this run.
        self.allowed = {}
        self.progress = progress.Progress(opts, config["name"], self.id)
        #: The step at work and when (monotonic) it began, or None.
        self._at = None
        self._opts = opts
        self._heartbeat = None
        #: When (monotonic) the step ends that could go on without this run.
        self._outlived_until = 0.0
        #: When both nodes said last that this run has the pair (CLOCK_BOOTTIME).
        self._renewed_at = None
        self._started = time.time()
        #: The process that orchestrates; see ``failback.state.lock.acquire``.
        self.owner = {
            "master": opts["id"],
            # state.orch sets the option to the user whom Salt has authenticated.
            "user": os.environ.get(ASKED_BY) or opts.get("user") or salt.utils.user.get_specific_user(),
            "machine": system.machine_id(),
            "boot_id": system.boot_id(),
            "pid": os.getpid(),
            "started": system.process_started(os.getpid()),
        }

    @property
    def ids(self):
        return (self.config["primary"]["id"], self.config["secondary"]["id"])

    @property
    def members(self):
        """The nodes that take part: both, unless one does it alone."""
        return (self.plan.alone,) if self.plan and self.plan.alone else self.ids

    @property
    def overrides(self):
        """What the operator has said of the nodes, as it is typed."""
        found = {
            "winner": self.winner,
            "fenced": self.fenced,
            "reason": self.reason,
            "moved": self.moved,
        }
        return {key: word for key, word in found.items() if word}

    def other(self, node):
        return self.ids[1] if node == self.ids[0] else self.ids[0]

    def look(self):
        """Both nodes' reports and the errors, as ``Nodes.reports`` gives them."""
        look = LOOK_BESIDE_DEAD_WITHIN if self.fenced else minions.LOOK_WITHIN
        return self.nodes.reports(self.config, look)

    def judge(self):
        """Look at both nodes. Returns ``(reports, errors)``; sets the verdict."""
        primary, secondary, errors = self.look()
        self.verdict = verdicts.judge(self.config, primary, secondary)
        return [one for one in (primary, secondary) if one], errors

    def decide(self):
        """Look at both nodes and decide. Returns what ``judge`` does; sets verdict and plan."""
        found = self.judge()
        self._ask_witnesses(found[0])
        self.plan = plans.decide(self.operation, self.config, self.verdict, self.winner, self.fenced)
        return found

    def _ask_witnesses(self, reports):
        """Of a node that does not answer: third hosts may see that it is on."""
        silent = {node for node in self.ids if node not in {one["node"] for one in reports}}
        if len(silent) == 1:
            contradicted, _ = witnesses.of_silent(self.nodes, self.config, *silent, reports[0])
            self.verdict = dataclasses.replace(self.verdict, contradicted=contradicted)

    def lock(self, reports=None, outlives=0):
        """
        Take the pair on both nodes; from then on the lock is renewed until ``let_go``.

        reports
            Of both nodes, where a look has just been made: the run that has the pair may be dead.

        outlives
            As for ``renew``.
        """
        self._cover(outlives)
        if reports is None:
            looked = self.nodes.try_all(
                self.members, "pair.report", self.config["name"], look=minions.LOOK_WITHIN
            )
            reports = looked[0].values()
        dead = sorted(dead_runs(reports, self.nodes, self.id))
        taken = []
        try:
            # The primary first, always: of two runs that begin at once one gets neither.
            for node in self.members:
                found = self.nodes.one(node, "pair.lock", *self._terms(), dead_runs=dead)
                taken.append(node)
                self.took_over = found["taken_over"] or self.took_over
        except CommandExecutionError:
            if not self.opened:
                # A lock that cannot be given back is taken over from a process that has ended.
                with contextlib.suppress(SaltException):
                    self.nodes.try_all(taken, "pair.unlock", self.config["name"], self.id)
            raise
        self._renewed_at = system.boottime()
        self._heartbeat = Heartbeat(self._beat)

    def pause(self):
        """Pause the watch on both nodes, for as long as the lock holds. Raises when one does not say so."""
        self.pausing = True
        answers, errors = self._renew(self.nodes)
        if errors:
            raise minions.NodesFailed(" ".join(errors.values()))
        self._require_held(answers)

    def renew(self, outlives=0):
        """
        See before a step that the lock holds for it, and renew it where that is not certain.

        outlives
            Seconds for which what the step begins on the nodes goes on if this run dies, and must not be met
            by another run.

        Raises ``CommandExecutionError`` when a node says that this run has it no more: one that stood still
        for a minute must not go on with a plan of before that.
        """
        self._cover(outlives)
        if not outlives and system.boottime() - self._renewed_at < FRESH:
            return
        self._require_held(self._renew(self.nodes)[0])

    def _require_held(self, answers):
        lost = [node for node in self.members if answers.get(node) is False]
        if lost:
            pair = self.config["name"]
            raise CommandExecutionError(
                f"Run {self.id} does not own the lock of {pair} on {' and '.join(lost)} any more: it "
                f"stood still, and another one may have run since. See `salt-run pair.status {pair}`, then "
                f"run it again."
            )

    def let_go(self):
        """Renew the lock no more. Called before it is given back."""
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None

    def _cover(self, outlives):
        self._outlived_until = time.monotonic() + outlives + LOCK_MARGIN if outlives else 0.0

    def _lease(self):
        """Seconds for which the lock is valid from now on."""
        return max(locks.LEASE, round(self._outlived_until - time.monotonic()))

    def _beat(self):
        # A client of its own: this one may be in the middle of a question, in another thread.
        self._renew(minions.Nodes(self._opts))

    def _renew(self, nodes):
        """Renew the lock; answers and errors as of ``Nodes.try_all``."""
        terms = (self.config["name"], self.id, self._lease())
        more = {"pause": self.pausing}
        if self._at:
            more["step"] = {"name": self._at[0], "seconds": round(time.monotonic() - self._at[1], 1)}
        asked = system.boottime()
        answers, errors = nodes.try_all(self.members, "pair.renew", *terms, look=minions.LOOK_WITHIN, **more)
        if all(answers.get(node) is True for node in self.members):
            self._renewed_at = asked
            if nodes is self.nodes and self._heartbeat is not None:
                # They have been told of the step. Not after a beat: the next step may have begun meanwhile.
                self._heartbeat.rest()
        return answers, errors

    def _terms(self):
        """What ``pair.lock`` is told of this run."""
        return self.config["name"], self.id, self.operation, self.owner, self._lease()

    def record(self, result=None, sentence=""):
        """What is kept of this run on both nodes."""
        return {
            "operation": self.operation,
            "started": _iso(self._started),
            "finished": _iso(time.time()) if result else None,
            "result": result,
            "verdict": self.verdict.name if self.verdict else None,
            "sentence": sentence,
            "steps": self.steps,
            # For who looks at it afterwards: what was planned, what it came to, the window in milliseconds.
            "plan": list(self.plan.steps) if self.plan else [],
            "facts": dict(self.facts),
            "window": self.window,
            **self.overrides,
            **({"reason": self.known_by} if self.known_by else {}),
            "master": self.owner["master"],
            "user": self.owner["user"],
        }

    def begin(self, step, text, quiet=False):
        """
        A step begins: whoever looks at the screen, the bus or ``pair.status`` is told.

        text
            What it is for.

        quiet
            True: the nodes are not told by a renewal of the lock of its own, for nothing may disturb the
            step, or the step renews the lock itself.
        """
        self._at = (step, time.monotonic())
        self.progress.begun(step, text)
        if self._heartbeat is None:
            return
        if quiet:
            # What a step just before had to tell must not come in the middle of this one.
            self._heartbeat.rest()
        else:
            self._heartbeat.hasten()

    def tell(self, text):
        """What the step at work waits for now."""
        if self._at:
            self.progress.tell(self._at[0], text)

    @contextlib.contextmanager
    def hearing_of_files(self, node):
        """Print how far the files are that come to a node, as it says while the block lasts."""
        step, tag = self._at[0], runs.moved_tag(self.config["name"], self.id)
        with ear.Ear(self._opts, tag, node).told(lambda text: self.progress.more(step, text)):
            yield

    def note(self, step, result, comment, seconds):
        """A step has ended."""
        self.steps.append({"step": step, "result": result, "comment": comment, "seconds": round(seconds, 2)})
        self.progress.ended(step, result, comment, seconds)

    @property
    def failed(self):
        """The first step that failed, or None."""
        return next((one for one in self.steps if one["result"] is False), None)

    def close(self, done, give_back):
        """
        End the run, also after a failed step, and say how it ended.

        done
            What it has brought about if no step failed, a sentence.

        give_back
            Function of the record that keeps it and gives the pair back on the nodes. Returns errors by
            node, and what a run that failed has left, a sentence.

        Returns result, changes and comment of the state that is the orchestration's last step.
        """
        if self.interrupted:
            return {"result": False, "changes": {}, "comment": self._interrupted()}
        failed = self.failed
        sentence = failed["comment"] if failed else done
        ended = f"Run {self.id} failed at `{failed['step']}`." if failed else f"Run {self.id} succeeded."
        self.let_go()
        try:
            errors, left = give_back(self.record("failed" if failed else "succeeded", sentence))
        except SaltException as error:
            # The lock needs no more: it is taken over from a process that has ended.
            pair = self.config["name"]
            comment = (
                f"{ended} It could not be closed, nor is it known who serves. {error} What was under way on "
                f"the nodes goes on there, or goes back, by itself. Look from a master that runs: "
                f"salt-run pair.status {pair}"
            )
            return {"result": False, "changes": {}, "comment": comment}
        if failed:
            comment = f"{ended} {left} Fix the cause, then run it again."
            return {"result": False, "changes": {}, "comment": comment}
        if errors:
            comment = f"{ended} It could not be closed. {' '.join(errors.values())}"
            return {"result": False, "changes": {}, "comment": comment}
        changes = {
            "run": self.id,
            "seconds": {one["step"]: one["seconds"] for one in self.steps},
            **self.facts,
        }
        return {"result": True, "changes": changes, "comment": f"Run {self.id} is closed. {sentence}"}

    def _interrupted(self):
        """
        What is said after Ctrl-C. The lock is left to the death of this process, as after any other: what was
        under way on the nodes is still protected by it, and the next run takes it over at once.
        """
        if self._heartbeat is not None:
            self._heartbeat.hush()
        again = "Run the same command again"
        if self.operation in plans.OPERATIONS:
            more = {**self.overrides, **self.allowed}
            again = f"Run again: {plans.command(self.operation, self.config, **more)}"
        try:
            # A client of its own: the other one was in the middle of a question.
            self.nodes = minions.Nodes(self._opts)
            self.judge()
            now = f"{self.config['name']} is {self.verdict.name}: {self.verdict.sentence}"
        except SaltException as error:
            now = f"It is not known who serves. {error}"
        at = self.steps[-1]["step"] if self.steps else "precheck"
        return (
            f"Interrupted at `{at}`. {now} What was under way on the nodes goes on there, or goes back, by "
            f"itself. {again}"
        )


#: What the last step of an orchestration says that took no lock.
NOT_OPENED = {"result": True, "comment": "No run was opened, so there is nothing to close."}


class Heartbeat:
    """
    Calls a function every ``RENEW_EVERY`` seconds, in a thread that ends with its process; ``TOLD_WITHIN``
    seconds after there is something to tell.

    beat
        The function. What it raises is logged: the next beat tries again, and when none gets through, the
        lock expires, as it should.
    """

    def __init__(self, beat):
        self._beat = beat
        self._changed = threading.Condition()
        self._due = time.monotonic() + RENEW_EVERY
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="failback-heartbeat", daemon=True)
        self._thread.start()

    def stop(self):
        """Beat no more. Returns when a beat that is under way has ended."""
        self.hush()
        self._thread.join()

    def hasten(self):
        """There is something to tell: beat within ``TOLD_WITHIN`` seconds, once for all of it."""
        with self._changed:
            self._due = min(self._due, time.monotonic() + TOLD_WITHIN)
            self._changed.notify()

    def rest(self):
        """The next beat comes only when it is time: nothing is left to tell, or nobody may be disturbed."""
        with self._changed:
            self._due = time.monotonic() + RENEW_EVERY

    def hush(self):
        """Beat no more; one that is under way is not waited for."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _run(self):
        while self._is_due():
            try:
                self._beat()
            except Exception as error:
                log.warning("The lock could not be renewed: %s", error)

    def _is_due(self):
        """Wait until it is time for a beat; False when there is to be none any more."""
        with self._changed:
            while not self._stopped:
                left = self._due - time.monotonic()
                if left <= 0:
                    self._due = time.monotonic() + RENEW_EVERY
                    return True
                self._changed.wait(left)
            return False


def _iso(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
