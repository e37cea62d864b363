"""orch.vm through salt-run, with a master, two minions, and a virsh that answers from a file of each node."""

import collections
import json
import pathlib

import pair_site
import pytest
import salt.payload

#: No lab has guests of these names: a node here sees the emulators of all labs beside it in /proc.
GUESTS = ["payroll", "invoices"]
#: No node here can reach the other over SSH, so what a run does is tested in the lab.
VIRSH = """#!{python} -IS
import json, sys
domains = json.load(open("{root}/virsh.json"))
words = [one for one in sys.argv[1:] if one != "--quiet"][2:]
if "error" in domains:
    sys.exit(domains["error"])
if words[0] == "domstats":
    for name, one in domains.items():
        print(f"Domain: '{{name}}'\\n  state.state={{one['state']}}\\n  state.reason={{one['reason']}}\\n")
elif words[0] == "list":
    pass
elif words[0] == "dumpxml":
    name = words[words.index("--security-info") + 2]
    if name not in domains:
        sys.exit(f"error: failed to get domain '{{name}}'")
    print(domains[name]["xml"])
elif words[0] == "define":
    pass
else:
    open("{root}/virsh.done", "a").write(" ".join(words) + "\\n")
"""
DEFINITION = (
    "<domain><name>shared-{0}</name><memory>{1}</memory><devices><disk type='file' device='disk'>"
    "<source file='/srv/vms/{0}.img'/><target dev='vda'/></disk></devices></domain>"
)
RUNNING, PAUSED, OFF = 1, 3, 5
STATUS = ("pair.status", "salt", "timeout=60")


@pytest.fixture
def guests(site):
    """The pair with two guests; both hosts are known to libvirt, and both guests are off."""
    site.begin(vms=GUESTS)
    site.ledgers((6, "salt1", True), (6, "salt1", True))
    for node in site.nodes:
        program = node.programs / "virsh"
        program.write_text(VIRSH.format(root=node.root, python=pair_site.sys.executable))
        program.chmod(0o755)
        say(node)
    yield site
    for node in site.nodes:
        (node.programs / "virsh").unlink()


def say(node, memory=1, error=None, **states):
    """What libvirt on a node answers from now on."""
    domains = {
        f"shared-{guest}": {
            "state": states.get(guest, (OFF, 0))[0],
            "reason": states.get(guest, (OFF, 0))[1],
            "xml": DEFINITION.format(guest, memory),
        }
        for guest in GUESTS
    }
    folder = node.root / "etc/libvirt/qemu"
    folder.mkdir(parents=True, exist_ok=True)
    for guest in GUESTS:
        (folder / f"shared-{guest}.xml").write_text(DEFINITION.format(guest, memory))
    (node.root / "virsh.json").write_text(json.dumps({"error": error} if error else domains))


def asked(site):
    """How often the master has published which function."""
    jobs = pathlib.Path(site.master.config["cachedir"], "jobs")
    loads = [salt.payload.loads(path.read_bytes()) for path in jobs.glob("*/*/.load.p")]
    # Neither a job of Salt's own (find_job) nor a runner's entry was asked of a node.
    return collections.Counter(one["fun"] for one in loads if one["fun"].startswith(("pair.", "shared_vm.")))


def vm(**pillar):
    return ("state.orch", "orch.vm", f"pillar={json.dumps(pillar)}")


def untouched(site):
    """No guest was touched and nobody owns the lock."""
    for node in site.nodes:
        assert not (node.root / "virsh.done").exists()
        assert not node.member.lock.path.exists()


#: The rest of the words: tests/functional/test_vm_run.py.
WRONG = [
    ({}, "No guest was named"),
    ({"vm": "nosuch", "host": "salt1"}, "There is no guest nosuch (guests: invoices, payroll; or all)"),
    ({"vm": "payroll", "host": "salt1", "fenced": "salt2", "reason": "x"}, "salt2 answers, so it is not off"),
    ({"vm": "payroll", "hots": "salt1"}, "orch.vm does not know hots"),
]


def test_bad_words_are_refused(guests):
    said = guests.run_together(*(vm(**pillar) for pillar, _ in WRONG))
    for (_, why), one in zip(WRONG, said):
        one.refused(why)
    untouched(guests)


