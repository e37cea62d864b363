"""What must be true before a run changes anything, and after it has: each refusal, and what passes."""

import dataclasses

import asked_minions
import pytest
import samples
from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltInvocationError

from failback.host import system
from failback_master import checks
from failback_master import minions as asking
from failback_master import orchestration

pytestmark = pytest.mark.one_release(but="the first case")

NOW = asked_minions.NOW
BOTH = ["salt1", "salt2"]
ADDRESS = "10.0.0.5/24"
MACS = {"salt1": "02:00:00:00:00:01", "salt2": "02:00:00:00:00:02"}


@pytest.fixture
def nodes(master_opts, minions):
    return asking.Nodes(master_opts)


@pytest.fixture
def decided(master_opts, minions):
    """``decided(said, operation, overrides, **pair)``: a run that has looked and planned, and its reports."""

    def look(said, operation="recover", overrides=None, **pair):
        minions.answers["pair.report"] = said
        config = checks.configuration({"salt": {**asked_minions.SALT, **pair}}, "salt", "")
        run = orchestration.Run(master_opts, config, operation, overrides)
        reports, _ = run.decide()
        minions.asked.clear()
        return run, reports

    return look


# --- the pillar -----------------------------------------------------------------------------------


@pytest.mark.parametrize("pillar", [None, {}, {"pairs": None}, {"pairs": {}}, {"users": {}}])
def test_a_pillar_without_pairs_is_refused(pillar):
    with pytest.raises(SaltInvocationError, match=r"has no pairs: pillar/top.sls must match '\*_master'"):
        checks.pairs_of(pillar)


def test_the_pairs_are_those_of_the_pillar():
    assert checks.pairs_of({"pairs": {"web": asked_minions.WEB}, "users": {}}) == {"web": asked_minions.WEB}


@pytest.mark.parametrize("pillar", [{"_errors": ["no", "list"], "pairs": {"web": {}}}, "no list"], ids=str)
def test_a_pillar_that_could_not_be_compiled_has_no_pairs_even_if_some_are_there(pillar):
    with pytest.raises(
        CommandExecutionError, match="^The pillar of salt1_master cannot be rendered: no list$"
    ):
        checks.pairs_of_master(pillar, "salt1_master")


WRONG = {"primary": "a1", "secondary": "a2", "recovery": {"max_delete": "lots"}}


@pytest.mark.parametrize(
    ("pairs", "pair", "said"),
    [
        ({"web": {}}, None, "No pair was named. Usage: how"),
        ({"web": {}}, "", "No pair was named"),
        ({"web": {}}, ["web"], "No pair was named"),
        ({"web": {}, "mx": {}}, "nope", r"There is no pair nope \(pairs: mx, web\). Usage: how"),
        ({"web": WRONG}, "web", "The pillar is wrong, nothing was done. .*recovery.max_delete"),
    ],
)
def test_a_pair_that_is_not_there_or_wrong_is_refused(pairs, pair, said):
    with pytest.raises(SaltInvocationError, match=said):
        checks.configuration(pairs, pair, "how")


def test_a_slip_in_another_pair_keeps_none_from_its_recovery():
    found = checks.configuration({"web": asked_minions.WEB, "other": WRONG}, "web", "")
    assert (found["name"], found["primary"]["id"]) == ("web", "web1")


@pytest.mark.parametrize(
    ("given", "own", "refused"),
    [
        ({"pair": "salt"}, {}, None),
        ({"pair": "salt", "pairs": {}, "master": {}}, {}, None),
        ({"pair": "salt", "_errors": []}, {}, None),
        (None, {}, None),
        ({"pair": "salt", "plann": "x"}, {}, r"plann \(did you mean plan\?\)"),
        ({"pair": "salt", "site": "x"}, {"site": "north"}, None),
        ({"pair": "salt", "site": "x", "plann": "y"}, {"site": "north"}, "does not know plann"),
    ],
)
def test_what_an_orchestration_was_given_and_does_not_know_is_refused(
    master_opts, pillar, given, own, refused
):
    """Keys that the site's own pillar has for its masters were given by nobody."""
    pillar.write({"site": "\n".join(f"{key}: {value}" for key, value in own.items()) or "{}"})
    opts = {**master_opts, "grains": {"id": master_opts["id"]}, "saltenv": "base", "pillar": given}
    if refused is None:
        checks.require_known(opts, given, "recover")
    else:
        with pytest.raises(SaltInvocationError, match=refused):
            checks.require_known(opts, given, "recover")


