"""What was broken in a run, judged from what was seen of it. Pure; it knows nothing of Failback's code.

Invariants, by the names in the table:

``one holder``      at no moment two nodes bear the address, nor does the client see both of them answer for
                    it, unless one of them is cut off, or was, and the claim is not settled yet; with a
                    lease, or agents that fence, nothing excuses two
``service``         nobody died who served: then somebody serves again within ``BACK_WITHIN`` seconds. Where
                    the pair just served, whatever died: within its patience, its lease or what fencing
                    takes, and ``REACTS``
``promises``        every acknowledged write is on both nodes at the end; or, if it was acknowledged by a node
                    that was lost before it was carried, what the file was then is in a backup, and the plan
                    had named it
``kept``            what was overwritten or deleted on the returned node is in a backup, byte for byte
``one direction``   lsyncd never started on a node while the other one had a newer generation, and never ran
                    there for longer than ``SETTLES``
``repeatable``      done again, as pair.status says, the orchestration ends well; no run hangs
``equal``           both nodes have the same files at the end
"""

import json

from lab import load
from lab.faults import moments

#: Seconds in which a node that was cut off may still bear the address after it is heard again.
SETTLES = 20.0
#: Seconds within which a node that is heard again may still take: it had asked before anybody heard it.
CLAIMS = 5.0
#: Seconds after which somebody must serve again whose server did not die.
BACK_WITHIN = 20.0
#: Seconds in which the other node serves, after it has waited for what it must wait for.
REACTS = 2.0
#: Both monitors write down when their process read of a change, on a busy machine: an overlap up to this is
#: measured, but may be one that read late.
JITTER = 0.05
#: The client asks ten times a second, and may read an answer with the next question's: up to this it proves
#: nothing.
LATE = 0.25
#: Seconds without a node's answer, of which some may be lost, after which it has begun to answer anew.
PATIENCE = 0.5
#: Seconds of acknowledged writes that may be on a lost node alone.
LAG = 10.0
INVARIANTS = ("one holder", "service", "promises", "kept", "one direction", "repeatable", "equal")


def judge(facts):
    """Judge one run.

    facts
        As ``rehearsal.Rehearsal`` collects them.

    Returns a dict: ``label``, ``seed``, ``hit``, ``broken`` (list of ``[invariant, sentence]``), ``overlap``,
    ``split`` and ``gap`` (seconds: the longest two-holder time that counts, the longest while one was cut
    off, and the longest without a holder from the orchestration on), ``overlaps``, ``splits`` and ``gaps``
    (all of them, also those of before: lists of ``[start, length]``), ``client`` (the same as the client saw
    it), ``took`` (seconds of the orchestration), ``timeline``, ``attempts``, ``seconds``.
    """
    spans = {node: holding(lines, facts, node) for node, lines in facts["observed"].items()}
    broken = []
    if facts["failed"]:
        broken.append(["repeatable", f"The rehearsal did not get through: {facts['failed']}"])
    counted, split, sentences = overlaps(facts, spans)
    broken += [["one holder", one] for one in sentences]
    client, sentences = seen_by_client(facts, spans)
    broken += [["one holder", one] for one in sentences]
    gap, sentences = gaps(facts, spans)
    broken += [["service", one] for one in sentences]
    broken += [["service", one] for one in unserved(facts)]
    broken += [["one direction", one] for one in directions(facts)]
    if not facts["failed"]:
        if facts["exit"] is None:
            broken.append(["repeatable", "The orchestration did not end by itself."])
        if not facts["normal"]:
            broken.append(["repeatable", "The operator did not get the pair to normal."])
        else:
            broken += [["equal", one] for one in unequal(facts)]
            broken += [["promises", one] for one in promises(facts)]
            broken += [["kept", one] for one in unkept(facts)]
    return {
        "label": facts["label"],
        "seed": facts["seed"],
        "how": facts["how"],
        "hit": facts["hit"],
        "exit": facts["exit"],
        "broken": broken,
        "overlap": _longest(counted),
        "split": _longest(split),
        "gap": round(gap, 3),
        "overlaps": _measured(counted, facts),
        "splits": _measured(split, facts),
        "gaps": _measured(_unheld(facts, spans, facts["begun"]), facts),
        "client": client,
        "took": facts.get("took"),
        "undisturbed": facts.get("undisturbed"),
        "seconds": round(facts["ended"] - facts["begun"], 1),
        "writes": load.summary(facts["client"])["acknowledged"]
        + sum(load.summary(one)["acknowledged"] for one in facts["local"].values()),
        "attempts": facts["attempts"],
        "said": facts["said"][-6000:],
        "plans": [one[-20000:] for one in facts["plans"]],
        "timeline": [[round(when - facts["begun"], 2), what] for when, what in facts["timeline"]],
    }


