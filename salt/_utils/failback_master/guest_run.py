"""
What a master does for the virtual machines of a pair: ask both hosts, and carry one run through.

For the state module ``vm_run``.
"""

from salt.exceptions import CommandExecutionError

from failback.decisions import guests
from failback_master import minions
from failback_master import orchestration


class GuestRun(orchestration.Run):
    """A run on the guests of a pair; it owns the lock on the hosts that are not declared off."""

    def __init__(self, opts, config, target, guests, terms, word):
        super().__init__(
            opts, config, "vm", {"fenced": word["node"], "reason": word["reason"]} if word else None
        )
        self.target = target
        self.guests = guests
        self.terms = terms
        self.word = word
        self.plans = []
        #: The reports of the hosts that answered the first look.
        self.seen = []
        #: Why hosts did not answer. They are not waited for a second time.
        self.silent = {}

    @property
    def members(self):
        """The hosts that this run has to do with: both, unless one is declared off."""
        return tuple(node for node in self.ids if not self.word or node != self.word["node"])

    def look(self):
        """Ask both hosts about their guests, and decide for each of them."""
        self.reports = look(self.nodes, self.config, self.silent)
        self.plans = [
            guests.decide(guest, self.target, self.config, self.reports, fenced=bool(self.word), **self.terms)
            for guest in self.guests
        ]

    def require_possible(self):
        """Raise, with all that was refused, unless each guest may go where it should."""
        refusals = [one.refusal for one in self.plans if one.refusal]
        if refusals:
            raise CommandExecutionError(" ".join(refusals))

    @property
    def wanted(self):
        """The plans that change something."""
        return [one for one in self.plans if one.action != guests.NOTHING]


def found_silent(errors):
    """Of nodes that failed, those that gave no answer at all; see ``minions.Nodes.try_all``."""
    return {node: why for node, why in errors.items() if isinstance(why, minions.NoAnswer)}


def look(nodes, config, silent):
    """
    Ask both hosts of a pair about their guests.

    silent
        Why a host is not asked, by node; those that are found silent now are added. The host that starts a
        guest asks its peer by itself all the same.

    Returns what each host said by node; that of a host that did not answer is ``{"error": why}``.
    """
    ids = (config["primary"]["id"], config["secondary"]["id"])
    asked = [node for node in ids if node not in silent]
    answers, errors = nodes.try_all(asked, "shared_vm.report", config["name"])
    reports = {node: answers.get(node) or {"error": {**silent, **errors}[node]} for node in ids}
    silent.update(found_silent(errors))
    return reports
