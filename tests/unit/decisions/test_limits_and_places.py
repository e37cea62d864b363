"""May a sync begin: tables of facts and what is said of them."""

import os

import pytest
from samples import preview as seen

from failback.decisions import limits
from failback.decisions import places
from failback.replication import sources


@pytest.mark.parametrize(
    ("previews", "said"),
    [
        ([], []),
        ([seen()], []),
        ([seen(deleted=100)], []),
        ([seen(deleted=101)], ["max_delete: 130}"]),
        ([seen(deleted=60), seen("/b", deleted=60)], ["max_delete: 150}"]),
        ([seen(overwritten=250)], []),
        ([seen(overwritten=251)], ["max_change_percent: 35}"]),
        ([seen(overwritten=1000)], ["max_change_percent: 100}"]),
        # A small folder: every file may change without anybody's word.
        ([seen(overwritten=20, total=20)], []),
        ([seen(overwritten=21, total=21)], ["max_change_percent: 100}"]),
        ([seen(overwritten=21, total=0)], []),
        ([seen(deleted=101, total=101)], ["max_delete: 130, max_change_percent: 100}"] * 2),
        # What is just below the other limit would be refused by that one next.
        ([seen(deleted=90, overwritten=300)], ["max_delete: 120, max_change_percent: 50}"]),
    ],
)
def test_limits(previews, said):
    problems = limits.limit_problems(previews, 100, 25, "salt")
    assert len(problems) == len(said)
    for problem, words in zip(problems, said):
        assert words in problem
        assert "pillar='{pair: salt, " in problem


XFS = {"mount": "/srv", "type": "xfs", "source": "/dev/vdb1", "root": "/"}
ROOT = {"mount": "/", "type": "ext4", "source": "/dev/vda1", "root": "/"}
SUBVOLUME = {**XFS, "root": "/other"}


DISK = {"mount": "/srv/salt/more", "type": "xfs", "source": "/dev/vdc1", "root": "/", "uuid": None}


def named(source, uuid):
    return {**XFS, "source": source, "uuid": uuid}


def fact(exists=True, empty=False, file_system=XFS, below=()):
    return {
        "/srv/salt": {
            "exists": exists,
            "empty": empty,
            "kind": "directory" if exists else None,
            "file_system": file_system,
            "below": list(below),
        }
    }


@pytest.mark.parametrize(
    ("now", "recorded", "files_here", "words"),
    [
        (fact(), None, None, None),
        (fact(), fact(), {"/srv/salt": 5}, None),
        (fact(exists=False), fact(), {"/srv/salt": 5}, "does not exist on the serving node"),
        (fact(empty=True), fact(), {"/srv/salt": 5}, "is empty on the serving node"),
        (fact(empty=True), fact(), None, "is empty on the serving node"),
        (fact(empty=True), fact(), {"/srv/salt": 0}, None),
        (
            fact(file_system=ROOT),
            fact(),
            {},
            "/dev/vda1 (ext4, at /), and used to lie on /dev/vdb1",
        ),
        (fact(file_system=SUBVOLUME), fact(), {}, "folder /other"),
        (fact(), fact(exists=False), {}, None),
        # It had no place yet when it was recorded.
        (fact(), fact(exists=False, file_system=ROOT), {}, None),
        (fact(), fact(below=[DISK]), {}, "lacks /dev/vdc1 (xfs, at /srv/salt/more), which used to be"),
    ],
)
def test_sources(now, recorded, files_here, words):
    problems = places.source_problems(now, recorded, files_here, "salt")
    assert len(problems) == (words is not None)
    if words:
        assert words in problems[0]
        assert "salt-run" in problems[0]


