"""
Where a command of an operator prints while it works: standard error of ``salt-run``, and nowhere else.

On a terminal what goes on is one line, redrawn in place with the seconds that it takes; in a pipe each
beginning and each end is a line. It is off until the runner ``pair`` finds that a person has typed the
command: the same states run in daemons (salt-api, the reactor), whose standard error is a log.
"""

import contextlib
import os
import shutil
import signal
import sys
import threading
import time

from failback_master.surface import words

#: Seconds between two drawings of the line that is redrawn.
REDRAWN_EVERY = 0.2
#: Seconds between two lines that say how far one and the same thing is.
LINE_EVERY = 15.0
SPINNER = "|/-\\"

GREEN, RED, PLAIN = "\033[32m", "\033[31m", "\033[0m"


def columns():
    """The width of the terminal to which standard output goes, or None for a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


class Screen:
    """One place for lines that stay and for the line of what goes on; one in a process, ``SCREEN``."""

    def __init__(self):
        self._stream = None
        self._terminal = False
        self._color = False
        self._lock = threading.RLock()
        self._now = None
        self._began = 0.0
        self._thread = None
        self._last_more = -LINE_EVERY

    @property
    def is_open(self):
        """Whether somebody looks."""
        return self._stream is not None

    @property
    def is_terminal(self):
        """Whether lines can be redrawn."""
        return self._terminal

    def open(self, stream=None, color=True):
        """
        Begin to print.

        stream
            Standard error unless a test gives another one.

        color
            False: no colours, also on a terminal.
        """
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._color = color and self._terminal and "NO_COLOR" not in os.environ

    def close(self):
        """Print nothing more."""
        self.done()
        self._stream = None

    def line(self, text, good=None):
        """
        A line that stays, with the time of day.

        good
            True or False gives it a colour, where there are colours.
        """
        color = {True: GREEN, False: RED}.get(good) if self._color else None
        with self._lock:
            if self._stream is None:
                return
            self._erase()
            text = f"{time.strftime('%H:%M:%S')}  {words.safe(text)}"
            self._write(f"{color}{text}{PLAIN}\n" if color else f"{text}\n")

    def going(self, text):
        """What goes on from now: in place on a terminal; in a pipe a line, for whoever waits."""
        if not self._terminal:
            self.line(text)
            return
        with self._lock:
            self._now, self._began = words.safe(text), time.monotonic()
            self._draw()
            if self._thread is None:
                self._thread = threading.Thread(target=self._redraw, name="failback-screen", daemon=True)
                self._thread.start()

    def more(self, text):
        """
        How far it is: the seconds of the line on a terminal go on; a pipe gets a line only every
        ``LINE_EVERY`` seconds.
        """
        now = time.monotonic()
        with self._lock:
            if self._terminal:
                self._now = self._now and words.safe(text)
            elif now - self._last_more >= LINE_EVERY:
                self._last_more = now
                self.line(text)

    def done(self):
        """Nothing goes on any more: the line that was redrawn is gone."""
        with self._lock:
            self._now = None
            if self._terminal:
                self._erase()

    def _redraw(self):
        while True:
            time.sleep(REDRAWN_EVERY)  # an animation, nothing is waited for
            with self._lock:
                if self._now is None:
                    self._thread = None
                    return
                self._draw()

    def _draw(self):
        seconds = time.monotonic() - self._began
        mark = SPINNER[int(seconds / REDRAWN_EVERY) % len(SPINNER)]
        text = f"{mark} {self._now}"
        ends = f"  {words.duration(seconds)}"
        columns = shutil.get_terminal_size().columns
        self._write(f"\r\033[K{words.cut(text, columns - len(ends) - 1)}{ends}")

    def _erase(self):
        if self._terminal:
            self._write("\r\033[K")

    def _write(self, text):
        if self._stream is not None:
            # Nobody reads any more: that is no reason to end what the command does.
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(text)
                self._stream.flush()


SCREEN = Screen()


def end_on_interrupt():
    """
    Ctrl-C ends this process with a sentence, and exit status 130.

    Salt raises ``SystemExit`` in the middle of a runner's function, and prints that as a traceback.
    """

    def handle(number, frame):
        SCREEN.close()
        said = "Interrupted. What was under way on the nodes goes on there, or goes back, by itself."
        print(f"\n{said}", file=sys.stderr, flush=True)
        os._exit(128 + number)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, handle)


class Interrupted(BaseException):
    """Ctrl-C while a step was at work. Not an ``Exception``: nothing between may take it for a failure."""


class Interrupts:
    """
    Ctrl-C in a run: the step at work ends at once, the run says who serves, and the lock goes with its
    process.

    Salt's own handler ends the process in the middle with "Exiting gracefully" and exit status 0.
    """

    def __init__(self):
        self.asked = False
        self._inside = False
        self._before = None

    def watch(self):
        """Take the signal over, in a process that a person has started; anywhere else nothing happens."""
        if self._before is not None or not SCREEN.is_open:
            return
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._handle)

    @contextlib.contextmanager
    def raised(self):
        """While this lasts, Ctrl-C raises ``Interrupted`` in it; also one that came shortly before."""
        if self.asked:
            raise Interrupted
        self._inside = True
        try:
            yield
        finally:
            self._inside = False

    def _handle(self, number, frame):
        if self.asked:
            # Once more: whoever types it does not want to wait for a last look.
            # What was set before need not be a function: a command in the background ignores the signal.
            signal.signal(signal.SIGINT, self._before)
            signal.raise_signal(number)
            return
        self.asked = True
        if self._inside:
            raise Interrupted


INTERRUPTS = Interrupts()
