"""The watch as a process: when it begins, when it ends, and what it hands to whom beside its loop."""

import json
import stat
import threading
import time
import types

import pytest
import samples
from test_slow_takeover import Kernel
from test_slow_takeover import Pair
from test_slow_takeover import eventually

from failback.decisions import silence
from failback.handover import claims
from failback.handover import takeover
from failback.host import files
from failback.host import notify
from failback.host.paths import Paths
from failback.network import netlink
from failback.watch import loop
from failback.watch import resident


class Node:
    """salt2, whose watch finds its files changed as soon as it looks."""

    def __init__(self, folder, monkeypatch):
        self.paths, self.watches, self.restarted = Paths(folder), [], 0
        self.logged = []
        monkeypatch.setattr(netlink, "Netlink", Kernel)
        monkeypatch.setattr(loop, "HOUSEKEEPING", 0.0)
        monkeypatch.setattr(resident.Changes, "settled", lambda changes: True)
        monkeypatch.setattr(loop.syslog, "syslog", lambda priority, sentence: self.logged.append(sentence))
        run = loop.Watch.run
        monkeypatch.setattr(loop.Watch, "run", lambda watch: (self.watches.append(watch), run(watch)))

    def configure(self, name="salt", **changes):
        files.write_json(self.paths.pair_config(name), samples.pair("salt2", name=name, **changes))

    def restart(self):
        self.restarted += 1
        return 7

    def main(self, cron="gateway-ip", foreground=False, **how):
        return loop.main(cron, self.paths, print, print, foreground, self.restart, **how)


@pytest.fixture
def node(tmp_path, monkeypatch):
    return Node(tmp_path, monkeypatch)


@pytest.mark.parametrize(("service", "status"), [(True, 4), (False, 0)])
def test_where_nothing_is_watched_it_ends_and_systemd_does_not_start_it_again(node, service, status):
    node.configure()
    assert node.main(cron="another", service=service) == status
    assert node.main(service=True) == 7, "the pair's own name"
    assert len(node.watches) == node.restarted == 1


def test_a_pair_whose_configuration_is_unusable_is_said_and_the_others_are_watched(node):
    node.configure()
    files.write_json(node.paths.pair_config("broken"), {"version": 1, "name": "broken"})
    node.configure("newer", version=99)
    assert node.main(foreground=True) == 7
    (watch,) = node.watches
    assert [one.settings.pair for one in watch.pairs] == ["salt"]
    for name in ("broken", "newer"):
        (said,) = [one for one in node.logged if one.startswith(f"{name}: not watched")]
        assert said in watch.status()["problems"]


def test_it_goes_on_with_unusable_configurations_alone_so_that_its_status_says_so(node):
    files.write_json(node.paths.pair_config("broken"), {"version": 1, "name": "broken"})
    assert node.main(service=True) == 7 and len(node.watches) == 1


@pytest.mark.parametrize("goes_on", [True, False])
def test_cron_is_left_at_once_and_the_watch_goes_on_in_the_background(node, monkeypatch, goes_on):
    node.configure()
    monkeypatch.setattr(resident, "detach", lambda: goes_on)
    assert node.main() == (7 if goes_on else 0)
    assert len(node.watches) == node.restarted == int(goes_on)


@pytest.mark.parametrize("how", [{"foreground": True}, {"service": True}])
def test_neither_systemd_nor_a_terminal_is_left(node, monkeypatch, how):
    node.configure()
    monkeypatch.setattr(resident, "detach", lambda: pytest.fail("it leaves"))
    assert node.main(**how) == 7


def test_a_restart_that_says_nothing_has_gone_well(node):
    node.configure()
    assert loop.main("gateway-ip", node.paths, print, print, True, restart=lambda: None) == 0


def test_the_second_one_ends_at_once(node):
    node.configure()
    with loop.Place("gateway-ip", node.paths).single():
        assert node.main() == node.main(foreground=True) == 0
    assert node.watches == []


def test_it_says_why_it_ends_and_closes_what_it_had_open(node, monkeypatch, capsys):
    node.configure()
    closed = []
    monkeypatch.setattr(loop.WatchedPair, "close", lambda pair: closed.append("pair"))
    monkeypatch.setattr(Kernel, "close", lambda kernel: closed.append("kernel"))
    node.main(foreground=True)
    assert "watch gateway-ip: files have changed, restarting" in node.logged
    assert "failback: watch gateway-ip: files have changed, restarting" in capsys.readouterr().err
    assert closed == ["kernel", "kernel", "pair"]


def test_in_the_background_it_writes_to_the_log_alone(node, capsys):
    node.configure()
    node.main(service=True)
    assert node.logged and capsys.readouterr() == ("", "")


