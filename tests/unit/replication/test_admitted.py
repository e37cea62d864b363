"""The other node's next rsync: the last answer holds as long as all that it was made from, and no longer."""

import os
import re
import shutil
import signal
import stat
import types

import pytest
import samples

from failback.host import files
from failback.host.paths import Paths
from failback.pair import Member
from failback.replication import admission
from failback.replication import admitted
from failback.replication import incoming
from failback.replication import replicated
from failback.state import ledger

#: A line of mountinfo, by its number and the place.
LINE = "{} 1 0:{} / {} rw - tmpfs none rw\n"


class Standby:
    """salt2, whose path has a file system below it; a list of mounts of our own stands for the kernel's."""

    def __init__(self, root, monkeypatch):
        self.root, self.monkeypatch = root, monkeypatch
        self.member = Member.of(samples.pair("salt2", replicate=[{"path": "/srv/data"}]), Paths(root))
        files.write_json(self.member.paths.pair_config("salt"), self.member.config)
        self.member.ledger.write(ledger.Entry(3, "salt1", None, "a test"))
        self.data = root / "srv/data"
        self.below = self.data / "disk"
        self.below.mkdir(parents=True)
        self.mounts, self.disks = root / "mounts", root / "disks"
        self.mounts.write_text(LINE.format(20, 20, root) + LINE.format(21, 21, self.below))
        self.disks.mkdir()
        (self.disks / "3f0c").symlink_to("../vdb1")
        monkeypatch.setattr(admitted, "MOUNTS", str(self.mounts))
        monkeypatch.setattr(admitted, "UUIDS", str(self.disks))
        monkeypatch.setattr(admitted, "run", self.rsync)
        self.status = 0
        #: What happens while rsync runs; the configurations that it was given.
        self.meanwhile = lambda: None
        self.given = []
        #: Of each run: the folders that it was given open, by number; whether others know that it writes.
        self.folders, self.writing, self.open = [], [], []

    def rsync(self, volatile, text):
        assert volatile == str(self.member.volatile)
        self.given.append(text)
        numbers = re.findall(r"/proc/self/fd/([0-9]+)", os.fsdecode(text))
        self.folders.append([os.readlink(f"/proc/self/fd/{number}") for number in numbers])
        self.open.append(self.opened())
        self.writing.append(str(os.getpid()) in os.listdir(self.member.volatile / "incoming"))
        self.meanwhile()
        return self.status

    def opened(self):
        """What this process has open below the node's folder, by number."""
        found = {}
        for name in os.listdir("/proc/self/fd"):
            try:
                found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
            except FileNotFoundError:
                continue
        return {number: one for number, one in found.items() if one.startswith(str(self.root))}

    def let_go(self):
        """The process of an rsync ends, and what it had open is closed with it."""
        for number in self.opened():
            os.close(number)

    def long_way(self):
        """As ``peer_requests.rsync`` goes it."""
        incoming.announce(self.member)
        return admission.serve(self.member, admission.facts(self.member))

    def again(self):
        return admitted.again("salt", str(self.root))

    @property
    def kept(self):
        return self.member.volatile / "rsyncd-write.admitted"

    def mount(self, place):
        with open(self.mounts, "a") as handle:
            handle.write(LINE.format(30, 30, place))

    def unmount(self, place):
        lines = self.mounts.read_text().splitlines(keepends=True)
        self.mounts.write_text("".join(line for line in lines if f" {place} " not in line))


@pytest.fixture
def standby(tmp_path, monkeypatch):
    made = Standby(tmp_path, monkeypatch)
    yield made
    made.let_go()


@pytest.fixture
def before(standby):
    """It has been let in by the long way, which has kept its answer."""
    assert standby.long_way() == 0
    assert not standby.kept.exists(), "what was not there when the facts were read is there now"
    assert standby.long_way() == 0
    for seen in (standby.given, standby.folders, standby.writing, standby.open):
        del seen[0]
    standby.let_go()
    return standby


def test_the_next_one_gets_the_same_folders_open_and_the_same_answer(before):
    assert before.again() == 0
    before_it, now = before.given
    assert before_it == now
    folders = sorted([str(before.data), str(before.member.volatile / replicated.IN_STEP)])
    assert [sorted(each) for each in before.folders] == [folders] * 2
    # Nobody can unmount what is below, or give its number to another, while it runs.
    assert list(before.open[1].values()).count(str(before.below)) == 1
    assert str(before.below) not in before.opened().values()


def test_others_know_of_it_while_it_writes_and_no_longer(before):
    incoming.withdraw(before.member)
    before.meanwhile = lambda: before.writing.append(incoming.writing(before.member))
    assert before.again() == 0
    assert before.writing == [True, True, True]
    assert incoming.writing(before.member) is False
    assert os.listdir(before.member.volatile / "incoming") == []


