"""What a master does for a pair: a highstate that restarts a minion is over when the minion is back."""

import os
import socket
import threading
import time
import types

import pytest
import samples
from salt.exceptions import CommandExecutionError
from salt.exceptions import PublishError

from failback.state import lock
from failback_master import checks
from failback_master import highstate
from failback_master import minions
from failback_master import orchestration

OLD, NEW = {"pid": 100, "started": 1}, {"pid": 200, "started": 2}
SETTINGS = "salt_minion_|-The minion finds its master_|-failback-reconnect_|-configured"


class Nodes:
    """
    ``answers``: by node, what it says of its minion's process, one after the other; None for nothing.
    ``lost``: nodes that do not answer the first highstate.
    """

    def __init__(self, changes, answers, lost=()):
        self._changes = changes
        self._lost = set(lost)
        self.answers = answers
        self.asked = []
        self.applied = []

    def try_all(self, ids, function, *args, **kwargs):
        if function == "state.apply":
            self.applied.append(list(ids))
            errors = {node: minions.NoAnswer(f"{node} does not answer") for node in self._lost & set(ids)}
            self._lost.clear()
            return {node: self._state(node) for node in ids if node not in errors}, errors
        assert function == "salt_minion.process"
        if ids:
            self.asked.append(list(ids))
        said = {node: self.answers[node].pop(0) for node in ids}
        return {node: one for node, one in said.items() if one}, {}

    def _state(self, node):
        return {SETTINGS: {"__id__": "Settings", "result": True, "changes": self._changes.get(node, {})}}


def test_a_highstate_without_a_restart_asks_nothing_more():
    nodes = Nodes({"salt1": {"file": "x"}}, {})
    assert highstate.highstate(nodes, ["salt1", "salt2"]) == {"salt1": ["Settings"], "salt2": []}
    assert nodes.asked == []


def test_it_waits_for_each_minion_that_restarts_and_for_no_other(monkeypatch):
    monkeypatch.setattr(highstate, "LOOK_EVERY", 0.01)
    restart = {"restart": OLD}
    nodes = Nodes({"salt1": restart, "salt2": restart}, {"salt1": [OLD, None, NEW], "salt2": [NEW]})
    highstate.highstate(nodes, ["client", "salt1", "salt2"])
    assert nodes.asked == [["salt1", "salt2"], ["salt1"], ["salt1"]]


def test_a_minion_that_is_to_restart_is_not_kept_busy_with_questions(monkeypatch):
    monkeypatch.setattr(highstate, "LOOK_EVERY", 0.1)
    begun = time.monotonic()
    highstate.highstate(Nodes({"salt2": {"restart": OLD}}, {"salt2": [OLD, OLD, OLD, NEW]}), ["salt2"])
    assert time.monotonic() - begun >= 3 * 0.1


def test_a_highstate_that_a_restarting_minion_has_lost_is_asked_for_once_more():
    nodes = Nodes({"salt2": {"file": "x"}}, {"salt2": [NEW]}, lost=["salt2"])
    assert highstate.highstate(nodes, ["salt1", "salt2"]) == {"salt1": [], "salt2": ["Settings"]}
    assert nodes.applied == [["salt1", "salt2"], ["salt2"]]


def test_a_node_that_is_not_there_is_not_asked_again():
    nodes = Nodes({}, {"salt2": [None]}, lost=["salt2"])
    with pytest.raises(minions.NodesFailed, match="^salt2 does not answer$"):
        highstate.highstate(nodes, ["salt1", "salt2"])
    assert nodes.applied == [["salt1", "salt2"]]


def test_a_minion_that_does_not_come_back_is_named(monkeypatch):
    monkeypatch.setattr(highstate, "RESTARTED_WITHIN", 0)
    nodes = Nodes({"salt2": {"restart": OLD}}, {"salt2": [OLD] * 9})
    with pytest.raises(CommandExecutionError, match="salt-minion of salt2 was to restart"):
        highstate.highstate(nodes, ["salt1", "salt2"])


class Asked:
    """Nodes that answer what they are asked one after the other; the last answer again and again."""

    def __init__(self, *answers):
        self._answers, self.asked = list(answers), []

    def try_all(self, ids, function, *args, **kwargs):
        self.asked.append((list(ids), function, args, kwargs))
        found = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if callable(found):
            found = found(ids, function)
        return found


def applied(states):
    """The answer to ``state.apply``; whether somebody is there who does not answer is not asked for long."""
    return lambda ids, function: (states, {}) if function == "state.apply" else ({}, {})


