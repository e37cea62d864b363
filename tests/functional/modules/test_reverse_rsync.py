"""The execution module as Salt loads it, with a real rsync daemon as its peer."""

import collections
import contextlib
import inspect
import json
import os
import time
import types

import pytest
import trees
from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltInvocationError

from failback import errors
from failback.handover import taker
from failback.host import notation
from failback.host.paths import Paths
from failback.pair import Member
from failback.recovery import handover_sync
from failback.recovery import meter
from failback.recovery import rsync
from failback.recovery.reverse_rsync import ReverseRsync
from failback.replication import gate
from failback.replication import sources

RUN = "20261122T183000-recover-salt-4f2a"
UNDO = "20261122T190000-undo-salt-0c11"

PATHS = ("/srv/salt", "/etc/salt/pki/master", "/etc/libvirt/qemu/shared-*", "/etc/hosts--warewulf")


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    return trees.Nodes(tmp_path_factory.mktemp("nodes"))


@pytest.fixture(scope="module")
def minion_opts(minion_opts, nodes):
    minion_opts["failback_root"] = str(nodes.here)
    minion_opts["failback_remote_shell"] = str(nodes.folder / "far-end")
    return minion_opts


@pytest.fixture
def pair(nodes, monkeypatch):
    """The salt pair on both nodes; returns the arguments with which the gate was asked."""
    for side in (nodes.here, nodes.there):
        for name in ("srv", "etc", "var"):
            trees.subprocess.run(["rm", "-rf", str(side / name)], check=True)
    trees.make(
        nodes.there,
        {
            "srv/salt/top.sls": "new\n",
            "srv/salt/added.sls": "new",
            "etc/salt/pki/master/minions/web": "key",
            "etc/libvirt/qemu/shared-idm.xml": "<domain/>",
            "etc/hosts--warewulf": "10.0.0.1 web",
        },
    )
    trees.make(
        nodes.here,
        {
            "srv/salt/top.sls": "older\n",
            "srv/salt/removed.sls": "old",
            "etc/salt/pki/master/minions/web": "key",
            "etc/libvirt/qemu/private.xml": "ours",
            "etc/hosts--warewulf": "",
        },
    )
    config = {
        "version": 1,
        "name": "salt",
        "node": "salt1",
        "primary": {"id": "salt1", "host": "salt1"},
        "secondary": {"id": "salt2", "host": "10.0.0.12"},
        "replicate": [{"path": path, "then": "libvirtd" if "libvirt" in path else None} for path in PATHS],
        "watch": {"patience": 2.0},
        "lsyncd": {"delay": 1},
        "recovery": {
            "max_delete": 3,
            "max_change_percent": 25,
            "small_pass": 20,
            "max_passes": 5,
            "keep_backups": 2,
            "keep_days": 0,
        },
    }
    file = Paths(nodes.here).pair_config("salt")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(config))
    nodes.peer([nodes.item(path, path.startswith(("/srv", "/etc/salt"))) for path in PATHS])
    asked = []
    monkeypatch.setattr(gate, "require_pull", lambda member, run: asked.append(run))
    monkeypatch.setattr(gate, "require_undo", lambda member, run: asked.append(run))
    return asked


def test_preview_shows_each_path(modules, nodes, pair):
    found = {each["path"]: each for each in modules.reverse_rsync.preview("salt")}
    assert list(found) == list(PATHS)
    assert found["/srv/salt"]["names"]["deleted"] == ["/srv/salt/removed.sls"]
    assert found["/srv/salt"]["names"]["overwritten"] == ["/srv/salt/top.sls"]
    assert found["/srv/salt"]["names"]["created"] == ["/srv/salt/added.sls"]
    assert found["/srv/salt"]["source"] == "10.0.0.12"
    assert (nodes.here / "srv/salt/removed.sls").exists()
    with open(found["/srv/salt"]["list"], encoding="utf-8") as handle:
        assert len(handle.readlines()) == 4
    assert pair == []


def test_preview_lists_what_was_changed_here_after_the_takeover(modules, nodes, pair):
    takeover = time.time() - 60
    for name in ("top.sls", "removed.sls"):
        os.utime(nodes.here / "srv/salt" / name, (takeover - 1000, takeover - 1000))
    os.utime(nodes.here / "srv/salt/top.sls")
    found = {one["path"]: one for one in modules.reverse_rsync.preview("salt", takeover=takeover)}
    assert found["/srv/salt"]["conflict_names"] == {
        "/srv/salt/top.sls": "changed on both nodes since the takeover"
    }


