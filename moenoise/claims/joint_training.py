"""Router and experts trained together from scratch: do the experts settle first, and what is left of their advantage?

PyTorch trains, see `joint_descent`; it is an optional extra, and without it there is one record that says so.
"""

import dataclasses
import math
import warnings

import numpy as np

from .. import theory
from .base import Claim, Estimate, compare
from .joint_descent import Case, Trained, draw, imported_torch, one_thread, train
from .joint_measures import ALIGNED, aligned, best_look, settling
from .simulation import response_variance

NAME = "joint-training"

# Replicates that are trained side by side; no number depends on it but by rounding.
BATCH = 8

# What is left of the way to a least-squares fit after the last step, and single precision.
UNFINISHED = 1e-3

LOOKS = 30  # at most so many looks on the way

CASES = {
    "base case": Case(),
    "2 experts": Case(k=2),
    "8 experts": Case(k=8),
    "signal-to-noise 16": Case(snr=16.0),
    "signal-to-noise 1": Case(snr=1.0),
    "signal-to-noise 1, 4,000 rows": Case(snr=1.0, rows=4_000),
    "signal-to-noise 0.25": Case(snr=0.25),
    "150 rows": Case(rows=150),
    "router's step x10": Case(router_step=10.0),
    "experts' step x0.1": Case(experts_step=0.1),
    "all features, 2 experts": Case(k=2, sees="all"),
    "all features, 4 experts": Case(sees="all"),
    "all features, 8 experts": Case(k=8, sees="all"),
    "all features, equal start": Case(sees="all", start="equal"),
    "linear gate": Case(gate="linear"),
    "linear gate, all features, 2 experts": Case(k=2, gate="linear", sees="all"),
    "router fixed: uniform": Case(router_step=0.0),
    "router fixed: best": Case(router="best", router_step=0.0),
    "experts fixed: random": Case(experts_step=0.0),
    "experts fixed: best": Case(start="best", experts_step=0.0),
}


@dataclasses.dataclass(eq=False)
class Rivals:
    """Fits to the same rows without descent, (replicates,) each, and theory's numbers."""

    dense: np.ndarray  # risk of least squares
    likelihood: np.ndarray  # risk of the soft mixture that maximises the likelihood, without labels as well
    true: np.ndarray  # the best predictor's, on the same rows
    stated: np.ndarray  # (replicates, 3): that by theory, its standard error, and the best dense coefficients'


def measure(run, *, cases, replicates, steps, test_rows):
    """Distances and risks along the training of each case, and the risks of fits to the same rows."""
    torch = imported_torch()
    if torch is None:
        missing = "PyTorch is not installed: pip install torch"
        return [compare(NAME, "cases trained", missing, Estimate.exactly(0))], {"trained": {}, "not_measured": missing}
    looks = look_steps(steps)
    batches = [range(start, min(start + BATCH, replicates)) for start in range(0, replicates, BATCH)]
    items = [(CASES[name], batch) for name in cases for batch in batches]
    problems = list(dict.fromkeys(problem_of(case) for case, _ in items))
    with one_thread(torch):
        parts = run.map(lambda item: train(torch, run, *item, looks, test_rows), items, "training")
    fits = run.map(lambda item: rival_fits(run, *item, test_rows),
                   [(problem, replicate) for problem in problems for replicate in range(replicates)], "rivals")
    count = len(batches)
    trained = {name: joined(Trained, parts[i * count:(i + 1) * count]) for i, name in enumerate(cases)}
    rivals = {problem: Rivals(*map(np.array, zip(*fits[i * replicates:(i + 1) * replicates])))
              for i, problem in enumerate(problems)}
    # The best predictor and the test rows are the same for any number of training rows.
    records = [true_record(*problem, rivals[problem])
               for problem in {(k, snr): (k, snr, rows) for k, snr, rows in problems}.values()]
    data = {"looks": np.array(looks), "cases": {name: CASES[name] for name in cases}, "trained": trained,
            "rivals": {name: rivals[problem_of(CASES[name])] for name in cases}}
    for name, case in data["cases"].items():
        records += case_records(case, trained[name], data["rivals"][name], data["looks"])
    return records, data


