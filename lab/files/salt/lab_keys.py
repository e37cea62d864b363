"""
A host's own private key is taken as it is: for Salt's Python in the labs of the tests.

Salt 3008 reads its key from disk for nearly each request to a master. Each time OpenSSL proves that its two
factors are primes: 40 ms of a processor, 22 times in one highstate. That is as long as all the rest of it,
and proves nothing of Failback. The lab has made the key itself.

The benchmarks' labs and the demo go without: what is measured there is Salt as everybody has it.
"""

import importlib.util
import sys

READS_KEYS = "cryptography.hazmat.primitives.serialization.base"


class Finder:
    """Waits for the module that reads keys, and is no finder of any other."""

    def find_spec(self, name, path=None, target=None):
        if name != READS_KEYS:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            load = module.load_pem_private_key
            module.load_pem_private_key = lambda data, password, backend=None: load(
                data, password, backend, unsafe_skip_rsa_key_validation=True
            )

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Finder())
