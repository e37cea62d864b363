"""What a line of a script does with a pair's address and paths, as administrators write it."""

import pytest

from failback.decisions import scripts
from failback.decisions.scripts import CARRIES
from failback.decisions.scripts import MENTIONS
from failback.decisions.scripts import STARTS_LSYNCD
from failback.decisions.scripts import TAKES


def done(text):
    found = scripts.does(text, "10.0.0.5", ("/srv/www",), ("web2", "10.0.0.82"))
    return [(one.does, one.line) for one in found]


@pytest.mark.parametrize(
    "line",
    [
        "ip addr add 10.0.0.5/24 dev eth0",
        "ping -c1 10.0.0.5 || /sbin/ip -4 address replace 10.0.0.5/24 dev eth0 label eth0:0",
        "ip a a 10.0.0.5/24 dev eth0",
        "ifconfig eth0:0 10.0.0.5 netmask 255.255.255.0 up",
        "subprocess.run(['ip', 'addr', 'add', '10.0.0.5/24', 'dev', 'eth0'])",
        "* * * * * root ip addr add '10.0.0.5/24' dev eth0",
        "ssh web2 ip addr del 10.0.0.5/24 dev eth0; ip addr add 10.0.0.5/24 dev eth0",
    ],
)
def test_a_line_that_takes_the_address(line):
    assert done(line) == [(TAKES, 1)]
    assert done(f"#!/bin/sh\n# {line}\n") == []


@pytest.mark.parametrize(
    "line",
    [
        "ping -c 1 10.0.0.5",
        "ip addr del 10.0.0.5/24 dev eth0",
        "ip addr show to 10.0.0.5",
        "ip route add 10.0.0.5/32 via 10.0.0.1",
        "ifconfig eth0:0 10.0.0.5 down",
        "curl 10.0.0.5/status && ip link add link eth0 type dummy",
        "echo 10.0.0.5 salt-gw >> /etc/hosts",
    ],
)
def test_a_line_that_only_names_it(line):
    assert done(line) == [(MENTIONS, 1)]


def test_an_address_in_a_variable():
    text = "#!/bin/sh\nIP=10.0.0.5\nif ! ping -c1 $IP; then\n  ip addr add $IP/24 dev eth0\nfi\n"
    assert done(text) == [(TAKES, 4)]
    assert done(text.replace("10.0.0.5", "10.0.0.55")) == []


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("rsync -a --delete /srv/www/ web2:/srv/www/", [(CARRIES, 1)]),
        ("rsync -a root@10.0.0.82:/srv/ /srv/", [(CARRIES, 1)]),
        ("rsync -a /srv/www/html web2:/srv/www/", [(CARRIES, 1)]),
        ("scp -r /srv/www web2:/srv", [(CARRIES, 1)]),
        ("rsync -a /srv/www/ backup:/srv/www/", []),
        ("rsync -a /srv/wwwroot/ web2:/srv/wwwroot/", []),
        ("rsync -a /etc/ web2:/etc/", []),
        ("ls /srv/www; ssh web2 true", []),
        ("/usr/bin/lsyncd -nodaemon /etc/lsyncd.lua", [(STARTS_LSYNCD, 1)]),
        ("systemctl restart lsyncd", [(STARTS_LSYNCD, 1)]),
        ("* * * * * root lsyncd -nodaemon /etc/lsyncd.lua", [(STARTS_LSYNCD, 1)]),
        ("pgrep lsyncd >/dev/null || service lsyncd start", [(STARTS_LSYNCD, 1)]),
        ("/etc/init.d/lsyncd restart", [(STARTS_LSYNCD, 1)]),
        ('subprocess.run(["systemctl", "enable", "--now", "lsyncd"])', [(STARTS_LSYNCD, 1)]),
        # Words about lsyncd.
        ("``lsyncd``    the processes of that name: a list of [pid, start in clock ticks]", []),
        ("lsyncd - live syncing daemon: say when it was last seen to start", []),
        ("echo 'start lsyncd by hand, please'", []),
        ("pgrep lsyncd || mail -s 'lsyncd is off' root", []),
        ("pkill lsyncd -f", []),
        ("logrotate /etc/logrotate.d/lsyncd", []),
        ("systemctl status lsyncd", []),
        ("systemctl stop lsyncd", []),
        ("tail /var/log/lsyncd/lsyncd.log", []),
    ],
)
def test_what_carries_files(line, what):
    assert done(line) == what


def test_the_programs_of_a_line():
    line = "* * * * * root /usr/local/sbin/gw.sh >/dev/null 2>&1"
    assert scripts.programs(line) == ["/usr/local/sbin/gw.sh"]
    assert scripts.programs("ExecStart=-/usr/bin/env /opt/gw.py '/etc/gw'") == [
        "/usr/bin/env",
        "/opt/gw.py",
        "/etc/gw",
    ]
