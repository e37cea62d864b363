"""One verb of Failback's library on a node of the bench, without Salt; prints JSON."""

import json
import os
import sys
import time

sys.path.insert(0, "/usr/local/lib/failback/current")

from failback.handover import taker  # noqa: E402
from failback.journal import service  # noqa: E402
from failback.lease import right  # noqa: E402
from failback.network import address_holder  # noqa: E402
from failback.network import floating  # noqa: E402
from failback.pair import Member  # noqa: E402
from failback.recovery import handover_sync  # noqa: E402
from failback.recovery import pull  # noqa: E402
from failback.recovery.reverse_rsync import ReverseRsync  # noqa: E402
from failback.state import ledger  # noqa: E402

PAIR = "bench"


def main(verb, *words):
    return VERBS[verb](Member.load(PAIR), *words)


def hold(member, run):
    # What an earlier bench that was ended has left.
    member.lock.path.unlink(missing_ok=True)
    return member.lock.acquire(run, "bench", None, 900)


def let_go(member, run):
    return member.lock.release(run)


def begin(member, generation, active):
    """Ledger and addresses as if this had gone on for long."""
    member.ledger.write(ledger.Entry(int(generation), active, None, "benchmark"))
    wanted = floating.of_pair(member.config)
    with address_holder.Holder(wanted) as holder:
        if active == member.node:
            right.obtain_as_active(member, int(generation))
            right.take(member, holder, wanted)
            holder.announce(wanted)
        else:
            holder.release(wanted)
    return {"boot_id": member.ledger.read()["boot_id"]}


def generation(member):
    own = member.ledger.read()
    return own and own["generation"]


def pre_sync(member, run, journals="yes"):
    begun = time.monotonic()
    found = ReverseRsync(
        member,
        run,
        gate=lambda: None,
        journals=service.Both(member, run) if journals == "yes" else None,
        overrides={"max_delete": 10**9, "max_change_percent": 100},
    ).sync()
    return {"seconds": time.monotonic() - begun, "journal": found["journal"], "settled": found["settled"]}


def timed_pre_sync(member, run):
    """As :py:func:`pre_sync`, and for how long its first pass ran, which carries everything (``passes``)."""
    spans = []
    one_pass = pull.PathPull.one_pass

    def timed(*arguments):
        begun = time.monotonic()
        try:
            return one_pass(*arguments)
        finally:
            spans.append((begun, time.monotonic()))

    pull.PathPull.one_pass = timed
    done = pre_sync(member, run, journals="no")
    begun, ended = spans[0]
    return {**done, "passes": ended - begun}


def preview(member):
    """As the minion's job makes it; ``memory`` is what this process grew by, in KiB."""
    before = resident()
    begun = time.monotonic()
    found = ReverseRsync(member).preview()
    seconds = time.monotonic() - begun
    return {"seconds": seconds, "memory": resident("VmHWM") - before, "files": found[0]["source_files"]}


def resident(field="VmRSS"):
    with open("/proc/self/status") as handle:
        return next(int(line.split()[1]) for line in handle if line.startswith(field + ":"))


def hand_over(member, run):
    """This node becomes active. Adds the moment, on the kernel's clock, at which it had the addresses."""
    moments = []
    take = address_holder.Holder.take

    def noted(self, *arguments, **options):
        result = take(self, *arguments, **options)
        moments.append(time.monotonic())
        return result

    address_holder.Holder.take = noted

    def final_sync(control):
        if not member.config["replicate"]:
            return None
        reverse = ReverseRsync.of_run(member, run, control=control, overrides={"max_delete": 10**9})
        return handover_sync.FinalSync(reverse)

    done = taker.become_active(member, run, final_sync)
    return {**done, "taken": moments[-1]}


def compare(member, run):
    begun = time.monotonic()
    found = ReverseRsync.of_run(member, run).compare()
    return {**found, "seconds": time.monotonic() - begun}


VERBS = {
    each.__name__: each
    for each in (hold, let_go, begin, generation, pre_sync, timed_pre_sync, preview, hand_over, compare)
}

if __name__ == "__main__":
    os.nice(0)
    print(json.dumps(main(*sys.argv[1:])))
