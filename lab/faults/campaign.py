"""Which runs a campaign makes, and what came of them."""

import argparse
import json
import os
import pathlib
import pickle
import random
import sys
import time

from lab import doctor
from lab import machine
from lab.faults import checker
from lab.faults import injectors
from lab.faults import moments
from lab.faults import rehearsal
from lab.faults import results
from lab.faults import stage

OPERATIONS = tuple(moments.PHASES)
#: Phases, the one in which most can go wrong first.
WORST = ("handover", "taking", "pre-sync", "draining", "settling", "opening", "static", "closing")
WORST += ("20 s", "5 s", "90 s")


def every_run(operations=OPERATIONS):
    """Every fault at every moment: a list of (operation, fault, moment)."""
    return [
        (operation, fault, moment)
        for operation in operations
        for fault in injectors.ALL
        for moment in injectors.at_all_moments(fault, operation)
        if fault != "none"
    ]


def brief_runs(seed, operations=OPERATIONS, phases=None):
    """
    Every fault once in every phase, at a moment of it that the seed chooses; the worst phases first.

    phases
        Only these, in this order.
    """
    runs = []
    for operation in operations:
        known = moments.PHASES[operation]
        for name in phases or sorted(known, key=lambda name: WORST.index(name)):
            for fault in injectors.ALL:
                there = injectors.at_all_moments(fault, operation, known.get(name, ()))
                if fault != "none" and there:
                    chosen = random.Random(f"{seed}/{operation}/{fault}/{name}").choice(there)
                    runs.append((operation, fault, chosen))
    return runs


def missing(runs, reports):
    """Those of some runs whose fault has not been made in that phase by any of the reports."""

    def cell(operation, fault, moment):
        return operation, fault, moments.phase(operation, moment)

    made = {cell(*one["label"].split("/")) for one in reports if one["hit"]}
    return [one for one in runs if cell(*one) not in made]


def random_runs(number, seed, operations=moments.ORCHESTRATIONS):
    """So many runs by chance: half of them at a boundary, half at a random moment."""
    generator = random.Random(seed)
    faults = [
        fault
        for fault in injectors.ALL
        if fault != "none" and any(injectors.at_all_moments(fault, operation) for operation in operations)
    ]
    runs = []
    while len(runs) < number:
        twice = [one for one in operations if one == "recover"] * 2
        operation = generator.choice([*operations, *twice])
        fault = generator.choice(faults)
        at_a_boundary = generator.random() < 0.6 or operation in moments.SERVING
        choice = moments.BY_OPERATION[operation] if at_a_boundary else moments.RANDOM
        moment = generator.choice(injectors.at_all_moments(fault, operation) or [None])
        if moment is None:
            continue
        if fault not in injectors.ONLY_AT:
            moment = generator.choice(choice)
        runs.append((operation, fault, moment))
    return runs


def undisturbed(reports, known=()):
    """
    Seconds that each operation takes with nothing in its way: the shortest time of any report.

    A run that ended before its moment came had nothing in its way either.

    known
        What earlier reports gave.
    """
    found = dict(known)
    for one in reports:
        operation, fault, moment = one["label"].split("/")
        nothing = fault == "none" or not one["hit"]
        if nothing and one["exit"] == 0 and moment not in moments.REBOOT:
            seconds = one.get("took") or _took(one["timeline"], f"orch.{operation}")
            if seconds:
                found[operation] = min(seconds, found.get(operation, seconds))
    return found


def _took(timeline, what):
    """The same of a report that does not say it, from its timeline."""
    begun = [when for when, text in timeline if text.startswith(f"{what} begins")]
    ended = [when for when, text in timeline if text.startswith(f"{what} ended")]
    return ended[0] - begun[0] if begun and ended else None


def measured_first(runs, seed, known):
    """
    ``(operation, fault, moment, seed)`` of each run.

    A run with nothing in its way comes before them for each operation of which they have random moments and
    nobody knows how long it takes.
    """
    unknown = sorted({one[0] for one in runs if one[2].startswith("random:")} - set(known))
    first = [(operation, "none", "pair.close_run:new", seed) for operation in unknown]
    return first + [(*one, seed + number) for number, one in enumerate(runs)]


