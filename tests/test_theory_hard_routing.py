"""The exact risk of hard routing: against brute force and quadrature, its identities, and models far from ordinary."""

import dataclasses
import itertools

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from monte_carlo import agrees, draw

import moenoise as mn
from moenoise import theory
from moenoise.theory import _quadratic_forms, hard_routing


def unequal(seed, noise_variance):
    """Blocks of 3, 1 and 2 features, whose covariances do not commute with those of another seed."""
    rng, sizes = np.random.default_rng(seed), (3, 1, 2)
    roots = [rng.standard_normal((d, d)) for d in sizes]
    return mn.BlockModel([root @ root.T + 0.1 * np.eye(d) for root, d in zip(roots, sizes)],
                         [rng.uniform(1, 2, d) * rng.choice([-1, 1], d) for d in sizes],
                         rng.dirichlet([4.0] * 3), noise_variance)


SINGULAR = mn.BlockModel(
    [[[2.0, 0.6, 0.0], [0.6, 1.0, 0.3], [0.0, 0.3, 0.5]], [[3.0]], [[1.0, 1.0], [1.0, 1.0]]],
    [[1.0, -2.0, 0.5], [1.4], [2.0, 1.0]],
    probabilities=[0.5, 0.3, 0.2],
    noise_variance=0.5,
)
UNEQUAL, ROTATED = unequal(5, 0.5), unequal(6, 0.8)
TOEPLITZ = mn.BlockModel.toeplitz
CASES = {
    "equal blocks": (TOEPLITZ(12, 3, scale=1.5, rng=0), None),
    "one expert, another belief": (mn.BlockModel([np.eye(2)], [[1.0, 2.0]]),
                                   mn.BlockModel([3 * np.eye(2)], [[1.0, -1.0]])),
    "two of one feature": (TOEPLITZ(2, 2, scale=3.0, rng=0), None),
    "12 experts, weak": (TOEPLITZ(60, 12, scale=0.5, rng=0), None),
    "strong signals": (TOEPLITZ(32, 4, scale=8.0, rng=0), None),
    "40 features, weak": (TOEPLITZ(120, 3, scale=0.2, rng=1), None),
    "zero eigenvalues": (SINGULAR, None),
    "three times the noise": (dataclasses.replace(SINGULAR, noise_variance=1.5), SINGULAR),
    "half the noise": (dataclasses.replace(SINGULAR, noise_variance=0.25), SINGULAR),
    "other loads": (SINGULAR, dataclasses.replace(SINGULAR, probabilities=[0.1, 0.3, 0.6])),
    "rotated": (UNEQUAL, ROTATED),
    "rotated, believed singular": (UNEQUAL, SINGULAR),
    "rotated, truth singular": (SINGULAR, UNEQUAL),
    "no coefficients but one": (mn.BlockModel([np.eye(2), [[3.0]]], [[0.0, 0.0], [2.0]]), None),
}
EACH_CASE = pytest.mark.parametrize("case", CASES)


def likeliest(model, features):
    """(n,) experts, from densities of whole rows."""
    scores = []
    for probability, block, own in zip(model.probabilities, model.blocks, model.covariances):
        root = np.linalg.cholesky(own + model.noise_variance * np.eye(len(own)))
        whitened, others = np.linalg.solve(root, features[:, block].T), np.delete(features, block, axis=1)
        log_determinant = 2 * np.log(root.diagonal()).sum() + others.shape[1] * np.log(model.noise_variance)
        squares = (whitened**2).sum(axis=0) + (others**2).sum(axis=1) / model.noise_variance
        scores.append(np.log(probability) - 0.5 * (log_determinant + squares))
    return np.argmax(scores, axis=0)