def state(result=True, comment="", **changes):
    return {"__id__": "Settings", "result": result, "comment": comment, "changes": changes}


@pytest.mark.parametrize("sls", [None, "failback.sync"])
def test_a_highstate_waits_for_another_one_and_may_be_of_one_sls(sls):
    nodes = Asked(applied({"salt1": {}}))
    assert highstate.highstate(nodes, ["salt1"], sls) == {"salt1": []}
    assert nodes.asked[0] == (["salt1"], "state.apply", (sls,) if sls else (), {"queue": True})


def test_a_highstate_that_is_asked_for_again_is_the_same_one():
    lost = ({}, {"salt1": minions.NoAnswer("salt1 does not answer")})
    nodes = Asked(lost, ({"salt1": NEW}, {}), ({"salt1": {}}, {}))
    highstate.highstate(nodes, ["salt1"], "failback.sync")
    first, there, again = nodes.asked
    assert again == first and there == (["salt1"], "salt_minion.process", (), {"look": 5})


@pytest.mark.parametrize(
    ("states", "said"),
    [
        (
            {"salt1": {"a": state(), "b": state(False, "no room")}, "salt2": {"c": state(False, "no net")}},
            "^Highstate failed. salt1: Settings: no room salt2: Settings: no net$",
        ),
        ({"salt1": {"a": {"result": False, "comment": "no", "changes": {}}}}, "salt1: a: no$"),
        ({"salt1": ["Rendering SLS failed"]}, "Highstate on salt1 could not be compiled: ..Rendering SLS"),
    ],
)
def test_each_state_that_failed_is_named(states, said):
    with pytest.raises(CommandExecutionError, match=said):
        highstate.highstate(Asked(applied(states)), list(states))


def test_a_state_that_would_change_something_has_not_failed():
    assert highstate.failures({"salt1": {"a": state(None), "b": state(True)}}) == []


def test_a_restart_of_something_else_is_not_waited_for():
    states = {"salt1": {"service_|-x": state(restart=OLD), SETTINGS: state(file="x")}}
    nodes = Asked(applied(states))
    assert highstate.highstate(nodes, ["salt1"]) == {"salt1": ["Settings", "Settings"]}
    assert "salt_minion.process" not in [one[1] for one in nodes.asked if one[0]]


@pytest.fixture
def rebooting():
    """A run whose node answers as it is told, and no faster than it is looked at."""

    def made(*answers):
        nodes = Asked(*answers)
        config = {"name": "salt"}
        return types.SimpleNamespace(nodes=nodes, config=config, other=lambda node: "salt2")

    return made


BEFORE, AFTER = ({"salt1": {"boot_id": one}} for one in ("before", "after"))
SILENT = ({}, {"salt1": "no answer"})


def test_a_node_has_rebooted_when_it_answers_with_another_boot_id(rebooting, monkeypatch):
    monkeypatch.setattr(highstate, "LOOK_EVERY", 0.02)
    run = rebooting((BEFORE, {}), SILENT, (AFTER, {}))
    begun = time.monotonic()
    seconds = highstate.wait_rebooted(run, "salt1", "before", 60)
    assert 2 * 0.02 <= seconds <= time.monotonic() - begun
    assert run.nodes.asked == [(["salt1"], "pair.report", ("salt",), {"look": 2})] * 3


@pytest.mark.parametrize("answer", [(BEFORE, {}), SILENT], ids=["the old boot answers", "it is silent"])
def test_a_node_that_does_not_come_back_is_named_and_so_is_who_serves(rebooting, monkeypatch, answer):
    monkeypatch.setattr(highstate, "LOOK_EVERY", 0.01)
    with pytest.raises(CommandExecutionError, match="salt1 was asked to reboot .*within 0.05 s. salt2 still"):
        highstate.wait_rebooted(rebooting(answer), "salt1", "before", 0.05)


def test_a_node_is_idle_when_no_state_runs_there(rebooting, monkeypatch):
    """One that does not answer is not: it may be at the highstate of its boot."""
    monkeypatch.setattr(highstate, "LOOK_EVERY", 0.02)
    run = rebooting(({"salt1": [{"fun": "state.apply"}]}, {}), SILENT, ({"salt1": []}, {}))
    begun = time.monotonic()
    highstate.wait_idle(run, "salt1", 60)
    assert time.monotonic() - begun >= 2 * 0.02
    assert run.nodes.asked == [(["salt1"], "saltutil.is_running", ("state.*",), {"look": 5})] * 3


