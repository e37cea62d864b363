"""The module ``pair`` on one node, loaded as Salt loads it; what needs a peer is in the lab."""

import ast
import json
import os
import pathlib
import shutil
import time

import pytest
import samples
from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltInvocationError

from failback.host import files
from failback.host import services
from failback.host import system
from failback.host.paths import Paths
from failback.monitoring import lags
from failback.pair import Member
from failback.replication import sources
from failback.state import ledger
from failback.state import pause as pauses

MODULES = pathlib.Path(__file__).resolve().parents[3] / "salt/_modules"

RUN = "20261122T183000-recover-salt-4f2a"
NEXT = "20261122T184500-recover-salt-77aa"


@pytest.fixture
def member(minion_opts):
    """The node, in a folder that stands for its root and is empty for each test."""
    yield Member("salt", Paths(minion_opts["failback_root"]))
    shutil.rmtree(minion_opts["failback_root"], ignore_errors=True)


@pytest.fixture
def elsewhere(modules, member):
    """salt2, the standby of generation 4, whose path lies elsewhere than it did; the run owns the lock."""
    files.write_json(member.paths.pair_config("salt"), samples.pair("salt2"))
    (member.paths.root / "srv/salt").mkdir(parents=True)
    modules.pair.lock("salt", RUN, "recover", living(), 600)
    member.ledger.write(ledger.Entry(4, "salt1", None, "a test"))
    samples.lies_elsewhere(member)
    return member


def test_a_node_whose_path_lies_elsewhere_is_told_who_is_active_and_is_not_admitted(modules, elsewhere):
    said = r"salt2 is not admitted to salt\. /srv/salt on salt2 lies on"
    with pytest.raises(CommandExecutionError, match=said):
        modules.pair.admit("salt", 5, "salt1", RUN, "a test")
    assert elsewhere.ledger.read()["generation"] == 4
    assert modules.pair.admit("salt", 5, "salt1", RUN, "a test", admitted=False)["generation"] == 5
    with pytest.raises(CommandExecutionError, match="salt2 is no winner"):
        modules.pair.win("salt", RUN, 7, "by word")


def test_what_lies_elsewhere_is_recorded_only_by_an_operators_word(modules, elsewhere):
    record = elsewhere.state / "sources.json"
    before = json.loads(record.read_text())["own"]
    there = sources.facts(["/srv/salt"], str(elsewhere.paths.root))
    modules.pair.record_sources("salt", RUN, there)
    assert json.loads(record.read_text())["own"] == before
    modules.pair.close_run("salt", RUN, {"result": "succeeded"}, sources=there)
    assert json.loads(record.read_text())["own"] == before
    assert "/srv/salt" in sources.misplaced(elsewhere)
    modules.pair.lock("salt", RUN, "recover", living(), 600)
    assert elsewhere.ledger.read()["boot_id"]
    modules.pair.record_sources("salt", RUN, there, moved=True)
    assert json.loads(record.read_text())["own"] == there
    assert sources.misplaced(elsewhere) == {}
    # What was carried before is on the other disk: it takes nothing over before both are compared.
    assert elsewhere.ledger.read()["boot_id"] == ""
    modules.pair.admit("salt", 4, "salt1", RUN, "a test")


def test_what_a_node_alone_has_stays_unsaved_when_its_data_are_moved(modules, elsewhere):
    elsewhere.ledger.write(ledger.Entry(5, "salt1", None, "stepped down", admitted=False, unsaved=True))
    there = sources.facts(["/srv/salt"], str(elsewhere.paths.root))
    modules.pair.record_sources("salt", RUN, there, moved=True)
    assert elsewhere.ledger.read()["unsaved"] is True
    modules.pair.admit("salt", 5, "salt1", RUN, "boot", admitted=False, unsaved=True)
    assert elsewhere.ledger.read()["unsaved"] is True
    modules.pair.admit("salt", 5, "salt1", RUN, "saved", admitted=False)
    assert "unsaved" not in elsewhere.ledger.read()