#: What an observer says when it changes, so that the last word of before still counts.
STATES = ("ledger", "lsyncd", "holds")


def since(text, moment):
    """The lines of a log from a moment on, after what was true at that moment; half a line does not count."""
    before, found = {}, []
    for line in text.splitlines(True):
        try:
            one = json.loads(line) if line.endswith("\n") else None
        except ValueError:
            continue
        if one is None:
            continue
        if one["time"] >= moment:
            found.append(one)
        elif one.get("what") == "begun":
            before = {}
        elif one.get("what") in STATES:
            before[one["what"]] = {**one, "time": moment}
    return [before[what] for what in STATES if what in before] + found


def holding(lines, facts, node):
    """Spans in which a node bore the address: a list of [from, to]."""
    spans, since = [], None
    for one in lines:
        if one["what"] == "begun" and since is not None:
            # It has booted, or the observer was restarted; what it holds comes in the next line.
            spans.append([since, _died(facts, node, since, one["time"])])
            since = None
        if one["what"] == "holds":
            if one["holds"] and since is None:
                since = one["time"]
            elif not one["holds"] and since is not None:
                spans.append([since, one["time"]])
                since = None
    if since is not None:
        spans.append([since, _died(facts, node, since, facts["ended"])])
    return spans


def _died(facts, node, since, until):
    """When the power went in between, or the end."""
    times = [
        one[1]
        for one in facts["outages"]
        if one[0] == node and one[3] == "power" and since <= one[1] <= until
    ]
    return min(times, default=until)


def overlaps(facts, spans):
    """``(spans with two holders, those while one of them was cut off, sentences)``."""
    both = _common(*spans.values())
    counted = _without(both, _excused(facts, both))
    return counted, _without(both, counted), _two(counted, JITTER, "Both nodes bore the address", facts)


def _common(ones, others):
    """What two lists of spans have in common."""
    found = [[max(a[0], b[0]), min(a[1], b[1])] for a in ones for b in others]
    return sorted([begin, end] for begin, end in found if end > begin)


def _excused(facts, both):
    """
    Spans in which two nodes may serve: one of them is cut off or mute, or has been until just now.

    Nobody else's outage excuses anything: the nodes hear each other while a client hears neither. A node
    without power bears nothing, and one that has it again has to ask. With a lease, or agents that fence,
    nothing excuses two.
    """
    if facts.get("configuration"):
        return []
    cut = [one[:3] for one in facts["outages"] if one[3] == "cut"] + facts["silences"]
    found = []
    for node, begin, heard in cut:
        if node not in facts["observed"]:
            continue
        heard = heard or facts["ended"]
        # As soon as one of them has stepped down the claim is settled, and a handover may follow at once.
        settled = [end for start, end in both if start <= heard + CLAIMS and end > heard]
        found.append([begin - 0.5, min(heard + SETTLES, max([heard + CLAIMS, *settled]))])
    return found


def _two(spans, allowed, what, facts):
    return [
        f"{what} for {end - begin:.2f} s, from {begin - facts['begun']:.2f} s on."
        for begin, end in spans
        if end - begin > allowed
    ]


def _measured(spans, facts):
    """Spans as the report has them: ``[start, length]``, in seconds of the run."""
    return [[round(begin - facts["begun"], 3), round(end - begin, 3)] for begin, end in spans]


def _longest(spans):
    return round(max((end - begin for begin, end in spans), default=0.0), 3)


