"""
The nodes of pairs, asked by a master through Salt: what they answer, and what it means when they do not.
"""

import os
import socket
import time

import salt.client
import salt.utils.user
from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltException

#: Seconds after which Salt begins to ask whether a job still runs, and for which a node may be too busy to
#: say so. Jobs may take longer; nodes that are gone are found out after this and ``GONE_WITHIN`` more. One
#: that is busy must not be taken for gone: the run would fail, and its job go on.
ANSWER_WITHIN = 20
GONE_WITHIN = 15
#: The same for a look, which takes no time.
LOOK_WITHIN = 10
LOOK_GONE_WITHIN = 5
#: The same for somebody who only wants to see: nothing is decided by it, and he does not want to wait.
GLANCE_WITHIN = 3

#: Seconds for which a salt-master that takes no connections may be about to restart.
MASTER_WITHIN = 10

#: Room below which a salt-master may be unable to keep a job, and then asks nobody: bytes, and inodes.
LEAST_BYTES, LEAST_FILES = 256 << 10, 20


#: Seconds that a run sleeps while no answer comes; an answer wakes it. Salt's own client looks for one a
#: hundred times a second, for which it begins a thread each time: a tenth of a processor for each run.
SLEEP = 0.2


class NoAnswer(str):
    """Why there is no answer of a node; whether it has done what it was asked is not known."""


class NodesFailed(CommandExecutionError):
    """Some nodes failed or did not answer."""


class NoMaster(CommandExecutionError):
    """The salt-master of this machine does not answer, so no node can be asked anything."""


class _Client(salt.client.LocalClient):
    """Salt's client, but it sleeps while it waits."""

    def get_returns_no_block(self, tag, match_type=None):
        """The events of a job as they come; None when there is none, which its caller takes for the time."""
        idle = False
        while True:
            # Whoever has all answers sees it by the first None, which therefore comes at once.
            event = self.event.get_event(
                wait=SLEEP if idle else 0.01,
                tag=tag,
                match_type=match_type,
                full=True,
                no_block=not idle,
                auto_reconnect=self.auto_reconnect,
            )
            idle = event is None
            yield event


class Nodes:
    """
    The nodes of pairs, asked through this master.

    opts
        The master's, as a runner or a state of an orchestration has them.

    master_within
        Seconds for the salt-master of this machine to take connections; ``MASTER_WITHIN`` when left out.
    """

    def __init__(self, opts, master_within=None):
        self._client = _Client(opts["conf_file"])
        self._master_within = master_within

    def try_all(self, nodes, function, *args, look=None, gone=LOOK_GONE_WITHIN, **kwargs):
        """
        Call a function on several nodes at once.

        look
            Seconds for an answer that takes a node no time; None: it has work to do.

        gone
            With ``look``: seconds in which a node that has not answered may say that it is still at it.

        Returns ``(answers, errors)``, both by node: what it returned, and why it did not. Raises
        ``NoMaster`` when the salt-master of this machine is gone.
        """
        if not nodes:
            return {}, {}
        full = None
        found = self._ask(
            self._client.cmd,
            nodes,
            function,
            args,
            timeout=ANSWER_WITHIN if look is None else look,
            gather_job_timeout=GONE_WITHIN if look is None else gone,
            full_return=True,
            kwarg=kwargs or None,
        )
        answers, errors = {}, {}
        for node in nodes:
            one = found.get(node)
            if not one or one.get("out") == "no_return":
                # What comes back is kept as well, and lost where it cannot be.
                full = full or (self._full() or "",)
                said = f"{node} does not answer {function} (is its salt-minion up?) {full[0]}"
                errors[node] = NoAnswer(said.rstrip())
            elif _failed(one):
                errors[node] = f"{node}: {_message(one['ret'])}"
            else:
                answers[node] = one["ret"]
        return answers, errors

    def begin(self, nodes, *functions):
        """
        Have functions without arguments begin on several nodes, one after the other there.

        Nobody waits: their effect shows where it is needed.
        """
        if nodes:
            no_arguments = [[] for _ in functions]
            self._ask(self._client.run_job, nodes, list(functions), no_arguments, timeout=ANSWER_WITHIN)

    def _ask(self, how, nodes, *words, **options):
        self._require_master(MASTER_WITHIN if self._master_within is None else self._master_within)
        try:
            return how(list(nodes), *words, tgt_type="list", **options)
        except (SaltException, OSError) as error:
            # What a node says is returned; what is raised is about the master: it has just died, or says no.
            self._require_master(0)
            full = self._full()
            if full:
                raise NoMaster(full) from error
            if isinstance(error, SaltException):
                raise
            raise NoMaster(f"The salt-master of this machine does not answer: {error}") from error

    def _full(self):
        """
        Why the salt-master of this machine may be unable to keep a job, a sentence; None if it has room.

        Of a job that it cannot keep it says no more than that it had "some exception".
        """
        folder = os.path.join(self._client.opts["cachedir"], "jobs")
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        room = os.statvfs(folder)
        free, files = room.f_bavail * room.f_frsize, room.f_favail if room.f_files else None
        if free >= LEAST_BYTES and (files is None or files >= LEAST_FILES):
            return None
        left = f"{free >> 10} KiB" + (f" and {files} inodes" if files is not None else "")
        return (
            f"The file system of {folder} on this machine is full ({left} left). Its salt-master keeps every "
            f"job there, so it can ask no node. Make room: `df {folder}`, `df -i {folder}`, old jobs: "
            f"`salt-run jobs.list_jobs`."
        )

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
