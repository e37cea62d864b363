"""What is read from virsh and from the system, and the claim on a guest."""

import fcntl
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading

import pytest
import samples

from failback.errors import Refused
from failback.errors import Unavailable
from failback.guests import claims
from failback.guests import migration
from failback.guests import storage as shared_storage
from failback.guests import virsh
from failback.host import system
from failback.host.paths import Paths
from failback.pair import Member
from failback.peer import ssh

CONFIG = samples.pair("salt1", vms=["idm", "repo"])


@pytest.fixture
def member(tmp_path):
    return Member.of(CONFIG, Paths(tmp_path))


@pytest.mark.parametrize(
    "text, found",
    [
        ("", {}),
        (
            "Domain: 'shared-idm'\n  state.state=1\n  state.reason=5\n\nDomain: 'other'\n  state.state=5\n"
            "  state.reason=1\n\n",
            {"shared-idm": ("running", 5), "other": ("off", 1)},
        ),
        ("Domain: 'a'\n  state.state=2\n  state.reason=0\n", {"a": ("running", 0)}),
        ("Domain: 'a'\n  state.state=3\n  state.reason=2\n", {"a": ("paused", 2)}),
        ("Domain: 'a'\n  state.state=4\n  state.reason=0\n", {"a": ("in shutdown", 0)}),
        ("Domain: 'a'\n  state.state=6\n  state.reason=0\n", {"a": ("crashed", 0)}),
        ("Domain: 'a'\n  state.state=7\n  state.reason=0\n", {"a": ("suspended", 0)}),
        ("Domain: 'it's'\n  state.state=1\n", {"it's": ("running", 0)}),
    ],
)
def test_states_of_domains(text, found):
    assert virsh.parse_states(text) == found


@pytest.mark.parametrize(
    "words, found",
    [
        (["qemu", "-name", "guest=shared-idm,debug-threads=on", "-S"], {"shared-idm": [7]}),
        (["/odd/emulator", "-name", "guest=shared-idm"], {"shared-idm": [7]}),
        (["qemu", "-name", "guest=shared-idm-2,debug-threads=on"], {}),
        (["qemu", "-name", "guest=shared-repo"], {"shared-repo": [7]}),
        (["vi", "guest=shared-idm"], {}),
        ([], {}),
    ],
)
def test_processes_of_guests(tmp_path, words, found):
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in words))
    (tmp_path / "8").mkdir()  # it has just ended
    (tmp_path / "self").mkdir()
    assert virsh.emulators(["shared-idm", "shared-repo"], str(tmp_path)) == found


def test_a_claim_is_seen_and_ends(member):
    assert claims.claimed(member, "idm") is False
    with claims.claim(member, "idm"):
        assert claims.claimed(member, "idm") is True
        assert claims.claimed(member, "repo") is False
        again = claims.claim(member, "idm", limit=0.1)
        with pytest.raises(Refused, match="just being started, moved or stopped"), again:
            pytest.fail("two claims at once")
    assert claims.claimed(member, "idm") is False


def test_a_claim_waits_a_moment_for_whoever_only_looks(member, monkeypatch):
    place = member.volatile / "guest-idm.claim"
    place.parent.mkdir(parents=True)
    looks = os.open(place, os.O_RDWR | os.O_CREAT)
    fcntl.flock(looks, fcntl.LOCK_SH)
    waited = []

    def sleep(seconds):
        waited.append(seconds)
        os.close(looks)

    samples.in_place_of_time(monkeypatch, claims, sleep=sleep)
    with claims.claim(member, "idm"):
        assert claims.claimed(member, "idm") is True
    assert len(waited) == 1, "and does not ask all the time"


