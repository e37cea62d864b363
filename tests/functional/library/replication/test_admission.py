"""The other node's rsync writes to the folders that were looked at, whatever is mounted meanwhile."""

import contextlib
import subprocess
import sys

import attacker
import pytest
import samples
import trees

import effort
from failback.host import files
from failback.host.paths import Paths
from failback.pair import Member
from failback.recovery import rsync
from failback.recovery import verify
from failback.replication import admitted
from failback.replication import incoming
from failback.replication import replicated
from failback.state import ledger

pytestmark = pytest.mark.needs("root", "rsync", "mounts")

#: What sshd starts. ``meanwhile`` happens right after this node has looked at where its paths lie.
FAR_END = """#!{python}
import subprocess, sys
sys.path[:0] = {path!r}
from failback.host.paths import Paths
from failback.pair import Member
from failback.replication import admission, incoming, sources
def misplaced(member, look=sources.misplaced):
    found = look(member)
    if {meanwhile!r}:
        subprocess.run({meanwhile!r}, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return found
sources.misplaced = misplaced
member = Member("salt", Paths({root!r}))
incoming.announce(member)
sys.exit(admission.serve(member))
"""


@pytest.fixture
def node(tmp_path):
    with standby(tmp_path) as found:
        yield found


@contextlib.contextmanager
def standby(place):
    """A standby whose path has a file system of its own, and another one below that."""
    root = place / "node"
    member = Member("salt", Paths(root))
    config = samples.pair("salt2", replicate=[{"path": "/srv/data", "then": None}])
    files.write_json(member.paths.pair_config("salt"), config)
    here = root / "srv/data"
    trees.make(place, {"node/srv/data/beneath": "", "source/kept": "1", "source/disk/new": "2"})
    for folder in (here, here / "disk"):
        folder.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True)
    (here / "deleted").write_text("3")
    yield here
    subprocess.run(["umount", "--recursive", "--lazy", here], check=False, stderr=subprocess.DEVNULL)


