"""What the standby is worth is known before it is needed: each fault is said until it is mended."""

import json
import time

import pytest
from lab_pair import ADDRESS

from lab.host import until

pytestmark = pytest.mark.usefixtures("running", "app")

#: A hook that notes what is told; and where.
HOOK = "/etc/failback/hooks.d/note"
TOLD = "/run/told"
NOTE = f'#!/bin/sh\necho "$FAILBACK_EVENT $FAILBACK_SENTENCE" >> {TOLD}\n'

CONFIGURATION = "/etc/failback/pairs/salt.json"
WATCH = "failback-watch@gateway-ip"

#: Moves the host keys of a host away, and makes new ones; or puts the first ones back.
NEW_KEYS = (
    "mkdir /root/keys && mv /etc/ssh/ssh_host_* /root/keys && ssh-keygen -q -A && systemctl restart ssh"
)
OLD_KEYS = "mv -f /root/keys/* /etc/ssh && rmdir /root/keys && systemctl restart ssh"

#: As a disk that the kernel has turned read-only.
READ_ONLY = "mount --bind /srv/data /srv/data && mount -o remount,bind,ro /srv/data"
WRITABLE = "umount /srv/data"

#: What keeps root's SSH from working, and what undoes it.
WAYS_NOT_IN = {
    "a shell that prints": (
        "cp -p /root/.bashrc /root/bashrc && sed -i '1i echo hi' /root/.bashrc",
        "mv /root/bashrc /root/.bashrc",
    ),
    "AllowUsers without root": (
        "echo 'AllowUsers nobody' > /etc/ssh/sshd_config.d/allow.conf && systemctl restart ssh",
        "rm /etc/ssh/sshd_config.d/allow.conf && systemctl restart ssh",
    ),
    "an expired password": (
        "cp -p /etc/shadow /root/shadow && chage -d 0 root",
        "mv /root/shadow /etc/shadow",
    ),
}


@pytest.fixture(scope="module")
def app(pair):
    """The nodes know of an active service ``app`` too, which runs on salt1, and tell after 15 seconds."""
    before = [host.read(CONFIGURATION) for host in pair.nodes]
    for host, text in zip(pair.nodes, before):
        host.run(["mkdir", "-p", "/usr/local/lib/systemd/system"])
        host.write("/usr/local/lib/systemd/system/app.service", "[Service]\nExecStart=/bin/sleep infinity\n")
        host.run(["systemctl", "daemon-reload"])
        active = [{"name": "app", "proof": None, "status": None}]
        known = json.loads(text)
        notify = {**known.get("notify", {}), "not_ready_after": 15}
        host.write(CONFIGURATION, json.dumps({**known, "active_services": active, "notify": notify}))
        host.write(HOOK, NOTE, mode=0o700)
    pair.salt1.run(["systemctl", "start", "app"])
    until(lambda: all(ready(host) for host in pair.nodes), 40, "both nodes to be ready")
    yield
    pair.salt1.run(["systemctl", "stop", "app"])
    for host, text in zip(pair.nodes, before):
        host.write(CONFIGURATION, text)
        host.run(["rm", "-f", HOOK, TOLD])


def told(host):
    """The events of readiness that a host has told of, oldest first."""
    events = [line.split()[0] for line in host.run(["cat", TOLD], check=False).stdout.splitlines()]
    return [one for one in events if one in ("not-ready", "ready-again")]


def readiness(host):
    """What the lookout of a host has found."""
    return json.loads(host.read("/run/failback/salt/readiness.json"))


def ready(host):
    return readiness(host)["ready"]


def said(host, about):
    """The sentence about something that is not ready on a host; empty if there is none."""
    return " ".join(one["sentence"] for one in readiness(host)["findings"] if one["about"] == about)


def shell(host, text):
    host.run(["/bin/sh", "-c", text])


def wrong(pair):
    """What ``pair.status`` has against the pair, as one text; it must not be content."""
    status = pair.runner(pair.salt1, "pair.status", "salt", check=False)
    found = status["pairs"]["salt"]
    assert status["status"] != 0 and found["verdict"] == "normal" and found["ready"] is False
    return " ".join(found["drift"])


def app_of(host):
    """The process of ``app``: it is another one, or none, when it was stopped."""
    return host.run(["systemctl", "show", "app", "--property=MainPID,ActiveState"]).stdout


def is_ready_again(pair):
    until(lambda: all(ready(host) for host in pair.nodes), 60, "both nodes to be ready again")


def test_the_standby_knows_when_it_was_last_in_step(pair):
    pair.salt1.write("/srv/data/many/in-step", "carried\n")
    written = time.time()

    def known():
        found = json.loads(pair.salt2.run(["/usr/local/sbin/failback", "report", "salt"]).stdout)
        return found["readiness"]["in_step"]["at"] > written

    until(known, 30, "salt2 to be told that all has been carried")
    assert pair.salt2.read("/srv/data/many/in-step") == "carried\n"


