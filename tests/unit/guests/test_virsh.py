"""What is read from virsh and from the system, and the claim on a guest."""

import os
import socket
import subprocess
import sys

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


def test_what_is_not_on_the_disk_is_not_learned(member, monkeypatch):
    libvirt = Libvirt(member, {"shared-idm": "<domain/>"})
    monkeypatch.setattr(virsh, "call", libvirt)
    assert virsh.learn(member) == [] and libvirt.defined == []


def test_tunnel(member, monkeypatch):
    """Both ways, until the migration ends. (A longer name makes too long a path for a socket.)"""
    echo = "import os\nwhile (data := os.read(0, 100)):\n    os.write(1, data.upper())\n"
    begun = []

    def command(member, *options):
        begun.append(options)
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


def test_a_guest_that_does_not_shut_down_is_left_alone(monkeypatch):
    asked = []
    monkeypatch.setattr(virsh, "state", lambda name: ("running", 1))
    monkeypatch.setattr(virsh, "call", lambda *words, **terms: asked.append(words))
    with pytest.raises(Unavailable, match="is running after 0.3 s. It was left alone"):
        virsh.shut_down("shared-idm", 0.3)
    assert asked == [("shutdown", "--domain", "shared-idm")]


@pytest.mark.parametrize(
    "text", ["", "{}", "null", "[]", '{"node": "salt2"}', '{"node": "salt1", "guests": {}}']
)
def test_what_is_no_answer_of_the_other_host(member, monkeypatch, text):
    monkeypatch.setattr(ssh, "ask", lambda *words, **terms: text)
    with pytest.raises(Unavailable, match="salt2 gave no answer about the guests"):
        migration.ask_peer(member)
