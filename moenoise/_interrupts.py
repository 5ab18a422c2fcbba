"""Ctrl-C at a moment of one's own choice."""

import signal
import threading


class DeferredInterrupts:
    """Ctrl-C raises KeyboardInterrupt while `open`, which it ends, so that nothing falls into what is put back then;
    otherwise it waits for `deliver`, or the end of the block.
    """

    def __enter__(self):
        self.open, self.waiting, self.previous = False, False, signal.getsignal(signal.SIGINT)
        # Python runs handlers in its main thread alone. What is no function is not Python's own, or no handler at all.
        self.installed = callable(self.previous) and threading.current_thread() is threading.main_thread()
        if self.installed:
            signal.signal(signal.SIGINT, self._handle)
        return self

    def allow(self):
        """The next one strikes, and so does what has waited."""
        self.deliver()
        self.open = True

    def forbid(self):
        """From here on it waits again."""
        self.open = False

    def _handle(self, number, frame):
        if self.open:
            self.open = False
            self.previous(number, frame)
        else:
            self.waiting = True

    def deliver(self):
        """What has waited strikes now."""
        if self.waiting:
            self.waiting = False
            self.previous(signal.SIGINT, None)

    def __exit__(self, kind, error, traceback):
        if self.installed:
            signal.signal(signal.SIGINT, self.previous)
        if not isinstance(error, KeyboardInterrupt):
            self.deliver()
