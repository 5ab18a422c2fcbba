"""How often each answer of `moenoise.audit` is wrong, on data whose answers are known.

    python tests/audit_errors.py --seeds 100 --out FILE

Prints, for each kind of data, the share of audits that answer yes, and that cannot tell; with --readme also into the
README. Not part of the suite: an audit takes some seconds.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from scipy.special import ndtr

import moenoise as mn

README = Path(__file__).parent.parent / "README.md"
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


def loud_rows_and_columns(seed):
    """Independent signs; magnitudes of loud columns in loud rows, which is no module."""
    generator = np.random.default_rng(seed)
    scales = np.exp(generator.standard_normal((N, 1))) * np.exp(generator.standard_normal((1, D)))
    features = scales * generator.standard_normal((N, D))
    return features, features @ generator.standard_normal(D) + generator.standard_normal(N)


def rectified(seed, threshold=0.0):
    """What exceeds a threshold, in standard deviations, of `low_rank`."""
    features, response = low_rank(seed)
    return np.maximum(features / features.std(axis=0) - threshold, 0), response


def planted_rectified(seed):
    """Modules behind a ReLU: there they are correlations."""
    features, response = planted(seed, 4.0)
    return np.maximum(features, 0), response


CASES = {
    "modules, signal-to-noise 1": lambda seed: planted(seed, 1.0),
    "modules, signal-to-noise 2": lambda seed: planted(seed, 2.0),
    "modules, signal-to-noise 4": lambda seed: planted(seed, 4.0),
    "modules, after a ReLU": planted_rectified,
    "modules, dense response": planted_with_dense_response,
    "low rank": low_rank,
    "low rank, ReLU": rectified,
    "low rank, sparse ReLU": lambda seed: rectified(seed, 1.5),
    "low rank, GELU": lambda seed: (gelu(low_rank(seed)[0]), low_rank(seed)[1]),
    "low rank, rows scaled": scaled_rows,
    "heavy tails, outlier columns": heavy_tails,
    "loud rows and columns": loud_rows_and_columns,
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
    parser.add_argument("--out", help="a file to which each result is added, a line of JSON")
    parser.add_argument("--readme", action="store_true", help="rewrite the README's table")
    arguments = parser.parse_args()
    tasks = [(case, seed) for seed in range(arguments.seeds) for case in CASES]
    results = []
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for result in pool.map(one_audit, tasks):
            results.append(result)
            if arguments.out:
                with open(arguments.out, "a") as file:
                    print(json.dumps(result), file=file)
    print(table(results))
    if arguments.readme:
        text = README.read_text()
        begin, end = (text.index(f"<!-- audit: {mark} -->") for mark in ("begin", "end"))
        README.write_text(f"{text[:begin]}<!-- audit: begin -->\n{table(results)}\n{text[end:]}")


def table(results):
    """How often each answer was yes, and "cannot be told", as a Markdown table."""
    rows = ["| data | audits | modular | rest is noise | model predicts | experts help |", "|---|---|---|---|---|---|"]
    for case in CASES:
        mine = [result for result in results if result["case"] == case]
        rows.append(f"| {case} | {len(mine)} | {' | '.join(counted(mine, name) for name in NAMES)} |")
    return "\n".join(rows)


def counted(results, name):
    """ "yes" in so many per cent, and what cannot be told."""
    yes, unknown = (100 * np.mean([result[name] is answer for result in results]) for answer in (True, None))
    return f"{yes:.0f} %" + (f" ({unknown:.0f} % cannot be told)" if unknown else "")


if __name__ == "__main__":
    main()
