"""
A fence agent of the distribution, called as the cluster managers call it.

It reads its options from standard input, one ``name=value`` a line, so that no password is in the list of
processes. What it prints may repeat an option; what is passed on has them blotted out.
"""

import os
import stat
import subprocess

from failback.errors import Unavailable
from failback.host import files

VERSION = 1

#: Where agents are looked for: those of the packages, then a site's own.
FOLDERS = ("usr/sbin", "usr/local/sbin")

#: An agent is a program of its own: what it needs is in its options. Most are Python programs, and warnings
#: about their source would hide what the agent itself says.
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "PYTHONWARNINGS": "ignore"}

#: Characters of what an agent printed that are passed on.
LONGEST = 300

#: A shorter value is no secret worth the loss of every word that has it.
SHORTEST_SECRET = 3


class FenceAgent:
    """
    One agent with its options.

    node
        Minion id of the node that it switches off.

    agent
        Its name, such as ``fence_ipmilan``.

    options
        Dictionary of option to text, number or truth, as its manual page names them.

    timeout
        Seconds for one action.

    root
        Folder that stands for ``/``.
    """

    def __init__(self, node, agent, options, timeout, root="/"):
        self.node = node
        self.agent = agent
        self._options = options
        self._timeout = timeout
        self._root = root

    @classmethod
    def load(cls, member):
        """
        The agent with which this node switches the other node of a pair off, or None if it has none.

        member
            :py:class:`failback.pair.Member`.

        Raises ``Unreadable``; ``Unavailable`` if the pillar names an agent and highstate has not written it.
        """
        fence = member.config.get("fence") or {}
        known = fence.get("nodes", {}).get(member.peer["id"])
        if known is None:
            return None
        path = member.paths.fence_agent(member.pair)
        found = files.read_json(path, f"the fence agent of {member.pair}", VERSION)
        if found is None or found.get("node") != member.peer["id"]:
            raise Unavailable(
                f"{member.node} has not been told how to switch {member.peer['id']} off: {path} is missing "
                f"or of another node. Run highstate: salt '{member.node}' state.apply"
            )
        return cls(found["node"], found["agent"], found["options"], fence["timeout"], member.paths.root)

    def act(self, action):
        """
        Have it do one action: ``off``, ``status``, ``monitor``.

        Returns ``(exit status, what it printed)``. Raises ``Unavailable`` when it is not installed, when
        somebody else than root may change it, or when it does not end in time.
        """
        program = self._program()
        text = "".join(f"{name}={_word(value)}\n" for name, value in self._options.items())
        try:
            done = subprocess.run(
                [str(program)],
                input=f"{text}action={action}\n",
                capture_output=True,
                timeout=self._timeout,
                text=True,
                errors="replace",
                check=False,
                env=ENVIRONMENT,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(
                f"{self.agent} did not end its action {action} for {self.node} within {self._timeout:g} s"
            ) from error
        except OSError as error:
            raise Unavailable(f"{self.agent} cannot be started: {error.strerror}") from error
        return done.returncode, self._blotted((done.stderr or done.stdout).strip())

    def _program(self):
        for folder in FOLDERS:
            program = os.path.join(self._root, folder, self.agent)
            try:
                facts = os.stat(program)
            except OSError:
                continue
            if facts.st_uid != os.geteuid() or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise Unavailable(f"{program} may be changed by others than root, so it is not run as root")
            return program
        raise Unavailable(f"{self.agent} is not installed on this node (looked in {', '.join(FOLDERS)})")

    def _blotted(self, text):
        words = {_word(value) for value in self._options.values()}
        for word in sorted(words, key=len, reverse=True):
            if len(word) >= SHORTEST_SECRET:
                text = text.replace(word, "***")
        line = " ".join(text.split())
        return line if len(line) <= LONGEST else line[: LONGEST - 3] + "..."


def _word(value):
    # The agents read a truth as 1 or 0.
    return str(int(value)) if isinstance(value, bool) else str(value)
