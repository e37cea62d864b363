"""When the watch takes addresses, told as stories: a network, a clock, and the decision alone."""

import dataclasses
import itertools
import os
import re
import stat

import pytest
from hypothesis import given
from hypothesis import strategies

from failback.decisions import silence
from failback.decisions.silence import CONFLICT
from failback.decisions.silence import NOTHING
from failback.decisions.silence import TAKE
from failback.decisions.silence import Observation
from failback.decisions.silence import Settings
from failback.decisions.silence import State
from failback.decisions.silence import decide
from failback.errors import Refused
from failback.host.paths import Paths
from failback.watch import loop
from failback.watch import place

GATEWAY, FAST = "10.0.0.5", "10.1.0.5"
MAC = "02:00:00:00:00:01"
LEDGER = {"generation": 3, "active": "salt1", "boot_id": "this boot"}
ONE = Settings("salt", "salt2", {GATEWAY: ("salt-gw", "eth0")})
TWO = Settings("apps", "apps1", {GATEWAY: ("gw", "eth0"), FAST: ("gw.fast", "ib0")})


class Story:
    """
    A network whose facts are functions of time, watched as the program watches it.

    answers
        (time, address) to whether the holder answers a probe sent then.

    facts
        Time to further fields of the observation.
    """

    def __init__(self, answers, facts=lambda now: {}, settings=ONE, phase=0.0, reached=None):
        self.answers, self.facts, self.settings = answers, facts, settings
        self.now, self.reached = phase, reached
        self.state = State()
        self.heard, self.reached_at = {}, None
        self.next_probe = phase
        self.sentences = []

    def until(self, end):
        """Watch until the time, or an action. Returns ``(action, time, sentence)``."""
        while self.now <= end:
            facts = {
                "ledger": LEDGER,
                "connected": frozenset(place for _, place in self.settings.addresses.values()),
                **self.facts(self.now),
            }
            asked = frozenset()
            if self.now >= self.next_probe - 1e-9:
                asked = frozenset(self.settings.addresses)
            observation = Observation(
                now=self.now,
                wall=1000 + self.now,
                boot_id="this boot",
                answers=self.heard,
                asked=asked,
                reached=self.reached_at,
                **facts,
            )
            self.state, action, sentence = decide(self.state, observation, self.settings)
            self.heard, self.reached_at = {}, None
            if not self.sentences or self.sentences[-1] != sentence:
                self.sentences.append(sentence)
            if asked:
                self.next_probe = self.now + silence.until_next_probe(self.state, self.settings)
                self.heard = {
                    one: (self.now + 0.001, frozenset([MAC])) for one in asked if self.answers(self.now, one)
                }
                if self.reached and self.reached(self.now):
                    self.reached_at = self.now + 0.001
            if action != NOTHING:
                return action, self.now, sentence
            due = silence.due(self.state, self.settings)
            later = [self.next_probe] + ([due] if due and due > self.now else [])
            self.now = min(later)
        return NOTHING, self.now, self.sentences[-1]


def dies(at):
    return lambda now, _: now < at


def test_a_holder_that_answers_is_left_alone_and_said_once():
    story = Story(lambda now, _: True)
    assert story.until(60)[0] == NOTHING
    assert story.sentences[1:] == ["salt-gw: answered by another host; salt2 stands by."]


@given(strategies.floats(5, 6))
def test_a_dead_holder_is_followed_within_the_patience(at):
    action, when, sentence = Story(dies(at)).until(20)
    assert action == TAKE
    assert ONE.patience - ONE.interval - 0.01 <= when - at <= ONE.patience + 0.01
    assert "did not answer for 2 s" in sentence


@given(strategies.floats(5, 6), strategies.floats(0.001, 1.0))
def test_a_second_of_lost_packets_is_survived(at, length):
    story = Story(lambda now, _: not at <= now <= at + length)
    assert story.until(20)[0] == NOTHING


@given(strategies.floats(5, 6), strategies.sampled_from([0.5, 1.0, 2.0, 3.0]))
def test_a_second_of_lost_packets_is_survived_at_slow_probing_too(at, interval):
    settings = dataclasses.replace(ONE, interval=interval)
    story = Story(lambda now, _: not at <= now <= at + 1.0, settings=settings)
    assert story.until(20)[0] == NOTHING


@given(strategies.floats(5, 6))
def test_the_fastest_settings_are_fast(at):
    settings = dataclasses.replace(ONE, interval=0.05, patience=0.2)
    action, when, _ = Story(dies(at), settings=settings).until(10)
    assert (action, when - at <= 0.21) == (TAKE, True)


