"""Beyond the paper: noise that is not Gaussian or is correlated, unequal experts, and how many of them.

Each part is a module of its own, with its settings and seeds:

* `beyond_laws`: Laplace, Student t or Rademacher noise; risks and routers that know the model (Theorems 1 to 4);
* `beyond_fits`: the same noise, least squares on few rows;
* `beyond_correlation`: noise that is correlated over features (Theorems 1 and 2);
* `beyond_descent`: either noise, gradient descent (Theorem 5);
* `beyond_unequal`: unequal sizes and loads (Theorem 3, and fits to few rows);
* `beyond_counts`: the same features shared out among more and more experts.
"""

from . import beyond_correlation, beyond_counts, beyond_descent, beyond_fits, beyond_laws, beyond_unequal
from .base import Claim
from .beyond_shared import NAME

PARTS = {"laws": beyond_laws, "fits": beyond_fits, "correlation": beyond_correlation, "descent": beyond_descent,
         "unequal": beyond_unequal, "counts": beyond_counts}
DRAWN = ("laws", "correlation", "unequal", "counts")


def measure(run, **settings):
    """The records of all parts, and each one's data."""
    records, data = [], {}
    for name, part in PARTS.items():
        found, data[name] = part.measure(run, **settings[name])
        records += found
    return records, data


def figures(data):
    """Those of the parts that draw."""
    return {caption: figure for name in DRAWN for caption, figure in PARTS[name].figures(data[name]).items()}


CLAIM = Claim(
    name=NAME,
    place="Beyond the paper",
    statement="All theorems assume Gaussian noise, independent over features. Printed: what they state, taken over to "
              "other noise, to unequal experts, and to other numbers of them.",
    summary="The order of linear predictors survives every law of the noise; routers made for Gaussian noise do not: "
            "under Laplace or t noise soft routing loses to dense at signal-to-noise 1. Under correlated noise, "
            "between unequal experts and with many small ones dense can win.",
    finding="Theorems 2, 3 and 5 keep their order under Laplace, t and Rademacher noise: the risks depend on its "
            "variance only, and fitted experts stay ahead, with 1.32 (Laplace), 0.77 (Rademacher) or 1.31 times (t, "
            "where first order in 1/n says 1.69: its tail takes thousands of rows) their excess risk under Gaussian "
            "noise. Theorem 1's router, by the corrected score, does not carry over: at signal-to-noise 1 it routes "
            "33 % of the rows right under Laplace noise (Bayes classifier: 41 %) and 79 % under Rademacher noise (100 "
            "%, as two values give the blocks away), and soft routing, made for Gaussian noise, loses to dense by 12 "
            "% under Laplace and 15 % under t noise; it wins from 2 on, and at all ratios where the gate is made for "
            "the law. Correlated noise: up to a correlation of 0.71 of neighbours or 0.43 of all features experts win "
            "whatever the coefficients. Beyond, dense subtracts noise that other blocks show: with coefficients of "
            "opposed signs it wins from 0.80 and 0.43 on (at 0.9: 3.9 against 5.1, and 1.3 against 5.2), with equal "
            "ones never, with random ones at 0.9 in 2.8 % and 35 % of draws. Experts that see all features always "
            "win. Descent stays faster for experts under either correlation. Unequal experts: each has its own peak, "
            "at n = d_i / p_i, around which dense wins: with 120 of 192 features in one of four experts with equal "
            "loads, in 94 % of fits at n = 440; with a load of 0.1, in 77 % at n = 1320. Unequal loads alone help "
            "experts under louder noise: with 64 experts and test noise 20 dense leads by 8.4 where loads are equal "
            "and loses by 2.3 where they follow Zipf's law; at 80 dense leads in both. More experts of the same "
            "features in all: the oracle's lead grows, a router's peaks. At signal-to-noise 2 hard and soft routing "
            "are best with 4 experts (lead 0.46 and 0.47) and have -1.04 and 0.14 with 64.",
    presets={
        "quick": {
            "laws": {"scales": (1.0, 8.0), "shown_scales": (1.0, 8.0), "rows": 250, "replicates": 28},
            "fits": {"replicates": 48},
            "correlation": {"strengths": (0.3, 0.9), "shown": (0.3, 0.9), "rows": 500, "replicates": 32, "draws": 500},
            "descent": {"n": 160, "replicates": 12},
            "unequal": {"sizes": (440, 1320), "replicates": 20, "noises": (20.0, 80.0), "rows": 400,
                        "loaded_replicates": 24},
            "counts": {"ks": (1, 4, 16, 64), "scales": (2.0,), "rows": 200, "replicates": 24},
        },
        "paper": {
            "laws": {"scales": (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0), "shown_scales": (0.5, 1.0, 2.0, 8.0),
                     "rows": 800, "replicates": 48},
            "fits": {"replicates": 400},
            "correlation": {"strengths": (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95), "shown": (0.3, 0.5, 0.9),
                            "rows": 1500, "replicates": 48, "draws": 5000},
            "descent": {"n": 400, "replicates": 16},
            "unequal": {"sizes": (96, 140, 240, 290, 340, 440, 540, 800, 1320, 2400), "replicates": 160,
                        "noises": (20.0, 80.0), "rows": 3000, "loaded_replicates": 48},
            "counts": {"ks": (1, 2, 4, 8, 16, 32, 64), "scales": (0.5, 2.0, 8.0), "rows": 600, "replicates": 48},
        },
    },
    measure=measure,
    figures=figures,
    beyond=True,
)
