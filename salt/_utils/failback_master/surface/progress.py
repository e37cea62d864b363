"""
What a run tells of itself while it lasts: lines on the screen, and events on the bus of its master.

The events are ``failback/<pair>/<run>/<step>/<begun|done|failed>``. Nothing here can make a run fail.
"""

import logging

import salt.utils.event

from failback_master.surface import live
from failback_master.surface import words

log = logging.getLogger(__name__)

#: Milliseconds for the bus to take an event.
BUS_WITHIN = 500


class Progress:
    """
    The telling of one run.

    opts
        The master's.

    pair, run
        Names, for the tags of events.
    """

    def __init__(self, opts, pair, run):
        self._opts = opts
        self._pair = pair
        self._run = run
        self._steps = ()

    def planned(self, steps):
        """What will be done, before the first step."""
        self._steps = tuple(steps)
        live.SCREEN.line(f"{'':>5} {words.plural(len(steps), 'step')}: {', '.join(steps)}; run {self._run}")

    def begun(self, step, text):
        """A step begins; ``text`` says what it is for."""
        live.SCREEN.going(f"{self._place(step)}  {text}")
        self._fire(step, "begun", {"text": text})

    def tell(self, step, text):
        """What a step waits for now."""
        live.SCREEN.going(f"{self._place(step)}  {text}")

    def more(self, step, text):
        """How far the step is; what it waits for is the same as before."""
        live.SCREEN.more(f"{self._place(step)}  {text}")

    def ended(self, step, good, comment, seconds):
        """A step has ended; the reason of a failure is printed at the end of the run, once."""
        live.SCREEN.done()
        took = words.duration(seconds) if seconds >= 1 else f"{seconds:.1f} s"
        if good:
            text = f"done, {took}. {first_sentence(comment)}"
        else:
            text = f"{'interrupted' if comment == words.INTERRUPTED else 'FAILED'} after {took}"
        live.SCREEN.line(f"{self._place(step)}  {text}", good)
        said = {"comment": comment, "seconds": round(seconds, 2)}
        self._fire(step, "done" if good else "failed", said)

    def _place(self, step):
        """``3/8 static``: where in the plan a step is."""
        at = f"{self._steps.index(step) + 1}/{len(self._steps)}" if step in self._steps else ""
        return f"{at:>5} {step:<9}"

    def _fire(self, step, what, said):
        fire(
            self._opts,
            f"{self._pair}/{self._run}/{step}/{what}",
            {"pair": self._pair, "run": self._run, "step": step, **said},
        )


def fire(opts, tag, data):
    """
    Fire an event below ``failback/`` on the master's bus. True when the bus has taken it.

    opts
        The master's; without a socket of a master nothing happens.
    """
    if not opts.get("sock_dir"):
        return False
    try:
        with salt.utils.event.get_master_event(opts, opts["sock_dir"], listen=False) as bus:
            return bool(bus.fire_event(data, f"failback/{tag}", timeout=BUS_WITHIN))
    except Exception as error:
        log.debug("failback/%s was not fired: %s", tag, error)
        return False


def first_sentence(text):
    """The first sentence of a comment, for a line beside others."""
    head, mark, _ = str(text).partition(". ")
    return head + ("." if mark else "")
