"""
What a master does for a pair: ask its nodes, and carry one run from its opening to its close.

For the runner ``pair`` and for the state modules that are steps of orchestrations.
"""

import contextlib
import logging
import os
import pathlib
import socket
import threading
import time

import salt.client
import salt.utils.user
from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltException
from salt.exceptions import SaltInvocationError

from failback import conflicts
from failback import fencing
from failback import lock as locks
from failback import pillar as pillars
from failback import plan as plans
from failback import runs
from failback import system
from failback import verdict as verdicts
from failback.errors import FailbackError

log = logging.getLogger(__name__)

#: Seconds after which Salt begins to ask whether a job still runs, and for which a node may be too busy to
#: say so. Jobs may take longer; nodes that are gone are found out after this and ``GONE_WITHIN`` more. One
#: that is at work must not be taken for gone: the run would fail, and its job go on.
ANSWER_WITHIN = 20
GONE_WITHIN = 15
#: The same for a look, which takes no time.
LOOK_WITHIN = 10
LOOK_GONE_WITHIN = 5
#: The same where it is known already that one of the nodes is off: each look waits in vain for that one.
LOOK_BESIDE_DEAD_WITHIN = 3
#: Seconds for which a salt-master that takes no connections may be about to restart.
MASTER_WITHIN = 10
#: Seconds for a minion to restart after the highstate that has changed its settings.
RESTARTED_WITHIN = 120
#: Seconds between two renewals. A node that does not answer makes it ``LOOK_WITHIN + LOOK_GONE_WITHIN`` more.
RENEW_EVERY = 15
#: Seconds for which a run relies on what both nodes have last said of its lock.
FRESH = 20
#: Seconds a lock holds beyond the limit of a step that goes on without its run.
LOCK_MARGIN = 60
#: Where the steps of one orchestration find their run.
CONTEXT = "failback.run"


class NoAnswer(str):
    """Why there is no answer of a node; whether it has done what it was asked is not known."""


class NodesFailed(CommandExecutionError):
    """Some nodes failed or did not answer."""


class NoMaster(CommandExecutionError):
    """The salt-master of this machine does not answer, so no node can be asked anything."""


class Nodes:
    """
    The nodes of pairs, asked through this master.

    opts
        The master's, as a runner or a state of an orchestration has them.
    """

    def __init__(self, opts):
        self._client = salt.client.get_local_client(opts["conf_file"])

    def try_all(self, nodes, function, *args, look=None, **kwargs):
        """
        Call a function on several nodes at once.

        look
            Seconds for an answer that takes a node no time; None: it has work to do.

        Returns ``(answers, errors)``, both by node: what it returned, and why it did not. Raises
        ``NoMaster`` when the salt-master of this machine is gone.
        """
        if not nodes:
            return {}, {}
        found = self._ask(
            self._client.cmd,
            nodes,
            function,
            args,
            timeout=ANSWER_WITHIN if look is None else look,
            gather_job_timeout=GONE_WITHIN if look is None else LOOK_GONE_WITHIN,
            full_return=True,
            kwarg=kwargs or None,
        )
        answers, errors = {}, {}
        for node in nodes:
            one = found.get(node)
            if not one or one.get("out") == "no_return":
                errors[node] = NoAnswer(f"{node} does not answer {function} (is its salt-minion up?)")
            elif _failed(one):
                errors[node] = f"{node}: {_message(one['ret'])}"
            else:
                answers[node] = one["ret"]
        return answers, errors

    def begin(self, nodes, function):
        """Have a function begin on several nodes. Nobody waits: its effect shows where it is needed."""
        if nodes:
            self._ask(self._client.run_job, nodes, function, timeout=ANSWER_WITHIN)

    def _ask(self, how, nodes, *words, **options):
        self._require_master(MASTER_WITHIN)
        try:
            return how(list(nodes), *words, tgt_type="list", **options)
        except (SaltException, OSError) as error:
            # What a node says is returned; what is raised is about the master: it has just died, or says no.
            self._require_master(0)
            if isinstance(error, SaltException):
                raise
            raise NoMaster(f"The salt-master of this machine does not answer: {error}") from error

    def _require_master(self, within):
        """
        Raise ``NoMaster`` when the master's process is gone.

        Salt would ask it three times, each time for as long as an answer may take, before it says so
        (``AsyncReqChannel.send``), and a run has several questions before it ends.
        """
        opts, end = self._client.opts, time.monotonic() + within
        host, port = opts["interface"], int(opts["ret_port"])
        while True:
            try:
                socket.create_connection((host, port), timeout=1).close()
                return
            except OSError as error:
                if time.monotonic() >= end:
                    raise NoMaster(
                        f"The salt-master of this machine takes no connections at {host}:{port}: {error}. "
                        f"See `systemctl status salt-master`."
                    ) from error
            time.sleep(0.2)

    def all(self, nodes, function, *args, **kwargs):
        """Call a function on several nodes; raises ``NodesFailed`` unless all of them succeed."""
        answers, errors = self.try_all(nodes, function, *args, **kwargs)
        if errors:
            raise NodesFailed(" ".join(errors.values()))
        return answers

    def one(self, node, function, *args, **kwargs):
        """Call a function on one node and return its result."""
        return self.all([node], function, *args, **kwargs)[node]

    def reports(self, config, look=LOOK_WITHIN):
        """Both nodes' reports, ``None`` for one that does not answer, and the errors by node."""
        ids = (config["primary"]["id"], config["secondary"]["id"])
        answers, errors = self.try_all(ids, "pair.report", config["name"], look=look)
        return answers.get(ids[0]), answers.get(ids[1]), errors