def test_what_is_kept_is_for_root_alone_and_whole(before):
    assert stat.S_IMODE(before.kept.stat().st_mode) == 0o600
    assert [one for one in os.listdir(before.member.volatile) if one.startswith(".rsyncd")] == []


def another_folder(standby):
    standby.data.rename(standby.data.with_name("other"))
    standby.data.mkdir()


def a_link_to_it(standby):
    standby.data.rename(standby.data.with_name("other"))
    standby.data.symlink_to("other")


def a_file(standby):
    standby.data.rename(standby.data.with_name("other"))
    standby.data.write_text("a file now")


def one_more_byte(place):
    with open(place, "a") as handle:
        handle.write("\n")


def another_disk(standby):
    (standby.disks / "3f0c").unlink()
    (standby.disks / "3f0c").symlink_to("../vdc1")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda one: one.member.ledger.write(ledger.Entry(4, "salt2", None, "")), id="ledger"),
        pytest.param(lambda one: one.member.ledger.path.unlink(), id="no ledger"),
        pytest.param(
            lambda one: one_more_byte(one.member.paths.pair_config("salt")),
            id="configuration",
        ),
        pytest.param(lambda one: one_more_byte(one.member.state / "sources.json"), id="places"),
        pytest.param(lambda one: one.mount("/elsewhere"), id="something is mounted"),
        pytest.param(lambda one: one.unmount(one.below), id="something is unmounted"),
        pytest.param(another_disk, id="disk"),
        pytest.param(another_folder, id="another folder"),
        pytest.param(a_link_to_it, id="the folder by another name"),
        pytest.param(a_file, id="no folder"),
        pytest.param(lambda one: one.monkeypatch.setattr(admitted, "RELEASE", "/usr/lib/b"), id="release"),
        pytest.param(lambda one: one.kept.write_bytes(b"torn"), id="torn"),
        pytest.param(lambda one: one.kept.write_bytes(b""), id="empty"),
        pytest.param(lambda one: one.kept.write_bytes(b"N"), id="of another form"),
        pytest.param(lambda one: one.kept.unlink(), id="nothing kept"),
        # Whoever changes hands could not end it.
        pytest.param(lambda one: (one.member.volatile / "incoming").rename(one.root / "x"), id="unknown"),
        # What the daemon itself opens could get the number of a folder.
        pytest.param(lambda one: one.monkeypatch.setattr(admitted, "FIRST", 0), id="many open files"),
    ],
)
def test_whatever_has_changed_the_long_way_is_gone_and_nothing_done(before, change):
    incoming.withdraw(before.member)
    change(before)
    assert before.again() is None
    assert len(before.given) == 1


def test_a_path_that_has_become_another_kind_of_thing_is_looked_at_anew(standby):
    one = standby.root / "srv/one"
    one.write_text("a file")
    standby.member.config["replicate"] = [{"path": "/srv/one"}]
    standby.long_way(), standby.long_way()
    assert standby.again() == 0
    # Its folder, which the daemon serves, is the same.
    one.unlink()
    one.mkdir()
    assert standby.again() is None


def test_what_the_answer_does_not_depend_on_may_change(before):
    before.data.chmod(0o701)
    (before.data / "more").write_text("1")
    (before.root / "srv/beside").mkdir()
    assert before.again() == 0


def test_what_is_mounted_while_the_folders_are_opened_sends_it_the_long_way(before):
    real = admitted.facts

    def facts(*arguments):
        found = real(*arguments)
        before.mount(before.data)
        return found

    before.monkeypatch.setattr(admitted, "facts", facts)
    assert before.again() is None and len(before.given) == 1


def test_a_folder_that_is_replaced_while_it_is_opened_sends_it_the_long_way(before):
    real = admitted.facts

    def facts(*arguments):
        found = real(*arguments)
        another_folder(before)
        return found

    before.monkeypatch.setattr(admitted, "facts", facts)
    assert before.again() is None and len(before.given) == 1


@pytest.mark.parametrize("way", ["the long way", "the short way"])
@pytest.mark.parametrize(
    ("status", "where", "said"),
    [
        pytest.param(0, None, 0, id="nothing"),
        pytest.param(24, None, 24, id="what had vanished"),
        pytest.param(0, "srv/data", admitted.PARTIAL, id="the path"),
        pytest.param(24, "srv/data/disk/x", admitted.PARTIAL, id="below, and something had vanished"),
        pytest.param(0, "elsewhere", 0, id="elsewhere"),
        pytest.param(12, "srv/data", 12, id="it has failed anyway"),
    ],
)
def test_what_is_mounted_while_it_writes_makes_it_fail(before, capsys, way, status, where, said):
    before.status = status
    if where:
        before.meanwhile = lambda: before.mount(before.root / where)
    assert (before.long_way if way == "the long way" else before.again)() == said
    told = "Something was mounted or unmounted at the paths of salt on salt2" in capsys.readouterr().err
    assert told is (way == "the long way" and said == admitted.PARTIAL)


