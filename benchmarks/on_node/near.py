"""One verb of Failback's library on a node of the bench, without Salt; prints JSON."""

import json
import os
import sys
import time

sys.path.insert(0, "/usr/local/lib/failback/current")

from failback.handover import taker  # noqa: E402
from failback.host.paths import Paths  # noqa: E402
from failback.journal import service  # noqa: E402
from failback.network import address_holder
from failback.network import floating  # noqa: E402
from failback.recovery import handover_pass
from failback.recovery import pull  # noqa: E402
from failback.recovery import reverse_rsync  # noqa: E402
from failback.state import configuration  # noqa: E402
from failback.state import ledger  # noqa: E402
from failback.state import lock  # noqa: E402

PAIR = "bench"


def main(verb, *words):
    paths = Paths()
    config = configuration.load(PAIR, paths)
    return VERBS[verb](config, paths, *words)


def hold(config, paths, run):
    # What an earlier bench that was ended has left.
    paths.lock(PAIR).unlink(missing_ok=True)
    return lock.acquire(PAIR, paths, run, "bench", None, 900)


def let_go(config, paths, run):
    return lock.release(PAIR, paths, run)


def begin(config, paths, generation, active):
    """Ledger and addresses as if this had gone on for long."""
    ledger.write(PAIR, paths, int(generation), active, None, "benchmark")
    wanted = floating.of_pair(config)
    with address_holder.Holder(wanted) as holder:
        if active == config["node"]:
            holder.take(wanted, check=False)
            holder.announce(wanted)
        else:
            holder.release(wanted)
    return {"boot_id": ledger.read(PAIR, paths)["boot_id"]}


def generation(config, paths):
    own = ledger.read(PAIR, paths)
    return own and own["generation"]


def warm(config, paths, run, journals="yes"):
    begun = time.monotonic()
    found = reverse_rsync.synced(
        config,
        run,
        paths,
        gate=lambda: None,
        journals=service.Both(config, run, paths) if journals == "yes" else None,
        max_delete=10**9,
        max_change_percent=100,
    )
    return {"seconds": time.monotonic() - begun, "journal": found["journal"], "settled": found["settled"]}


def timed_warm(config, paths, run):
    """:py:func:`warm`, and for how long its first pass ran, in which everything comes over (``passes``)."""
    spans = []
    one_pass = pull._one_pass

    def timed(*arguments):
        begun = time.monotonic()
        try:
            return one_pass(*arguments)
        finally:
            spans.append((begun, time.monotonic()))

    pull._one_pass = timed
    done = warm(config, paths, run, journals="no")
    begun, ended = spans[0]
    return {**done, "passes": ended - begun}


def preview(config, paths):
    """As the minion's job makes it; ``memory`` is what this process grew by, in KiB."""
    before = resident()
    begun = time.monotonic()
    found = reverse_rsync.preview(config, paths)
    seconds = time.monotonic() - begun
    return {"seconds": seconds, "memory": resident("VmHWM") - before, "files": found[0]["source_files"]}


def resident(field="VmRSS"):
    with open("/proc/self/status") as handle:
        return next(int(line.split()[1]) for line in handle if line.startswith(field + ":"))


def hand_over(config, paths, run):
    """This node becomes active. Adds the moment, on the kernel's clock, at which it had the addresses."""
    moments = []
    take = address_holder.Holder.take

    def noted(self, *arguments, **options):
        result = take(self, *arguments, **options)
        moments.append(time.monotonic())
        return result

    address_holder.Holder.take = noted

    def last_pass(control):
        if not config["replicate"]:
            return None
        return handover_pass.LastPass(config, run, paths, control, max_delete=10**9)

    done = taker.become_active(config, run, paths, last_pass)
    return {**done, "taken": moments[-1]}


def compare(config, paths, run):
    begun = time.monotonic()
    found = reverse_rsync.compared(config, run, paths)
    return {**found, "seconds": time.monotonic() - begun}


VERBS = {
    each.__name__: each
    for each in (hold, let_go, begin, generation, warm, timed_warm, preview, hand_over, compare)
}

if __name__ == "__main__":
    os.nice(0)
    print(json.dumps(main(*sys.argv[1:])))
