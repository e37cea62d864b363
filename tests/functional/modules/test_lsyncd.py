"""The module with a real lsyncd: what arrives on the standby, and what status and drain say."""

import contextlib
import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import types

import churn
import lsyncd_host
import pytest
from lsyncd_host import content
from lsyncd_host import eventually
from salt.exceptions import CommandExecutionError

import effort
from failback.replication import in_step
from failback.replication import lsyncd_status

pytestmark = pytest.mark.needs("root", "lsyncd")


@pytest.fixture(scope="module")
def minion_opts(minion_opts, tmp_path_factory):
    return lsyncd_host.options(minion_opts, tmp_path_factory)


@pytest.fixture
def host(minion_opts, modules, monkeypatch):
    with lsyncd_host.as_services(minion_opts["failback_root"], modules, monkeypatch) as host:
        yield host


@pytest.fixture
def lsyncd(host, modules):
    return modules.lsyncd


@pytest.fixture
def started(host, lsyncd):
    lsyncd.start("salt")
    lsyncd.drain("salt", 30)
    return lsyncd


def test_first_pass_and_every_kind_of_change_arrive(host, lsyncd):
    (host.source / "top.sls").write_text("base: {}\n")
    (host.target / "stale.sls").write_text("of an earlier time\n")
    assert lsyncd.start("salt") is True
    lsyncd.drain("salt", 30)
    assert content(host.target) == content(host.source) == {b"top.sls": b"base: {}\n"}

    # rsync ties only the names that it is sent together.
    with host.stopped():
        (host.source / "a").mkdir()
        (host.source / "a/new").write_text("1")
        (host.source / "top.sls").write_text("base: {x}\n")
        (host.source / "gone").write_text("soon")
        os.symlink("nowhere", host.source / "link")
        os.link(host.source / "a/new", host.source / "hard")
    lsyncd.drain("salt", 30)
    assert content(host.target) == content(host.source)
    assert (host.target / "hard").stat().st_ino == (host.target / "a/new").stat().st_ino

    (host.source / "gone").unlink()
    (host.source / "top.sls").rename(host.source / "a/moved.sls")
    (host.source / "a").rename(host.source / "b")
    os.chmod(host.source / "b", 0o700)
    os.chown(host.source / "b/new", 12345, 54321)
    result = lsyncd.drain("salt", 30)
    assert result["seconds"] < 30
    assert content(host.target) == content(host.source)
    assert not (host.target / "a").exists()
    assert (host.target / "b").stat().st_mode & 0o777 == 0o700
    assert (host.target / "b/new").stat().st_uid == 12345


@pytest.mark.one_release
def test_what_the_standby_has_lost_since_is_sent_again_by_an_lsyncd_that_starts_anew(host, lsyncd):
    (host.source / "carried").write_text("1")
    lsyncd.start("salt")
    lsyncd.drain("salt", 30)
    (host.target / "carried").write_text("")  # as a loss of power leaves what was in the cache alone
    assert lsyncd.start("salt") is False
    assert content(host.target) == {b"carried": b""}
    assert lsyncd.start("salt", anew=True) is True
    lsyncd.first_pass("salt", limit=30)
    assert content(host.target) == {b"carried": b"1"}


@pytest.mark.one_release
def test_a_first_pass_that_cannot_end_is_not_waited_for(host, lsyncd):
    (host.source / "a").write_text("1")
    host.block()
    lsyncd.start("salt")
    begun = time.monotonic()
    with pytest.raises(CommandExecutionError, match=r"rsync has failed \d+ times, .* exit code \d+"):
        lsyncd.first_pass("salt", limit=300)
    assert time.monotonic() - begun < 150
    # It goes on by itself all the same.
    host.unblock()
    lsyncd.drain("salt", 60)
    assert content(host.target) == {b"a": b"1"}