def test_the_winner_of_a_split_has_served_since_it_took_over(modules, member, monkeypatch):
    """By that moment the plan tells what the loser has written since."""
    files.write_json(member.paths.pair_config("salt"), samples.pair("salt2"))
    modules.pair.lock("salt", RUN, "recover", living(), 600)
    monkeypatch.setattr(ledger, "now", lambda: "then")
    member.ledger.write(ledger.Entry(4, "salt2", None, "silence"))
    monkeypatch.setattr(ledger, "now", lambda: "now")
    assert modules.pair.win("salt", RUN, 7, "by word")["since"] == "then"


def test_a_damaged_record_is_named_and_recorded_anew_by_an_operators_word(modules, elsewhere):
    record = elsewhere.state / "sources.json"
    record.write_text("{")
    with pytest.raises(CommandExecutionError, match="is damaged.*Mount all that belongs.*moved: true"):
        modules.pair.admit("salt", 5, "salt1", RUN, "a test")
    modules.pair.record_sources(
        "salt", RUN, sources.facts(["/srv/salt"], str(elsewhere.paths.root)), moved=True
    )
    modules.pair.admit("salt", 5, "salt1", RUN, "a test")


def test_a_path_that_only_the_other_node_names_is_neither_made_nor_looked_at(
    modules, member, tmp_path, monkeypatch
):
    """A node that was broken into may report whatever it likes."""
    config = samples.pair("salt2", replicate=[{"path": str(tmp_path / "own"), "then": None}])
    files.write_json(member.paths.pair_config("salt"), config)
    monkeypatch.setattr(services, "of_the_active_node", lambda config: [])
    modules.pair.lock("salt", RUN, "recover", living(), 600)
    member.ledger.write(ledger.Entry(4, "salt1", None, "a test"))
    theirs = {"kind": "directory", "exists": True, "empty": False, "file_system": None, "below": []}
    named = {str(tmp_path / name): theirs for name in ("own", "evil/deep")}
    done = modules.pair.stand_by("salt", RUN, sources=named)
    assert done["made"] == [str(tmp_path / "own")]
    assert sorted(one.name for one in tmp_path.iterdir() if one.name in ("own", "evil")) == ["own"]
    modules.pair.record_sources("salt", RUN, named)
    kept = json.loads((member.state / "sources.json").read_text())
    assert list(kept["own"]) == list(kept["peer"]) == [str(tmp_path / "own")]


def owner(pid, started):
    return {"master": "m", "user": "anna", "boot_id": system.boot_id(), "pid": pid, "started": started}


def living():
    return owner(os.getpid(), system.process_started(os.getpid()))


def hold_the_watch(modules, owner):
    modules.pair.lock("salt", RUN, "recover", owner, 600)
    assert modules.pair.renew("salt", RUN, 600, pause=True)


def test_a_living_run_keeps_the_pair_and_its_pause(modules, member):
    hold_the_watch(modules, living())
    with pytest.raises(CommandExecutionError, match=RUN):
        modules.pair.lock("salt", NEXT, "recover", living(), 600)
    assert member.pause.read()["run"] == RUN
    with pytest.raises(CommandExecutionError, match=RUN):
        modules.pair.resume("salt")


def test_nobody_ends_or_shortens_the_pause_of_a_living_run_by_its_name(modules, member):
    """Under ``publisher_acl``, whoever may call these functions knows its name from ``pair.report``."""
    files.write_json(member.paths.pair_config("salt"), samples.pair("salt1"))
    hold_the_watch(modules, living())
    until = member.pause.read()["until"]
    for call in (
        lambda: modules.pair.resume("salt", run=RUN),
        lambda: modules.pair.pause("salt", 0.01, "an operator", run=RUN),
        lambda: modules.pair.hold("salt", 0.01, "an operator", RUN),
    ):
        with pytest.raises((TypeError, CommandExecutionError)):
            call()
    modules.pair.pause("salt", 5, "an operator", user="alice")
    left = member.pause.read()
    assert left["run"] == RUN and left["until"] == pytest.approx(until, abs=1)