def test_a_claim_ends_with_its_process(member):
    program = (
        "import sys, os, signal\n"
        "from failback.guests import claims\n"
        "from failback.host.paths import Paths\n"
        "from failback.pair import Member\n"
        "with claims.claim(Member('salt', Paths(sys.argv[1])), 'idm'):\n"
        "    print('mine', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGSTOP)\n"
    )
    library = str(system.PACKAGE.parent)
    child = subprocess.Popen(
        [sys.executable, "-B", "-c", program, str(member.paths.root)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": library},
    )
    assert child.stdout.readline() == b"mine\n"
    assert claims.claimed(member, "idm") is True
    child.kill()
    child.wait()
    assert claims.claimed(member, "idm") is False


@pytest.fixture
def storage(member, monkeypatch):
    """A folder that counts as mounted, until a test takes it away."""
    mounted = {"yes": True}
    monkeypatch.setattr(shared_storage, "mounted", lambda folder, paths: mounted["yes"])
    (member.paths.root / "srv/vms").mkdir(parents=True)
    return mounted


def test_the_storage_is_marked_once(member, storage):
    assert len(shared_storage.missing_marks(member)) == 2
    assert len(shared_storage.mark_storage(member)) == 2
    mark, error = shared_storage.storage_mark(member)
    assert error is None and len(mark) == 16
    assert shared_storage.missing_marks(member) == shared_storage.mark_storage(member) == []
    assert shared_storage.storage_mark(member) == (mark, None)


def test_a_folder_on_the_node_s_own_disk_is_no_shared_storage(member):
    (member.paths.root / "srv/vms").mkdir(parents=True)
    for work in (shared_storage.mark_storage, shared_storage.missing_marks):
        with pytest.raises(Refused, match="/srv/vms is not mounted on salt1"):
            work(member)
    assert "is not mounted" in shared_storage.storage_mark(member)[1]
    assert list((member.paths.root / "srv/vms").iterdir()) == []


def test_storage_that_is_gone_is_no_storage(member, storage):
    shared_storage.mark_storage(member)
    storage["yes"] = False
    assert shared_storage.storage_mark(member)[0] is None


def test_storage_that_does_not_answer_is_no_storage(member, monkeypatch):
    """A look at a file server that is gone would never come back; here the process that looks does not."""
    (member.paths.root / "srv/vms").mkdir(parents=True)
    monkeypatch.setattr(shared_storage, "STORAGE_ANSWER", 0.2)
    programs = member.paths.root / "programs"
    programs.mkdir()
    (programs / "stat").write_text("#!/bin/sh\nexec sleep 60\n")
    (programs / "stat").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    mark, error = shared_storage.storage_mark(member)
    assert mark is None and "/srv/vms on salt1 cannot be read" in error
    assert "/srv/vms cannot be read" in shared_storage.storage_gone(member)
    with pytest.raises(Refused, match="cannot be read"):
        shared_storage.mark_storage(member)


@pytest.mark.parametrize(
    "make, why",
    [
        (lambda folder: None, "/srv/vms is missing on salt1"),
        (lambda folder: folder.mkdir(parents=True), "/srv/vms is not mounted on salt1"),
    ],
)
def test_why_the_storage_is_gone(member, make, why):
    make(member.paths.root / "srv/vms")
    assert why in shared_storage.storage_gone(member)


def test_storage_that_is_there_is_not_gone(member, storage):
    assert shared_storage.storage_gone(member) is None


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"mark"', "\xff"])
def test_a_damaged_mark_is_no_mark(member, storage, text):
    (member.paths.root / "srv/vms" / shared_storage.MARK).write_text(text)
    mark, error = shared_storage.storage_mark(member)
    assert mark is None and "/srv/vms on salt1" in error


def test_storage_without_a_mark_is_not_used(member, storage):
    """Another one may be mounted there."""
    mark, error = shared_storage.storage_mark(member)
    assert mark is None and "bears no mark (.failback-storage)" in error and "state.apply" in error


def set_up_locks(member, qemu_conf='lock_manager = "lockd"\n'):
    folder = member.paths.root / "etc/libvirt"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "qemu-lockd.conf").write_text(shared_storage.lock_config(CONFIG))
    (folder / "qemu.conf").write_text(qemu_conf)


def test_locks_that_are_set_up(member, storage):
    assert "is not set up" in shared_storage.locks_error(member)
    set_up_locks(member)
    assert ".failback-locks is missing" in shared_storage.locks_error(member)
    shared_storage.mark_storage(member)
    assert shared_storage.locks_error(member) is None


@pytest.mark.parametrize("text", ["", '#lock_manager = "lockd"\n', 'lock_manager = "sanlock"\n'])
def test_locks_that_libvirt_is_not_told_of(member, storage, text):
    shared_storage.mark_storage(member)
    set_up_locks(member, text)
    assert "virtlockd is not set up on salt1" in shared_storage.locks_error(member)