def brute_force(model, believed, n, seed):
    """(n,) squared errors on drawn responses, true experts and where they are routed: nothing is integrated."""
    features, response, expert = draw(model, n, np.random.default_rng(seed))
    routed = likeliest(believed, features)
    coefs = [np.linalg.solve(own + believed.noise_variance * np.eye(len(own)), own @ beta)
             for own, beta in zip(believed.covariances, believed.coefficients)]
    answers = np.column_stack([features[:, block] @ coef for block, coef in zip(model.blocks, coefs)])
    return (response - answers[np.arange(n), routed]) ** 2, expert, routed


def simulated(case, n=200_000):
    model, believed = CASES[case]
    return brute_force(model, believed or model, n, seed=1)


def agrees_with(routed, errors, expert, sent):
    """Whether the risk and the shares of routes pass `agrees`, but shares of too few rows for its normal law."""
    for i, shares in enumerate(routed.confusion):
        own = sent[expert == i]
        often = np.minimum(shares, 1 - shares) * len(own) > 30
        if often.any() and not agrees((own[:, None] == np.arange(len(shares)))[:, often], shares[often]):
            return False
    return agrees(errors, routed.risk)


@EACH_CASE
def test_against_brute_force(case):
    """Standard errors are 0.2 to 0.7 % of the risk, and at most 0.003 of a share."""
    model, believed = CASES[case]
    errors, expert, sent = simulated(case)
    assert errors.std() / np.sqrt(len(errors)) < 0.007 * errors.mean()
    assert agrees_with(theory.routed_risk(model, believed=believed), errors, expert, sent)


def without_column(name, column):
    """`_scores` with one of its weights set to zero."""
    scores = hard_routing._scores

    def changed(model, believed):
        found = scores(model, believed)
        weights = [getattr(score, name).copy() for score in found]
        for values in weights:
            values[:, column] = 0
        return [score._replace(**{name: values}) for score, values in zip(found, weights)]

    return changed


@pytest.mark.parametrize("wrong", ["own error", "target", "wrong answer", "belief", "own score", "handicap"])
def test_a_wrong_term_is_caught(wrong, monkeypatch):
    """At the size of the test above, where the covariances are rotated."""
    scores = hard_routing._scores
    changed = {
        "own error": without_column("own_outputs", 1),
        "target": without_column("own_outputs", 0),
        "wrong answer": without_column("noise_outputs", 0),
        "belief": lambda model, believed: scores(model, model),
        "own score": lambda model, believed: [score._replace(own=1.1 * score.own)
                                              for score in scores(model, believed)],
        "handicap": lambda model, believed: [score._replace(handicap=1.1 * score.handicap)
                                             for score in scores(model, believed)],
    }[wrong]
    monkeypatch.setattr(hard_routing, "_scores", changed)
    model, believed = CASES["rotated"]
    assert not agrees_with(theory.routed_risk(model, believed=believed), *simulated("rotated"))


def test_ignoring_directions_without_influence_is_caught(monkeypatch):
    """Where what is believed to be noise alone holds signal, the weights of zero scales count."""
    case, law = "rotated, believed singular", _quadratic_forms.law
    model, believed = CASES[case]
    drop = lambda scales, weights, points: law(scales, weights * (scales > 1e-12)[:, None], points)  # noqa: E731
    monkeypatch.setattr(hard_routing, "law", drop)
    assert not agrees_with(theory.routed_risk(model, believed=believed), *simulated(case))


@EACH_CASE
def test_confusion_has_rows_that_sum_to_one(case):
    model, believed = CASES[case]
    confusion = theory.routed_risk(model, believed=believed).confusion
    assert confusion.shape == (model.k, model.k) and confusion.min() >= 0
    np.testing.assert_allclose(confusion.sum(axis=1), 1, atol=1e-10)


@pytest.mark.parametrize("case", ["rotated", "rotated, believed singular", "rotated, truth singular"])
def test_no_cross_term_survives(case):
    """E[m_i w_j' x_j; i -> j] vanishes, whatever is believed: the route does not see the sign of a block."""
    model, believed = CASES[case]
    features, _, expert = draw(model, 200_000, np.random.default_rng(2))
    routed, rows = likeliest(believed, features), np.arange(len(features))
    target, answer = (
        np.column_stack([features[:, block] @ coef for block, coef in zip(model.blocks, theory.bayes_sparse(source))])
        for source in (model, believed))
    product = target[rows, expert] * answer[rows, routed] * (routed != expert)
    assert agrees(product, 0.0) and not agrees(product, 0.05 * abs(product).mean())