def test_what_an_interrupted_recovery_has_brought_is_no_conflict(modules, nodes, pair):
    """A client goes on with a file that a first run has brought already: it is not one of this node's own."""
    takeover = time.time() - 60
    modules.reverse_rsync.synced("salt", RUN, takeover=takeover)
    trees.make(nodes.there, {"srv/salt/top.sls": "newer\n", "srv/salt/added.sls": "newer"})
    trees.make(nodes.here, {"srv/salt/own.sls": "made here since"})
    found = {one["path"]: one for one in modules.reverse_rsync.preview("salt", takeover=takeover)}
    assert found["/srv/salt"]["overwritten"] == 2
    assert list(found["/srv/salt"]["conflict_names"]) == ["/srv/salt/own.sls"]


def test_conflicts_are_counted_and_named_in_the_report_of_the_run(modules, nodes, pair):
    takeover = time.time() - 60
    done = modules.reverse_rsync.synced("salt", RUN, takeover=takeover)
    assert done["changes"]["/srv/salt"]["conflicts"] == {
        "/srv/salt/top.sls": "changed on both nodes since the takeover",
        "/srv/salt/removed.sls": "changed here since the takeover",
    }
    assert "of those had been changed here, or were newer here" in done["comment"]


def test_synced_brings_all_paths_in_step(modules, nodes, pair):
    done = modules.reverse_rsync.synced("salt", RUN)
    assert (nodes.here / "srv/salt/top.sls").read_text() == "new\n"
    assert not (nodes.here / "srv/salt/removed.sls").exists()
    assert (nodes.here / "etc/libvirt/qemu/private.xml").read_text() == "ours"
    assert (nodes.here / "etc/libvirt/qemu/shared-idm.xml").exists()
    assert (nodes.here / "etc/hosts--warewulf").read_text() == "10.0.0.1 web"
    assert done["then"] == ["libvirtd"]
    assert done["changes"]["/srv/salt"]["deleted"] == 1
    assert set(pair) == {RUN}
    again = modules.reverse_rsync.synced("salt", RUN)
    assert again["changes"] == {}
    assert "already" in again["comment"]


def test_all_results_survive_salts_own_transport(modules, nodes, pair):
    import salt.payload

    trees.make(nodes.there, {b"srv/salt/" + name: b"1" for name in trees.HARD_NAMES})
    for done in (modules.reverse_rsync.preview("salt"), modules.reverse_rsync.synced("salt", RUN)):
        assert salt.payload.loads(salt.payload.dumps(done)) == done
        json.dumps(done)


def test_a_closed_gate_fails_the_call(modules, nodes, pair, monkeypatch):
    def closed(member, run):
        raise gate.Refused("salt2 does not serve.")

    monkeypatch.setattr(gate, "require_pull", closed)
    with pytest.raises(CommandExecutionError, match="does not serve"):
        modules.reverse_rsync.synced("salt", RUN)
    assert (nodes.here / "srv/salt/top.sls").read_text() == "older\n"


def test_too_many_deletions_and_the_way_to_allow_them(modules, nodes, pair):
    trees.make(nodes.here, {f"srv/salt/gone{number}": "" for number in range(5)})
    with pytest.raises(CommandExecutionError, match="max_delete: 10"):
        modules.reverse_rsync.synced("salt", RUN)
    with pytest.raises(CommandExecutionError, match="max_delete: 10"):
        modules.reverse_rsync.checked("salt")
    assert (nodes.here / "srv/salt/gone1").exists()
    modules.reverse_rsync.synced("salt", RUN, max_delete=6)
    assert not (nodes.here / "srv/salt/gone1").exists()


def test_the_overrides_of_a_run_are_in_the_command_that_allows_more(modules, nodes, pair):
    trees.make(nodes.here, {f"srv/salt/gone{number}": "" for number in range(5)})
    overrides = {"winner": "salt2", "reason": "it's newer"}
    said = (
        "{pair: salt, winner: salt2, reason: \"it'\"'\"'s newer\", max_change_percent: 99, max_delete: 10}'"
    )
    with pytest.raises(CommandExecutionError) as refused:
        modules.reverse_rsync.checked("salt", overrides=overrides, max_change_percent=99)
    assert said in str(refused.value)


