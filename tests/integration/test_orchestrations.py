"""Orchestrations through salt-run: what they refuse, what they do, and what they leave behind."""

import fcntl
import json
import os
import pathlib
import re
import subprocess
import sys
import time

import pair_site
import pytest
import salt.client
import salt.config

from failback.host import system
from failback.pillar import normalise
from failback_master import minions
from failback_master import orchestration

RECOVER = ("state.orch", "orch.recover", "pillar={pair: salt}")
BOOT = ("state.orch", "orch.boot", "pillar={pair: salt}")
ADOPT = ("state.orch", "orch.adopt", "pillar={pair: salt}")
VERIFY = ("state.orch", "orch.verify", "pillar={pair: salt}")
DRILL = ("state.orch", "orch.drill", "pillar={pair: salt}")
RETIRE = ("state.orch", "orch.retire", "pillar={pair: salt}")
OTHER_RUN = "20261122T183000-recover-salt-4f2a"


@pytest.fixture
def cold(site):
    """Both nodes have lost power; what a boot of this pair takes, the test machine has."""
    site.ledgers((6, "salt1", False), (6, "salt1", False))
    return site


def ledger_of(node):
    return json.loads(node.member.ledger.path.read_text())


def owner(pid, started):
    return {
        "master": "salt2_master",
        "user": "root",
        "boot_id": system.boot_id(),
        "pid": pid,
        "started": started,
    }