@pytest.mark.parametrize("changes", ["before the look", "after it"])
def test_an_answer_is_not_kept_when_something_has_changed_while_it_was_made(standby, changes):
    real = admission.sources.misplaced

    def misplaced(member):
        if changes == "after it":
            standby.mount(standby.data / "late")
        return real(member)

    standby.long_way()
    standby.monkeypatch.setattr(admission.sources, "misplaced", misplaced)
    incoming.announce(standby.member)
    found = admission.facts(standby.member)
    if changes == "before the look":
        standby.member.ledger.write(ledger.Entry(4, "salt1", None, "a test"))
    admission.serve(standby.member, found)
    assert len(standby.given) == 2 and not standby.kept.exists()


def test_an_answer_for_fewer_paths_than_the_pair_has_is_not_kept(standby, capsys):
    samples.lies_elsewhere(standby.member, "/srv/data")
    standby.long_way()
    assert standby.long_way() == 0
    del standby.folders[0]
    assert standby.folders == [[str(standby.member.volatile / replicated.IN_STEP)]]
    assert "/srv/data" in capsys.readouterr().err
    assert not standby.kept.exists()


def test_many_paths_have_no_short_way(standby):
    paths = [f"/srv/{number}" for number in range(admission.FEW)]
    for path in paths:
        (standby.root / path[1:]).mkdir()
    standby.member.config["replicate"] = [{"path": path} for path in paths]
    standby.long_way()
    assert standby.long_way() == 0
    assert len(standby.folders[0]) == admission.FEW + 1 and not standby.kept.exists()


@pytest.mark.parametrize(("paths", "kept"), [(admission.FEW - 3, True), (admission.FEW - 2, False)])
def test_what_is_opened_beside_the_paths_counts_as_well(standby, paths, kept):
    """One for each path, the one of being in step, and what is mounted below: few enough to be quick."""
    (standby.root / "srv/many").mkdir()
    names = ["/srv/data", *(f"/srv/many/{number}" for number in range(paths - 1))]
    for path in names[1:]:
        (standby.root / path[1:]).mkdir()
    standby.member.config["replicate"] = [{"path": path} for path in names]
    standby.long_way(), standby.long_way()
    assert standby.kept.exists() is kept


def test_a_full_run_refuses_one_file_alone(standby, monkeypatch):
    """The folder for the moment of being in step cannot be made."""

    def full(_):
        raise OSError(28, "No space left on device")

    incoming.announce(standby.member)
    monkeypatch.setattr(admission.files, "make_folder", full)
    assert admission.serve(standby.member) == 0
    assert standby.folders == [[str(standby.data)]]


def test_where_nothing_was_asked_before_the_gate_nothing_is_kept(standby):
    incoming.announce(standby.member)
    assert [admission.serve(standby.member) for _ in range(2)] == [0, 0]
    assert not standby.kept.exists()


def test_a_path_whose_folder_is_missing_is_named(standby, capsys):
    standby.below.rmdir()
    standby.data.rmdir()
    standby.data.parent.rmdir()
    assert standby.long_way() == 0
    assert "/srv/data is missing on salt2: rsync makes a file there" in capsys.readouterr().err
    assert standby.folders == [[str(standby.member.volatile / replicated.IN_STEP)]]


def test_a_folder_that_was_replaced_while_it_was_looked_at_is_not_unchanged(standby):
    """Mounted between the two: what is open is not what the look at the paths will see."""
    real = os.path.realpath

    def realpath(path, **options):
        if str(path) == str(standby.data):
            another_folder(standby)
        return real(path, **options)

    items = [replicated.item("/srv/data", is_directory=True)]
    assert admission.Ground(items, str(standby.root)).is_unchanged()
    standby.monkeypatch.setattr(os.path, "realpath", realpath)
    assert not admission.Ground(items, str(standby.root)).is_unchanged()


def test_a_machine_without_names_of_disks_is_judged_by_the_rest(standby):
    standby.monkeypatch.setattr(admitted, "UUIDS", str(standby.root / "none"))
    standby.long_way(), standby.long_way()
    assert standby.again() == 0