def test_sources_that_moved_are_refused(modules, nodes, pair):
    facts = sources.facts(PATHS, str(nodes.there))
    sources.record(Member("salt", Paths(nodes.here)), facts)
    assert modules.reverse_rsync.checked("salt", facts)
    moved = json.loads(json.dumps(facts))
    moved["/srv/salt"]["file_system"]["source"] = "/dev/other"
    with pytest.raises(CommandExecutionError, match="used to lie on"):
        modules.reverse_rsync.synced("salt", RUN, moved)
    gone = json.loads(json.dumps(facts))
    gone["/srv/salt"].update(exists=False, kind=None)
    with pytest.raises(CommandExecutionError, match="does not exist on the serving node"):
        modules.reverse_rsync.synced("salt", RUN, gone)
    assert (nodes.here / "srv/salt/removed.sls").exists()


def test_a_path_missing_here_is_of_the_kind_the_source_has(modules, nodes, pair):
    trees.subprocess.run(["rm", "-rf", str(nodes.here / "srv"), str(nodes.here / "etc/salt")], check=True)
    os.unlink(nodes.here / "etc/hosts--warewulf")
    modules.reverse_rsync.synced("salt", RUN, sources.facts(PATHS, str(nodes.there)))
    assert (nodes.here / "srv/salt/top.sls").read_text() == "new\n"
    assert (nodes.here / "etc/hosts--warewulf").is_file()


def test_restored_and_its_preview(modules, nodes, pair):
    modules.reverse_rsync.synced("salt", RUN)
    seen = modules.reverse_rsync.restored("salt", RUN, UNDO, test=True)
    assert (nodes.here / "srv/salt/top.sls").read_text() == "new\n"
    done = modules.reverse_rsync.restored("salt", RUN, UNDO)
    assert done == seen
    assert (nodes.here / "srv/salt/top.sls").read_text() == "older\n"
    assert (nodes.here / "srv/salt/removed.sls").read_text() == "old"
    assert (nodes.here / "etc/hosts--warewulf").read_text() == ""
    assert "/srv/salt/added.sls" in done["created_names"]


def test_restored_conflicts_alone(modules, nodes, pair):
    trees.make(nodes.here, {"srv/salt/own.sls": "made here since"})
    done = modules.reverse_rsync.synced("salt", RUN, takeover=time.time() - 60)
    found = sorted(name for each in done["paths"] for name in each["conflict_names"])
    assert "/srv/salt/own.sls" in found and not (nodes.here / "srv/salt/own.sls").exists()
    seen = modules.reverse_rsync.restored("salt", RUN, UNDO, test=True, conflicts=True)
    assert sorted(set(seen["restored_names"])) == found
    modules.reverse_rsync.restored("salt", RUN, UNDO, conflicts=True)
    assert (nodes.here / "srv/salt/own.sls").read_text() == "made here since"
    with pytest.raises(SaltInvocationError, match="exclude each other"):
        modules.reverse_rsync.restored("salt", RUN, UNDO, "/srv/salt", conflicts=True)


def test_conflicts_of_a_run_that_had_none_are_not_taken_for_all_of_it(modules, nodes, pair):
    modules.reverse_rsync.synced("salt", RUN)
    with pytest.raises(CommandExecutionError, match="had no conflicts"):
        modules.reverse_rsync.restored("salt", RUN, UNDO, conflicts=True)
    assert (nodes.here / "srv/salt/top.sls").read_text() == "new\n"


def test_restored_one_path(modules, nodes, pair):
    modules.reverse_rsync.synced("salt", RUN)
    modules.reverse_rsync.restored("salt", RUN, UNDO, paths="/srv/salt/removed.sls")
    assert (nodes.here / "srv/salt/removed.sls").exists()
    assert (nodes.here / "srv/salt/top.sls").read_text() == "new\n"


