"""
Jobs side by side: as many as the machine has memory and processors for, the longest first.

Those with hosts come before the others, which need no time of their own: they fill what hosts leave, above
all beside the one job that no other hosts may disturb.
"""

import collections
import concurrent.futures
import dataclasses
import threading
import typing

#: Seconds in which something is there that has been made before.
SOON = 2


@dataclasses.dataclass(frozen=True)
class Job:
    """
    Something to run, and what it takes.

    run
        Called with nothing, in a thread; what it returns is the job's result.

    needs
        Names of what must have been made before it begins.

    memory
        Megabytes.

    busy
        How many processors it keeps busy on average: hosts mostly wait.

    seconds
        How long it takes, roughly: the longest begin first.

    hosts
        It boots a lab, or runs masters and minions: these stand first in line for the processors, and are
        kept apart a little more.

    alone
        Its hosts are so many that those of others would be too late beside them: it begins after these.
    """

    name: str
    run: typing.Callable
    needs: tuple = ()
    memory: int = 300
    busy: float = 1.0
    seconds: float = 60.0
    hosts: bool = False
    alone: bool = False


@dataclasses.dataclass(frozen=True)
class Room:
    """
    What all jobs that run at one moment may take together.

    memory
        Megabytes.

    processors
        The sum of their ``busy``.

    for_hosts
        The same of those with ``hosts``, which would starve each other: the labs' come before all other
        programs on the machine (lab/cgroups.py).
    """

    memory: int
    processors: float
    for_hosts: float


def run(jobs, makers, room, stop=lambda: None):
    """
    Run all jobs; returns their results in the jobs' order.

    makers
        By name, a function that makes what jobs need. All begin at once. One that raises fails the jobs that
        need it: their result is the exception.

    room
        A ``Room``; a job that takes more than all of it runs by itself.

    stop
        Called when this is interrupted: it must bring all jobs that run to their end.
    """
    wanted = {name for job in jobs for name in job.needs}
    changed = threading.Condition()
    results, running = {}, []
    with concurrent.futures.ThreadPoolExecutor(len(jobs) + len(wanted) + 1) as pool:
        made = {name: pool.submit(makers[name]) for name in sorted(wanted)}
        for each in made.values():
            each.add_done_callback(lambda _: _notify(changed))
        waiting = sorted(range(len(jobs)), key=lambda number: _place(jobs[number]))

        def work(number):
            try:
                result = jobs[number].run()
            except Exception as problem:
                result = problem
            with changed:
                running.remove(number)
                results[number] = result
                changed.notify_all()

        def begin():
            for number in list(waiting):
                failed = failure(jobs[number], made)
                if failed is not None:
                    waiting.remove(number)
                    results[number] = failed
                elif ready(jobs[number], made):
                    besides = [jobs[other] for other in running]
                    if jobs[number].hosts and not fits_hosts(jobs[number], besides, room):
                        # The largest begin first, so one that is passed here waits for them alone.
                        continue
                    if not fits(jobs[number], besides, room):
                        # A shorter one in its place would keep it waiting again and again.
                        break
                    waiting.remove(number)
                    running.append(number)
                    pool.submit(work, number)

        # What is in the cache is there at once: then the longest job begins first, not what needs nothing.
        concurrent.futures.wait(made.values(), timeout=SOON)
        try:
            with changed:
                while waiting or running:
                    begin()
                    if waiting or running:
                        changed.wait()
        except BaseException:
            stop()
            raise
    return [results[number] for number in range(len(jobs))]


def _place(job):
    """Where a job stands in line: what sorts it."""
    return not job.hosts, job.alone, -job.seconds


def fits(job, running, room):
    """Whether a job can begin beside those that run."""
    if not running:
        return True
    sums = collections.Counter()
    for each in (job, *running):
        sums["memory"] += each.memory
        sums["busy"] += each.busy
    return sums["memory"] <= room.memory and round(sums["busy"], 3) <= room.processors


def fits_hosts(job, running, room):
    """Whether a job that boots hosts can begin beside those of its kind that run."""
    others = [other for other in running if other.hosts]
    if not others:
        return True
    if job.alone or any(other.alone for other in others):
        return False
    return round(sum(other.busy for other in others) + job.busy, 3) <= room.for_hosts


def ready(job, made):
    """Whether all that a job needs has been made."""
    return all(made[name].done() for name in job.needs)


def failure(job, made):
    """The exception of something that a job needs and that could not be made, or None."""
    for name in job.needs:
        if made[name].done() and made[name].exception() is not None:
            return made[name].exception()
    return None


def _notify(changed):
    with changed:
        changed.notify_all()
