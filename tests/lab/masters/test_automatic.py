"""An automatic pair: the node that takes over starts the active services by itself, without Salt."""

import prometheus
import pytest
from lab_pair import PILLAR

from lab import environments
from lab.host import until

#: It leaves a mark where it runs, and is asked by a proof whether it really does.
UNIT = """\
[Unit]
Description=What only the active node runs

[Service]
ExecStart=/bin/sh -c 'echo started >> /var/log/work; touch /run/work; exec sleep infinity'
ExecStopPost=/bin/rm -f /run/work
"""
ENTRY = """\
    mode: automatic
    active_services:
      - name: work
        proof: [test, -e, /run/work]
      - name: more-work
"""


@pytest.fixture(scope="module")
def automatic(running):
    """The pair is automatic, and two services are for the active node alone."""
    pair = running
    before = pair.salt1.read(PILLAR)
    for host in pair.nodes:
        for name in ("work", "more-work"):
            host.write(f"/etc/systemd/system/{name}.service", UNIT.replace("/work", f"/{name}"))
        host.run(["systemctl", "daemon-reload"])
    write_pillar(pair, before.replace("    mode: manual\n", ENTRY))
    done = pair.recover(pair.salt2)
    assert done.returncode == 0, done.stdout + done.stderr
    yield pair
    write_pillar(pair.running(), before)
    for host in pair.nodes:
        host.run(["systemctl", "stop", "work", "more-work"])
        host.run(["rm", "/etc/systemd/system/work.service", "/etc/systemd/system/more-work.service"])
        host.run(["systemctl", "daemon-reload"])


@pytest.fixture(scope="module")
def scraped(automatic, tree):
    """Prometheus, which scrapes both nodes, with the shipped rules."""
    try:
        programs = environments.prometheus()
    except RuntimeError as error:
        pytest.skip(f"this machine: no Prometheus: {error}")
    found = prometheus.Prometheus(automatic, tree, programs)
    try:
        yield found.start()
    finally:
        found.stop()


def write_pillar(pair, text):
    for host in pair.nodes:
        host.write(PILLAR, text)
    pair.highstate(pair.salt1)


def running_on(pair):
    """By name of the service: the nodes on which it runs."""
    return {
        name: [host.name for host in pair.nodes if host.running and pair.active(host, name)]
        for name in ("work", "more-work")
    }


def said_by(pair):
    """What the watch on salt2 has said."""
    return pair.journal(pair.salt2, "-t", "failback", "-n", "40")


def test_recover_starts_them_on_the_active_node_alone(automatic):
    assert running_on(automatic) == {"work": ["salt1"], "more-work": ["salt1"]}


def test_prometheus_has_the_figures_of_both_nodes_and_nothing_against_them(automatic, scraped):
    def measured():
        # The first mark has to be carried before there is a lag.
        scraped.write(*automatic.nodes)
        return set(scraped.values("failback_lag_seconds")) == {"salt1", "salt2"}

    until(measured, 60, "Prometheus to have the lag as both nodes see it", pause=1)
    assert scraped.values("failback_serves") == {"salt1": 1, "salt2": 0}
    assert max(scraped.values("failback_state").values()) < 2
    assert not {name for name, _ in scraped.firing()} & {"FailbackSecondaryServes", "FailbackNobodyServes"}


def test_a_takeover_starts_them_with_no_minion_and_no_master(automatic):
    pair = automatic
    pair.salt2.run(["systemctl", "stop", "salt-minion", "salt-master"], timeout=60)
    pair.salt1.power_off()
    until(lambda: pair.holders(0.3) == ["salt2"], 30, "salt2 to answer", pause=0)
    both = {"work": ["salt2"], "more-work": ["salt2"]}
    until(lambda: running_on(pair) == both, 60, "salt2 to run what the active node runs", pause=0.3)
    until(lambda: "more-work on salt2: started" in said_by(pair), 60, "the watch to tell of it", pause=0.3)
    said = said_by(pair)
    assert said.index("is active in salt, generation") < said.index("salt: work on salt2: started")
    assert said.index("salt: work on salt2: started") < said.index("salt: more-work on salt2: started")
    pair.salt2.run(["systemctl", "start", "salt-master", "salt-minion"], timeout=60)


def test_prometheus_alerts_of_the_takeover(automatic, scraped):
    def fires():
        scraped.write(automatic.salt2)
        return ("FailbackSecondaryServes", "salt2") in scraped.firing()

    until(fires, 60, "the alert that the secondary serves", pause=1)
    assert scraped.values("failback_generation") == {"salt2": automatic.ledger(automatic.salt2)["generation"]}


def test_a_returned_primary_does_not_start_them(automatic):
    pair = automatic
    pair.come_back()
    assert running_on(pair) == {"work": ["salt2"], "more-work": ["salt2"]}


def test_recover_brings_them_home(automatic):
    pair = automatic
    done = pair.recover(pair.salt2, max_delete=1000)
    assert done.returncode == 0, done.stdout + done.stderr
    assert running_on(pair) == {"work": ["salt1"], "more-work": ["salt1"]}


def test_the_alert_ends_when_the_primary_serves_again(automatic, scraped):
    scraped.export(automatic.salt1)

    def well():
        scraped.write(*automatic.nodes)
        return ("FailbackSecondaryServes", "salt2") not in scraped.firing()

    until(well, 60, "the alert to end", pause=1)
    assert scraped.values("failback_serves") == {"salt1": 1, "salt2": 0}
