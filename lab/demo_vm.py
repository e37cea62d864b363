"""
The story of a virtual machine: it runs on one of two hosts, whatever happens to them.

The hosts share a folder that stands for shared storage; the guests are small, and write to their disks all
the time. Whether a guest runs is looked up in the machine's own kernel, outside all hosts.
"""

from lab import cgroups
from lab.host import until
from lab.roles import hypervisor
from lab.story import told

GUEST = "idm"
WORD = "fenced: mgmt2, reason: its power is cut"


def main(lab):
    """Tell the story in a fresh lab, which is left up. Returns an exit status."""
    return told(lab, "vm", _tell)


def _tell(story):
    _boot(story)
    _start(story)
    _by_hand(story)
    _migrate(story)
    _crash(story)
    _return(story)


def _boot(story):
    story.chapter("Two hosts of virtual machines boot, and two masters")
    story.boot()
    story.hosts = (story.mgmt1, story.mgmt2)

    story.chapter("The pair is set up and started: libvirt, virtlockd, the definitions carried over")
    story.set_up("mgmt", show=False)
    until(lambda: len(_known(story.mgmt2)) == len(hypervisor.GUESTS), 60, "mgmt2 to know the definitions")
    story.proof("libvirt on mgmt2 knows the definitions that lsyncd brought", True)
    story.proof("no guest runs: nothing starts one by itself", _where(story) == {})


def _start(story):
    story.chapter("A guest is started")
    _vm(story, "{vm: idm, host: mgmt1}")
    story.proof("it runs on mgmt1, and nowhere else", _where(story) == {GUEST: ["mgmt1"]})
    _beats(story)
    story.proof("it writes to its disk", True)


def _by_hand(story):
    story.chapter("An operator, half awake, starts it on the second host as well")
    story.command(story.mgmt2, ["virsh", "start", "shared-idm"], expect=1)
    story.proof("libvirt has refused it; the guest runs on mgmt1 alone", _where(story) == {GUEST: ["mgmt1"]})
    story.say(
        "The same with a guest whose emulator takes no lock of its own: virtlockd alone stands between."
    )
    for host in story.hosts:
        host.write("/root/hand.xml", hypervisor.definition("syslog", hypervisor.UNLOCKED), 0o600)
        host.run(["virsh", "--quiet", "define", "/root/hand.xml"])
    story.command(story.mgmt1, ["virsh", "start", "shared-syslog"])
    story.command(story.mgmt2, ["virsh", "start", "shared-syslog"], expect=1)
    story.proof("it runs on mgmt1 alone", _where(story).get("syslog") == ["mgmt1"])
    story.say("And past the master, on the host itself:")
    story.command(story.salt1, ["salt", "mgmt2", "shared_vm.start", "mgmt", "idm"], expect=1)
    story.proof("refused: mgmt1 was asked, and runs it", _where(story)[GUEST] == ["mgmt1"])


def _migrate(story):
    story.chapter("It moves to the other host while it runs")
    before = _beats(story)
    _vm(story, "{vm: idm, host: mgmt2}")
    story.proof("it runs on mgmt2, and nowhere else", _where(story)[GUEST] == ["mgmt2"])
    after = _beats(story)
    story.proof(f"it has not booted again, and has gone on from beat {before[0]}", after[1] == before[1])


def _crash(story):
    story.chapter("mgmt2 loses power, and the guest with it")
    story.mgmt2.power_off()
    story.proof("it runs nowhere", GUEST not in _where(story))
    story.say("mgmt2 is silent. Nobody but a person can know that it is off and not just cut off:")
    _vm(story, "{vm: idm, host: mgmt1}", expect=1)
    story.proof("without that word it is not started", GUEST not in _where(story))
    _vm(story, f"{{vm: idm, host: mgmt1, {WORD}}}")
    story.proof("with it, it runs on mgmt1", _where(story)[GUEST] == ["mgmt1"])
    _beats(story)


def _return(story):
    story.chapter("mgmt2 has power again")
    story.mgmt2.power_on()
    place = "/var/lib/failback/mgmt/fenced.json"
    until(lambda: story.mgmt1.run(["test", "-e", place], check=False).returncode, 60, "the word to be void")
    story.proof("the word that mgmt2 is off is void: it answers", True)
    story.proof("its boot has started no guest", _where(story)[GUEST] == ["mgmt1"])

    def answers():
        done = story.salt1.run(["salt", "mgmt2", "test.ping", "--timeout=2"], check=False)
        return done.returncode == 0

    until(answers, 120, "mgmt2's minion to answer", pause=0.5)
    story.command(story.salt1, ["salt-run", "pair.status", "mgmt"], expect=None)
    story.proof("both hosts agree", _where(story)[GUEST] == ["mgmt1"])


# --- looking -----------------------------------------------------------------------------------


def _vm(story, pillar, expect=0):
    return story.orchestrate(story.salt1, "vm", pillar, expect=expect)


def _known(host):
    names = host.run(["virsh", "--quiet", "list", "--all", "--name"], check=False).stdout.split()
    return [name for name in names if name.startswith("shared-")]


def _where(story):
    """The emulators of all hosts by the machine's kernel: ``{guest: [host, …]}``."""
    found = {}
    for host in story.hosts:
        for guest in hypervisor.emulators(cgroups.members(host.group)).values():
            found.setdefault(guest.removeprefix("shared-"), []).append(host.name)
    return found


def _beats(story):
    """Wait until the guest has written another beat; returns beats and boots."""
    place = story.mgmt1.shared_folders()[hypervisor.STORAGE] / f"{GUEST}.img"
    before = hypervisor.beats(place)
    until(lambda: hypervisor.beats(place)[0] > before[0], 30, f"{GUEST} to write to its disk", pause=0.1)
    return hypervisor.beats(place)
