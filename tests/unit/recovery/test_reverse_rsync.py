"""What brings a node home knows of its paths, of its limits, and when the last pass ended."""

import json
import types

import pytest
import samples

from failback.errors import Refused
from failback.errors import Unavailable
from failback.host import files
from failback.host import system
from failback.host.paths import Paths
from failback.pair import Member
from failback.peer import ssh
from failback.recovery import dry_run
from failback.recovery import killed
from failback.recovery import pull
from failback.recovery import reverse_rsync
from failback.recovery.reverse_rsync import ReverseRsync
from failback.replication import sources

RUN = samples.RUN


@pytest.fixture
def member(tmp_path, monkeypatch):
    def nobody(*_, **__):
        raise Unavailable("nobody is asked")

    monkeypatch.setattr(ssh, "report", nobody)
    (tmp_path / "srv/salt").mkdir(parents=True)
    return Member.of(samples.pair("salt1"), Paths(tmp_path))


def reverse(member, **details):
    return ReverseRsync(member, RUN, gate=lambda: None, **details)


# --- which paths --------------------------------------------------------------------------------------


def test_what_is_here_is_looked_at_here_and_nobody_asked(member):
    [item] = reverse_rsync.items_of(member)
    assert (item.path, item.root, item.pattern) == ("/srv/salt", "/srv/salt", None)


@pytest.mark.parametrize(
    ("kind", "root", "pattern"),
    [("directory", "/srv/data", None), ("file", "/srv", "data"), (None, "/srv/data", None)],
)
def test_of_a_path_that_is_not_here_the_other_node_knows_the_kind(member, monkeypatch, kind, root, pattern):
    asked = []
    answer = {"sources": {"/srv/data": {"kind": kind}, "/srv/more": {"kind": "directory"}}}
    monkeypatch.setattr(ssh, "report", lambda one: asked.append(one) or answer)
    member.config["replicate"] = [{"path": path} for path in ("/srv/salt", "/srv/data", "/srv/more")]
    here, item, more = reverse_rsync.items_of(member)
    assert (here.root, more.root) == ("/srv/salt", "/srv/more")
    assert (item.root, item.pattern) == (root, pattern)
    # Once for all of them; one that reports its paths already is not asked.
    assert asked == [member]
    assert reverse_rsync.items_of(member, answer["sources"])[1] == item
    assert asked == [member]


def test_a_path_that_nobody_reports_is_what_it_is_here(member):
    [item] = reverse_rsync.items_of(member, {})
    assert item.root == "/srv/salt"


# --- what speaks against it ---------------------------------------------------------------------------


def test_nothing_is_looked_at_of_a_path_that_the_serving_node_lacks(member, monkeypatch):
    monkeypatch.setattr(pull.Pull, "preview", lambda *_: pytest.fail("rsync was started"))
    gone = {"/srv/salt": {"exists": False, "empty": False, "kind": None, "file_system": None, "below": []}}
    with pytest.raises(Refused, match="/srv/salt does not exist on the serving node"):
        reverse(member, sources=gone).preview()
    # Of one that is merely empty the lists show what that would mean.
    monkeypatch.setattr(pull.Pull, "preview", lambda *_: ["looked"])
    empty = {"/srv/salt": {**gone["/srv/salt"], "exists": True, "empty": True, "kind": "directory"}}
    assert reverse(member, sources=empty).preview() == ["looked"]


def test_a_path_that_lies_elsewhere_here_is_a_reason_as_well(member, monkeypatch):
    monkeypatch.setattr(pull.Pull, "problems", lambda *_: ["too many deletions"])
    assert reverse(member).refusals([]) == ["too many deletions"]
    samples.lies_elsewhere(member)
    first, second = reverse(member).refusals([])
    assert first == "too many deletions"
    assert second.startswith("/srv/salt on salt1 lies on ") and "orch.adopt" in second


def test_a_look_of_no_run_knows_no_sources_by_itself(member):
    assert reverse(member).source_problems({}) == []
    (member.paths.root / "srv/salt/top.sls").write_text("1")
    found = sources.facts(["/srv/salt"], str(member.paths.root))
    assert reverse(member, sources=found).source_problems({}) == []