@pytest.mark.parametrize(
    ("now", "recorded", "words"),
    [
        (fact(), None, None),
        (fact(), fact(), None),
        (fact(empty=True), fact(), None),
        (fact(file_system=None), {}, None),
        (fact(), fact(file_system=None), None),
        (fact(), fact(exists=False, file_system=ROOT), None),
        ({}, fact(), None),
        (fact(file_system=ROOT), fact(), "used to lie on /dev/vdb1"),
        # A disk keeps its UUID when the kernel gives it another name.
        (fact(file_system=named("/dev/sdb1", "u1")), fact(file_system=named("/dev/sda1", "u1")), None),
        (fact(file_system=named("/dev/sda1", "u2")), fact(file_system=named("/dev/sda1", "u1")), "lies on"),
        # Recorded by an earlier release, or with no udev.
        (fact(file_system=named("/dev/vdb1", "u1")), fact(), None),
        (fact(file_system=named("/dev/vdb2", "u1")), fact(), "lies on"),
        (fact(below=[DISK]), fact(), None),
        (fact(below=[DISK]), fact(below=[DISK]), None),
        (fact(), fact(below=[DISK]), "lacks /dev/vdc1 (xfs, at /srv/salt/more)"),
        # A folder below the place where the file system was mounted is gone with it.
        (fact(exists=False, file_system=ROOT), fact(), "used to lie on"),
    ],
)
def test_a_path_that_lies_elsewhere(now, recorded, words):
    found = places.misplaced(now, recorded)
    assert list(found) == (["/srv/salt"] if words else [])
    if words:
        assert words in found["/srv/salt"]
        sentence = places.misplaced_sentence("salt2", found, "salt")
        assert sentence.startswith("/srv/salt on salt2 l") and "orch.adopt" in sentence


def test_what_lies_elsewhere_is_not_remembered_before_somebody_says_so():
    before = {**fact(), "/srv/more": fact()["/srv/salt"]}
    now = {**fact(file_system=ROOT), "/srv/more": fact(empty=True)["/srv/salt"]}
    now["/srv/new"] = fact()["/srv/salt"]
    kept = places.kept(before, now)
    assert kept == {**now, "/srv/salt": before["/srv/salt"]}
    assert places.kept(None, now) == now


def room(**more):
    return {
        "where": "/var",
        "bytes": 0,
        "files": 0,
        "free": 1000,
        "size": 10_000,
        "free_files": 1000,
        "all_files": 10_000,
        **more,
    }


@pytest.mark.parametrize(
    ("demand", "words"),
    [
        (room(), None),
        (room(bytes=500), None),
        (room(bytes=501), "5 %"),
        (room(files=500), None),
        (room(files=501), "more files"),
        (room(files=10**9, all_files=0, free_files=0), None),
        # Full already, and nothing is added to it: no reason to stop.
        (room(free=0, free_files=0), None),
    ],
)
def test_room(demand, words):
    problems = limits.room_problems([demand], "salt")
    assert len(problems) == (words is not None)
    if words:
        assert words in problems[0]
        assert "/var" in problems[0]


MOUNTS = r"""
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
30 22 254:17 / /srv rw shared:5 master:2 - xfs /dev/vdb1 rw
31 30 0:40 /@data /srv/salt rw - btrfs /dev/vdc rw,subvol=/@data
32 22 0:50 / /mnt/with\040blank rw - tmpfs tmp\040fs rw
33 22 0:51 / /srv/salt rw - tmpfs hides rw
"""


@pytest.mark.parametrize(
    ("path", "source", "root"),
    [
        ("/", "/dev/vda1", "/"),
        ("/etc", "/dev/vda1", "/"),
        ("/srv", "/dev/vdb1", "/"),
        ("/srvother", "/dev/vda1", "/"),
        ("/srv/other/deep", "/dev/vdb1", "/"),
        ("/mnt/with blank/x", "tmp fs", "/"),
        # The mount that came later hides the one before.
        ("/srv/salt/x", "hides", "/"),
    ],
)
def test_the_mount_of_a_path(path, source, root):
    found = sources.file_system(path, sources.parsed_mounts(MOUNTS))
    assert (found["source"], found["root"]) == (source, root)


