"""A watched pair: what it makes of the files of its node, and of what it hears."""

import ipaddress

import pytest
import samples

from failback.decisions import silence
from failback.errors import Unavailable
from failback.host import files
from failback.host import system
from failback.host.paths import Paths
from failback.network import netlink
from failback.pair import Member
from failback.state import ledger
from failback.state import pause as pauses
from failback.watch import pair
from failback.watch.pair import WatchedPair


@pytest.fixture
def member(tmp_path):
    return Member.of(samples.pair("salt2"), Paths(tmp_path))


@pytest.fixture
def clock(monkeypatch):
    return samples.Clock(monkeypatch, pauses, system)


@pytest.fixture
def watched(member):
    member.ledger.write(ledger.Entry(3, "salt1", None, "a test"))
    (cron,) = {one["watch"]["cron"] for one in member.config["floating_ips"]}
    found = WatchedPair.of(member, cron, system.boot_id())
    yield found
    found.close()


@pytest.mark.parametrize("ahead", [3600, -3600])
def test_a_pause_lasts_what_it_was_given_when_the_clock_is_set_while_the_watch_runs(
    member, clock, watched, monkeypatch, ahead
):
    seen = []

    def decide(state, observation, settings):
        pause = observation.pause
        seen.append(bool(pause) and pause["until"] > observation.wall)
        return state, silence.NOTHING, ""

    monkeypatch.setattr(silence, "decide", decide)
    monkeypatch.setattr("failback.watch.pair.time.time", clock.time)
    member.pause.set(30, "a test")
    watched.judge()
    clock.set_ahead(ahead)
    clock.now += 29.9
    watched.judge()
    clock.now += 0.1
    watched.judge()
    assert seen == [True, True, False]


@pytest.mark.parametrize(
    "error", [OSError(30, "Read-only file system"), Unavailable("the lock does not come free")], ids=str
)
def test_a_pause_that_cannot_be_ended_ends_no_watch(member, watched, monkeypatch, error):
    """All pairs of the node are in one loop."""
    said = []

    def refuse(*_):
        raise error

    monkeypatch.setattr(watched._orphans, "ended", refuse)
    monkeypatch.setattr(system, "log", lambda sentence, *_: said.append(sentence))
    member.pause.set(30, "a run")
    assert watched.judge()[0] == silence.NOTHING
    assert len(said) == 1 and "has died, and stays" in said[0] and str(error) in said[0]
    assert member.pause.read()


# --- its sockets, and what is heard on them --------------------------------------------------------------

MAC = "02:00:00:00:00:01"
ADDRESS, SECOND = samples.PAIR["floating_ips"][0], samples.SECOND


def link(name="eth0", index=2, carrier=True):
    flags = netlink.UP | (netlink.LOWER_UP if carrier else 0)
    return netlink.Link(index, name, 1, flags, bytes([2, 0, 0, 0, 0, index]), b"\xff" * 6)


ETH0 = link()


def borne(text, index=2, flags=0):
    return netlink.Borne(ipaddress.ip_address(text).packed, 24, index, 0, flags, "")


class Prober:
    """What asks the segment: the addresses that it was opened for, whom it has asked, what it hears."""

    made = []

    def __init__(self, addresses, links, borne):
        self.addresses, self.asked, self.hears, self.closed = [one.ip for one in addresses], [], [], False
        self.made.append(self)

    def ask(self, addresses):
        self.asked += [one.ip for one in addresses]
        return addresses

    def read(self):
        heard, self.hears = self.hears, []
        return heard

    def sockets(self):
        return ["segment"]

    def close(self):
        self.closed = True


class Echo:
    """What pings: whom, how often, whether somebody answers."""

    made = []

    def __init__(self, addresses):
        self.addresses, self.asked, self.answers, self.closed = tuple(addresses), 0, False, False
        self.made.append(self)

    def ask(self):
        self.asked += 1

    def read(self):
        return self.answers

    def sockets(self):
        return ["pings"]

    def close(self):
        self.closed = True