def test_crons_watch_leaves_its_place_to_the_service_that_waits_for_it(node, monkeypatch):
    node.configure()
    monkeypatch.setattr(resident, "detach", lambda: True)
    monkeypatch.setattr(resident.Changes, "settled", lambda changes: False)
    with resident.single(node.paths.public / "watch-gateway-ip.lock.next"):
        assert node.main() == 0
    assert node.restarted == 0, "the service does that"
    assert "watch gateway-ip: left to its service" in node.logged


def test_the_service_itself_leaves_its_place_to_nobody(node):
    node.configure()
    with loop.Place("gateway-ip", node.paths).single():
        pass
    assert node.main(service=True) == 7
    assert "watch gateway-ip: files have changed, restarting" in node.logged


def test_what_takes_over_is_the_real_thing_unless_somebody_gives_another(node, monkeypatch):
    node.configure()
    loop.main("gateway-ip", node.paths, foreground=True, restart=node.restart)
    loop.main("gateway-ip", node.paths, take_over=print, foreground=True, restart=node.restart)
    loop.main("gateway-ip", node.paths, on_conflict=print, foreground=True, restart=node.restart)
    assert [(one.take_over, one.on_conflict) for one in node.watches] == [
        (takeover.take_over, takeover.conflict),
        (print, takeover.conflict),
        (takeover.take_over, print),
    ]


@pytest.fixture
def watch(tmp_path, monkeypatch):
    """A watch of which no loop runs."""
    monkeypatch.setattr(netlink, "Netlink", Kernel)
    conflicts = []
    found = loop.Watch(
        loop.Place("gateway-ip", Paths(tmp_path)), None, lambda *words: conflicts.append(words), False
    )
    found.said, found.conflicts = [], conflicts
    found.say = lambda sentence, *_: found.said.append(sentence)
    found._kernel, found._news = Kernel(), Kernel()
    yield found
    found.close()


def aside(found):
    """Wait for what goes on beside the loop."""
    for one in list(found._conflicts.values()):
        one.join(20)
        assert not one.is_alive()


@pytest.mark.parametrize("action", [silence.HEARD, silence.WITHDRAW, silence.CONFLICT, silence.NOTHING])
def test_what_a_judgement_comes_to_is_done_beside_the_loop(watch, monkeypatch, action):
    did = []
    monkeypatch.setattr(claims, "heard", lambda member: did.append("heard"))
    monkeypatch.setattr(claims, "withdraw", lambda member, why: did.append(why) or "withdrawn")
    pair = Pair("one", [action])
    pair.strangers = lambda: ["02:00:00:00:00:01"]
    watch.pairs = [pair]
    watch._judge(pair)
    aside(watch)
    assert did == {silence.HEARD: ["heard"], silence.WITHDRAW: ["silence"]}.get(action, [])
    told = [(pair.member, ["02:00:00:00:00:01"])]
    assert watch.conflicts == (told if action == silence.CONFLICT else [])
    # A claim that nobody has heard was a failure: the silence is counted anew.
    assert pair.failures == int(action == silence.WITHDRAW)
    assert sorted(watch.said) == ["silence", *(["withdrawn"] if action == silence.WITHDRAW else [])]


def test_one_thing_at_a_time_is_done_beside_the_loop_for_each_pair(watch):
    one, other, go = Pair("one"), Pair("other"), threading.Event()
    did = []
    assert watch._aside(one, lambda: go.wait(20) and did.append("first"))
    assert watch._at_work()
    assert not watch._aside(one, lambda: did.append("second"))
    assert watch._aside(other, lambda: did.append("other's"))
    watch._conflicts["other"].join(20)
    go.set()
    aside(watch)
    assert did == ["other's", "first"] and not watch._at_work()
    assert watch._aside(one, lambda: did.append("third"))
    aside(watch)
    assert did[-1] == "third" and watch.said == []


def test_a_withdrawal_that_was_not_begun_is_no_failure_yet(watch, monkeypatch):
    monkeypatch.setattr(claims, "withdraw", lambda *_: pytest.fail("two at once"))
    pair, go = Pair("one", [silence.WITHDRAW]), threading.Event()
    watch._aside(pair, lambda: go.wait(20) and None)
    watch._judge(pair)
    assert pair.failures == 0
    go.set()
    aside(watch)


def test_an_error_beside_the_loop_is_said(watch):
    def fails():
        raise ValueError("a fault in the code")

    watch._aside(Pair("one"), fails)
    aside(watch)
    assert watch.said == ["one: a fault in the code"]