def seen_by_client(facts, spans):
    """
    Who answered the client's questions for the address: ``(measured, sentences)``.

    ``measured`` has ``overlap``, ``split``, ``gap``, ``overlaps``, ``splits`` and ``gaps`` as the report has;
    None when the client's monitor has seen nothing.
    """
    if facts.get("arp") is None:
        return None, []
    nodes = list(facts["observed"])
    asked = [
        (one["time"], {facts["macs"][mac] for mac in one["macs"] if mac in facts["macs"]})
        for one in facts["arp"]
        if one["time"] >= facts["begun"]
    ]
    if not any(answered for _, answered in asked):
        return None, ["The client has seen nobody answer: its monitor did not work."]
    both = _common(*(_answering(asked, node, spans[node]) for node in nodes))
    counted = _without(both, _excused(facts, both))
    split = _without(both, counted)
    free = _without(_unanswered(asked), _own(facts))
    from_start = _without(free, [[facts["begun"] - 1, facts["started"] or facts["ended"]]])
    measured = {
        "overlap": _longest(counted),
        "split": _longest(split),
        "gap": _longest(from_start),
        "overlaps": _measured(counted, facts),
        "splits": _measured(split, facts),
        "gaps": _measured(free, facts),
    }
    return measured, _two(counted, LATE, "The client saw both nodes answer for the address", facts)


def _own(facts):
    """What the client does not hear because it is cut off itself is nobody's gap."""
    return [
        [one[1] - 0.5, (one[2] or facts["ended"]) + 1]
        for one in facts["outages"]
        if one[0] not in facts["observed"]
    ]


def _answering(asked, node, held):
    """Spans from a node's first answer to its last; one ends where its kernel says that it released."""
    found = []
    for when, answered in asked:
        if node not in answered:
            continue
        last = found[-1][1] if found else None
        if last and when - last <= PATIENCE and not any(last <= end <= when for _, end in held):
            found[-1][1] = when
        else:
            found.append([when, when])
    return found


def _unanswered(asked):
    """Spans from the first question that neither node answered to the next one that one of them did."""
    found, begin = [], None
    for when, answered in asked:
        if answered and begin is not None:
            found.append([begin, when])
        begin = None if answered else begin or when
    if begin is not None and asked[-1][0] > begin:
        found.append([begin, asked[-1][0]])
    return found


def _without(spans, holes):
    for hole in holes:
        left = []
        for begin, end in spans:
            if hole[1] <= begin or hole[0] >= end:
                left.append([begin, end])
                continue
            if begin < hole[0]:
                left.append([begin, hole[0]])
            if hole[1] < end:
                left.append([hole[1], end])
        spans = left
    return spans


def gaps(facts, spans):
    """``(longest time without a holder from the orchestration on, sentences)``."""
    if not facts["started"]:
        return 0.0, []
    free = _unheld(facts, spans, facts["started"])
    longest = max((b - a for a, b in free), default=0.0)
    wrong = []
    for begin, finish in free:
        if finish - begin <= BACK_WITHIN:
            continue
        # Who served until then, and did he die, or was he cut off, at about that time?
        servers = {node for node, each in spans.items() for span in each if abs(span[1] - begin) < 0.1}
        dead = {
            one[0] for one in facts["outages"] if one[1] <= begin + 1 and (one[2] is None or one[2] >= begin)
        }
        if facts["label"].startswith("boot/") and not servers - dead:
            continue
        if servers and servers <= dead:
            continue
        wrong.append(
            f"Nobody bore the address for {finish - begin:.1f} s, from {begin - facts['begun']:.1f} s on, "
            f"although "
            f"{' and '.join(sorted(servers)) or 'nobody'} had served and was not lost."
        )
    return longest, wrong