def test_what_the_site_gives_to_some_masters_by_their_grains_was_given_by_nobody(master_opts, pillar):
    pillar.write({"site": "{% if grains.get('rack') == 'north' %}site: north{% else %}{}{% endif %}"})
    opts = {**master_opts, "saltenv": "base"}
    given = {"pair": "salt", "site": "north"}
    checks.require_known({**opts, "grains": {"rack": "north"}}, given, "recover")
    for grains in ({"rack": "south"}, {}, None):
        with pytest.raises(SaltInvocationError, match="does not know site"):
            checks.require_known({**opts, "grains": grains}, given, "recover")


# --- an operator's word ---------------------------------------------------------------------------


def words(**said):
    return {"winner": None, "fenced": None, "reason": None, "moved": None, **said}


CONFIG = checks.configuration({"salt": asked_minions.SALT}, "salt", "")


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"winner": "salt1", "reason": "the clients were there"},
        {"winner": "salt2", "reason": "x"},
        {"fenced": "salt1", "reason": "burnt"},
        {"fenced": "salt1", "reason": "burnt", "moved": True},
    ],
)
def test_a_word_with_its_reason_is_taken(said):
    checks.require_overrides(CONFIG, words(**said))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"moved": True}, "moved must be true, and belongs to `fenced`"),
        ({"moved": True, "winner": "salt1", "reason": "x"}, "moved must be true, and belongs to `fenced`"),
        ({"moved": False, "fenced": "salt1", "reason": "x"}, "moved must be true"),
        ({"moved": "yes", "fenced": "salt1", "reason": "x"}, "moved must be true"),
        ({"winner": "salt3", "reason": "x"}, "winner must be salt1 or salt2, not 'salt3'"),
        ({"winner": "", "reason": "x"}, "winner must be salt1 or salt2, not ''"),
        ({"winner": "salt1"}, "winner: salt1 needs a reason"),
        ({"winner": "salt1", "reason": " "}, "winner: salt1 needs a reason"),
        ({"fenced": "salt1"}, "fenced: salt1 needs a reason"),
        ({"fenced": "salt3", "reason": "x"}, "fenced must name salt1 or salt2"),
        ({"reason": "x"}, "A reason without the node that is off says nothing"),
    ],
)
def test_a_word_that_says_too_little_is_refused(said, why):
    with pytest.raises(SaltInvocationError, match=why):
        checks.require_overrides(CONFIG, words(**said))


# --- the nodes ------------------------------------------------------------------------------------


def of_release(node, **digests):
    own = system.package_digest(system.PACKAGE)
    return {"node": node, "package": {"modules": own, "program": own, **digests}}


@pytest.mark.parametrize(
    ("reports", "named"),
    [
        ([of_release("salt1"), of_release("salt2")], None),
        ([of_release("salt1"), of_release("salt2", modules="x")], "^salt2 runs another release"),
        ([of_release("salt1", program="x"), of_release("salt2")], "^salt1 runs another release"),
        (
            [of_release("salt1", program="x"), of_release("salt2", modules="x", program="x")],
            "^salt1 and salt2 run another release.*salt -L 'salt1,salt2' state.apply.*Nothing was changed",
        ),
    ],
)
def test_nodes_of_another_release_are_refused(reports, named):
    if named is None:
        checks.require_in_step(reports)
    else:
        with pytest.raises(CommandExecutionError, match=named):
            checks.require_in_step(reports)


def with_lock(node, state, **owner):
    owner = {"machine": "m/elsewhere", "boot_id": "b", "pid": 1, "user": "bob", "master": "m", **owner}
    lock = {"state": state, "run": samples.RUN, "owner": owner, "operation": "recover", "expires": NOW}
    return {"node": node, "lock": {**lock, "since": samples.SINCE}}


@pytest.mark.parametrize(
    ("state", "dead", "free"),
    [
        ("held", False, False),
        ("held", True, True),
        ("expired", False, True),
        ("dead", False, True),
        (None, False, True),
    ],
)
def test_a_pair_is_free_unless_a_run_that_may_live_has_it(nodes, minions, state, dead, free):
    minions.answers = {"pair.owner_has_ended": dead}
    reports = [
        {"node": "salt1", "lock": None},
        with_lock("salt2", state) if state else {"node": "salt2", "lock": None},
    ]
    if free:
        checks.require_free("salt", reports, nodes)
    else:
        with pytest.raises(CommandExecutionError, match=f"salt is locked by run {samples.RUN}"):
            checks.require_free("salt", reports, nodes)