def gone():
    """The identity of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    found = owner(process.pid, system.process_started(process.pid))
    process.communicate(b"\n")
    return found


def test_boot_starts_a_cold_pair_and_history_tells_of_it(cold):
    """Also after a run that died and left its lock."""
    dead = gone()
    for node in cold.nodes:
        node.set_lock(OTHER_RUN, dead)
    taken_over = f"Took over the lock of run {OTHER_RUN}, which is no longer running."
    cold.run(*BOOT).good("salt is normal", "salt is served by salt1", taken_over)
    for node in cold.nodes:
        own = ledger_of(node)
        assert (own["generation"], own["active"]) == (6, "salt1")
        assert own["boot_id"] == system.boot_id()
        assert not node.member.lock.path.exists()
        assert not node.member.pause.path.exists()
    again, history = cold.run_together(BOOT, ("pair.history", "salt"))
    again.good("Nothing to do: salt is normal.")
    assert re.search(r"salt +boot +succeeded +\w+ +2", history.good().text), history


@pytest.mark.one_release(but="the first case")
@pytest.mark.parametrize(
    "command, ledgers",
    [
        (BOOT, ((6, "salt1", False), (6, "salt1", False))),
        (RECOVER, ((6, "salt1", False), (7, "salt2", True))),
        (ADOPT, None),
        (RETIRE, ((7, "salt1", True), (7, "salt1", True))),
        (VERIFY, ((7, "salt1", True), (7, "salt1", True))),
    ],
    ids=["boot", "recover", "adopt", "retire", "verify"],
)
def test_in_test_mode_nothing_is_changed(site, command, ledgers):
    site.begin(recovery={"reboot": False})
    if ledgers:
        site.ledgers(*ledgers)
    before = site.trees()
    site.run(*command, "test=True").good("Would")
    assert site.trees() == before


@pytest.mark.one_release
def test_a_pair_on_its_secondary_is_not_moved_for_practice(site):
    site.ledgers((6, "salt1", False), (7, "salt2", True))
    before = site.trees()
    refused = site.run(*DRILL)
    refused.refused("Refused, nothing was changed", "begins with a pair that is well", "pair.status salt")
    assert site.trees() == before


@pytest.mark.one_release
def test_a_pair_of_which_it_is_not_clear_who_is_newer_is_not_retired(site):
    site.ledgers((7, "salt1"), (7, "salt2"))
    before = site.trees()
    site.run(*RETIRE).refused("Refused, nothing was changed", "split-brain", "salt-run pair.status salt")
    assert site.trees() == before


@pytest.mark.one_release
def test_recover_does_not_reboot_the_host_that_it_runs_on(site):
    # To this test both nodes and the master are one machine.
    site.ledgers((6, "salt1", False), (7, "salt2", True))
    before = site.trees()
    site.run(*RECOVER).refused("would reboot salt1, on which it runs itself", "master of salt2")
    assert site.trees() == before


@pytest.mark.one_release
def test_a_second_run_is_refused_and_names_the_first(cold):
    living = owner(os.getpid(), system.process_started(os.getpid()))
    for node in cold.nodes:
        node.set_lock(OTHER_RUN, living)
    before = cold.trees()
    boot, status = cold.run_together(BOOT, ("pair.status", "salt", "timeout=60"))
    boot.refused("Refused, nothing was changed", f"is locked by run {OTHER_RUN}", "salt2_master")
    status.refused(OTHER_RUN)
    assert cold.trees() == before


@pytest.mark.one_release
def test_a_living_run_renews_its_lock_beside_what_it_asks(cold, monkeypatch):
    """The renewals are a thread's, with a client of Salt's of its own."""
    monkeypatch.setattr(orchestration, "RENEW_EVERY", 0.2)
    config = normalise.normalise("salt", pair_site.PLAIN)
    run = orchestration.Run(salt.config.master_config(cold.master.config["conf_file"]), config, "boot")
    run.lock()
    try:
        places = [node.member.lock.path for node in cold.nodes]
        begun = [json.loads(place.read_text()) for place in places]
        end = time.monotonic() + 60
        later = begun
        while any(b["expires"] <= a["expires"] + 2 for a, b in zip(begun, later)):
            assert time.monotonic() < end, "the lock was not renewed"
            assert run.nodes.all(run.ids, "test.ping") == {"salt1": True, "salt2": True}
            later = [json.loads(place.read_text()) for place in places]
        assert [one["run"] for one in later] == [run.id] * 2
    finally:
        run.let_go()
        run.nodes.all(run.ids, "pair.unlock", "salt", run.id)
    assert not any(place.exists() for place in places)


@pytest.mark.one_release
def test_a_lock_on_the_second_node_alone_stops_a_run_as_well(cold):
    cold.secondary.set_lock(OTHER_RUN, owner(os.getpid(), system.process_started(os.getpid())))
    cold.run(*BOOT).refused("Refused, nothing was changed", f"is locked by run {OTHER_RUN}")
    assert not cold.primary.member.lock.path.exists()
    assert ledger_of(cold.primary)["boot_id"] == "an earlier boot"


@pytest.mark.one_release
def test_of_two_runs_at_once_one_does_the_work(cold):
    first, second = cold.run_together(BOOT, BOOT)
    worked = [one for one in (first, second) if "salt is served by salt1" in one.flat]
    assert len(worked) == 1, f"{first}\n{second}"
    worked[0].good("salt is normal")
    other = second if worked[0] is first else first
    if other.status == 0:
        other.good("Nothing to do: salt is normal.")
    else:
        other.refused("Refused, nothing was changed")
        assert "is locked by run" in other.flat or "The facts moved" in other.flat
    for node in cold.nodes:
        assert not node.member.lock.path.exists()
        assert ledger_of(node)["generation"] == 6


@pytest.mark.one_release
def test_what_moves_between_the_look_and_the_lock_is_not_overrun(cold):
    """Another run ends while this one waits for the lock: its look is then old."""
    gate = cold.primary.member.state / ".lock.flock"
    gate.parent.mkdir(parents=True, exist_ok=True)
    with open(gate, "ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        process = cold.start(*BOOT)
        wait_for_lock(handle)
        cold.ledgers((7, "salt1", False), (7, "salt2", True))
    pair_site.Said(BOOT, process).refused(
        "Refused, nothing was changed", "The facts moved while this run waited", "is split-brain"
    )
    assert (ledger_of(cold.secondary)["generation"], ledger_of(cold.secondary)["active"]) == (7, "salt2")
    for node in cold.nodes:
        assert not node.member.lock.path.exists()
        assert not node.member.pause.path.exists()


def wait_for_lock(handle, limit=60):
    """Until another process waits for this flock: the kernel lists it behind ``->``."""
    number = os.fstat(handle.fileno()).st_ino
    end = time.monotonic() + limit
    while time.monotonic() < end:
        with open("/proc/locks") as locks:
            if any("->" in line and f":{number} " in line for line in locks):
                return
        time.sleep(0.05)
    raise AssertionError(f"Nobody waited for the lock within {limit} s.")


def test_a_run_that_waits_leaves_the_processor_to_others(site):
    """Those of nine pairs wait beside each other. Salt's own client looks a hundred times a second."""
    conf = site.master.config["conf_file"]
    salts, ours = salt.client.get_local_client(conf), minions.Nodes({"conf_file": conf})

    def used(wait):
        begun = time.process_time()
        assert wait()
        return time.process_time() - begun

    usual = used(lambda: salts.cmd(["salt1"], "test.sleep", [3], tgt_type="list"))
    assert used(lambda: ours.one("salt1", "test.sleep", 3)) < usual / 2


