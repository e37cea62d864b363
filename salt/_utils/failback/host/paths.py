"""Where things are on a node. One place to look them up, and to move them aside in a test."""

import pathlib


class Paths:
    """
    The files of Failback on a node.

    root
        Folder that stands for ``/``; tests give another one.
    """

    def __init__(self, root="/"):
        self.root = pathlib.Path(root)
        self.program = self.root / "usr/local/sbin/failback"
        self.library = self.root / "usr/local/lib/failback"
        #: A link to the release of the library that is in force; see ``failback.release``.
        self.release = self.library / "current"
        self.configuration = self.root / "etc/failback"
        self.ssh = self.configuration / "ssh"
        self.private_key = self.ssh / "id_ed25519"
        self.ssh_config = self.ssh / "config"
        self.known_hosts = self.ssh / "known_hosts"
        self.pairs = self.configuration / "pairs"
        #: What the distribution calls things; see ``failback.host.distribution``.
        self.distribution = self.configuration / "distribution.json"
        #: What an account other than root may, as which the other node logs in; see ``failback.peer.trust``.
        self.sudo_rules = self.root / "etc/sudoers.d/failback"
        #: Programs that are told what happens to a pair; see ``failback.notify``.
        self.hooks = self.configuration / "hooks.d"
        self.all_state = self.root / "var/lib/failback"

    @property
    def public(self):
        """What every user may read of this boot; the folders of the pairs in it are for root alone."""
        return self.root / "run/failback"

    def pair_config(self, pair):
        """The pair as highstate rendered it from pillar, and which of the two nodes this is."""
        return self.pairs / f"{pair}.json"

    def fence_agent(self, pair):
        """The fence agent that switches the other node off, with its passwords."""
        return self.configuration / "fence" / f"{pair}.json"

    def state(self, pair):
        """What must survive a reboot."""
        return self.all_state / pair

    def volatile(self, pair):
        """What must not survive a reboot."""
        return self.root / "run/failback" / pair

    def watch_status(self, cron):
        """Where the watch of a cron name says how things stand; see ``failback.watch.loop.Watch.status``."""
        return self.root / "run/failback" / f"watch-{cron}.json"

    def readiness(self, pair):
        """What this node is worth to the pair, by the lookout; see ``failback.readiness.record``."""
        return self.volatile(pair) / "readiness.json"

    def unit(self, name):
        """A unit of systemd that highstate has installed."""
        return self.root / "etc/systemd/system" / name

    def ledger(self, pair):
        """Who is active, in which generation."""
        return self.state(pair) / "ledger.json"

    def lock(self, pair):
        """Which run owns the lock."""
        return self.state(pair) / "lock.json"

    def pause(self, pair):
        """Until when the watch is paused."""
        return self.state(pair) / "hold.json"

    def fenced(self, pair):
        """An operator's word that the other node is off."""
        return self.state(pair) / "fenced.json"

    def runs(self, pair):
        """All that was kept of earlier runs."""
        return self.state(pair) / "runs"

    def run_folder(self, pair, run):
        """Journal, backup and manifest of one run."""
        return self.runs(pair) / run
