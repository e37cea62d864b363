"""What is said of a run that somebody else has begun, by what the nodes report of its lock. Pure."""

from failback_master.surface import words


def lines(seen, found):
    """
    What is new about the runs of some pairs.

    seen, found
        The living run of each pair at the look before and now, or None; see
        ``failback.decisions.advice.living``.

    Returns sentences.
    """
    text = []
    for pair, run in sorted(found.items()):
        before = seen.get(pair)
        if before and (run is None or run["run"] != before["run"]):
            text.append(f"{pair}  run {before['run']} is no longer at work")
        if run is None:
            continue
        new = before is None or before["run"] != run["run"]
        if new:
            text.append(f"{pair}  {run['operation']} of {run['user']} on {run['master']}, run {run['run']}")
        if run["step"] and (new or run["step"] != before["step"]):
            since = f", since {words.duration(run['seconds'])}" if run["seconds"] > 1 else ""
            text.append(f"{pair}  step {run['step']}{since}")
    return text


def ended(run, records):
    """
    How a run that was followed has ended.

    records
        The history, see ``failback_master.surface.history``.

    Returns a sentence, and whether that is good.
    """
    record = next((one for one in records if one["run"] == run), None)
    if record is None:
        return f"Nothing is known of the end of run {run}.", False
    return f"Run {run} {record['result']}. {record['sentence'] or ''}".rstrip(), record[
        "result"
    ] == "succeeded"
