"""Monitoring: Nagios with NSCA on two hosts, and what sends them results of passive checks.

monitor
    nagios4 and nsca, which an orchestration starts. The objects are in /etc/nagiosql, which the pair
    replicates: one host and one service, whose results come from outside. What Nagios would have told
    somebody goes into ``TOLD``, what it would have mended into ``HANDLED``: one line each.

reporter
    send_nsca, which the package brings.
"""

import re

from lab import disk

TOLD = "/var/lib/nagios4/told"
HANDLED = "/var/lib/nagios4/handled"

OBJECTS = f"""\
define command {{
    command_name  lab-tell
    command_line  /bin/echo "$NOTIFICATIONTYPE$ $SERVICEDESC$ $SERVICESTATE$ $SERVICEOUTPUT$" >> {TOLD}
}}
define command {{
    command_name  lab-handle
    command_line  /bin/echo "$SERVICEDESC$ $SERVICESTATE$ $SERVICEOUTPUT$" >> {HANDLED}
}}
define command {{
    command_name  lab-nothing
    command_line  /bin/true
}}
define contact {{
    contact_name                   operator
    host_notification_period       24x7
    service_notification_period    24x7
    host_notification_options      d,u,r
    service_notification_options   w,u,c,r
    host_notification_commands     lab-tell
    service_notification_commands  lab-tell
}}
define host {{
    host_name                client
    address                  10.0.0.100
    check_command            lab-nothing
    max_check_attempts       1
    check_period             24x7
    active_checks_enabled    0
    notification_period      24x7
    contacts                 operator
}}
define service {{
    host_name                client
    service_description      heartbeat
    check_command            lab-nothing
    max_check_attempts       1
    check_period             24x7
    active_checks_enabled    0
    passive_checks_enabled   1
    event_handler            lab-handle
    notification_interval    0
    notification_period      24x7
    notification_options     w,u,c,r
    contacts                 operator
}}
"""


def provide(site, host):
    if "monitor" not in host.machine.roles:
        return
    settings = (host.root / "etc/nagios4/nagios.cfg").read_text()
    settings = re.sub(r"^cfg_(dir|file)=.*(localhost|plugins|conf\.d).*\n", "", settings, flags=re.M)
    for name, value in (
        ("status_update_interval", "1"),
        ("enable_flap_detection", "0"),
        ("check_result_reaper_frequency", "1"),
        # Neither needs to ask the world for a newer Nagios.
        ("check_for_updates", "0"),
    ):
        settings = re.sub(rf"^{name}=.*\n", "", settings, flags=re.M) + f"{name}={value}\n"
    disk.write(host, "etc/nagios4/nagios.cfg", settings + "cfg_dir=/etc/nagiosql\n")
    disk.write(host, "etc/nagiosql/lab.cfg", OBJECTS)
    # The package's default is the pipe of another product.
    nsca = (host.root / "etc/nsca.cfg").read_text()
    nsca = re.sub(r"^command_file=.*", "command_file=/var/lib/nagios4/rw/nagios.cmd", nsca, flags=re.M)
    disk.write(host, "etc/nsca.cfg", nsca)
