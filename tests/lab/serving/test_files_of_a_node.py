"""What Failback leaves on a node is root's alone, and nothing secret is in what it says."""

import pytest
import said

pytestmark = pytest.mark.usefixtures("after_runs")

#: Nobody but root gets beyond these.
CLOSED = ("/etc/failback", "/var/lib/failback", "/run/failback/salt", "/root/.ssh")
#: What everybody may know of a pair, by names in /run/failback: a monitoring plug-in is not root.
NOTED = ("facts-", "watch-")
#: Read by everybody, written by root.
OPEN = ("/usr/local/sbin/failback", "/usr/local/lib/failback", "/var/cache/failback")
SECRET = "geheim-7b1f9e02d4"


@pytest.fixture(scope="module")
def after_runs(pair):
    """Any state will do, as long as something was run; and there is a secret among the replicated files."""
    if pair.ledger(pair.salt1) is None:
        pair.running()
    (active,) = pair.holders()
    pair.site.host(active).write("/srv/data/secret", f"password: {SECRET}\n", mode=0o600)
    pair.runner(pair.salt2, "pair.plan", "salt", check=False)
    return pair


def listed(host, places, *tests):
    """Owner, mode, type and path of all that lies below some places."""
    command = ["find", *places, "-not", "-type", "l", *tests, "-printf", r"%u:%g %m %y %p\n"]
    return [line.split(" ", 3) for line in host.run(command, check=False).stdout.splitlines()]


@pytest.mark.parametrize("node", ["salt1", "salt2"])
def test_nobody_but_root_gets_at_what_failback_keeps(pair, node):
    host = pair.site.host(node)
    there = [place for place in CLOSED if host.run(["test", "-d", place], check=False).returncode == 0]
    assert len(there) == len(CLOSED)
    assert listed(host, there, "-maxdepth", "0") == [["root:root", "700", "d", place] for place in there]
    # What a backup keeps has the owners and modes of the files that it was.
    found = listed(host, there, "-not", "-path", "*/backup/*")
    assert len(found) > 15
    assert [one for one in found if one[0] != "root:root"] == []
    assert [one for one in found if int(one[1], 8) & 0o022] == []
    state = listed(host, ("/etc/failback", "/var/lib/failback"), "-type", "f", "-not", "-path", "*/backup/*")
    public = "/etc/failback/ssh/id_ed25519.pub"
    assert [one for one in state if one[1] != "600" and one[3] != public] == []


@pytest.mark.parametrize("node", ["salt1", "salt2"])
def test_everybody_may_read_what_is_noted_and_nothing_else(pair, node):
    host = pair.site.host(node)
    assert listed(host, ("/run/failback",), "-maxdepth", "0") == [["root:root", "755", "d", "/run/failback"]]
    found = listed(host, ("/run/failback",), "-maxdepth", "1", "-perm", "/o+rwx", "-not", "-type", "d")
    names = [one[3].rpartition("/")[2] for one in found]
    assert "facts-salt.json" in names
    assert all(name.startswith(NOTED) and name.endswith(".json") for name in names), names
    nobody = ["setpriv", "--reuid=65534", "--clear-groups"]
    said = host.run([*nobody, "failback", "check", "salt"], check=False)
    assert said.stdout.startswith("FAILBACK ") and said.returncode in (0, 1, 2)
    assert 'failback_generation{pair="salt"' in host.run([*nobody, "failback", "metrics"]).stdout


@pytest.mark.parametrize("node", ["salt1", "salt2"])
def test_nobody_but_root_writes_what_root_runs(pair, node):
    found = listed(pair.site.host(node), OPEN)
    assert len(found) > 15
    assert [one for one in found if one[0] != "root:root" or int(one[1], 8) & 0o022] == []


@pytest.mark.parametrize("node", ["salt1", "salt2"])
def test_another_user_gets_at_nothing(pair, node):
    host = pair.site.host(node)
    for path in ("/etc/failback/pairs", "/etc/failback/ssh/id_ed25519", "/var/lib/failback/salt/ledger.json"):
        done = host.run(["setpriv", "--reuid=65534", "--clear-groups", "ls", path], check=False)
        assert done.returncode != 0 and "Permission denied" in done.stderr


@pytest.mark.parametrize("node", ["salt1", "salt2"])
def test_no_secret_is_in_logs_records_or_reports(pair, node):
    """Keys by the lines of their text, a replicated file by its content."""
    host = pair.site.host(node)
    keys = [
        "/etc/failback/ssh/id_ed25519",
        "/etc/salt/pki/minion/minion.pem",
        "/etc/salt/pki/master/master.pem",
    ]
    secrets = [SECRET, *(said.key_line(host, key) for key in keys)]
    assert said.found(host, secrets) == []
