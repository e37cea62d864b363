"""
What Salt leaves out on the hosts of the tests' labs: it costs much there, and proves nothing of Failback.

A host's own private key is taken as it is. Salt 3008 reads it from disk for nearly each request to a master,
and each time OpenSSL proves that its two factors are primes: 40 ms of a processor, 22 times in one highstate.
That is as long as all the rest of it. The lab has made the key itself.

A minion that has nothing to do looks once a second for jobs in its queues and for children that have ended.
Salt 3008 looks 13 times a second, once more for each further master: half a processor for twenty minions.

The benchmarks' labs and the demo go without, and collect their grains each time: what is measured there is
Salt as everybody has it.
"""

import importlib.util
import sys


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


CHANGES = {
    "cryptography.hazmat.primitives.serialization.base": take_keys,
    "salt.minion": look_seldom,
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
