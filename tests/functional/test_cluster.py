"""One orchestration on several pairs: what each pair is given, in which order, and what comes of it."""

import io
import json
import os
import subprocess
import sys
import threading
import types

import pytest
import salt.pillar
import salt.utils.args
import samples
import two_guest_hosts
from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltInvocationError

from failback.host import system
from failback_master import cluster
from failback_master import minions
from failback_master import orchestration
from failback_master.surface import live


@pytest.fixture(scope="module")
def minion_opts(minion_opts):
    # As a minion's own start sets it.
    minion_opts["config_dir"] = "/etc/salt"
    return minion_opts


@pytest.fixture
def started(monkeypatch):
    """The command lines and environments of the programs that were started; none of them is."""
    calls = []

    def run(words, **more):
        calls.append((words, more["env"]))
        return subprocess.CompletedProcess(words, 0, b"", b"")

    monkeypatch.setattr(subprocess, "run", run)
    return calls


@pytest.mark.parametrize(
    "reason",
    ["burnt \U0001f525", "a \"q\" 'p': # c\n\\ {{ 7 }}", "é\x7f\x9b\u2028\U000e0041", "yes", None, ["x", 5]],
    ids=ascii,
)
def test_salt_reads_of_the_command_line_what_the_pair_is_given(started, reason):
    given = {"pair": "salt", "reason": reason}
    cluster.salt_run("/etc/salt", "failover", given)
    ((words, _),) = started
    read = salt.utils.args.parse_input(words[words.index("state.orch") + 1 :], condition=True)
    assert read[0] == "orch.failover"
    assert {key: value for key, value in read[1].items() if key != "__kwarg__"} == {"pillar": given}


# --- several pairs, from the state that an orchestration applies ------------------------------------

#: The masters' pair is the first; ``mx`` comes after ``web``.
CLUSTER = {
    "salt": {"primary": "salt1", "secondary": "salt2"},
    "mgmt": {"primary": "mgmt1", "secondary": "mgmt2"},
    "mx": {"primary": "mx1", "secondary": "mx2", "after": ["web"]},
    "web": {"primary": "web1", "secondary": "web2"},
}
HERE, ELSEWHERE = "this boot", "another boot"


def serves(pair, active, **boots):
    """What both nodes of a pair report while one of them serves."""
    found = {}
    for node in (f"{pair}1", f"{pair}2"):
        own = samples.ledger(3, active, boots.get(node, f"boot of {node}"))
        found[node] = samples.report(
            node, own, addresses=(), services={}, lsyncd={"running": False}, boot_id=own["boot_id"]
        )
    return found


class Site:
    """
    What the nodes of all pairs report, and the runs that a master begins; time passes when somebody waits.

    Each of the runs ends well, and brings its pair to its primary, unless a test says otherwise.
    """

    def __init__(self, monkeypatch):
        self.reports = {}
        for name in CLUSTER:
            self.reports.update(serves(name, f"{name}2"))
        #: Seconds from now until a node answers; one that is not here answers at once.
        self.away = {}
        #: Nodes that answer with an error.
        self.wrong = {}
        #: What ``pair.orchestrate`` answers on a node.
        self.elsewhere = {}
        self.now = 1000.0
        self.asked = []
        #: By pair: function of what the run was given, which returns exit status, states and standard error.
        self.runs = {}
        #: ``("begins" or "ends", pair)`` in their order; and how each was started.
        self.order = []
        self.started = {}
        self._lock = threading.Lock()
        monkeypatch.setattr(subprocess, "run", self._run)
        monkeypatch.setattr(system, "boot_id", lambda: HERE)
        samples.in_place_of_time(monkeypatch, cluster, monotonic=lambda: self.now, sleep=self._sleep)
        site = self

        class Nodes(minions.Nodes):
            def __init__(self, opts):
                pass

            def try_all(self, nodes, function, *args, look=None, **kwargs):
                return site._salt(nodes, function, args, look, kwargs)

        monkeypatch.setattr(minions, "Nodes", Nodes)

    def begun(self):
        """The pairs of which a run has begun, in their order."""
        return [pair for what, pair in self.order if what == "begins"]

    def asked_for(self, function):
        """The nodes of each question for a function."""
        return [nodes for nodes, one, _, _ in self.asked if one == function]

    def _sleep(self, seconds):
        self.now += seconds

    def _salt(self, nodes, function, args, look, kwargs):
        self.asked.append((list(nodes), function, args, kwargs))
        if function == "pair.orchestrate":
            (node,) = nodes
            said = self.elsewhere.get(node)
            return ({node: said}, {}) if said is not None else ({}, {node: f"{node} does not answer"})
        assert function == "pair.report"
        silent = [node for node in nodes if self.now < self.away.get(node, 0)]
        # Who does not answer is waited for; an error comes at once.
        self.now += look if silent else 0
        errors = {node: minions.NoAnswer(f"{node} does not answer") for node in silent}
        errors.update({node: why for node, why in self.wrong.items() if node in nodes})
        return {node: self.reports[node] for node in nodes if node not in errors}, errors

    def _run(self, words, env, **more):
        pillar = given(words)
        pair = pillar["pair"]
        with self._lock:
            self.order.append(("begins", pair))
            self.started[pair] = (words, env, more)
        status, states, said = self.runs.get(pair, self._comes_home)(pillar)
        with self._lock:
            self.now += 2.0
            self.order.append(("ends", pair))
        return subprocess.CompletedProcess(words, status, printed(states), said.encode())

    def _comes_home(self, pillar):
        pair = pillar["pair"]
        self.reports.update(serves(pair, f"{pair}1"))
        return 0, [(True, "The pair may be recovered."), (True, f"Run of {pair} is closed.")], ""