def carried(node, meanwhile=None, program=FAR_END):
    """rsync from the primary, as lsyncd starts it; returns how it ended."""
    base, root = node.parents[2], node.parents[1]
    shell = base / "shell"
    terms = {"python": sys.executable, "path": sys.path, "root": str(root), "meanwhile": meanwhile}
    shell.write_text(program.format(**terms))
    shell.chmod(0o755)
    module = replicated.module_name(replicated.item("/srv/data", is_directory=True))
    command = ["rsync", *replicated.OPTIONS, "-e", str(shell), f"{base}/source/", f"peer::{module}/"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


#: A user's files on both nodes; ``d`` is what he puts a link in place of.
HIS = {"d/deep/file": "old", "d/deep/gone": "old", "d/deep/mode": "same", "safe/file": "old"}


@pytest.mark.parametrize("way", ["swap", "fifo", "hard_link", "everything"])
def test_what_lsyncd_carries_against_a_user_who_changes_names_all_the_while(way):
    """The daemon's own root is the path, so no link in it leads out of it."""
    with attacker.workplace() as place, standby(place) as here:
        victim = attacker.victim(place / "victim")
        trees.make(here, HIS)
        for folder in (place / "node", place / "node/srv"):
            folder.chmod(0o711)
        attacker.give(here)
        here.chmod(0o755)
        before, ends = attacker.state(victim), set()
        with attacker.Attacker(here, way, victim) as swept:
            for number in range(effort.rounds(5, 1000)):
                changed = {"d/deep/file": f"{number}", "d/deep/new": f"{number}", "safe/file": f"{number}"}
                trees.make(place / "source", changed)
                ends.add(carried(here).returncode)
                assert attacker.state(victim) == before
                assert (here / "safe/file").read_text() == f"{number}"
        assert swept.rounds
        # In step it may not be, and then it says so: rsync's partial transfer, or its time-out at a pipe.
        assert ends <= {0, admitted.PARTIAL, 24, 30}, ends


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_what_is_carried_is_there(node):
    done = carried(node)
    assert done.returncode == 0, done.stderr
    assert names(node) == ["disk", "disk/new", "kept"]


def test_what_is_unmounted_after_the_look_is_written_all_the_same_and_carried_again(node):
    """Seen in the fault campaign: a deletion succeeded in the folder below, and lsyncd took it for done."""
    behind = node.parents[2] / "behind"
    behind.mkdir()
    subprocess.run(["mount", "--bind", node, behind], check=True)
    try:
        done = carried(node, ["umount", "--recursive", "--lazy", str(node)])
        assert done.returncode == admitted.PARTIAL and "Something was mounted or unmounted" in done.stderr
        assert names(node) == ["beneath"]
        assert not (behind / "deleted").exists() and (behind / "kept").exists()
    finally:
        subprocess.run(["umount", behind], check=True)


def test_a_disk_below_that_is_unmounted_makes_the_pass_fail(node):
    assert carried(node, ["umount", "--lazy", str(node / "disk")]).returncode == admitted.PARTIAL


def test_what_is_mounted_elsewhere_meanwhile_is_nothing_to_it(node):
    other = node.parents[2] / "other"
    other.mkdir()
    assert carried(node, ["mount", "-t", "tmpfs", "none", str(other)]).returncode == 0
    subprocess.run(["umount", other], check=True)


def test_a_file_system_in_use_cannot_be_unmounted(node):
    assert carried(node, ["/bin/sh", "-c", f"! umount {node / 'disk'} 2>/dev/null"]).stderr == ""


def test_a_path_that_is_not_there_is_named(node):
    subprocess.run(["umount", "--recursive", node], check=True)
    (node / "beneath").unlink()
    node.rmdir()
    done = carried(node)
    assert done.returncode == 5 and "/srv/data is missing on salt2" in done.stderr


#: The way that the program goes first: see salt/pair/files/failback.
SHORT_WAY = """#!{python}
import subprocess, sys
sys.path[:0] = {path!r}
from failback.replication import admitted
loaded = sorted(name for name in sys.modules if name.startswith("failback."))
assert loaded == ["failback.replication", "failback.replication.admitted"], loaded
if {meanwhile!r}:
    def run(*arguments, run=admitted.run):
        subprocess.run({meanwhile!r}, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return run(*arguments)
    admitted.run = run
status = admitted.again("salt", {root!r})
sys.exit(99 if status is None else status)
"""

LONG_WAY = """#!{python}
import sys
sys.path[:0] = {path!r}
from failback.host.paths import Paths
from failback.pair import Member
from failback import peer_requests
sys.exit(peer_requests.main(Member("salt", Paths({root!r})), "rsync --server --daemon ."))
"""


def changed_ledger(member):
    member.ledger.write(ledger.Entry(4, "salt2", None, "a takeover"))


def changed_configuration(member):
    path = member.paths.pair_config("salt")
    path.write_text(path.read_text() + "\n")


def changed_mounts(member):
    subprocess.run(["umount", "--lazy", member.paths.root / "srv/data/disk"], check=True)


def changed_folder(member):
    subprocess.run(["umount", "--recursive", "--lazy", member.paths.root / "srv/data"], check=True)


def recorded_places(member):
    path = member.state / "sources.json"
    path.write_text(path.read_text() + "\n" if path.exists() else "{}")


def nothing_kept(member):
    (member.volatile / "rsyncd-write.admitted").write_bytes(b"torn")


@pytest.fixture
def admitted_before(node):
    member = Member("salt", Paths(node.parents[1]))
    member.ledger.write(ledger.Entry(3, "salt1", None, "a test"))
    done = carried(node, program=LONG_WAY)
    assert done.returncode == 0, done.stderr
    return member


def by_the_short_way(node, meanwhile=None):
    """As ``carried``. What others mount meanwhile closes it, before anything is done."""
    for _ in range(10):
        done = carried(node, meanwhile, SHORT_WAY)
        if "did not see server greeting" not in done.stderr:
            return done
        assert carried(node, program=LONG_WAY).returncode == 0
    raise AssertionError(done.stderr)


def test_the_next_one_goes_the_short_way(node, admitted_before):
    (node.parents[2] / "source/later").write_text("4")
    done = by_the_short_way(node)
    assert done.returncode == 0, done.stderr
    assert names(node) == ["disk", "disk/new", "kept", "later"]
    # Nothing is left of it that would be taken for one that writes.
    assert incoming.writing(admitted_before) is False
    assert not list(admitted_before.volatile.glob("rsyncd-[0-9]*"))


@pytest.mark.parametrize(
    "change",
    [
        changed_ledger,
        changed_configuration,
        changed_mounts,
        changed_folder,
        recorded_places,
        nothing_kept,
    ],
)
def test_whatever_has_changed_the_long_way_is_gone(node, admitted_before, change):
    change(admitted_before)
    before = names(node)
    (node.parents[2] / "source/later").write_text("4")
    done = carried(node, program=SHORT_WAY)
    # It ends before it reads anything: rsync misses its greeting, or cannot even say its own.
    assert done.returncode in (5, 12), done
    assert "did not see server greeting" in done.stderr or "Broken pipe" in done.stderr
    assert names(node) == before


@pytest.mark.parametrize(("folder", "status"), [("", 23), ("disk", 23), (None, 0)])
def test_what_is_unmounted_meanwhile_makes_the_short_way_fail_too(node, admitted_before, folder, status):
    other = node.parents[2] / "other"
    other.mkdir()
    command = ["mount", "-t", "tmpfs", "none", str(other)]
    if folder is not None:
        command = ["umount", "--recursive", "--lazy", str(node / folder)]
    done = by_the_short_way(node, command)
    subprocess.run(["umount", other], check=False, stderr=subprocess.DEVNULL)
    assert done.returncode == status, done.stderr


#: What sshd starts, with what rsync asks for in place of SSH_ORIGINAL_COMMAND.
ASKED_FOR = FAR_END.partition("incoming.announce")[0].replace("import admission,", "import") + (
    "from failback import peer_requests\nsys.exit(peer_requests.main(member, ' '.join(sys.argv[2:])))\n"
)


def test_a_comparison_is_served_at_the_lowest_priority_and_changes_nothing(node):
    member = Member("salt", Paths(node.parents[1]))
    member.ledger.write(ledger.Entry(3, "salt1", "run-1", "test"))
    base, before = node.parents[2], names(node)
    meanwhile = ["/bin/sh", "-c", f"nice > {base}/priority; ionice -p $$ >> {base}/priority"]
    shell = base / "shell"
    terms = {"python": sys.executable, "path": sys.path, "root": str(node.parents[1]), "meanwhile": meanwhile}
    shell.write_text(ASKED_FOR.format(**terms))
    shell.chmod(0o755)
    item = replicated.item("/srv/data", is_directory=True)
    peer = rsync.Peer("peer", str(shell), root=str(base / "node"))
    command = verify.push_command(peer, item, False, True)
    command[-2] = f"{base}/source/"
    with rsync.Pass(command) as running:
        found = {entry.name: entry.action for entry in running}
    assert running.outcome.code == 0, running.outcome.words
    assert found[b"kept"] == "created" and found[b"deleted"] == "deleted" and running.outcome.source_files
    assert names(node) == before
    assert (base / "priority").read_text().split() == ["19", "idle"]
    # It ends with a takeover, as every rsync that may write does.
    assert incoming.mark(member) is not None
