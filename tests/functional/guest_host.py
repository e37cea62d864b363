"""
A host of virtual machines for tests: its libvirt and its peer answer from what a test has said.

``guests.virsh.call`` is the only way to libvirt, and ``guests.migration.ask_peer`` the only one to the other
host; both are replaced. All that is decided and locked in between is the real thing.
"""

import json

from failback.errors import Unavailable
from failback.guests import claims
from failback.guests import migration
from failback.guests import storage
from failback.guests import virsh
from failback.host import system
from failback.host.paths import Paths
from failback.pair import Member

RUN = "20261122T183000-vm-mgmt-4f2a"
OTHER_RUN = "20261122T184500-vm-mgmt-77aa"
GUESTS = ("idm", "repo")
PILLAR = {"primary": "salt1", "secondary": "salt2", "vms": list(GUESTS)}

DEFINITION = (
    "<domain type='kvm'><name>shared-{0}</name><devices><disk type='file' device='disk'>"
    "<source file='/srv/vms/{0}.img'/><target dev='vda'/></disk></devices></domain>"
)
#: libvirt's numbers of states.
RUNNING, PAUSED, OFF = 1, 3, 5


class Host:
    """salt1 of the pair ``mgmt``, with the shared storage mounted and virtlockd set up."""

    def __init__(self, root, monkeypatch=None, node="salt1"):
        """Without ``monkeypatch`` somebody else has this host answer; see ``two_guest_hosts``."""
        self.node = node
        self.paths = Paths(root)
        self.member = Member.of(self.config(), self.paths)
        self.domains = {guest: [OFF, 0] for guest in GUESTS}
        self.autostart = set()
        self.saved = set()
        self.done = []
        #: What the other host says; an exception is raised.
        self.peer = None
        #: What libvirt says to a start, instead of starting.
        self.start_error = None
        self.folder = self.paths.root / "etc/libvirt/qemu"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write("etc/failback/pairs/mgmt.json", json.dumps(self.config()))
        self._write("etc/libvirt/qemu-lockd.conf", storage.lock_config(self.config()))
        self._write("etc/libvirt/qemu.conf", 'lock_manager = "lockd"\n')
        for guest in GUESTS:
            (self.folder / f"shared-{guest}.xml").write_text(DEFINITION.format(guest))
        if monkeypatch is None:
            return
        monkeypatch.setattr(virsh, "call", self.call)
        monkeypatch.setattr(migration, "ask_peer", self._ask_peer)
        monkeypatch.setattr(virsh, "emulators", self.emulators)
        monkeypatch.setattr(storage, "mounted", lambda folder, paths: True)
        monkeypatch.setattr(system, "log", lambda *said: None)
        (self.paths.root / "srv/vms").mkdir(parents=True, exist_ok=True)
        storage.mark_storage(self.member)
        self.peer = self.peer_with()

    def config(self):
        from failback.pillar import normalise

        return {**normalise.normalise("mgmt", PILLAR), "node": self.node, "version": 1}

    def hold(self, run=RUN):
        """A run owns the lock here."""
        self.member.lock.acquire(run, "vm", {"user": "anna", "master": "m"}, 60)

    def peer_with(self, **states):
        """What salt2 says, with its guests in other states: ``idm=("running", 1)``."""
        found = json.loads(json.dumps(virsh.facts(self.member)))
        found["node"] = "salt2"
        for guest, one in found["guests"].items():
            state, reason = states.get(guest, ("off", 0))
            one.update(state=state, reason=reason, claimed=False, processes=[])
            if state != "off":
                one["processes"] = [99]
        return found

    def running(self):
        return sorted(guest for guest, (state, _) in self.domains.items() if state == RUNNING)

    def _write(self, place, text):
        path = self.paths.root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def _ask_peer(self, member):
        claimed = [guest for guest in GUESTS if claims.claimed(member, guest)]
        assert claimed or self.only_looks
        if isinstance(self.peer, Exception):
            raise self.peer
        return self.peer

    only_looks = False

    def emulators(self, names, proc="/proc"):
        return {f"shared-{guest}": [7] for guest, (state, _) in self.domains.items() if state != OFF}

    def call(self, *words, limit=10, what="ask libvirt"):
        verb = words[0]
        name = words[words.index("--domain") + 1] if "--domain" in words else None
        guest = name.removeprefix("shared-") if name else None
        if verb == "domstats":
            chosen = [guest] if guest else list(self.domains)
            return "".join(
                f"Domain: 'shared-{one}'\n  state.state={self.domains[one][0]}\n"
                f"  state.reason={self.domains[one][1]}\n\n"
                for one in chosen
            )
        if verb == "list":
            listed = self.saved if "--with-managed-save" in words else self.autostart
            return "".join(f"shared-{one}\n" for one in listed)
        if verb == "dumpxml":
            return DEFINITION.format(guest)
        self.done.append((verb, guest))
        if verb == "start":
            if self.start_error:
                raise Unavailable(self.start_error)
            self.domains[guest] = [RUNNING, 1]
        elif verb == "resume":
            self.domains[guest] = [RUNNING, 5]
        elif verb == "shutdown":
            self.domains[guest] = [OFF, 1]
        elif verb == "autostart":
            self.autostart.discard(guest)
        else:
            raise AssertionError(f"Nobody should call virsh {' '.join(words)}")
        return ""