@given(strategies.floats(0.05, 1), strategies.floats(0.2, 5), strategies.floats(5, 6))
def test_never_before_several_probes_and_never_much_after_the_patience(interval, patience, at):
    settings = dataclasses.replace(ONE, interval=interval, patience=patience)
    story = Story(dies(at), settings=settings)
    action, when, _ = story.until(40)
    assert action == TAKE
    assert story.state.silence[GATEWAY].probes > silence.PROBES
    assert when - at <= max(patience, 2 * interval) + patience


EVERYTHING_ELSE_IS_GIVEN = {
    "no ledger": ({"ledger": None}, "no ledger"),
    "a damaged ledger": ({"ledger": None, "ledger_error": "It is damaged."}, "damaged"),
    "admitted in an earlier boot": ({"ledger": {**LEDGER, "boot_id": "old"}}, "orch.recover"),
    "admitted by nobody": ({"ledger": {**LEDGER, "boot_id": ""}}, "orch.boot"),
    "a pause": (
        {"pause": {"until": 2000, "reason": "recover", "run": "r1"}},
        "paused .recover, run r1",
    ),
    "a pause without an end": ({"pause": {"reason": "?"}}, "paused"),
    "a damaged pause": ({"pause_error": "It is damaged."}, "damaged"),
    "no carrier": ({"connected": frozenset()}, "no carrier"),
    "the wrong carrier": ({"connected": frozenset(["eth1"])}, "no carrier"),
}


@pytest.mark.parametrize("facts, told", EVERYTHING_ELSE_IS_GIVEN.values(), ids=EVERYTHING_ELSE_IS_GIVEN)
def test_one_condition_missing_and_nothing_is_taken(facts, told):
    story = Story(dies(5), lambda now: facts if now > 4 else {})
    assert story.until(60)[0] == NOTHING
    assert re.search(told, story.sentences[-1])


def test_what_was_never_seen_is_not_taken():
    story = Story(lambda now, _: False)
    assert story.until(60)[0] == NOTHING
    assert "never answered since this node booted" in story.sentences[-1]


def test_what_was_seen_before_the_watch_was_restarted_counts():
    story = Story(lambda now, _: False)
    story.state = State(seen=frozenset([GATEWAY]))
    action, when, _ = story.until(60)
    assert (action, when <= 2.6) == (TAKE, True)


@pytest.mark.parametrize("pause", [{"until": 900}, {"until": 1000}, None])
def test_a_pause_that_has_expired_is_none(pause):
    assert Story(dies(5), lambda now: {"pause": pause}).until(20)[0] == TAKE


def test_after_a_pause_the_silence_is_counted_anew():
    action, when, _ = Story(dies(5), lambda now: {"pause": {"until": 1030}}).until(60)
    assert action == TAKE
    assert 31.5 <= when <= 33


def test_after_a_cut_link_the_silence_is_counted_anew():
    def cut(now):
        return {"connected": frozenset()} if 5 <= now < 30 else {}

    story = Story(lambda now, _: not 5 <= now < 30.5, cut)
    assert story.until(60)[0] == NOTHING


def test_a_watch_that_was_stopped_itself_counts_anew():
    story = Story(lambda now, _: now < 5 or now > 15.2)
    story.until(5.2)
    story.now = story.next_probe = 15.0  # SIGSTOP, or the host was paused
    assert story.until(60)[0] == NOTHING


def test_a_deaf_switch_port_is_told_from_a_dead_holder_by_the_reachable():
    settings = dataclasses.replace(ONE, reachable=("10.0.0.1",))
    deaf = Story(dies(5), settings=settings, reached=lambda now: now < 5)
    assert deaf.until(60)[0] == NOTHING
    assert "none of 10.0.0.1 answers either" in deaf.sentences[-1]
    action, when, _ = Story(dies(5), settings=settings, reached=lambda now: True).until(60)
    assert (action, when <= 7.1) == (TAKE, True)


@given(strategies.floats(5, 30), strategies.floats(0, 0.4))
def test_a_switch_that_comes_back_does_not_cause_a_flip(length, later):
    settings = dataclasses.replace(ONE, reachable=("10.0.0.1",))
    end = 5 + length
    story = Story(
        lambda now, _: not 5 <= now < end + later,
        settings=settings,
        reached=lambda now: not 5 <= now < end,
    )
    assert story.until(60)[0] == NOTHING


def test_all_addresses_move_together_and_only_if_all_are_silent():
    assert Story(dies(5), settings=TWO).until(20)[0] == TAKE
    half = Story(lambda now, one: now < 5 or one == GATEWAY, settings=TWO)
    assert half.until(60)[0] == NOTHING
    assert "gw.fast: not answered, but gw is" in half.sentences[-1]
    unseen = Story(lambda now, one: now < 5 and one == GATEWAY, settings=TWO)
    assert unseen.until(60)[0] == NOTHING