def given(words):
    """The pillar on the command line of a run, as Salt reads it."""
    return salt.utils.args.parse_input(words[words.index("state.orch") + 1 :], condition=True)[-1]["pillar"]


def printed(states, before=""):
    """What ``salt-run --out=json state.orch`` prints of states."""
    found = {
        f"pair_run_|-{number}_|-{number}_|-x": {
            "__id__": f"step {number}",
            "__run_num__": number,
            "result": result,
            "comment": comment,
            "changes": {},
        }
        for number, (result, comment) in reversed(list(enumerate(states)))
    }
    if not states:
        return b""
    whole = {"outputter": "highstate", "data": {"salt2_master": found}, "retcode": 0}
    return (before + json.dumps(whole)).encode()


@pytest.fixture
def site(monkeypatch):
    monkeypatch.delenv(orchestration.ASKED_BY, raising=False)
    return Site(monkeypatch)


@pytest.fixture
def succeeded(site, tmp_path):
    """``cluster_run.succeeded`` as the master's loader has it."""
    module = two_guest_hosts.loaded("cluster_run", "_states/cluster_run.py")
    opts = {"id": "salt2_master", "conf_file": "x", "config_dir": "/etc/salt", "user": "root"}
    module.__pillar__ = {"pairs": CLUSTER}

    def call(operation="recover", pairs="all", test=False, **more):
        module.__opts__ = {**opts, "test": test}
        return module.succeeded("Every pair has come home", operation, pairs, **more)

    call.module = module
    return call


def test_each_pair_that_needs_it_gets_a_run_of_its_own(site, succeeded):
    site.reports.update(serves("web", "web1"))
    ret = succeeded(max_delete=7, max_change_percent=30)
    assert ret["result"] is True, ret
    assert ret["comment"] == "recover of 4 pairs: 3 done; 1 had nothing to do: web."
    assert sorted(site.started) == ["mgmt", "mx", "salt"] == list(ret["changes"])
    assert ret["changes"]["mx"] == {"result": True, "comment": "Run of mx is closed.", "seconds": 2.0}
    words, environment, more = site.started["mx"]
    assert "--config-dir=/etc/salt" in words and "orch.recover" in words and "test=True" not in words
    assert given(words) == {"pair": "mx", "max_delete": 7, "max_change_percent": 30}
    assert environment[orchestration.ASKED_BY] == "root"
    assert environment["PATH"] == os.environ["PATH"], "the program is to be found as before"
    # It would wait for an answer that nobody gives.
    assert more["stdin"] == subprocess.DEVNULL


def test_only_the_pairs_that_were_named(site, succeeded):
    ret = succeeded(pairs=["mgmt", "web"])
    assert ret["result"] is True and sorted(site.started) == ["mgmt", "web"]
    assert not [node for nodes in site.asked_for("pair.report") for node in nodes if node[:2] in ("sa", "mx")]


