"""Sweeps: an experiment on every cell of a grid, many times over, on any executor, stored as it goes.

`grid` says what is asked for, `experiments` holds the built-in ones, `sweep` runs them by the `engine`, the `store`
keeps what is finished in `segment`s of `records`, and a `table` is what comes out.
"""