@pytest.mark.parametrize(
    ("here", "reboot", "refused"),
    [("salt1", True, True), ("salt1", False, False), ("salt2", True, False), (None, True, False)],
)
def test_a_run_does_not_reboot_the_machine_on_which_it_lives(decided, here, reboot, refused):
    def said(node, pair):
        found = asked_minions.failed_over(node)
        if node != here:
            return found
        own = {**found["ledger"], "boot_id": "another" if node == "salt1" else system.boot_id()}
        return {**found, "boot_id": system.boot_id(), "ledger": own}

    run, reports = decided(said, recovery={"reboot": reboot})
    assert "static" in run.plan.steps and run.plan.returned == "salt1"
    if refused:
        with pytest.raises(CommandExecutionError, match="would reboot salt1.*Run it on the master of salt2"):
            checks.require_elsewhere(run, reports)
    else:
        checks.require_elsewhere(run, reports)


def test_a_run_that_reboots_nobody_may_live_anywhere(decided, minions):
    def said(node, pair):
        own = samples.ledger(3, "salt1", system.boot_id())
        found = asked_minions.normal(node)
        return {**found, "boot_id": system.boot_id(), "ledger": own} if node == "salt2" else found

    run, reports = decided(said, "failover", vms=["idm"])
    checks.require_elsewhere(run, reports)
    assert minions.asked == []


@pytest.mark.parametrize(("running", "refused"), [([], False), (["idm"], True), (["idm", "repo"], True)])
def test_a_host_that_runs_guests_is_not_rebooted(decided, minions, running, refused):
    minions.answers["shared_vm.running"] = running
    run, reports = decided(asked_minions.failed_over, vms=["idm", "repo"])
    if refused:
        why = f"would reboot salt1, which runs {', '.join(running)}. Move them away .*away_from: salt1"
        with pytest.raises(CommandExecutionError, match=why):
            checks.require_elsewhere(run, reports)
    else:
        checks.require_elsewhere(run, reports)
    (asked,) = minions.asked
    assert (asked.function, asked.nodes, asked.args) == ("shared_vm.running", ["salt1"], ["salt"])


def test_a_pair_without_guests_is_not_asked_for_them(decided, minions):
    run, reports = decided(asked_minions.failed_over)
    checks.require_elsewhere(run, reports)
    assert minions.asked == []


def without_interface(*lacking, said=asked_minions.normal):
    def report(node, pair):
        found = said(node)
        address = {**found["addresses"][0], "interface_exists": node not in lacking}
        return {**found, "addresses": [address]}

    return report


@pytest.mark.parametrize(
    ("lacking", "operation", "refused"),
    [
        ((), "failover", False),
        (("salt2",), "failover", True),
        # It gives the addresses away, or nothing is done.
        (("salt1",), "failover", False),
        (("salt1", "salt2"), "recover", False),
    ],
)
def test_who_is_to_get_the_addresses_must_have_the_interface(decided, lacking, operation, refused):
    run, reports = decided(without_interface(*lacking), operation)
    if refused:
        why = "^salt2 has no such interface: salt: floating_ips.salt-gw.interface: eth0. Bring it up"
        with pytest.raises(CommandExecutionError, match=why):
            checks.require_interfaces(run, reports)
    else:
        checks.require_interfaces(run, reports)


def test_who_takes_over_alone_must_have_the_interface(decided):
    overrides = {"fenced": "salt1", "reason": "burnt"}
    lacking = asked_minions.of_node(salt2=without_interface("salt2")("salt2", "salt"))
    run, reports = decided(lacking, "failover", overrides)
    assert "takeover" in run.plan.steps
    with pytest.raises(CommandExecutionError, match="salt2 has no such interface"):
        checks.require_interfaces(run, reports)


def test_a_boot_needs_the_interface_at_once(decided):
    cold = lambda node: asked_minions.report(node, 3, "salt1", "an earlier boot")  # noqa: E731
    run, reports = decided(without_interface("salt1", said=cold), "boot")
    assert "take" in run.plan.steps
    with pytest.raises(CommandExecutionError, match="salt1 has no such interface"):
        checks.require_interfaces(run, reports)


def test_what_highstate_and_a_reboot_may_still_bring_is_not_missing_yet(decided):
    run, reports = decided(without_interface("salt1", said=asked_minions.failed_over))
    assert "static" in run.plan.steps
    checks.require_interfaces(run, reports)