def test_one_that_fails_stops_no_other(site, succeeded):
    """Nor the one that comes after it: it may be the one that people wait for."""
    failed = [(True, "fine"), (False, "The backup has no room."), (False, "A requisite failed.")]
    failed.append((False, "Run x failed. web2 serves."))
    site.runs["web"] = lambda pillar: (1, failed, "")
    ret = succeeded(pairs=["web", "mx", "mgmt"])
    assert ret["result"] is False
    assert ret["comment"] == "recover of 3 pairs: 2 done; 1 failed: web."
    assert ret["changes"]["web"]["comment"] == "The backup has no room. Run x failed. web2 serves."
    assert [ret["changes"][name]["result"] for name in ("mgmt", "mx", "web")] == [True, True, False]
    assert site.order.index(("ends", "web")) < site.order.index(("begins", "mx"))


#: What a run prints and how it ends; what comes of it.
ENDS = {
    "one state that failed is said once": (1, [(True, "a"), (False, "Refused.")], "", False, "Refused."),
    "it failed and no state says why": (1, [(True, "a")], "", False, "salt-run ended with status 1."),
    "it said nothing": (0, [], "", False, "salt-run ended with status 0."),
    "it was killed": (-9, [], "", False, "salt-run ended with status -9."),
    "it could not begin": (1, [], "No module salt.\n", False, "No module salt."),
}


@pytest.mark.parametrize(("status", "states", "said", "result", "comment"), ENDS.values(), ids=list(ENDS))
def test_how_a_run_ended_is_said(site, succeeded, status, states, said, result, comment):
    site.runs["mgmt"] = lambda pillar: (status, states, said)
    ret = succeeded(pairs=["mgmt"])
    assert ret["changes"]["mgmt"]["result"] is result and ret["changes"]["mgmt"]["comment"] == comment


STATES = [(True, "a"), (None, "b"), (False, "c")]


@pytest.mark.parametrize(
    "text",
    [
        printed(STATES),
        printed(STATES, before="DeprecationWarning: x\n"),
        json.dumps({"salt2_master": json.loads(printed(STATES))["data"]["salt2_master"]}).encode(),
        json.dumps(json.loads(printed(STATES))["data"]["salt2_master"]).encode(),
    ],
    ids=["as a run prints them", "after a warning", "of an older runner", "nothing around them"],
)
def test_the_states_of_a_run_are_read_in_their_order(monkeypatch, text):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 2, text, b"x"))
    status, states, said = cluster.salt_run("/etc/salt", "recover", {})
    assert status == 2 and [(one["result"], one["comment"]) for one in states] == STATES and said == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "no",
        "[]",
        "{}",
        '{"data": {}}',
        '{"data": {"m": {}}}',
        '{"a": {"b": 1}, "c": {"result": 1}}',
        '{"a": {"result": 1}, "b": {"result": 1}}',
        '{"a": 1}',
    ],
)
def test_what_is_no_list_of_states_is_shown_as_it_is(monkeypatch, text):
    done = subprocess.CompletedProcess([], 1, text.encode(), b"x" * 3000 + b" \xff last words\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    status, states, said = cluster.salt_run("/etc/salt", "recover", {})
    assert states == [] and said.endswith("last words") and len(said) == 2000
    done.stderr = b""
    assert cluster.salt_run("/etc/salt", "recover", {})[2] == text


def test_a_run_is_a_program_whose_words_nobody_sees_but_this_one(monkeypatch, tmp_path, capfd):
    """What it prints is read; it is asked nothing; and nobody's terminal is its own."""
    states = printed([(True, "done")]).decode()
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\nread -r word && exit 3\necho '{states}'\necho noise >&2\nexit 2\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    status, states, said = cluster.salt_run("/etc/salt", "recover", {"pair": "salt"}, user="alice")
    assert status == 2 and [one["comment"] for one in states] == ["done"] and said == ""
    assert capfd.readouterr() == ("", "")


# --- in which order, and how many ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "at_once", "together"),
    [("recover", None, 4), ("recover", 1, 1), ("recover", 2, 2), ("recover", 64, 8), ("verify", None, 1)],
)
def test_so_many_pairs_at_once(site, succeeded, operation, at_once, together):
    """Comparisons are made one after the other unless somebody says otherwise: each reads all files."""
    names = [f"p{number}" for number in range(8)]
    pairs = {name: {"primary": f"{name}1", "secondary": f"{name}2"} for name in names}
    succeeded.module.__pillar__ = {"pairs": pairs}
    for name in names:
        site.reports.update(serves(name, f"{name}2"))
    # Each waits until as many run as may, and then a little for one too many.
    full, too_many, running = threading.Barrier(together), threading.Event(), []

    def run(pillar):
        running.append(pillar["pair"])
        if len(running) > together:
            too_many.set()
        full.wait(10)
        too_many.wait(0.02)
        running.remove(pillar["pair"])
        # Nobody ends before all that ran with it have waited.
        full.wait(10)
        return 0, [(True, "done")], ""

    site.runs = dict.fromkeys(names, run)
    ret = succeeded(operation, at_once=at_once)
    assert ret["result"] is True, ret
    assert not too_many.is_set()


