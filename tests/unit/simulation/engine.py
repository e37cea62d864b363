"""
Virtual time and the processes that live in it.

A :class:`Process` runs ordinary, blocking code in a thread of its own, but never two at once: a baton goes
from one to the next. Whoever waits takes the next event off the queue, so the clock jumps from event to
event and a history of a minute costs milliseconds. The order is that of the queue alone; the same history
is the same run.

A process can be stopped (SIGSTOP), go on, and be killed. A killed one raises :class:`Killed` where it waits,
and at everything that it would still do: nothing after the kill has an effect, not even its ``finally``.
"""

import heapq
import itertools
import threading


class Killed(BaseException):
    """The process ends here, and nothing after it is done."""


class Process:
    """
    Code that runs on a node.

    name
        What it is: ``watch``, ``handover``, ``take-back`` …

    node
        Where it runs, a :py:class:`simulation.hosts.Node`; None for what runs on no node.
    """

    def __init__(self, engine, name, node, function=None):
        self.engine, self.name, self.node, self.function = engine, name, node, function
        self.pid = next(engine.pids)
        self.result = self.error = None
        self.dead = self.finished = self.stopped = False
        self.output = []
        #: The program that it is a thread of; itself, if it is none. And, of a program, its threads.
        self.program, self.threads = self, []
        #: Open files, which its end closes.
        self.handles = set()
        #: Processes that wait for its end, and with which token.
        self.waiters = {}
        self.token = self.pending = None
        self.baton = None

    @property
    def whole(self):
        """The program and all its threads, whichever of them this is."""
        return [self.program, *self.program.threads]

    def readable(self):
        """For who waits for its end."""
        return self.finished

    def __repr__(self):
        return f"<{self.name} on {self.node}>"


class _Worker:
    """A thread that runs one process after the other, through all worlds."""

    idle = []

    def __init__(self):
        self.baton = threading.Lock()
        self.baton.acquire()
        self.process = None
        threading.Thread(target=self._work, daemon=True).start()

    @classmethod
    def take(cls, process):
        worker = cls.idle.pop() if cls.idle else cls()
        worker.process, process.baton = process, worker.baton

    def _work(self):
        while True:
            self.baton.acquire()
            process = self.process
            engine = process.engine
            try:
                if not process.dead:
                    process.result = process.function()
            except Killed:
                process.dead = True
            except BaseException as error:
                process.error = error
            engine.ended(process)
            self.idle.append(self)
            engine.dispatch(None)


class Engine:
    """
    The queue of events, and the clock.

    Not thread-safe, and need not be: only who has the baton calls it.
    """

    def __init__(self):
        self.now = 0.0
        self.pids = itertools.count(100)
        self._queue = []
        self._order = itertools.count()
        self._live = {}
        #: What must not happen, raised in the test.
        self.failure = None
        #: Called with a process that has ended.
        self.on_end = lambda process: None
        #: The test itself.
        self.driver = Process(self, "the test", None)
        self.driver.baton = threading.Lock()
        self.driver.baton.acquire()
        self.current = self.driver

    # --- events ---

    def at(self, when, action):
        """Have a function called at that time. Returns a handle for :py:meth:`cancel`."""
        event = [max(when, self.now), next(self._order), action, None]
        heapq.heappush(self._queue, event)
        return event

    def after(self, seconds, action):
        """:py:meth:`at`, from now."""
        return self.at(self.now + seconds, action)

    @staticmethod
    def cancel(event):
        """Forget an event."""
        event[2] = event[3] = None

    def _wake(self, process, when):
        heapq.heappush(self._queue, [max(when, self.now), next(self._order), process, process.token])

    # --- processes ---

    def start(self, name, node, function):
        """Start a process; it begins when whoever has the baton waits."""
        process = Process(self, name, node, function)
        _Worker.take(process)
        process.token = object()
        self._live[process.pid] = process
        self._wake(process, self.now)
        return process

    def wait(self, until=None, sources=()):
        """
        The present process waits until that time, or until one of the sources has news.

        sources
            Objects with a dict ``waiters``; see :py:meth:`news`.
        """
        me = self.current
        if me.dead:
            raise Killed
        me.token = token = object()
        if until is not None:
            self._wake(me, until)
        for source in sources:
            source.waiters[me] = token
        self.dispatch(me)
        if me is self.driver and self.failure is not None:
            raise self.failure
        if me.dead:
            raise Killed

    def news(self, source):
        """Wake who waits for this source."""
        waiters, source.waiters = source.waiters, {}
        for process, token in waiters.items():
            if process.token is token:
                self._wake(process, self.now)

    def dispatch(self, me):
        """Go through the events until it is ``me``'s turn, or until another process has the baton."""
        queue, driver = self._queue, self.driver
        while True:
            if self.failure is not None and me is not driver:
                target = driver
            elif self.failure is not None:
                self.current = driver
                return
            else:
                when, _, target, token = heapq.heappop(queue)
                # Later, if a test has let time jump over it.
                self.now = max(self.now, when)
                if token is None:
                    if target is not None:
                        self._act(target)
                    continue
                if target.token is not token:
                    continue
                if target.stopped:
                    target.pending = token
                    continue
            target.token = None
            self.current = target
            if target is me:
                return
            target.baton.release()
            if me is not None:
                me.baton.acquire()
            return

    def _act(self, action):
        self.current = self.driver
        try:
            action()
        except BaseException as error:
            self.failure = self.failure or error

    def ended(self, process):
        """A process has come to its end."""
        process.finished = True
        process.token = None
        self._live.pop(process.pid, None)
        for handle in list(process.handles):
            handle.close()
        self.news(process)
        self.on_end(process)

    def kill(self, process):
        """As SIGKILL does: the program and all its threads."""
        for one in process.whole:
            self.kill_alone(one)
        if self.current.dead and self.current in process.whole:
            raise Killed

    def kill_alone(self, process):
        """One of them; of the present one it is only noted, and it ends where it does something next."""
        if process.dead or process.finished:
            return
        process.dead, process.stopped = True, False
        for handle in list(process.handles):
            handle.close()
        if process is self.current:
            return
        process.token = object()
        self._wake(process, self.now)
        self.news(process)

    def stop(self, process):
        """As SIGSTOP does. A process that stops itself goes on when another one has it continue."""
        process.stopped = True
        if process is self.current:
            process.token = process.pending = object()
            self.dispatch(process)
            if process.dead:
                raise Killed

    def go_on(self, process):
        """As SIGCONT does."""
        process.stopped = False
        if process.pending is not None and process.token is process.pending:
            self._wake(process, self.now)
        process.pending = None

    def living(self, node=None):
        """The processes that have not ended, of a node or of all."""
        return [one for one in self._live.values() if not one.dead and node in (None, one.node)]

    def close(self):
        """End every process, so that its thread is free for the next world."""
        self.failure = None
        # Nobody starts one of them anew.
        self.on_end = lambda process: None
        self.current = self.driver
        for process in list(self._live.values()):
            self.kill(process)
        while self._live:
            self._queue = [one for one in self._queue if one[3] is not None]
            heapq.heapify(self._queue)
            self.driver.token = object()
            heapq.heappush(self._queue, [self.now + 1, next(self._order), self.driver, self.driver.token])
            self.dispatch(self.driver)
