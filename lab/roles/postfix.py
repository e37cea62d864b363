"""Mail: Postfix on two hosts, each of which takes mail from the lab and keeps it in /var/mail."""

import re

from lab import disk

DOMAIN = "dalma.test"


def provide(site, host):
    """For the role ``mail``. Postfix starts at boot: nothing of it waits for an orchestration."""
    if "mail" not in host.machine.roles:
        return
    settings = {
        "myhostname": f"{host.name}.{DOMAIN}",
        "mydestination": f"$myhostname, {DOMAIN}, localhost",
        "mynetworks": "127.0.0.0/8 10.0.0.0/24",
        "smtpd_tls_security_level": "none",
    }
    text = (host.root / "etc/postfix/main.cf").read_text()
    for name, value in settings.items():
        text = re.sub(rf"^{name}\s*=.*\n", "", text, flags=re.M) + f"{name} = {value}\n"
    disk.write(host, "etc/postfix/main.cf", text)
    disk.enable(host, "postfix.service")