def test_a_standby_with_new_host_keys_is_not_ready_and_falls_behind(pair):
    shell(pair.salt2, NEW_KEYS)
    # The connection that stays was made with the old ones; it ends as with a pulled cable.
    pair.salt1.run(["ssh", "-S", "/run/failback/salt/lsyncd.ssh", "-O", "exit", "salt2"], check=False)
    begun = time.monotonic()
    try:
        pair.salt1.write("/srv/data/many/not-carried", "salt1 alone has it\n")
        until(lambda: "orch.adopt" in said(pair.salt1, "rsync"), 40, "salt1 to say why rsync fails")
        what_only_one_node_shows(pair)
        until(lambda: said(pair.salt2, "in_step"), 60, "salt2 to know that it is behind")
        assert time.monotonic() - begun > 25
        told = wrong(pair)
        assert "Host key verification failed" in told and "salt2 was last in step with salt1 at" in told
    finally:
        shell(pair.salt2, OLD_KEYS)
    is_ready_again(pair)
    assert pair.salt2.read("/srv/data/many/not-carried") == "salt1 alone has it\n"


def what_only_one_node_shows(pair):
    """Meanwhile: what needs the same half minute, and nothing of what is tried beside it."""
    try:
        shell(pair.salt2, READ_ONLY)
        pair.salt2.run(["systemctl", "mask", "app"])
        until(lambda: said(pair.salt2, "path"), 15, "salt2 to see that it cannot write")
        assert "/srv/data cannot be written on salt2" in said(pair.salt2, "path")
        until(lambda: said(pair.salt2, "services"), 15, "salt2 to see that it could not start app")
        assert "systemctl unmask app" in said(pair.salt2, "services")
        before = app_of(pair.salt1)
        refused = pair.orchestrate(pair.salt1, "failover")
        assert refused.returncode != 0 and "Refused, nothing was changed" in refused.stdout, refused.stdout
        assert "systemctl unmask app" in refused.stdout and "cannot be written on salt2" in refused.stdout
        assert app_of(pair.salt1) == before
    finally:
        shell(pair.salt2, WRITABLE)
        pair.salt2.run(["systemctl", "unmask", "app"])


@pytest.mark.parametrize("why", WAYS_NOT_IN)
def test_a_standby_that_lets_lsyncd_in_no_more_is_not_ready(pair, why):
    broken, mended = WAYS_NOT_IN[why]
    shell(pair.salt2, broken)
    # A connection that stays was let in before.
    pair.salt1.run(["ssh", "-S", "/run/failback/salt/lsyncd.ssh", "-O", "exit", "salt2"], check=False)
    try:
        pair.salt1.write("/srv/data/many/not-let-in", f"{why}\n")
        until(lambda: said(pair.salt1, "rsync"), 40, "salt1 to say that rsync fails")
        assert "What was written since would be lost with salt1" in wrong(pair)
    finally:
        shell(pair.salt2, mended)
    is_ready_again(pair)
    assert pair.salt2.read("/srv/data/many/not-let-in") == f"{why}\n"


def test_an_lsyncd_that_ends_again_and_again_carries_nothing(pair):
    """As without inotify watches, which all hosts of a machine share: it fails, and starts anew."""
    ends = "/run/systemd/system/lsyncd.service.d/ends.conf"
    pair.salt1.run(["mkdir", "-p", ends.rpartition("/")[0]])

    def end_after(seconds):
        command = f"/bin/sh -c 'sleep {seconds}; exit 255'"
        pair.salt1.write(ends, f"[Service]\nExecStart=\nExecStart={command}\n")
        pair.salt1.run(["systemctl", "daemon-reload"])

    end_after(0)
    try:
        pair.salt1.run(["systemctl", "restart", "--no-block", "lsyncd"])
        until(
            lambda: "stay up" in said(pair.salt1, "rsync"),
            40,
            "salt1 to see that lsyncd ends again and again",
        )
        assert "lsyncd does not stay up on salt1" in wrong(pair)
        recovered = pair.recover(pair.salt1)
        assert "Nothing to do" not in recovered.stdout and recovered.returncode != 0, recovered.stdout
        # Up for long enough to be seen so.
        end_after(3)
        again = pair.recover(pair.salt1)
        assert "Nothing to do" not in again.stdout and again.returncode != 0, again.stdout
    finally:
        pair.salt1.run(["rm", ends])
        pair.salt1.run(["systemctl", "daemon-reload"])
        pair.salt1.run(["systemctl", "reset-failed", "lsyncd"], check=False)
        recovered = pair.recover(pair.salt1)
    assert recovered.returncode == 0, recovered.stdout
    is_ready_again(pair)


