"""How often each answer of `moenoise.audit` is wrong, on data whose answers are known.

    python tests/audit_errors.py --seeds 100 --out FILE

Prints, for each kind of data, the share of audits that answer yes, no, and cannot tell. Not part of the suite: an audit
takes some seconds.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from scipy.special import ndtr

import moenoise as mn

N, D, K = 2000, 96, 4
NAMES = ("modular", "off_block_is_noise", "model_predicts", "experts_help")


def planted(seed, snr):
    """Isotropic modules of a signal-to-noise ratio (variances)."""
    model = mn.BlockModel.isotropic(D, K, variance=snr, rng=seed)
    return model.sample(N, rng=seed + 1)[:2]


def planted_with_dense_response(seed):
    """Modules, and a response that depends on all features alike: every expert misses what lies outside its block."""
    generator = np.random.default_rng(seed)
    features, _ = planted(seed, 2.0)
    return features, features @ generator.standard_normal(D) + generator.standard_normal(N)


def low_rank(seed):
    """Gaussian features of rank 8 with noise, and a linear response."""
    generator = np.random.default_rng(seed)
    features = generator.standard_normal((N, 8)) @ generator.standard_normal((8, D)) / np.sqrt(8)
    features += 0.3 * generator.standard_normal((N, D))
    return features, features @ generator.standard_normal(D) + generator.standard_normal(N)


def heavy_tails(seed):
    """Independent features of Student's t, a few of them thirty times as large; a linear response."""
    generator = np.random.default_rng(seed)
    features = generator.standard_t(3, (N, D))
    features[:, :5] *= 30
    response = features[:, 5:] @ generator.standard_normal(D - 5) + generator.standard_normal(N)
    return features, response


def scaled_rows(seed):
    """As `low_rank`, each row by a factor of its own."""
    features, response = low_rank(seed)
    return features / np.sqrt(np.random.default_rng(seed).chisquare(4, (N, 1)) / 4), response


CASES = {
    "modules, signal-to-noise 1": lambda seed: planted(seed, 1.0),
    "modules, signal-to-noise 2": lambda seed: planted(seed, 2.0),
    "modules, signal-to-noise 4": lambda seed: planted(seed, 4.0),
    "modules, dense response": planted_with_dense_response,
    "low rank": low_rank,
    "low rank, ReLU": lambda seed: (np.maximum(low_rank(seed)[0], 0), low_rank(seed)[1]),
    "low rank, GELU": lambda seed: (gelu(low_rank(seed)[0]), low_rank(seed)[1]),
    "low rank, rows scaled": scaled_rows,
    "heavy tails, outlier columns": heavy_tails,
    "noise alone": lambda seed: (np.random.default_rng(seed).standard_normal((N, D)),
                                 np.random.default_rng(seed + 1).standard_normal(N)),
}


def gelu(x):
    return x * ndtr(x)


def one_audit(case_and_seed):
    """The answers, z and ratio of one audit."""
    case, seed = case_and_seed
    found = mn.audit(*CASES[case](1000 * seed), noise=(0, 0.5), rng=seed, jobs=1, progress=False)
    return {"case": case, "seed": seed, "z": found.modularity.z, "ratio": found.modularity.ratio,
            "experts": found.modules.k} | {name: getattr(found.verdict, name) for name in NAMES}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    tasks = [(case, seed) for seed in range(arguments.seeds) for case in CASES]
    results = []
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for result in pool.map(one_audit, tasks):
            results.append(result)
            if arguments.out:
                with open(arguments.out, "a") as file:
                    print(json.dumps(result), file=file)
    for case in CASES:
        mine = [result for result in results if result["case"] == case]
        counts = {name: [sum(result[name] is answer for result in mine) for answer in (True, False, None)]
                  for name in NAMES}
        ratios = [result["ratio"] for result in mine]
        print(f"{case:30s} {len(mine)} audits, ratio {min(ratios):.2f} to {max(ratios):.2f}; yes/no/unknown: "
              + ", ".join(f"{name} {'/'.join(map(str, count))}" for name, count in counts.items()))


if __name__ == "__main__":
    main()