def _failed(answer):
    # The return code says it on both releases; an uncaught exception leaves success False as well.
    return answer.get("retcode", 0) != 0 or answer.get("success") is False


def _message(returned):
    if isinstance(returned, dict):
        # A highstate that failed comes as all of its states; only those that failed themselves matter.
        states = {key: one for key, one in returned.items() if isinstance(one, dict)}
        failed = [
            f"{one.get('__id__', key)}: {one.get('comment')}"
            for key, one in states.items()
            if one.get("result") is False and "requisite failed" not in str(one.get("comment"))
        ]
        if failed:
            return f"Highstate failed. {' '.join(failed)}"
    text = returned if isinstance(returned, str) else repr(returned)
    return text.removeprefix("ERROR: ").removeprefix("Error running ").strip()


def pairs_of(pillar):
    """The pairs of the orchestrating master's pillar. Raises when it has none."""
    found = (pillar or {}).get("pairs")
    if not found:
        raise SaltInvocationError(
            "The pillar of this master has no pairs: pillar/top.sls must match '*_master'."
        )
    return found


def configuration(pairs, pair, usage):
    """
    The normalised pair of that name.

    usage
        How the command is typed, for the error.

    Raises ``SaltInvocationError`` for no or an unknown pair, and for a pillar that is wrong.
    """
    if not isinstance(pair, str) or not pair:
        raise SaltInvocationError(f"No pair was named. Usage: {usage}")
    if pair not in pairs:
        raise SaltInvocationError(
            f"There is no pair {pair} (pairs: {', '.join(sorted(pairs))}). Usage: {usage}"
        )
    # A slip in another pair's file must not keep this one from being recovered at night.
    wrong = [pillars.sentence(one) for one in pillars.problems(pairs) if one["pair"] in (pair, "")]
    if wrong:
        raise SaltInvocationError("The pillar is wrong, nothing was done. " + " ".join(wrong))
    return pillars.normalise(pair, pairs[pair])


def require_words(config, words):
    """
    An operator's word about a node needs a reason, which the history keeps.

    words
        ``winner``, ``fenced`` and ``reason``, each text or None; ``moved``, True or None.

    Raises ``SaltInvocationError``.
    """
    winner, reason = words["winner"], words["reason"]
    if words["moved"] not in (None, True) or (words["moved"] and words["fenced"] is None):
        raise SaltInvocationError("moved must be true, and belongs to `fenced`.")
    nodes = (config["primary"]["id"], config["secondary"]["id"])
    if winner is not None and winner not in nodes:
        raise SaltInvocationError(f"winner must be {nodes[0]} or {nodes[1]}, not {winner!r}.")
    try:
        if winner is None:
            fencing.declared(config, words["fenced"], reason)
        else:
            fencing.require_reason(f"winner: {winner}", reason)
    except FailbackError as error:
        raise SaltInvocationError(str(error)) from error


def require_in_step(reports):
    """
    Both nodes must run the very code that this master has.

    Raises ``CommandExecutionError``: two halves of a handover that differ are a protocol nobody tested.
    """
    own = system.package_digest(pathlib.Path(system.__file__).parent)
    behind = [
        report["node"]
        for report in reports
        if report["package"]["modules"] != own or report["package"]["program"] != own
    ]
    if behind:
        raise CommandExecutionError(
            f"{' and '.join(behind)} run{'s' if len(behind) == 1 else ''} another release of Failback than "
            f"this master. Run `salt-run saltutil.sync_all` here and `salt -L '{','.join(behind)}' "
            f"state.apply`, then this again. Nothing was changed."
        )