def test_a_node_that_does_not_become_idle_is_named(rebooting, monkeypatch):
    monkeypatch.setattr(highstate, "LOOK_EVERY", 0.01)
    with pytest.raises(CommandExecutionError, match="A state still runs on salt1 after 0.05 s"):
        highstate.wait_idle(rebooting(SILENT), "salt1", 0.05)


class Clock:
    """The clock of the waits; each look takes ``each`` seconds. Nobody waits for it."""

    def __init__(self, monkeypatch, each):
        self.now, self.slept = 50.0, []
        samples.in_place_of_time(monkeypatch, highstate, sleep=self.sleep, monotonic=lambda: self.now)
        self.each = each

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    def answering(self, answer):
        def look(ids, function):
            if function != "state.apply":
                self.now += self.each
            return answer(function) if callable(answer) else answer

        return look


@pytest.mark.parametrize(("each", "slept"), [(0.0, 1.0), (0.75, 0.25), (1.5, 0.0)])
def test_from_one_look_at_a_node_to_the_next_it_is_a_second(rebooting, monkeypatch, each, slept):
    """Or as long as the look takes; and the limit counts from the first one."""
    clock = Clock(monkeypatch, each)
    for wait, words in (
        (highstate.wait_rebooted, ("salt1", "before", 3)),
        (highstate.wait_idle, ("salt1", 3)),
    ):
        clock.slept.clear()
        with pytest.raises(CommandExecutionError, match="within 3 s|after 3 s"):
            wait(rebooting(clock.answering(SILENT)), *words)
        assert clock.slept == [slept] * (2 if each == 1.5 else 3)


def test_a_minion_that_restarts_is_waited_for_two_minutes(monkeypatch):
    clock = Clock(monkeypatch, 0.0)
    states = {"salt1": {SETTINGS: state(restart=OLD)}}
    told = clock.answering(lambda function: (states, {}) if function == "state.apply" else SILENT)
    nodes = Asked(told)
    with pytest.raises(CommandExecutionError, match="has not answered anew within 120 s"):
        highstate.highstate(nodes, ["salt1"])
    assert clock.slept == [1.0] * 120
    assert nodes.asked[-1] == (["salt1"], "salt_minion.process", (), {"look": 2})


def test_the_record_of_a_run_keeps_what_the_operator_has_said(monkeypatch):
    """From there it goes into the history of both nodes."""
    monkeypatch.setattr(minions, "Nodes", lambda opts: None)
    config = {"name": "salt", "primary": {"id": "salt1"}, "secondary": {"id": "salt2"}}
    overrides = {"winner": "salt2", "reason": "the clients were on salt2"}
    opts = {"id": "salt2_master", "conf_file": "x", "user": "root"}
    record = orchestration.Run(opts, config, "recover", overrides).record()
    assert {key: record.get(key) for key in ("winner", "fenced", "reason", "moved")} == {
        **overrides,
        "fenced": None,
        "moved": None,
    }


def test_the_record_says_by_which_proof_a_node_was_off(monkeypatch):
    """A fence agent's; and who runs it again types what he typed, not what the agent has said."""
    monkeypatch.setattr(minions, "Nodes", lambda opts: None)
    config = {"name": "salt", "primary": {"id": "salt1"}, "secondary": {"id": "salt2"}}
    opts = {"id": "salt2_master", "conf_file": "x", "user": "root"}
    run = orchestration.Run(opts, config, "failover", {"fenced": "salt1"})
    assert "reason" not in run.record()
    run.known_by = "salt1 was switched off by fence_x, which says that it is off"
    assert run.record()["reason"] == run.known_by
    assert run.overrides == {"fenced": "salt1"}


# --- the lock of a living run is renewed -----------------------------------------------------------


class Locks:
    """Nodes of a run: what each was told of the lock, and when it was renewed."""

    def __init__(self, told):
        self._told = told

    def one(self, node, function, *args, **kwargs):
        self._told.append((node, function, args[-1], kwargs))
        return {"taken_over": None}

    def try_all(self, ids, function, *args, **kwargs):
        self._told.append((tuple(ids), function, args, kwargs))
        return {}, {}


