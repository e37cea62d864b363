"""
Run a program in another Debian's root, with the checkout in it; nothing of this is seen outside.

    python3 -m lab.testing.in_root ROOT RESULTS -- PROGRAM …

The checkout is at ``/checkout`` and the folder RESULTS at ``/results``, both as they are here. The program
begins in the checkout. The root itself stays as it is: ``/tmp`` and ``/run`` are new and empty.
"""

import os
import sys

from lab import cache

#: Mounted from this machine with all that is mounted below.
SHARED = ("/proc", "/sys", "/dev")
EMPTY = ("/tmp", "/run")
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    # As setup.cfg has it, for a pytest that is older than that setting.
    "PYTHONPATH": "/checkout:/checkout/tests:/checkout/tests/unit:/checkout/tests/functional",
    "PYTHONPYCACHEPREFIX": "/tmp/bytecode",
}


def command(root, results, program):
    """The argument list that runs a program there; it needs to make mounts."""
    return [
        *("unshare", "--mount", "--propagation=private", "--"),
        *("/usr/bin/python3", "-B", "-m", "lab.testing.in_root", str(root), str(results), "--"),
        *(str(word) for word in program),
    ]


def main(root, results, _, *program):
    """Mount, enter, become the program; called in a mount namespace of its own."""
    # A mount of its own, so that what runs in it can make a namespace in turn.
    cache.call(["mount", "--bind", root, root])
    for place in SHARED:
        cache.call(["mount", "--rbind", place, f"{root}{place}"])
    for place in EMPTY:
        cache.call(["mount", "-t", "tmpfs", "-o", "mode=1777", "none", f"{root}{place}"])
    cache.call(["mount", "--bind", cache.CHECKOUT, f"{root}/checkout"])
    cache.call(["mount", "--bind", results, f"{root}/results"])
    # Not chroot(2): what proc(5) says of mounts and of open files would be of the machine's root.
    os.chdir(root)
    cache.call(["pivot_root", ".", "mnt"])
    os.chdir("/")
    # Found by this machine's PATH until here; a Debian before 12 has it in /bin alone.
    cache.call(["/bin/umount", "--lazy", "/mnt"])
    os.chdir("/checkout")
    kept = {name: value for name, value in os.environ.items() if name.startswith("FAILBACK_")}
    os.execvpe(program[0], program, ENVIRONMENT | kept | {"LAB": os.environ.get("LAB", "test")})


if __name__ == "__main__":
    main(*sys.argv[1:])