def test_of_an_order_in_a_circle_one_pair_is_refused_and_the_others_come_home(site, succeeded):
    succeeded.module.__pillar__ = {"pairs": {**CLUSTER, "web": {**CLUSTER["web"], "after": ["mx"]}}}
    ret = succeeded()
    assert ret["result"] is False and ret["comment"] == "recover of 4 pairs: 3 done; 1 failed: mx."
    assert "mx after web after mx" in ret["changes"]["mx"]["comment"]
    assert sorted(site.begun()) == ["mgmt", "salt", "web"]


def test_a_pair_whose_pillar_is_wrong_keeps_no_other_from_coming_home(site, succeeded):
    succeeded.module.__pillar__ = {"pairs": {**CLUSTER, "web": {**CLUSTER["web"], "nosuch": 1}}}
    ret = succeeded()
    assert ret["result"] is False and ret["comment"] == "recover of 4 pairs: 3 done; 1 failed: web."
    assert "The pillar is wrong" in ret["changes"]["web"]["comment"]
    assert sorted(site.started) == ["mgmt", "mx", "salt"]
    assert not [node for nodes in site.asked_for("pair.report") for node in nodes if "web" in node]


REFUSALS = {
    "a word on one pair": ({"winner": "salt2", "plan": None}, "winner can be said of one pair only"),
    "two of them": ({"winner": "salt2", "plan": "x"}, "plan, winner can be said of one pair only"),
    "none at once": ({"at_once": 0}, "at_once must be a whole number from 1 to 64, not 0"),
    "too many": ({"at_once": 65}, "not 65"),
    "yes": ({"at_once": True}, "not True"),
    "half a pair": ({"at_once": 1.5}, "not 1.5"),
    "text": ({"at_once": "2"}, "not '2'"),
    "no such pair": ({"pairs": ["salt", "nosuch"]}, "There is no pair nosuch"),
    "no pair": ({"pairs": []}, "pair must be a name, a list of names, or all"),
}


@pytest.mark.parametrize(("words", "why"), REFUSALS.values(), ids=list(REFUSALS))
def test_what_cannot_be_done_to_several_is_refused_before_anybody_is_asked(site, succeeded, words, why):
    ret = succeeded(**words)
    assert ret["result"] is False and ret["changes"] == {}
    assert why in ret["comment"] and "Nothing was done." in ret["comment"]
    assert site.asked == [] and site.order == []


def test_what_nobody_knows_is_refused(site, succeeded, monkeypatch):
    """A misspelt limit would hold nothing. What the site itself has in its pillar is no such word."""
    own = {"pairs": CLUSTER, "motd": "hello"}
    monkeypatch.setattr(
        salt.pillar, "Pillar", lambda *_, **__: types.SimpleNamespace(compile_pillar=lambda: own)
    )
    succeeded.module.__pillar__ = {**own, "max_deletes": 3}
    ret = succeeded()
    assert ret["result"] is False and "max_deletes" in ret["comment"] and site.asked == []
    succeeded.module.__pillar__ = own
    assert succeeded(pairs=["web"])["result"] is True


def test_what_the_state_is_given_by_salt_is_no_word_of_an_operator(site, succeeded):
    assert succeeded(pairs=["web"], __env__="base", plan=None)["result"] is True


# --- test mode -------------------------------------------------------------------------------------