@pytest.mark.one_release
def test_a_step_that_fails_fails_the_run_and_gives_everything_back(site):
    site.begin(services=["scribe"])
    site.ledgers((6, "salt1", False), (6, "salt1", False))
    site.primary.set_unit("scribe", "active")  # and on the secondary there is no such unit
    site.run(*BOOT).refused(
        "services names scribe, which is no unit on salt2",
        "salt is now cold",
        "Fix the cause, then run it again",
    )
    for node in site.nodes:
        assert ledger_of(node)["boot_id"] == "an earlier boot"
        assert not node.member.lock.path.exists()
        assert not node.member.pause.path.exists()
    site.run("pair.history", "salt").good("failed", "which is no unit on salt2")


@pytest.mark.one_release
def test_a_failed_run_is_closed_also_on_a_master_with_failhard(site, tmp_path):
    """Which Salt would take as: nothing runs after a failed step."""
    config = pathlib.Path(site.master.config_file).read_text()
    (tmp_path / "master").write_text(f"{config}\nfailhard: true\n")
    site.begin(services=["scribe"])
    site.ledgers((6, "salt1", False), (6, "salt1", False))
    site.primary.set_unit("scribe", "active")  # and on the secondary there is no such unit
    words = [site.program("salt-run"), "-c", str(tmp_path), "--no-color", "--log-level=error", *BOOT]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0, done.stdout
    assert "salt is now cold" in " ".join(done.stdout.split()), done.stdout + done.stderr
    for node in site.nodes:
        assert not node.member.lock.path.exists()
        assert not node.member.pause.path.exists()


@pytest.mark.one_release
def test_a_service_that_starts_and_dies_at_once_fails_the_step(site):
    site.begin(services=["scribe", "reader"])
    site.ledgers((6, "salt1", False), (6, "salt1", False))
    for node in site.nodes:
        node.set_dying_unit("scribe")
        node.set_unit("reader", "inactive")
    site.run(*BOOT).refused(
        "salt: scribe (services) started on salt1 and is now failed",
        "nothing after it was started",
        "salt is now cold",
        "Fix the cause, then run it again",
    )
    for node in site.nodes:
        assert (node.units / "reader").read_text() == "inactive"
        assert not node.member.lock.path.exists()


@pytest.mark.one_release
def test_an_interface_that_is_missing_is_named_before_anything_is_changed(site):
    site.begin(**pair_site.ADDRESS)
    site.ledgers((6, "salt1", False), (6, "salt1", False))
    before = site.trees()
    site.run(*BOOT).refused(
        "Refused, nothing was changed",
        "salt1 has no such interface: salt: floating_ips.salt-gw.interface: absent0",
    )
    assert site.trees() == before


@pytest.mark.parametrize(
    ("changes", "web", "wrong", "words"),
    [
        ({"secondary": "salt1"}, None, "salt", ["pair salt, secondary", '"salt1"']),
        (
            {},
            {"primary": "salt2", "secondary": "web2"},
            "web",
            ["pair web, primary", '"salt2"', "each node in one pair"],
        ),
        (
            {"after": ["web"]},
            {"primary": "web1", "secondary": "web2", "after": ["salt"]},
            "salt",
            ["pair salt, after", "salt after web after salt"],
        ),
    ],
    ids=["a pair of one node", "a node in two pairs", "a circle"],
)
@pytest.mark.one_release(but="the first case")
def test_pairs_that_cannot_be_are_named_before_anything_is_changed(cold, changes, web, wrong, words):
    """By its name, and as one of several; the slip in one file stops no other pair."""
    cold.pillar.write({**pair_site.PLAIN, **changes})
    if web:
        cold.pillar.write(web, "web")
        cold.pillar.list_pair("web web1 web2")
    before = cold.trees()
    one, several = orchestrate("orch.boot", pair=wrong), orchestrate("orch.boot", pair=[wrong])
    for said in cold.run_together(one, several):
        said.refused("nothing was done", *words)
    assert cold.trees() == before