def test_a_file_that_rsync_cannot_replace_is_named_and_nothing_is_stopped_for_a_failover(pair):
    pair.salt2.run(["chattr", "+i", "/srv/data/many/file-7"])
    try:
        pair.salt1.write("/srv/data/many/file-7", "another content\n")
        until(lambda: "file-7" in said(pair.salt1, "rsync"), 40, "salt1 to name the file")
        assert "exit code 23" in said(pair.salt1, "rsync")
        before = app_of(pair.salt1)
        done = pair.orchestrate(pair.salt1, "failover")
        assert done.returncode != 0 and "Refused, nothing was changed" in done.stdout, done.stdout
        assert "salt2 is not ready to serve" in done.stdout and "file-7" in done.stdout
        assert app_of(pair.salt1) == before
        recovered = pair.recover(pair.salt1)
        assert recovered.returncode != 0 and "Nothing to do" not in recovered.stdout
    finally:
        pair.salt2.run(["chattr", "-i", "/srv/data/many/file-7"])
    is_ready_again(pair)


def main_process(pair):
    return pair.salt2.run(["systemctl", "show", WATCH, "--property=MainPID", "--value"]).stdout.strip()


def test_the_watch_comes_back_without_cron_and_cron_has_it_started(pair):
    pair.salt2.run(["systemctl", "stop", "cron"])
    try:
        first = main_process(pair)
        pair.salt2.run(["kill", "-KILL", first])
        until(lambda: main_process(pair) not in (first, "0"), 5, "systemd to start the watch again")
        pair.salt2.run(["systemctl", "stop", WATCH])
        until(lambda: "does not run on salt2" in said(pair.salt2, "watch"), 15, "salt2 to miss its watch")
        assert "The watch gateway-ip does not run on salt2" in wrong(pair)
    finally:
        pair.salt2.run(["systemctl", "start", "cron"])
    # What cron does every minute.
    pair.salt2.run(["/usr/local/sbin/failback", "watch", "gateway-ip"])
    assert pair.active(pair.salt2, WATCH)
    is_ready_again(pair)
    assert "systemd has started" in pair.journal(pair.salt2, "-t", "failback", "-n", "30")


def test_a_foreign_host_that_has_the_address_is_seen(pair):
    pair.client.run(["ip", "address", "add", f"{ADDRESS}/24", "dev", "eth0"])
    try:
        until(lambda: said(pair.salt2, "address"), 40, "salt2 to tell of two hosts")
        told = said(pair.salt2, "address")
        assert pair.client.mac() in told and pair.salt1.mac() in told
    finally:
        pair.client.run(["ip", "address", "del", f"{ADDRESS}/24", "dev", "eth0"])
    is_ready_again(pair)


def test_the_looks_cost_next_to_nothing(pair):
    """Processor time of the lookout and of all it starts, from one question over SSH to the next."""
    before = {host: used(host) for host in pair.nodes}
    time.sleep(60)  # what is measured is this very time
    shares = {host.name: (used(host) - before[host]) / 60 for host in pair.nodes}
    print(f"of a processor, the lookouts take {shares}")
    assert all(share < 0.01 for share in shares.values()), shares


def test_each_node_has_told_of_it_once_and_that_it_was_over(pair):
    """All of the above is one spell on a node, or several: none is told of twice, and none is left open."""
    until(lambda: all(told(host)[-1:] == ["ready-again"] for host in pair.nodes), 90, "the end to be told")
    for host in pair.nodes:
        assert told(host) == ["not-ready", "ready-again"] * (len(told(host)) // 2)
    sentences = pair.salt2.read(TOLD)
    assert "salt2, which stands by in salt, has not been ready for" in sentences
    # The lookout may not run what a hook needs: systemd starts it for it.
    assert "few rights" not in pair.journal(pair.salt2, "-t", "failback")


def test_a_monitor_sees_when_the_standby_was_in_step(pair):
    # Not its exit status: a run that was refused above counts as one that failed.
    command = ["setpriv", "--reuid=65534", "--clear-groups", "/usr/local/sbin/failback", "check", "salt"]
    line = pair.salt2.run(command, check=False).stdout
    (lag,) = [word for word in line.split() if word.startswith("lag=")]
    assert 0 < float(lag.partition("s;")[0].removeprefix("lag=")) < 60


def used(host):
    """Seconds of a processor that the lookout has used, with its children."""
    pid = host.run(
        ["systemctl", "show", "failback-look@salt", "--property=MainPID", "--value"]
    ).stdout.strip()
    fields = host.read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return sum(int(one) for one in fields[11:15]) / 100