# --- what will be carried -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "operation", "target", "overrides"),
    [
        (asked_minions.failed_over, "recover", "salt1", {}),
        (asked_minions.normal, "failover", "salt2", {}),
        (asked_minions.split, "recover", "salt1", {"winner": "salt2", "reason": "x"}),
    ],
)
def test_what_will_be_carried_is_judged_on_the_node_that_gets_it(
    decided, minions, said, operation, target, overrides
):
    sources = {"/srv/salt": {"inode": 7}}
    checked = [{"path": "/srv/salt"}]
    minions.answers["reverse_rsync.checked"] = checked

    def report(node, pair):
        return {**said(node), "sources": {} if node == target else sources}

    limits = {"max_delete": 5, "max_change_percent": 6}
    run, reports = decided(report, operation, overrides, recovery=limits)
    assert checks.previews(run, reports) == checked
    (asked,) = minions.asked
    assert (asked.nodes, asked.args) == ([target], ["salt", sources])
    takeover = asked.kwargs.pop("takeover")
    assert (takeover is None) is (operation == "failover")
    assert asked.kwargs == {**limits, "operation": operation, "overrides": overrides}


@pytest.mark.parametrize("operation", ["recover", "boot"])
def test_where_no_file_moves_none_is_looked_at(decided, minions, operation):
    run, reports = decided(asked_minions.normal, operation)
    assert checks.previews(run, reports) == [] and minions.asked == []


@pytest.mark.parametrize("in_step", [None, NOW - 5])
def test_when_the_serving_node_took_over_is_told_on_both_clocks(decided, in_step):
    def said(node, pair):
        found = asked_minions.failed_over(node)
        if node == "salt1":
            return {**found, "time": NOW + 100}
        return {**found, "ledger": {**found["ledger"], "in_step": in_step}}

    run, reports = decided(said)
    since = 1795370400
    moments = [since + 100, since] + ([in_step] if in_step else [])
    assert checks.takeover(run, reports) == moments


# --- third hosts ----------------------------------------------------------------------------------


def answered_by(*macs, host=()):
    return lambda node, address, count: list(macs) if address == ADDRESS else list(host)


def test_exactly_one_host_answers_for_each_address_as_each_witness_sees_it(decided, minions):
    run, _ = decided(asked_minions.normal, witnesses=["client"])
    minions.answers["floating_ip.answered_by"] = answered_by(MACS["salt1"])
    assert checks.ask_witnesses(run) == {f"{ADDRESS} by client": MACS["salt1"]}
    (asked,) = minions.asked
    assert (asked.nodes, asked.args, asked.kwargs) == (["client"], [ADDRESS], {"count": 2})


@pytest.mark.parametrize(
    ("macs", "said"),
    [
        ((), "client sees nobody answer"),
        (tuple(MACS.values()), f"client sees {' and '.join(MACS.values())} answer"),
    ],
)
def test_two_hosts_that_answer_and_none_end_a_run(decided, minions, macs, said):
    run, _ = decided(asked_minions.normal, witnesses=["client"])
    minions.answers["floating_ip.answered_by"] = answered_by(*macs)
    with pytest.raises(CommandExecutionError, match=f"^{said} for {ADDRESS}; exactly one host must"):
        checks.ask_witnesses(run)


def test_a_witness_that_cannot_be_asked_stops_nothing_and_the_next_one_is_believed(decided, minions):
    run, _ = decided(asked_minions.normal, witnesses=["client", "other"])
    minions.answers["floating_ip.answered_by"] = asked_minions.of_node(other=[MACS["salt1"]])
    assert checks.ask_witnesses(run) == {
        f"{ADDRESS} by client": "not asked: client does not answer floating_ip.answered_by "
        "(is its salt-minion up?)",
        f"{ADDRESS} by other": MACS["salt1"],
    }
    minions.answers["floating_ip.answered_by"] = asked_minions.of_node(other=[])
    with pytest.raises(CommandExecutionError, match="other sees nobody"):
        checks.ask_witnesses(run)


def test_a_node_that_a_witness_sees_is_not_off_by_anybodys_word(nodes, minions):
    config = checks.configuration({"salt": {**asked_minions.SALT, "witnesses": ["client"]}}, "salt", "")
    there = {"salt2": asked_minions.failed_over("salt2")}
    there["salt2"]["addresses"][0]["mac"] = MACS["salt2"]
    minions.answers["floating_ip.answered_by"] = answered_by(MACS["salt2"])
    checks.require_unseen(nodes, config, "salt1", there)
    # One that has not been asked anything yet may still be in the answers.
    checks.require_unseen(nodes, config, "salt1", {"salt1": None, **there})
    minions.answers["floating_ip.answered_by"] = answered_by(MACS["salt1"])
    with pytest.raises(CommandExecutionError, match="salt1 is not off"):
        checks.require_unseen(nodes, config, "salt1", there)