def test_the_pause_of_a_dead_run_ends_with_its_lock(modules, member):
    hold_the_watch(modules, owner(2**22 + 1, 1))
    assert modules.pair.lock("salt", NEXT, "recover", living(), 600)["taken_over"] == RUN
    assert member.pause.read() is None
    assert member.lock.read()["run"] == NEXT


def test_the_first_run_of_a_pair_ends_no_pause(modules, member):
    """It has taken nothing over, so there is no dead run whose pause it could be."""
    member.pause.set(900, "switch maintenance")
    assert modules.pair.lock("salt", RUN, "recover", living(), 600)["taken_over"] is None
    assert member.pause.read()["reason"] == "switch maintenance"


@pytest.mark.one_release
def test_a_run_that_the_other_node_has_proved_dead_loses_the_pair(modules, member):
    modules.pair.lock("salt", RUN, "recover", living(), "600")
    assert modules.pair.lock("salt", NEXT, "recover", living(), 600, dead_runs=[RUN])["taken_over"] == RUN


@pytest.mark.one_release
def test_a_living_run_prolongs_its_lock_and_pauses_the_watch_only_if_it_says_so(modules, member):
    modules.pair.lock("salt", RUN, "recover", living(), 60)
    step = {"name": "static", "seconds": 12.0}
    assert modules.pair.renew("salt", RUN, "900", step=step) is True
    found = member.lock.read()
    assert found["expires"] - found["renewed"] == 900 and found["step"]["name"] == "static"
    assert found["renewed"] - found["step"]["began"] == pytest.approx(12)
    assert member.pause.read() is None
    # A pause ends by itself, however long the lock holds.
    assert modules.pair.renew("salt", RUN, 10 * pauses.LONGEST, pause=True) is True
    assert member.pause.read()["until"] == pytest.approx(time.time() + pauses.LONGEST, abs=60)


@pytest.mark.one_release
@pytest.mark.parametrize("other", [NEXT, None], ids=["another run has it", "nobody has it"])
def test_a_run_that_has_lost_the_pair_prolongs_nothing_and_pauses_nothing(modules, member, other):
    if other:
        modules.pair.lock("salt", other, "recover", living(), 600)
    before = member.lock.path.read_text() if other else None
    assert modules.pair.renew("salt", RUN, 900, pause=True) is False
    assert (member.lock.path.read_text() if other else None) == before
    assert (member.lock.read() is None) is (other is None) and member.pause.read() is None


@pytest.mark.one_release
def test_the_machine_of_a_run_can_prove_it_dead_and_nobody_calls_a_living_one_so(modules):
    assert modules.pair.owner_has_ended(living()) is False
    assert modules.pair.owner_has_ended({**living(), "started": 1}) is True
    assert modules.pair.owner_has_ended({**living(), "boot_id": "elsewhere", "machine": "another"}) is False


@pytest.mark.one_release
def test_a_pair_is_given_back_by_the_run_that_has_it(modules, member):
    assert modules.pair.unlock("salt", RUN) is False
    modules.pair.lock("salt", RUN, "recover", living(), 600)
    assert modules.pair.unlock("salt", NEXT) is False and member.lock.read()["run"] == RUN
    assert modules.pair.unlock("salt", RUN) is True and member.lock.read() is None


@pytest.mark.one_release
@pytest.mark.parametrize("verb", ["pause", "hold"])
def test_the_watch_is_paused_for_a_time_and_resumed(modules, member, verb):
    with pytest.raises(CommandExecutionError, match="knows no pair salt"):
        getattr(modules.pair, verb)("salt", 600, "switch maintenance")
    files.write_json(member.paths.pair_config("salt"), samples.pair("salt1"))
    set_now = getattr(modules.pair, verb)("salt", 600, "switch maintenance")
    assert (set_now["reason"], set_now["run"], set_now["user"]) == ("switch maintenance", None, None)
    assert member.pause.read()["until"] == pytest.approx(time.time() + 600, abs=60)
    for seconds in (0, -1, 10**9, "600", True):
        with pytest.raises(CommandExecutionError, match="A pause lasts from 1 to"):
            getattr(modules.pair, verb)("salt", seconds, "for ever")
    assert modules.pair.resume("salt") is True and member.pause.read() is None
    assert modules.pair.resume("salt") is False


