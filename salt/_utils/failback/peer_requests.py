"""
What the other node of a pair may do here over SSH: these verbs, and nothing else.

sshd runs ``failback far-end <pair>`` for the pair's key whatever was asked for (``command=`` in
authorized_keys, with ``restrict``); what was asked for is in SSH_ORIGINAL_COMMAND.

========================================  =======================================================
``rsync --server --daemon .``             an rsync daemon that knows the pair's paths alone, without those
                                          that lie elsewhere than they did; read-only unless this node's
                                          ledger names the other node active
``verify --server --daemon .``            the same, with the lowest priority: both nodes' files are compared
``git-receive-pack '<repository>'``       fast-forward pushes to the pair's repositories
``report``                                this node's live facts
``ready``                                 what this node is worth, as its lookout wrote it last
``yield <generation>``                    step down for the other node's newer generation
``serve-on <generation>``                 serve on in a generation above that one, which the other node
                                          renounces
``carried <generation>``                  wait until lsyncd has carried all that was changed here until now
``handover <run>``                        be the giver of a handover
``guests``                                what is true of the virtual machines here
``libvirt <run>``                         a connection to libvirt, for the run that holds the pair: a live
                                          migration. It may do there what root may
``promise <generation>``                  for pairs with a lease: takes nothing for its time, because the
other
                                          node serves in that generation and etcd does not answer it
``journal <run>``                         notes which files change here while that run lasts
========================================  =======================================================
"""

import json
import os
import re
import shlex
import sys

from failback.decisions import gate
from failback.decisions import places
from failback.errors import FailbackError
from failback.errors import Refused
from failback.host import files
from failback.replication import incoming
from failback.replication import replicated
from failback.replication import sources


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
    for fixed, form, _ in VERBS:
        rest = words[len(fixed) :]
        if words[: len(fixed)] != fixed:
            continue
        if not rest if form is None else len(rest) == 1 and form.fullmatch(rest[0]):
            return [fixed[0], *rest]
    raise Refused(f"{command!r} is not something that the other node may ask for.")


def main(member, command):
    """Do what the other node asks for. Returns an exit status, that of rsync; may replace this process."""
    member.config  # noqa: B018 (a node that does not know the pair refuses whatever is asked)
    verb, *arguments = parse(command)
    do = next(do for fixed, _, do in VERBS if fixed[0] == verb)
    return do(member, *arguments) or 0


def rsync(member):
    """Become an rsync daemon on this connection."""
    from failback.replication import admission

    # Before the ledger is asked: who changes it in between ends this process.
    incoming.announce(member)
    before = admission.facts(member)
    try:
        writable = gate.write_refusal(member.config, member.ledger.read()) is None
    except FailbackError:
        # An unreadable ledger proves nothing: reading harms nobody, writing might.
        writable = False
    # Rendered anew for each connection, because the right to write depends on the ledger of the moment.
    if writable:
        return admission.serve(member, before)
    target = member.volatile / "rsyncd-read.conf"
    elsewhere = sources.misplaced(member)
    if elsewhere:
        # To whoever asks: of a path that is left out rsync says only that it does not know it.
        sentence = places.misplaced_sentence(member.node, elsewhere, member.pair)
        print(sentence, file=sys.stderr, flush=True)
    there = [one["path"] for one in member.config["replicate"] if one["path"] not in elsewhere]
    items = [item for path in there for item in replicated.items_on_disk(path)]
    files.write_atomically(target, os.fsencode(replicated.daemon_config(items, False)))
    incoming.withdraw(member)
    os.execv("/usr/bin/rsync", ["rsync", "--server", "--daemon", f"--config={target}", "."])
    return None


def verify(member):
    """Become an rsync daemon that takes nothing from whoever needs the processor or the disk."""
    from failback.host import system

    os.setpriority(os.PRIO_PROCESS, 0, 19)
    system.run(["ionice", "-t", "-c", "3", "-p", str(os.getpid())], 10, "lower the priority of a comparison")
    return rsync(member)


def receive_pack(member, repository):
    """Receive a push into one of the pair's bare repositories, as its owner; nothing is forced or deleted."""
    if repository not in member.config["git"]:
        raise Refused(f"{repository} is not a repository of {member.pair}.")
    from failback.host import owner

    user = owner.of_repository(repository, receiving=True, node=member.node)
    strict = ("receive.denyNonFastForwards=true", "receive.denyDeletes=true")
    options = [word for setting in strict for word in ("-c", setting)]
    owner.become(user, ["/usr/bin/git", *options, "receive-pack", repository])


# Imported in the functions: rsync is asked for in the window of a handover, and needs none of it.


def report(member):
    """Print this node's live facts."""
    from failback import report as reports

    print(json.dumps(reports.report(member)))


def ready(member):
    """Print what this node is worth, an empty object when nobody has looked. The answer itself is a proof."""
    from failback.readiness import record

    print(json.dumps(record.read(member) or {}))


def step_down(member, generation):
    """Step down for the other node's newer generation, and print what was done."""
    from failback.handover import takeover

    print(takeover.yield_to(member, int(generation), member.peer["id"]))


def serve_on(member, generation):
    """Serve on in a generation above the one that the other node renounces, and print it."""
    from failback.handover import claims

    print(json.dumps({"generation": claims.serve_on(member, int(generation))}))


def carried(member, generation):
    """Wait until lsyncd has carried all that was changed here until now."""
    from failback.handover import claims

    claims.carried(member, int(generation))


def handover(member, run):
    """Be the giver of a handover."""
    from failback.handover import giver

    giver.serve(member, run, sys.stdin, sys.stdout)


def promise(member, generation):
    """Promise to take nothing for as long as a lease lasts, and print for how many seconds that is."""
    from failback.lease import right

    print(json.dumps({"promised": right.promise(member, int(generation))}))


def guests(member):
    """Print what is true of the virtual machines here."""
    from failback.guests import virsh

    print(json.dumps(virsh.facts(member)))


def libvirt(member, run):
    """Become a connection to this host's libvirt, for the run that holds the pair."""
    from failback.guests import migration

    member.lock.require(run)
    migration.serve_libvirt(member.config)


def journal(member, run):
    """Note which files change here, for the other node, while a run lasts."""
    from failback.journal import service

    service.relay(member, run, sys.stdin, sys.stdout)


_WORD = re.compile(".*", re.DOTALL)
#: What a run's id looks like: see ``failback.state.runs``, which takes longer to load than this.
_RUN = re.compile(r"[0-9]{8}T[0-9]{6}-[a-z]+-[A-Za-z0-9_.-]+-[0-9a-f]{4}")
_GENERATION = re.compile("[0-9]{1,12}")

#: Words that are fixed, the form of the one that follows them (None: none does), and who does it.
VERBS = (
    (["rsync", "--server", "--daemon", "."], None, rsync),
    (["verify", "--server", "--daemon", "."], None, verify),
    (["git-receive-pack"], _WORD, receive_pack),
    (["report"], None, report),
    (["ready"], None, ready),
    (["yield"], _GENERATION, step_down),
    (["serve-on"], _GENERATION, serve_on),
    (["carried"], _GENERATION, carried),
    (["handover"], _RUN, handover),
    (["promise"], _GENERATION, promise),
    (["guests"], None, guests),
    (["libvirt"], _RUN, libvirt),
    (["journal"], _RUN, journal),
)