def exit_status(reports):
    """1: an invariant was broken. 3: none was, but some runs ended before the moment came. 0: all held."""
    if any(one["broken"] for one in reports):
        return 1
    return 0 if all(one["hit"] for one in reports) else 3


def make(lab, runs, seed, report=print, folder=None, minutes=None):
    """
    Make the runs one after the other; returns their reports. A pair that cannot be saved is made anew.

    minutes
        After which no other run begins.
    """
    reports, begun = [], time.monotonic()
    wanted = measured_first(runs, seed, lab.undisturbed)
    for number, one in enumerate(wanted):
        if minutes and time.monotonic() - begun > minutes * 60:
            report(f"{len(wanted) - number} runs are left.")
            break
        # A campaign that is ended in the middle of a fault leaves no pair for the next one.
        lab.ready.unlink(missing_ok=True)
        one = rehearsal.Rehearsal(lab, *one).run()
        reports.append(one)
        lab.undisturbed = undisturbed([one], lab.undisturbed)
        report(checker.shown(one))
        if folder:
            checker.saved(one, folder)
        if any(what == "the pair is normal" for _, what in one["timeline"]):
            lab.ready.touch()
        else:
            report("The pair is not normal: the lab is made anew.")
            lab.up()
    return reports


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python3 -m lab.faults", description=__doc__)
    parser.add_argument("-n", type=int, help="so many runs, chosen at random")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--only", action="append", metavar="OPERATION/FAULT/MOMENT", default=[])
    parser.add_argument("--operation", action="append", choices=sorted(moments.BY_OPERATION))
    parser.add_argument("--brief", action="store_true", help="every fault once in every phase")
    parser.add_argument("--phase", action="append", help="with --brief: only this one")
    parser.add_argument("--missing", action="store_true", help="only what no report kept so far has covered")
    parser.add_argument("--minutes", type=float, help="begin no other run after so many minutes")
    parser.add_argument("--table", action="store_true", help="the table of all reports kept so far")
    parser.add_argument("--results", action="store_true", help="write the same to its pages in docs/")
    parser.add_argument("--judge", metavar="FILE", help="judge the facts of a broken run once more")
    parser.add_argument("--keep", action="store_true", help="leave the lab up")
    parser.add_argument("--follow", action="store_true", help="print what happens as it happens")
    parser.add_argument("--push", action="store_true", help="bring the checkout's tree to a lab that is up")
    options = parser.parse_args(arguments)
    folder = stage.folder()
    kept = [json.loads(one.read_text()) for one in sorted(folder.glob("*.json"))]
    if options.table:
        print(checker.table(kept))
        return 0
    if options.results:
        said = results.write_all(kept)
        if said:
            sys.exit("\n".join(said))
        return 0
    if options.judge:
        report = checker.judge(pickle.loads(pathlib.Path(options.judge).read_bytes()))
        checker.saved(report, folder)
        print(checker.shown(report))
        return 1 if report["broken"] else 0
    try:
        doctor.require("faults")
    except machine.Lacks as problem:
        sys.exit(str(problem))
    seed = int(time.time()) % 100000 if options.seed is None else options.seed
    operations = tuple(options.operation or (moments.ORCHESTRATIONS if options.n else OPERATIONS))
    if options.only:
        runs = [tuple(one.split("/")) for one in options.only]
    elif options.brief:
        runs = brief_runs(seed, operations, options.phase)
    elif options.n:
        runs = random_runs(options.n, seed, operations)
    else:
        runs = every_run(operations)
    if options.missing:
        runs = missing(runs, kept)
    name = os.environ.get("LAB") or "failback"
    lab = stage.Lab("faults" if name == "failback" else name)
    lab.follow = options.follow
    lab.undisturbed = undisturbed(kept)
    print(f"{len(runs)} runs, seed {seed}", flush=True)
    try:
        lab.up()
        if options.push:
            lab.push()
        reports = make(lab, runs, seed, lambda text: print(text, flush=True), folder, options.minutes)
    finally:
        if not options.keep:
            lab.down()
    print(checker.table(reports))
    return exit_status(reports)


if __name__ == "__main__":
    sys.exit(main())
