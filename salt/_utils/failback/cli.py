"""The program ``failback`` on a node: what must work when Salt does not."""

import argparse
import json
import os
import sys

from failback import errors
from failback.errors import FailbackError
from failback.host.paths import Paths
from failback.pair import Member
from failback.version import VERSION

#: A gate that refuses. Units of an earlier release ask with ExecCondition=, which takes 1 to 254 for "skip
#: silently" and 255 for "fail" (systemd.service(5)); a refusal at 3 in the morning must be loud.
REFUSED_BY_GATE = 255

#: What a monitoring plug-in ends with when it does not know: 1 would be a warning, and be taken for one.
NOT_KNOWN = 3

#: The exit status of a command that fails in any way, where it is not 1.
FAILED = {"gate": REFUSED_BY_GATE, "check": NOT_KNOWN}


def main(argv=None, paths=None):
    """
    Run one command.

    argv
        Arguments without the program's name.

    paths
        ``Paths`` of the node; tests give others.

    Returns the exit status: 0 done, 1 failed, 255 for a gate that refuses or fails in any way; those of a
    switch's ``status`` and of ``check`` are their own.
    """
    words = sys.argv[1:] if argv is None else argv
    failed = FAILED.get(words[0] if words else None, 1)
    try:
        arguments = parser().parse_args(words)
    except SystemExit as end:
        if end.code and failed != 1:
            return failed
        raise
    try:
        # A command is for a pair, or for the node as a whole.
        paths = paths or Paths()
        where = Member(arguments.pair, paths) if "pair" in arguments else paths
        return COMMANDS[arguments.command](arguments, where) or 0
    except FailbackError as error:
        said = str(error)
    except OSError as error:
        said = errors.of_the_system(error)
    except Exception as error:
        # Whatever it is: a traceback and status 1 would let `systemctl start lsyncd` succeed without a start.
        said = f"{type(error).__name__}: {error} ({_place(error)}). This is a mistake of Failback itself."
    print(f"failback: {said}", file=sys.stderr)
    return failed


def _place(error):
    """File and line where an error was raised."""
    trace = error.__traceback__
    while trace.tb_next:
        trace = trace.tb_next
    return f"{os.path.basename(trace.tb_frame.f_code.co_filename)}, line {trace.tb_lineno}"