@pytest.mark.one_release
@pytest.mark.parametrize("end", ["dead", "expired"])
def test_what_a_run_has_left_keeps_nobody_from_resuming(modules, member, end):
    member.lock.acquire(RUN, "recover", owner(2**22 + 1, 1) if end == "dead" else living(), 600)
    if end == "expired":
        assert modules.pair.renew("salt", RUN, -1)
    member.pause.set(900, f"run {RUN}", RUN)
    assert modules.pair.resume("salt") is True and member.pause.read() is None


def test_an_operators_pause_outlives_all_runs(modules, member):
    member.pause.set(900, "switch maintenance")
    hold_the_watch(modules, owner(2**22 + 1, 1))
    modules.pair.lock("salt", NEXT, "recover", living(), 600)
    assert member.pause.read()["reason"] == "switch maintenance"


# --- the record of a run ------------------------------------------------------------------------------


@pytest.mark.one_release
def test_a_run_leaves_its_record_and_gives_back_its_own_alone(modules, member):
    assert modules.pair.open_run("salt", RUN, {"operation": "recover"}) is True
    assert member.runs.read(RUN)["operation"] == "recover"
    hold_the_watch(modules, living())
    member.pause.set(900, "switch maintenance")
    assert modules.pair.close_run("salt", RUN, {"result": "failed"}) is True
    assert member.runs.read(RUN)["result"] == "failed" and member.lock.read() is None
    assert [one["run"] for one in member.pause.written()] == [None]
    # Nothing is known of the paths after a failure.
    assert not (member.state / "sources.json").exists()


@pytest.mark.one_release
def test_the_end_of_a_run_that_has_lost_the_pair_takes_nothing_from_the_next_one(modules, member):
    modules.pair.lock("salt", NEXT, "recover", living(), 600)
    modules.pair.renew("salt", NEXT, 600, pause=True)
    modules.pair.close_run("salt", RUN, {"result": "failed"})
    assert member.lock.read()["run"] == NEXT and member.pause.read()["run"] == NEXT
    assert member.runs.read(RUN)["result"] == "failed"


@pytest.mark.one_release
@pytest.mark.parametrize("verb", ["open_run", "close_run"])
def test_what_is_no_id_of_a_run_becomes_no_folder(modules, member, verb):
    with pytest.raises(CommandExecutionError, match="is not the id of a run"):
        getattr(modules.pair, verb)("salt", "../../evil", {"result": "succeeded"})
    assert not member.paths.root.exists() or not list(member.paths.root.rglob("*evil*"))


@pytest.mark.one_release
def test_after_a_success_the_backups_beyond_the_limit_go_and_that_of_the_run_stays(modules, member):
    config = samples.pair("salt1")
    config["recovery"].update(keep_backups=1, keep_days=0)
    files.write_json(member.paths.pair_config("salt"), config)
    old = [f"2026112{day}T183000-recover-salt-0000" for day in (0, 1)]
    for run in (*old, RUN):
        (member.run_folder(run) / "backup/x").mkdir(parents=True)
    modules.pair.close_run("salt", RUN, {"result": "succeeded"})
    assert (member.run_folder(old[0]) / "backup").exists()
    modules.pair.close_run("salt", RUN, {"result": "succeeded"}, sources={})
    assert [(member.run_folder(run) / "backup").exists() for run in (*old, RUN)] == [False, False, True]