def test_a_folder_that_is_mounted_over_hides_what_is_mounted_below_it(tmp_path):
    """The device number of the folder itself says which of the mounts it is on."""
    number = os.stat(tmp_path).st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    text = f"""
30 1 {device} / {tmp_path.parent} rw - xfs /dev/vdb1 rw
31 30 7:77 / {tmp_path} rw - xfs /dev/vdc1 rw
"""
    assert sources.file_system(str(tmp_path), sources.parsed_mounts(text))["source"] == "/dev/vdb1"


def test_disks_below_a_path_and_their_uuids(tmp_path, monkeypatch):
    (tmp_path / "srv/data/more").mkdir(parents=True)
    (tmp_path / "by-uuid").mkdir()
    (tmp_path / "by-uuid/u-u-i-d").symlink_to("/dev/vdb1")
    (tmp_path / "mountinfo").write_text(
        f"""
30 1 7:70 / / rw - ext4 /dev/vda1 rw
31 30 7:71 / {tmp_path}/srv/data rw - xfs /dev/vdb1 rw
32 31 7:72 / {tmp_path}/srv/data/more rw - xfs /dev/vdc1 rw
33 31 7:73 / {tmp_path}/srv/data/run rw - tmpfs tmpfs rw
34 30 7:74 / {tmp_path}/srv/database rw - xfs /dev/vdd1 rw
"""
    )
    monkeypatch.setattr(sources, "UUIDS", str(tmp_path / "by-uuid"))
    paths = ["/srv/data", "/srv/data/m*", "/srv/data/n*", "/srv/none"]
    found = sources.facts(paths, str(tmp_path), str(tmp_path / "mountinfo"))
    below = {path: [one["source"] for one in each["below"]] for path, each in found.items()}
    assert below == dict(zip(paths, (["/dev/vdc1"], ["/dev/vdc1"], [], [])))
    assert found["/srv/data"]["file_system"] == {
        "mount": f"{tmp_path}/srv/data",
        "type": "xfs",
        "source": "/dev/vdb1",
        "root": "/",
        "uuid": "u-u-i-d",
    }
    assert found["/srv/none"]["file_system"]["source"] == "/dev/vda1" and not found["/srv/none"]["exists"]


def test_facts_of_this_machine(tmp_path):
    (tmp_path / "srv/full").mkdir(parents=True)
    (tmp_path / "srv/full/file").write_text("1")
    (tmp_path / "srv/empty").mkdir()
    (tmp_path / "srv/shared-a").write_text("1")
    paths = [
        "/srv/full",
        "/srv/empty",
        "/srv/shared-*",
        "/srv/none-*",
        "/srv/shared-a",
        "/srv/gone",
    ]
    facts = sources.facts(paths, str(tmp_path))
    summary = {path: (one["exists"], one["empty"], one["kind"]) for path, one in facts.items()}
    assert summary == {
        "/srv/full": (True, False, "directory"),
        "/srv/empty": (True, True, "directory"),
        "/srv/shared-*": (True, False, "pattern"),
        "/srv/none-*": (True, True, "pattern"),
        "/srv/shared-a": (True, False, "file"),
        "/srv/gone": (False, True, None),
    }
    assert facts["/srv/full"]["file_system"]["type"]


@pytest.mark.parametrize(
    ("operation", "look"),
    [("recover", "pair.plan salt."), ("failover", "pair.plan salt operation=failover.")],
)
def test_the_commands_are_those_of_the_operation_that_was_refused(operation, look):
    previews = [seen(deleted=200, total=300)]
    for sentence in limits.limit_problems(previews, 100, 25, "salt", operation):
        assert look in sentence and f"orch.{operation} pillar='{{pair: salt, max_" in sentence
    sentence = limits.final_sync_sentence("/srv/data", 100, "salt", operation)
    assert look in sentence and f"orch.{operation} pillar='{{pair: salt, max_delete: 1000}}'" in sentence