# --- the last look of a run -----------------------------------------------------------------------


def looks(*each):
    """Reports, look by look, then those of the last one again."""
    count = {"salt1": 0, "salt2": 0}

    def said(node, pair):
        at = min(count[node], len(each) - 1)
        count[node] += 1
        return each[at](node)

    return said


@pytest.fixture
def done(decided, minions):
    """``done(*looks)``: a failover of which all steps are done, and what the nodes say afterwards."""

    def over(*each, **pair):
        run, _ = decided(asked_minions.normal, "failover", **pair)
        minions.answers["pair.report"] = looks(*each)
        return run

    return over


def moved(node, **changes):
    """salt2 serves, and all is as it should be."""
    found = asked_minions.report(node, 4, "salt2")
    return {**found, **changes}


def test_a_run_that_has_brought_about_what_it_was_to_says_so(done, minions):
    minions.answers["floating_ip.answered_by"] = answered_by(MACS["salt2"])
    said = checks.prove(done(moved, witnesses=["client"]))
    assert said.startswith("salt is failed_over: salt2 ") and said.endswith(
        f" {ADDRESS} by client: {MACS['salt2']}."
    )
    assert minions.functions() == ["pair.report", "floating_ip.answered_by"]


def test_a_pair_that_somebody_else_serves_is_no_success(done):
    with pytest.raises(CommandExecutionError, match="^After all steps salt is normal: salt1 serves"):
        checks.prove(done(asked_minions.normal))


def test_a_node_that_is_silent_after_all_steps_is_no_success(done):
    lost = lambda node: asked_minions.SILENT if node == "salt1" else moved(node)  # noqa: E731
    with pytest.raises(CommandExecutionError, match="^salt1 does not answer pair.report"):
        checks.prove(done(lost))


def test_one_that_was_declared_off_may_be_silent(decided, minions):
    there = asked_minions.of_node(salt2=asked_minions.report("salt2", 3, "salt1"))
    run, _ = decided(there, "failover", {"fenced": "salt1", "reason": "burnt"})
    assert run.members == ("salt2",)
    minions.answers["pair.report"] = asked_minions.of_node(salt2=moved("salt2"))
    assert checks.prove(run).startswith("salt is primary_down: ")


@pytest.mark.parametrize(
    ("node", "words"),
    [("salt2", "^/srv/salt on salt2 is an empty folder. Mount"), ("salt1", "^After all steps .*on salt1 is")],
)
def test_files_that_lie_elsewhere_than_they_did_are_no_success(done, node, words):
    where = {"/srv/salt": "is an empty folder"}
    with pytest.raises(CommandExecutionError, match=words):
        checks.prove(done(lambda one: moved(one, misplaced=where if one == node else {})))


def drifted(node):
    return moved(node, services={"salt-master": "failed" if node == "salt1" else "active"})


def test_a_service_that_has_failed_after_all_steps_is_no_success(done):
    with pytest.raises(CommandExecutionError, match="After all steps .*salt-master is failed on salt1"):
        checks.prove(done(drifted))


def unready(node):
    fence = {
        "well": False,
        "node": "salt2",
        "agent": "fence_x",
        "sentence": "it does not answer",
        "error": None,
    }
    return moved(node, fence=fence if node == "salt1" else None)


def test_what_was_not_well_is_looked_at_again_before_it_is_said(done, minions):
    minions.answers.update({"pair.fence_test": True, "pair.look": True})
    checks.prove(done(unready, moved))
    (tested,) = minions.questions("pair.fence_test")
    assert (tested.nodes, tested.args) == (["salt1"], ["salt"])
    assert [one for one in minions.functions() if one != "pair.look"] == [
        "pair.report",
        "pair.fence_test",
        "pair.report",
    ]


def test_the_lookouts_are_given_time_to_look(decided, minions):
    run, reports = decided(asked_minions.normal)
    minions.answers["pair.look"] = True
    run.verdict = dataclasses.replace(run.verdict, unready=("salt2 is behind.",))
    assert checks.look_again(run, reports) is True
    (asked,) = minions.asked
    assert (asked.nodes, asked.args, asked.look) == (BOTH, ["salt"], 20)
