"""What a person is told to do next: a table of what was found and what is said."""

import dataclasses

import pytest
import samples

from failback.decisions import advice
from failback.decisions import verdict

RECOVER = "salt-run state.orch orch.recover pillar='{pair: salt}'"
NOW = 5000.0


def judged(primary, secondary, **config):
    return verdict.judge(samples.pair(**config), primary, secondary)


def primary(generation=3, active="salt1", boot="this boot", **more):
    holds = ["10.0.0.5/24"] if active == "salt1" and boot == "this boot" else []
    return samples.report("salt1", samples.ledger(generation, active, boot), holds=holds, **more)


def secondary(generation=3, active="salt1", **more):
    holds = ["10.0.0.5/24"] if active == "salt2" else []
    return samples.report("salt2", samples.ledger(generation, active), holds=holds, **more)


def lock(state="held", renewed=NOW - 4, step=("static", NOW - 12), run=samples.RUN):
    owner = {"user": "root", "master": "salt2_master"}
    found = {"run": run, "state": state, "operation": "recover", "since": samples.SINCE, "owner": owner}
    found.update(renewed=renewed, expires=renewed + 60)
    return {**found, "step": {"name": step[0], "began": step[1]}} if step else found


@pytest.mark.parametrize(
    ("reports", "here", "text", "brief", "master"),
    [
        ((primary(), secondary()), None, "", "", None),
        ((primary(boot="old"), secondary(4, "salt2")), None, RECOVER, "recover", None),
        ((primary(boot="old"), secondary(4, "salt2")), "salt2", RECOVER, "recover", None),
        (
            (primary(boot="old"), secondary(4, "salt2")),
            "salt1",
            f"on the master of salt2: {RECOVER}",
            "recover on salt2",
            "salt2",
        ),
        # Nothing is rebooted where it has only drifted.
        ((primary(services={"x": "failed"}), secondary()), "salt1", RECOVER, "recover", None),
    ],
)
def test_a_command_names_the_master_on_which_it_works(reports, here, text, brief, master):
    said = advice.next_step(samples.pair(), judged(*reports), here=here)
    assert (said.text, said.brief, said.master) == (text, brief, master)
    assert said.commands == ((RECOVER,) if text else ())


STATUS = "salt-run pair.status salt"
STOPPED = "lsyncd does not run on salt1."
NO_WATCH = "The watch gateway-ip does not run on salt2. Run: salt 'salt2' state.apply pair.watch"
RESTARTS = f"lsyncd does not stay up on salt1. Fix what it says, then run: {RECOVER}"


@pytest.mark.parametrize(
    ("drift", "unready", "text"),
    [
        ([STOPPED], [], RECOVER),
        ([STOPPED, NO_WATCH], [NO_WATCH], RECOVER),
        ([RESTARTS], [RESTARTS], RECOVER),
        (
            [NO_WATCH],
            [NO_WATCH],
            f"mend what is wrong, as it says, then look again: {STATUS}",
        ),
        ([], [], ""),
    ],
)
def test_a_recovery_comes_next_only_where_it_mends_something(drift, unready, text):
    normal = judged(primary(), secondary())
    found = dataclasses.replace(normal, drift=tuple(drift), unready=tuple(unready))
    assert advice.next_step(samples.pair(), found).text == text


def test_a_takeover_of_a_manual_pair_is_completed_first():
    reports = (primary(boot="old"), secondary(4, "salt2", active_services={"nagios": "inactive"}))
    said = advice.next_step(samples.pair(), judged(*reports))
    assert [one.split()[2] for one in said.commands] == ["orch.failover", "orch.recover"]
    assert said.brief == "failover, recover"


@pytest.mark.parametrize(
    ("states", "words", "commands"),
    [
        ({}, ["salt2 serves", "Start salt1 and its salt-minion; nothing is urgent."], 0),
        ({"nagios": "active"}, ["nothing is urgent"], 0),
        (
            {"nagios": "inactive"},
            ["salt2, which serves already, gets what it lacks (nagios)", "fenced: salt1"],
            1,
        ),
    ],
)
def test_after_a_takeover_that_is_complete_nothing_is_urgent(states, words, commands):
    said = advice.next_step(samples.pair(), judged(None, secondary(4, "salt2", active_services=states)))
    assert said.brief == "start salt1" and len(said.commands) == commands
    for word in words:
        assert word in said.text