def test_final_sync_and_comparison(modules, nodes, pair):
    modules.reverse_rsync.synced("salt", RUN)
    with pytest.raises(CommandExecutionError, match="no final sync"):
        modules.reverse_rsync.compared("salt", RUN)
    trees.make(nodes.there, {"srv/salt/last.sls": "1", "etc/libvirt/qemu/shared-idm.xml": "<x/>"})
    member = Member.load("salt", Paths(nodes.here))
    shell = str(nodes.folder / "far-end")
    last = handover_sync.FinalSync(ReverseRsync.of_run(member, RUN, remote_shell=shell))
    last.expect()
    assert member.runs.uncompared(RUN) == RUN, "also if it is killed in the window"
    done = last.run(limit=10)
    last.close()
    assert done["changed"] == ["/srv/salt", "/etc/libvirt/qemu/shared-*"]
    assert done["then"] == ["libvirtd"]
    assert (nodes.here / "srv/salt/last.sls").exists()
    assert member.runs.uncompared(RUN) == RUN
    assert modules.reverse_rsync.compared("salt", RUN)["unexplained"] == []
    assert member.runs.uncompared(RUN) is None
    os.utime(nodes.there / "srv/salt/last.sls", (1, 1))
    found = modules.reverse_rsync.compared("salt", RUN)
    assert found["unexplained"] == ["/srv/salt/last.sls"]


def test_the_final_sync_of_a_handover_is_of_the_run_and_goes_through_the_open_connection(
    modules, nodes, pair, monkeypatch
):
    modules.reverse_rsync.synced("salt", RUN)
    commands = []
    monkeypatch.setattr(rsync.Pass, "__enter__", lambda self: commands.append(self.command) or self)
    monkeypatch.setattr(rsync.Pass, "__exit__", lambda self, *_: False)

    def become_active(member, run, prepare):
        sync = prepare("/run/open connection")
        unchanged = types.SimpleNamespace(get=lambda *_: {"names": [], "folders": [], "why": None})
        sync.expect(contextlib.nullcontext(types.SimpleNamespace(changes=lambda run: unchanged)))
        sync.close()
        raise CommandExecutionError("far enough")

    monkeypatch.setattr(taker, "become_active", become_active)
    with pytest.raises(CommandExecutionError, match="far enough"):
        modules.pair.handover("salt", RUN, max_delete=7)
    assert len(commands) == len(PATHS)
    for command in commands:
        assert "--max-delete=7" in command and "10.0.0.12::" in command[-2]
        assert any("/run/open connection" in word for word in command), command


def test_a_preview_before_a_handover_notes_what_differs(modules, nodes, pair):
    trees.make(nodes.there, {"srv/salt/ü new": "1", b"srv/salt/\xff/x": "2"})
    member = Member.load("salt", Paths(nodes.here))
    done = []

    class Journals:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def mark(self, item):
            done.append(("mark", item.path))

        def note(self, item, names):
            done.append((item.path, {notation.raw(name) for name in names}))

    shell = str(nodes.folder / "far-end")
    ReverseRsync(member, remote_shell=shell, journals=Journals()).preview()
    count = len(member.config["replicate"])
    assert {what for what, _ in done[:count]} == {"mark"}
    noted = dict(done[count:])
    assert {b"top.sls", "ü new".encode(), b"\xff", b"\xff/x"} <= noted["/srv/salt"]
    assert noted["/etc/hosts--warewulf"] == {b"hosts--warewulf"}


def test_pruned_keeps_as_many_as_the_pair_says(modules, nodes, pair):
    for number in range(4):
        run = f"2026112{number}T183000-recover-salt-4f2a"
        trees.make(nodes.there, {"srv/salt/top.sls": f"newer by {number}"})
        modules.reverse_rsync.synced("salt", run)
    removed = modules.reverse_rsync.pruned("salt")
    assert len(removed) == 2
    left = [each.name for each in Paths(nodes.here).runs("salt").iterdir() if each.is_dir()]
    assert sorted(left) == [f"2026112{number}T183000-recover-salt-4f2a" for number in (2, 3)]


@pytest.mark.parametrize("run", ["", "../../../etc", "20261122T183000-recover-salt-4f2a/..", None, 7])
def test_what_is_no_run_is_refused(modules, pair, run):
    for call in (modules.reverse_rsync.synced, modules.reverse_rsync.compared):
        with pytest.raises(CommandExecutionError, match="not the id of a run"):
            call("salt", run)


def test_unknown_pair(modules, pair):
    with pytest.raises(CommandExecutionError, match="knows no pair"):
        modules.reverse_rsync.preview("nosuch")


