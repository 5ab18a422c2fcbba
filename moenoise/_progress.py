"""The progress bar of long work."""

import contextlib


def progress_bar(label, *, shown, total=None, items=None, unit="it"):
    """A `tqdm` bar over `items`, or to be updated; it appears after a second, where `shown`, and goes when done.

    Where `shown` is a function it is told. Where nothing is wanted no bar is made: in Jupyter that may warn, and a bar
    that is not shown still has a lock, which processes that are forked meanwhile would share.
    """
    if callable(shown) or not shown:
        return Told(shown or _ignore, total, items)
    from tqdm.auto import tqdm

    return tqdm(items, total=total, desc=label, unit=unit, delay=1, leave=False)


class Told(contextlib.AbstractContextManager):
    """In the place of a bar: calls ``tell(done, total)`` as it is updated, and shows nothing."""

    disable = True

    def __init__(self, tell, total, items):
        self.n, self.total, self._tell, self._items = 0, total, tell, items

    def __iter__(self):
        for item in self._items:
            yield item
            self.update()

    def __exit__(self, *error):
        self.close()

    def update(self, count=1):
        self.n += count
        self._tell(self.n, self.total)

    def set_postfix(self, **values):
        """Nothing is told of these."""

    def set_postfix_str(self, text, refresh=True):
        """Nor of this."""

    def close(self):
        """Nothing is to be taken away."""


def _ignore(done, total):
    pass