@pytest.mark.one_release
def test_the_history_tells_what_the_run_that_has_the_lock_is_at(modules, member):
    for pair in ("salt", "web"):
        files.write_json(member.paths.pair_config(pair), samples.pair("salt1", name=pair))
        for run in (RUN, NEXT):
            Member(pair, member.paths).runs.write(run, {"result": None})
    modules.pair.lock("salt", NEXT, "recover", living(), 600)
    before, now = modules.pair.history("salt")
    assert (before["run"], now["run"]) == (RUN, NEXT) and "lock" not in before
    assert now["lock"] == {"state": "held", "step": None, "seconds": None}
    modules.pair.renew("salt", NEXT, 600, step={"name": "static", "seconds": 30.0})
    _, now = modules.pair.history("salt")
    assert (now["lock"]["state"], now["lock"]["step"]) == ("held", "static")
    assert 30 <= now["lock"]["seconds"] < 90
    # A clock that was set back shows no time before the step.
    modules.pair.renew("salt", NEXT, 600, step={"name": "static", "seconds": -600.0})
    assert modules.pair.history("salt")[1]["lock"]["seconds"] == 0
    assert [(one["pair"], one["run"]) for one in modules.pair.history()] == [
        (pair, run) for pair in ("salt", "web") for run in (RUN, NEXT)
    ]
    member.lock.path.write_text("{")
    assert all("lock" not in one for one in modules.pair.history("salt"))


# --- the ledger ---------------------------------------------------------------------------------------


@pytest.mark.one_release
def test_a_ledger_begins_once_with_nobody_admitted(modules, member):
    modules.pair.lock("salt", RUN, "adopt", living(), 600)
    assert modules.pair.adopt("salt", "salt1", RUN) is True
    found = member.ledger.read()
    assert (found["generation"], found["active"], found["run"], found["boot_id"]) == (1, "salt1", RUN, "")
    assert modules.pair.adopt("salt", "salt2", RUN) is False
    assert member.ledger.read() == found


@pytest.mark.one_release
def test_a_node_is_admitted_in_this_boot_unless_it_is_only_told(modules, member):
    files.write_json(member.paths.pair_config("salt"), samples.pair("salt2"))
    modules.pair.lock("salt", RUN, "recover", living(), 600)
    told = modules.pair.admit("salt", "5", "salt1", RUN, "told", admitted=False)
    assert (told["generation"], told["active"], told["boot_id"]) == (5, "salt1", "")
    admitted = modules.pair.admit("salt", 6, "salt1", RUN, "recovered")
    assert admitted["boot_id"] == system.boot_id() and not admitted.get("unsaved")
    assert (admitted["why"], admitted["run"]) == ("recovered", RUN)
    with pytest.raises(CommandExecutionError, match="is already at generation 6"):
        modules.pair.admit("salt", 5, "salt1", RUN, "recovered")


@pytest.mark.one_release
@pytest.mark.parametrize("case", ["the active node", "in place", "no ledger", "not moved"])
def test_only_a_standby_whose_data_were_moved_is_not_admitted_any_more(modules, elsewhere, case):
    if case == "the active node":
        elsewhere.ledger.write(ledger.Entry(5, "salt2", None, "a test"))
    elif case == "in place":
        (elsewhere.state / "sources.json").unlink()
    elif case == "no ledger":
        elsewhere.ledger.path.unlink()
    before = elsewhere.ledger.read()
    there = sources.facts(["/srv/salt"], str(elsewhere.paths.root))
    moved = {"moved": False} if case == "not moved" else {"moved": True}
    assert modules.pair.record_sources("salt", RUN, there, **moved) is True
    assert elsewhere.ledger.read() == before


@pytest.mark.one_release
def test_without_a_word_nothing_is_taken_for_moved(modules, elsewhere):
    before = elsewhere.ledger.read()
    modules.pair.record_sources("salt", RUN, sources.facts(["/srv/salt"], str(elsewhere.paths.root)))
    assert elsewhere.ledger.read() == before and before["boot_id"]


# --- the module as a whole ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../salt", "", "sa lt", "-x", None])
def test_what_is_no_name_of_a_pair_is_refused(modules, member, name):
    if name is None:
        with pytest.raises(CommandExecutionError, match="no pair configured"):
            modules.pair.report(name)
    else:
        with pytest.raises(CommandExecutionError, match="not the name of a pair"):
            modules.pair.report(name)