@pytest.mark.parametrize("value", ["100", True, -1, []])
def test_limits_are_numbers(modules, pair, value):
    with pytest.raises(SaltInvocationError, match="max_delete"):
        modules.reverse_rsync.synced("salt", RUN, max_delete=value)


@pytest.mark.one_release
@pytest.mark.parametrize("name", ["max_delete", "max_change_percent"])
@pytest.mark.parametrize("function", ["checked", "synced", "refusals"])
def test_a_limit_may_be_any_number_from_nought(modules, nodes, pair, name, function):
    words = {"synced": (RUN,), "refusals": ([],)}.get(function, ())
    with pytest.raises(SaltInvocationError, match=f"{name} must not be negative, but is -0.5"):
        getattr(modules.reverse_rsync, function)("salt", *words, **{name: -0.5})
    with pytest.raises(SaltInvocationError, match=f"{name} must be a number, not 'many'"):
        getattr(modules.reverse_rsync, function)("salt", *words, **{name: "many"})
    if function == "refusals":
        assert modules.reverse_rsync.refusals("salt", [], **{name: 0}) == []


@pytest.mark.one_release
@pytest.mark.parametrize("takeover", [[1.0], [1.0, 2.0, 3.0, 4.0], "now", [1.0, "now"], [True, 1.0], -1])
def test_a_takeover_is_one_moment_or_what_both_clocks_say(modules, nodes, pair, takeover):
    for call in (modules.reverse_rsync.preview, modules.reverse_rsync.checked):
        with pytest.raises(SaltInvocationError, match="takeover"):
            call("salt", takeover=takeover)
        with pytest.raises(SaltInvocationError, match="names must be a number"):
            call("salt", names="all")


@pytest.mark.one_release
def test_a_takeover_is_told_by_the_clock_of_each_node(modules, nodes, pair):
    """What was changed here counts by this node's clock, however the other one's is set."""
    now = time.time()
    os.utime(nodes.here / "srv/salt/removed.sls", (now - 500, now - 500))
    os.utime(nodes.here / "srv/salt/top.sls")

    def named(takeover):
        (found, *_) = modules.reverse_rsync.preview("salt", takeover=takeover)
        return found["conflict_names"].get("/srv/salt/removed.sls")

    assert named([now - 300, now - 9000]) is None and named(now - 300) is None
    assert named([now - 900, now]) is not None and named(now - 900) is not None
    assert named([now - 300, now - 9000, now - 900]) is not None


@pytest.mark.one_release
def test_what_speaks_against_a_sync_names_the_command_of_the_run(modules, nodes, pair):
    trees.make(nodes.here, {f"srv/salt/gone{number}": "" for number in range(5)})
    previews = modules.reverse_rsync.preview("salt")
    given = {"winner": "salt2"}
    for words in ({"overrides": given}, {"words": given}):
        said = modules.reverse_rsync.refusals("salt", previews, max_change_percent=99, **words)
        assert any("orch.recover pillar='{pair: salt, winner: salt2," in one for one in said)
        with pytest.raises(CommandExecutionError, match="{pair: salt, winner: salt2,"):
            modules.reverse_rsync.checked("salt", max_change_percent=99, **words)
    said = modules.reverse_rsync.refusals("salt", previews, max_change_percent=99, operation="failover")
    assert any("orch.failover pillar='{pair: salt, max" in one for one in said)
    assert modules.reverse_rsync.refusals("salt", previews, max_delete=6, max_change_percent=99) == []


@pytest.mark.one_release
def test_a_preview_for_a_handover_is_that_of_a_run(modules, nodes, pair):
    with pytest.raises(CommandExecutionError, match="not the id of a run"):
        modules.reverse_rsync.checked("salt", run="../../etc")
    assert [one["path"] for one in modules.reverse_rsync.checked("salt", max_change_percent=99)] == list(
        PATHS
    )


@pytest.mark.one_release
@pytest.mark.parametrize("paths", ["srv/salt", ["/srv/salt", "top.sls"], [7], [b"/srv/salt"]])
def test_only_absolute_paths_are_put_back(modules, nodes, pair, paths):
    modules.reverse_rsync.synced("salt", RUN)
    before = trees.fingerprint(nodes.here / "srv")
    with pytest.raises(SaltInvocationError, match="paths must be absolute paths"):
        modules.reverse_rsync.restored("salt", RUN, UNDO, paths)
    assert trees.fingerprint(nodes.here / "srv") == before


