"""The progress bar of long work."""


def progress_bar(label, *, shown, total=None, items=None, unit="it"):
    """A `tqdm` bar over `items`, or to be updated; it appears after a second, where `shown`, and goes when done.

    The kind is not looked for where none is wanted: in Jupyter that may warn.
    """
    if shown:
        from tqdm.auto import tqdm
    else:
        from tqdm import tqdm
    return tqdm(items, total=total, desc=label, unit=unit, delay=1, leave=False, disable=not shown)
