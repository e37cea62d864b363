"""
Several pairs in one orchestration, as seen by the master on which it runs.

Each pair gets a ``salt-run`` of its own, the very command that an operator would type for it: its lock
dies with its process, and what happens to it concerns no other pair. Pairs of which nothing is to be
done get none. The pair of the masters goes first; when its address has moved to the other master, the
minions follow it there, and so does the rest of the orchestration.
"""

import concurrent.futures
import json
import os
import subprocess
import sys
import time

from salt.exceptions import SaltException

from failback.decisions import commands
from failback.decisions import order
from failback.decisions import plan as plans
from failback.decisions import verdict as verdicts
from failback.decisions import verified
from failback.host import system
from failback_master import checks
from failback_master import minions
from failback_master import orchestration
from failback_master.surface import live

#: Seconds without a further minion's answer after which the silent ones count as gone: until then they
#: may be on their way from another master, or booting.
CONNECT_WITHIN = 30
#: Seconds for the answers of one such look.
LOOK = 3


def salt_run(config_dir, operation, pillar, test=False, user=None):
    """
    Run one orchestration in a process of its own, and wait for its end; each step of it has a limit.

    config_dir
        Folder of the master's configuration.

    operation
        ``recover``.

    pillar
        What is given in ``pillar=``.

    user
        Who has asked, for the history.

    Returns ``(exit status, states, text)``: the states of the orchestration in their order, each a dict
    with ``__id__``, ``result``, ``comment`` and ``changes``; and what was printed, when there are none.
    """
    words = [sys.executable, "-c", "import salt.scripts; salt.scripts.salt_run()"]
    words += [f"--config-dir={config_dir}", "--out=json", "--log-level=error"]
    words += ["state.orch", f"orch.{operation}", f"pillar={as_argument(pillar)}"]
    words += ["test=True"] if test else []
    more = {orchestration.ASKED_BY: user} if user else {}
    environment = {**os.environ, **more}
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False, env=environment)
    said = done.stdout.decode(errors="replace")
    states = _states(said)
    text = "" if states else f"{said}\n{done.stderr.decode(errors='replace')}".strip()[-2000:]
    return done.returncode, states, text


def as_argument(value):
    """A value as Salt's command line reads it, which is YAML, in letters of ASCII: no locale matters then."""
    return commands.as_yaml(value, stays=lambda one: " " <= one <= "~")


def _states(printed):
    """The states in what ``salt-run --out=json`` has printed, in their order; or an empty list."""
    try:
        part = json.loads(printed[printed.index("{") :])
    except ValueError:
        return []
    while isinstance(part, dict) and part:
        inner = [one for one in part.values() if isinstance(one, dict)]
        if inner and all("result" in one and "__run_num__" in one for one in inner):
            return sorted(inner, key=lambda one: one["__run_num__"])
        part = part.get("data") or (inner[0] if len(inner) == 1 else None)
    return []