@pytest.mark.one_release
def test_a_node_with_a_broken_configuration_stops_the_run_and_says_so(cold):
    cold.secondary.paths.pair_config("salt").write_text('{"name": "salt", ')
    before = cold.trees()
    damaged = (str(cold.secondary.paths.pair_config("salt")), "is damaged")
    status, plan = ("pair.status", "salt", "timeout=60"), ("pair.plan", "salt", "operation=boot")
    for said in cold.run_together(BOOT, status, plan):
        said.refused(*damaged)
    assert cold.trees() == before


@pytest.mark.one_release
def test_nodes_of_another_release_are_refused(cold):
    (cold.secondary.paths.release / "failback/decisions/verdict.py").write_text("# of last year\n")
    before = cold.trees()
    cold.run(*BOOT).refused("salt2 runs another release of Failback", "saltutil.sync_all")
    assert cold.trees() == before


def test_a_node_that_is_down_is_left_alone(site):
    site.ledgers((6, "salt1", False), (7, "salt2", True))
    before = site.trees()
    site.secondary.minion.terminate()
    try:
        recover, status, undo, history = site.run_together(
            RECOVER,
            ("pair.status", "salt", "timeout=20"),
            ("pair.undo", OTHER_RUN),
            ("pair.history", "salt"),
        )
        recover.refused("Refused, nothing was changed", "secondary_down", "salt2 does not answer")
        status.refused("secondary_down", "Start salt2 and its salt-minion")
        undo.refused("No node of salt keeps a backup", "salt2 does not answer")
        history.refused("salt2 does not answer")
        assert site.trees() == before
        site.run("pair.pause", "salt", "5").refused(
            "salt2 does not answer pair.pause", "The watch of salt on salt1 is paused until"
        )
        site.run("pair.resume", "salt").refused(
            "salt2 does not answer", "The watch of salt on salt1 is not paused any more."
        )
        assert not site.primary.member.pause.path.exists()
    finally:
        site.secondary.minion.start()


FAILOVER = "orch.failover"


def orchestrate(orchestration, **pillar):
    return ("state.orch", orchestration, f"pillar={json.dumps(pillar, ensure_ascii=False)}")


def test_one_pair_that_fails_does_not_stop_the_others(cold):
    """mx has no nodes here; each pair is named, and the exit status tells."""
    cold.pillar.write({"primary": "mx1", "secondary": "mx2"}, "mx")
    cold.pillar.list_pair("mx mx1 mx2")
    said = cold.run(*orchestrate("orch.boot", pair="all"))
    said.refused("boot of 2 pairs: 1 done; 1 failed: mx.", "Neither mx1 nor mx2 answers", "served by salt1")
    assert ledger_of(cold.primary)["boot_id"] == system.boot_id()
    again = cold.run(*orchestrate("orch.boot", pair=["salt"]))
    again.good("boot of 1 pairs: 1 had nothing to do: salt.")


@pytest.mark.one_release
def test_pairs_that_are_adopted_at_once_are_each_told_of(site):
    """Highstate is not for the machine that runs the tests, so it is what the adoption would do."""
    site.pillar.write({"primary": "mx1", "secondary": "mx2"}, "mx")
    site.pillar.list_pair("mx mx1 mx2")
    before = site.trees()
    said = site.run(*orchestrate("orch.adopt", pair="all"), "test=True")
    said.refused("adopt of 2 pairs: 1 would be done: salt; 1 failed: mx.", "mx1", "mx2")
    again = site.run(*orchestrate("orch.adopt", pair=["salt"], at_once=1), "test=True")
    again.good("adopt of 1 pairs: 1 would be done: salt.")
    assert site.trees() == before


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"pair": ["salt", "slat"]}, ["no pair slat", "Nothing was done"]),
        ({"pair": []}, ["a list of names, or all"]),
        ({"pair": ["salt"], "winner": "salt1", "reason": "x"}, ["winner", "of one pair only"]),
        ({"pair": "all", "at_once": 0}, ["at_once must be a whole number from 1"]),
    ],
)
@pytest.mark.one_release(but="the first case")
def test_several_pairs_that_are_none(cold, given, words):
    before = cold.trees()
    cold.run(*orchestrate("orch.recover", **given)).refused(*words)
    assert cold.trees() == before


