"""The switches of Nagios on the two monitoring servers: the truth is in Nagios, whatever systemd believes."""

import pytest

from lab.host import until

UNITS = ("nagios-notifications", "nagios-event_handlers")


@pytest.fixture(scope="module")
def monitors(booted):
    if "monitor" not in booted.pairs:
        pytest.skip("the lab does without monitor")
    assert booted.verdicts()["monitor"] == "normal"
    return booted.pairs["monitor"]


def tell(host, command):
    """As Nagios' web pages do."""
    script = f'echo "[$(date +%s)] {command}" > /var/lib/nagios4/rw/nagios.cmd'
    host.run(["/bin/sh", "-c", script], timeout=20)


def asked(host, switch):
    """The exit status of the command that tells the truth."""
    return host.run(["failback", "nagios", switch, "status"], check=False).returncode


def test_a_switch_can_be_turned_by_hand_through_its_unit(booted, monitors):
    first, _ = monitors
    first.run(["systemctl", "stop", UNITS[0]], timeout=60)
    assert booted.switches(first) == (False, True)
    assert (asked(first, "notifications"), asked(first, "event_handlers")) == (3, 0)
    first.run(["systemctl", "start", UNITS[0]], timeout=60)
    assert booted.switches(first) == (True, True)


def test_what_somebody_has_told_nagios_is_drift_and_recover_puts_it_right(booted, monitors):
    first, second = monitors
    tell(first, "DISABLE_NOTIFICATIONS")
    tell(second, "ENABLE_EVENT_HANDLERS")
    until(lambda: booted.switches(first) == (False, True), 20, "Nagios on monitor1 to follow")
    until(lambda: booted.switches(second) == (False, True), 20, "Nagios on monitor2 to follow")
    assert booted.active(first, UNITS[0]) and not booted.active(second, UNITS[1])
    found = booted.status("monitor")
    text = str(found["monitor"])
    assert "nagios-notifications is inactive on monitor1" in text
    assert "nagios-event_handlers runs on the standby monitor2" in text
    done = booted.orchestrate("recover", "monitor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (booted.switches(first), booted.switches(second)) == ((True, True), (False, False))


def test_a_nagios_that_starts_with_other_settings_on_the_standby_is_put_right(booted, monitors):
    _, second = monitors
    cfg = "/etc/nagios4/nagios.cfg"
    before = second.read(cfg)
    # It forgets what it was told, and its configuration says on.
    second.write(cfg, before.replace("use_retained_program_state=1", "use_retained_program_state=0"))
    try:
        second.run(["systemctl", "restart", "nagios4"], timeout=60)
        until(lambda: asked(second, "notifications") == 0, 30, "Nagios on monitor2 to have started")
        assert "runs on the standby monitor2" in str(booted.status("monitor")["monitor"])
        done = booted.orchestrate("recover", "monitor")
        assert done.returncode == 0, done.stdout + done.stderr
        assert booted.switches(second) == (False, False)
    finally:
        second.write(cfg, before)


def test_a_nagios_that_does_not_run_is_neither_on_nor_off(booted, monitors):
    _, second = monitors
    second.run(["systemctl", "stop", "nagios4"], timeout=60)
    assert asked(second, "notifications") == 4
    done = second.run(["failback", "nagios", "notifications", "on"], check=False)
    assert done.returncode == 1 and "systemctl start nagios4" in done.stderr
    done = booted.orchestrate("recover", "monitor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert booted.active(second, "nagios4")
    assert booted.switches(second) == (False, False)