@pytest.fixture
def run(monkeypatch):
    """A run whose questions to the nodes are kept in ``told``; its heart beats every few milliseconds."""
    told = []
    monkeypatch.setattr(minions, "Nodes", lambda opts: Locks(told))
    monkeypatch.setattr(orchestration, "RENEW_EVERY", 0.005)
    config = {"name": "salt", "primary": {"id": "salt1"}, "secondary": {"id": "salt2"}}
    one = orchestration.Run({"id": "salt2_master", "conf_file": "x", "user": "root"}, config, "recover")
    one.told = told
    yield one
    one.let_go()


def renewals(run, number, limit=10):
    """Wait for so many renewals; returns what was asked for since."""
    begun, waiting, ended = len(run.told), threading.Event(), 0.0
    while ended < limit:
        found = [one for one in run.told[begun:] if one[1] == "pair.renew"]
        if len(found) >= number:
            return found
        waiting.wait(0.01)
        ended += 0.01
    raise AssertionError(f"Only {len(found)} renewals in {limit} s.")


def test_a_living_run_renews_its_lock_until_it_lets_go(run):
    run.lock()
    assert [one for one in run.told if one[1] == "pair.lock"] == [
        (node, "pair.lock", lock.LEASE, {"dead_runs": []}) for node in ("salt1", "salt2")
    ]
    members, _, arguments, options = renewals(run, 3)[-1]
    assert (members, arguments) == (("salt1", "salt2"), ("salt", run.id, lock.LEASE))
    assert options == {"look": minions.LOOK_WITHIN, "pause": False}
    run.pausing = True
    assert renewals(run, 3)[-1][3] == {"look": minions.LOOK_WITHIN, "pause": True}
    run.let_go()
    number = len(run.told)
    assert not [one for one in threading.enumerate() if one.name == "failback-heartbeat"]
    assert len(run.told) == number


def test_a_step_that_outlives_its_run_is_covered_to_its_end_and_the_next_one_is_not(run):
    run.lock()
    run.renew(300)
    assert 350 < renewals(run, 3)[-1][2][-1] <= 360
    run.renew()
    assert renewals(run, 3)[-1][2][-1] == lock.LEASE


def test_a_lock_that_both_nodes_have_just_confirmed_is_not_asked_for_before_each_step(run, monkeypatch):
    monkeypatch.setattr(orchestration, "RENEW_EVERY", 3600)
    run.lock()
    run.renew()
    assert "pair.renew" not in [one[1] for one in run.told]
    run.renew(300)
    assert [one[1] for one in run.told].count("pair.renew") == 1
    # As after a minute in which the machine of the run stood still.
    run._renewed_at -= orchestration.FRESH
    run.renew()
    assert [one[1] for one in run.told].count("pair.renew") == 2
    monkeypatch.setattr(Locks, "try_all", lambda *_, **__: ({"salt1": True, "salt2": False}, {}))
    with pytest.raises(CommandExecutionError, match="the lock of salt on salt2 any more: it stood still"):
        run.renew()


@pytest.fixture
def slow(run, monkeypatch):
    """The run; beats come only because there is something to tell."""
    monkeypatch.setattr(orchestration, "RENEW_EVERY", 3600)
    monkeypatch.setattr(orchestration, "TOLD_WITHIN", 1)
    run.lock()
    return run


def test_the_nodes_are_told_of_several_short_steps_at_once(slow):
    for step in ("services", "pre-sync", "push"):
        slow.begin(step, "…")
    (one,) = renewals(slow, 1)
    assert one[3]["step"]["name"] == "push"


def test_a_step_that_is_not_to_be_disturbed_takes_back_what_was_to_be_told(slow, monkeypatch):
    monkeypatch.setattr(orchestration, "TOLD_WITHIN", 60)
    slow.begin("push", "…")
    assert slow._heartbeat._due < time.monotonic() + 61
    slow.begin("handover", "…", quiet=True)
    assert slow._heartbeat._due > time.monotonic() + 3000
    # So does the step's own renewal, which tells them itself.
    slow.begin("hold", "…")
    assert slow._heartbeat._due < time.monotonic() + 61
    monkeypatch.setattr(Locks, "try_all", lambda *_, **__: ({"salt1": True, "salt2": True}, {}))
    slow.pause()
    assert slow._heartbeat._due > time.monotonic() + 3000


def test_a_step_that_lasts_is_told_of(slow, monkeypatch):
    monkeypatch.setattr(orchestration, "TOLD_WITHIN", 0.1)
    slow.begin("drain", "…")
    assert renewals(slow, 1)[0][3]["step"]["name"] == "drain"


