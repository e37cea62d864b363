"""What is looked at between the passes of a sync, and what survives where one ends early."""

import os
import pathlib

import pytest
import trees

from failback import errors
from failback.recovery import backup
from failback.recovery import dry_run
from failback.recovery import pull
from failback.recovery import restore


@pytest.fixture
def nodes(tmp_path):
    return trees.Nodes(tmp_path)


@pytest.fixture
def run(tmp_path):
    return tmp_path / "runs" / "run1"


@pytest.fixture
def served(nodes):
    """An item, its folders here and there; thirty files are new there."""
    here, there = nodes.here / "srv/salt", nodes.there / "srv/salt"
    trees.make(there, {f"file{number}": "new" for number in range(30)})
    trees.make(here, {"file0": "old", "file1": "old"})
    return nodes.item("/srv/salt"), here, there


@pytest.mark.parametrize("what", ["it is empty", "most of it is gone"])
def test_a_source_that_loses_its_files_between_two_passes_is_found(nodes, run, served, monkeypatch, what):
    item, here, there = served
    asked = []

    def gate():
        asked.append(1)
        if len(asked) == 1:
            # Seen by the look behind this pass, which is a large one.
            return
        pytest.fail("another pass began")

    def lose(_item):
        names = sorted(os.listdir(there))
        for name in names if what == "it is empty" else names[1:]:
            (there / name).unlink()

    real = pull.PathPull.one_pass

    def one_pass(self):
        done = real(self)
        lose(item)
        return done

    monkeypatch.setattr(pull.PathPull, "one_pass", one_pass)
    limits = pull.Limits(max_delete=5, small_pass=3)
    with pytest.raises(errors.Refused, match="empty" if what == "it is empty" else "29"):
        pull.Pull([item], nodes.peer([item]), run, limits, gate=gate).sync()
    assert len(os.listdir(here)) == 30
    # The pass that did not come has left no list that says it began.
    assert backup.Folder(run).passes(item.module) == [1]


def test_a_killed_pass_gets_its_manifest_from_the_next_one(nodes, run, served):
    """Without one nothing would say what is in its backup, nor could it be put back and proved."""
    item, here, _there = served
    pull.Pull([item], nodes.peer([item]), run).sync()
    folder = backup.Folder(run)
    kept = folder.manifest_file(item.module, 1).read_bytes()
    assert b"file0" in kept
    folder.manifest_file(item.module, 1).unlink()
    pull.Pull([item], nodes.peer([item]), run).sync()
    assert folder.manifest_file(item.module, 1).read_bytes() == kept
    restore.restore(run, run.parent / "undo", root=str(nodes.here))
    assert (here / "file0").read_text() == "old"


class Order:
    """Which files were synced, and renamed, in which order."""

    def __init__(self, monkeypatch):
        self.steps = []
        real_fsync, real_replace = os.fsync, os.replace

        def fsync(descriptor):
            self.steps.append(("fsync", pathlib.Path(os.readlink(f"/proc/self/fd/{descriptor}")).name))
            return real_fsync(descriptor)

        def replace(source, target, **folders):
            self.steps.append(("rename", os.path.basename(os.fsdecode(target))))
            return real_replace(source, target, **folders)

        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(os, "replace", replace)


def test_a_manifest_is_on_the_disk_before_it_has_its_name(nodes, run, served, monkeypatch):
    item, _here, _there = served
    pull.Pull([item], nodes.peer([item]), run).sync()
    folder = backup.Folder(run)
    order = Order(monkeypatch)
    backup.write_manifest(folder, item, 1)
    assert order.steps == [("fsync", "001.new"), ("rename", "001.jsonl")]


def test_a_list_is_on_the_disk_before_its_pass_begins(nodes, run, served, monkeypatch):
    item, _here, _there = served
    order = Order(monkeypatch)
    real = pull.PathPull.one_pass

    def one_pass(self):
        order.steps.append(("pass", str(self._number)))
        return real(self)

    monkeypatch.setattr(pull.PathPull, "one_pass", one_pass)
    pull.Pull([item], nodes.peer([item]), run, pull.Limits(max_passes=1)).sync()
    steps = [step for step in order.steps if step in (("fsync", "001.jsonl"), ("pass", "1"))]
    assert steps == [("fsync", "001.jsonl"), ("pass", "1")]


def test_a_list_of_an_undo_is_on_the_disk_before_anything_is_put_back(nodes, run, served, monkeypatch):
    item, here, _there = served
    pull.Pull([item], nodes.peer([item]), run).sync()
    order = Order(monkeypatch)
    restore.restore(run, run.parent / "undo", root=str(nodes.here))
    assert (here / "file0").read_text() == "old"
    put_back = order.steps.index(("rename", "file0"))
    assert ("fsync", "001.jsonl") in order.steps[:put_back]


def test_a_preview_that_nobody_keeps_syncs_nothing(nodes, served, monkeypatch):
    item, _here, _there = served
    order = Order(monkeypatch)
    dry_run.preview(item, nodes.peer([item]))
    assert order.steps == []
