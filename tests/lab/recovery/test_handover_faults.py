"""
A handover that something dies in, at its worst moment: the addresses are released, nobody serves.

salt1 leads it here by hand, over the pair's own SSH connection, in the words that its own program uses. No
master is asked for anything, and no watch is paused.
"""

import json
import time
import zlib

import pytest

from lab.host import kill_session
from lab.host import until

pytestmark = pytest.mark.usefixtures("failed_over")

#: Seconds within which the client must see salt2 answer again.
AT_LAST = 15
#: The pair's ``handover_timeout``.
SECONDS = 10


class Handover:
    """The taker, by hand."""

    def __init__(self, pair, run):
        self.pair, self.run = pair, run
        owner = "{'master': 'by hand', 'user': 'a test'}"
        for host in pair.nodes:
            pair.python(
                host,
                "from failback.pair import Member\n"
                f"Member('salt').lock.acquire(sys.argv[1], 'recover', {owner}, 120)",
                run,
            )
        command = ["ssh", "-F", "/etc/failback/ssh/config", "10.0.0.12", "handover", run]
        self.process = pair.salt1.spawn(command, stdin=-1, start_new_session=True)
        self.hello = self.answer()
        self.number = 0

    def answer(self):
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        return json.loads(line)

    def ask(self, do, **request):
        self.number += 1
        self.process.stdin.write(json.dumps({"number": self.number, "do": do, **request}).encode() + b"\n")
        self.process.stdin.flush()
        return self.answer()

    def end(self):
        kill_session(self.process)
        self.process.wait()
        for host in self.pair.nodes:
            if host.running:
                self.pair.python(
                    host,
                    "from failback.pair import Member\nMember('salt').lock.release(sys.argv[1])",
                    self.run,
                )


@pytest.fixture
def handover(pair, request):
    """A handover that is armed."""
    number = zlib.crc32(request.node.name.encode()) % 65536
    one = Handover(pair, f"20260101T000000-recover-salt-{number:04x}")
    try:
        assert one.hello["ready"]
        said = one.ask("arm", seconds=SECONDS)
        assert said["ok"], said
        yield one
    finally:
        # Also of one that cannot be armed: its locks would refuse all that comes later in this lab.
        one.end()


def released(pair, handover):
    """Nobody serves now, as the client sees it."""
    said = handover.ask("release")
    assert said["ok"], said
    assert not pair.bears(pair.salt2)
    assert pair.holders(0.3) == []
    return time.monotonic()


def giver_dies(pair):
    """Also the session's sshd: nothing of this connection can act any more."""
    pair.salt2.run(["pkill", "-KILL", "-f", "failback far-end salt"])


def serves_again(pair, since, what):
    until(lambda: pair.holders(0.2) == ["salt2"], AT_LAST, "salt2 to answer again", pause=0)
    print(f"{what}: salt2 answers {time.monotonic() - since:.1f} s later")
    assert pair.bears(pair.salt2)
    assert not (pair.salt1.running and pair.bears(pair.salt1))
    pair.writing.wait_acknowledged(3, node="salt2", limit=20)


def test_the_near_end_dies(pair, handover):
    since = released(pair, handover)
    generation = pair.ledger(pair.salt2)["generation"]
    kill_session(handover.process)
    serves_again(pair, since, "taker killed")
    assert pair.ledger(pair.salt2)["generation"] == generation


def test_the_far_end_dies(pair, handover):
    since = released(pair, handover)
    giver_dies(pair)
    serves_again(pair, since, "giver killed")


def test_both_ends_die_after_the_commit(pair, handover):
    """The timer's program alone takes the addresses back, and tells salt1, which was given the pair."""
    since = released(pair, handover)
    said = handover.ask("commit")
    assert said["ok"], said
    # In this order: the giver would end by itself when nobody speaks to it any more.
    giver_dies(pair)
    kill_session(handover.process)
    serves_again(pair, since, "both killed")
    again = said["generation"] + 1
    assert pair.ledger(pair.salt2)["generation"] == again
    until(lambda: pair.ledger(pair.salt1)["generation"] == again, 20, "salt1 to be told who serves")


def test_the_time_of_an_earlier_handover_is_up_at_this_moment(pair, handover):
    assert handover.ask("disarm")["ok"]
    pair.salt2.run(["systemd-run", "--quiet", "--collect", "--unit=failback-take-back-salt", "sleep", "60"])
    said = handover.ask("arm", seconds=SECONDS)
    assert said["ok"], said
    since = released(pair, handover)
    giver_dies(pair)
    serves_again(pair, since, "giver killed")


def test_the_link_between_the_nodes_is_cut(pair, handover):
    since = released(pair, handover)
    pair.salt1.cut("eth0", silent=True)
    try:
        serves_again(pair, since, "salt1 cut off")
    finally:
        pair.salt1.mend("eth0")


def test_the_clock_is_too_late_for_a_commit(pair, handover):
    since = released(pair, handover)
    until(lambda: time.monotonic() > since + SECONDS - 3, SECONDS, "most of the time to be over", pause=0.2)
    said = handover.ask("commit")
    assert not said["ok"]
    assert "could not take them safely any more" in said["error"]
    handover.process.stdin.close()
    serves_again(pair, since, "too late")


def test_the_near_end_loses_power_after_the_commit(pair, handover):
    since = released(pair, handover)
    said = handover.ask("commit")
    assert said["ok"], said
    pair.salt1.power_off()
    serves_again(pair, since, "taker lost power after the commit")
    ledger = pair.ledger(pair.salt2)
    assert ledger["active"] == "salt2"
    assert ledger["generation"] == said["generation"] + 1
    pair.come_back()
    assert pair.holders() == ["salt2"]
    assert pair.runner(pair.salt2, "pair.status", check=False)["pairs"]["salt"]["verdict"] == "failed_over"
