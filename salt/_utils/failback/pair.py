"""
A node's half of a pair as one object: what the site wrote of it, where its files are, what it remembers.

It is made once, where a call comes in (a module's function, a command of the program, a request of the other
node), and passed on::

    member = Member.load("salt", paths)
    member.lock.require(run)
    if not member.is_active():
        ...
"""

import functools

from failback.decisions import roles
from failback.host.paths import Paths
from failback.state import configuration
from failback.state.fencing import Fencing
from failback.state.ledger import Ledger
from failback.state.lock import Lock
from failback.state.pause import Pause
from failback.state.runs import Runs


class Member:
    """
    This node in one pair.

    pair
        Name of the pair. Raises ``Refused`` for what cannot be one.

    paths
        ``Paths`` of the node; the real ones by default.

    The configuration is read when something asks for it first, and once; see :py:meth:`load`.
    """

    def __init__(self, pair, paths=None):
        self.pair = configuration.require_name(pair)
        self.paths = paths or Paths()
        self.ledger = Ledger(self)
        self.lock = Lock(self)
        self.pause = Pause(self)
        self.runs = Runs(self)
        self.fencing = Fencing(self)

    @classmethod
    def load(cls, pair, paths=None):
        """The member with its configuration, or ``Refused`` and ``Unreadable`` as ``configuration.load``."""
        member = cls(pair, paths)
        member.config  # noqa: B018 (a refusal belongs at the door, before anything is done)
        return member

    @classmethod
    def of(cls, config, paths=None):
        """The member that a configuration describes, whatever is on the disk."""
        member = cls(config["name"], paths)
        member.config = config
        return member

    @functools.cached_property
    def config(self):
        """The normalised pair, with ``node``; see ``failback.state.configuration.load``."""
        return configuration.load(self.pair, self.paths)

    @property
    def node(self):
        """Minion id of this node."""
        return self.config["node"]

    @property
    def role(self):
        """``primary`` or ``secondary``; this never changes at run time."""
        return roles.role(self.config)

    @property
    def peer(self):
        """The other node: ``{"id": …, "host": …}``."""
        return roles.peer(self.config)

    @property
    def state(self):
        """The folder of what must survive a reboot."""
        return self.paths.state(self.pair)

    @property
    def volatile(self):
        """The folder of what must not survive a reboot."""
        return self.paths.volatile(self.pair)

    def run_folder(self, run):
        """The folder of one run: its record, its journal, its backup."""
        return self.paths.run_folder(self.pair, run)

    def is_active(self):
        """Whether this node's ledger names it active and it was admitted in its present boot."""
        return self.ledger.is_active()