@pytest.mark.needs("mounts")
@pytest.mark.one_release
def test_nothing_is_carried_from_a_folder_that_is_unmounted_while_lsyncd_runs(host, lsyncd, tmp_path):
    """The empty folder below would make rsync delete what has changed last."""
    names = ("a", "b", "c")
    for name in names:
        (host.source / name).write_text("1")
    lsyncd.start("salt")
    lsyncd.drain("salt", 30)
    # A second way to the same files, for a program that still has them open.
    other, empty = tmp_path / "other", tmp_path / "empty"
    for folder in (other, empty):
        folder.mkdir()
    subprocess.run(["mount", "--bind", host.source, other], check=True)
    subprocess.run(["mount", "--bind", empty, host.source], check=True)
    try:
        for name in names:
            (other / name).write_text("22")
        eventually(lambda: not lsyncd.status("salt")["running"])
        assert "the gate has to look before anything is carried" in host.log()
        assert sorted(content(host.target)) == [b"a", b"b", b"c"]
    finally:
        subprocess.run(["umount", host.source], check=True)
        subprocess.run(["umount", other], check=True)
    assert content(host.target) == dict.fromkeys((b"a", b"b", b"c"), b"1")
    lsyncd.start("salt")
    lsyncd.drain("salt", 30)
    assert content(host.target) == dict.fromkeys((b"a", b"b", b"c"), b"22")


@pytest.mark.one_release
def test_what_goes_from_a_new_folder_before_lsyncd_watches_it_goes_from_the_standby(host, started):
    """
    Seen in churn: a pass that carried the deletion of a folder carried the new one of that name too, with
    what was in it just then. lsyncd watched the new one later, when that had gone, and nothing reported it.
    """
    folder = host.source / "folder"
    folder.mkdir()
    (folder / "old").write_text("1")
    started.drain("salt", 30)
    host.block("held")
    shutil.rmtree(folder)
    # Its rsync looks at the source when it has a connection.
    eventually(lambda: (host.base / "holds").exists())
    with host.stopped():
        (folder / "brief").mkdir(parents=True)
        host.unblock("held")
        eventually(lambda: (host.target / "folder/brief").exists())
        (folder / "brief").rmdir()
    started.drain("salt", 30)
    assert content(host.target) == content(host.source) == {b"folder": None}


@pytest.mark.one_release
def test_a_pass_that_has_left_a_folder_has_all_compared(host, started):
    """rsync's exit status is 0, though the folder is still there with what the pass was not about."""
    folder = host.source / "folder"
    folder.mkdir()
    (folder / "old").write_text("1")
    started.drain("salt", 30)
    host.block("held")
    folder.chmod(0o700)
    eventually(lambda: (host.base / "holds").exists())
    with host.stopped():
        # lsyncd hears of this only when that pass is over.
        shutil.rmtree(folder)
        host.unblock("held")
        eventually(lambda: "cannot delete non-empty directory: folder" in host.log())
        assert content(host.target) == {b"folder": None, b"folder/old": b"1"}
    started.drain("salt", 30)
    assert content(host.target) == content(host.source) == {}
    assert f"all of {host.source}/ is compared" in host.log()


@pytest.mark.parametrize("number", range(effort.rounds(1, 50)))
@pytest.mark.one_release
def test_churn_leaves_both_sides_alike(host, lsyncd, number):
    """Folders made, filled, renamed and removed, from lsyncd's start on, and through a crash of it."""
    chance = random.Random(number)
    operations, much = churn.operations(chance, host.source), effort.rounds(1, 10)
    churn.some(operations, 100 * much)
    lsyncd.start("salt")
    churn.some(operations, 400 * much)
    host.kill()
    churn.some(operations, 50 * much)
    lsyncd.start("salt")
    churn.some(operations, 200 * much)
    lsyncd.drain("salt", 60 * much)
    assert churn.described(host.target) == churn.described(host.source)


@pytest.mark.one_release
def test_a_rewrite_of_the_same_size_in_the_same_second_arrives(host, started):
    path = host.source / "state.sls"
    for number in range(3):
        path.write_text(f"version {number}")
        os.utime(path, ns=(10**18, 10**18 + number))
        started.drain("salt", 30)
        assert (host.target / "state.sls").read_text() == f"version {number}"


HOSTILE = [
    b"-rf",
    b"--delete",
    b"sp ace ",
    b"nl\nFiltering:\n\nSync2 source=x\nThere are 0 delays",
    b"$(touch x)",
    b"`id`",
    b"'q\"",
    b"[x]",
    b"b]c",
    b"?",
    b"*",
    b"**",
    b"x\\y*",
    b"p\\q",
    b"tail\\",
    b"\xff\xfe\x01",
    b"#hash",
    b";semicolon",
    b"+ plus",
    b"- minus",
    b"!",
    "Grüße".encode(),
]


