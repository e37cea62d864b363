"""What a host says of itself and keeps where others may read it: logs, records, reports, Salt's caches."""

#: Commands whose output others than root may get to see, or that goes to other hosts.
WORDS = (
    ["journalctl", "--no-pager", "-o", "verbose"],
    ["sh", "-c", "cat /var/log/salt/*"],
    ["sh", "-c", "cat /run/failback/*.json /run/failback/*/*"],
    ["sh", "-c", "find /var/lib/failback -type f -not -path '*/backup/*' -exec cat {} +"],
    # Each job with its arguments, and what each minion returned.
    ["sh", "-c", "find /var/cache/salt/*/jobs /var/cache/salt/minion -type f -exec cat {} +"],
    ["salt-run", "pair.history", "salt"],
    ["salt-run", "pair.status", "salt"],
    ["sh", "-c", "cat /proc/[0-9]*/cmdline"],
)


def of(host):
    """All of it, as a list of texts."""
    return [host.run(command, check=False, timeout=120).stdout for command in WORDS]


def key_line(host, path):
    """A line of a private key that no other key has: the first ones of a kind are alike."""
    lines = [line for line in host.read(path).splitlines() if not line.startswith("-----")]
    return lines[len(lines) // 2]


def found(host, secrets):
    """Those of some secrets that are in what a host says."""
    texts = of(host)
    # It does say something.
    assert len(texts[0]) > 1000
    return [one for one in secrets if any(one in text for text in texts)]