def unserved(facts):
    """
    Sentences about clients that nobody answered for too long while the pair just served.

    From the fault to its end. Nobody can serve while both nodes are without power, nor after that before an
    operator has booted the pair; nor, with a lease, while the one that renews it answers no ARP.
    """
    if facts["label"].split("/")[0] not in moments.SERVING or not facts.get("arp") or not facts.get("mended"):
        return []
    asked = [
        (one["time"], [mac for mac in one["macs"] if mac in facts["macs"]])
        for one in facts["arp"]
        if facts["started"] - 1 <= one["time"] <= facts["mended"]
    ]
    dark = [
        [begin, facts["ended"]] for begin, _ in _common(*(_dead(facts, one) for one in facts["observed"]))
    ]
    if facts["configuration"]:
        dark += [[begin - 0.5, (end or facts["ended"]) + 1] for _, begin, end in facts["silences"]]
    allowed = facts["patience"] + facts["waits"] + REACTS
    return [
        f"The client was answered by nobody for {end - begin:.1f} s, from {begin - facts['begun']:.1f} s on; "
        f"{allowed:.0f} s are allowed."
        for begin, end in _without(_without(_unanswered(asked), _own(facts)), dark)
        if end - begin > allowed
    ]


def _dead(facts, node):
    """Spans in which a node was without power."""
    return [
        [one[1], one[2] or facts["ended"]] for one in facts["outages"] if one[0] == node and one[3] == "power"
    ]


def _unheld(facts, spans, begin):
    """Spans without a holder from a moment on."""
    held = sorted(span for each in spans.values() for span in each if span[1] >= begin)
    return _without([[begin, facts["ended"]]], held)


def directions(facts):
    """Sentences about lsyncd where the other node had a newer generation."""
    wrong = []
    nodes = list(facts["observed"])
    generations = {node: _steps(facts["observed"][node], "ledger") for node in nodes}
    for node in nodes:
        (other,) = (one for one in nodes if one != node)
        for pid, begin, end in _lsyncd(facts, node):
            mine, theirs = _at(generations[node], begin), _at(generations[other], begin)
            if mine and ((theirs and theirs[0] > mine[0]) or mine[1] != node):
                wrong.append(
                    f"lsyncd (process {pid}) started on {node} in generation {mine[0]} ({mine[1]} active) at "
                    f"{begin - facts['begun']:.1f} s; {other} was in generation {theirs and theirs[0]}."
                )
                continue
            newer = [
                when
                for when, value in generations[other]
                if value and begin < when < end and value[0] > (_at(generations[node], when) or [0])[0]
            ]
            for when in newer[:1]:
                lost = [x for x in facts["outages"] if x[0] in nodes and x[1] - 1 <= when]
                heard = max([when, *(x[2] or facts["ended"] for x in lost)])
                if end - heard > SETTLES:
                    wrong.append(
                        f"lsyncd (process {pid}) ran on for {end - heard:.1f} s on {node} after {other} had "
                        f"a newer generation and could be heard."
                    )
    return wrong


def _steps(lines, what):
    return [(one["time"], one[what]) for one in lines if one["what"] == what]


def _at(steps, moment):
    """What was true at a moment: [generation, active node], or None."""
    value = None
    for when, found in steps:
        if when > moment:
            break
        value = found
    return value


def _lsyncd(facts, node):
    """The lives of lsyncd on a node: (pid, first seen, last seen)."""
    lives, running = [], {}
    lines = facts["observed"][node]
    for one in lines:
        if one["what"] == "begun":
            for key, begin in running.items():
                lives.append((key[0], begin, _died(facts, node, begin, one["time"])))
            running = {}
        if one["what"] == "lsyncd":
            now = {tuple(each) for each in one["lsyncd"]}
            for key in list(running):
                if key not in now:
                    lives.append((key[0], running.pop(key), one["time"]))
            for key in now:
                running.setdefault(key, one["time"])
    lives += [(key[0], begin, _died(facts, node, begin, facts["ended"])) for key, begin in running.items()]
    return lives


def unequal(facts):
    """Sentences about files that are not the same on both nodes."""
    one, two = facts["trees"].values()
    first, second = facts["trees"]
    wrong = []
    if facts["drained"] is False:
        wrong.append("lsyncd does not say that everything is carried.")
    for name in sorted(set(one) | set(two)):
        if one.get(name) != two.get(name):
            wrong.append(
                f"{name} differs: {_said(one.get(name))} on {first}, {_said(two.get(name))} on {second}."
            )
    return wrong[:20]


def _said(content):
    return "missing" if content is None else f"{len(content)} bytes"