def test_a_test_says_what_would_be_done_to_each(site, succeeded):
    site.reports.update(serves("salt", "salt1"))
    said = [(None, "Would recover it."), (True, "Nothing."), (True, "No run was opened.")]
    for name in ("mgmt", "web"):
        site.runs[name] = lambda pillar: (0, said, "")
    site.runs["mx"] = lambda pillar: (0, [(True, "first"), (True, "last")], "")
    ret = succeeded(test=True)
    assert ret["result"] is None
    assert ret["comment"] == "recover of 4 pairs: 3 would be done: mgmt, mx, web; 1 had nothing to do: salt."
    assert ret["changes"]["web"]["comment"] == "Would recover it." and ret["changes"]["web"]["result"] is None
    assert ret["changes"]["mx"]["comment"] == "last"
    assert all("test=True" in words for words, _, _ in site.started.values())


def test_a_test_that_is_refused_fails(site, succeeded):
    site.runs["web"] = lambda pillar: (1, [(False, "Refused.")], "")
    ret = succeeded(pairs=["web"], test=True)
    assert ret["result"] is False and ret["comment"] == "recover of 1 pairs: 1 failed: web."


# --- the pair of the masters, on which this run lives ----------------------------------------------


def lives_on(site, node):
    """This master is that node."""
    pair, number = node[:-1], node[-1]
    site.reports.update(serves(pair, f"{pair}2", **{node: HERE}))
    return pair, number


def test_the_pair_of_the_masters_is_first_and_alone(site, succeeded):
    lives_on(site, "salt2")
    site.runs["salt"] = lambda pillar: (0, [(True, "done")], "")
    ret = succeeded()
    assert ret["result"] is True
    assert site.order[:2] == [("begins", "salt"), ("ends", "salt")] and len(site.begun()) == 4
    # The others may have changed meanwhile.
    again = site.asked_for("pair.report")[-1]
    assert sorted(again) == ["mgmt1", "mgmt2", "mx1", "mx2", "web1", "web2"]
    assert not site.asked_for("pair.orchestrate")


def moves_to_salt1(site):
    def run(pillar):
        site.reports.update(serves("salt", "salt1", salt2=HERE))
        return 0, [(True, "done")], ""

    lives_on(site, "salt2")
    site.runs["salt"] = run


def test_when_the_address_has_moved_the_other_master_does_the_rest(site, succeeded):
    moves_to_salt1(site)
    done = {"result": True, "comment": "Run x is closed.", "seconds": 3}
    site.elsewhere["salt1"] = {"mgmt": done, "mx": {**done, "result": False, "comment": "No room."}}
    ret = succeeded(at_once=3, max_delete=5)
    assert site.begun() == ["salt"], "the minions have followed the address"
    ((_, _, args, kwargs),) = [one for one in site.asked if one[1] == "pair.orchestrate"]
    operation, pillar = args
    assert operation == "recover" and kwargs == {"user": "root"}
    assert {**pillar, "pair": sorted(pillar["pair"])} == {
        "pair": ["mgmt", "mx", "web"],
        "at_once": 3,
        "max_delete": 5,
    }
    assert ret["result"] is False
    assert ret["comment"] == "recover of 4 pairs: 2 done; 2 failed: mx, web."
    assert ret["changes"]["mgmt"] == {"result": True, "comment": "Run x is closed.", "seconds": 3}
    assert ret["changes"]["web"]["comment"] == "The master on salt1 has said nothing about it."


def test_a_master_that_does_not_answer_has_done_nothing_that_anybody_knows_of(site, succeeded):
    moves_to_salt1(site)
    ret = succeeded(pairs=["salt", "web"])
    assert ret["result"] is False
    said = "The master on salt1 has said nothing about it. salt1 does not answer"
    assert ret["changes"]["web"] == {"result": False, "comment": said, "seconds": 0}


def test_where_no_other_pair_is_left_nobody_is_asked_to_do_the_rest(site, succeeded):
    moves_to_salt1(site)
    assert succeeded(pairs=["salt"])["result"] is True
    assert not site.asked_for("pair.orchestrate")


def test_a_test_moves_no_address_so_all_is_tested_here(site, succeeded):
    moves_to_salt1(site)
    for name in ("mgmt", "mx", "web"):
        site.runs[name] = lambda pillar: (0, [(None, "would")], "")
    assert succeeded(test=True)["result"] is None
    assert sorted(site.begun()) == sorted(CLUSTER) and not site.asked_for("pair.orchestrate")