def test_locks_in_another_place_are_none(member, storage):
    shared_storage.mark_storage(member)
    set_up_locks(member)
    (member.paths.root / "etc/libvirt/qemu-lockd.conf").write_text('file_lockspace_dir = "/var/lib/here"\n')
    assert "virtlockd is not set up" in shared_storage.locks_error(member)


def program(folder, monkeypatch, text):
    """A ``virsh`` that comes before any other."""
    (folder / "virsh").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "virsh").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_libvirt_is_asked_as_the_whole_host_in_words_that_are_not_translated(tmp_path, monkeypatch):
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    program(tmp_path, monkeypatch, 'echo "$LC_ALL $*"')
    said = virsh.call("start", "--domain", "shared-idm").strip()
    assert said == "C --quiet --connect qemu:///system start --domain shared-idm"


@pytest.mark.parametrize(
    ("text", "why"), [("echo no such domain >&2; exit 1", "no such domain"), ("exec sleep 60", "0.2 s")]
)
def test_a_libvirt_that_fails_or_hangs_is_no_answer(tmp_path, monkeypatch, text, why):
    program(tmp_path, monkeypatch, text)
    with pytest.raises(Unavailable, match=why) as error:
        virsh.call("start", limit=0.2 if "sleep" in text else 10, what="start shared-idm")
    assert "start shared-idm" in str(error.value)


def test_which_guests_run_is_known_without_libvirt(member, monkeypatch):
    """Also while it hangs: a host is not rebooted under them."""
    monkeypatch.setattr(virsh, "call", lambda *words, **terms: pytest.fail("libvirt was asked"))
    asked = []
    monkeypatch.setattr(virsh, "emulators", lambda names: asked.append(sorted(names)) or {"shared-repo": [7]})
    assert virsh.running(CONFIG) == ["repo"]
    assert asked == [["shared-idm", "shared-repo"]]
    assert virsh.running({**CONFIG, "vms": []}) == []


# --- what is done ------------------------------------------------------------------------------


class Libvirt:
    """Answers for virsh: what it knows by name, and what it refuses."""

    def __init__(self, member, known, refuses=()):
        self.known = known
        self.refuses = refuses
        self.defined = []
        folder = member.paths.root / "etc/libvirt/qemu"
        folder.mkdir(parents=True)
        self.folder = folder

    def __call__(self, *words, limit=10, what="ask libvirt"):
        if words[0] == "dumpxml":
            if words[-1] not in self.known:
                raise Unavailable("no such domain")
            return self.known[words[-1]]
        assert words[0] == "define", words
        name = os.path.basename(words[2]).removesuffix(".xml")
        if name in self.refuses:
            raise Unavailable(f"libvirt refuses {name}")
        self.defined.append(name)
        return ""


def test_definitions_that_are_news_are_learned(member, monkeypatch):
    libvirt = Libvirt(member, {"shared-idm": "<domain>\n <a/>\n</domain>", "shared-repo": "<domain/>"})
    (libvirt.folder / "shared-idm.xml").write_text("<!-- by libvirt -->\n<domain><a/></domain>")
    (libvirt.folder / "shared-repo.xml").write_text("<domain><b/></domain>")
    monkeypatch.setattr(virsh, "call", libvirt)
    assert virsh.learn(member) == ["repo"]
    assert libvirt.defined == ["shared-repo"]


def test_one_that_is_refused_keeps_no_other_from_being_learned(member, monkeypatch):
    libvirt = Libvirt(member, {}, refuses=("shared-idm",))
    for name in ("shared-idm", "shared-repo"):
        (libvirt.folder / f"{name}.xml").write_text("<domain/>")
    monkeypatch.setattr(virsh, "call", libvirt)
    with pytest.raises(Unavailable, match="libvirt refuses shared-idm"):
        virsh.learn(member)
    assert libvirt.defined == ["shared-repo"]