class Segment:
    """salt2's watch of the pair, the clock, and what its kernel has."""

    def __init__(self, folder, monkeypatch, node="salt2", **changes):
        self.now, self.seen = 1000.0, []
        Prober.made, Echo.made = [], []
        monkeypatch.setattr(pair.neighbours, "Prober", Prober)
        monkeypatch.setattr(pair.reachable, "Echo", Echo)
        samples.in_place_of_time(monkeypatch, pair, monotonic=lambda: self.now)
        self.member = Member.of(samples.pair(node, **changes), Paths(folder))
        self.member.ledger.write(ledger.Entry(3, "salt1", None, "a test"))
        self.watched = WatchedPair.of(self.member, "gateway-ip", system.boot_id())
        decide = silence.decide

        def judged(state, observation, settings):
            self.seen.append(observation)
            return decide(state, observation, settings)

        monkeypatch.setattr(silence, "decide", judged)

    def look(self, *borne, links=(ETH0,), gateways=frozenset()):
        self.watched.look(netlink.Links(links), list(borne), gateways)
        return Prober.made[-1] if Prober.made else None

    def hears(self, *heard):
        Prober.made[-1].hears = list(heard)
        self.watched.read()

    def judge(self, after=0.0):
        self.now += after
        action, sentence = self.watched.judge()
        return action, sentence, self.seen[-1]


@pytest.fixture
def segment(tmp_path, monkeypatch):
    return Segment(tmp_path, monkeypatch)


BOTH = [{**one, "watch": {"on": "both", "cron": "gateway-ip"}} for one in (ADDRESS, SECOND)]
ELSEWHERE = {**SECOND, "watch": {"on": "secondary", "cron": "another"}}
FENCE = {"policy": "required", "timeout": 5, "delay": 10, "nodes": {"salt1": {"agent": "fence_test"}}}


@pytest.mark.parametrize(
    ("node", "changes", "delay", "addresses"),
    [
        ("salt2", {}, 0.0, ["10.0.0.5"]),
        ("salt1", {}, None, None),
        ("salt2", {"floating_ips": [ELSEWHERE]}, None, None),
        ("salt2", {"floating_ips": [ADDRESS, ELSEWHERE]}, 0.0, ["10.0.0.5"]),
        # Where both watch, the primary goes first, and has time to switch the other one off.
        ("salt1", {"floating_ips": BOTH}, 0.0, ["10.0.0.5", "10.0.0.6"]),
        ("salt2", {"floating_ips": BOTH}, 2.0, ["10.0.0.5", "10.0.0.6"]),
        ("salt2", {"floating_ips": BOTH, "fence": FENCE}, 12.0, ["10.0.0.5", "10.0.0.6"]),
        ("salt2", {"floating_ips": [ADDRESS, BOTH[1]], "fence": None}, 2.0, ["10.0.0.5", "10.0.0.6"]),
        ("salt2", {"fence": FENCE}, 0.0, ["10.0.0.5"]),
    ],
)
def test_what_this_node_watches_under_a_name_and_how_long_it_waits(
    tmp_path, monkeypatch, node, changes, delay, addresses
):
    member = Member.of(samples.pair(node, **changes), Paths(tmp_path))
    found = WatchedPair.of(member, "gateway-ip", system.boot_id())
    if delay is None:
        assert found is None
        return
    settings = found.settings
    assert (settings.delay, list(settings.addresses)) == (delay, addresses)
    assert (settings.interval, settings.patience, settings.reachable) == (0.5, 2.0, None)
    found.close()


def test_a_site_that_has_somebody_asked_asks_nobody_before_the_routes_are_known(tmp_path, monkeypatch):
    one = Segment(tmp_path, monkeypatch, watch={**samples.PAIR["watch"], "reachable": "gateway-or-witness"})
    assert one.watched.settings.reachable == ()
    one.look(gateways=frozenset({(bytes([10, 0, 0, 1]), 2)}))
    assert one.watched.settings.reachable == ("10.0.0.1",)
    assert Prober.made[-1].addresses == ["10.0.0.5", "10.0.0.1"]


def test_what_this_node_holds_is_what_its_interface_bears_and_the_kernel_answers_for(segment):
    def held(*found, **how):
        segment.look(*found, **how)
        return segment.judge()[2].held

    assert held() == frozenset()
    assert held(borne("10.0.0.5")) == {"10.0.0.5"}
    assert held(borne("10.0.0.5", index=3), links=(link(), link("eth1", 3))) == frozenset()
    assert held(borne("10.0.0.6")) == frozenset()
    assert held(borne("10.0.0.5"), links=()) == frozenset()
    assert segment.judge()[2].connected == frozenset()
    assert held(borne("10.0.0.5"), links=(link(carrier=False),)) == {"10.0.0.5"}
    assert segment.judge()[2].connected == frozenset()
    held()
    assert segment.judge()[2].connected == {"eth0"}


