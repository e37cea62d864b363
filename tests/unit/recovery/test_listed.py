"""What a run has done to files, by its lists."""

import json

import pytest
import samples

from failback.host.paths import Paths
from failback.pair import Member
from failback.recovery import backup
from failback.recovery import listed
from failback.replication import replicated


@pytest.fixture
def member(tmp_path):
    return Member.of(samples.pair(), Paths(tmp_path))


def listing(member, *passes):
    folder = backup.Folder(member.run_folder(samples.RUN))
    item = replicated.Item("/srv/salt", "/srv/salt", None)
    folder.prepare([item])
    for number, entries in enumerate(passes, 1):
        folder.list_file(item.module, number).write_text("".join(f"{json.dumps(one)}\n" for one in entries))


def entry(number, action="overwritten", **more):
    return {"action": action, "path": f"/srv/salt/{number}", "size": 1, "code": ">f", **more}


def test_all_passes_are_counted_and_the_first_names_are_kept(member):
    many = [entry(number) for number in range(100)]
    listing(member, many, [entry(7, "deleted", conflict="newer here"), {"action": "other", "path": "x"}])
    (found,) = listed.of_run(member, samples.RUN, 3)
    assert (found["path"], found["passes"]) == ("/srv/salt", 2)
    assert found["counts"] == {"overwritten": 100, "deleted": 1, "created": 0, "attributes": 0}
    assert found["names"]["overwritten"] == ["/srv/salt/0", "/srv/salt/1", "/srv/salt/2"]
    assert (found["conflicts"], found["conflict_names"]) == (1, {"/srv/salt/7": "newer here"})


def test_a_run_without_lists_has_no_files(member):
    assert listed.of_run(member, samples.RUN, 3) == []
    member.runs.note("takeover", "why", "It is so.")
    assert listed.of_run(member, samples.RUN, 3) == []