@pytest.mark.parametrize(
    ("given", "ledgers", "words"),
    [
        ({}, ((6, "salt1", False), (6, "salt1", False)), ["salt is cold", "orch.boot"]),
        ({}, ((6, "salt1", True), (6, "salt1", False)), ["standby_returned", "orch.recover"]),
        ({"fenced": "salt1"}, ((6, "salt1", True), (6, "salt1", True)), ["needs a reason"]),
        (
            {"fenced": "salt1", "reason": "no power"},
            ((6, "salt1", True), (6, "salt1", True)),
            ["declared off, but it answers"],
        ),
        # Whatever it is made of: it goes through JSON, YAML and Jinja.
        (
            {"reason": 'no power \U0001f525, a "test": {{ 7 }} # é'},
            ((6, "salt1", True), (6, "salt1", True)),
            ["A reason without the node"],
        ),
        ({"moved": True}, ((6, "salt1", True), (6, "salt1", True)), ["moved must be true, and belongs to"]),
        (
            {"fenced": "salt1", "reason": "no power", "moved": "yes"},
            ((6, "salt1", True), (6, "salt1", True)),
            ["moved must be true"],
        ),
    ],
)
@pytest.mark.one_release(but="the first case")
def test_a_failover_that_is_refused(site, given, ledgers, words):
    site.begin()
    site.ledgers(*ledgers)
    before = site.trees()
    site.run(*orchestrate(FAILOVER, pair="salt", **given)).refused("nothing was changed", *words)
    assert site.trees() == before


@pytest.mark.one_release
def test_a_pair_that_has_moved_already_is_left_alone(site):
    site.begin()
    site.ledgers((6, "salt1", False), (7, "salt2", True))
    before = site.trees()
    site.run(*orchestrate(FAILOVER, pair="salt")).good("Nothing to do: salt is failed_over.")
    assert site.trees() == before


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, ["salt is split-brain", "winner: salt2"]),
        ({"winner": "salt2"}, ["needs a reason"]),
        ({"winner": "mgmt1", "reason": "x"}, ["winner must be salt1 or salt2, not 'mgmt1'"]),
        ({"winner": ["salt1"], "reason": "x"}, ["winner must be salt1 or salt2"]),
        ({"winner": "salt1", "reason": "two\nlines"}, ["one line"]),
    ],
)
@pytest.mark.one_release(but="the first case")
def test_a_split_without_a_proper_word(site, given, words):
    site.begin()
    site.ledgers((7, "salt1", True), (7, "salt2", True))
    before = site.trees()
    site.run(*orchestrate("orch.recover", pair="salt", **given)).refused(*words)
    assert site.trees() == before


@pytest.mark.one_release
def test_a_run_is_held_to_the_plan_whose_digest_it_is_given(site):
    """What the digest is of is tested in tests/unit/decisions; here, that a run looks at it anew."""
    # Both nodes are this machine, which no run reboots under itself.
    site.begin(recovery={"reboot": False})
    site.ledgers((6, "salt1", True), (6, "salt1", False))
    shown = site.run("pair.plan", "salt").good("standby_returned")
    digest = re.search(r"^digest: ([0-9a-f]{16})$", shown.text, re.MULTILINE)[1]
    assert f"orch.recover pillar='{{pair: salt, plan: \"{digest}\"}}'" in shown.flat
    given = orchestrate("orch.recover", pair="salt", plan=digest)
    site.run(*given, "test=True").good("Would recover salt, which is standby_returned")
    # The same verdict and the same steps; only that it has changed hands and back since.
    site.ledgers((8, "salt1", True), (8, "salt1", False))
    before = site.trees()
    said = site.run(*given).refused("nothing was changed", f"The facts have moved since plan {digest}")
    assert "Look at it: salt-run pair.plan salt" in said.flat
    assert site.trees() == before


@pytest.mark.one_release
def test_the_history_keeps_the_reason_of_a_winner(site):
    site.begin()
    words = {"winner": "salt2", "reason": "the clients were on salt2"}
    for node in site.nodes:
        node.set_run(OTHER_RUN, result="succeeded", **words)
        node.set_run("20261122T170000-recover-salt-77aa", result="succeeded")
    said = site.run("pair.history", "salt", "--out=json").good(*words, *words.values())
    shown = {one["run"]: one for one in json.loads(said.text)["runs"]}
    assert {key: shown[OTHER_RUN].get(key) for key in words} == words
    assert not set(words) & set(shown["20261122T170000-recover-salt-77aa"])