@pytest.mark.parametrize(
    ("longest", "named"),
    [
        ([], []),
        ([(130, None)], []),
        ([(4095, "/srv/a")], []),
        ([(4096, "/srv/a")], ["/srv/a"]),
        ([(4097, "/srv/a"), (200, "/srv/b"), (9000, "/srv/c")], ["/srv/a", "/srv/c"]),
    ],
)
def test_a_path_too_long_for_the_backup_is_named(longest, named):
    problems = limits.depth_problems(longest, "salt")
    assert [problem.split(" is to be")[0] for problem in problems] == named
    assert all("would be lost" in problem and problem.endswith("pair.plan salt") for problem in problems)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (1024**2 - 1024, "1023.0 KiB"),
        (1024**2, "1.0 MiB"),
        (5 * 1024**3, "5.0 GiB"),
        (1536 * 1024**3, "1.5 TiB"),
        (2048 * 1024**4, "2048.0 TiB"),
    ],
)
def test_sizes_are_said_as_people_read_them(number, words):
    [problem] = limits.room_problems([room(bytes=10**18, free=number, size=10)], "salt")
    assert f"/var has {words} free" in problem


@pytest.mark.parametrize(("length", "whole"), [(240, True), (241, False)])
def test_a_path_of_a_line_or_two_is_said_whole(length, whole):
    path = "/srv/" + "x" * (length - 9) + "/end"
    [problem] = limits.depth_problems([(4100, path)], "salt")
    assert problem.startswith(path) is whole
    assert whole or problem.startswith(f"{path[:120]} … {path[-120:]} is to be")


def test_a_sentence_is_no_page_whatever_the_path():
    [problem] = limits.depth_problems([(4100, "/srv/" + "x" * 4000 + "/end")], "salt")
    assert problem.startswith("/srv/x") and "/end is to be" in problem and len(problem) < 700


@pytest.mark.parametrize(
    ("now", "before", "words"),
    [
        ({}, {}, None),
        ({"exists": False}, {"exists": False}, None),
        ({"exists": False}, {}, "/srv/b on this node does not exist any more: lsyncd would delete"),
        ({"empty": True}, {}, "/srv/b on this node is empty, and was not"),
        ({"empty": True}, {"empty": True}, None),
        ({"file_system": ROOT}, {}, "/srv/b on this node lies on /dev/vda1"),
        (None, {}, None),
    ],
)
def test_each_of_this_nodes_own_paths_is_judged_for_itself(now, before, words):
    """Whatever is said, or not, of the one before it."""

    def both(one, other):
        found = {"/srv/a": fact(**one)["/srv/salt"], "/srv/c": fact()["/srv/salt"]}
        if other is not None:
            found["/srv/b"] = fact(**other)["/srv/salt"]
        return found

    for first, said in (({}, 0), ({"exists": False}, 1)):
        problems = places.own_source_problems(both(first, now), both({}, before), "salt")
        assert len(problems) == said + (words is not None)
        assert words is None or problems[-1].startswith(words)
    # One that was not there, or is not asked about, says nothing of those after it.
    problems = places.own_source_problems(both({}, now), both({"exists": False}, before), "salt")
    assert len(problems) == (words is not None)


def test_all_that_is_wrong_with_the_serving_node_s_paths_is_said_at_once():
    now = {
        "/srv/a": fact(exists=False)["/srv/salt"],
        "/srv/b": fact(empty=True, file_system=ROOT)["/srv/salt"],
        "/srv/c": fact()["/srv/salt"],
        "/srv/d": fact(exists=False)["/srv/salt"],
    }
    recorded = {path: fact()["/srv/salt"] for path in now}
    problems = places.source_problems(now, recorded, {"/srv/b": 1}, "salt")
    assert [(one.split()[0], one.split()[1]) for one in problems] == [
        ("/srv/a", "does"),
        ("/srv/b", "is"),
        ("/srv/b", "on"),
        ("/srv/d", "does"),
    ]
