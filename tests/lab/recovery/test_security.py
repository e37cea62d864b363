"""What root does for users and for the other node, on real hosts; docs/security.md names these tests."""

import re

import pytest

from lab.host import until

REPOSITORY = "/srv/git/site.git"
ANNA = 54321
SSH = ["ssh", "-F", "/etc/failback/ssh/config"]


@pytest.fixture(scope="module")
def serving(pair):
    """salt1 serves."""
    return pair.running()


@pytest.fixture
def annas(serving):
    """The pair's repository belongs to a user on both nodes, who has put a program into each."""
    for host, hook in ((serving.salt1, "pre-push"), (serving.salt2, "post-receive")):
        host.run(["install", "-d", "-m", "777", "/var/tmp/notes"])
        commands = "id -u; cat /etc/failback/ssh/id_ed25519; true"
        text = f"#!/bin/sh\n{{ {commands}; }} > /var/tmp/notes/{hook}\n"
        host.write(f"{REPOSITORY}/hooks/{hook}", text, mode=0o755)
        host.run(["chown", "-R", f"{ANNA}:{ANNA}", REPOSITORY])
    yield serving
    for host, hook in ((serving.salt1, "pre-push"), (serving.salt2, "post-receive")):
        host.run(["rm", "-rf", f"{REPOSITORY}/hooks/{hook}", "/var/tmp/notes"])
        host.run(["chown", "-R", "root:root", REPOSITORY])


def as_anna(host, *words):
    return host.run(["setpriv", f"--reuid={ANNA}", f"--regid={ANNA}", "--clear-groups", *words])


def commit(pair, branch):
    """A commit of Anna's on the active node, by git's own plumbing."""
    git = ["git", "--git-dir", REPOSITORY, "-c", "user.name=anna", "-c", "user.email=anna@example.org"]
    tree = as_anna(pair.salt1, *git, "write-tree").stdout.strip()
    made = as_anna(pair.salt1, *git, "commit-tree", "-m", branch, tree).stdout.strip()
    as_anna(pair.salt1, *git, "update-ref", f"refs/heads/{branch}", made)


def test_what_a_repository_names_runs_as_its_owner_on_both_nodes(annas):
    commit(annas, "annas")
    annas.salt1.run(["failback", "push-git", "salt"])
    # Cron's push of this minute may be under way: then this one leaves it to that, or to the next.
    noted = ["test", "-s", "/var/tmp/notes/post-receive"]
    until(lambda: annas.salt2.run(noted, check=False).returncode == 0, 90, "the push to reach salt2's hook")
    sent, arrived = (host.read(f"{REPOSITORY}/refs/heads/annas") for host in annas.nodes)
    assert sent == arrived
    for host, hook in ((annas.salt1, "pre-push"), (annas.salt2, "post-receive")):
        assert host.read(f"/var/tmp/notes/{hook}") == f"{ANNA}\n"


def test_a_repository_of_root_s_that_others_may_write_to_is_refused_by_name(serving):
    host = serving.salt1
    mark = "/root/was-here"
    host.run(["chmod", "777", f"{REPOSITORY}/hooks"])
    host.write(f"{REPOSITORY}/hooks/pre-push", f"#!/bin/sh\ntouch {mark}\n", mode=0o755)
    try:
        host.run(["failback", "push-git", "salt"])
        logged = serving.journal(host, "-t", "failback", "-n", "20")
        assert f"The repository {REPOSITORY} on salt1 is left alone: others may write to" in str(logged)
        assert host.run(["ls", mark], check=False).returncode != 0
    finally:
        host.run(["rm", "-f", f"{REPOSITORY}/hooks/pre-push"])
        host.run(["chmod", "755", f"{REPOSITORY}/hooks"])


def test_the_other_node_s_key_opens_nothing_from_another_address(serving):
    line = serving.salt2.run(["grep", "far-end", "/root/.ssh/authorized_keys"]).stdout
    assert line.startswith('from="') and "10.0.0.11" in line
    asked = [*SSH, "10.0.0.12", "--", "report"]
    assert serving.salt1.run(asked).stdout.startswith("{")
    serving.salt1.run(["ip", "address", "add", "10.0.0.77/24", "dev", "eth0"])
    try:
        done = serving.salt1.run([*SSH, "-b", "10.0.0.77", *asked[3:]], check=False, timeout=20)
    finally:
        serving.salt1.run(["ip", "address", "del", "10.0.0.77/24", "dev", "eth0"])
    assert done.returncode == 255 and "Permission denied" in done.stderr


@pytest.mark.parametrize("lacking", ["the interpreter", "a module of the standard library"])
def test_without_python_lsyncd_does_not_start_and_systemctl_says_so(serving, lacking):
    host = serving.salt1
    if lacking == "the interpreter":
        place = "/usr/bin/python3"
    else:
        place = host.run(
            ["/usr/bin/python3", "-c", "import argparse; print(argparse.__file__)"]
        ).stdout.strip()
    serving.drain()
    host.run(["systemctl", "stop", "lsyncd"])
    host.run(["mv", place, f"{place}.away"])
    try:
        done = host.run(["systemctl", "start", "lsyncd"], check=False)
        assert done.returncode != 0
        assert not serving.active(host, "lsyncd")
    finally:
        host.run(["mv", f"{place}.away", place])
        host.run(["systemctl", "reset-failed", "lsyncd"], check=False)
    host.run(["systemctl", "start", "lsyncd"])
    assert serving.active(host, "lsyncd")
    serving.drain()


#: The most that ``systemd-analyze security`` may give a unit, from 0 (confined) to 10 (as root as can be).
EXPOSURE = {"lsyncd.service": 5.0}


@pytest.mark.parametrize("unit", EXPOSURE)
def test_units_are_confined(serving, unit):
    said = serving.salt1.run(["systemd-analyze", "security", "--no-pager", unit]).stdout
    (found,) = re.findall(r"Overall exposure level for \S+: ([0-9.]+)", said)
    print(f"{unit}: {found}")
    assert float(found) <= EXPOSURE[unit]


def test_lsyncd_carries_extended_attributes_of_root_too(serving):
    """Those of ``trusted`` are what it has one of its powers for."""
    serving.salt1.write("/srv/data/many/marked", "a file of this test\n")
    serving.salt1.run(["setfattr", "-n", "trusted.mark", "-v", "1", "/srv/data/many/marked"])
    serving.salt1.run(["/bin/sh", "-c", "echo more >> /srv/data/many/marked"])
    serving.drain()
    found = serving.salt2.run(["getfattr", "-n", "trusted.mark", "/srv/data/many/marked"]).stdout
    assert 'trusted.mark="1"' in found