@pytest.mark.parametrize(
    "primary, secondary, why",
    [
        ({"payroll": (RUNNING, 1)}, {"payroll": (RUNNING, 1)}, "payroll: RUNS ON BOTH HOSTS"),
        ({}, {"payroll": (PAUSED, 1)}, "paused by a person on salt2, and is not touched"),
        ({}, {"memory": 2}, "its definitions differ between salt1 and salt2"),
        ({}, {"error": "libvirt is gone"}, "salt2 does not say whether it runs there"),
        ({"error": "libvirt is gone"}, {}, "salt1 does not say whether it runs there"),
        ({}, {}, "/srv/vms on salt1 is missing"),
    ],
)
@pytest.mark.one_release(but="the first case")
def test_what_the_hosts_say_is_no_good(guests, primary, secondary, why):
    say(guests.primary, **primary)
    say(guests.secondary, **secondary)
    guests.run(*vm(vm="payroll", host="salt1")).refused("Refused, no guest was touched.", why)
    untouched(guests)


@pytest.mark.one_release
def test_all_refusals_are_said_at_once(guests):
    say(guests.secondary, memory=2)
    guests.run(*vm(vm="all", host="salt1")).refused(
        "payroll: its definitions differ", "invoices: its definitions differ"
    )


@pytest.mark.one_release
def test_nothing_to_do(guests):
    say(guests.primary, payroll=(RUNNING, 1))
    there, off = guests.run_together(vm(vm="payroll", host="salt1"), vm(vm="invoices", away_from="salt2"))
    there.good("Nothing to do. payroll: runs on salt1.")
    off.good("Nothing to do. invoices: runs nowhere, and stays off.")
    untouched(guests)


@pytest.mark.one_release
def test_a_split_of_the_pair_is_no_matter_of_its_guests(guests):
    """Its recovery reboots the loser, and is refused while guests run there."""
    guests.ledgers((7, "salt1", True), (7, "salt2", True))
    say(guests.primary, payroll=(RUNNING, 1))
    there, moved = guests.run_together(vm(vm="payroll", host="salt1"), vm(vm="payroll", host="salt2"))
    there.good("Nothing to do. payroll: runs on salt1.")
    moved.refused("Refused, no guest was touched.", "/srv/vms")
    assert "split-brain" not in moved.flat, moved
    untouched(guests)


@pytest.mark.one_release
def test_a_pair_that_is_held_is_left_alone(guests):
    for node in guests.nodes:
        node.set_lock("20261122T183000-recover-salt-4f2a", {"user": "anna", "master": "salt2_master"})
    guests.run(*vm(vm="payroll", host="salt1")).refused(
        "locked by run 20261122T183000-recover-salt-4f2a", "anna"
    )


@pytest.mark.one_release
def test_status_shows_where_they_run(guests):
    say(guests.primary, payroll=(RUNNING, 1))
    before = asked(guests)
    said = guests.run(*STATUS)
    assert "payroll: running on salt1" in said.flat and "invoices: runs nowhere" in said.flat, said
    assert asked(guests) - before == {"pair.report": 1}, "one question for the pair and its guests"
    say(guests.secondary, payroll=(RUNNING, 1))
    guests.run(*STATUS).refused("payroll RUNS ON BOTH HOSTS")
    say(guests.secondary, error="libvirt is gone")
    guests.run(*STATUS).refused("salt2 says nothing of its guests", "not known of salt2")


@pytest.mark.parametrize(
    "words, why",
    [
        ({"pair": "salt", "vms": "yes"}, "vms must be move, or be left out, not 'yes'"),
        ({"pair": "all", "vms": "move"}, "vms: move is for one pair at a time"),
    ],
)
@pytest.mark.one_release(but="the first case")
def test_words_about_guests_are_checked_before_a_recovery(guests, words, why):
    for orchestration in ("orch.recover", "orch.failover"):
        said = guests.run("state.orch", orchestration, f"pillar={json.dumps(words)}")
        said.refused("Refused, nothing was changed.", why)
    untouched(guests)