@pytest.mark.one_release
def test_hostile_names_arrive_and_go(host, started):
    source = os.fsencode(host.source)
    for name in HOSTILE:
        with open(os.path.join(source, name), "wb") as handle:
            handle.write(name)
    os.mkdir(os.path.join(source, b"d*\\["))
    with open(os.path.join(source, b"d*\\[", b"[in]?"), "wb") as handle:
        handle.write(b"1")
    started.drain("salt", 30)
    assert content(host.target) == content(host.source)
    assert len(content(host.target)) == len(HOSTILE) + 2

    for name in HOSTILE[::2]:
        os.unlink(os.path.join(source, name))
    for name in HOSTILE[1::2]:
        with open(os.path.join(source, name), "ab") as handle:
            handle.write(b"more")
    shutil.rmtree(os.path.join(source, b"d*\\["))
    with open(os.path.join(source, b"d*\\["), "wb") as handle:
        handle.write(b"a file now")
    started.drain("salt", 30)
    assert content(host.target) == content(host.source)


@pytest.mark.one_release
def test_a_glob_and_a_single_file_leave_their_neighbours_alone(host, lsyncd):
    here, there = host.primary / "etc", host.standby / "etc"
    (here / "qemu/shared-a").write_text("1")
    (here / "qemu/shared-B").write_text("not matched")
    (here / "qemu/private").write_text("of the primary")
    (there / "qemu/private").write_text("of the standby")
    (there / "qemu/shared-gone").write_text("no longer on the primary")
    (there / "qemu/own").mkdir()
    (there / "hosts").write_text("of the standby")
    (here / "unrelated").mkdir()
    lsyncd.start("salt")
    lsyncd.drain("salt", 30)
    assert content(there) == {
        b"hosts": b"of the standby",
        b"hosts--cluster": b"10.0.0.1 node1\n",
        b"qemu": None,
        b"qemu/own": None,
        b"qemu/private": b"of the standby",
        b"qemu/shared-a": b"1",
    }

    (here / "qemu/shared-b").mkdir()
    (here / "qemu/shared-b/disk").write_text("2")
    (here / "qemu/shared-C").write_text("not matched")
    (here / "qemu/private").write_text("changed")
    (here / "qemu/shared-a").unlink()
    (here / "hosts--cluster.new").write_text("10.0.0.2 node2\n")
    (here / "hosts--cluster.new").rename(here / "hosts--cluster")
    lsyncd.drain("salt", 30)
    assert content(there) == {
        b"hosts": b"of the standby",
        b"hosts--cluster": b"10.0.0.2 node2\n",
        b"qemu": None,
        b"qemu/own": None,
        b"qemu/private": b"of the standby",
        b"qemu/shared-b": None,
        b"qemu/shared-b/disk": b"2",
    }

    (here / "hosts--cluster").unlink()
    shutil.rmtree(here / "qemu/shared-b")
    lsyncd.drain("salt", 30)
    assert not (there / "hosts--cluster").exists()
    assert not (there / "qemu/shared-b").exists()
    # /srv/salt, /etc/qemu, shared-b while it was there, /etc and the marker; not /etc/unrelated.
    eventually(lambda: lsyncd.status("salt")["watched"] == 4)


def test_status_counts_what_waits_for_a_standby_that_does_not_answer(host, started):
    host.block()
    for number in range(5):
        (host.source / f"file {number}").write_text("x")

    def five_wait():
        status = started.status("salt")
        return status["trustworthy"] and status["waiting"] == 5 and status

    status = eventually(five_wait)
    assert {one["path"] for one in status["waiting_for"]} == {f"{host.source}/file {n}" for n in range(5)}
    with pytest.raises(CommandExecutionError, match=r"within 1\.0 seconds.*5 changes still wait: .*file"):
        started.drain("salt", 1)
    host.unblock()
    started.drain("salt", 30)
    # Its status file is written once a second.
    eventually(lambda: started.status("salt")["waiting"] == 0)
    assert content(host.target) == content(host.source)


@pytest.mark.one_release
def test_after_a_failure_the_shared_connection_is_left_for_a_new_one(host, started):
    """What sshd knew of root when it was made may be the very cause, and mended since."""
    host.block()
    (host.source / "file").write_text("x")
    stopped = host.base / "stopped"
    eventually(stopped.exists)
    assert "-S" in stopped.read_text() and "lsyncd.ssh" in stopped.read_text()
    assert stopped.read_text().split()[-1] == "10.0.0.12"
    host.unblock()
    started.drain("salt", 30)
    assert (host.target / "file").exists()