def test_the_watch_is_held_on_both_nodes_or_the_run_ends(run, monkeypatch):
    run.lock()
    monkeypatch.setattr(Locks, "try_all", lambda *_, **__: ({"salt1": True}, {"salt2": "salt2 is gone."}))
    with pytest.raises(minions.NodesFailed, match="salt2 is gone"):
        run.pause()
    monkeypatch.setattr(Locks, "try_all", lambda *_, **__: ({"salt1": True, "salt2": False}, {}))
    with pytest.raises(CommandExecutionError, match="does not own the lock of salt on salt2"):
        run.pause()


def test_a_beat_that_fails_is_not_the_last(run, monkeypatch):
    run.lock()
    renewals(run, 1)
    working, failed = minions.Nodes, threading.Event()

    def broken(opts):
        failed.set()
        raise OSError("no master")

    monkeypatch.setattr(minions, "Nodes", broken)
    assert failed.wait(10)
    monkeypatch.setattr(minions, "Nodes", working)
    renewals(run, 1)


def test_a_run_that_does_not_get_the_pair_renews_nothing(run, monkeypatch):
    def refused(self, node, *args, **kwargs):
        raise CommandExecutionError("held")

    monkeypatch.setattr(Locks, "one", refused)
    with pytest.raises(CommandExecutionError):
        run.lock()
    assert run._heartbeat is None


# --- the end of a run ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failed, errors, kept, result, said",
    [
        (False, {}, ("succeeded", "It is served."), True, "is closed. It is served."),
        (False, {"salt2": "salt2 is gone."}, ("succeeded", "It is served."), False, "not be closed. salt2"),
        (True, {}, ("failed", "no room"), False, "failed at `pre-sync`. salt2 serves. Fix the cause"),
    ],
)
def test_a_run_is_closed_and_says_how_it_ended(run, monkeypatch, failed, errors, kept, result, said):
    monkeypatch.setattr(run, "record", lambda how, sentence: (how, sentence))
    run.lock()
    run.note("precheck", True, "fine", 0.5)
    run.note("pre-sync", not failed, "no room" if failed else "all is over", 1.0)
    records = []

    def give_back(record):
        assert run._heartbeat is None, "the lock is given back while it is still renewed"
        records.append(record)
        return errors, "salt2 serves."

    ret = run.close("It is served.", give_back)
    assert records == [kept]
    assert ret["result"] is result and said in ret["comment"], ret
    assert ret["changes"] == (
        {"run": run.id, "seconds": {"precheck": 0.5, "pre-sync": 1.0}} if result else {}
    )


@pytest.mark.parametrize("failed", [False, True])
def test_a_run_whose_master_has_died_ends_with_a_sentence(run, failed):
    run.lock()
    run.note("handover", not failed, "", 0.5)

    def give_back(record):
        raise minions.NoMaster("The salt-master of this machine takes no connections.")

    ret = run.close("It is served.", give_back)
    assert ret["result"] is False and ret["changes"] == {}
    assert ("failed at `handover`" if failed else "succeeded. It could not be closed") in ret["comment"]
    assert "takes no connections. What was under way" in ret["comment"]
    assert f"salt-run pair.status {run.config['name']}" in ret["comment"]


def test_a_node_that_is_off_by_an_operators_word_is_waited_for_in_vain_but_shortly(monkeypatch):
    waited = []

    class Silent:
        def __init__(self, opts):
            pass

        def reports(self, config, look):
            waited.append(look)
            return None, None, {}

    monkeypatch.setattr(minions, "Nodes", Silent)
    for overrides in ({}, {"fenced": "salt1", "reason": "no power"}):
        orchestration.Run({"id": "salt2_master"}, {"name": "salt"}, "failover", overrides).look()
    assert waited == [minions.LOOK_WITHIN, orchestration.LOOK_BESIDE_DEAD_WITHIN]
    assert waited[1] < waited[0] / 2


# --- the master itself -----------------------------------------------------------------------------


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@pytest.fixture
def asking(tmp_path, monkeypatch, port):
    """``minions.Nodes`` of a master that does not run."""
    monkeypatch.setattr(minions, "MASTER_WITHIN", 1.0)
    conf = tmp_path / "master"
    conf.write_text(f"root_dir: {tmp_path}\ninterface: 127.0.0.1\nret_port: {port}\n")
    return minions.Nodes({"conf_file": str(conf)})


@pytest.mark.parametrize("how", ["try_all", "begin"])
def test_a_master_that_is_gone_is_found_out_in_seconds(asking, port, how):
    begun = time.monotonic()
    with pytest.raises(minions.NoMaster, match=f"takes no connections at 127.0.0.1:{port}"):
        getattr(asking, how)(["salt1"], "test.ping")
    assert 1.0 <= time.monotonic() - begun < 5.0


