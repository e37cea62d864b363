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