def test_where_both_watch_the_primary_goes_first():
    primary = dataclasses.replace(ONE, node="salt1")
    secondary = dataclasses.replace(ONE, delay=ONE.patience)
    _, first, _ = Story(dies(5), settings=primary).until(20)
    _, second, _ = Story(dies(5), settings=secondary).until(20)
    assert second - first >= 1.4
    # And when the primary has taken it, the secondary leaves it alone.
    taken = Story(lambda now, _: now < 5 or now > first + 0.3, settings=secondary)
    assert taken.until(60)[0] == NOTHING


def test_the_active_node_that_lost_its_own_address_takes_it_again():
    facts = {"ledger": {**LEDGER, "active": "salt2"}}

    def lost(now):
        return {**facts, "held": frozenset([GATEWAY]) if now < 5 else frozenset()}

    story = Story(lambda now, _: False, lost)
    action, when, _ = story.until(60)
    assert action == TAKE
    assert 6.5 <= when <= 8


def test_an_address_held_against_the_ledger_is_reported_and_not_extended():
    facts = {"held": frozenset([FAST])}
    story = Story(lambda now, one: now < 5 and one == GATEWAY, lambda now: facts, settings=TWO)
    assert story.until(60)[0] == NOTHING
    assert "although its ledger names salt1 active" in story.sentences[-1]


def test_a_second_holder_is_reported_at_once_and_again_later():
    story = Story(lambda now, _: now > 5, lambda now: {"held": frozenset([GATEWAY])})
    assert story.until(4.9)[0] == NOTHING
    action, when, sentence = story.until(60)
    assert (action, when <= 9) == (CONFLICT, True)
    assert MAC in sentence
    again = []
    for _ in range(2):
        story.now = story.next_probe
        again.append(story.until(60)[1])
    assert again[0] - when >= silence.CONFLICT_AGAIN


def test_one_late_announcement_is_no_conflict():
    story = Story(lambda now, _: 5 < now < 6.1, lambda now: {"held": frozenset([GATEWAY])})
    assert story.until(60)[0] == NOTHING


def test_during_a_pause_conflicts_are_left_to_the_run():
    facts = {"held": frozenset([GATEWAY]), "pause": {"until": 5000, "run": "r1"}}
    assert Story(lambda now, _: True, lambda now: facts).until(60)[0] == NOTHING


def test_a_failed_claim_waits_before_the_next():
    story = Story(dies(5))
    _, first, _ = story.until(20)
    story.state = silence.failed(story.state, first, ONE)
    action, second, _ = story.until(60)
    assert action == TAKE
    assert second - first >= ONE.patience


@given(
    strategies.lists(
        strategies.tuples(
            strategies.floats(0.001, 3),
            strategies.booleans(),
            strategies.booleans(),
            strategies.sampled_from([LEDGER, None, {**LEDGER, "boot_id": ""}]),
            strategies.sampled_from([None, {"until": 1e9}, {"until": 0}]),
            strategies.booleans(),
            strategies.booleans(),
        ),
        max_size=60,
    )
)
def test_whatever_happens_no_condition_is_ever_forgotten(events):
    state, now, last_answer = State(), 0.0, None
    for step, answered, asked, ledger, pause, connected, held in events:
        now += step
        if answered:
            last_answer = now
        state, action, sentence = decide(
            state,
            Observation(
                now=now,
                wall=now,
                boot_id="this boot",
                ledger=ledger,
                pause=pause,
                held=frozenset([GATEWAY] if held else []),
                answers={GATEWAY: (now, frozenset([MAC]))} if answered else {},
                asked=frozenset([GATEWAY] if asked else []),
                connected=frozenset(["eth0"] if connected else []),
            ),
            ONE,
        )
        assert sentence
        if action == TAKE:
            assert ledger is LEDGER and connected and not held
            assert pause is None or pause["until"] == 0
            assert GATEWAY in state.seen
            assert last_answer is None or now - last_answer >= ONE.patience


# --- whom to ask, and who has heard a claim --------------------------------------------------------

ASKS = dataclasses.replace(ONE, reachable=("10.0.0.1",))


def test_where_there_is_nobody_to_ask_nothing_is_taken_and_that_is_said_before_it_matters():
    story = Story(dies(5), settings=dataclasses.replace(ONE, reachable=()))
    assert story.until(60)[0] == NOTHING
    assert "nobody to ask" in story.sentences[0] and "reachable: nobody" in story.sentences[0]


def claimed(at, **more):
    """This node's claim of generation 4 at a time, which nobody has heard yet."""
    own = {**LEDGER, "generation": 4, "active": "salt2", "heard": False}

    def facts(now):
        return {"held": frozenset([GATEWAY]), "ledger": own, **more} if now >= at else {}

    return facts


