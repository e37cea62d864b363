"""Debian's Prometheus on the client, and its node_exporter on both nodes, as docs/monitoring.md says."""

import json
import re

from lab.host import until

SETTINGS = """\
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [/etc/prometheus/failback.rules.yml]
scrape_configs:
  - job_name: node
    static_configs:
      - targets: ['10.0.0.11:9100', '10.0.0.12:9100']
"""
FOLDER = "/var/lib/prometheus/node-exporter"
PROGRAM = "/usr/local/bin/prometheus"
EXPORTER = "/usr/local/bin/prometheus-node-exporter"

#: Asks Prometheus on its own host; nothing else there speaks HTTP.
ASK = """
import json, sys, urllib.parse, urllib.request
with urllib.request.urlopen("http://127.0.0.1:9090/api/v1/" + sys.argv[1], timeout=10) as answer:
    print(answer.read().decode())
"""


class Prometheus:
    """
    Prometheus over both nodes of a lab's pair.

    pair
        ``lab_pair.Pair``.

    tree
        The checkout, with the rules and the documentation.

    programs
        The folder with Debian's programs.
    """

    def __init__(self, pair, tree, programs):
        self._pair, self._programs = pair, programs
        self._rules = (tree / "docs/monitoring/failback.rules.yml").read_text()
        # The command that cron runs, as a reader types it.
        text = (tree / "docs/monitoring.md").read_text()
        (self._command,) = re.findall(r"\* prometheus (/usr/local/sbin/failback metrics \S+ \S+)'", text)

    def start(self):
        """The programs run; both nodes are scraped."""
        for host in self._pair.nodes:
            host.write(EXPORTER, (self._programs / "prometheus-node-exporter").read_bytes(), mode=0o755)
            host.run(["useradd", "--system", "prometheus"])
            host.run(["mkdir", "-p", FOLDER])
            host.run(["chown", "prometheus:", FOLDER])
        self.export(*self._pair.nodes)
        client = self._pair.client
        client.write(PROGRAM, (self._programs / "prometheus").read_bytes(), mode=0o755)
        client.write("/etc/prometheus/prometheus.yml", SETTINGS)
        client.write("/etc/prometheus/failback.rules.yml", self._rules)
        options = ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/var/lib/prometheus"]
        client.run(["systemd-run", "--quiet", "--unit=prometheus", PROGRAM, *options])
        self.write(*self._pair.nodes)
        until(lambda: len(self.values("failback_info")) == 2, 60, "Prometheus to have figures of both nodes")
        return self

    def export(self, *hosts):
        """node_exporter runs on a host until that is off."""
        for host in hosts:
            options = ["--collector.disable-defaults", "--collector.textfile"]
            options += [f"--collector.textfile.directory={FOLDER}"]
            unit = ["systemd-run", "--quiet", "--unit=node-exporter", "--uid=prometheus"]
            host.run([*unit, EXPORTER, *options])

    def stop(self):
        """Nothing of it runs any more."""
        self._pair.client.run(["systemctl", "stop", "prometheus"], timeout=60)
        for host in self._pair.nodes:
            host.run(["systemctl", "stop", "node-exporter"], check=False, timeout=60)
            host.run(["userdel", "prometheus"], check=False)

    def write(self, *hosts):
        """What cron does every minute, as that user."""
        for host in hosts:
            host.run(["setpriv", "--reuid=prometheus", "--clear-groups", *self._command.split()])

    def values(self, query):
        """What Prometheus says of a metric now: ``{node: value}``."""
        found = self._ask(f"query?query={query}")["result"]
        return {one["metric"]["node"]: float(one["value"][1]) for one in found}

    def firing(self):
        """Names of the alerts that fire, with the node or None."""
        alerts = self._ask("alerts")["alerts"]
        return {
            (one["labels"]["alertname"], one["labels"].get("node"))
            for one in alerts
            if one["state"] == "firing"
        }

    def _ask(self, what):
        done = self._pair.client.run(["python3", "-c", ASK, what], check=False)
        return json.loads(done.stdout)["data"] if done.returncode == 0 else {"result": [], "alerts": []}