def test_an_address_that_the_kernel_has_given_up_is_not_held(tmp_path, monkeypatch):
    six = {**ADDRESS, "address": "fd00::5/64", "label": None}
    one = Segment(tmp_path, monkeypatch, floating_ips=[six])
    for flags, held in ((0, {"fd00::5"}), (netlink.DETECTION_FAILED, frozenset())):
        one.look(borne("fd00::5", flags=flags))
        assert one.judge()[2].held == held


def test_a_change_of_what_it_holds_or_of_a_cable_is_judged_at_once_and_nothing_else_is(segment):
    segment.look()
    for change, at_once in (
        (lambda: segment.look(), False),
        (lambda: segment.look(borne("10.0.0.9")), False),
        (lambda: segment.look(borne("10.0.0.5")), True),
        (lambda: segment.look(links=(link(carrier=False),)), True),
    ):
        segment.judge()
        assert segment.watched.wake > segment.now
        change()
        assert (segment.watched.wake == 0.0) is at_once


def test_sockets_are_opened_anew_when_the_interface_or_its_own_address_is_another(segment):
    first = segment.look()
    assert segment.look() is first
    assert segment.watched.sockets() == ["segment", "pings"]
    second = segment.look(links=(link(index=7),))
    assert second is not first and first.closed and not second.closed
    # A question for IPv6 comes from the link-local address.
    third = segment.look(borne("fe80::1", index=7), links=(link(index=7),))
    assert third is not second and second.closed
    other = segment.look(borne("fe80::1", index=7), links=(link(index=7), link("eth9", 9)))
    assert other is third, "another interface is no matter of this pair"
    segment.watched.close()
    assert third.closed and Echo.made[-1].closed


def test_an_interface_that_is_missing_is_watched_when_it_comes(segment):
    assert segment.look(links=()).addresses == []
    assert segment.judge()[2].asked == frozenset()
    assert segment.look().addresses == ["10.0.0.5"]


def test_sockets_that_cannot_be_opened_are_tried_again_with_the_next_look(segment, monkeypatch):
    def fails(*_):
        raise OSError(105, "No buffer space available")

    monkeypatch.setattr(pair.neighbours, "Prober", fails)
    segment.look()
    assert segment.watched.sockets() == ["pings"]
    assert segment.judge()[2].asked == frozenset()
    segment.watched.read()
    monkeypatch.setattr(pair.neighbours, "Prober", Prober)
    segment.look()
    assert segment.watched.sockets() == ["segment", "pings"]


def test_it_asks_once_an_interval_and_what_it_heard_is_judged_once(segment):
    prober = segment.look()
    assert segment.judge()[2].asked == {"10.0.0.5"}
    assert segment.watched.wake == segment.now + 0.5
    segment.hears(("10.0.0.5", MAC, True), ("10.0.0.5", "02:00:00:00:00:02", False), ("10.0.0.9", MAC, True))
    _, sentence, seen = segment.judge(after=0.2)
    assert seen.asked == frozenset() and prober.asked == ["10.0.0.5"]
    assert seen.answers == {"10.0.0.5": (1000.0, frozenset({MAC, "02:00:00:00:00:02"}))}
    assert "stands by" in sentence
    assert segment.watched.strangers() == sorted([MAC, "02:00:00:00:00:02"])
    _, _, seen = segment.judge(after=0.3)
    assert seen.asked == {"10.0.0.5"} and seen.answers == {}
    assert segment.watched.strangers() == []


def test_for_how_long_nobody_has_answered_counts_from_the_last_answer(segment):
    segment.look()
    assert segment.watched.silent_for() == 0.0
    segment.hears(("10.0.0.9", MAC, True))
    segment.now += 5
    assert segment.watched.silent_for() == 0.0
    segment.hears(("10.0.0.5", MAC, True))
    segment.now += 2.5
    assert segment.watched.silent_for() == 2.5


def silent(segment, seconds, step=0.1):
    """The holder was seen, and then nobody answers for so long."""
    segment.look()
    segment.judge()
    segment.hears(("10.0.0.5", MAC, True))
    segment.judge(after=0.1)
    end = segment.now + seconds
    found = None
    while segment.now < end:
        found = segment.judge(after=step)
    return found


def test_an_answer_after_a_silence_is_judged_at_once(segment):
    silent(segment, 1.3)
    assert segment.watched.wake > 0
    segment.hears()
    assert segment.watched.wake > 0
    segment.hears(("10.0.0.5", MAC, True))
    assert segment.watched.wake == 0.0
    assert "stands by" in segment.judge()[1]