def test_a_claim_that_is_answered_twice_with_nobody_beside_it_is_heard():
    story = Story(dies(5), claimed(5), settings=ASKS, reached=lambda now: True)
    action, when, _ = story.until(60)
    assert (action, when <= 5 + ASKS.settled + 1.3) == (silence.HEARD, True)


def test_a_claim_that_nobody_answers_is_withdrawn_in_a_few_seconds():
    story = Story(dies(5), claimed(5), settings=ASKS, reached=lambda now: now < 5)
    action, when, sentence = story.until(60)
    assert (action, when <= 5 + ASKS.unheard_for + 1) == (silence.WITHDRAW, True)
    assert "10.0.0.1" in sentence and ASKS.unheard_for <= 5


@given(strategies.floats(5.05, 8.9), strategies.floats(0, 0.3))
def test_when_a_cut_network_heals_the_one_that_served_all_the_time_is_met_before_a_claim_is_heard(at, later):
    """Everybody is heard again at the same moment, the other node a little later than the router."""
    story = Story(
        lambda now, _: now < 5 or now >= at + later,
        claimed(5),
        settings=ASKS,
        reached=lambda now: now < 5 or now >= at,
    )
    action, when, _ = story.until(60)
    # Withdrawn in that very moment, it meets the other one without the address.
    assert action in (CONFLICT, silence.WITHDRAW) and when - at <= 2.5


def test_a_sign_that_is_not_repeated_is_none():
    """The cable is pulled just after the first answer."""
    story = Story(dies(5), claimed(5), settings=ASKS, reached=lambda now: now < 5.6)
    assert story.until(60)[0] == silence.WITHDRAW


@pytest.mark.parametrize("reachable", [None, ("10.0.0.1",)])
def test_a_neighbour_that_the_kernel_knows_to_hear_this_node_is_as_good(reachable):
    settings = dataclasses.replace(ONE, reachable=reachable)
    facts = claimed(5)
    story = Story(dies(5), lambda now: {**facts(now), "confirmed": now - 0.01}, settings=settings)
    assert story.until(60)[0] == silence.HEARD


def test_where_nobody_is_asked_silence_does_not_withdraw_a_claim():
    story = Story(dies(5), claimed(5))
    assert story.until(60)[0] == NOTHING
    assert "heard by nobody yet" in story.sentences[-1]


def test_a_watch_that_stood_still_has_not_listened():
    story = Story(dies(5), claimed(5), settings=ASKS, reached=lambda now: now < 5.2 or now > 25)
    story.until(6)
    story.now = story.next_probe = 26.0
    assert story.until(60)[0] == silence.HEARD


def test_during_a_pause_a_claim_is_left_alone():
    pause = {"pause": {"until": 5000, "run": "r1"}}
    story = Story(dies(5), claimed(5, **pause), settings=ASKS, reached=lambda now: now < 5)
    assert story.until(60)[0] == NOTHING


def test_what_was_heard_once_is_not_asked_again():
    own = {**LEDGER, "generation": 4, "active": "salt2", "heard": True}
    facts = {"held": frozenset([GATEWAY]), "ledger": own}
    story = Story(dies(5), lambda now: facts if now > 5 else {}, settings=ASKS, reached=lambda now: now < 5)
    assert story.until(60)[0] == NOTHING
    assert "heard by nobody" not in story.sentences[-1]


WITHDRAWN = {**LEDGER, "generation": 4, "active": "salt2", "heard": False, "withdrawn": True}


def test_a_withdrawn_claim_may_be_made_again_when_the_router_answers_and_the_address_is_silent():
    story = Story(dies(0), lambda now: {"ledger": WITHDRAWN}, ASKS, reached=lambda now: now > 20)
    story.state = State(seen=frozenset([GATEWAY]))
    action, when, _ = story.until(60)
    assert (action, 20 < when < 25) == (TAKE, True)


@pytest.mark.parametrize(
    ("changes", "meets"),
    [
        ({}, True),
        ({"boot_id": ""}, True),
        ({"boot_id": "old"}, True),
        ({"heard": True, "withdrawn": False}, True),
        ({"heard": True, "boot_id": "old"}, False),
        ({"active": "salt1"}, False),
        ({"pause": True}, False),
    ],
    ids=str,
)
def test_a_node_without_the_address_that_another_host_has_meets_it_if_its_ledger_says_it_is_active(
    changes, meets
):
    facts = {"ledger": {**WITHDRAWN, **changes}}
    if changes.get("pause"):
        facts["pause"] = {"until": 5000}
    story = Story(lambda now, _: True, lambda now: facts, ASKS, reached=lambda now: True)
    assert (story.until(8)[0] == CONFLICT) is meets
    if meets:
        first = story.now
        story.now = story.next_probe
        assert story.until(60)[1] - first >= silence.CONFLICT_AGAIN


