"""
The minions of a master, in the place of Salt's client: they answer from a table, and what they are asked is
kept. Everything else of a runner is the real thing, its loader and its pillar included.
"""

import collections

import salt.config
import salt.payload
import samples

from failback.host import system

#: What a minion says that says nothing.
SILENT = object()

#: One question: to whom, which function, with what, and for how long it is waited.
Question = collections.namedtuple("Question", "nodes function args kwargs look gone")

#: Two pairs, as the pillar has them.
SALT = {
    "primary": "salt1",
    "secondary": "salt2",
    "floating_ips": {"salt-gw": {"address": "10.0.0.5/24", "interface": "eth0"}},
    "replicate": ["/srv/salt"],
    "watch": {"reachable": "nobody"},
}
WEB = {"primary": "web1", "secondary": "web2", "replicate": ["/srv/web"]}
#: Seconds since the epoch, for nodes that all have the same clock.
NOW = 1_795_374_000.0


class Client:
    """
    ``salt.client.LocalClient``, as far as a master of pairs uses it.

    opts
        The master's; of these where its jobs are, and where it takes connections.

    answers
        By function what is answered: a value, or a function of the node and of what it is asked; ``SILENT``
        or an exception for an answer that does not come or fails. What is asked beside these is an error of
        the test.
    """

    def __init__(self, opts, answers=None):
        self.opts = opts
        self.answers = answers or {}
        self.asked = []

    def cmd(
        self,
        tgt,
        fun,
        arg=(),
        timeout=None,
        tgt_type="glob",
        full_return=False,
        kwarg=None,
        gather_job_timeout=None,
    ):
        assert (tgt_type, full_return) == ("list", True) and tgt, (
            "asked in a form that is not understood here"
        )
        # As minions get it: what cannot be sent must not be asked.
        args, kwargs = salt.payload.loads(salt.payload.dumps([list(arg), kwarg or {}]))
        self.asked.append(Question(list(tgt), fun, args, kwargs, timeout, gather_job_timeout))
        assert fun in self.answers, f"{tgt} are asked {fun}, of which this test knows nothing"
        found = {}
        for node in tgt:
            answer = self.answers[fun]
            try:
                answer = answer(node, *args, **kwargs) if callable(answer) else answer
            except Exception as error:
                answer = error
            if answer is SILENT:
                continue
            failed = isinstance(answer, Exception)
            found[node] = {"ret": f"ERROR: {answer}" if failed else answer, "retcode": int(failed)}
        return found

    def functions(self):
        """What was asked, in its order."""
        return [one.function for one in self.asked]

    def questions(self, function):
        """The questions of one kind."""
        return [one for one in self.asked if one.function == function]


def of_node(**by_node):
    """An answer that is another one on each node; one that is not named is silent."""
    return lambda node, *args, **kwargs: by_node.get(node, SILENT)


def report(node, generation, active, boot="this boot", **changes):
    """What a node reports of itself, with all that a master reads of it."""
    own = samples.ledger(generation, active, boot)
    holds = own["active"] == node and boot == "this boot"
    digest = system.package_digest(system.PACKAGE)
    address = {
        "name": "salt-gw",
        "address": "10.0.0.5/24",
        "interface": "eth0",
        "interface_exists": True,
        "carrier": True,
        "held": holds,
    }
    found = samples.report(
        node,
        own,
        time=NOW,
        gate=None,
        lock=None,
        pause=None,
        fenced=None,
        sources={"/srv/salt": {"of": node}},
        misplaced=[],
        package={"modules": digest, "program": digest},
    )
    found["lsyncd"] = {"running": holds and node.endswith("1")}
    return {**found, "addresses": [address], **changes}


def normal(node, *args, **kwargs):
    """A report of a pair that is as it should be: salt1 serves."""
    return report(node, 3, "salt1")


def failed_over(node, *args, **kwargs):
    """salt2 has taken over; salt1 has booted again and waits."""
    return report("salt1", 3, "salt1", "an earlier boot") if node == "salt1" else report("salt2", 4, "salt2")


def split(node, *args, **kwargs):
    """Both serve."""
    return report(node, 3, node)


def master_opts(tree, root, port):
    """The options of a master whose files are below a folder, with this tree's runners."""
    opts = salt.config.DEFAULT_MASTER_OPTS.copy()
    opts.update(
        {
            "id": "salt2_master",
            "__role": "master",
            "root_dir": str(root),
            "cachedir": str(root / "cache"),
            "extension_modules": str(root / "extmods"),
            "pki_dir": str(root / "pki"),
            # No bus is there: that nobody hears of a run ends none.
            "sock_dir": "",
            "conf_file": str(root / "master"),
            "user": "root",
            "interface": "127.0.0.1",
            "ret_port": port,
            "file_client": "local",
            # A site's own folder comes first.
            "file_roots": {"base": [str(root / "own"), str(root / "files")]},
            "pillar_roots": {"base": [str(root / "pillar")]},
            "runner_dirs": [str(tree / "salt" / "_runners")],
            "outputter_dirs": [str(tree / "salt" / "_output")],
        }
    )
    return opts