@pytest.mark.parametrize("content", ["no XML", "<domain/>\xff", None])
def test_a_damaged_definition_is_given_to_libvirt_which_says_what_is_wrong(member, monkeypatch, content):
    """And nothing that it did not understand counts as what it knows."""
    libvirt = Libvirt(member, {"shared-idm": "<domain/>"}, refuses=("shared-idm",))
    place = libvirt.folder / "shared-idm.xml"
    if content is None:
        place.mkdir()
    else:
        place.write_bytes(content.encode("latin-1"))
    monkeypatch.setattr(virsh, "call", libvirt)
    with pytest.raises(Unavailable, match="libvirt refuses shared-idm"):
        virsh.learn(member)


def test_what_is_not_on_the_disk_is_not_learned(member, monkeypatch):
    libvirt = Libvirt(member, {"shared-idm": "<domain/>"})
    monkeypatch.setattr(virsh, "call", libvirt)
    assert virsh.learn(member) == [] and libvirt.defined == []


def test_tunnel(member, monkeypatch):
    """Both ways, until the migration ends. (A longer name makes too long a path for a socket.)"""
    echo = "import os\nwhile (data := os.read(0, 100)):\n    os.write(1, data.upper())\n"
    before = threading.enumerate()

    def command(member, *options):
        return [sys.executable, "-c", echo]

    monkeypatch.setattr(ssh, "command", command)
    with (
        migration._tunnel(member, samples.RUN) as place,
        socket.socket(socket.AF_UNIX) as one,
    ):
        one.connect(str(place))
        one.sendall(b"libvirt")
        assert one.recv(100) == b"LIBVIRT"
        left = one.dup()
    assert not place.exists()
    # Nothing of a migration may go on behind its back.
    left.settimeout(10)
    assert left.recv(100) == b""
    left.close()
    assert set(threading.enumerate()) <= set(before)


@pytest.fixture
def short(monkeypatch):
    """A member in a folder with a short name: a longer one makes too long a path for a socket."""
    with tempfile.TemporaryDirectory(prefix="vm-") as root:
        yield Member.of(CONFIG, Paths(root))


@pytest.mark.parametrize("fails", [False, True], ids=["it goes well", "it fails"])
def test_a_guest_is_migrated_through_the_pair_s_own_connection(short, monkeypatch, fails):
    done = []

    def call(*words, limit=10, what="ask libvirt"):
        done.append((words, limit, what))
        (place,) = short.volatile.glob("*.sock")
        assert place.is_socket()
        if words[0] == "migrate" and fails:
            raise Unavailable("no route")
        if words[0] == "domjobabort":
            raise Unavailable("no job is active")

    monkeypatch.setattr(virsh, "call", call)
    if fails:
        # The reason is that of the migration, whatever the abort said.
        with pytest.raises(Unavailable, match="no route"):
            migration.migrate(short, "shared-idm", samples.RUN, 600)
        assert done[1][0] == ("domjobabort", "--domain", "shared-idm"), "else it would go on behind our back"
    else:
        migration.migrate(short, "shared-idm", samples.RUN, 600)
    words, limit, what = done[0]
    assert len(done) == 1 + fails and limit == 600 and what == "migrate shared-idm to salt2"
    place = short.volatile / f"libvirt-{samples.RUN[-4:]}.sock"
    assert set(words) >= {"migrate", "--live", "--p2p", "--tunnelled", "--unsafe"}
    assert words[words.index("--domain") + 1] == "shared-idm"
    assert words[words.index("--desturi") + 1] == f"qemu+unix:///system?socket={place}"
    assert not place.exists()


def test_what_an_earlier_run_has_left_is_in_no_migration_s_way(short, monkeypatch):
    place = short.volatile / f"libvirt-{samples.RUN[-4:]}.sock"
    place.parent.mkdir(parents=True)
    place.write_text("left behind")
    monkeypatch.setattr(virsh, "call", lambda *words, **terms: "")
    migration.migrate(short, "shared-idm", samples.RUN, 600)
    assert not place.exists()