def promises(facts):
    """Sentences about acknowledged writes that are lost."""
    wrong = []
    logs = [(facts["client"], facts["places"]["client"])]
    logs += [(entries, facts["places"]["local"]) for entries in facts["local"].values()]
    doubtful = _doubtful(facts)
    kept = {}
    for each in facts["kept"].values():
        for name, contents in each.items():
            kept.setdefault(name.rsplit("/", 1)[-1], []).extend(contents)
    plans = " ".join(facts["plans"])
    for entries, folder in logs:
        for node, tree in facts["trees"].items():
            here = {
                path.rsplit("/", 1)[1]: content
                for path, content in tree.items()
                if path.rsplit("/", 1)[0] == folder
            }
            wrong += [f"{node}, {folder}: {one}" for one in load.compare(entries, here, doubtful)]
        wrong += _lost(entries, folder, facts, doubtful, kept, plans)
    return wrong[:20]


def _doubtful(facts):
    """Acknowledged by a node that was lost before lsyncd can be sure to have carried it."""
    lost = [(one[0], one[1] - LAG, (one[2] or facts["ended"]) + SETTLES) for one in facts["outages"]]
    lost += [(one[0], one[1] - LAG, (one[2] or facts["ended"]) + SETTLES) for one in facts["silences"]]

    def doubtful(entry):
        return any(
            entry.get("node") == node and entry["answered"] and begin <= entry["answered"] <= end
            for node, begin, end in lost
        )

    return doubtful


def _lost(entries, folder, facts, doubtful, kept, plans):
    """What a lost node alone had must be kept in a backup, and have been named in a plan."""
    final = {
        path.rsplit("/", 1)[1]: content
        for tree in list(facts["trees"].values())[:1]
        for path, content in tree.items()
        if path.rsplit("/", 1)[0] == folder
    }
    certain = load.model_of(entries)
    # What the files were on each node, all that it acknowledged being true. While it was lost it did not hear
    # of what the other one did, and the client may have gone to and fro between the two.
    branches = {node: load.Model() for node in facts["trees"]}
    spans = [(one[0], one[1], (one[2] or facts["ended"]) + SETTLES) for one in facts["outages"]]
    spans += [(one[0], one[1], (one[2] or facts["ended"]) + SETTLES) for one in facts["silences"]]
    wrong, last = [], {}
    for entry in entries:
        for node, branch in branches.items():
            other = entry["answered"] and entry.get("node") != node
            if not (other and any(name == node and a <= entry["answered"] <= b for name, a, b in spans)):
                branch.apply(entry)
        if entry.get("refused"):
            continue
        name = entry.get("new_name") or entry["name"]
        if not entry["answered"]:
            # It may have been done by the lost node all the same, on what is asked about here.
            for each in (entry["name"], name):
                if each in last:
                    was, contents = last[each]
                    last[each] = (was, contents + branches[was["node"]].files.get(each, []))
        elif doubtful(entry):
            last[name] = (entry, list(branches[entry["node"]].files.get(name, [None])))
        elif name in last and entry.get("node") == last[name][0].get("node"):
            last.pop(name)  # the same node went on with it, so it was not lost
    for name, (entry, contents) in sorted(last.items()):
        if certain.matches(name, final.get(name)):
            continue
        wanted = [content for content in contents if content is not None]
        if None in contents or not wanted:
            continue
        if any(load._fits(content, final.get(name)) for content in wanted):
            continue
        if _went_on(entries, entry, name, final, contents):
            continue
        if not any(load._fits(content, each) for content in wanted for each in kept.get(name, [])):
            wrong.append(
                f"{folder}/{name}: operation {entry['sequence']} ({entry['operation']}), acknowledged by "
                f"{entry.get('node')} at {entry['answered'] - facts['begun']:.1f} s, is neither in the files "
                f"nor in a backup."
            )
        elif f"{folder}/{name}" not in plans:
            wrong.append(
                f"{folder}/{name}: operation {entry['sequence']} of {entry.get('node')} is in a backup "
                f"alone, and no plan had named the file."
            )
    return wrong


