"""
The guard of one pair's lease on one node: ``failback guard <pair>``, the unit ``failback-lease@<pair>``.

It renews the right to serve in time, gives the addresses no longer a life in the kernel than the right has,
and releases them when the right has run out. What may take long (etcd, the other node, stopping a service) is
done by threads; the loop itself only looks at files and at the clock. Whatever blocks it, the kernel deletes
the addresses at the end of their life: also when everything on this node stands still.

It needs neither Salt nor the watch. The watch's part is to take over; it reads what the guard has seen of the
lease.
"""

import contextlib
import os
import signal
import threading
import time

from failback.decisions import lease
from failback.errors import FailbackError
from failback.errors import Unreadable
from failback.guard import actions
from failback.guard import watchdog
from failback.host import files
from failback.host import system
from failback.lease import right as rights
from failback.pair import Member
from failback.state import ledger

#: Seconds between two looks at the files. A right that another process was granted is found within this time.
LOOK_EVERY = 0.25
#: Seconds between two steps after which the later one is late: a step waits for nothing but the processor.
LATE = 1.0
#: Exit status that tells systemd not to start the guard anew (RestartPreventExitStatus= in its unit).
NO_LEASE = 4
#: Seconds between two lines in the log about what goes on failing.
COMPLAIN_EVERY = 60.0


def main(member):
    """
    Be the guard of a pair until its configuration or the program changes. Does not return before.

    member
        :py:class:`failback.pair.Member`.

    Returns 0: systemd starts it anew. Without a lease in the configuration, at its start or at its end, it
    lets the addresses stay, and returns ``NO_LEASE``.
    """
    if not rights.configured(member):
        actions.without_lease(member)
        return NO_LEASE
    guard = Guard(member)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: guard.end())
    guard.run()
    return _without_lease_by_now(member)


def _without_lease_by_now(member):
    """
    What has ended the guard may be the highstate that took the lease away: nobody renews the addresses then.

    Returns the exit status.
    """
    try:
        fresh = Member.load(member.pair, member.paths)
        if not rights.configured(fresh):
            actions.without_lease(fresh)
            return NO_LEASE
    except FailbackError as error:
        system.log(f"{member.pair}: {error}")
    return 0