def test_a_silence_is_taken_for_what_it_is_after_the_whole_patience(segment):
    assert silent(segment, 1.7)[0] == silence.NOTHING
    known = segment.watched.status()["addresses"]["salt-gw"]
    assert known["seen"] and not known["held"] and 1.5 < known["silent_seconds"] < 2.0
    assert {segment.judge(after=0.1)[0] for _ in range(8)} >= {silence.TAKE}


def test_what_it_says_of_itself(segment):
    silent(segment, 0.0)
    segment.watched.sentence = "stands by"
    segment.hears(("10.0.0.5", MAC, True))
    segment.judge(after=0.5)
    assert segment.watched.status() == {
        "sentence": "stands by",
        "asks": None,
        "addresses": {"salt-gw": {"held": False, "seen": True, "answered_by": [MAC], "silent_seconds": 0}},
    }
    segment.look(borne("10.0.0.5"))
    assert segment.watched.status()["addresses"]["salt-gw"]["held"] is True
    assert segment.watched.status()["addresses"]["salt-gw"]["answered_by"] == []


@pytest.fixture
def doubting(tmp_path, monkeypatch):
    """The site has a gateway and a host elsewhere asked before this node believes a silence."""
    watch = {**samples.PAIR["watch"], "reachable": ["10.0.0.1", "192.0.2.1"]}
    found = Segment(tmp_path, monkeypatch, watch=watch)
    found.look()
    return found


def test_others_are_asked_only_when_it_doubts_itself(doubting):
    prober, echo = Prober.made[-1], Echo.made[-1]
    assert doubting.watched.status()["asks"] == ["10.0.0.1", "192.0.2.1"]
    assert echo.addresses == ("192.0.2.1",) and Echo.made[0].closed
    doubting.judge()
    doubting.hears(("10.0.0.5", MAC, True))
    doubting.judge(after=0.1)
    assert doubting.judge(after=0.5)[2].asked
    assert "10.0.0.1" not in prober.asked and echo.asked == 0
    silent(doubting, 1.0)
    assert "10.0.0.1" in prober.asked and echo.asked > 0


@pytest.mark.parametrize(
    ("heard", "pinged", "reached"),
    [
        ((), False, False),
        ([("10.0.0.1", MAC, True)], False, True),
        # A router that is merely heard need not hear this node.
        ([("10.0.0.1", MAC, False)], False, False),
        ([("10.0.0.5", MAC, True)], False, False),
        ((), True, True),
    ],
)
def test_who_must_answer_counts_when_it_answers_this_node(doubting, heard, pinged, reached):
    doubting.judge()
    doubting.now += 0.3
    Echo.made[-1].answers = pinged
    doubting.hears(*heard)
    assert doubting.judge()[2].reached == (doubting.now if reached else None)
    Echo.made[-1].answers = False
    assert doubting.judge()[2].reached is None


def test_pings_go_on_over_the_same_sockets_as_long_as_it_is_the_same_hosts(doubting):
    echo = Echo.made[-1]
    doubting.look(borne("10.0.0.7"))
    assert Echo.made[-1] is echo and not echo.closed


@pytest.mark.parametrize("age", [None, 0.3])
def test_while_nobody_has_heard_a_claim_the_kernel_is_asked_who_hears_this_node(segment, monkeypatch, age):
    asked = []
    monkeypatch.setattr(pair.reachable, "heard", lambda *words: asked.append(words) or age)
    segment.look()
    segment.watched.hear("kernel")
    assert asked == []
    segment.member.ledger.write(ledger.Entry(4, "salt2", None, "silence", heard=False))
    segment.look(borne("10.0.0.5"))
    segment.judge()
    before = len(Prober.made[-1].asked)
    segment.watched.hear("kernel")
    ((kernel, links, addresses),) = asked
    assert kernel == "kernel" and links["eth0"] == link() and [one.ip for one in addresses] == ["10.0.0.5"]
    seen = segment.judge(after=1.0)[2]
    assert seen.confirmed == (None if age is None else 999.7)
    assert len(Prober.made[-1].asked) > before
    assert segment.judge(after=1.0)[2].confirmed is None