def test_where_nobody_serves_the_masters_pair_the_rest_is_done_here(site, succeeded):
    lives_on(site, "salt2")

    def run(pillar):
        site.away["salt1"] = site.away["salt2"] = 1e9
        return 1, [(False, "It failed.")], ""

    site.runs["salt"] = run
    ret = succeeded()
    assert ret["comment"] == "recover of 4 pairs: 3 done; 1 failed: salt." and len(site.begun()) == 4


# --- nodes that do not answer ----------------------------------------------------------------------


def test_nodes_on_their_way_from_another_master_are_waited_for(site, succeeded):
    """Whenever one more has answered, the others get as long again."""
    begun = site.now
    site.away = {"web1": begun + 20, "web2": begun + 45, "mx1": begun + 70}
    ret = succeeded(pairs=["web", "mx"])
    assert ret["result"] is True and sorted(site.started) == ["mx", "web"], ret


def test_one_that_is_gone_is_named_and_its_pair_refused_alone(site, succeeded):
    begun = site.now
    site.away = {"web1": 1e9}
    ret = succeeded(pairs=["web", "mgmt"])
    assert ret["comment"] == "recover of 2 pairs: 1 done; 1 failed: web." and site.begun() == ["mgmt"]
    said = ret["changes"]["web"]["comment"]
    assert said.startswith(
        "Refused, nothing was changed. web is primary_down: web1 does not answer; web2 serves"
    )
    # What the master knows of it, and what to do.
    assert said.count("web1 does not answer") == 2 and "Start web1 and its salt-minion" in said
    assert ret["changes"]["web"]["seconds"] == 0
    assert cluster.CONNECT_WITHIN <= site.now - begun < cluster.CONNECT_WITHIN + 4 * cluster.LOOK


