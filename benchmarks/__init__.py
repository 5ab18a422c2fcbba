"""moenoise side by side with what one would use instead: `python -m benchmarks --help`.

* `environment.py`, `machine.py`: one BLAS thread; what ran where, and what the hardware can do
* `timing.py`, `row.py`: runs in turn, medians, ratios; what a row declares, and how it is measured
* `draws.py`, `fits.py`, `descent.py`, `routing.py`, `replicates.py`, `threads.py`: the rows
* `memory.py`, `growth.py`: what has no rival: peak memory; time against n, d and k
* `suite.py`: all of them by name
* `table.py`, `figure.py`: the README's table and figure, from results.json
"""
