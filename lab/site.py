"""A whole lab: brought up, asked, taken down.

site = Site("rehearsal")        # a lab called rehearsal, of the site "salt"
site.up()
site.host("salt1").power_off()
site.down()
"""

import concurrent.futures
import contextlib
import fcntl
import os
import pathlib
import re
import shutil
import subprocess

from lab import cache
from lab import cgroups
from lab import client
from lab import image
from lab import network
from lab import provision
from lab import sites
from lab.host import DISKS
from lab.host import SHARED
from lab.host import STATE
from lab.host import Host
from lab.host import HostOff
from lab.host import until
from lab.roles import salt

#: Files of a lab's state that all of its hosts agree on: Salt's keys, and munge's.
KEPT_SECRETS = ("keys.json", "munge.key")


class Site:
    """A lab by its name. Labs with different names share nothing but the image."""

    def __init__(self, name="failback", site="salt", pairs=None):
        """
        site, pairs
            What to build, for a lab that is not there yet. A lab that exists is what it is; pairs that
            are named are added to it by ``up``. See ``lab.sites.Description.chosen``.
        """
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,15}", name):
            raise ValueError(f"{name!r}: a lab's name has 1 to 16 of a-z, 0-9 and '-'.")
        self.name = name
        #: Whose salt/ and pillar/ its masters get.
        self.checkout = cache.CHECKOUT
        #: Whether Salt on a new host leaves out what a test can do without: not where times are published.
        #: See lab/files/salt and lab/roles/salt.py.
        self.is_for_tests = False
        #: Whether highstate leaves the modules of minions that begin from a snapshot as they are: where the
        #: tree stays as it was when the snapshot was made. See lab/roles/salt.py.
        self.keeps_modules = False
        self.state = STATE / name
        if site not in sites.SITES:
            raise LookupError(f"No site {site!r}; there are {', '.join(sites.SITES)}.")
        try:
            self.description = sites.recall(self.state)
            if pairs:
                self.description = self.description.chosen([*self.description.pairs, *pairs])
        except FileNotFoundError:
            self.description = sites.SITES[site].chosen(pairs)

    @property
    def hosts(self):
        """All hosts, in the site's order."""
        return [Host(self.name, self.description, each) for each in self.description.machines]

    def host(self, name):
        """One host by its name."""
        for each in self.hosts:
            if each.name == name:
                return each
        raise LookupError(f"No host {name!r}; there are {', '.join(e.name for e in self.hosts)}.")

    @property
    def exists(self):
        return self.state.exists() or (DISKS / self.name).exists() or network.exists(self.name)

    def up(self, hosts=None, masters=True, limit=180, snapshot=None):
        """Build what is missing, switch on, wait until all have booted.

        hosts
            Names of those wanted; all by default. What runs already stays as it is.

        masters
            Also start salt-master by hand on the hosts of the salt pair, and wait until their
            minions answer. Only when the lab is new: from then on Failback starts it.

        snapshot
            A folder of ``lab.snapshots``, for a lab that is new: its hosts boot from the disks in it.
        """
        only_root()
        make_room()
        base = image.ready(self.description.image)
        wanted = [self.host(name) for name in hosts] if hosts is not None else self.hosts
        with self._locked():
            self.state.mkdir(parents=True, exist_ok=True)
            sites.remember(self.state, self.description)
            if snapshot and not (self.state / "keys.json").exists():
                shutil.copytree(snapshot / "state", self.state, dirs_exist_ok=True)
                if (snapshot / SHARED).exists():
                    (DISKS / self.name).mkdir(parents=True, exist_ok=True)
                    cache.call(["cp", "-a", "-T", snapshot / SHARED, DISKS / self.name / SHARED])
            for each in self.hosts:
                cgroups.create(each.group)
                cgroups.create(each.keeper_group)
            cgroups.share_by_hosts(self.name, len(self.hosts))
            network.create(self.name, [each.name for each in self.description.networks])
            fresh = [each for each in wanted if each.make_disk(base, snapshot)]
            if snapshot and self.keeps_modules:
                for each in wanted:
                    salt.keep_modules(each)
            if fresh:
                provision.provide(self, fresh)
                for each in fresh:
                    each.keep_disk()
            for each in wanted:
                each.power_on(wait=False)
        in_parallel(lambda each: each.wait_booted(limit), wanted)
        begun = self.state / "masters-begun"
        if masters and not begun.exists():
            masters = [each for each in wanted if "master" in each.machine.roles]
            self.start_masters(masters, limit)
            witnesses = [each for each in wanted if "witness" in each.machine.roles]
            if masters and witnesses and not snapshot:
                self.settle(witnesses, masters, limit)
            begun.touch()
        return self

    def start_masters(self, hosts, limit=180):
        """Start salt-master on the hosts; wait until each one's minion answers each of them."""
        start = ["systemctl", "start", "salt-master"]
        in_parallel(lambda each: each.run(start), hosts)
        names = sorted(each.name for each in hosts)

        in_parallel(lambda each: self.wait_answered(each, names, limit), hosts)

    def settle(self, witnesses, masters, limit=180):
        """
        Highstate on minions that are in no pair, so that they find a master that comes back.

        docs/install.md asks an operator for that; the nodes of a pair get theirs with ``orch.adopt``. It
        restarts them, and they are waited for.
        """
        names = sorted(each.name for each in witnesses)
        pid = ["systemctl", "show", "--property=MainPID", "--value", "salt-minion"]
        before = {each.name: each.run(pid).stdout for each in witnesses}
        self.wait_answered(masters[0], names, limit)
        masters[0].run(["salt", "--timeout=60", "-L", ",".join(names), "state.apply"], timeout=limit)
        for each in witnesses:
            until(
                lambda each=each: each.run(pid).stdout.strip() not in (before[each.name].strip(), "0"),
                limit,
                f"the minion of {each.name} to have restarted with its new settings",
            )
        in_parallel(lambda each: self.wait_answered(each, names, limit), masters)

    def wait_answered(self, master, names, limit):
        """Until the minions of these names answer a master."""

        def answered():
            # Asked before they have connected, Salt would wait for them for its whole timeout.
            connected = ["ss", "-Htn", "state", "established", "sport", "=", ":4505"]
            if len(master.run(connected).stdout.splitlines()) < len(names):
                return False
            ask = ["salt", "--timeout=2", "--static", "--out=json", "-L", ",".join(names)]
            ask.append("test.ping")
            said = master.run(ask, check=False)
            if said.returncode == os.EX_USAGE:
                raise RuntimeError(said.stderr)
            return all(f'"{name}": true' in said.stdout for name in names)

        until(answered, limit, f"{names} to answer {master.name}")

    def holders(self, address, seen_from="client", interface="eth0", seconds=1.0):
        """Names of the hosts that answer ARP for an IPv4 address, as a third host sees it.

        A MAC that is no running host's is given as it is.
        """
        macs = client.who(self.host(seen_from), address, interface, seconds)
        names = {}
        for each in self.hosts:
            if each.running and interface in dict(each.machine.interfaces):
                with contextlib.suppress(HostOff, subprocess.CalledProcessError):  # it goes off just now
                    names[each.mac(interface)] = each.name
        return sorted(names.get(mac, mac) for mac in macs)

    def push_tree(self, hosts=None):
        """Copy the checkout's salt/ and pillar/ to /srv/salt of the salt pair (while it runs)."""
        for each in self.hosts:
            if "master" in each.machine.roles and (hosts is None or each.name in hosts):
                salt.push_tree(self, each)

    def give(self, folder):
        """Shut all hosts down, and move their disks into a folder: a snapshot. The lab is of no use then."""
        for each in self.hosts:
            salt.forget_boots(each)
        in_parallel(Host.shut_down, self.hosts)
        for each in self.hosts:
            each.give_disk(folder / "disks" / each.name)
        (folder / "state").mkdir()
        for name in KEPT_SECRETS:
            if (self.state / name).exists():
                shutil.copy(self.state / name, folder / "state")
        shutil.copytree(self.state / "site.git", folder / "state/site.git", symlinks=True)
        if (DISKS / self.name / SHARED).exists():
            cache.call(["mv", DISKS / self.name / SHARED, folder / SHARED])

    def down(self):
        """Remove all of it: hosts, mounts, namespace, control groups, state. Nothing if not there.

        It finds what to remove from the kernel and the file system, so it also works after a crash.
        """
        only_root()
        with self._locked():
            if cgroups.members(self.name):
                cgroups.empty(f"{self.name}/keepers")
                in_parallel(Host.power_off, self.hosts)
                cgroups.empty(self.name)
            for place in mounts_below(DISKS / self.name):
                cache.call(["umount", place])
            for each in self.hosts:
                each.remove()
            network.remove(self.name)
            cgroups.remove(self.name)
            for folder in (DISKS / self.name, self.state):
                if folder.exists():
                    shutil.rmtree(folder)
            for parent in (DISKS, STATE):
                with contextlib.suppress(OSError):
                    parent.rmdir()

    def status(self):
        """A list of dicts, one a host: name, address, power, init (process id), cuts."""
        return [
            {
                "name": each.name,
                "address": each.address(),
                "power": "on" if each.switched_on else "off",
                "init": each.init(),
                "cuts": each._cuts(),
            }
            for each in self.hosts
        ]

    @contextlib.contextmanager
    def _locked(self):
        """One up or down of this lab at a time; the lock is not in a folder that down removes."""
        with (cache.folder() / f"lab-{self.name}.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def in_parallel(work, items):
    """Call ``work`` for all items at once; the first exception is raised when all have ended."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=max(1, len(items))) as pool:
        return [future.result() for future in [pool.submit(work, item) for item in items]]


def only_root():
    if os.geteuid() != 0:
        raise PermissionError("The lab makes mounts and namespaces: run it as root.")


def make_room(wanted=4096):
    """Let all hosts' systemds watch files: the kernel's limit of inotify is one for the whole machine."""
    place = pathlib.Path("/proc/sys/fs/inotify/max_user_instances")
    if int(place.read_text()) < wanted:
        place.write_text(f"{wanted}\n")


def mounts_below(folder):
    """Mount points below a folder, innermost first."""
    with open("/proc/mounts", "rb") as handle:
        places = [line.split()[1].decode("unicode_escape") for line in handle]
    return sorted((place for place in places if place.startswith(f"{folder}/")), reverse=True)
