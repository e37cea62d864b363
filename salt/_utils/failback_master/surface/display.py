"""
A command line of this tree, from its first second: progress on standard error, and a short answer.

``salt-run state.orch`` prints what it returns with Salt's outputter ``highstate``, and Salt has no way for
an SLS to name another one. So for this tree's orchestrations, typed without ``--out`` and without
``--state-output``, this process alone prints with the outputter ``pairs``. Every other command, and every
other process, is as it was.
"""

import logging
import sys

import salt.output

from failback_master.surface import live

#: Options with which a person asks for Salt's own output.
OWN_OUTPUT = ("--state-output", "--state_output", "--state-verbose", "--state_verbose", "--out", "--output")


def begin(opts, text, argv=None):
    """
    Say in the first second what was understood.

    opts
        The master's, with what was typed.

    text
        What begins.

    argv
        The command line, unless it is this process's.
    """
    typed = sys.argv if argv is None else argv
    if opts.get("async") or opts.get("quiet") or opts.get("doc"):
        return
    for_machines = bool(opts.get("output")) or opts.get("output_file")
    if not for_machines or sys.stderr.isatty():
        live.SCREEN.open(color=not opts.get("no_color"))
        live.SCREEN.line(text)
    if not for_machines and not any(word.split("=")[0] in OWN_OUTPUT for word in typed):
        _draw_highstate_ourselves()
        _leave_failures_to_the_answer()


def _draw_highstate_ourselves():
    original = salt.output.display_output

    def display_output(data, out=None, opts=None, **kwargs):
        return original(data, "pairs" if out == "highstate" else out, opts, **kwargs)

    salt.output.display_output = display_output


class _NotStates(logging.Filter):
    """What a failed state says is in the answer: on the console it would stand twice. Log files have it."""

    def filter(self, record):
        return record.name != "salt.state" or record.levelno != logging.ERROR


def _leave_failures_to_the_answer():
    for handler in logging.getLogger().handlers:
        if getattr(handler, "stream", None) in (sys.stderr, sys.stdout):
            handler.addFilter(_NotStates())
