"""The active master loses power: every minion of the site finds the other one by itself."""

import statistics
import time

import pytest

from lab.host import until


@pytest.fixture(scope="module")
def moved(booted):
    """Seconds from salt2's first answer for salt-gw to the first answer of each minion there."""
    behind = {host.name for host in booted.site.hosts} - {"salt1", "salt2", "client"}
    booted.crash("salt")
    booted.wait_holder("salt-gw", booted.salt2)
    taken = time.monotonic()
    seconds = {}

    def all_back():
        for name in booted.answering(booted.salt2, timeout=1) & behind:
            seconds.setdefault(name, time.monotonic() - taken)
        return set(seconds) == behind

    until(all_back, 120, lambda: f"{sorted(behind - set(seconds))} to answer salt2", pause=0)
    print("minions back after", sorted(round(one, 1) for one in seconds.values()))
    return seconds


def test_minions_are_back_within_three_seconds(moved):
    assert statistics.median(moved.values()) <= 3.0, moved


def test_the_pair_of_the_masters_comes_home_and_the_minions_follow(booted, moved):
    booted.come_back("salt")
    done = booted.orchestrate("recover", "all", master=booted.salt2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert booted.holders("salt-gw") == ["salt1"]
    booted.wait_minions(booted.salt1, [host.name for host in booted.site.hosts], limit=60)
    assert set(booted.verdicts().values()) == {"normal"}