def parser():
    """The command line."""
    top = argparse.ArgumentParser(
        prog="failback", description="Active/standby pairs on this node. Shipped by Salt's highstate."
    )
    top.add_argument("--version", action="version", version=f"failback {VERSION}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name, text, *words):
        one = commands.add_parser(name, help=text, description=text)
        for word in words:
            one.add_argument(word)
        return one

    command("report", "print this node's live facts of a pair as JSON", "pair")
    command("gate", "exit 0 if lsyncd may run here now; else say why not", "pair")
    command("watch", "watch over the addresses that /etc/cron.d/CRON names (run by cron)", "cron")
    command("watch-service", "the same, for as long as systemd wants it (run by systemd)", "cron")
    command("look", "look all the time at what this node would be worth (run by systemd)", "pair")
    command("keep", "put back this node's own missing addresses while it serves (run by cron)", "pair")
    command("guard", "renew the pair's lease, and give the addresses up without it (run by systemd)", "pair")
    command("announce", "re-announce the addresses this node has, several times", "pair")
    command("push-git", "push the repositories to the standby, if this node is active (cron)", "pair")
    command("far-end", "serve the other node over SSH (run by sshd)", "pair")
    command("journal", "note which files change while a run lasts (its own unit)", "pair", "run")
    command("take-back", "serve again after a handover that did not end (run by a timer)", "pair", "run")
    one = command("nagios", "a switch inside Nagios; status exits 0 (on), 3 (off) or 4 (not known)")
    one.add_argument("--config", default=None, metavar="FILE", help="Nagios' own configuration")
    one.add_argument("switch", choices=["notifications", "event_handlers"])
    one.add_argument("do", choices=["on", "off", "status"])
    command("ask-to-yield", "tell the other node that this one has taken over", "pair")
    command("renounce", "let the other node serve on instead of a claim that failed here (watch)", "pair")
    command("stop-active", "stop what only the active node runs, on one that is not (watch)", "pair")
    command("activate", "start the active services after a takeover, in an automatic pair (watch)", "pair")
    command("learn-guests", "let libvirt know definitions that have changed (run by systemd)", "pair")
    command("tell", "run the hooks for an event; by its name alone: a test of them", "pair", "event")
    one = command("check", "a plug-in for Nagios and its kin, for any user: exit status 0 to 3, and one line")
    one.add_argument("name", nargs="?", metavar="pair", help="all pairs of this node by default")
    one = command("metrics", "figures of all pairs of this node, for Prometheus; for any user")
    one.add_argument("--output", metavar="FILE", help="replaced as a whole; standard output by default")
    command("observe", "notice when the node that was declared off is back (run by systemd)", "pair")
    return top


def _report(_arguments, member):
    from failback import report

    print(json.dumps(report.report(member), indent=1))


def _gate(_arguments, member):
    from failback.replication import gate

    gate.require_lsyncd(member)


def _watch(arguments, paths):
    from failback.watch import loop

    return loop.main(arguments.cron, paths, service=arguments.command == "watch-service")


def _look(_arguments, member):
    from failback.watch import lookout

    return lookout.main(member)


def _keep(_arguments, member):
    from failback.monitoring import facts
    from failback.watch import keeper

    return keeper.main(member, beside=facts.begin)


def _guard(_arguments, member):
    from failback.guard import loop

    return loop.main(member)


def _announce(_arguments, member):
    from failback.network import address_holder
    from failback.network import floating

    address_holder.announce_repeatedly(floating.of_pair(member.config))


def _push_git(_arguments, member):
    from failback.replication import git_push

    git_push.carry(member)


def _far_end(_arguments, member):
    from failback import peer_requests

    return peer_requests.main(member, os.environ.get("SSH_ORIGINAL_COMMAND", ""))


def _journal(arguments, member):
    from failback.journal import service

    service.keep(member, arguments.run)


def _take_back(arguments, member):
    from failback.handover import way_back
    from failback.host import system

    print(way_back.take_back(member, arguments.run))
    # What it has started to announce this node and to tell the other one: systemd ends it with this unit.
    system.wait_for_started()


def _nagios(arguments, paths):
    from failback.host import distribution
    from failback.host import nagios

    switch, do = arguments.switch, arguments.do
    try:
        names = distribution.names(paths)
        known = nagios.settings(arguments.config or names["nagios_configuration"], names["nagios_unit"])
        if do != "status":
            nagios.turn(switch, do == "on", known)
            return 0
        on = nagios.is_on(switch, known)
    except FailbackError as error:
        print(f"failback: {error}", file=sys.stderr)
        return nagios.UNKNOWN if do == "status" else 1
    print("on" if on else "off")
    return nagios.ON if on else nagios.OFF


def _ask_to_yield(_arguments, member):
    from failback.handover import takeover
    from failback.host import system

    answer = takeover.ask_to_yield(member)
    system.log(answer)
    print(answer)


def _renounce(_arguments, member):
    from failback.handover import takeover
    from failback.host import system

    answer = takeover.conflict(member, ["another host"])
    if answer:
        system.log(answer)
        print(answer)


def _stop_active(_arguments, member):
    from failback.handover import claims
    from failback.host import system

    for sentence in claims.stop_active(member):
        system.log(sentence)
        print(sentence)


def _learn_guests(_arguments, member):
    from failback.guests import virsh

    for guest in virsh.learn(member):
        print(f"libvirt knows the definition of {guest} as it is now.")


def _check(arguments, here):
    from failback.monitoring import facts
    from failback.monitoring import show

    status, line = show.check(facts.Noted(here), arguments.name)
    print(line)
    return status


def _metrics(arguments, here):
    from failback.monitoring import facts
    from failback.monitoring import show

    show.write_metrics(facts.Noted(here), arguments.output)


def _tell(arguments, member):
    from failback.notify import hooks

    given = arguments.event
    if hooks.handed_over(member, given):
        return 0
    wrong = hooks.deliver(member, json.loads(given) if given.startswith("{") else hooks.trial(member, given))
    for name, problem in sorted(wrong.items()):
        print(f"{name}: {problem or 'told'}")
    return 1 if any(wrong.values()) else 0


def _observe(_arguments, member):
    print(member.fencing.observe())


def _activate(_arguments, member):
    from failback.handover import takeover
    from failback.host import system

    for sentence in takeover.activate(member):
        system.log(sentence)
        print(sentence)


COMMANDS = {
    "report": _report,
    "gate": _gate,
    "watch": _watch,
    "watch-service": _watch,
    "look": _look,
    "keep": _keep,
    "guard": _guard,
    "announce": _announce,
    "push-git": _push_git,
    "far-end": _far_end,
    "journal": _journal,
    "take-back": _take_back,
    "nagios": _nagios,
    "ask-to-yield": _ask_to_yield,
    "renounce": _renounce,
    "stop-active": _stop_active,
    "activate": _activate,
    "check": _check,
    "metrics": _metrics,
    "observe": _observe,
    "tell": _tell,
    "learn-guests": _learn_guests,
}
