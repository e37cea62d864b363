"""
GitFS and git_pillar, as docs/install.md has them: the tree comes from a bare repository of the pair itself.

The repository lies on the salt pair, and Failback carries it: each master reads its own copy.
"""

import re
import shlex

import pytest

from lab import environments
from lab.host import until

REPOSITORY = "/srv/git/site.git"
CONFIGURATION = "/etc/salt/master.d/failback.conf"
LAB = "/etc/salt/master.d/lab.conf"
PIP = ("/opt/saltstack/salt/bin/python", "-m", "pip")


def block(page, first):
    """A block of YAML in a page of the documentation, by its first line."""
    (found,) = [
        one for one in re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL) if one.startswith(first)
    ]
    return found


@pytest.fixture(scope="module")
def gitfs(running, tree):
    """Both masters serve the tree from the repository, and have no other one."""
    pair = running
    page = (tree / "docs/install.md").read_text()
    settings = block(page, "# /etc/salt/master.d/failback.conf: GitFS")
    assert REPOSITORY in settings
    before = {}
    wheels = environments.gitpython()
    commit(pair.salt1, "The site's tree", ["cp -a /srv/salt/salt /srv/salt/pillar ."])
    carried(pair)
    for host in pair.nodes:
        for wheel in wheels.glob("*.whl"):
            host.write(f"/root/wheels/{wheel.name}", wheel.read_bytes())
        # `salt-pip install GitPython`: the lab has no network to fetch it from.
        host.run([*PIP, "install", "--quiet", "--no-index", "--find-links", "/root/wheels", "GitPython"])
        before[host.name] = host.read(LAB)
        host.write(LAB, "".join(line for line in before[host.name].splitlines(True) if "_roots" not in line))
        host.write(CONFIGURATION, settings)
    pair.salt1.run(["rm", "-r", "/srv/salt/salt", "/srv/salt/pillar"])
    for host in pair.nodes:
        restart(pair, host)
    yield pair
    for host in pair.nodes:
        host.run(["rm", CONFIGURATION])
        host.write(LAB, before[host.name])
    pair.site.push_tree()
    for host in pair.nodes:
        restart(pair, host)
    pair.running()


def commit(host, message, commands):
    """Commit to the repository what these commands make of a clone, and push it there."""
    script = [
        "set -e",
        "rm -rf /root/work",
        f"git clone --quiet {REPOSITORY} /root/work",
        "cd /root/work",
        *commands,
        "git add --all",
        f"git -c user.name=lab -c user.email=lab@localhost commit --quiet -m {shlex.quote(message)}",
        "git push --quiet origin HEAD:main",
    ]
    host.run(["/bin/sh", "-c", "\n".join(script)], timeout=120)


def head(host):
    return host.run(["git", "-C", REPOSITORY, "rev-parse", "main"]).stdout.strip()


def carried(pair):
    """Cron on the active node pushes what was committed to the standby."""
    until(lambda: head(pair.salt1) == head(pair.salt2), 90, "the commit to be on salt2", pause=0.5)


def restart(pair, host):
    """As docs/install.md says after a change of the master's configuration."""
    host.run(["systemctl", "restart", "salt-master"], timeout=120)
    host.run(["salt-run", "fileserver.update"], timeout=120)
    host.run(["salt-run", "git_pillar.update"], timeout=120, check=False)
    host.run(["salt-run", "saltutil.sync_all"], timeout=120)
    for one in pair.nodes:
        pair.wait_idle(host, one.name)


def test_both_masters_have_the_pairs_from_the_repository(gitfs):
    for host in gitfs.nodes:
        assert gitfs.runner(host, "pair.check")["status"] == 0
        said = gitfs.runner(host, "pair.status", "salt")
        assert (said["status"], said["pairs"]["salt"]["verdict"]) == (0, "normal")


def test_highstate_from_the_repository_changes_nothing(gitfs):
    for host in gitfs.nodes:
        assert gitfs.highstate(host) == {"salt1": [], "salt2": []}


def test_a_recovery_from_the_repository_that_the_standby_has(gitfs):
    pair = gitfs
    pair.salt1.power_off()
    until(lambda: pair.holders(0.3) == ["salt2"], 60, "salt2 to answer", pause=0)
    # A change of the pillar, made while the primary is dead, by way of the repository.
    commit(
        pair.salt2,
        "A longer patience",
        ["sed -i 's/boot_timeout: 300/boot_timeout: 299/' pillar/pairs/salt.sls"],
    )
    pair.come_back()
    pair.salt2.run(["salt-run", "git_pillar.update"], timeout=120)
    done = pair.recover(pair.salt2, max_delete=1000)
    assert done.returncode == 0, done.stdout + done.stderr
    assert pair.holders() == ["salt1"]
    assert head(pair.salt1) == head(pair.salt2)
    # Of the node that came home: a recovery applies no highstate to the one that serves.
    assert '"boot_timeout": 299' in pair.salt1.read("/etc/failback/pairs/salt.json")