def problem_of(case):
    """What the rows of a case depend on."""
    return case.k, case.snr, case.rows


def look_steps(steps):
    """The numbers of steps after which all is measured: evenly spaced on a logarithmic axis, and the start."""
    return sorted({0, *np.geomspace(1, steps, LOOKS).round().astype(int).tolist()})


def joined(kind, parts):
    """One `kind` of arrays from those of the batches."""
    return kind(*map(np.concatenate, zip(*(vars(part).values() for part in parts))))


def rival_fits(run, problem, replicate, test_rows):
    """The parts of `Rivals` of one replicate."""
    from ..bayes_predictor import BayesPredictor
    from ..estimators import DenseRegressor, ExpertsRegressor

    model, training, test, seed = draw(run, *problem, replicate, test_rows)
    # One start, as the descent has.
    fits = (DenseRegressor(), ExpertsRegressor(model.block_sizes, routing="soft", n_starts=1, random_state=seed),
            BayesPredictor(model))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where signals are weak it may not converge: that is part of its risk
        risks = [np.mean((fit.fit(training.features, training.response).predict(test.features) - test.response) ** 2)
                 for fit in fits]
    exact = theory.soft_risk(model, n_samples=test_rows, rng=seed)
    scale = response_variance(model)
    return *(risk / scale for risk in risks), np.array([*exact.soft, exact.dense.value]) / scale


def true_record(k, snr, rows, rivals):
    """The best predictor's risk, beside theory's."""
    values, errors, _ = rivals.stated.T
    ratio = Estimate.of(rivals.true / values)  # one by one: their coefficients differ, and theory knows them
    error = math.hypot(ratio.standard_error, math.sqrt(np.sum((errors / values) ** 2)) / len(values))
    return compare(NAME, "best predictor: risk / theory's", Case(k, snr, rows).setting,
                   ratio._replace(standard_error=error), corrected=1.0)


def case_records(case, trained, rivals, looks):
    """All comparisons of a case: exact ones, and where both parts are trained those of the remark."""
    records = exact_records(case, trained, rivals) + distance_records(case, trained)
    if not case.is_dense:
        records += order_records(case, trained, looks) + risk_records(case, trained, rivals)
    return records


def exact_records(case, trained, rivals):
    """What must be so: the excess over the best predictor, and where nothing beats one linear function."""
    excess = trained.risk[:, -1] - trained.true
    surplus = Estimate.of(excess - trained.distance)._replace(mean=excess.mean())
    records = [compare(NAME, "excess risk over the best predictor's: their answers' mean squared distance",
                       case.setting, surplus, corrected=trained.distance.mean())]
    if case.is_dense:
        records.append(compare(NAME, "risk / least squares', dense", f"{case.setting}, margin {UNFINISHED:g}",
                               Estimate.of(trained.risk[:, -1] / rivals.dense), corrected=1.0, margin=UNFINISHED))
    if case.gate == "linear" and case.k == 2:
        # x and -x are as likely and have opposite best answers, so a predictor's odd part has the lower risk; that of
        # s(u) w_1'x + s(-u) w_2'x, with u linear in x and s(u) + s(-u) = 1, is (w_1 + w_2)'x / 2: one linear function.
        records.append(compare(NAME, "risk / dense's by Theorem 2, at least 1", case.setting,
                               Estimate.of(trained.risk[:, -1] / rivals.stated[:, 2]), corrected=1.0,
                               relation="at least"))
    return records


def distance_records(case, trained):
    """How near the trained parts come to the best ones; that the router does is stated of training them together."""
    records = []
    for part, curves, step in (("experts'", trained.experts, case.experts_step),
                               ("router's", trained.router, case.router_step)):
        stated = part == "router's" and case.joint and not case.is_dense
        if step > 0:
            quantity = f"{part} distance from the best, end / start"
            records.append(compare(NAME, f"{quantity}, at most {ALIGNED:g}" if stated else quantity, case.setting,
                                   Estimate.of(curves[:, -1] / curves[:, 0]), printed=ALIGNED if stated else None,
                                   relation="at most"))
    return records