@pytest.mark.parametrize(
    "on, role, watched",
    [
        (on, role, on == "both" or on == role)
        for on, role in itertools.product(["secondary", "both", "nobody"], ["primary", "secondary"])
    ],
)
def test_whose_watch_it_is(on, role, watched):
    assert silence.covers(on, role) is watched


@pytest.mark.parametrize("name", ["", "../x", "a b", "x.bak", None, "a\n"])
def test_a_name_that_cron_would_not_run_is_refused(name):
    with pytest.raises(Refused, match="cron"):
        loop.main(name)


def test_what_the_watch_sees_may_be_read_by_all_who_get_there_and_its_lock_by_nobody_else(tmp_path):
    """Its status is for monitoring, and holds nothing that the network does not tell; all else is root's."""
    paths = Paths(tmp_path)
    before = os.umask(0)
    try:
        where = place.Place("gateway-ip", paths)
        with where.single():
            watching = object.__new__(loop.Watch)
            watching.place, watching.status = where, dict
            watching._write_status()
    finally:
        os.umask(before)
    folder = tmp_path / "run/failback"
    modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in (folder, *folder.iterdir())}
    assert modes == {"failback": 0o700, "watch-gateway-ip.json": 0o644, "watch-gateway-ip.lock": 0o600}


# --- where exactly a limit lies -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("interval", "patience", "delay", "quick", "evidence", "settled", "unheard_for", "gap"),
    [
        (0.5, 2.0, 0.0, 0.25, 1.5, 1.0, 4.0, 1.0),
        (0.5, 2.0, 3.0, 0.25, 4.5, 1.0, 4.0, 1.0),
        (0.125, 8.0, 0.0, 0.125, 7.875, 1.0, 5.0, 4.0),
        (4.0, 3.0, 0.0, 0.375, 2.0, 1.0, 5.0, 8.0),
        (0.05, 0.25, 0.0, 0.03125, 0.2, 0.125, 1.0, 0.125),
        (0.001, 0.75, 0.0, 0.01, 0.749, 0.375, 1.5, 0.375),
    ],
)
def test_all_times_follow_from_the_interval_and_the_patience(
    interval, patience, delay, quick, evidence, settled, unheard_for, gap
):
    one = dataclasses.replace(ONE, interval=interval, patience=patience, delay=delay)
    assert (one.quick, one.settled, one.unheard_for) == (quick, settled, unheard_for)
    assert one.evidence == pytest.approx(evidence)
    # Whoever answers at greater distances than this has not answered all the time.
    reached = dataclasses.replace(one, reachable=("10.0.0.1",))
    for distance, since in ((gap, 100.0), (gap + 0.01, 100.0 + gap + 0.01)):
        at = 100.0 + distance
        state = State(now=at, reached_since=100.0, reached_last=100.0)
        state, _, _ = decide(state, seen(at, reached=at), reached)
        assert state.reached_since == pytest.approx(since)


def seen(now, **facts):
    """What the watch of salt2 sees at a moment."""
    given_facts = {"ledger": LEDGER, "connected": frozenset(["eth0", "ib0"]), **facts}
    return Observation(now=now, wall=1000 + now, boot_id="this boot", **given_facts)


def quiet(heard, first, probes):
    return silence.Silence(heard, first, probes)


def silent(heard=10.0, first=10.25, probes=9, at=13.0, settings=ONE, **more):
    """The judgement of an address that was heard last, asked for first and so often, at those moments."""
    state = State(
        now=at - 0.1, seen=frozenset([GATEWAY]), silence={GATEWAY: quiet(heard, first, probes)}, **more
    )
    return decide(state, seen(at), settings)[1:]


@pytest.mark.parametrize(
    ("how", "taken"),
    [
        ({}, True),
        # The whole patience since the last answer.
        ({"at": 12.0}, True),
        ({"at": 11.99}, False),
        # And the evidence since the first question without one.
        ({"first": 11.5}, True),
        ({"first": 11.51}, False),
        ({"probes": silence.PROBES + 1}, True),
        ({"probes": silence.PROBES}, False),
        ({"not_before": 13.0}, True),
        ({"not_before": 13.01}, False),
        ({"settings": dataclasses.replace(ONE, delay=1.0)}, True),
        ({"settings": dataclasses.replace(ONE, delay=1.01)}, False),
        ({"settings": dataclasses.replace(ONE, delay=1.0), "at": 12.99}, False),
    ],
    ids=str,
)
def test_it_is_taken_at_the_end_of_the_patience_and_not_a_moment_before(how, taken):
    action, sentence = silent(**how)
    assert action == (TAKE if taken else NOTHING)
    state = State(
        silence={GATEWAY: quiet(how.get("heard", 10.0), how.get("first", 10.25), how.get("probes", 9))}
    )
    due = silence.due(state, how.get("settings", ONE))
    # The watch wakes for it.
    if how.get("probes", 9) <= silence.PROBES:
        assert due is None
    elif "not_before" not in how:
        assert (due <= how.get("at", 13.0)) is taken
    if "delay" in str(how) and not taken:
        assert "taken after 3" in sentence


