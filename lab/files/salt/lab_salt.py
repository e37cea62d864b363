"""
What Salt leaves out on the hosts of the tests' labs: it costs much there, and proves nothing of Failback.

A host's own private key is taken as it is. Salt 3008 reads it from disk for nearly each request to a master,
and each time OpenSSL proves that its two factors are primes: 40 ms of a processor, 22 times in one highstate.
That is as long as all the rest of it. The lab has made the key itself.

A minion that has nothing to do looks once a second for jobs in its queues and for children that have ended.
Salt 3008 looks 13 times a second, once more for each further master: half a processor for twenty minions.

A minion has this tree's library in its memory before it starts a process for a job, and loads it anew when a
file of it has changed. Else each job loads it: more than half of what a short one costs. Only where highstate
leaves the modules as they are (lab/roles/salt.py): a job that brings other ones must load those.

The benchmarks' labs and the demo go without, and collect their grains each time: what is measured there is
Salt as everybody has it.
"""

import functools
import importlib.util
import os
import sys

#: Where Salt puts the tree's library on a minion.
LIBRARY = "/var/cache/salt/minion/extmods/utils"
#: What a master's programs need of it, and bring much of Salt with them.
MASTERS = "/failback_master/"
#: Is there where highstate leaves the modules as they are.
KEPT = "/etc/salt/minion.d/lab-modules.conf"


def take_keys(module):
    """Change what reads keys."""
    load = module.load_pem_private_key
    module.load_pem_private_key = lambda data, password, backend=None: load(
        data, password, backend, unsafe_skip_rsa_key_validation=True
    )


def look_seldom(module):
    """Change what has a minion look at something again and again."""
    add = module.Minion.add_periodic_callback

    def add_periodic_callback(self, name, method, interval=1):
        return add(self, name, method, max(interval, 1))

    module.Minion.add_periodic_callback = add_periodic_callback


def load_before(module):
    """Change what starts a process for a job."""
    handle = module.Minion._handle_decoded_payload
    library = Library()

    @functools.wraps(handle)
    def handle_decoded_payload(self, *words, **more):
        library.load()
        return handle(self, *words, **more)

    module.Minion._handle_decoded_payload = handle_decoded_payload


class Library:
    """The tree's library in this process."""

    def __init__(self):
        self._loaded = {}

    def load(self):
        """Load all of it, if it is to stay as it is and is not what was loaded last."""
        found = _files() if os.path.exists(KEPT) else {}
        if found == self._loaded:
            return
        self._forget()
        self._loaded = found
        importlib.invalidate_caches()
        sys.path.insert(0, LIBRARY)
        try:
            for place in sorted(one for one in found if MASTERS not in one):
                name = os.path.relpath(place, LIBRARY)[: -len(".py")].replace(os.sep, ".")
                try:
                    importlib.import_module(name.removesuffix(".__init__"))
                except Exception as problem:
                    # The job that needs it says so in its own way.
                    print(f"lab_salt: {name}: {problem!r}", file=sys.stderr)
        finally:
            sys.path.remove(LIBRARY)

    def _forget(self):
        tops = {
            os.path.relpath(place, LIBRARY).split(os.sep)[0].removesuffix(".py") for place in self._loaded
        }
        for name in [one for one in sys.modules if one.split(".")[0] in tops]:
            del sys.modules[name]


def _files():
    """What tells whether a file of the library is another: a dict by its place."""
    found = {}
    for folder, _, names in os.walk(LIBRARY):
        for name in names:
            if name.endswith(".py"):
                facts = os.stat(os.path.join(folder, name))
                found[os.path.join(folder, name)] = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
    return found


def change_minion(module):
    """All that is changed in Salt's minion."""
    look_seldom(module)
    load_before(module)


CHANGES = {
    "cryptography.hazmat.primitives.serialization.base": take_keys,
    "salt.minion": change_minion,
}


class Finder:
    """Waits for the modules that are changed, and is no finder of any other."""

    def __init__(self):
        self._awaited = dict(CHANGES)

    def find_spec(self, name, path=None, target=None):
        change = self._awaited.pop(name, None)
        if change is None:
            return None
        spec = importlib.util.find_spec(name)  # by the others: this one waits for it no more
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            change(module)

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Finder())