def test_the_tunnel_asks_the_other_host_in_the_name_of_the_run(short, monkeypatch):
    """Which serves libvirt to the run alone that owns its lock."""
    begun = []
    monkeypatch.setattr(ssh, "command", lambda member, *options: [sys.executable, "-c", "", *options])
    real = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *words, **more: begun.append(real(*words, **more)) or begun[-1]
    )
    with migration._tunnel(short, samples.RUN) as place, socket.socket(socket.AF_UNIX) as one:
        one.settimeout(10)
        one.connect(str(place))
        assert one.recv(1) == b""
    (child,) = begun
    assert child.args[-4:] == ["-T", "--", "libvirt", samples.RUN]
    assert child.returncode is not None, "it has ended, and nothing of it is left"


def test_a_guest_that_is_off_is_asked_nothing(monkeypatch):
    monkeypatch.setattr(virsh, "state", lambda name: ("off", 1))
    monkeypatch.setattr(virsh, "call", lambda *words, **terms: pytest.fail("it was asked"))
    virsh.shut_down("shared-idm", 10)


def test_one_that_was_starting_is_asked_again(monkeypatch):
    """It misses the first time; and nobody asks it each moment."""
    asked, now = [], [100.0]
    samples.in_place_of_time(
        monkeypatch,
        virsh,
        monotonic=lambda: now[0],
        sleep=lambda seconds: now.__setitem__(0, now[0] + seconds),
    )
    monkeypatch.setattr(virsh, "state", lambda name: ("off" if now[0] >= 125 else "running", 1))
    monkeypatch.setattr(virsh, "call", lambda *words, **terms: asked.append((words[0], round(now[0]))))
    virsh.shut_down("shared-idm", 300)
    assert asked == [("shutdown", 100), ("shutdown", 110), ("shutdown", 120)]
    # As long as the pillar says, and no longer.
    now[0] = 100.0
    with pytest.raises(Unavailable, match="is running after 24 s"):
        virsh.shut_down("shared-idm", 24)
    assert 124 <= now[0] < 124.3


def test_a_guest_that_does_not_shut_down_is_left_alone(monkeypatch):
    asked = []
    monkeypatch.setattr(virsh, "state", lambda name: ("running", 1))
    monkeypatch.setattr(virsh, "call", lambda *words, **terms: asked.append(words))
    with pytest.raises(Unavailable, match="is running after 0.3 s. It was left alone"):
        virsh.shut_down("shared-idm", 0.3)
    assert asked == [("shutdown", "--domain", "shared-idm")]


GUESTS = {"idm": {}, "repo": {}}


def test_an_answer_of_the_other_host_is_about_it_and_all_guests(member, monkeypatch):
    """The last line of it: a login shell may say something before."""
    asked = []

    def ask(member, *words, timeout):
        asked.append((words, timeout))
        return 'hello\n{"node": "salt2", "guests": {"idm": {}, "repo": {}}}\n'

    monkeypatch.setattr(ssh, "ask", ask)
    assert migration.ask_peer(member) == {"node": "salt2", "guests": GUESTS}
    assert asked == [(("guests",), 30)]


@pytest.mark.parametrize(
    "found",
    [
        {"node": "salt1", "guests": GUESTS},
        {"node": "salt2", "guests": {"idm": {}}},
        {"node": "salt2", "guests": {**GUESTS, "web": {}}},
        {"node": "salt2", "guests": None},
        {"node": "salt2", "guests": 5},
    ],
)
def test_an_answer_about_another_host_or_other_guests_is_none(member, monkeypatch, found):
    monkeypatch.setattr(ssh, "ask", lambda *words, **terms: json.dumps(found))
    with pytest.raises(Unavailable, match="salt2 gave no answer about the guests"):
        migration.ask_peer(member)


def test_what_a_login_shell_says_instead_of_an_answer_is_quoted(member, monkeypatch):
    monkeypatch.setattr(ssh, "ask", lambda *words, **terms: "Welcome!")
    with pytest.raises(Unavailable, match="sent no answer that can be read, but 'Welcome!'"):
        migration.ask_peer(member)


@pytest.mark.parametrize(
    "text", ["", "{}", "null", "[]", '{"node": "salt2"}', '{"node": "salt1", "guests": {}}']
)
def test_what_is_no_answer_of_the_other_host(member, monkeypatch, text):
    monkeypatch.setattr(ssh, "ask", lambda *words, **terms: text)
    with pytest.raises(Unavailable, match="salt2 gave no answer about the guests"):
        migration.ask_peer(member)
