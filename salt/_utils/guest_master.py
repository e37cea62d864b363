"""
What a master does for the virtual machines of a pair: ask both hosts, and carry one run through.

Shared by the runner ``pair`` and the state module ``vm_run``.
"""

from salt.exceptions import CommandExecutionError

import pair_master
from failback import virtual_machine


class GuestRun(pair_master.Run):
    """A run on the guests of a pair; it holds the pair on the hosts that are not declared off."""

    def __init__(self, opts, config, target, guests, terms, word):
        super().__init__(
            opts, config, "vm", {"fenced": word["node"], "reason": word["reason"]} if word else None
        )
        self.target = target
        self.guests = guests
        self.terms = terms
        self.word = word
        self.plans = []

    @property
    def members(self):
        """The hosts that this run has to do with: both, unless one is declared off."""
        return tuple(node for node in self.ids if not self.word or node != self.word["node"])

    def look(self):
        """Ask both hosts about their guests, and decide for each of them."""
        self.reports, self.errors = look(self.nodes, self.config)
        self.plans = [
            virtual_machine.decide(
                guest, self.target, self.config, self.reports, fenced=bool(self.word), **self.terms
            )
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
        return [one for one in self.plans if one.action != virtual_machine.NOTHING]


def look(nodes, config):
    """
    Ask both hosts of a pair about their guests.

    Returns ``(reports, errors)`` by node; the report of a host that did not answer is ``{"error": why}``.
    """
    ids = (config["primary"]["id"], config["secondary"]["id"])
    answers, errors = nodes.try_all(ids, "shared_vm.report", config["name"], timeout=15)
    return {node: answers.get(node) or {"error": errors[node]} for node in ids}, errors