class Cluster:
    """
    One operation on several pairs.

    opts
        The master's.

    pairs
        All pairs of the pillar.

    names
        Those wanted.

    operation
        ``recover``, ``failover``, ``boot``, ``adopt`` or ``verify``.

    more
        Further keys for the pillar of each, such as ``max_delete``.
    """

    def __init__(self, opts, pairs, names, operation, at_once=order.AT_ONCE, test=False, more=None):
        self._opts = opts
        self._operation = operation
        self._at_once = at_once
        self._test = test
        self._more = more or {}
        # To the master that does the rest after its address has moved, it is root who asks: it was told who.
        self._user = os.environ.get(orchestration.ASKED_BY) or opts.get("user")
        self._nodes = minions.Nodes(opts)
        #: What has come out, by pair: ``result``, ``comment``, ``seconds``.
        self.outcomes = {}
        self._configs = {}
        usage = f"salt-run state.orch orch.{operation} pillar='{{pair: all}}'"
        for name in names:
            try:
                self._configs[name] = checks.configuration(pairs, name, usage)
            except SaltException as error:
                self._end(name, False, str(error))

    def run(self):
        """Do it. Returns the outcomes by pair, see ``outcomes``."""
        if self._operation in (plans.ADOPT, verified.OPERATION):
            # Nodes of a new pair have nothing to report yet, and adopting one again does no harm. A
            # comparison changes nobody's place, and each judges for itself.
            self._in_order([name for name in self._configs if name not in self.outcomes])
            return self.outcomes
        reports, errors = self._look(self._configs, limit=0)
        own = self._own_pair(reports)
        if own:
            self._each([own], reports, errors)
        rest = [name for name in self._configs if name not in self.outcomes]
        if not rest:
            return self.outcomes
        elsewhere = self._serving_elsewhere(own)
        if elsewhere:
            self._delegate(elsewhere, rest)
        else:
            self._each(rest, *self._look(rest, limit=CONNECT_WITHIN))
        return self.outcomes

    def _look(self, names, limit):
        """Reports and errors by node: all nodes at once, and again those that do not answer."""
        ids = [self._configs[name][role]["id"] for name in names for role in ("primary", "secondary")]
        reports, errors = self._nodes.try_all(ids, "pair.report", look=LOOK)
        end = time.monotonic() + limit
        while errors and time.monotonic() < end:
            begun = time.monotonic()
            more, errors = self._nodes.try_all(list(errors), "pair.report", look=LOOK)
            if more:
                reports.update(more)
                end = time.monotonic() + limit
            # A node that answers with an error answers at once; its next answer will be no other.
            time.sleep(max(0.0, min(LOOK, end - time.monotonic()) - (time.monotonic() - begun)))
        return reports, errors

    def _own_pair(self, reports):
        """The chosen pair on one of whose nodes this very run lives."""
        own = system.boot_id()
        for name, config in self._configs.items():
            for role in ("primary", "secondary"):
                report = reports.get(config[role]["id"])
                if report and report["boot_id"] == own:
                    return name
        return None

    def _serving_elsewhere(self, own):
        """The node on which the master's address is now, when that is not this host; else None."""
        if own is None or self._test:
            return None
        config = self._configs[own]
        primary, secondary, _ = self._nodes.reports(config)
        active = verdicts.judge(config, primary, secondary).active
        report = next((one for one in (primary, secondary) if one and one["node"] == active), None)
        return active if report and report["boot_id"] != system.boot_id() else None

    def _delegate(self, node, names):
        """The minions have followed the address, so the master there does the rest."""
        pillar = {"pair": names, "at_once": self._at_once, **self._more}
        answers, errors = self._nodes.try_all(
            [node], "pair.orchestrate", self._operation, pillar, user=self._user
        )
        told = answers.get(node, {})
        for name in names:
            one = told.get(name) or {
                "result": False,
                "comment": f"The master on {node} has said nothing about it. {errors.get(node, '')}".strip(),
            }
            self._end(name, one["result"], one["comment"], one.get("seconds", 0))

    def _each(self, names, reports, errors):
        """Those of some pairs that need it, in their order and so many at once."""
        waiting = []
        for name in names:
            config = self._configs[name]
            ids = [config[role]["id"] for role in ("primary", "secondary")]
            found = verdicts.judge(config, *(reports.get(one) for one in ids))
            plan = plans.decide(self._operation, config, found)
            if plan.nothing_to_do:
                self._end(name, True, f"Nothing to do: {found.sentence}")
            elif plan.refusal:
                why = [found.sentence, *(errors[one] for one in ids if one in errors), plan.refusal]
                self._end(
                    name, False, f"Refused, nothing was changed. {name} is {found.name}: {' '.join(why)}"
                )
            else:
                waiting.append(name)
        self._in_order(waiting)

    def _in_order(self, waiting):
        """Pairs in their order and so many at once, whatever becomes of each."""
        after = order.predecessors({name: self._configs[name] for name in waiting})
        running = {}
        with concurrent.futures.ThreadPoolExecutor(self._at_once) as pool:
            while waiting or running:
                for name in order.ready(after, waiting, running.values(), self.outcomes, self._at_once):
                    waiting.remove(name)
                    running[pool.submit(self._one, name)] = name
                ended, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in ended:
                    self._end(running.pop(future), *future.result())

    def _one(self, name):
        """One pair in a process of its own: ``(result, comment, seconds)``."""
        begun = time.monotonic()
        live.SCREEN.line(f"{name}  orch.{self._operation} begins")
        status, states, text = salt_run(
            self._opts["config_dir"],
            self._operation,
            {"pair": name, **self._more},
            self._test,
            self._user,
        )
        failed = [one for one in states if one["result"] is False]
        if status == 0 and states:
            # A test says at its beginning what would be done, and closes nothing.
            telling = [one for one in states if one["result"] is None] if self._test else []
            result, comment = (None if self._test else True), (telling[:1] or states[-1:])[0]["comment"]
        else:
            # The first says why; the last one, that the run is closed, who serves.
            said = [one["comment"] for one in (failed[:1] + failed[-1:])]
            said = list(dict.fromkeys(said)) or [text or f"salt-run ended with status {status}."]
            result, comment = False, " ".join(said)
        return result, comment, time.monotonic() - begun

    def _end(self, name, result, comment, seconds=0.0):
        self.outcomes[name] = {"result": result, "comment": comment, "seconds": round(seconds, 1)}
        if seconds:
            live.SCREEN.line(f"{name}  {'FAILED' if result is False else 'done'}, {seconds:.0f} s", result)
