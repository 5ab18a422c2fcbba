"""Router and experts trained together by gradient descent, and what becomes of both (not a claim of its own).

Isotropic blocks, noise of variance 1, balanced loads: signal-to-noise is the ratio of a clean feature's variance, in
rows of its own expert, to the noise's. The mixture ``f(x) = sum_i q_i(x) w_i' x`` with ``q = softmax(G z(x))`` is
trained by full-batch gradient descent on the mean of ``(f - y)^2``, all of it from the start; nobody tells it the
experts of the rows. With isotropic blocks the true posterior's logits are linear in the squares of the features, so
that the quadratic gate, ``z = (x_1^2, ..., x_d^2)``, holds the best router, and the linear one, ``z = x``, does not.
Features and squares are brought to variance 1: their units favour neither router nor experts.

The functions that train take the module `torch` as an argument: it need not be installed.
"""

import contextlib
import dataclasses
import math

import numpy as np
from scipy.optimize import linear_sum_assignment

from .. import theory
from ..designs import standard_normal
from ..model import BlockModel
from .simulation import response_variance
from .theorem_1_samples import BestRouter

BLOCK_SIZE, NOISE_VARIANCE = 4, 1.0

# The step is this times k, since a k-th of the rows is an expert's: steps much larger do not converge.
STEP_PER_EXPERT = 0.25


@dataclasses.dataclass(frozen=True)
class Case:
    """What is trained, on what; a step of 0 leaves that part as it starts.

    Attributes
    ----------
    sees : {"own", "all"}
        Whether each expert sees its own block, or all features, so that it has to find the block first.
    gate : {"quadratic", "linear"}
    start : {"random", "equal", "best"}
        The experts: independent N(0, 1/d) coefficients, those of one expert for all, or the Bayes coefficients.
    router : {"uniform", "best"}
        How it starts: the same probabilities for all, or the true posterior.
    experts_step, router_step : float
        As multiples of the step size.
    """

    k: int = 4
    snr: float = 4.0
    rows: int = 1_000
    sees: str = "own"
    gate: str = "quadratic"
    start: str = "random"
    router: str = "uniform"
    experts_step: float = 1.0
    router_step: float = 1.0

    @property
    def joint(self):
        """Whether both parts are trained."""
        return self.experts_step > 0 and self.router_step > 0

    @property
    def is_dense(self):
        """Whether all that is reached is one linear function: equal experts stay equal; a uniform router adds them."""
        return self.start == "equal" or (self.router_step == 0 and self.router == "uniform")

    @property
    def setting(self):
        """The setting's text."""
        parts = [f"k={self.k}, d_i={BLOCK_SIZE}, signal-to-noise {self.snr:g}, n={self.rows:,}"]
        parts += ["experts see all features"] if self.sees == "all" else []
        parts += ["linear gate"] if self.gate == "linear" else []
        parts += ["experts start equal"] if self.start == "equal" else []
        parts += [f"router fixed: {self.router}"] if self.router_step == 0 else []
        parts += [f"experts fixed: {self.start}"] if self.experts_step == 0 else []
        parts += [f"router's step x{self.router_step:g}"] if self.router_step not in (0, 1) else []
        parts += [f"experts' step x{self.experts_step:g}"] if self.experts_step not in (0, 1) else []
        return ", ".join(parts)


@dataclasses.dataclass(eq=False)
class Trained:
    """What became of a case's replicates: by replicate and look, but for the last three, by replicate."""

    experts: np.ndarray  # expected squared distance of the experts' answers from the Bayes experts', on their own rows
    router: np.ndarray  # mean squared distance of the probabilities from the posterior
    choices: np.ndarray  # excess routing error of the likeliest expert
    risk: np.ndarray  # squared error on new rows; all risks are over the response's variance
    true: np.ndarray  # that of the best predictor, on the same rows
    distance: np.ndarray  # mean squared distance of the last answers from the best predictor's
    in_use: np.ndarray  # experts in use at the end: 1 / sum of squared mean probabilities


def imported_torch():
    """The module, or None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    return torch


@contextlib.contextmanager
def one_thread(torch):
    """Torch on one thread: the work is spread over replicates, and more threads would only compete."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def draw(run, k, snr, rows, replicate, test_rows):
    """(model, training sample, test sample, seed); the model's coefficients are drawn too."""
    seed = run.rng(replicate)
    model = BlockModel.isotropic(k * BLOCK_SIZE, k, variance=snr, noise_variance=NOISE_VARIANCE, rng=seed)
    return model, model.sample(rows, rng=seed), model.sample(test_rows, rng=seed, replicate=1), seed


def moments(k, snr):
    """Variance of a noisy feature, and standard deviation of its square, over all rows."""
    own, other = snr + NOISE_VARIANCE, NOISE_VARIANCE
    variance = (own + (k - 1) * other) / k
    return variance, math.sqrt(3 * (own**2 + (k - 1) * other**2) / k - variance**2)


def gate_inputs(case, X):
    """``z(x)`` of each row of X (n, d), standardised; no constant, because the loads are balanced."""
    variance, deviation = moments(case.k, case.snr)
    return (X**2 - variance) / deviation if case.gate == "quadratic" else X / math.sqrt(variance)


def best_experts(case, model):
    """(k, d) Bayes coefficients, for standardised features and responses."""
    coefficients = np.zeros((model.k, model.d))
    for row, block, own in zip(coefficients, model.blocks, theory.bayes_sparse(model)):
        row[block] = own
    return coefficients * math.sqrt(moments(case.k, case.snr)[0] / response_variance(model))