@pytest.mark.one_release
@pytest.mark.parametrize("ids", [("../etc", UNDO), (RUN, "../etc"), (RUN, None)])
def test_what_is_no_run_is_neither_taken_back_nor_kept(modules, nodes, pair, ids):
    with pytest.raises(CommandExecutionError, match="not the id of a run"):
        modules.reverse_rsync.restored("salt", *ids)


@pytest.mark.one_release
def test_a_run_that_is_spared_keeps_its_backup_whatever_its_age(modules, nodes, pair):
    runs = [f"2026112{number}T183000-recover-salt-4f2a" for number in range(4)]
    for number, run in enumerate(runs):
        trees.make(nodes.there, {"srv/salt/top.sls": f"newer by {number}"})
        modules.reverse_rsync.synced("salt", run)
    assert runs[0] not in modules.reverse_rsync.pruned("salt", spare=runs[0])
    assert Paths(nodes.here).runs("salt").joinpath(runs[0], "backup").exists()
    assert runs[0] in modules.reverse_rsync.pruned("salt")


@pytest.mark.one_release
@pytest.mark.parametrize("file_client", ["remote", "local"])
def test_the_master_hears_how_far_the_files_are_where_there_is_one(
    modules, nodes, pair, monkeypatch, file_client
):
    sent = []
    module = inspect.unwrap(modules.reverse_rsync.synced).__globals__
    functions = collections.ChainMap({"event.send": lambda *words: sent.append(words)}, module["__salt__"])
    monkeypatch.setitem(module, "__salt__", functions)
    monkeypatch.setitem(module, "__opts__", {**module["__opts__"], "file_client": file_client})

    @contextlib.contextmanager
    def telling(moved, tell):
        if tell is not None:
            tell(5, 10, 2.6)
        yield

    monkeypatch.setattr(meter, "telling", telling)
    modules.reverse_rsync.synced("salt", RUN)
    told = (f"failback/salt/{RUN}/pre-sync/moved", {"done": 5, "whole": 10, "per_second": 3})
    assert set(map(str, sent)) == ({str(told)} if file_client == "remote" else set())


def test_every_function_has_an_example(modules):
    for name in ("preview", "refusals", "checked", "synced", "compared", "restored", "pruned"):
        text = getattr(modules.reverse_rsync, name).__doc__
        assert f"salt salt1 reverse_rsync.{name} salt" in text


@pytest.mark.parametrize("how", ["the connection is lost", "the gate refuses"])
def test_conflicts_outlive_a_run_that_ended_before_it_came_to_them(modules, nodes, pair, monkeypatch, how):
    takeover = time.time() - 60
    os.utime(nodes.here / "srv/salt/removed.sls", (takeover - 1000, takeover - 1000))
    conflicts = {"/srv/salt/top.sls": "changed on both nodes since the takeover"}
    found = {one["path"]: one for one in modules.reverse_rsync.preview("salt", takeover=takeover)}
    assert found["/srv/salt"]["conflict_names"] == conflicts
    far_end = nodes.folder / "far-end"
    good, count = far_end.read_text(), nodes.folder / "count"
    with monkeypatch.context() as patch:
        if how == "the gate refuses":

            def refuse(member, run):
                raise errors.Refused("the other node does not answer")

            patch.setattr(gate, "require_pull", refuse)
        else:
            # The looks before the first pass are answered, and nothing after them.
            paths = len(modules.reverse_rsync.preview("salt", takeover=takeover))
            far_end.write_text(
                good.replace(
                    "#!/bin/sh\n",
                    f"#!/bin/sh\necho >> {count}\n[ $(wc -l < {count}) -gt {paths} ] && exit 255\n",
                )
            )
        with pytest.raises(CommandExecutionError):
            modules.reverse_rsync.synced("salt", RUN, takeover=takeover)
    far_end.write_text(good)
    assert (nodes.here / "srv/salt/top.sls").read_text() == "older\n", "something was brought"
    done = modules.reverse_rsync.synced("salt", "20261122T184000-recover-salt-5555", takeover=takeover)
    assert done["changes"]["/srv/salt"]["conflicts"] == conflicts