@pytest.mark.parametrize(
    ("content", "known"),
    [
        ({}, True),
        ({"boot_id": "another"}, False),
        ({"seen": ["10.0.0.9"]}, False),
        ([], False),
        (None, False),
    ],
)
def test_whom_it_has_seen_is_known_to_the_next_watch_of_the_same_boot(
    tmp_path, monkeypatch, segment, content, known
):
    silent(segment, 0.0)
    place = segment.member.volatile / "seen.json"
    written = files.read_json(place, "what was seen")
    assert written == {"boot_id": system.boot_id(), "seen": ["10.0.0.5"]}
    if content is None:
        place.write_text("{")
    else:
        files.write_json(place, {**written, **content} if isinstance(content, dict) else content)
    again = WatchedPair.of(segment.member, "gateway-ip", system.boot_id())
    assert again.status()["addresses"]["salt-gw"]["seen"] is known
    again.close()


@pytest.mark.parametrize("boot", ["this", "another"])
def test_what_another_names_watch_has_seen_stays_in_the_file(segment, boot):
    place = segment.member.volatile / "seen.json"
    files.make_folder(place.parent)
    boot_id = system.boot_id() if boot == "this" else boot
    files.write_json(place, {"boot_id": boot_id, "seen": ["10.0.0.77"]})
    silent(segment, 0.0)
    seen = files.read_json(place, "what was seen")["seen"]
    assert seen == (["10.0.0.5", "10.0.0.77"] if boot == "this" else ["10.0.0.5"])


@pytest.mark.parametrize(
    ("refusal", "error", "action"),
    [(None, None, silence.TAKE), ("its lease", None, silence.NOTHING), (None, "etcd", silence.NOTHING)],
)
def test_silence_is_not_enough_where_the_lease_speaks_against_it(
    segment, monkeypatch, refusal, error, action
):
    def lease(member):
        if error:
            raise Unavailable(error)
        return refusal

    monkeypatch.setattr(pair.right, "takeover_refusal", lease)
    found = [one for one in (silent(segment, 0.0), *(segment.judge(after=0.1) for _ in range(30))) if one]
    assert any(one[0] == silence.TAKE for one in found) is (action == silence.TAKE)
    if action != silence.TAKE:
        assert (silence.NOTHING, refusal or error) in {one[:2] for one in found}


def test_a_failure_has_the_silence_counted_anew(segment):
    silent(segment, 1.7)
    while segment.judge(after=0.05)[0] != silence.TAKE:
        assert segment.now < 1100
    segment.watched.failed()
    since = segment.now
    while segment.judge(after=0.05)[0] != silence.TAKE:
        assert segment.now < since + 100
    assert segment.now - since > 1.5


def test_the_pause_of_a_run_that_has_died_is_ended_and_that_is_told(segment, monkeypatch):
    told, logged, asked = [], [], []
    monkeypatch.setattr(pair.telling, "run_died", lambda member, run: told.append(run))
    monkeypatch.setattr(system, "log", lambda sentence, *_: logged.append(sentence))

    def ended(pause, now):
        asked.append(now)
        if len(asked) < 2:
            return None
        segment.member.pause.clear()
        return samples.RUN

    monkeypatch.setattr(segment.watched._orphans, "ended", ended)
    segment.look()
    segment.member.pause.set(600, "recover", run=samples.RUN)
    assert segment.judge()[2].pause is not None
    segment.judge(after=0.9)
    assert asked == [1000.0], "looked for once a second"
    seen = segment.judge(after=0.1)[2]
    assert asked == [1000.0, 1001.0] and seen.pause is None
    assert told == [samples.RUN] and logged == [
        f"the pause of the watch of salt is over: run {samples.RUN} has died"
    ]


def test_a_damaged_pause_and_a_damaged_ledger_are_said_and_read_again_when_they_are_others(segment):
    segment.look()
    place = segment.member.pause.path
    files.make_folder(place.parent)
    place.write_text("{")
    segment.member.ledger.path.write_text("{")
    seen = segment.judge()[2]
    assert seen.pause_error and seen.ledger_error and seen.ledger is None
    place.unlink()
    segment.member.ledger.path.unlink()
    segment.member.ledger.write(ledger.Entry(4, "salt1", None, "a test"))
    seen = segment.judge(after=1.0)[2]
    assert seen.pause_error is None and seen.ledger_error is None and seen.ledger["generation"] == 4


def test_files_that_have_not_changed_are_not_read_again(segment, monkeypatch):
    reads = []
    read = segment.member.ledger.read
    monkeypatch.setattr(segment.watched._ledger, "_read", lambda: reads.append(1) or read())
    segment.look()
    for _ in range(3):
        segment.judge(after=0.1)
    assert len(reads) == 1
    segment.member.ledger.write(ledger.Entry(4, "salt1", None, "a test"))
    segment.judge()
    assert len(reads) == 2