def test_drain_waits_for_a_transfer_that_hangs(host, started):
    host.block("slow")
    (host.source / "late").write_text("x")
    eventually(lambda: started.status("salt")["waiting"])
    drain_says_what_waits(started, 3)
    assert not (host.target / "late").exists()


@contextlib.contextmanager
def rewritten(path):
    """A file that gets the next number a thousand times a second while the block lasts."""
    program = (
        "import itertools, sys, time\n"
        "for number in itertools.count():\n"
        "    with open(sys.argv[1], 'w') as file:\n"
        "        file.write(f'{number:020}')\n"
        "    time.sleep(0.001)\n"
    )
    with subprocess.Popen(["python3", "-S", "-c", program, str(path)]) as writer:
        try:
            eventually(path.exists)
            yield
        finally:
            writer.kill()


def number_in(path):
    # The writer may have it open, and empty.
    return eventually(lambda: path.read_text() or None)


@pytest.mark.one_release
def test_drain_ends_while_a_file_is_rewritten_without_a_pause(host, started):
    with rewritten(host.source / "log"):
        for number in range(3):
            (host.source / f"beside {number}").write_text("x")
            before = int(number_in(host.source / "log"))
            assert started.drain("salt", 30)["left"] == []
            assert (host.target / f"beside {number}").exists()
            # rsync may have read it while it was empty, and has then been told of it once more.
            assert eventually(lambda before=before: int((host.target / "log").read_text() or 0) >= before)


@pytest.mark.one_release
def test_the_proof_of_in_step_ends_while_a_file_is_rewritten_without_a_pause(host, started):
    prover = in_step.Prover(host.member)
    with rewritten(host.source / "log"):
        (host.source / "beside").write_text("x")
        eventually(lambda: prover.look(host.show("lsyncd")))
        assert (host.target / "beside").exists()
        assert prover.lag() < 30


def drain_says_what_waits(started, seconds):
    """On a busy machine lsyncd may not have read its events by then, which is another sentence."""

    def said():
        with pytest.raises(CommandExecutionError) as refused:
            started.drain("salt", seconds)
        return "still wait" in str(refused.value)

    eventually(said, 60)


@pytest.mark.one_release
def test_what_was_changed_before_is_waited_for_however_much_comes_later(host, started):
    host.block("held")
    (host.source / "old").write_text("x")
    eventually((host.base / "holds").exists)
    with rewritten(host.source / "log"):
        drain_says_what_waits(started, 3)
        assert not (host.target / "old").exists()
        host.unblock("held")
        started.drain("salt", 30)
        assert (host.target / "old").exists()


@pytest.mark.one_release
def test_a_name_that_goes_and_comes_while_its_going_waits_is_carried_before_drain_ends(host, started):
    (host.source / "name").write_text("first")
    started.drain("salt", 30)
    host.block("held")
    # Both of its passes are at work on something else, so that what follows has to wait.
    for other in ("one", "two"):
        (host.source / other).write_text("x")
        eventually(lambda other=other: len(lsyncd_status.children(host.process.pid)) >= 1 and other)
    (host.source / "name").unlink()
    drain_says_what_waits(started, 2)
    (host.source / "name").write_text("second")
    with rewritten(host.source / "log"):
        drain_says_what_waits(started, 2)
        host.unblock("held")
        started.drain("salt", 30)
        assert (host.target / "name").read_text() == "second"


@pytest.mark.one_release
def test_an_older_content_is_never_put_in_place_last(host, started):
    """A pass that has read a file, and is slow to put it in place, while the file changes again."""
    host.block("late")
    (host.source / "file").write_text("older")
    eventually((host.base / "has-read").exists)
    (host.source / "file").write_text("newer content")
    # Nothing of the second one may arrive while the first is at work; a second without it is no proof, but
    # without the rule it had arrived by then, and the first came last.
    until = time.monotonic() + 2
    while time.monotonic() < until:
        assert not (host.target / "file").exists()
        time.sleep(0.05)
    host.unblock("late")
    started.drain("salt", 30)
    assert (host.target / "file").read_text() == "newer content"


