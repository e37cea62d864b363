"""
The minions of a master, in place of Salt's client: they answer from a table, and what they are asked is kept.

Everything before the client is real: ``failback_master.minions``, the runs and checks, and the states as
Salt's own loader has them. What is asked must fit the signature of the module's function, and survives
Salt's serialisation as on its way to a minion.
"""

import ast
import collections
import functools
import os
import pathlib
import socket
import tempfile
import threading

import salt.loader
import salt.payload
import salt.state
from salt.exceptions import CommandExecutionError

from failback_master import minions
from failback_master import orchestration

TREE = pathlib.Path(__file__).resolve().parents[2] / "salt"

#: One question to one minion. ``limits``: seconds for an answer, and for a sign of life.
Asked = collections.namedtuple("Asked", "node function args kwargs limits")


def given(asked):
    """What a function of this tree's modules was given, by name."""
    return {**dict(zip(_signatures()[asked.function][1], asked.args)), **asked.kwargs}


class Minions:
    """
    What each minion answers, by function: ``minions.answers["pair.take"] = ["10.0.0.5/24"]``.

    An answer may be a function of the node and of what it is asked; what that raises as
    ``CommandExecutionError``, the job there fails with. A function that has no answer fails the test.
    """

    def __init__(self):
        self.answers = {}
        #: What was asked, in order, as :class:`Asked`.
        self.asked = []
        #: What was begun without waiting for it: ``([node, …], [function, …])``.
        self.begun = []
        #: Takes connections, as a salt-master does that runs.
        self._master = socket.create_server(("127.0.0.1", 0), backlog=4096)
        #: By the node or None, and the function or None, why it refuses, or how Salt says that it is silent.
        self._refusals, self._silent = {}, {}
        self.opts = {
            "interface": "127.0.0.1",
            "ret_port": self._master.getsockname()[1],
            "cachedir": tempfile.gettempdir(),
        }

    # --- what a test says of them

    def refuse(self, function, why="no.", node=None):
        """A function fails from now on, on one node or on all."""
        self._refusals[node, function] = why

    def silence(self, node, function=None, said=None):
        """
        A node does not answer from now on, or not this function.

        said
            What Salt returns for it: nothing, or a dict of its own.
        """
        self._silent[node, function] = said

    def wake(self, node):
        """It answers again."""
        self._silent = {key: said for key, said in self._silent.items() if key[0] != node}

    def end_master(self):
        """The salt-master ends: nobody can be asked any more."""
        self._master.close()

    # --- what they were asked

    def of(self, *functions):
        """The questions for some functions, in order."""
        return [one for one in self.asked if one.function in functions]

    def one(self, function):
        """The only question for a function."""
        (found,) = self.of(function)
        return found

    def names(self, *but):
        """``[(node, function), …]`` in order, without some functions."""
        return [(one.node, one.function) for one in self.asked if one.function not in but]

    def forget(self):
        """What was asked until now is no longer of interest."""
        self.asked.clear()

    # --- Salt's client

    def cmd(self, tgt, fun, arg, timeout, tgt_type, full_return, kwarg, gather_job_timeout):
        assert (tgt_type, full_return) == ("list", True) and isinstance(tgt, list)
        found, limits = {}, (timeout, gather_job_timeout)
        for node in tgt:
            asked = Asked(node, fun, _sent(list(arg)), _sent(kwarg or {}), limits)
            _require_understood(fun, asked.args, asked.kwargs)
            self.asked.append(asked)
            found.update(self._returned(asked))
        return found

    def run_job(self, tgt, fun, arg, timeout, tgt_type):
        assert tgt_type == "list" and isinstance(tgt, list) and timeout
        assert [len(fun), *map(len, arg)] == [len(arg), *[0] * len(arg)], "each function has no arguments"
        self.begun.append((list(tgt), list(fun)))
        return {"jid": "20261122183000000000", "minions": list(tgt)}

    def _returned(self, asked):
        node, function = asked.node, asked.function
        for key in ((node, None), (node, function)):
            if key in self._silent:
                return {} if self._silent[key] is None else {node: self._silent[key]}
        for key in ((None, function), (node, function)):
            if key in self._refusals:
                return {node: _failed(self._refusals[key])}
        assert function in self.answers, f"{function} has no answer here"
        answer = self.answers[function]
        try:
            found = answer(node, *asked.args, **asked.kwargs) if callable(answer) else answer
        except CommandExecutionError as error:
            return {node: _failed(str(error))}
        return {node: {"ret": _sent(found), "retcode": 0, "success": True, "jid": "20261122183000000000"}}


