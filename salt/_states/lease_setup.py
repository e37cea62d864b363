"""
The steps of ``orch.lease``, which sets up the members of etcd that a pair's ``lease`` names; they run on the
master.

.. code-block:: yaml

    Each member and each node has a certificate:
      lease_setup.certified:
        - pair: salt
"""

from salt.exceptions import CommandExecutionError

from failback.lease import certificates
from failback_master import highstate
from failback_master import step

__virtualname__ = "lease_setup"

#: With the master's other keys: where they are replicated, the other master has the same authority.
AUTHORITY = "failback-lease"


def __virtual__():
    # Steps of an orchestration: a minion has no other minions to ask.
    if __opts__.get("__role") != "master":
        return False, "lease_setup holds the steps of an orchestration, which run on the master."
    return __virtualname__


def _step(name, pair, would, work):
    return step.run(__opts__, __pillar__, "lease", name, pair, would, _for_members(work))


def _for_members(work):
    """A step of a pair that names members of etcd; of another it is refused."""

    def checked(config, nodes, ids):
        if not (config.get("lease") or {}).get("members"):
            raise CommandExecutionError(
                f"The pillar of {config['name']} names no members of etcd, so there is nothing to set up. "
                f"Write `lease: {{members: [...]}}`; with `endpoints` the site's own etcd is used as it is. "
                f"See docs/pillar.md."
            )
        return work(config, nodes)

    return checked


def _nodes(config):
    return [config["primary"]["id"], config["secondary"]["id"]]


def _members(config):
    return {one["id"]: one["host"] for one in config["lease"]["members"]}


def possible(name, pair=None):
    """
    All members and both nodes answer Salt, and the pillar is right.

    name
        What this step is, in words.

    pair
        Name of the pair.
    """

    def work(config, nodes):
        everyone = sorted({*_members(config), *_nodes(config)})
        nodes.all(everyone, "test.ping")
        return {}, f"{', '.join(everyone)} answer, and the pillar is right."

    return _step(name, pair, None, work)


def certified(name, pair=None):
    """
    Each member and each node has a certificate that the authority of this master has signed.

    The authority is made where there is none. A certificate that is good for long enough stays.

    name
        What this step is, in words.

    pair
        Name of the pair.
    """

    def work(config, nodes):
        folder = f"{__opts__['pki_dir']}/{AUTHORITY}"
        authority = certificates.authority(folder)
        changes = {}
        for part, hosts in (
            (certificates.MEMBER, _members(config)),
            (certificates.CLIENT, dict.fromkeys(_nodes(config))),
        ):
            for node, wanted in sorted(nodes.all(sorted(hosts), "lease.request", part).items()):
                if wanted is None:
                    continue
                addresses = [hosts[node]] if hosts[node] else []
                signed = certificates.sign(folder, part, wanted, addresses)
                nodes.one(node, "lease.install", part, signed, authority)
                changes.setdefault(node, []).append(f"certificate of a {part}")
        return changes, "Each member and each node has its certificate."

    return _step(name, pair, "make the certificates that are missing or run out", work)


def running(name, pair=None):
    """
    etcd runs on each member with the certificates, as ``lease.member`` says.

    name
        What this step is, in words.

    pair
        Name of the pair.
    """

    def work(config, nodes):
        members = _members(config)
        changes = {}
        # All at once: a new cluster answers when a majority has started.
        answers = nodes.all(
            sorted(members), "state.apply", "lease.member", pillar={"lease_members": members}, queue=True
        )
        failed = highstate.failures(answers)
        if failed:
            raise CommandExecutionError(f"etcd was not set up. {' '.join(failed)}")
        for node, states in answers.items():
            changed = sorted(one.get("__id__", key) for key, one in states.items() if one["changes"])
            if changed:
                changes[node] = changed
        return changes, f"etcd runs on {', '.join(sorted(members))}."

    return _step(name, pair, "set etcd up on the members", work)


def guarded(name, pair=None):
    """
    Both nodes know the lease, their guards run, and a majority of etcd's members answers both.

    name
        What this step is, in words.

    pair
        Name of the pair.
    """

    def work(config, nodes):
        ids = _nodes(config)
        changed = highstate.highstate(nodes, ids)
        answers = nodes.all(ids, "lease.answers", config["name"])
        holders = {one["holder"] for one in answers.values()}
        who = " or ".join(sorted(one or "nobody yet" for one in holders))
        return (
            {node: states for node, states in changed.items() if states},
            f"A majority of the members answers both nodes. Who has the lease: {who}.",
        )

    return _step(name, pair, "run highstate on both nodes", work)