@pytest.mark.parametrize("case", ["two of one feature", "strong signals", "40 features, weak", "rotated"])
def test_densities_integrate_to_the_distribution_functions(case):
    """P(T <= t), and E[U; T <= t], at every t."""
    for score in hard_routing._scores(*[model or CASES[case][0] for model in CASES[case]]):
        t = np.exp(np.linspace(-45, 4, 6001)) * score.own.sum()
        law = _quadratic_forms.law(score.own, score.own_outputs, t)
        for cdf, density in ((law.cdf, law.density), *zip(law.weighted_cdf.T, law.weighted_density.T)):
            integral = scipy.integrate.cumulative_simpson(density * t, x=np.log(t), initial=0)
            np.testing.assert_allclose(integral, cdf, atol=1e-8 * cdf[-1])
        np.testing.assert_allclose(law.cdf[-1], 1, atol=1e-11)
        np.testing.assert_allclose(law.weighted_cdf[-1], score.own_outputs.sum(axis=0), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("d", [1, 2, 3, 10, 500])
def test_equal_scales_have_chi_squared_laws(d):
    t = 0.5 * d * np.exp(np.linspace(-3 if d > 10 else -30, 2, 200))
    law = _quadratic_forms.law(np.full(d, 3.0), np.full((d, 1), 2.0), 3.0 * t)
    more, chi2 = scipy.stats.chi2(d + 2), scipy.stats.chi2(d)
    np.testing.assert_allclose(law.cdf, chi2.cdf(2 * t), atol=1e-12)
    np.testing.assert_allclose(law.density * t, chi2.pdf(2 * t) * 2 * t / 3, atol=1e-11)
    np.testing.assert_allclose(law.weighted_cdf[:, 0] / d, 2 * more.cdf(2 * t), atol=1e-11)
    np.testing.assert_allclose(law.weighted_density[:, 0] / d * t, 2 * more.pdf(2 * t) * 2 * t / 3, atol=1e-11)


def exponential_and_gamma(m, b, t):
    """P(T <= t) and its derivative for T = Exp(1) + b Gamma(m): two scales of 1 beside 2 m of b."""
    below = scipy.special.gammainc(m, t / b)
    density = np.exp(-t - m * np.log1p(-b)) * scipy.special.gammainc(m, t * (1 - b) / b)
    return below - density, density


def few_scales_beside_many(m, b):
    """Largest errors, of P(T <= t) and of t times the densities, all over the law."""
    scales = np.r_[1.0, 1.0, np.full(2 * m, b)]
    t = np.r_[np.exp(np.linspace(-8, 4, 100)), m * b + b * np.sqrt(m) * np.linspace(-6, 100, 100)]
    t = t[t > 0]
    law = _quadratic_forms.law(scales, scales[:, None], t)
    cdf, density = exponential_and_gamma(m, b, t)
    weighted = law.weighted_density[:, 0] / 2  # U is 2 T
    return [np.abs(error).max() for error in (law.cdf - cdf, (law.density - density) * t, weighted - density * t)]


@pytest.mark.parametrize("m, b", [(150, 1e-3), (500, 1e-3), (2000, 1e-4), (2000, 1e-3), (10_000, 1e-5)])
def test_two_large_scales_beside_many_small_ones(m, b):
    assert max(few_scales_beside_many(m, b)) < 2e-12


@pytest.mark.parametrize("name, value", [("_STEP", 0.2), ("_END", 4.0), ("_SLOPE", 0.0), ("_SLOPE", 2.0)])
def test_another_path_is_caught(name, value, monkeypatch):
    monkeypatch.setattr(_quadratic_forms, name, value)
    assert max(few_scales_beside_many(500, 1e-3)) > 1e-10


@pytest.mark.parametrize("unit", [1e-250, 1e-100, 1e100, 1e250])
def test_units_of_scales_do_not_matter(unit):
    scales, t = np.array([1.0, 3.0, 1e-3]), np.geomspace(1e-5, 30, 40)
    law, other = (_quadratic_forms.law(c * scales, np.ones((3, 1)), c * t) for c in (1.0, unit))
    np.testing.assert_allclose(other.cdf, law.cdf, rtol=1e-11)
    np.testing.assert_allclose(other.density * unit, law.density, rtol=1e-11)
    np.testing.assert_allclose(other.weighted_density * unit, law.weighted_density, rtol=1e-11)


def series(scales, t, terms=3000):
    """P(T <= t) by Ruben's series of chi-squared distribution functions: all terms are positive."""
    least = scales.min()
    shares, powers = np.zeros(terms), 1 - least / scales
    shares[0] = np.sqrt(least / scales).prod()
    sums = 0.5 * (powers ** np.arange(1, terms)[:, None]).sum(axis=1)
    for n in range(1, terms):
        shares[n] = sums[:n] @ shares[n - 1::-1][:n] / n
    return shares @ scipy.special.gammainc(0.5 * len(scales) + np.arange(terms)[:, None], t / least)


@pytest.mark.parametrize("scales", [[1.0, 3.0], [1.0, 10.0], [1.0, 1.0, 1.0, 1.0, 5.0], [0.1, 0.2, 0.7, 1.0, 4.0]])
def test_unequal_scales_against_a_series(scales):
    """On both sides of the mean, and on the second branch point's side of the path."""
    scales = np.array(scales)
    t = np.exp(np.linspace(-6, 3, 60)) * scales.sum() / 2
    law = _quadratic_forms.law(scales, scales[:, None], t)
    np.testing.assert_allclose(law.cdf, series(scales, t), atol=1e-12)


def test_two_experts_of_one_feature_by_quadrature():
    """The route is a comparison of two squares: normal probabilities, integrated over the own feature."""
    model = mn.BlockModel([[[2.0]], [[5.0]]], [[1.5], [-0.7]], [0.3, 0.7], 0.8)
    believed = mn.BlockModel([[[3.0]], [[1.0]]], [[1.0], [0.5]], [0.6, 0.4], 1.1)
    s, b = model.noise_variance, believed.noise_variance
    own = [float(c[0, 0]) for c in believed.covariances]
    gain = [0.5 * (1 / b - 1 / (c + b)) for c in own]
    constant = [np.log(p) - 0.5 * np.log(c / b + 1) for p, c in zip(believed.probabilities, own)]
    risk, confusion = 0.0, np.empty((2, 2))
    for i, j in ((0, 1), (1, 0)):
        variance, beta = float(model.covariances[i][0, 0]), float(model.coefficients[i][0])
        mean = variance * beta / (variance + s)
        answers = [c * float(w[0]) / (c + b) for c, w in zip(own, believed.coefficients)]

        def bound(x):
            """|x_j| below which expert i wins."""
            return np.sqrt(max(constant[i] - constant[j] + gain[i] * x**2, 0.0) / gain[j])

        def lost(x):
            z = bound(x) / np.sqrt(s)
            share = 2 * scipy.stats.norm.sf(z)
            return share, s * (share + 2 * z * scipy.stats.norm.pdf(z))  # P, and E[x_j^2; route j]

        def integral(function):
            scale = np.sqrt(variance + s)
            edge = np.sqrt(max((constant[j] - constant[i]) / gain[i], 0.0))  # where the bound leaves 0
            pieces = [value for value in (0.0, edge, 12 * scale) if value == 0 or value >= edge]
            return sum(2 * scipy.integrate.quad(lambda x: function(x) * scipy.stats.norm.pdf(x, scale=scale), low,
                                                high, epsabs=1e-13, limit=200)[0]
                       for low, high in itertools.pairwise(sorted(set(pieces))))

        confusion[i, j] = integral(lambda x: lost(x)[0])
        confusion[i, i] = 1 - confusion[i, j]
        cost = integral(lambda x: (1 - lost(x)[0]) * ((mean - answers[i]) * x) ** 2 + lost(x)[0] * (mean * x) ** 2
                        + lost(x)[1] * answers[j] ** 2)
        risk += model.probabilities[i] * (s * beta * mean + cost)
    routed = theory.routed_risk(model, believed=believed)
    np.testing.assert_allclose(routed.confusion, confusion, atol=1e-9)
    assert routed.risk == pytest.approx(risk, rel=1e-9)


def test_one_expert_is_never_misrouted():
    model, believed = CASES["one expert, another belief"]
    assert theory.routed_risk(model).risk == pytest.approx(theory.generalization(model).sparse, rel=1e-10)
    coef = np.concatenate(theory.bayes_sparse(believed))
    assert theory.routed_risk(model, believed=believed).risk == pytest.approx(theory.risk(model, coef), rel=1e-10)


def test_perfect_routing_is_theorem_3():
    """Of strong signals under another noise, where hardly any row goes astray."""
    model = mn.BlockModel.isotropic(180, 3, variance=50.0, rng=0)
    noisier = dataclasses.replace(model, noise_variance=1.5)
    routed = theory.routed_risk(noisier, believed=model)
    assert np.trace(routed.confusion) == pytest.approx(3, abs=1e-9)
    assert routed.risk == pytest.approx(theory.robustness(model, 1.5).sparse, rel=1e-9)


@pytest.mark.parametrize("case", ["equal blocks", "12 experts, weak", "zero eigenvalues", "three times the noise"])
def test_against_soft_risk(case):
    """The same by averages over drawn rows, whose responses are integrated out."""
    model, believed = CASES[case]
    estimate = theory.soft_risk(believed or model, test_noise_variance=model.noise_variance, rng=2).hard
    assert estimate.standard_error < 0.003 * estimate.value
    assert abs(theory.routed_risk(model, believed=believed).risk - estimate.value) < 5 * estimate.standard_error


def scaled(model, factor):
    """The model of factor times all features; coefficients as they are, so that responses grow too."""
    return dataclasses.replace(model, covariances=[factor**2 * c for c in model.covariances],
                               noise_variance=factor**2 * model.noise_variance)


def permuted(model, order):
    return mn.BlockModel([model.covariances[i] for i in order], [model.coefficients[i] for i in order],
                         model.probabilities[order], model.noise_variance)


@pytest.mark.parametrize("case", ["rotated", "rotated, believed singular"])
def test_units_and_order_of_the_experts_do_not_matter(case):
    model, believed = CASES[case]
    routed = theory.routed_risk(model, believed=believed)
    for factor in (1e-6, 1e6):
        other = theory.routed_risk(scaled(model, factor), believed=scaled(believed, factor))
        assert other.risk == pytest.approx(factor**2 * routed.risk, rel=1e-9)
        np.testing.assert_allclose(other.confusion, routed.confusion, atol=1e-9)
    order = [2, 0, 1]
    other = theory.routed_risk(permuted(model, order), believed=permuted(believed, order))
    assert other.risk == pytest.approx(routed.risk, rel=1e-9)
    np.testing.assert_allclose(other.confusion, routed.confusion[np.ix_(order, order)], atol=1e-9)


def test_risk_is_quadratic_in_the_coefficients():
    """And without coefficients it is 0, whatever the routes."""
    twice = [2 * beta for beta in SINGULAR.coefficients]
    risk = theory.routed_risk(SINGULAR).risk
    assert theory.routed_risk(dataclasses.replace(SINGULAR, coefficients=twice)).risk == pytest.approx(4 * risk)
    none = [0 * beta for beta in SINGULAR.coefficients]
    assert theory.routed_risk(dataclasses.replace(SINGULAR, coefficients=none)).risk == 0


def test_errors_depend_on_the_features():
    """With either sign: dearer than at random for many weak experts, cheaper for strong ones."""
    for case, sign in (("12 experts, weak", 1), ("strong signals", -1)):
        model, _ = CASES[case]
        routed = theory.routed_risk(model)
        independent = theory.misrouted_risk(model, routed.confusion)
        assert sign * (routed.risk / independent - 1) > 0.05


ONE_OF_TEN = mn.BlockModel([np.eye(2) * 1e10, np.eye(3) * 1e-10], [np.ones(2), np.ones(3)])
FAR_FROM_ORDINARY = {
    "noise 1e-12": (dataclasses.replace(SINGULAR, noise_variance=1e-12), None),
    "noise 1e12": (dataclasses.replace(SINGULAR, noise_variance=1e12), None),
    "test noise 1e-12": (dataclasses.replace(SINGULAR, noise_variance=1e-12), SINGULAR),
    "test noise 1e12": (dataclasses.replace(SINGULAR, noise_variance=1e12), SINGULAR),
    "believed noise 1e-12": (SINGULAR, dataclasses.replace(SINGULAR, noise_variance=1e-12)),
    "believed noise 1e12": (SINGULAR, dataclasses.replace(SINGULAR, noise_variance=1e12)),
    "rare expert": (dataclasses.replace(SINGULAR, probabilities=[1e-9, 0.5, 0.5 - 1e-9]), None),
    "never expected expert": (SINGULAR, dataclasses.replace(SINGULAR, probabilities=[1e-300, 0.5, 0.5])),
    "scales 1e20 apart": (ONE_OF_TEN, None),
    "eigenvalues 1e16 apart": (mn.BlockModel([np.diag(10.0 ** np.arange(-8, 9, 2)), np.eye(3)],
                                             [np.ones(9), np.ones(3)]), None),
    "500 features": (TOEPLITZ(1000, 2, scale=0.1, rng=0), None),
    "50 experts of one feature": (TOEPLITZ(50, 50, scale=8.0, rng=0), None),
    "50 experts": (TOEPLITZ(200, 50, scale=1.0, rng=0), None),
    "noise 1e-45": (dataclasses.replace(SINGULAR, noise_variance=1e-45), None),
    "noise 1e-99": (dataclasses.replace(SINGULAR, noise_variance=1e-99), None),
    "noise 1e99": (dataclasses.replace(SINGULAR, noise_variance=1e99), None),
    "test noise 1e-99": (dataclasses.replace(SINGULAR, noise_variance=1e-99), SINGULAR),
    "believed noise 1e99": (SINGULAR, dataclasses.replace(SINGULAR, noise_variance=1e99)),
    "few large eigenvalues": (TOEPLITZ(800, 2, decay=0.99, rng=0), None),
    "one large eigenvalue": (mn.BlockModel([np.full((800, 800), 0.5) + 0.5 * np.eye(800)] * 2, np.ones((2, 800)),
                                           noise_variance=20.0), None),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", FAR_FROM_ORDINARY)
def test_models_far_from_ordinary(case):
    """No warning, and numbers between the bounds that every router keeps."""
    model, believed = FAR_FROM_ORDINARY[case]
    routed = theory.routed_risk(model, believed=believed)
    np.testing.assert_allclose(routed.confusion.sum(axis=1), 1, atol=1e-9)
    residual = theory.generalization(model).sparse
    assert routed.risk >= residual * (1 - 1e-9)
    coefs = theory.bayes_sparse(believed or model)
    largest = max(coef @ coef for coef in coefs) * model.d * model.noise_variance  # of all answers to noise
    signal = model.probabilities @ model.signal_variances
    own = theory.risk(model, np.concatenate(coefs), estimator="sparse")
    assert routed.risk <= own + signal + largest


def test_few_large_eigenvalues_against_brute_force():
    """Two directions of 600 matter."""
    model = mn.BlockModel([np.diag(np.r_[30, 30, np.full(600, 0.01)]), np.eye(2)], [np.full(602, 0.1), np.ones(2)])
    assert agrees_with(theory.routed_risk(model), *brute_force(model, model, 20_000, seed=4))


@pytest.mark.parametrize("unit", [1e-300, 1e-150, 1e150, 1e300])
def test_units_of_features_far_from_one(unit):
    model = dataclasses.replace(SINGULAR, covariances=[unit * c for c in SINGULAR.covariances],
                                noise_variance=unit * SINGULAR.noise_variance)
    routed, expected = theory.routed_risk(model), theory.routed_risk(SINGULAR)
    assert routed.risk == pytest.approx(unit * expected.risk, rel=1e-9)
    np.testing.assert_allclose(routed.confusion, expected.confusion, atol=1e-9)


def test_noise_that_vanishes_routes_perfectly_and_noise_that_hides_all_by_loads():
    confusion = theory.routed_risk(dataclasses.replace(SINGULAR, noise_variance=1e-12)).confusion
    np.testing.assert_allclose(confusion, np.eye(3), atol=1e-4)
    confusion = theory.routed_risk(dataclasses.replace(SINGULAR, noise_variance=1e12)).confusion
    np.testing.assert_allclose(confusion, [[1, 0, 0]] * 3, atol=1e-9)


@pytest.mark.parametrize(
    "model, believed, error, message",
    [
        (3, None, TypeError, "model must be a BlockModel"),
        (SINGULAR, 3, TypeError, "believed must be a BlockModel"),
        (dataclasses.replace(SINGULAR, noise_variance=0.0), None, ValueError, "^model must have a positive noise"),
        (SINGULAR, dataclasses.replace(SINGULAR, noise_variance=0.0), ValueError, "^believed must have a positive"),
        (SINGULAR, TOEPLITZ(6, 3, rng=0), ValueError, r"believed must have the model's block sizes \[3, 1, 2\], got"),
        (SINGULAR, dataclasses.replace(SINGULAR, covariances=[np.eye(3), [[0.0]], np.eye(2)]), ValueError,
         "got zero for expert 1"),
        (dataclasses.replace(SINGULAR, noise_variance=1e-300), None, ValueError, "^model must have variances"),
        (dataclasses.replace(SINGULAR, noise_variance=1e200), None, ValueError, "^model must have variances"),
        (SINGULAR, dataclasses.replace(SINGULAR, noise_variance=1e200), ValueError, "^model and believed must have"),
        (dataclasses.replace(SINGULAR, noise_variance=1e-99), dataclasses.replace(SINGULAR, noise_variance=1e99),
         ValueError, "^model and believed must have"),
    ],
)
def test_bad_arguments(model, believed, error, message):
    with pytest.raises(error, match=message):
        theory.routed_risk(model, believed=believed)


def test_a_constant_score_is_fine_in_the_truth():
    """An expert without signal, of which another covariance is believed."""
    model = dataclasses.replace(SINGULAR, covariances=[np.eye(3), [[0.0]], np.eye(2)])
    errors, expert, sent = brute_force(model, SINGULAR, 100_000, seed=3)
    assert agrees_with(theory.routed_risk(model, believed=SINGULAR), errors, expert, sent)


def test_integrals_that_do_not_settle_say_so(monkeypatch):
    monkeypatch.setattr(hard_routing, "_MOST_POINTS", 64)
    monkeypatch.setattr(hard_routing, "_TOLERANCE", 0.0)
    with pytest.raises(RuntimeError, match="did not settle"):
        theory.routed_risk(SINGULAR)


def test_rows_that_do_not_sum_to_one_are_not_accepted(monkeypatch):
    rule = hard_routing._rule
    monkeypatch.setattr(hard_routing, "_rule", lambda *arguments: (1 + 1e-8) * rule(*arguments))
    with pytest.raises(RuntimeError, match="did not settle"):
        theory.routed_risk(SINGULAR)