def _failed(why):
    """As a minion returns a ``CommandExecutionError``."""
    return {"ret": f"ERROR: {why}", "retcode": 1, "success": False, "jid": "20261122183000000000"}


def _sent(value):
    """What of a value arrives at the other end."""
    return salt.payload.loads(salt.payload.dumps(value))


@functools.cache
def _signatures():
    """Of each function of this tree's execution modules ``(names that must be given, names, variadic)``."""
    found = {}
    for path in sorted((TREE / "_modules").glob("*.py")):
        body = ast.parse(path.read_text()).body
        virtual = [
            one.value.value
            for one in body
            if isinstance(one, ast.Assign) and getattr(one.targets[0], "id", None) == "__virtualname__"
        ]
        for node in body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                names = [one.arg for one in node.args.args]
                required = names[: len(names) - len(node.args.defaults)]
                variadic = bool(node.args.vararg or node.args.kwarg)
                found[f"{(virtual or [path.stem])[0]}.{node.name}"] = required, names, variadic
    return found


def _require_understood(function, args, kwargs):
    """A module of this tree must have the function, and take what it is given."""
    virtual = function.partition(".")[0]
    if virtual not in {one.partition(".")[0] for one in _signatures()}:
        return  # Salt's own
    assert function in _signatures(), f"no module has {function}"
    required, names, variadic = _signatures()[function]
    given = [*names[: len(args)], *kwargs]
    fits = len(args) <= len(names) and set(given) <= set(names) and len(set(given)) == len(given)
    assert variadic or fits, f"{function} does not take {args} {kwargs}"
    assert set(required) <= set(given), f"{function} lacks {set(required) - set(given)}"


class Master:
    """
    A master that orchestrates: its states as Salt's loader has them, and minions that answer.

    opts
        The master's. ``pillar`` has its pairs.

    Each state has the ``__context__`` of those before it, as the steps of one ``state.orch`` do.
    """

    def __init__(self, opts, monkeypatch):
        self.opts, self.minions, self.context = opts, Minions(), {}
        self._loaders = {}
        monkeypatch.setattr(minions, "_Client", lambda conf_file: self.minions)
        # One that has ended here does not come back.
        monkeypatch.setattr(minions, "MASTER_WITHIN", 0.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """No run goes on behind its test."""
        if self.run:
            self.run.let_go()
        self.minions.end_master()
        for thread in threading.enumerate():
            if thread.name == "failback-heartbeat":
                thread.join(2)
                assert not thread.is_alive(), "a lock is still renewed"

    @property
    def run(self):
        """The run of the steps that were called, or None."""
        return self.context.get(orchestration.CONTEXT)

    def state(self, function, name="a step", test=False, **words):
        """Call a state; ``test``: in test mode."""
        if test not in self._loaders:
            opts = {**self.opts, "test": test}
            self._loaders[test] = salt.loader.states(opts, {}, {}, None, context=self.context)
        return self._loaders[test][function](name, **words)

    def orchestrate(self, operation, test=False, **pillar):
        """
        Run an orchestration to its end as ``state.orch`` does: requisites, order and all.

        Returns what its states returned, by the function, those of one function in a list, in order.
        """
        opts = {**self.opts, "test": test, "pillar": {}}
        high = salt.state.HighState(opts, pillar_override={**self.opts["pillar"], **pillar})
        data, errors = high.render_highstate({"base": [f"orch.{operation}"]})
        assert errors == []
        found = collections.defaultdict(list)
        for key, one in sorted(high.state.call_high(data).items(), key=lambda each: each[1]["__run_num__"]):
            found[key.partition("_|-")[0] + "." + key.rpartition("_|-")[2]].append(one)
        return dict(found)


def opts_of_a_master(minion_opts, root, pillar):
    """What a master has of a minion's options, for its states."""
    return {
        **minion_opts,
        "__role": "master",
        "id": "salt2_master",
        "user": "root",
        "root_dir": str(root),
        "cachedir": str(root / "cache"),
        "conf_file": str(root / "master"),
        "config_dir": str(root),
        # Without a bus nobody is told of the steps.
        "sock_dir": "",
        "failback_root": os.devnull,
        "pillar": pillar,
    }