def highstate(nodes, ids, sls=None):
    """
    Run highstate on nodes, or one SLS of it, all at once, and wait for minions that it restarts.

    Returns, by node, the ids of the states that changed something. Raises ``CommandExecutionError``
    naming each state that failed.
    """
    changed, failed, restarting = {}, [], {}
    for node, found in _applied(nodes, ids, *([sls] if sls else [])).items():
        if not isinstance(found, dict):
            raise CommandExecutionError(f"Highstate on {node} could not be compiled: {found}")
        for key, one in found.items():
            if one["result"] is False:
                failed.append(f"{node}: {one.get('__id__', key)}: {one.get('comment')}")
            if key.startswith("salt_minion_|-") and one["changes"].get("restart"):
                restarting[node] = one["changes"]["restart"]
        changed[node] = sorted(one.get("__id__", key) for key, one in found.items() if one["changes"])
    if failed:
        raise CommandExecutionError(f"Highstate failed. {' '.join(failed)}")
    _wait_restarted(nodes, restarting)
    return changed


def _applied(nodes, ids, *sls):
    """
    ``state.apply`` on nodes. One that gave no answer and is there is asked once more: its minion has
    restarted, as the highstate at boot makes it do when its settings have changed, and has lost the job.
    """
    answers, errors = nodes.try_all(ids, "state.apply", *sls, queue=True)
    silent = [node for node, error in errors.items() if isinstance(error, NoAnswer)]
    there, _ = nodes.try_all(silent, "salt_minion.process", look=5)
    if there:
        again, still = nodes.try_all(sorted(there), "state.apply", *sls, queue=True)
        answers.update(again)
        errors = {**{node: error for node, error in errors.items() if node not in there}, **still}
    if errors:
        raise NodesFailed(" ".join(errors.values()))
    return answers


def _wait_restarted(nodes, before):
    """Until other processes than these minions' old ones answer; by node, see ``salt_minion.process``."""
    waiting, end = dict(before), time.monotonic() + RESTARTED_WITHIN
    while waiting:
        answers, _ = nodes.try_all(sorted(waiting), "salt_minion.process", look=2)
        for node, found in answers.items():
            if found and found != waiting[node]:
                del waiting[node]
        if waiting and time.monotonic() >= end:
            raise CommandExecutionError(
                f"The salt-minion of {' and '.join(sorted(waiting))} was to restart with the settings that "
                f"highstate has changed, and has not answered anew within {RESTARTED_WITHIN} s. Look there: "
                f"journalctl -u failback-restart-salt-minion -u salt-minion. Then run this again."
            )


def require_free(pair, reports, nodes):
    """
    No living run may hold the pair: what a look finds in the middle of one is not worth judging.

    Raises ``CommandExecutionError``, naming that run.
    """
    dead = dead_runs(reports, nodes)
    for report in reports:
        found = report["lock"] or {}
        if found.get("state") == "held" and found["run"] not in dead:
            raise CommandExecutionError(locks.refusal(pair, found))


def takeover(run, reports):
    """
    When the node that serves took over, on its own clock and on that of the one that is brought up to date;
    or None. See ``failback.conflicts.Takeover``.

    None also for a planned failover: what lsyncd has carried to the standby bears the times of changes
    on the active node, and is nobody's own.
    """
    if "warm" not in run.plan.steps:
        return None
    by_node = {one["node"]: one for one in reports}
    return conflicts.taken_over(by_node[run.other(run.plan.target)], by_node[run.plan.target])


def dead_runs(reports, nodes, own=None):
    """
    The runs that one of the nodes has proved dead: it was the host of their process.

    A node that was away when its run ended still has that run's lock, and cannot know. So this master, all
    nodes that answer and the machine of the process, if a minion bears its name, are asked about the process.

    own
        The run that asks; it lives.
    """
    reports = list(reports)
    found = [report["lock"] or {} for report in reports]
    dead = {one["run"] for one in found if one.get("state") == "dead"}
    for one in found:
        if one.get("state") == "held" and one["run"] not in dead | {own}:
            # It may have run on this very master, which need not be a node of the pair.
            ended = locks.owner_has_ended(one["owner"])
            if not ended:
                ids = list(dict.fromkeys([*(report["node"] for report in reports), *_machine(one["owner"])]))
                answers, _ = nodes.try_all(ids, "pair.owner_has_ended", one["owner"])
                ended = any(answers.values())
            if ended:
                dead.add(one["run"])
    return dead


def _machine(owner):
    """The name of the machine on which a run's process was, in a list; an empty one where nobody knows."""
    _, _, name = str((owner or {}).get("machine", "")).partition("/")
    return [name] if name else []


