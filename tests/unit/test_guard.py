"""May a sync begin: tables of facts and what is said of them."""

import pytest

from failback import guard
from failback import sources


def seen(path="/srv/salt", overwritten=0, deleted=0, total=1000, **more):
    return {
        "path": path,
        "overwritten": overwritten,
        "deleted": deleted,
        "created": 0,
        "total_files": total,
        "bytes": 0,
        "kept_bytes": 0,
        **more,
    }


@pytest.mark.parametrize(
    ("previews", "said"),
    [
        ([], []),
        ([seen()], []),
        ([seen(deleted=100)], []),
        ([seen(deleted=101)], ["max_delete: 101}"]),
        ([seen(deleted=60), seen("/b", deleted=60)], ["max_delete: 120}"]),
        ([seen(overwritten=250)], []),
        ([seen(overwritten=251)], ["max_change_percent: 26}"]),
        ([seen(overwritten=1000)], ["max_change_percent: 100}"]),
        # A small folder: every file may change without anybody's word.
        ([seen(overwritten=20, total=20)], []),
        ([seen(overwritten=21, total=21)], ["max_change_percent: 100}"]),
        ([seen(overwritten=21, total=0)], []),
        ([seen(deleted=101, total=101)], ["max_delete: 101}", "max_change_percent: 100}"]),
    ],
)
def test_limits(previews, said):
    problems = guard.limit_problems(previews, 100, 25, "salt")
    assert len(problems) == len(said)
    for problem, words in zip(problems, said):
        assert words in problem
        assert "pillar='{pair: salt, " in problem


@pytest.mark.parametrize("changed", range(21, 400, 7))
def test_what_a_refusal_advises_is_enough(changed):
    previews = [seen(overwritten=changed, deleted=changed, total=997)]
    problems = guard.limit_problems(previews, 0, 1, "salt")
    allowed = {"max_delete": 0, "max_change_percent": 1}
    for problem in problems:
        key, value = problem.rsplit("pair: salt, ", 1)[1].rstrip("}'").split(": ")
        allowed[key] = int(value)
    assert guard.limit_problems(previews, **allowed, pair="salt") == []


XFS = {"mount": "/srv", "type": "xfs", "source": "/dev/vdb1", "root": "/"}
ROOT = {"mount": "/", "type": "ext4", "source": "/dev/vda1", "root": "/"}
SUBVOLUME = {**XFS, "root": "/other"}


def fact(exists=True, empty=False, file_system=XFS):
    return {
        "/srv/salt": {
            "exists": exists,
            "empty": empty,
            "kind": "directory" if exists else None,
            "file_system": file_system,
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
    ],
)
def test_sources(now, recorded, files_here, words):
    problems = guard.source_problems(now, recorded, files_here, "salt")
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
        # A folder below the place where the file system was mounted is gone with it.
        (fact(exists=False, file_system=ROOT), fact(), "used to lie on"),
    ],
)
def test_a_path_that_lies_elsewhere(now, recorded, words):
    found = guard.misplaced(now, recorded)
    assert list(found) == (["/srv/salt"] if words else [])
    if words:
        assert words in found["/srv/salt"]
        sentence = guard.misplaced_sentence("salt2", found, "salt")
        assert sentence.startswith("/srv/salt on salt2 lies on ") and "orch.adopt" in sentence


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
    problems = guard.room_problems([demand], "salt")
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
    for sentence in guard.limit_problems(previews, 100, 25, "salt", operation):
        assert look in sentence and f"orch.{operation} pillar='{{pair: salt, max_" in sentence
    sentence = guard.last_pass_sentence("/srv/data", 100, "salt", operation)
    assert look in sentence and f"orch.{operation} pillar='{{pair: salt, max_delete: 1000}}'" in sentence