def test_each_hook_is_run_once_for_what_has_changed(member):
    member.config["replicate"] = [
        {"path": "/srv/salt", "then": "salt-master"},
        {"path": "/srv/a", "then": "libvirtd"},
        {"path": "/srv/b", "then": "libvirtd"},
        {"path": "/srv/c", "then": None},
    ]
    one = reverse(member, items=[])
    assert one.hooks(["/srv/b", "/srv/a", "/srv/c"]) == ["libvirtd"]
    assert one.hooks([]) == []
    assert one.hooks(["/srv/salt", "/srv/a"]) == ["salt-master", "libvirtd"]


@pytest.mark.parametrize(
    ("overrides", "limits", "repeated"),
    [
        (None, (100, 25), {}),
        ({"max_delete": 500}, (500, 25), {"max_delete": 500}),
        ({"max_change_percent": 0, "winner": "b"}, (100, 0), {"winner": "b", "max_change_percent": 0}),
        # What the pair allows anyway need not be said again.
        ({"max_delete": 100, "max_change_percent": None}, (100, 25), {}),
    ],
)
def test_the_limits_of_a_run_and_what_its_next_command_repeats(overrides, limits, repeated):
    before = dict(overrides or {})
    found = reverse_rsync.limits(samples.pair(), "recover", overrides)
    assert (found.max_delete, found.max_change_percent) == limits
    assert found.overrides == repeated and found.operation == "recover"
    assert (overrides or {}) == before
    assert found.parallel == 1


# --- the comparison afterwards ------------------------------------------------------------------------


@pytest.fixture
def compared(member, monkeypatch):
    """Since when both nodes are compared, and what that finds."""
    found = types.SimpleNamespace(since=[], unexplained=[], manifests=[])

    def compare(items, peer, since):
        found.since.append(since)
        return {"unexplained": found.unexplained}

    monkeypatch.setattr(dry_run, "compare", compare)
    monkeypatch.setattr(
        killed, "write_missing_manifests", lambda folder, item, top: found.manifests.append(item.path)
    )
    return found


def record(member, **content):
    files.write_json(member.run_folder(RUN) / reverse_rsync.FINAL_SYNC, {"version": 1, **content})


def kept(member):
    return json.loads((member.run_folder(RUN) / reverse_rsync.FINAL_SYNC).read_text())


@pytest.mark.parametrize(("ahead", "since"), [(0, 999_000.0), (3600, 999_000.0), (-500, 998_500.0)])
def test_what_was_written_here_since_the_final_sync_explains_a_difference(
    member, compared, monkeypatch, ahead, since
):
    """A clock that was set back since gives what was written later an earlier time."""
    clock = samples.Clock(monkeypatch, system)
    clock.now = 999_000.0
    record(member, ended=999_000.0, clocks=system.clocks(), compared=False)
    clock.now += 60
    clock.set_ahead(ahead)
    reverse(member).compare()
    assert compared.since == [since] and compared.manifests == ["/srv/salt"]
    assert kept(member)["compared"] is True


def test_a_difference_that_nothing_explains_leaves_the_run_uncompared(member, compared):
    record(member, ended=5.0, compared=False)
    compared.unexplained = ["/srv/salt/top.sls"]
    assert reverse(member).compare() == {"unexplained": ["/srv/salt/top.sls"]}
    assert kept(member)["compared"] is False and compared.since == [5.0]


def test_without_a_final_sync_there_is_nothing_to_explain_with(member, compared):
    with pytest.raises(Refused, match=f"Run {RUN} had no final sync on this node.*pair.plan salt"):
        reverse(member).compare()
    assert compared.since == compared.manifests == []


def test_where_its_end_is_not_known_any_more_nothing_explains_a_difference(member, compared, monkeypatch):
    member.run_folder(RUN).mkdir(parents=True)
    (member.run_folder(RUN) / reverse_rsync.FINAL_SYNC).write_text("torn")
    samples.in_place_of_time(monkeypatch, reverse_rsync, time=lambda: 1_000_000.0)
    reverse(member).compare()
    assert compared.since == [1_000_000.0]
    assert kept(member) == {"version": 1, "ended": 1_000_000.0, "compared": True}