def order_records(case, trained, looks):
    """Steps until the parts have settled, and whether the router's probabilities take longer than the experts do.

    Its choices may have settled long before: they are only shown.
    """
    records = [compare(NAME, "share of runs in which both parts align", case.setting,
                       Estimate.of(aligned(trained)))] if case.joint else []
    times = settling(trained, looks)
    for part, logs in times.items():
        if part != "experts" or case.experts_step > 0:
            records.append(compare(NAME, f"log of steps until settled, {part}", case.setting, Estimate.of(logs)))
    if times and case.joint:
        for part, stated in (("router's choices", None), ("router's probabilities", 0.0)):
            quantity = f"log of steps until settled, {part} / experts"
            records.append(compare(NAME, quantity if stated is None else f"{quantity}, at least 0", case.setting,
                                   Estimate.of(times[part] - times["experts"]), printed=stated, relation="at least"))
    return records


def risk_records(case, trained, rivals):
    """Risks over that of least squares on the same rows: at the end, stopped in time, and by maximum likelihood."""
    if not case.joint:
        return []
    records = [compare(NAME, "experts in use at the end", case.setting, Estimate.of(trained.in_use))]
    for name, risk, stated in (("trained together", trained.risk[:, -1], 0.0),
                               ("stopped in time", trained.risk[:, best_look(trained)], None),
                               ("maximum likelihood", rivals.likelihood, None)):
        quantity = f"log of risk, {name} / dense"
        records.append(compare(NAME, quantity if stated is None else f"{quantity}, at most 0", case.setting,
                               Estimate.of(np.log(risk / rivals.dense)), printed=stated, relation="at most"))
    return records


def figures(data):
    """Those of `joint_figures`; none where nothing was trained."""
    from . import joint_figures

    return joint_figures.figures(data) if data["trained"] else {}


CLAIM = Claim(
    name=NAME,
    place="Section 4.1, after Theorem 1 (later version)",
    statement="Trained together, experts converge faster than the router and guide it to align, so that the advantage "
              "of experts still holds.",
    summary="Experts settle first (8 steps, the router's probabilities 59), the router aligns, and the risk is 0.53 of "
            "dense's. Not with a linear gate, equal first experts, weak signals, or 8 experts that see all features.",
    finding="Experts settle (90 % of their way) before the router's probabilities in all ten cases where both align in "
            "at least half of the runs: after 8 steps against 59 in the base case, 1.9 to 17 times as fast, and still "
            "1.9 times where their step is a tenth of the router's. Its choices take 0.5 to 1.8 times the experts' "
            "steps (8 in the base case), but that depends on what counts as settled. Guided it is: beside random "
            "experts that are not trained the router ends 1.4 times as far from the posterior as it began, trained "
            "with them at 0.07 of that, beside the best experts at 0.06. But it guides them as well: beside a uniform "
            "router experts end 1.5 times as far from the Bayes experts as they began, with the router trained at "
            "0.005. The advantage then holds: 0.53 of dense's risk (maximum likelihood: 0.51). It is lost with a "
            "linear gate, which cannot see the blocks (1.10 with 4 experts; two behind it never beat one linear "
            "function); from equal experts, which stay equal and become the least-squares fit; at signal-to-noise 0.25 "
            "(1.09, the router 15 times as far as it began); and with 8 experts that see all features (1.33), unless "
            "they are stopped in time, by the test rows themselves (0.70). Little is left at signal-to-noise 1 (0.97; "
            "stopped in time 0.91), where the router comes near and leaves again, and nothing for sure with 150 rows "
            "(0.94, two standard errors below 1, the router at 0.66; stopped in time 0.69, maximum likelihood 0.49). "
            "Of 4 experts that see all features the router aligns in 30 % of the runs; their risk is 0.64 of dense's "
            "all the same.",
    presets={
        "quick": {"cases": ("base case", "150 rows", "all features, equal start",
                            "linear gate, all features, 2 experts", "router fixed: uniform", "experts fixed: random"),
                  "replicates": 16, "steps": 100, "test_rows": 1_000},
        "paper": {"cases": tuple(CASES), "replicates": 40, "steps": 400, "test_rows": 2_000},
    },
    measure=measure,
    figures=figures,
)