def test_what_it_sees_is_said_and_written_when_it_changes_and_not_again(watch, tmp_path):
    pair = Pair("one")
    watch.pairs = [pair]
    pair.status = lambda: {"sentence": pair.sentence}
    place = watch.place.status_file
    watch._note(pair, "stands by")
    assert watch.said == ["stands by"] and stat.S_IMODE(place.stat().st_mode) == 0o644
    known = json.loads(place.read_text())
    assert known["pairs"] == {"one": {"sentence": "stands by"}} and known["cron"] == "gateway-ip"
    assert known["since"] <= known["updated"]
    place.unlink()
    watch._note(pair, "stands by")
    assert watch.said == ["stands by"] and not place.exists()


def test_a_run_that_is_full_ends_no_watch(watch, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_json", full)
    watch._note(Pair("one"), "stands by")
    assert watch.said == ["stands by"]


def test_the_status_is_written_and_the_interfaces_are_read_every_now_and_then(watch, monkeypatch):
    """Though nothing changes: who reads the status sees by its age that the watch is alive."""
    monkeypatch.setattr(loop, "REFRESH", 0.02)
    monkeypatch.setattr(loop, "HOUSEKEEPING", 0.01)
    told = []
    monkeypatch.setattr(notify, "tell", lambda *words: told.append(words))
    looks, written, pair = [], [], Pair("one")
    pair.look = lambda *found: looks.append(found)
    watch.pairs = [pair]
    monkeypatch.setattr(watch, "_write_status", lambda: written.append(time.monotonic()))
    end = time.monotonic() + 20
    watch.changes = types.SimpleNamespace(settled=lambda: len(written) > 3 or time.monotonic() > end)
    watch.run()
    assert len(written) > 3
    assert len(looks) >= len(written) and len(told) >= 4
    assert set(told) == {("WATCHDOG=1",)}
    assert all(later - before >= 0.02 for before, later in zip(written, written[1:]))


def test_news_of_the_kernel_are_looked_at_at_once(watch, monkeypatch):
    looks, news = [], [False, True]
    pair = Pair("one")
    pair.look = lambda *found: looks.append(found)
    watch.pairs = [pair]
    monkeypatch.setattr(Kernel, "drain", lambda kernel: bool(news) and news.pop(0))
    watch.changes = types.SimpleNamespace(settled=lambda: not news)
    monkeypatch.setattr(loop, "HOUSEKEEPING", 0.0)
    watch.run()
    assert len(looks) == 2, "when it begins, and after the news"


def test_answers_wake_the_loop_and_are_collected(watch, monkeypatch):
    """Else each would wait for the next question."""
    pair, other = Pair("one"), Kernel()
    read = []
    pair.sockets = lambda: [other]
    pair.read = lambda: read.append(other._quiet.recv(10))
    watch.pairs = [pair]
    begun = time.monotonic()
    watch._wait(begun + 0.02)
    assert read == [] and time.monotonic() >= begun + 0.02
    other._other.send(b"x")
    watch._wait(time.monotonic() + 60)
    assert read == [b"x"] and time.monotonic() < begun + 30
    watch._wait(0.0)
    other.close()


@pytest.mark.parametrize(("until", "milliseconds"), [(102.0, 2000.5), (100.0, 0.5), (90.0, 0.0)])
def test_it_sleeps_as_long_as_nothing_is_due(watch, monkeypatch, until, milliseconds):
    """Half a millisecond more: poll rounds down, and would be called again for the rest."""
    waited = []

    class Poll:
        def register(self, *_):
            pass

        def poll(self, given):
            waited.append(given)
            return []

    monkeypatch.setattr(loop, "select", types.SimpleNamespace(poll=Poll, POLLIN=1))
    samples.in_place_of_time(monkeypatch, loop, monotonic=lambda: 100.0)
    watch._wait(until)
    assert waited == [milliseconds]


def test_a_takeover_that_ends_has_its_pair_judged_at_once(watch):
    go = threading.Event()
    watch.take_over = lambda member, reason, serves, silent: go.wait(20)
    looks, pair = [], Pair("one", [silence.TAKE])
    pair.look = lambda *found: looks.append(found)
    other = Pair("other")
    watch.pairs = [pair, other]
    watch._judge(pair)
    other.wake = pair.wake = time.monotonic() + 1000
    watch._end_takeovers()
    assert looks == [] and pair.wake > 0
    assert watch._watched() == [other] and watch._at_work()
    go.set()
    eventually(lambda: watch._end_takeovers() or pair.wake == 0.0)
    assert pair.wake == 0.0 and other.wake > 0 and len(looks) == 1
    assert watch._watched() == [pair, other] and pair.failures == 0


def test_a_pair_of_which_nothing_is_watched_under_this_name_is_left_out(node):
    node.configure()
    node.configure("quiet", floating_ips=[])
    node.main(foreground=True)
    assert [one.settings.pair for one in node.watches[0].pairs] == ["salt"]
