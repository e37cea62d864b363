"""
What the other node of a pair may do here over SSH: these verbs, and nothing else.

sshd runs ``failback far-end <pair>`` for the pair's key whatever was asked for (``command=`` in
authorized_keys, with ``restrict``); what was asked for is in SSH_ORIGINAL_COMMAND.

========================================  =======================================================
``rsync --server --daemon .``             an rsync daemon that knows the pair's paths alone, without those
                                          that lie elsewhere than they did; read-only unless this node's
                                          ledger names the other node active
``git-receive-pack '<repository>'``       fast-forward pushes to the pair's repositories
``report``                                this node's live facts
``yield <generation>``                    give way to the other node's newer generation
``handover <run>``                        the far end of a handover
``guests``                                what is true of the virtual machines here
``libvirt <run>``                         a connection to libvirt, for the run that holds the pair: a live
                                          migration. It may do there what root may
``journal <run>``                         notes which files change here while that run lasts
========================================  =======================================================
"""

import json
import os
import re
import shlex
import sys

from failback import configuration
from failback import files
from failback import gate
from failback import guard
from failback import incoming
from failback import ledger
from failback import replication
from failback import sources
from failback.errors import FailbackError
from failback.errors import Refused


def parse(command):
    """
    Split what was asked for into a verb and its arguments. Pure.

    command
        SSH_ORIGINAL_COMMAND.

    Returns a list of words. Raises ``Refused`` for anything that is not in the table above.
    """
    try:
        words = shlex.split(command or "")
    except ValueError as error:
        raise Refused(f"{command!r} cannot be taken apart: {error}.") from error
    if words == ["rsync", "--server", "--daemon", "."]:
        return ["rsync"]
    if words in (["report"], ["guests"]):
        return words
    if len(words) == 2 and words[0] in ("git-receive-pack", "handover", "journal", "libvirt"):
        return words
    if len(words) == 2 and words[0] == "yield" and re.fullmatch("[0-9]{1,12}", words[1]):
        return words
    raise Refused(f"{command!r} is not something that the other node may ask for.")


def main(pair, command, paths):
    """Do what the other node asks for. Returns an exit status; may replace this process."""
    config = configuration.load(pair, paths)
    verb, *arguments = parse(command)
    if verb == "rsync":
        return rsync(config, paths)
    if verb == "git-receive-pack":
        return receive_pack(config, arguments[0])
    # Not at the top: rsync is asked for in the window of a handover, and needs none of it.
    if verb == "report":
        from failback import report

        print(json.dumps(report.report(pair, paths)))
    elif verb == "yield":
        from failback import takeover

        other = configuration.peer(config)["id"]
        print(takeover.yield_to(config, int(arguments[0]), other, paths))
    elif verb == "handover":
        from failback import handover

        handover.serve(config, arguments[0], paths, sys.stdin, sys.stdout)
    elif verb == "guests":
        from failback import virsh

        print(json.dumps(virsh.facts(config, paths)))
    elif verb == "libvirt":
        from failback import lock
        from failback import virsh

        lock.require(pair, paths, arguments[0])
        virsh.serve_libvirt(config)
    elif verb == "journal":
        from failback import journal_service

        journal_service.relay(config, arguments[0], paths, sys.stdin, sys.stdout)
    return 0


def rsync(config, paths):
    """Become an rsync daemon on this connection."""
    # Before the ledger is asked: who changes it in between ends this process.
    incoming.announce(config["name"], paths)
    try:
        writable = gate.write_refusal(config, ledger.read(config["name"], paths)) is None
    except FailbackError:
        # An unreadable ledger proves nothing: reading harms nobody, writing might.
        writable = False
    # Rendered anew for each connection, because the right to write depends on the ledger of the moment.
    target = paths.volatile(config["name"]) / f"rsyncd-{'write' if writable else 'read'}.conf"
    elsewhere = sources.misplaced(config, paths)
    if elsewhere:
        # To whoever asks: of a path that is left out rsync says only that it does not know it.
        sentence = guard.misplaced_sentence(config["node"], elsewhere, config["name"])
        print(sentence, file=sys.stderr, flush=True)
    there = [one["path"] for one in config["replicate"] if one["path"] not in elsewhere]
    items = [item for path in there for item in replication.items_on_disk(path)]
    text = replication.daemon_config(items, writable)
    files.write_atomically(target, os.fsencode(text))
    if not writable:
        incoming.withdraw(config["name"], paths)
    os.execv("/usr/bin/rsync", ["rsync", "--server", "--daemon", f"--config={target}", "."])


def receive_pack(config, repository):
    """Receive a push into one of the pair's bare repositories; nothing is forced or deleted."""
    if repository not in config["git"]:
        raise Refused(f"{repository} is not a repository of {config['name']}.")
    strict = ("receive.denyNonFastForwards=true", "receive.denyDeletes=true", "safe.directory=*")
    options = [word for setting in strict for word in ("-c", setting)]
    os.execv("/usr/bin/git", ["git", *options, "receive-pack", repository])