def best_gate(case):
    """(k, d) coefficients of the quadratic gate that are the true posterior's."""
    slope = 0.5 * (1 / NOISE_VARIANCE - 1 / (case.snr + NOISE_VARIANCE)) * moments(case.k, case.snr)[1]
    return slope * own_features(case.k)


def own_features(k):
    """(k, d): 1 where the feature is of the expert's own block, else 0."""
    return np.kron(np.eye(k), np.ones(BLOCK_SIZE))


def first_experts(case, model, seed):
    """(k, d) coefficients with which the experts start."""
    if case.start == "best":
        return best_experts(case, model)
    drawn = standard_normal((case.k, model.d), rng=seed) / math.sqrt(model.d)
    drawn = np.tile(drawn[0], (case.k, 1)) if case.start == "equal" else drawn
    return drawn * own_features(case.k) if case.sees == "own" else drawn


def train(torch, run, case, batch, looks, test_rows):
    """The `Trained` of a batch of replicates, side by side."""
    draws = [draw(run, case.k, case.snr, case.rows, replicate, test_rows) for replicate in batch]

    def stacked(arrays):
        return torch.tensor(np.stack(arrays), dtype=torch.float32)

    def rows(samples):
        # Rows come last: products with few experts and many rows are ten times faster like that.
        features = stacked([sample.features.T for sample in samples]) / math.sqrt(moments(case.k, case.snr)[0])
        responses = [sample.response / math.sqrt(response_variance(model))
                     for (model, *_), sample in zip(draws, samples)]
        return features, stacked([gate_inputs(case, sample.features).T for sample in samples]), stacked(responses)

    models, training, tests, seeds = zip(*draws)
    experts = stacked([first_experts(case, model, seed) for model, seed in zip(models, seeds)])
    gate = best_gate(case) if case.router == "best" else np.zeros((case.k, case.k * BLOCK_SIZE))
    path = descend(torch, case, rows(training), experts, stacked([gate] * len(draws)), looks)
    best = stacked([best_experts(case, model) for model in models])
    posterior = stacked([BestRouter(model, test.features).probabilities.T for model, test in zip(models, tests)])
    return observe(torch, case, list(path), rows(tests), best, posterior)


def descend(torch, case, data, experts, gate, looks):
    """Gradient descent on the mean squared error of `answers`; yields (experts, gate) at each look.

    The replicates' errors are summed, so that each descends on its own.
    """
    features, inputs, response = data
    step = STEP_PER_EXPERT * case.k
    # An expert's coefficients of others' features are no parameters where it sees its own only.
    seen = torch.tensor(own_features(case.k) if case.sees == "own" else 1.0, dtype=experts.dtype)
    experts, gate = experts.requires_grad_(), gate.requires_grad_()
    for done in range(looks[-1] + 1):
        if done in looks:
            yield experts.detach().clone(), gate.detach().clone()
        error = (answers(torch, features, inputs, experts, gate)[0] - response).square().mean(1).sum()
        experts_gradient, gate_gradient = torch.autograd.grad(error, (experts, gate))
        with torch.no_grad():
            experts -= step * case.experts_step * seen * experts_gradient
            gate -= step * case.router_step * gate_gradient


def answers(torch, features, inputs, experts, gate):
    """(replicates, n) answers of the mixture and its (replicates, k, n) probabilities."""
    probabilities = torch.softmax(gate @ inputs, 1)
    return (probabilities * (experts @ features)).sum(1), probabilities


def observe(torch, case, path, test, best, posterior):
    """The `Trained` of a path of (experts, gate), on test rows; experts that see all are matched to the true ones."""
    features, inputs, response = test
    # Variances of the standardised features, on the rows of each expert.
    variances = torch.tensor((NOISE_VARIANCE + case.snr * own_features(case.k)) / moments(case.k, case.snr)[0],
                             dtype=best.dtype)
    match = matching(case, path[-1][0], best, variances)
    largest = posterior.amax(1)
    curves = []
    for experts, gate in path:
        answer, probabilities = answers(torch, features, inputs, experts, gate)
        matched = probabilities.take_along_dim(match[:, :, None], 1)
        chosen = matched == matched.amax(1, keepdim=True)  # all of them where they tie, as at a uniform start
        chosen_posterior = (posterior * chosen).sum(1) / chosen.sum(1)
        experts = experts.take_along_dim(match[:, :, None], 1)
        curves.append((((experts - best).square() * variances).sum((1, 2)) / case.k,
                       (matched - posterior).square().sum(1).mean(1), (largest - chosen_posterior).mean(1),
                       (answer - response).square().mean(1)))
    experts, router, choices, risk = (torch.stack(curve, 1).double().numpy() for curve in zip(*curves))
    best_answer = (posterior * (best @ features)).sum(1)
    ends = ((best_answer - response).square().mean(1), (answer - best_answer).square().mean(1),
            1 / probabilities.mean(2).square().sum(1))
    return Trained(experts, router, choices, risk, *(end.double().numpy() for end in ends))


def matching(case, experts, best, variances):
    """(replicates, k): which trained expert stands for each true one, so that their squared distances are least."""
    order = np.tile(np.arange(case.k), (len(best), 1))
    if case.sees == "all":
        distances = ((experts[:, None] - best[:, :, None]).square() * variances[:, None]).sum(3).numpy()
        order = np.array([linear_sum_assignment(own)[1] for own in distances])
    return best.new_tensor(order).long()