class Run:
    """One execution of an orchestration on a pair, from opening to close."""

    def __init__(self, opts, config, operation, words=None):
        words = words or {}
        self.id = runs.new_id(operation, config["name"])
        self.config = config
        self.nodes = Nodes(opts)
        self.operation = operation
        #: An operator's words: which node won a split, which one is off, and why.
        self.winner = words.get("winner")
        self.fenced = words.get("fenced")
        self.reason = words.get("reason")
        self.moved = bool(words.get("moved"))
        self.plan = None
        self.verdict = None
        self.opened = False
        #: The dead or expired run that had the pair.
        self.took_over = None
        #: Whether the watch is paused for as long as the lock holds.
        self.holding = False
        self.steps = []
        self._opts = opts
        self._heartbeat = None
        #: When (monotonic) the step ends that could go on without this run.
        self._outlived_until = 0.0
        #: When both nodes said last that this run has the pair (CLOCK_BOOTTIME).
        self._renewed_at = None
        self._started = time.time()
        #: The process that orchestrates; see ``failback.lock.acquire``.
        self.owner = {
            "master": opts["id"],
            "user": salt.utils.user.get_specific_user(),
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
    def words(self):
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
        look = LOOK_BESIDE_DEAD_WITHIN if self.fenced else LOOK_WITHIN
        return self.nodes.reports(self.config, look)

    def judge(self):
        """Look at both nodes. Returns ``(reports, errors)``; sets the verdict."""
        primary, secondary, errors = self.look()
        self.verdict = verdicts.judge(self.config, primary, secondary)
        return [one for one in (primary, secondary) if one], errors

    def decide(self):
        """Look at both nodes and decide. Returns what ``judge`` does; sets verdict and plan."""
        found = self.judge()
        self.plan = plans.decide(self.operation, self.config, self.verdict, self.winner, self.fenced)
        return found

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
                self.members, "pair.report", self.config["name"], look=LOOK_WITHIN
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

    def hold(self):
        """Pause the watch on both nodes, for as long as the lock holds. Raises when one does not say so."""
        self.holding = True
        answers, errors = self._renewed(self.nodes)
        if errors:
            raise NodesFailed(" ".join(errors.values()))
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
        self._require_held(self._renewed(self.nodes)[0])

    def _require_held(self, answers):
        lost = [node for node in self.members if answers.get(node) is False]
        if lost:
            pair = self.config["name"]
            raise CommandExecutionError(
                f"Run {self.id} does not hold {pair} on {' and '.join(lost)} any more: it stood still, and "
                f"another one may have been at work since. See `salt-run pair.status {pair}`, then run it "
                f"again."
            )

    def let_go(self):
        """Renew the lock no more. Called before it is given back."""
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None

    def _cover(self, outlives):
        self._outlived_until = time.monotonic() + outlives + LOCK_MARGIN if outlives else 0.0

    def _lease(self):
        """Seconds for which the lock shall hold from now on."""
        return max(locks.LEASE, round(self._outlived_until - time.monotonic()))

    def _beat(self):
        # A client of its own: this one may be in the middle of a question, in another thread.
        self._renewed(Nodes(self._opts))

    def _renewed(self, nodes):
        """Renew the lock; answers and errors as of ``Nodes.try_all``."""
        terms = (self.config["name"], self.id, self._lease())
        asked = system.boottime()
        answers, errors = nodes.try_all(
            self.members, "pair.renew", *terms, look=LOOK_WITHIN, hold=self.holding
        )
        if all(answers.get(node) is True for node in self.members):
            self._renewed_at = asked
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
            **self.words,
            "master": self.owner["master"],
            "user": self.owner["user"],
        }

    def note(self, step, result, comment, seconds):
        self.steps.append({"step": step, "result": result, "comment": comment, "seconds": round(seconds, 2)})

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
            comment = f"{ended} {left} Mend the cause and run it again."
            return {"result": False, "changes": {}, "comment": comment}
        if errors:
            comment = f"{ended} It could not be closed. {' '.join(errors.values())}"
            return {"result": False, "changes": {}, "comment": comment}
        changes = {"run": self.id, "seconds": {one["step"]: one["seconds"] for one in self.steps}}
        return {"result": True, "changes": changes, "comment": f"Run {self.id} is closed. {sentence}"}


#: What the last step of an orchestration says that took no lock.
NOT_OPENED = {"result": True, "comment": "No run was opened, so there is nothing to close."}


class Heartbeat:
    """
    Calls a function every ``RENEW_EVERY`` seconds, in a thread that ends with its process.

    beat
        The function. What it raises is logged: the next beat tries again, and when none gets through, the
        lock expires, as it should.
    """

    def __init__(self, beat):
        self._beat = beat
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="failback-heartbeat", daemon=True)
        self._thread.start()

    def stop(self):
        """Beat no more. Returns when a beat that is under way has ended."""
        self._stopped.set()
        self._thread.join()

    def _run(self):
        while not self._stopped.wait(RENEW_EVERY):
            try:
                self._beat()
            except Exception as error:
                log.warning("The lock could not be renewed: %s", error)


def _iso(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