def test_one_that_answers_with_an_error_is_not_asked_in_a_hurry(site, succeeded, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_WITHIN", 10)
    site.wrong["web1"] = "web1: its configuration is damaged"
    begun = site.now
    ret = succeeded(pairs=["web"])
    assert ret["result"] is False and "its configuration is damaged" in ret["changes"]["web"]["comment"]
    # One look at first, one before the rest is begun, then one every few seconds until the time is over.
    assert len(site.asked_for("pair.report")) == 6 and site.now - begun == pytest.approx(10)


def test_the_first_look_waits_for_nobody(site, succeeded):
    """It is for the masters' own pair; the others are looked at again after that."""
    site.away = {"mgmt1": site.now + 10}
    lives_on(site, "salt2")
    began = []
    site.runs["salt"] = lambda pillar: began.append(site.now) or (0, [(True, "done")], "")
    begun = site.now
    assert succeeded()["result"] is True
    assert began[0] - begun <= cluster.LOOK


# --- adopt and verify ------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["adopt", "verify"])
def test_nodes_of_a_new_pair_have_nothing_to_report(site, succeeded, operation):
    """Nor does a comparison depend on who serves."""
    succeeded.module.__pillar__ = {"pairs": {**CLUSTER, "web": {**CLUSTER["web"], "nosuch": 1}}}
    for name in CLUSTER:
        site.runs[name] = lambda pillar: (0, [(True, "done")], "")
    ret = succeeded(operation)
    assert site.asked == [] and sorted(site.begun()) == ["mgmt", "mx", "salt"]
    assert ret["comment"] == f"{operation} of 4 pairs: 3 done; 1 failed: web."
    assert all(f"orch.{operation}" in words for words, _, _ in site.started.values())


def test_what_a_comparison_is_given_reaches_each_pair(site, succeeded):
    for name in CLUSTER:
        site.runs[name] = lambda pillar: (0, [(True, "done")], "")
    succeeded("verify", repair=True, limit=60)
    for name in CLUSTER:
        assert given(site.started[name][0]) == {"pair": name, "repair": True, "limit": 60}


def test_an_operator_sees_each_pair_begin_and_end(site, succeeded, monkeypatch):
    seen = io.StringIO()
    monkeypatch.setattr(live, "SCREEN", live.Screen())
    live.SCREEN.open(seen)
    site.reports.update(serves("mgmt", "mgmt1"))
    site.runs["web"] = lambda pillar: (1, [(False, "No.")], "")
    succeeded(pairs=["web", "mx", "mgmt"])
    lines = seen.getvalue()
    assert "web  orch.recover begins" in lines and "web  FAILED, 2 s" in lines
    assert "mx  done, 2 s" in lines and "mgmt" not in lines


# --- who has asked --------------------------------------------------------------------------------


class Nodes:
    """A master's nodes, of which each says that all is done."""

    def __init__(self, _opts):
        self.asked = []

    def try_all(self, nodes, function, *args, **kwargs):
        self.asked.append((function, args, kwargs))
        done = {"result": True, "comment": "Done.", "seconds": 1}
        return {node: dict.fromkeys(PAIRS, done) for node in nodes}, {}


PAIRS = {name: {"primary": f"{name}1", "secondary": f"{name}2"} for name in ("mgmt", "mx")}


def several(opts, monkeypatch):
    monkeypatch.setattr(minions, "Nodes", Nodes)
    return cluster.Cluster(opts, PAIRS, list(PAIRS), "recover")


@pytest.mark.parametrize("asked_by", [None, "alice"], ids=["here", "on the master before this one"])
def test_who_has_asked_is_known_to_the_run_of_each_pair_wherever_it_is(started, monkeypatch, asked_by):
    """Also when the masters' address moves in the middle, and the other master does the rest."""
    if asked_by:
        monkeypatch.setenv(orchestration.ASKED_BY, asked_by)
    else:
        monkeypatch.delenv(orchestration.ASKED_BY, raising=False)
    # The one that the other master's own state.orch sees is root.
    found = several({"config_dir": "/etc/salt", "user": "root" if asked_by else "alice"}, monkeypatch)
    found._delegate("salt1", list(PAIRS))
    ((function, args, kwargs),) = found._nodes.asked
    assert function == "pair.orchestrate" and args[0] == "recover" and kwargs == {"user": "alice"}
    found._one("mx")
    ((_, environment),) = started
    assert environment[orchestration.ASKED_BY] == "alice"


def test_the_other_master_begins_the_rest_in_the_name_of_who_has_asked(started, modules):
    with pytest.raises(CommandExecutionError, match="did not begin"):
        modules.pair.orchestrate("recover", {"pair": ["mx"]}, user="alice")
    ((_, environment),) = started
    assert environment[orchestration.ASKED_BY] == "alice"


def states(*entries):
    return [{"__id__": "a step", "comment": "", "changes": {}, **one} for one in entries]


DONE = {"result": True, "comment": "Done.", "seconds": 4.2}


@pytest.fixture
def ended(modules, monkeypatch):
    """``pair.orchestrate`` of two pairs, after a run that ended with these states; what it was begun with."""
    begun = []

    def end(*entries, operation="recover"):
        def salt_run(*words, **more):
            begun.append((words, more))
            return 0, states(*entries), ""

        monkeypatch.setattr(cluster, "salt_run", salt_run)
        return modules.pair.orchestrate(operation, {"pair": ["mgmt", "mx"], "at_once": 2}, user="alice")

    end.begun = begun
    return end


@pytest.mark.one_release
def test_what_became_of_each_pair_is_told_and_of_those_left_alone_too(ended):
    told = ended({"result": True}, {"result": False, "changes": {"mx": {**DONE, "result": False}}})
    assert told["mx"] == {**DONE, "result": False}
    assert told["mgmt"] == {"result": True, "comment": "Nothing to do.", "seconds": 0}
    ((config, operation, pillar), more) = ended.begun[0]
    assert (config, operation, more) == ("/etc/salt", "recover", {"user": "alice"})
    assert pillar == {"pair": ["mgmt", "mx"], "at_once": 2}


@pytest.mark.one_release
def test_a_run_that_was_refused_as_a_whole_is_no_success_of_any_pair(ended):
    with pytest.raises(CommandExecutionError, match="^No pair web. Name one.$"):
        ended({"result": True, "comment": "No pair web."}, {"result": False, "comment": "Name one."})
    nothing = {"result": True, "comment": "Nothing to do.", "seconds": 0}
    assert ended({"result": True}) == {"mgmt": nothing, "mx": nothing}


@pytest.mark.one_release
@pytest.mark.parametrize("operation", ["adopt", "reboot", "", None])
def test_only_what_moves_a_pair_is_run_for_another_master(ended, operation):
    with pytest.raises(SaltInvocationError, match="not one of recover, failover, boot"):
        ended({"result": True}, operation=operation)
    assert ended.begun == []