@pytest.mark.parametrize("function", ["names", "service_names", "crons"])
def test_a_pillar_that_is_wrong_is_named_and_no_traceback(modules, member, function, monkeypatch):
    words = ["salt"] if function == "service_names" else []
    pillar = {"pairs": {"salt": {"secondary": "salt2"}}}
    monkeypatch.setitem(getattr(modules.pair, function).__globals__, "__pillar__", pillar)
    with pytest.raises(CommandExecutionError, match="salt.*primary"):
        getattr(modules.pair, function)(*words)


def test_a_pair_that_is_not_in_the_pillar_is_named(modules, member):
    with pytest.raises(SaltInvocationError, match="no pair typo"):
        modules.pair.service_names("typo")


def test_the_files_of_the_module_are_one_for_salt(modules):
    """Salt merges them by their virtual name: nothing is hidden, and nothing is there twice."""
    public, files_of = [], sorted(MODULES.glob("pair*.py"))
    for path in files_of:
        tree = ast.parse(path.read_text())
        public += [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    public = [f"pair.{name.rstrip('_')}" for name in public if not name.startswith("_")]
    assert len(files_of) > 3 and len(set(public)) == len(public)
    assert modules.sys.list_functions("pair") == sorted(public)
    documents = modules.sys.doc("pair")
    assert {name for name in public if "CLI Example" not in documents.get(name, "")} == set()


@pytest.mark.parametrize("function", ["report", "trusted", "names", "history", "admit"])
def test_whichever_of_them_is_asked_for_first_is_found(loaders, function):
    """Each is in another file; the loader must not stop at the file that bears the module's name."""
    loaders.reset_state()
    assert f"pair.{function}" in loaders.modules


@pytest.mark.parametrize(
    ("teller", "result", "told"),
    [
        ("salt2", "succeeded", ["run-succeeded"]),
        ("salt2", "failed", ["run-failed"]),
        # The other node tells it: nobody hears it twice.
        ("salt1", "failed", []),
        (None, "failed", []),
    ],
)
def test_the_end_of_a_run_is_told_by_one_node(modules, member, monkeypatch, teller, result, told):
    files.write_json(member.paths.pair_config("salt"), samples.pair("salt2"))
    member.paths.hooks.mkdir(parents=True)
    (member.paths.hooks / "any").touch()
    begun = []
    monkeypatch.setattr("failback.host.system.start_detached", begun.append)
    record = {"result": result, "sentence": "It is so.", "user": "ana"}
    modules.pair.close_run("salt", RUN, {**record, "told_by": teller} if teller else record)
    found = [json.loads(argv[-1]) for argv in begun]
    assert [one["event"] for one in found] == told
    assert all((one["run"], one["user"]) == (RUN, "ana") for one in found)
    assert "told_by" not in member.runs.read(RUN)


def test_what_a_node_has_kept_of_a_run_is_told_for_a_page(modules, member):
    files.write_json(member.paths.pair_config("salt"), samples.pair("salt2"))
    modules.pair.close_run(
        "salt", RUN, {"result": "succeeded", "started": samples.SINCE, "finished": samples.SINCE}
    )
    found = modules.pair.run_details("salt", RUN)
    assert (found["record"]["result"], found["files"]) == ("succeeded", [])
    assert found["log"] is not None
    with pytest.raises(CommandExecutionError, match="is not the id of a run"):
        modules.pair.run_details("salt", "../../etc")


def test_the_lags_that_a_node_has_noted_are_told(modules, member):
    files.write_json(member.paths.pair_config("salt"), samples.pair("salt2"))
    assert modules.pair.lags("salt") == []
    lags.Lags(member).note(4.0, 490_064 * 3600, 100.0)
    assert modules.pair.lags("salt") == [[490_064 * 3600, 4.0]]
    with pytest.raises(CommandExecutionError):
        modules.pair.lags("nosuch")