def test_a_primary_that_is_down_while_nobody_serves_may_be_declared_off():
    said = advice.next_step(samples.pair(), judged(None, secondary()))
    assert "if it is certainly off, say so, and salt2 serves without it" in said.text
    assert said.commands == (
        "salt-run state.orch orch.failover pillar='{pair: salt, fenced: salt1, reason: \"...\"}'",
    )


def test_a_secondary_that_is_down_leaves_nobody_to_take_over():
    said = advice.next_step(samples.pair(), judged(primary(), None))
    assert said.text.startswith("salt1 serves, and no node could take over from it. Start salt2")
    assert said.brief == "start salt2"


@pytest.mark.parametrize(
    ("locks", "step", "seconds", "silent"),
    [
        ([lock(), lock(renewed=NOW - 9, step=("pause", NOW - 30))], "static", 12, 4),
        ([lock(renewed=NOW - 9, step=("pause", NOW - 30)), lock()], "static", 12, 4),
        ([lock(step=None), None], None, None, 4),
        ([lock(renewed=NOW - 40)], "static", 12, 40),
    ],
)
def test_the_living_run_is_the_one_that_renewed_last(locks, step, seconds, silent):
    found = advice.living([{"time": NOW, "lock": one} for one in locks])
    assert (found["run"], found["user"], found["step"]) == (samples.RUN, "root", step)
    assert (found["seconds"], found["silent"]) == (seconds, silent)


@pytest.mark.parametrize(
    "locks", [[None, None], [lock("expired")], [lock(), lock("dead")], [{"error": "is damaged"}]]
)
def test_a_run_that_is_dead_or_gone_is_not_waited_for(locks):
    assert advice.living([{"time": NOW, "lock": one} for one in locks]) is None


@pytest.mark.parametrize(
    ("renewed", "words"),
    [
        (NOW - 4, ["of root on salt2_master, step static since 12 s: wait"]),
        (NOW - 40, ["last heard of 40 s ago", "its lock expires in 20 s"]),
    ],
)
@pytest.mark.parametrize("reports", [(None, secondary(4, "salt2")), (primary(), secondary())])
def test_during_a_run_one_waits_whatever_the_verdict(reports, renewed, words):
    run = advice.living([{"time": NOW, "lock": lock(renewed=renewed)}])
    said = advice.next_step(samples.pair(), judged(*reports), run)
    assert said.brief == "wait" and said.commands == ()
    for word in words:
        assert word in said.text


def test_no_time_of_a_run_is_below_nothing():
    """Each node has its own clock, and a run may have renewed while the report was on its way."""
    ahead = lock(renewed=NOW + 3, step=("static", NOW + 2))
    found = advice.living([{"time": NOW, "lock": ahead}])
    assert (found["silent"], found["seconds"], found["expires"]) == (0, 0, 63)
    over = {**lock(renewed=NOW - 70), "step": None, "owner": None}
    found = advice.living([{"time": NOW, "lock": over}])
    assert (found["silent"], found["seconds"], found["expires"]) == (70, None, 0)
    assert (found["user"], found["master"], found["step"]) == (None, None, None)


def test_a_lock_of_which_no_time_is_known_is_as_good_as_of_now():
    bare = {"run": samples.RUN, "state": "held"}
    found = advice.living([{"time": NOW, "lock": bare}])
    assert (found["silent"], found["expires"], found["operation"]) == (0, 0, None)
    # One that is known to have been renewed knows the present step.
    assert advice.living([{"time": NOW, "lock": bare}, {"time": NOW, "lock": lock()}])["step"] == "static"


@pytest.mark.parametrize(("silent", "said"), [(advice.SILENT, False), (advice.SILENT + 1, True)])
def test_a_run_that_was_not_heard_of_for_long_may_be_dead(silent, said):
    run = advice.living([{"time": NOW, "lock": lock(renewed=NOW - silent)}])
    found = advice.next_step(samples.pair(), judged(primary(), secondary()), run=run)
    assert found.brief == "wait"
    assert (f"last heard of {silent} s ago; if it is dead, its lock expires in" in found.text) is said