@pytest.mark.one_release
def test_another_file_does_not_wait_for_the_pass_of_one_that_has_changed_again(host, started):
    host.block("late")
    (host.source / "file").write_text("older")
    eventually((host.base / "has-read").exists)
    (host.source / "file").write_text("newer content")
    time.sleep(1)  # lsyncd has seen it, and has nothing that it may begin
    (host.source / "other").write_text("x")
    eventually((host.target / "other").exists)
    assert not (host.target / "file").exists()
    host.unblock("late")
    started.drain("salt", 30)
    assert (host.target / "file").read_text() == "newer content"


@pytest.mark.one_release
def test_a_dead_daemons_status_file_is_not_believed(host, started):
    assert started.status("salt")["trustworthy"]
    host.kill()
    (host.source / "after its death").write_text("x")
    status = started.status("salt")
    assert not status["running"] and not status["trustworthy"] and status["waiting"] is None
    assert (host.primary / "run/failback/salt/lsyncd.status").exists()
    with pytest.raises(CommandExecutionError, match="does not run"):
        started.drain("salt", 5)


@pytest.mark.one_release
def test_a_hanging_daemon_is_not_believed(host, started):
    os.kill(host.process.pid, signal.SIGSTOP)
    (host.source / "unseen").write_text("x")
    # At once: its last status says that nothing waits, but drain asks for more.
    with pytest.raises(CommandExecutionError, match="has not read its events"):
        started.drain("salt", 1)

    def distrusted():
        return not started.status("salt")["trustworthy"]

    eventually(distrusted)
    os.kill(host.process.pid, signal.SIGCONT)
    started.drain("salt", 30)
    assert (host.target / "unseen").exists()


@pytest.mark.one_release
def test_an_idle_daemon_stays_believable(started):
    # lsyncd by itself would not write for as long as nothing happens (its issue 461).
    eventually(lambda: started.status("salt")["waiting"] == 0)
    until = time.monotonic() + 7
    while time.monotonic() < until:
        status = started.status("salt")
        assert status["trustworthy"], status["why"]
        assert status["waiting"] == 0
        time.sleep(0.2)


