"""
Highstate on nodes, and the waits around it: for a minion that restarts, a node that reboots, states that run.
"""

import time

from salt.exceptions import CommandExecutionError

from failback_master import minions

#: Seconds for a minion to restart after the highstate that has changed its settings.
RESTARTED_WITHIN = 120
#: Seconds between two looks at a node; each look waits for an answer itself.
LOOK_EVERY = 1.0


def highstate(nodes, ids, sls=None):
    """
    Run highstate on nodes, or one SLS of it, all at once, and wait for minions that it restarts.

    Returns, by node, the ids of the states that changed something. Raises ``CommandExecutionError``
    naming each state that failed.
    """
    changed, restarting = {}, {}
    answers = _apply(nodes, ids, *([sls] if sls else []))
    failed = failures(answers)
    for node, found in answers.items():
        for key, one in found.items():
            if key.startswith("salt_minion_|-") and one["changes"].get("restart"):
                restarting[node] = one["changes"]["restart"]
        changed[node] = sorted(one.get("__id__", key) for key, one in found.items() if one["changes"])
    if failed:
        raise CommandExecutionError(f"Highstate failed. {' '.join(failed)}")
    _wait_restarted(nodes, restarting)
    return changed


def failures(answers):
    """
    The states that have failed, as sentences.

    answers
        By node, what ``state.apply`` returned. Raises ``CommandExecutionError`` for one that could not be
        compiled.
    """
    failed = []
    for node, found in answers.items():
        if not isinstance(found, dict):
            raise CommandExecutionError(f"Highstate on {node} could not be compiled: {found}")
        failed += [
            f"{node}: {one.get('__id__', key)}: {one.get('comment')}"
            for key, one in found.items()
            if one["result"] is False
        ]
    return failed


def _apply(nodes, ids, *sls):
    """
    ``state.apply`` on nodes. One that gave no answer and is there is asked once more: its minion has
    restarted, as the highstate at boot makes it do when its settings have changed, and has lost the job.
    """
    answers, errors = nodes.try_all(ids, "state.apply", *sls, queue=True)
    silent = [node for node, error in errors.items() if isinstance(error, minions.NoAnswer)]
    there, _ = nodes.try_all(silent, "salt_minion.process", look=5)
    if there:
        again, still = nodes.try_all(sorted(there), "state.apply", *sls, queue=True)
        answers.update(again)
        errors = {**{node: error for node, error in errors.items() if node not in there}, **still}
    if errors:
        raise minions.NodesFailed(" ".join(errors.values()))
    return answers


def _wait_restarted(nodes, before):
    """Until other processes than these minions' old ones answer; by node, see ``salt_minion.process``."""
    waiting, end = dict(before), time.monotonic() + RESTARTED_WITHIN
    while waiting:
        looked = time.monotonic()
        answers, _ = nodes.try_all(sorted(waiting), "salt_minion.process", look=2)
        for node, found in answers.items():
            if found and found != waiting[node]:
                del waiting[node]
        if not waiting:
            return
        if time.monotonic() >= end:
            raise CommandExecutionError(
                f"The salt-minion of {' and '.join(sorted(waiting))} was to restart with the settings that "
                f"highstate has changed, and has not answered anew within {RESTARTED_WITHIN} s. Look there: "
                f"journalctl -u failback-restart-salt-minion -u salt-minion. Then run this again."
            )
        _until_next_look(looked)


def _until_next_look(looked):
    """Each look starts a process on the node: without a break the looks slow down what they wait for."""
    time.sleep(max(0.0, LOOK_EVERY - (time.monotonic() - looked)))


def wait_rebooted(run, node, before, limit):
    """Wait for a boot id that is another one: a start event alone may be the old boot's."""
    begun = time.monotonic()
    while time.monotonic() - begun < limit:
        looked = time.monotonic()
        answers, _ = run.nodes.try_all([node], "pair.report", run.config["name"], look=2)
        if node in answers and answers[node]["boot_id"] != before:
            return time.monotonic() - begun
        _until_next_look(looked)
    raise CommandExecutionError(
        f"{node} was asked to reboot and has not answered with a new boot id within {limit} s. "
        f"{run.other(node)} still serves. Look at its console; then run this again."
    )


def wait_idle(run, node, limit):
    """Wait until no state runs on a node: the highstate at boot comes first."""
    begun = time.monotonic()
    while time.monotonic() - begun < limit:
        looked = time.monotonic()
        answers, _ = run.nodes.try_all([node], "saltutil.is_running", "state.*", look=5)
        if answers.get(node) == []:
            return
        _until_next_look(looked)
    raise CommandExecutionError(f"A state still runs on {node} after {limit} s: salt {node} state.running")
