"""Faults at every step of an orchestration, and a checker that knows nothing of the code.

    python3 -m lab.faults                    every fault at every moment of every orchestration
    python3 -m lab.faults -n 50 --seed 7     so many, chosen at random
    python3 -m lab.faults --only 'recover/primary_power/released' --seed 7

=================  ==============================================================================
``observer``       runs on each node: who held the address when, when lsyncd ran, which generation
``jobs``           runs on a master: which Salt jobs are published and return
``moments``        the boundaries of the phases, as facts that can be seen from outside
``injectors``      the faults, as data: how to do it, how to mend it
``rehearsal``      one run: an outage, an orchestration, a fault in it, and what an operator does
``checker``        what was broken, judged from what was seen; pure
``campaign``       which runs to make, and their table
``results``        the tables as a page, docs/faults-results.md
=================  ==============================================================================

See docs/faults.md.
"""