@pytest.mark.one_release
def test_a_killed_rsync_is_not_taken_for_success(host, started):
    host.block("slow")
    (host.source / "file").write_text("x")

    def transfer():
        found = subprocess.run(
            ["ps", "-o", "pid=,args=", "-s", str(host.process.pid)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        return [line.split()[0] for line in found.splitlines() if line.split()[1] == "/usr/bin/rsync"]

    victims = eventually(transfer)
    host.unblock("slow")
    os.kill(int(victims[0]), signal.SIGKILL)
    started.drain("salt", 30)
    assert (host.target / "file").read_text() == "x"


@pytest.mark.one_release
def test_a_partial_transfer_is_tried_again(host, started):
    obstacle = host.target / "obstacle"
    (host.source / "obstacle").mkdir()
    started.drain("salt", 30)
    subprocess.run(["chattr", "+i", str(obstacle)], check=False)
    try:
        if (
            "i"
            not in subprocess.run(
                ["lsattr", "-d", str(obstacle)], capture_output=True, text=True
            ).stdout.split()[:1][0]
        ):
            pytest.skip("this file system knows no immutable folders")
        (host.source / "obstacle/file").write_text("x")
        (host.source / "other").write_text("y")
        with pytest.raises(CommandExecutionError, match="obstacle/file"):
            started.drain("salt", 5)
        assert not (host.base / "stopped").exists()  # it is about a file, not about the connection
        assert (host.target / "other").exists()
    finally:
        subprocess.run(["chattr", "-i", str(obstacle)], check=False)
    started.drain("salt", 30)
    assert (obstacle / "file").read_text() == "x"


@pytest.mark.one_release
def test_a_refused_write_of_the_standby_ends_lsyncd(host, lsyncd):
    config = host.base / "rsyncd.conf"
    config.write_text(config.read_text().replace("read only = no", "read only = yes"))
    (host.source / "file").write_text("x")
    # It may come up for a moment before the standby has answered.
    try:
        lsyncd.start("salt")
    except CommandExecutionError as error:
        assert "did not stay up" in str(error)
    eventually(lambda: not lsyncd.status("salt")["running"])
    assert "module is read only" in host.log()
    assert content(host.target) == {}


@pytest.mark.parametrize(
    "active, said",
    [("salt2", "salt2 is active"), (None, "has no ledger")],
    ids=["standby", "no ledger"],
)
@pytest.mark.one_release(but="the first case")
def test_the_gate_refuses_and_nothing_starts(host, lsyncd, active, said):
    host.member.ledger.path.unlink()
    if active:
        host.admit(active, 4)
    with pytest.raises(CommandExecutionError, match=said):
        lsyncd.start("salt")
    assert host.calls == []
    assert not (host.primary / "etc/lsyncd/lsyncd.conf.lua").exists()


def test_a_missing_folder_is_refused_before_anything_starts(host, lsyncd):
    host.source.rmdir()
    (host.target / "precious").write_text("x")
    host.configure(replicate=[{"path": "/srv/salt/deeper/file-*", "then": None}])
    with pytest.raises(CommandExecutionError, match="/srv/salt/deeper/file-.* is missing on salt1"):
        lsyncd.start("salt")
    assert host.calls == []
    assert (host.target / "precious").exists()


def test_start_of_what_runs_changes_nothing(host, started):
    process = host.process.pid
    assert started.start("salt") is False
    assert host.process.pid == process
    host.configure(lsyncd={"delay": 2, "max_processes": 1})
    assert started.start("salt") is True
    assert host.process.pid != process
    assert host.calls == ["start", "stop", "start"]


@pytest.mark.one_release
def test_what_runs_and_has_not_begun_is_not_taken_for_running(host, started):
    """One that systemd starts again and again is up as well, whenever it was just started."""
    with host.stopped():
        (host.primary / "run/failback/salt/lsyncd.status").unlink()
        with pytest.raises(CommandExecutionError, match="runs but watches nothing after 1 seconds"):
            started.start("salt", limit=1)
    assert started.start("salt") is False
    assert host.calls == ["start"]


def test_stop(host, started):
    assert started.stop("salt") is True
    assert started.stop("salt") is False
    assert host.process.poll() is not None


def test_managed_shows_then_writes_then_has_nothing_to_do(host, lsyncd):
    path = host.primary / "etc/lsyncd/lsyncd.conf.lua"
    preview = lsyncd.managed("salt", test=True)
    assert "+\t\tsource = item.source," in preview
    assert not path.exists()
    assert lsyncd.managed("salt") == preview
    assert lsyncd.managed("salt") == ""
    assert path.read_text() == lsyncd.config("salt")


def test_a_broken_configuration_never_replaces_a_working_one(host, lsyncd, monkeypatch):
    lsyncd.managed("salt")
    path = host.primary / "etc/lsyncd/lsyncd.conf.lua"
    working = path.read_text()
    host.configure(lsyncd={"delay": -1, "max_processes": 2})
    with pytest.raises(CommandExecutionError, match="lsyncd refuses the configuration"):
        lsyncd.managed("salt")
    assert path.read_text() == working
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "text, said",
    [
        ("sync{ default.rsync, ", "expected"),
        ('sync{ default.rsync, source="/tmp", target="x::y", typo=1 }', 'Parameter "typo" unknown'),
        ('sync{ default.rsync, source="/tmp" }', 'needs "target"'),
        ('settings{ staatusFile="/x" }', "unknown"),
        (
            'settings = { insist = true }\nsync{ default.rsync, source="/tmp", target="x::y" }',
            "settings",
        ),
        ("settings{ insist = true }", "nothing to watch"),
        ("os.exit(0)", "ended early"),
        ("do return end", "nothing to watch"),
    ],
)
@pytest.mark.one_release(but="the first case")
def test_lsyncd_itself_refuses(lsyncd, text, said):
    with pytest.raises(CommandExecutionError, match=said):
        lsyncd.check(text)


def test_a_check_copies_nothing(tmp_path, lsyncd):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    (source / "file").write_text("x")
    text = f'sync{{ default.rsync, source="{source}", target="{target}", delay=0 }}\n'
    assert lsyncd.check(text) == 1
    assert lsyncd.check(text + "do return end") == 1
    assert list(target.iterdir()) == []


def test_the_secondary_has_no_configuration(host, lsyncd):
    lsyncd.managed("salt")
    path = host.primary / "etc/lsyncd/lsyncd.conf.lua"
    host.configure(node="salt2")
    assert lsyncd.config("salt") is None
    assert lsyncd.managed("salt").startswith("---")
    assert not path.exists()
    path.write_text("-- of somebody else\n")
    assert lsyncd.managed("salt") == ""
    assert path.exists()


@pytest.mark.one_release
def test_a_pair_without_paths_has_nothing_for_lsyncd_to_do(host, lsyncd):
    host.configure(replicate=[])
    assert lsyncd.config("salt") is None and lsyncd.managed("salt") == ""
    with pytest.raises(CommandExecutionError, match="The pair salt replicates no paths"):
        lsyncd.start("salt")
    assert host.calls == []


@pytest.mark.one_release
@pytest.mark.parametrize("way", ["read", "written"])
def test_a_configuration_that_cannot_be_put_in_place_is_named(host, lsyncd, modules, monkeypatch, way):
    path = host.primary / "etc/lsyncd/lsyncd.conf.lua"
    if way == "read":
        path.mkdir(parents=True)
    else:
        module = sys.modules[modules["lsyncd.managed"].__module__]
        real = module.files.write_atomically

        def write(place, content, *more, **words):
            if str(place) == str(path):
                raise OSError(errno.ENOSPC, "No space left on device", str(place))
            return real(place, content, *more, **words)

        monkeypatch.setattr(module.files, "write_atomically", write)
    with pytest.raises(CommandExecutionError, match=f"{path} cannot be {way}: "):
        lsyncd.managed("salt")
    assert host.calls == []


@pytest.mark.one_release
@pytest.mark.parametrize(
    "program, said",
    [
        ("/usr/bin/no-such-lsyncd", "cannot be checked: .*no-such-lsyncd"),
        ("/bin/true", "it ended early"),
        ("/bin/false", "lsyncd refuses the configuration"),
        ("/bin/echo", "lsyncd refuses the configuration"),
    ],
)
def test_only_what_lsyncd_itself_has_read_to_its_end_is_accepted(lsyncd, modules, monkeypatch, program, said):
    monkeypatch.setattr(sys.modules[modules["lsyncd.check"].__module__], "LSYNCD", program)
    with pytest.raises(CommandExecutionError, match=said):
        lsyncd.check('sync{ default.rsync, source="/tmp", target="x::y" }')


@pytest.mark.one_release
def test_a_check_that_hangs_is_given_up(lsyncd, modules, monkeypatch):
    def hangs(argv, timeout, **more):
        assert 0 < timeout <= 60
        raise subprocess.TimeoutExpired(argv, timeout)

    module = sys.modules[modules["lsyncd.check"].__module__]
    monkeypatch.setattr(module, "subprocess", types.SimpleNamespace(**{**vars(subprocess), "run": hangs}))
    with pytest.raises(CommandExecutionError, match="reading it does not end"):
        lsyncd.check('sync{ default.rsync, source="/tmp", target="x::y" }')


@pytest.mark.one_release
def test_a_check_that_says_more_than_the_token_is_still_one(lsyncd, modules, monkeypatch, tmp_path):
    """What a program prints that has not read the configuration is no word of it."""
    liar = tmp_path / "lsyncd"
    liar.write_text("#!/bin/sh\necho 0123456789abcdef 3\n")
    liar.chmod(0o755)
    monkeypatch.setattr(sys.modules[modules["lsyncd.check"].__module__], "LSYNCD", str(liar))
    with pytest.raises(CommandExecutionError, match="lsyncd refuses the configuration: 0123456789abcdef 3"):
        lsyncd.check('sync{ default.rsync, source="/tmp", target="x::y" }')


@pytest.mark.one_release
@pytest.mark.parametrize("state", ["active", "activating", "reloading"])
def test_an_lsyncd_that_goes_on_was_not_stopped(host, lsyncd, modules, monkeypatch, state):
    asked = []
    monkeypatch.setitem(modules, "service.show", lambda name: {"ActiveState": state, "MainPID": "7"})
    monkeypatch.setitem(modules, "service.stop", lambda name: asked.append(name))
    with pytest.raises(CommandExecutionError, match=f"lsyncd of salt does not stop: systemd says {state}"):
        lsyncd.stop("salt")
    assert asked == ["lsyncd"]


def test_an_unknown_pair(lsyncd):
    for function in (
        lsyncd.config,
        lsyncd.managed,
        lsyncd.status,
        lsyncd.drain,
        lsyncd.start,
        lsyncd.stop,
    ):
        with pytest.raises(CommandExecutionError, match="knows no pair mgmt"):
            function("mgmt")
