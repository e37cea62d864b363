"""The pair of the masters watched by the real Nagios of the monitor pair, which mails to the mx pair."""

import email
import email.utils
import re

from lab.host import until

#: Sends a mail to the first server that takes it: the lab's hosts run no mail server of their own.
MAIL = """\
#!/usr/bin/python3
import smtplib, sys
for host in ("mx1", "mx2"):
    try:
        with smtplib.SMTP(host, timeout=5) as server:
            text = f"Subject: {sys.argv[1]}\\n\\n{sys.argv[2]}\\n"
            server.sendmail("nagios@monitor1", "root@dalma.test", text)
        break
    except OSError:
        continue
"""

#: A hook of the site's own, on both nodes: what it is told goes to the mail servers, too.
HOOK = """\
#!/bin/sh
exec /usr/local/bin/lab-mail "hook $FAILBACK_EVENT from $FAILBACK_NODE" "$FAILBACK_SENTENCE"
"""

#: Hooks that a site may have by mistake. None may delay what it is told of.
BAD_HOOKS = {
    "hangs": "#!/bin/sh\nsleep 3600\n",
    "fails": "#!/bin/sh\nexit 1\n",
    "floods": "#!/bin/sh\nexec yes\n",
}

OBJECTS = """\
define command {
    command_name  failback-by-ssh
    command_line  /usr/lib/nagios/plugins/check_by_ssh -t 8 -H $HOSTADDRESS$ -i /var/lib/nagios/failback \\
                  -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -C check
}
define command {
    command_name  failback-mail
    command_line  /usr/local/bin/lab-mail "nagios $NOTIFICATIONTYPE$ $HOSTNAME$ $SERVICESTATE$" \\
                  "$SERVICEOUTPUT$"
}
define contact {
    contact_name                   failback
    host_notification_period       24x7
    service_notification_period    24x7
    host_notification_options      n
    service_notification_options   c,r
    host_notification_commands     lab-nothing
    service_notification_commands  failback-mail
}
define host {
    host_name                salt1
    address                  10.0.0.11
    check_command            lab-nothing
    max_check_attempts       1
    check_period             24x7
    contacts                 failback
}
define host {
    host_name                salt2
    address                  10.0.0.12
    check_command            lab-nothing
    max_check_attempts       1
    check_period             24x7
    contacts                 failback
}
define service {
    name                     failback-of-a-node
    service_description      failback
    check_command            failback-by-ssh
    check_interval           0.08
    retry_interval           0.02
    check_period             24x7
    notification_interval    0
    notification_period      24x7
    notification_options     c,r
    contacts                 failback
    register                 0
}
define service {
    use                      failback-of-a-node
    host_name                salt1
    # While all minions of the site come to a node at once, a question over SSH may end after its 8 s.
    max_check_attempts       2
}
define service {
    use                      failback-of-a-node
    host_name                salt2
    # To this one they come when salt1 has died.
    max_check_attempts       3
}
"""


class Watched:
    """
    The masters' pair under the eyes of Nagios.

    cluster
        ``dalma.Cluster`` with the pairs monitor and mx.
    """

    def __init__(self, cluster):
        self.cluster = cluster
        self.nagios = cluster.pairs["monitor"][0]
        self.mail_servers = cluster.pairs["mx"]
        #: How many lines of each mailbox were there before: the lab may have been up.
        self.before = {host: len(self._mailbox(host)) for host in self.mail_servers}

    def prepare(self):
        """Nagios may ask both nodes as an ordinary user, and knows them; all hooks are there."""
        self.nagios.write("/usr/local/bin/lab-mail", MAIL, mode=0o755)
        key = "/var/lib/nagios/failback"
        self.nagios.run(["rm", "-f", key])
        self.nagios.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])
        self.nagios.run(["chown", "nagios:", key])
        allowed = f'restrict,command="/usr/local/sbin/failback check" {self.nagios.read(key + ".pub")}'
        for host in self.cluster.pairs["salt"]:
            # A command that sshd forces is run by the user's shell.
            host.run(["usermod", "--shell", "/bin/sh", "nagios"])
            host.write("/var/lib/nagios/.ssh/authorized_keys", allowed)
            host.write("/usr/local/bin/lab-mail", MAIL, mode=0o755)
            host.write("/etc/failback/hooks.d/page", HOOK, mode=0o700)
            for name, text in BAD_HOOKS.items():
                host.write(f"/etc/failback/hooks.d/{name}", text, mode=0o700)
            host.write("/etc/failback/hooks.d/not-executable", "#!/bin/sh\n", mode=0o600)
        self.nagios.write("/etc/nagiosql/failback.cfg", OBJECTS)
        self.nagios.run(["usermod", "--shell", "/bin/sh", "nagios"])
        self.nagios.run(["systemctl", "reload", "nagios4"], timeout=60)
        self.wait_state("salt1", 0)
        self.wait_state("salt2", 0)
        return self

    def remove(self):
        """Nothing of it is left for the tests that follow."""
        for host in self.cluster.pairs["salt"]:
            names = ["page", "not-executable", *BAD_HOOKS]
            host.run(["rm", "-f", *(f"/etc/failback/hooks.d/{name}" for name in names)])
        self.nagios.run(["rm", "-f", "/etc/nagiosql/failback.cfg"])
        self.nagios.run(["systemctl", "reload", "nagios4"], timeout=60)

    def state(self, host):
        """``(state, what the plug-in said)`` as Nagios has it; None before its first check."""
        for block in self.nagios.read("/var/lib/nagios4/status.dat").split("servicestatus {")[1:]:
            lines = [line.strip().partition("=") for line in block[: block.index("}")].splitlines()]
            facts = {name: value for name, _, value in lines}
            if facts["host_name"] == host and facts["service_description"] == "failback":
                checked = facts["has_been_checked"] == "1"
                return (int(facts["current_state"]), facts["plugin_output"]) if checked else None
        return None

    def wait_state(self, host, state, limit=60):
        """Until Nagios sees a node in a state. Returns what the plug-in said."""
        until(
            lambda: (self.state(host) or (None,))[0] == state,
            limit,
            lambda: f"{host} to be in state {state} for Nagios, which has {self.state(host)}",
            pause=0.5,
        )
        return self.state(host)[1]

    def page(self, host):
        """The page of a host, as Nagios' own program makes it for a browser."""
        words = ["REQUEST_METHOD=GET", f"QUERY_STRING=host={host}", "REMOTE_USER=nagiosadmin"]
        return self.nagios.run(["env", *words, "/usr/lib/cgi-bin/nagios4/status.cgi"]).stdout

    def mails(self, begin):
        """The subjects of all mails that have come to the mail servers and that begin so."""
        found = []
        for host in self.mail_servers:
            lines = self._mailbox(host)[self.before[host] :]
            found += [line[9:] for line in lines if line.startswith(f"Subject: {begin}")]
        return found

    def _mailbox(self, host):
        return host.run(["cat", "/var/mail/root"], check=False).stdout.splitlines()

    def wait_mail(self, subject, limit=30):
        """Until a mail has come. Returns when Postfix took it, in seconds since the epoch."""
        until(lambda: subject in self.mails(subject), limit, f"the mail {subject!r}", pause=0.3)
        moments = []
        for host in self.mail_servers:
            text = "\n".join(self._mailbox(host)[self.before[host] :])
            for one in re.split(r"^From .*\n", text, flags=re.MULTILINE):
                mail = email.message_from_string(one)
                if mail["Subject"] == subject:
                    moment = mail["Received"].rpartition(";")[2]
                    moments.append(email.utils.parsedate_to_datetime(moment).timestamp())
        return min(moments)