def test_nothing_is_due_while_this_node_has_it_or_not_all_are_silent():
    one, other = quiet(10.0, 10.25, 9), quiet(11.0, 11.25, 9)
    assert silence.due(State(), ONE) is None
    assert silence.due(State(silence={GATEWAY: one, FAST: other}), TWO) == 13.0
    assert silence.due(State(silence={GATEWAY: one, FAST: quiet(11.0, 11.25, 2)}), TWO) is None
    assert silence.due(State(silence={GATEWAY: one}, holding=True), ONE) is None
    late = quiet(10.0, 12.0, 9)
    assert silence.due(State(silence={GATEWAY: late}), ONE) == 12.0 + ONE.evidence


@pytest.mark.parametrize(
    ("state", "interval", "seconds"),
    [
        (State(), 0.5, 0.5),
        (State(silence={GATEWAY: quiet(10.0, 10.25, 1)}), 0.5, 0.5),
        (State(silence={GATEWAY: quiet(10.0, 10.25, 2)}), 0.5, 0.25),
        (State(silence={GATEWAY: quiet(10.0, 10.25, 0), FAST: quiet(10.0, 10.25, 2)}), 0.5, 0.25),
        # A second holder is urgent for nobody.
        (State(silence={GATEWAY: quiet(10.0, 10.25, 2)}, holding=True), 0.5, 1.0),
        (State(holding=True), 3.0, 3.0),
        (State(holding=True, claim=4), 0.5, 0.25),
    ],
)
def test_how_soon_it_asks_again(state, interval, seconds):
    settings = dataclasses.replace(TWO, interval=interval)
    assert silence.until_next_probe(state, settings) == seconds


@pytest.mark.parametrize(
    ("late", "interval", "patience", "anew"),
    [
        (1.0, 0.5, 2.0, False),
        (1.01, 0.5, 2.0, True),
        # Twice the interval, or half of the patience.
        (2.0, 1.0, 2.0, False),
        (2.01, 1.0, 2.0, True),
        (4.0, 0.5, 8.0, False),
        (4.01, 0.5, 8.0, True),
    ],
)
def test_a_watch_that_was_late_counts_the_silence_anew(late, interval, patience, anew):
    settings = dataclasses.replace(ONE, interval=interval, patience=patience)
    before = State(now=10.0, seen=frozenset([GATEWAY]), silence={GATEWAY: quiet(5.0, 5.25, 7)}, claimed=5.0)
    state, _, _ = decide(dataclasses.replace(before, claim=4), seen(10.0 + late), settings)
    assert (state.silence[GATEWAY].probes == 0) is anew
    assert state.silence[GATEWAY].heard == (10.0 + late if anew else 5.0)


@pytest.mark.parametrize(
    ("pause", "error", "paused"),
    [
        ({"until": 1013.0}, None, False),
        ({"until": 1013.01}, None, True),
        ({"until": None}, None, True),
        ({"until": "soon"}, None, True),
        ({}, None, True),
        (None, None, False),
        (None, "It is damaged.", True),
    ],
)
def test_a_pause_lasts_to_its_end_and_one_that_says_nothing_lasts(pause, error, paused):
    state = State(now=12.9, seen=frozenset([GATEWAY]), silence={GATEWAY: quiet(10.0, 10.25, 9)})
    _, action, sentence = decide(state, seen(13.0, pause=pause, pause_error=error), ONE)
    assert (action == NOTHING, "is paused" in sentence) == (paused, paused)


@pytest.mark.parametrize(
    ("reason", "run", "words"),
    [
        ("work", None, "(work)"),
        (None, None, "(no reason given)"),
        ("recover", "r1", "(recover, run r1)"),
        ("recover r1", "r1", "(recover r1)"),
    ],
)
def test_why_it_is_paused_is_said_once(reason, run, words):
    pause = {"until": 5000, "reason": reason, "run": run}
    _, _, sentence = decide(State(), seen(13.0, pause=pause), ONE)
    assert f"is paused {words}. It ends" in sentence


@pytest.mark.parametrize(
    ("since", "last", "proved"),
    [
        (12.0, 12.9, True),
        (12.01, 12.9, False),
        # Twice the interval is no gap; more is.
        (10.0, 12.0, True),
        (10.0, 11.99, False),
        (None, None, False),
        (None, 12.9, False),
    ],
)
def test_who_must_answer_has_to_answer_for_half_of_the_patience(since, last, proved):
    action, sentence = silent(settings=ASKS, reached_since=since, reached_last=last)
    assert (action == TAKE) is proved
    if not proved:
        just = since is not None and last is not None and 13.0 - last <= 1.0
        assert ("has just answered" in sentence) is just