def _went_on(entries, lost, name, final, contents):
    """Whether later operations on the file started from what it was with the lost one."""
    model = load.Model()
    model.files[name] = [content for content in contents if content is not None]
    seen = False
    for entry in entries:
        if entry is lost:
            seen = True
        elif seen and name in (entry["name"], entry.get("new_name")):
            if entry["operation"] == "rename" and entry["name"] == name:
                return True  # it lives on under another name, which is compared by itself
            model.apply(entry)
    return seen and model.matches(name, final.get(name))


def unkept(facts):
    """Sentences about the bait: files whose fate was known beforehand."""
    wrong = []
    for node, tree in facts["trees"].items():
        for name, wanted in facts["bait"].items():
            content = tree.get(f"{facts['bait_folder']}/{name}")
            found = None if content is None else content.decode(errors="replace")
            if found != wanted:
                wrong.append(f"{node}: bait {name} is {found!r}, not {wanted!r}.")
    inner = facts["bait_folder"].rsplit("/", 1)[1]
    for name, wanted in facts["kept_bait"].items():
        contents = [one for each in facts["kept"].values() for one in each.get(f"{inner}/{name}", [])]
        if wanted.encode() not in contents:
            wrong.append(f"bait {name}, which was {wanted!r} on the returned node, is in no backup.")
    return wrong


def table(reports):
    """The tables of a campaign in Markdown: for each operation fault by phase, runs and those that broke."""
    lines = []
    for operation, phases in moments.PHASES.items():
        mine = [one for one in reports if one["label"].split("/")[0] == operation and one["hit"]]
        if not mine:
            continue
        columns = list(phases)
        if any(_phase(one) not in columns for one in mine):
            columns.append("by chance")
        measured = "longest without holder | two holders | two, one cut off"
        lines.append(f"| {operation} | {' | '.join(columns)} | {measured} |")
        lines.append("|---" * (len(columns) + 4) + "|")
        for fault in sorted({one["label"].split("/")[1] for one in mine}):
            row = [one for one in mine if one["label"].split("/")[1] == fault]
            cells = [_cell([one for one in row if _phase(one) == name]) for name in columns]
            cells += [f"{max(one.get(key, 0.0) for one in row):.1f} s" for key in ("gap", "overlap", "split")]
            lines.append(f"| `{fault}` | {' | '.join(cells)} |")
        lines.append("")
    broken = sum(bool(one["broken"]) for one in reports)
    lines.append(
        f"{len(reports)} runs, {broken} with a broken invariant, "
        f"{sum(not one['hit'] for one in reports)} ended before the moment came."
    )
    return "\n".join(lines)


def _phase(report):
    operation, _, moment = report["label"].split("/")
    return moments.phase(operation, moment)


def _cell(reports):
    broken = sum(bool(one["broken"]) for one in reports)
    return f"{len(reports) or ''}{f', **{broken} broken**' if broken else ''}"


def shown(report):
    """One run, for a person."""
    # Without its fault it has shown nothing.
    verdict = "BROKEN" if report["broken"] else "held  " if report["hit"] else "missed"
    lines = [
        f"{verdict} {report['label']} seed {report['seed']}"
        f" ({report['how']}; {report['seconds']:.0f} s, {report['writes']} writes acknowledged, longest "
        f"without a holder {report['gap']:.2f} s, two holders {report['overlap']:.2f} s, split "
        f"{report['split']:.2f} s{_by_client(report.get('client'))})"
    ]
    lines += [f"    {when:7.2f} s  {what}" for when, what in report["timeline"]]
    lines += [f"    again: {one}" for one in report["attempts"]]
    lines += [f"    !! {name}: {sentence}" for name, sentence in report["broken"]]
    return "\n".join(lines)


def _by_client(seen):
    if not seen:
        return ""
    return f"; by the client {seen['gap']:.1f}, {seen['overlap']:.1f} and {seen['split']:.1f} s"


def saved(report, folder):
    """Keep a report; returns the file."""
    name = report["label"].replace("/", "-").replace(":", "_").replace("#", "_")
    path = folder / f"{name}-{report['seed']}.json"
    path.write_text(json.dumps(report, indent=1))
    return path