def test_a_file_that_cannot_be_read_is_not_taken_for_one_that_is_missing(before):
    before.member.ledger.path.unlink()
    before.member.ledger.path.mkdir()
    assert before.again() is None
    assert admission.facts(before.member) is None


# --- the daemon ---------------------------------------------------------------------------------------


class Daemon:
    """
    It runs in a folder, with a function in the place of rsync.

    However wrong the code is: the child ends with this, and this process neither ends nor becomes another.
    """

    def __init__(self, folder, monkeypatch):
        self._folder, self._own = folder, os.getpid()
        self.told = []
        signal.signal(signal.SIGTERM, lambda *_: self.told.append("to end"))
        stand_in = types.SimpleNamespace(**{**vars(os), "execv": self._execv, "_exit": self._exit})
        monkeypatch.setattr(admitted, "os", stand_in)

    def run(self, does):
        self._does = does
        try:
            return admitted.run(str(self._folder), b"[module]\npath = /proc/self/fd/100\n")
        finally:
            if os.getpid() != self._own:
                os._exit(99)

    def _execv(self, program, words):
        assert os.getpid() != self._own
        (self._folder / "words").write_text("\n".join([program, *words]))
        self._does(words)

    def _exit(self, status):
        assert os.getpid() != self._own
        os._exit(status)

    def tell_it_to_end(self, _words):
        """The whole group is told, and rsync takes its time for its temporary file."""
        while not is_waiting(self._own):
            assert os.getppid() == self._own
        os.kill(self._own, signal.SIGTERM)
        os._exit(20)


def is_waiting(pid):
    with open(f"/proc/{pid}/stat") as handle:
        return handle.read().rpartition(")")[2].split()[0] == "S"


@pytest.fixture
def daemon(tmp_path, monkeypatch):
    handler = signal.getsignal(signal.SIGTERM)
    yield Daemon(tmp_path, monkeypatch)
    signal.signal(signal.SIGTERM, handler)


def test_the_daemon_gets_a_configuration_of_its_own_that_goes_with_it(daemon, tmp_path):
    def rsync(words):
        place = words[3].partition("=")[2]
        shutil.copy(place, tmp_path / "configuration")
        (tmp_path / "mode").write_text(oct(stat.S_IMODE(os.stat(place).st_mode)))
        os._exit(0)

    assert daemon.run(rsync) == 0
    program, *words = (tmp_path / "words").read_text().splitlines()
    place = tmp_path / f"rsyncd-{os.getpid()}.conf"
    assert program == "/usr/bin/rsync"
    assert words == ["rsync", "--server", "--daemon", f"--config={place}", "."]
    assert (tmp_path / "configuration").read_text() == "[module]\npath = /proc/self/fd/100\n"
    assert (tmp_path / "mode").read_text() == "0o600"
    assert not place.exists()


@pytest.mark.parametrize(
    ("does", "status"),
    [
        pytest.param(lambda _: os._exit(0), 0, id="all"),
        pytest.param(lambda _: os._exit(24), 24, id="something had vanished"),
        pytest.param(lambda _: os.kill(os.getpid(), signal.SIGKILL), 137, id="killed"),
        pytest.param(lambda _: None, 127, id="there is no rsync"),
    ],
)
def test_how_the_daemon_ends(daemon, does, status):
    assert daemon.run(does) == status


def test_the_child_is_rsync_or_nothing(daemon, tmp_path, monkeypatch):
    """Whatever becomes of that, it is no second one of its parent."""

    class Ended(Exception):
        pass

    def end(status):
        raise Ended(status)

    became = []
    monkeypatch.setattr(admitted.os, "fork", lambda: 0)
    monkeypatch.setattr(admitted.os, "execv", lambda *arguments: became.append(arguments))
    monkeypatch.setattr(admitted.os, "_exit", end)
    with pytest.raises(Ended, match="127"):
        daemon.run(None)
    configuration = f"--config={tmp_path}/rsyncd-{os.getpid()}.conf"
    assert became == [("/usr/bin/rsync", ["rsync", "--server", "--daemon", configuration, "."])]


def test_who_is_told_to_end_ends_after_its_rsync(daemon):
    """It is the one that was announced: as long as it lives, somebody may write."""
    assert daemon.run(daemon.tell_it_to_end) == 20
    assert daemon.told == [], "it would have ended at once"


def test_a_folder_for_the_daemon_has_a_number_that_it_does_not_use_itself(tmp_path):
    opened = os.open(tmp_path, os.O_PATH)
    number = admitted.for_a_child(opened)
    try:
        assert number >= admitted.FIRST and os.get_inheritable(number)
        assert os.path.samestat(os.fstat(number), os.fstat(opened))
    finally:
        os.close(number)
        os.close(opened)