def test_one_that_must_answer_and_has_never_done_so_begins_to():
    for since, last in ((None, None), (None, 1.0)):
        state = State(now=12.9, reached_since=since, reached_last=last)
        state, _, _ = decide(state, seen(13.0, reached=12.95), ASKS)
        assert (state.reached_since, state.reached_last) == (12.95, 12.95)
    state, _, _ = decide(state, seen(13.5, reached=13.45), ASKS)
    assert (state.reached_since, state.reached_last) == (12.95, 13.45)
    # A cut link ends that.
    state, _, _ = decide(state, seen(13.6, connected=frozenset()), ASKS)
    assert state.reached_since is None


def holding(doubled=0, reported=None, now=100.0, ledger=None, held=(GATEWAY,), answers=True, asked=True):
    """The judgement of a node that another host answers beside, or instead of."""
    state = State(now=now - 0.1, seen=frozenset([GATEWAY]), doubled=doubled, reported=reported)
    answered = {GATEWAY: (now, frozenset([MAC]))} if answers else {}
    asked = frozenset([GATEWAY] if asked else [])
    own = {**LEDGER, "active": "salt2"} if ledger is None else ledger
    found = seen(now, ledger=own, held=frozenset(held), answers=answered, asked=asked)
    return decide(state, found, ONE)


@pytest.mark.parametrize("held", [(GATEWAY,), ()], ids=["it has the address", "it has nothing"])
@pytest.mark.parametrize(
    ("how", "conflict"),
    [
        ({}, False),
        ({"doubled": silence.CONFLICT_ROUNDS - 2}, False),
        ({"doubled": silence.CONFLICT_ROUNDS - 1}, True),
        ({"doubled": 9}, True),
        ({"doubled": 9, "reported": 100.0 - silence.CONFLICT_AGAIN}, True),
        ({"doubled": 9, "reported": 100.01 - silence.CONFLICT_AGAIN}, False),
        ({"doubled": 9, "answers": False}, False),
    ],
    ids=str,
)
def test_a_conflict_is_told_after_some_rounds_and_again_after_a_while(held, how, conflict):
    state, action, sentence = holding(held=held, **how)
    assert action == (CONFLICT if conflict else NOTHING)
    assert (MAC in sentence) is (
        conflict or (held != () and how.get("doubled") == 9 and how.get("answers", True))
    )
    if conflict:
        assert state.reported == 100.0
    # Questions that nobody answered end it; between two of them nothing is known.
    if how.get("answers", True):
        assert state.doubled == how.get("doubled", 0) + 1
    else:
        assert (state.doubled, state.reported) == (0, None)
        between, _, _ = holding(held=held, doubled=9, reported=95.0, answers=False, asked=False)
        assert (between.doubled, between.reported) == (9, 95.0)


def test_a_node_whose_ledger_does_not_name_it_has_nothing_doubled():
    state, action, _ = holding(held=(), doubled=9, reported=50.0, ledger=LEDGER)
    assert (state.doubled, state.reported, action) == (0, None, NOTHING)
    assert holding(held=(), doubled=9, ledger={})[1] == NOTHING


def test_all_of_an_addresss_answers_are_known_and_forgotten_after_two_questions():
    many = frozenset([MAC, "02:00:00:00:00:00"])
    state, _, _ = decide(State(), seen(10.0, answers={GATEWAY: (9.9, many)}), ONE)
    assert state.answered_by == {GATEWAY: sorted(many)} and state.silence[GATEWAY] == quiet(9.9, None, 0)
    assert state.seen == {GATEWAY}
    for now, known in ((10.1, True), (10.2, False)):
        state, _, _ = decide(state, seen(now, asked=frozenset([GATEWAY])), ONE)
        assert (GATEWAY in state.answered_by) is known
    assert state.silence[GATEWAY] == quiet(9.9, 10.1, 2)


def test_what_this_node_has_is_seen_and_not_silent():
    other = "10.9.9.9"
    found = seen(10.0, held=frozenset([GATEWAY, other]), asked=frozenset([GATEWAY]))
    state, _, _ = decide(State(), found, ONE)
    assert state.seen == {GATEWAY} and state.silence[GATEWAY] == quiet(10.0, None, 0) and state.holding
    state, _, _ = decide(State(), seen(10.0, held=frozenset([GATEWAY])), TWO)
    assert not state.holding


UNHEARD = {**LEDGER, "generation": 4, "active": "salt2", "heard": False}


def claim(now=20.0, settings=ASKS, held=(GATEWAY,), ledger=UNHEARD, answers=None, **state):
    """The judgement of a claim of generation 4 that is watched since the tenth second."""
    known = {"now": now - 0.1, "claim": 4, "claimed": 10.0, **state}
    facts = {key: known.pop(key) for key in ("reached", "confirmed") if key in known}
    found = seen(now, held=frozenset(held), ledger=ledger, answers=answers or {}, **facts)
    return decide(State(**known), found, settings)