def test_a_master_that_is_about_to_restart_is_waited_for(asking, port, monkeypatch):
    monkeypatch.setattr(minions, "MASTER_WITHIN", 20.0)
    monkeypatch.setattr(asking._client, "cmd", lambda nodes, *words, **options: {"salt1": {"ret": True}})
    opened = []
    later = threading.Timer(0.5, lambda: opened.append(socket.create_server(("127.0.0.1", port))))
    later.start()
    try:
        assert asking.try_all(["salt1"], "test.ping") == ({"salt1": True}, {})
        assert opened
    finally:
        later.join()
        opened[0].close()


@pytest.fixture
def full(asking, monkeypatch):
    """The file system on which a master that runs keeps its jobs has no room."""
    room = os.statvfs("/")
    names = [one for one in dir(room) if one.startswith("f_")]
    none = types.SimpleNamespace(**{name: getattr(room, name) for name in names})
    none.f_bavail = 1
    monkeypatch.setattr(minions.os, "statvfs", lambda folder: none)
    monkeypatch.setattr(asking, "_require_master", lambda within: None)
    return asking


def test_a_master_without_room_for_its_jobs_names_the_file_system(full, tmp_path, monkeypatch):
    def some_exception(*args, **kwargs):
        raise PublishError("Some exception handling minion payload")

    monkeypatch.setattr(full._client, "cmd", some_exception)
    with pytest.raises(minions.NoMaster, match=f"The file system of {tmp_path}.* is full .*KiB"):
        full.try_all(["salt1"], "test.ping")


def test_answers_that_a_master_without_room_has_lost_are_explained(full, monkeypatch):
    monkeypatch.setattr(full._client, "cmd", lambda nodes, *words, **options: {})
    _, errors = full.try_all(["salt1"], "test.ping")
    assert "does not answer test.ping" in errors["salt1"] and "is full" in errors["salt1"]


def test_with_room_what_the_master_says_is_passed_on(asking, monkeypatch):
    def refused(*args, **kwargs):
        raise PublishError("no such target")

    monkeypatch.setattr(asking, "_require_master", lambda within: None)
    monkeypatch.setattr(asking._client, "cmd", refused)
    with pytest.raises(PublishError, match="no such target"):
        asking.try_all(["salt1"], "test.ping")


@pytest.mark.parametrize(
    "pairs, said",
    [
        ({"a": {"primary": "salt1", "secondary": "salt2"}}, " Or use the master on salt2."),
        ({"a": {"primary": {"id": "salt3"}, "secondary": {"id": "salt1"}}}, " Or use the master on salt3."),
        ({"a": {"primary": "web1", "secondary": "web2"}}, ""),
        ({"a": {"primary": "web1"}}, ""),
        ({"a": None}, ""),
        ([], ""),
    ],
)
def test_the_other_master_is_the_other_node_of_the_pair_of_this_one(pairs, said):
    assert checks.other_master(pairs, "salt1_master") == said


@pytest.mark.parametrize(
    ("fences", "unready", "asked"),
    [
        ({}, (), []),
        ({"salt2": {"well": True}}, (), []),
        ({"salt2": {"well": None}}, (), []),
        ({"salt2": {"well": False}}, (), [(["salt2"], "pair.fence_test")]),
        (
            {"salt1": {"well": False}, "salt2": {"well": False}},
            ("salt2 is behind.",),
            [(["salt1", "salt2"], "pair.fence_test"), (["salt1", "salt2"], "pair.look")],
        ),
        ({}, ("salt2 is behind.",), [(["salt1", "salt2"], "pair.look")]),
    ],
)
def test_what_was_not_well_is_looked_at_once_more_before_it_is_said(fences, unready, asked):
    """As a fence agent that could not be reached while the network was cut."""
    calls = []
    nodes = types.SimpleNamespace(
        try_all=lambda nodes, function, *args, **_: calls.append((nodes, function)) if nodes else None
    )
    run = types.SimpleNamespace(
        config={"name": "salt"},
        members=["salt1", "salt2"],
        nodes=nodes,
        verdict=types.SimpleNamespace(unready=unready),
    )
    reports = [{"node": node, "fence": fences.get(node)} for node in run.members]
    assert checks.look_again(run, reports) is bool(asked)
    assert calls == asked