class Guard:
    """
    member
        :py:class:`failback.pair.Member`.

    device
        A :py:class:`failback.guard.watchdog.Watchdog`; the real one by default.
    """

    def __init__(self, member, device=None):
        self._member = member
        self._ttl = rights.ttl_of(member)
        self._boot_id = system.boot_id()
        self._watchdog = device or watchdog.Watchdog()
        self._wakened = threading.Event()
        self._ended = False
        self._asking = self._stopping = None
        self._asked_last = self._late = float("-inf")
        self._stepped_last = None
        self._sentence = self._problem = None
        self._limited = self._fed = None
        #: Whether an address was not there when the last right was granted.
        self._lacks = False
        self._configuration = _mark(member)

    def end(self):
        """Let :meth:`run` return at its next step. What was granted stays for the next guard."""
        self._ended = True
        self._wakened.set()

    def run(self):
        """Guard until the configuration or the release of the program changes."""
        while not self._ended and _mark(self._member) == self._configuration:
            try:
                self.step()
            except (FailbackError, OSError) as error:
                self._say(f"{self._member.pair}: {error}")
            self._wakened.wait(LOOK_EVERY)
            self._wakened.clear()
        if not self._ended:
            self._say(
                f"{self._member.pair}: the configuration or the program has changed, the guard starts anew"
            )
        self._leave_the_watchdog()

    def step(self):
        """Look, judge, do. Nothing in it waits for the network or for another process."""
        self._look_at_the_clock()
        observation = self._observe()
        action, sentence = lease.judge(observation, self._member.node, self._ttl, self._member.pair)
        self._note(sentence)
        self._limit(observation.right)
        if action == lease.RELEASE:
            self._release(observation)
        elif action in (lease.RENEW, lease.ACQUIRE, lease.LOOK):
            self._ask(action, observation)
        elif action in (lease.RESUME, lease.PUT_BACK, lease.STEP_DOWN):
            self._change_hands(action, observation)
        if not observation.active and not observation.ledger_error:
            self._forget(observation)
        self._feed(observation)

    def _look_at_the_clock(self):
        now = system.boottime()
        if self._stepped_last is not None and now > self._stepped_last + LATE:
            self._late = now
        self._stepped_last = now

    def _observe(self):
        member = self._member
        own, ledger_error = None, None
        try:
            own = member.ledger.read()
        except FailbackError as error:
            ledger_error = str(error)
        try:
            record = rights.read(member)
        except Unreadable:
            record = rights.forget(member)
        return lease.Observation(
            now=system.boottime(),
            generation=own and own["generation"],
            active=ledger.is_active(own, member.node),
            ledger_error=ledger_error,
            right=record.right,
            key=record.key,
            released=record.released and record.released["generation"],
            ended=record.released and record.released.get("ended"),
            late=self._late,
            asked_last=self._asked_last,
            busy=actions.busy(member) if record.released or self._lacks else None,
            lacks=self._lacks,
        )

    def _limit(self, right):
        """The kernel keeps the addresses as long as the right lasts, once for each right that was granted."""
        if right is None or right == self._limited:
            return
        seconds = lease.lifetime(right, system.boottime())
        if not seconds:
            return
        self._lacks = bool(actions.limit(self._member, right, seconds))
        self._limited = right

    def _release(self, observation):
        if not actions.release(self._member, observation.generation):
            return  # another process has got a right since the look
        self._limited = None
        if not _runs(self._stopping):
            self._stopping = self._begin(actions.stop_services, self._member)

    def _forget(self, observation):
        if observation.right or observation.released is not None:
            rights.forget_what_is_over(self._member)

    def _ask(self, action, observation):
        if _runs(self._asking):
            return
        self._asked_last = observation.now
        generation = observation.generation
        if generation is None and observation.right:
            generation = observation.right.generation
        asks = {
            lease.LOOK: lambda: rights.look(self._member),
            lease.RENEW: lambda: rights.renew(self._member, generation),
            lease.ACQUIRE: lambda: rights.obtain(
                self._member,
                generation,
                create=True,
                serving=True,
                claims=observation.released is not None,
            ),
        }
        self._asking = self._begin(asks[action])

    def _change_hands(self, action, observation):
        if _runs(self._asking) or _runs(self._stopping):
            return
        if observation.now < self._asked_last + 1:
            return
        self._asked_last = observation.now
        if action == lease.RESUME:
            self._lacks = False  # it takes all of them
            self._asking = self._begin(actions.resume, self._member)
        elif action == lease.PUT_BACK:
            self._lacks = False  # found again with the next right, if it fails
            self._asking = self._begin(actions.put_back, self._member, observation.generation)
        else:
            self._asking = self._begin(actions.step_down, self._member, observation.key)

    def _begin(self, do, *arguments):
        """Do something in a thread; why it failed goes to the log."""

        def work():
            try:
                do(*arguments)
                self._problem = None
            except FailbackError as error:
                self._complain(str(error))
            except Exception as error:  # whatever it is: the next step asks again, and the right has its end
                self._complain(f"{type(error).__name__}: {error}. This is a mistake of Failback itself.")
            self._wakened.set()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

    def _feed(self, observation):
        """
        Where the pillar wants it, a machine that stands still is reset before another node may serve.

        Once for each right that was granted, for as long as it lasts: what was to stop has stopped by then,
        or stops with the machine.
        """
        if not self._member.config["lease"]["watchdog"]:
            return
        right = observation.right
        if right and observation.active and right.in_force(observation.now):
            if right != self._fed:
                self._watchdog.feed(max(1, int(right.asked + right.ttl - system.boottime())))
                self._fed = right
        elif self._watchdog.armed and not _runs(self._stopping):
            self._watchdog.disarm()
            self._fed = None

    def _leave_the_watchdog(self):
        if self._watchdog.armed:
            self._watchdog.disarm()

    def _note(self, sentence):
        if sentence == self._sentence:
            return
        self._sentence = sentence
        self._say(sentence)
        self._write_status()

    def _complain(self, sentence):
        """Once, and again each minute while it lasts: the words differ each time, the matter does not."""
        if self._problem is None or system.boottime() >= self._problem + COMPLAIN_EVERY:
            self._problem = system.boottime()
            self._say(sentence)

    def _say(self, sentence):
        system.log(sentence)

    def _write_status(self):
        with contextlib.suppress(OSError):  # a full /run is no reason to stop
            status = {"pid": os.getpid(), "sentence": self._sentence, "updated": time.time()}
            files.write_json(self._member.volatile / "guard.json", status)


def _runs(thread):
    return thread is not None and thread.is_alive()


def _mark(member):
    """What tells that the configuration, or the release of the program, is another."""
    found = []
    for place in (member.paths.pair_config(member.pair), member.paths.release):
        try:
            facts = os.lstat(place)
            found.append((facts.st_mtime_ns, facts.st_size, facts.st_ino))
        except OSError:
            found.append(None)
    return found