@pytest.mark.parametrize(
    ("how", "action"),
    [
        # Two signs at some distance.
        ({"sign_first": 15.0, "sign_last": 16.0}, silence.HEARD),
        ({"sign_first": 15.0, "sign_last": 15.99, "now": 16.0}, NOTHING),
        ({"sign_first": 15.0, "sign_last": 15.0, "reached": 16.0, "now": 16.0}, silence.HEARD),
        ({"sign_first": 15.0, "sign_last": 15.0, "confirmed": 16.0, "now": 16.0}, silence.HEARD),
        (
            {"sign_first": 15.0, "sign_last": 15.0, "confirmed": 16.0, "reached": 15.5, "now": 16.0},
            silence.HEARD,
        ),
        # Nobody for some seconds, counted from the last sign.
        ({"now": 14.0}, silence.WITHDRAW),
        ({"now": 13.99}, NOTHING),
        ({"sign_first": 15.0, "sign_last": 15.0, "now": 19.0}, silence.WITHDRAW),
        ({"sign_first": 15.0, "sign_last": 15.0, "now": 18.99}, NOTHING),
        # Asked before the claim was watched.
        ({"now": 14.0, "reached": 10.0}, silence.WITHDRAW),
        ({"now": 14.0, "reached": 10.01}, NOTHING),
        ({"settings": dataclasses.replace(ONE, reachable=None)}, NOTHING),
        ({"settings": dataclasses.replace(ONE, reachable=())}, NOTHING),
    ],
    ids=str,
)
def test_when_exactly_a_claim_is_heard_or_withdrawn(how, action):
    assert claim(**how)[1] == action


@pytest.mark.parametrize(
    ("how", "claimed"),
    [
        ({}, 10.0),
        ({"claim": None, "claimed": None}, 20.0),
        ({"claim": 3}, 20.0),
        ({"held": ()}, None),
        ({"ledger": {**UNHEARD, "active": "salt1"}}, None),
        ({"ledger": {**UNHEARD, "heard": True}}, None),
    ],
    ids=str,
)
def test_a_claim_is_watched_from_its_first_sight_and_only_while_it_is_this_nodes(how, claimed):
    state, _, _ = claim(sign_first=15.0, sign_last=15.0, **how)
    assert (state.claim, state.claimed) == (None if claimed is None else 4, claimed)
    assert (state.sign_first, state.sign_last) == ((15.0, 15.0) if claimed == 10.0 else (None, None))


def test_an_answer_of_another_host_voids_all_signs():
    state, _, _ = claim(sign_first=15.0, sign_last=15.5, answers={GATEWAY: (20.0, frozenset([MAC]))})
    assert (state.sign_first, state.sign_last) == (None, None)
    state, _, _ = claim(sign_first=15.0, sign_last=15.5, answers={FAST: (20.0, frozenset([MAC]))})
    assert state.sign_first == 15.0


def test_a_first_sign_is_the_first_and_the_last():
    state, _, _ = claim(reached=19.5, confirmed=19.75)
    assert (state.sign_first, state.sign_last) == (19.75, 19.75)


def test_what_a_failure_leaves():
    state = silence.failed(State(silence={GATEWAY: quiet(1.0, 1.25, 9)}, reached_since=1.0), 50.0, ONE)
    assert state.not_before == 52.0 and state.silence == {GATEWAY: quiet(50.0, None, 0)}
    assert state.reached_since is None


def test_what_is_said_while_it_is_asked_and_answered():
    def said(silence_of, answered_by=(), ledger=LEDGER, known=(GATEWAY, FAST)):
        state = State(
            now=12.9,
            seen=frozenset(known),
            silence=silence_of,
            answered_by={one: [MAC] for one in answered_by},
        )
        return decide(state, seen(13.0, ledger=ledger), TWO)[2]

    once = quiet(12.5, 12.75, 1)
    both = {GATEWAY: once, FAST: once}
    assert said(both) == said(both, [FAST]) == "gw, gw.fast: asked for."
    assert said(both, [GATEWAY, FAST]) == "gw, gw.fast: answered by another host; apps1 stands by."
    own = {**LEDGER, "active": "apps1"}
    assert "although the ledger of apps1 names apps1 active" in said(both, [GATEWAY, FAST], own)
    # One that was never seen is asked for twice before that is said.
    assert said(both, known=[GATEWAY]) == "gw, gw.fast: asked for."
    assert said({GATEWAY: once, FAST: quiet(12.5, 12.75, 2)}, known=[GATEWAY]).startswith(
        "gw.fast: never answered"
    )
