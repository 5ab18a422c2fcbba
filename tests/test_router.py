"""The router against scikit-learn, SciPy's densities and its kernels' twins."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import reference
import scipy.stats
from reference import relative_error
from sklearn.base import clone
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

import moenoise as mn
from moenoise import _core

EPSILON = np.finfo(float).eps
BLOCKS = [[3], [4, 4], [1, 5, 2], [1, 1, 1, 1], [40, 3], [127, 129], [128, 12, 13]]


def data(block_sizes, n=400, seed=0):
    """Rows of every expert, correlated and of different size in its own block."""
    rng = np.random.default_rng(seed)
    k, d = len(block_sizes), sum(block_sizes)
    expert = rng.permutation(np.arange(n) % k)
    X = 0.5 * rng.standard_normal((n, d))
    for i, columns in enumerate(np.split(np.arange(d), np.cumsum(block_sizes)[:-1])):
        rows = np.flatnonzero(expert == i)
        mixing = np.eye(len(columns)) * (i + 1) + 0.3
        X[np.ix_(rows, columns)] = rng.standard_normal((len(rows), len(columns))) @ mixing
    return X, expert


def condition(covariances, block_sizes):
    """The largest condition number of the blocks, which lie one after another."""
    ends = np.cumsum(np.square(block_sizes))[:-1]
    return max(np.linalg.cond(part.reshape(size, size)) for part, size in zip(np.split(covariances, ends), block_sizes))


def model(**changes):
    parameters = dict(
        covariances=[[[4.0, 1.0], [1.0, 3.0]], [[9.0]], np.diag([2.0, 5.0, 1.0])],
        coefficients=[[1.0, 2.0], [3.0], [1.0, 0.0, 1.0]],
        probabilities=[0.5, 0.2, 0.3],
        noise_variance=0.7,
    )
    return mn.BlockModel(**parameters | changes)


# ---- kernels -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block_sizes", BLOCKS)
def test_core_block_covariance_matches_its_twin(block_sizes):
    X, expert = data(block_sizes)
    covariances, counts, off_block = _core.block_covariance(X, expert, np.array(block_sizes))
    expected, expected_counts, expected_off_block = reference.block_covariance(X, expert, block_sizes)
    assert relative_error(covariances, expected) < 1e-13
    assert counts.tolist() == expected_counts.tolist()
    assert off_block == pytest.approx(expected_off_block, rel=1e-12, abs=1e-9 if len(block_sizes) == 1 else 0)


@pytest.mark.parametrize("block_sizes", BLOCKS)
def test_core_qda_factor_matches_its_twin(block_sizes):
    covariances, _, _ = reference.block_covariance(*data(block_sizes), block_sizes)
    inverses, log_determinants = _core.qda_factor(covariances, np.array(block_sizes))
    expected, expected_log_determinants = reference.qda_factor(covariances, block_sizes)
    assert relative_error(inverses, expected) < 1e-13 + EPSILON * condition(covariances, block_sizes)
    assert log_determinants == pytest.approx(expected_log_determinants, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("precision", [0.0, 0.5, 4.0])
@pytest.mark.parametrize("block_sizes", BLOCKS)
def test_core_qda_scores_match_their_twin(block_sizes, precision):
    X, expert = data(block_sizes)
    inverses, constants = reference.qda_factor(reference.block_covariance(X, expert, block_sizes)[0], block_sizes)
    arguments = X, np.array(block_sizes), inverses, constants, precision
    assert relative_error(_core.qda_scores(*arguments), reference.qda_scores(*arguments)) < 1e-13


def test_core_qda_factor_names_the_expert():
    covariances = np.concatenate([np.eye(2).ravel(), [-1.0]])
    with pytest.raises(ValueError, match="expert 1"):
        _core.qda_factor(covariances, np.array([2, 1]))


# ---- the fit -----------------------------------------------------------------------------------------------------


def test_fit_estimates_each_experts_own_covariance_and_the_noise():
    X, expert = data([2, 3])
    router = mn.QDARouter([2, 3]).fit(X, expert)
    first, second = X[expert == 0], X[expert == 1]
    assert relative_error(router.covariances_[0], first[:, :2].T @ first[:, :2] / len(first)) < 1e-13
    assert relative_error(router.covariances_[1], second[:, 2:].T @ second[:, 2:] / len(second)) < 1e-13
    off_block = np.concatenate([first[:, 2:].ravel(), second[:, :2].ravel()])
    assert router.noise_variance_ == pytest.approx(np.mean(off_block**2), rel=1e-12)
    assert router.counts_.tolist() == [len(first), len(second)]
    assert router.priors_ == pytest.approx([len(first) / len(X), len(second) / len(X)])
    assert router.classes_.tolist() == [0, 1] and router.n_features_in_ == 5


def test_fit_recovers_the_model():
    truth = model()
    sample = truth.sample(200_000, rng=1)
    fitted, known = mn.QDARouter(truth.block_sizes).fit(sample.features, sample.expert), mn.QDARouter.from_model(truth)
    for estimate, covariance in zip(fitted.covariances_, known.covariances_):
        assert relative_error(estimate, covariance) < 0.03
    assert fitted.noise_variance_ == pytest.approx(0.7, rel=0.01)
    assert fitted.priors_ == pytest.approx(truth.probabilities, rel=0.02)


def test_shrinkage_is_towards_equal_variances():
    X, expert = data([2, 3])
    covariances = mn.QDARouter([2, 3]).fit(X, expert).covariances_
    for shrinkage in (0.25, 1.0):
        shrunk = mn.QDARouter([2, 3], shrinkage=shrinkage).fit(X, expert).covariances_
        for before, after in zip(covariances, shrunk):
            target = np.trace(before) / len(before) * np.eye(len(before))
            assert relative_error(after, (1 - shrinkage) * before + shrinkage * target) < 1e-13


def test_given_noise_variance_and_priors_are_used():
    X, expert = data([2, 3])
    router = mn.QDARouter([2, 3], noise_variance=2.0, priors=[0.9, 0.1]).fit(X, expert)
    assert router.noise_variance_ == 2.0 and router.priors_.tolist() == [0.9, 0.1]


# ---- the scores --------------------------------------------------------------------------------------------------


def test_corrected_scores_are_the_posterior_of_the_whole_row():
    truth = model()
    X = truth.sample(50, rng=2).features
    density = []
    for block, covariance in zip(truth.blocks, truth.covariances):
        whole = truth.noise_variance * np.eye(truth.d)
        whole[block, block] += covariance
        density.append(scipy.stats.multivariate_normal(np.zeros(truth.d), whole).logpdf(X))
    joint = np.log(truth.probabilities) + np.stack(density, axis=1)
    router = mn.QDARouter.from_model(truth)
    posterior = np.exp(joint - scipy.special.logsumexp(joint, axis=1, keepdims=True))
    assert relative_error(router.predict_proba(X), posterior) < 1e-12
    assert np.array_equal(router.predict(X), joint.argmax(axis=1))
    differences = router.decision_function(X) - joint
    assert differences == pytest.approx(np.repeat(differences[:, :1], 3, axis=1), rel=1e-12)


def test_printed_scores_are_the_densities_of_the_blocks():
    truth = model()
    X = truth.sample(50, rng=3).features
    scores = mn.QDARouter.from_model(truth, form="printed").decision_function(X)
    for i, (block, covariance) in enumerate(zip(truth.blocks, truth.covariances)):
        noisy = covariance + truth.noise_variance * np.eye(len(covariance))
        log_density = scipy.stats.multivariate_normal(np.zeros(len(covariance)), noisy).logpdf(X[:, block])
        assert relative_error(scores[:, i], log_density + len(covariance) / 2 * np.log(2 * np.pi)) < 1e-12


def test_printed_form_ignores_noise_variance_and_priors():
    X, expert = data([2, 3, 1])
    plain = mn.QDARouter([2, 3, 1], form="printed").fit(X, expert)
    given = mn.QDARouter([2, 3, 1], form="printed", noise_variance=5.0, priors=[0.8, 0.1, 0.1]).fit(X, expert)
    assert np.array_equal(plain.decision_function(X), given.decision_function(X))


def test_corrected_form_routes_as_well_as_full_dimensional_qda_and_printed_does_not():
    truth = mn.BlockModel.toeplitz(40, 5, scale=4.0, rng=0)
    train, test = truth.sample(2000, rng=1), truth.sample(20_000, rng=2)
    ours = mn.QDARouter(truth.block_sizes).fit(train.features, train.expert)
    accuracy = ours.score(test.features, test.expert)
    theirs = QuadraticDiscriminantAnalysis().fit(train.features, train.expert).score(test.features, test.expert)
    printed = clone(ours).set_params(form="printed").fit(train.features, train.expert)
    margin = 3 * np.sqrt(2 * 0.94 * 0.06 / 20_000)  # standard errors of a difference of two such accuracies
    assert accuracy > theirs + margin
    assert printed.score(test.features, test.expert) < 0.1
    assert accuracy == pytest.approx(mn.QDARouter.from_model(truth).score(test.features, test.expert), abs=margin)
    assert accuracy == (ours.predict(test.features) == test.expert).mean()


def test_two_experts_follow_scikit_learns_binary_convention():
    X, expert = data([2, 3])
    router = mn.QDARouter([2, 3]).fit(X, expert)
    decision = router.decision_function(X)
    assert decision.shape == (len(X),)
    assert np.array_equal(decision > 0, router.predict(X) == 1)
    probabilities = router.predict_proba(X)
    assert np.log(probabilities[:, 1] / probabilities[:, 0]) == pytest.approx(decision)
    assert mn.QDARouter([2, 3, 1]).fit(*data([2, 3, 1])).decision_function(data([2, 3, 1])[0]).shape == (400, 3)


@pytest.mark.parametrize("form", ["corrected", "printed"])
def test_one_expert_gets_everything(form):
    X = data([3])[0][:2]
    router = mn.QDARouter([3], form=form).fit(X, [0, 0])
    assert router.noise_variance_ is None
    assert router.predict(X).tolist() == [0, 0]
    assert router.decision_function(X).tolist() == [[0.0], [0.0]]
    assert router.predict_proba(X).tolist() == [[1.0], [1.0]]
    one = mn.QDARouter.from_model(model(covariances=[np.eye(3)], coefficients=[np.ones(3)], probabilities=[1.0]))
    assert one.predict(X).tolist() == [0, 0]


def test_predictions_are_ids_to_index_with():
    X, expert = data([2, 3])
    predicted = mn.QDARouter([2, 3]).fit(X, expert).predict(X)
    assert predicted.dtype == np.intp and set(predicted) == {0, 1}


# ---- input of every kind -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "convert",
    [
        np.asfortranarray,
        lambda a: a.astype(np.float32),
        lambda a: np.repeat(a, 2, axis=1)[:, ::2],
        lambda a: a.tolist(),
    ],
)
def test_layouts_and_dtypes_give_the_same_bits(convert):
    X, expert = data([2, 3])
    X = X.astype(np.float32).astype(float)
    expected = mn.QDARouter([2, 3]).fit(X, expert).decision_function(X)
    router = mn.QDARouter([2, 3]).fit(convert(X), expert)
    assert np.array_equal(router.decision_function(convert(X)), expected)


def test_integer_features_work():
    X, expert = data([2, 3])
    X = np.rint(4 * X)
    router = mn.QDARouter([2, 3]).fit(X.astype(int), expert.astype(np.int8))
    assert np.array_equal(
        router.decision_function(X.astype(int)), mn.QDARouter([2, 3]).fit(X, expert).decision_function(X)
    )


def test_read_only_input_is_never_changed():
    X, expert = data([2, 3])
    before = X.copy(), expert.copy()
    X.flags.writeable = expert.flags.writeable = False
    mn.QDARouter([2, 3]).fit(X, expert).predict(X)
    assert np.array_equal(X, before[0]) and np.array_equal(expert, before[1])


def test_threads_give_the_same_bits():
    X, expert = data([20, 30], n=2000)

    def scores(_):
        return mn.QDARouter([20, 30]).fit(X, expert).decision_function(X)

    with ThreadPoolExecutor(8) as pool:
        assert all(np.array_equal(result, scores(0)) for result in pool.map(scores, range(32)))


def test_cross_validation_works():
    X, expert = data([2, 3])
    assert cross_val_score(mn.QDARouter([2, 3]), X, expert).min() > 0.6


# ---- wrong input -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters, name",
    [
        (dict(block_sizes=[2, 2]), "block_sizes"),
        (dict(block_sizes=[5, 0]), "block_sizes"),
        (dict(block_sizes=[2.0, 3.0]), "block_sizes"),
        (dict(noise_variance=0.0), "noise_variance"),
        (dict(noise_variance=-1.0), "noise_variance"),
        (dict(noise_variance=-1.0, form="printed"), "noise_variance"),
        (dict(noise_variance=np.nan), "noise_variance"),
        (dict(noise_variance="1"), "noise_variance"),
        (dict(priors=[0.5, 0.4]), "priors"),
        (dict(priors=[1.0, 0.0]), "priors"),
        (dict(priors=[1.0]), "priors"),
        (dict(shrinkage=-0.1), "shrinkage"),
        (dict(shrinkage=1.1), "shrinkage"),
        (dict(shrinkage=None), "shrinkage"),
        (dict(form="right"), "form"),
    ],
)
def test_wrong_parameters_are_named_by_fit(parameters, name):
    router = mn.QDARouter(**dict(block_sizes=[2, 3]) | parameters)
    with pytest.raises((TypeError, ValueError), match=rf"^{name}\b"):
        router.fit(*data([2, 3]))
    assert not hasattr(router, "covariances_")


@pytest.mark.parametrize(
    "expert",
    [
        np.zeros(400),
        np.full(400, "0"),
        np.full(400, 2),
        np.full(400, -1),
        np.zeros(399, dtype=int),
        np.zeros((400, 1), int),
        None,
    ],
)
def test_wrong_expert_is_named_by_fit(expert):
    with pytest.raises((TypeError, ValueError), match="^expert"):
        mn.QDARouter([2, 3]).fit(data([2, 3])[0], expert)


@pytest.mark.parametrize("shrinkage", [0.0, 0.5])
def test_an_expert_without_rows_is_named(shrinkage):
    X, expert = data([2, 2, 1])
    with pytest.raises(ValueError, match="expert 1 has none"):
        mn.QDARouter([2, 2, 1], shrinkage=shrinkage).fit(X[expert != 1], expert[expert != 1])


def test_an_expert_with_fewer_rows_than_features_is_named():
    X, expert = data([2, 6])
    keep = np.concatenate([np.flatnonzero(expert == 0), np.flatnonzero(expert == 1)[:5]])
    with pytest.raises(ValueError, match="expert 1 has 5 rows and 6 features"):
        mn.QDARouter([2, 6]).fit(X[keep], expert[keep])
    mn.QDARouter([2, 6], shrinkage=0.1).fit(X[keep], expert[keep])


def test_a_fit_that_fails_leaves_the_last_one_in_place():
    X, expert = data([2, 3])
    router = mn.QDARouter([2, 3]).fit(X, expert)
    expected, covariances = router.decision_function(X), router.covariances_
    for bad in (X * [1, 1, 1, 1, 0], X * 0, X * 1e200):
        with pytest.raises(ValueError):
            router.fit(bad, expert)
        assert router.covariances_ is covariances
        assert np.array_equal(router.decision_function(X), expected)


@pytest.mark.parametrize("seed", range(20))
def test_an_expert_with_a_singular_covariance_is_named(seed):
    """Enough rows, but repeated ones: rounding must not make the covariance look regular."""
    X, expert = data([2, 6], seed=seed)
    own = np.flatnonzero(expert == 1)
    X[own, 2:] = np.resize(X[own[:4], 2:], (len(own), 6))
    with pytest.raises(ValueError, match="expert 1"):
        mn.QDARouter([2, 6]).fit(X, expert)
    mn.QDARouter([2, 6], shrinkage=0.1).fit(X, expert)


def test_features_of_very_different_scale_are_not_singular():
    X, expert = data([2, 6])
    scale = np.geomspace(1, 1e-12, 8)
    router = mn.QDARouter([2, 6], form="printed").fit(X * scale, expert)
    expected = mn.QDARouter([2, 6], form="printed").fit(X, expert).decision_function(X)
    shift = np.log(scale[:2]).sum() - np.log(scale[2:]).sum()
    assert relative_error(router.decision_function(X * scale) - shift, expected) < 1e-10


def test_no_noise_to_estimate_is_an_error_of_the_corrected_form_only():
    X, expert = data([2, 3])
    X[expert == 0, 2:] = 0
    X[expert == 1, :2] = 0
    with pytest.raises(ValueError, match="^noise_variance must be given"):
        mn.QDARouter([2, 3]).fit(X, expert)
    assert mn.QDARouter([2, 3], noise_variance=1e-6).fit(X, expert).score(X, expert) == 1
    mn.QDARouter([2, 3], form="printed").fit(X, expert)


def test_from_model_without_noise():
    noiseless = model(noise_variance=0.0)
    with pytest.raises(ValueError, match="^noise_variance"):
        mn.QDARouter.from_model(noiseless)
    mn.QDARouter.from_model(noiseless, form="printed")
    singular = [np.eye(2), np.zeros((1, 1)), np.eye(3)]
    with pytest.raises(ValueError, match="expert 1"):
        mn.QDARouter.from_model(model(covariances=singular, noise_variance=0.0), form="printed")


def test_from_model_names_its_arguments():
    with pytest.raises(TypeError, match="^model"):
        mn.QDARouter.from_model("model")
    with pytest.raises(ValueError, match="^form"):
        mn.QDARouter.from_model(model(), form="right")


@pytest.mark.parametrize("X", [np.ones((2, 4)), np.ones(5), [[np.nan] * 5], np.ones((0, 5)), np.ones((1, 5)) * 1j])
def test_wrong_features_are_an_error_of_predict(X):
    router = mn.QDARouter([2, 3]).fit(*data([2, 3]))
    for method in (router.predict, router.decision_function, router.predict_proba):
        with pytest.raises(ValueError, match="X|array|Complex"):
            method(X)


def test_overflowing_features_are_an_error():
    router = mn.QDARouter([2, 3]).fit(*data([2, 3]))
    with pytest.raises(ValueError, match="^X must"):
        router.predict(np.full((1, 5), 1e200))
    with pytest.raises(ValueError, match="^X must"):
        mn.QDARouter([2, 3]).fit(data([2, 3])[0] * 1e200, data([2, 3])[1])


# ---- scikit-learn's own checks -----------------------------------------------------------------------------------

FIXED_SIZES = "block_sizes fixes the number of features, and with it of labels; the check's data have others"
LABELS = "labels are the ids 0 to k - 1, which say whose block is whose; the check's labels are others"
NAME = "what other classifiers call y is called expert, in the signature and in messages"
FEW_FEATURES = "there are fewer features than experts"


class AnyWidthRouter(mn.QDARouter):
    """A router that cuts whatever features it gets into blocks, one a label, so that scikit-learn's data fit."""

    def __init__(self, block_sizes=None, *, noise_variance=None, priors=None, shrinkage=0.1, form="corrected"):
        super().__init__(block_sizes, noise_variance=noise_variance, priors=priors, shrinkage=shrinkage, form=form)

    def fit(self, X, expert):
        self._n_blocks = len(np.unique(np.asarray(expert)))
        return super().fit(X, expert)

    def _check_parameters(self, d):
        parts = np.array_split(np.arange(d), self._n_blocks)
        return mn.QDARouter([len(part) for part in parts], shrinkage=self.shrinkage)._check_parameters(d)


ANY_WIDTH_FAILS = {
    "check_fit_score_takes_y": NAME,
    "check_requires_y_none": NAME,
    "check_supervised_y_2d": NAME,
    "check_estimators_overwrite_params": FEW_FEATURES,
    "check_estimators_fit_returns_self": FEW_FEATURES,
    "check_readonly_memmap_input": FEW_FEATURES,
    "check_fit2d_1feature": FEW_FEATURES,
    "check_classifier_data_not_an_array": LABELS,
    "check_classifiers_classes": LABELS,
    "check_classifiers_one_label": LABELS,
    "check_classifiers_regression_target": LABELS,
    "check_classifiers_train": LABELS,
    "check_dtype_object": LABELS,
    "check_estimators_dtypes": LABELS,
    "check_estimators_nan_inf": LABELS,
    "check_fit2d_1sample": LABELS,
}
FIXED_SIZES_FAIL = (
    "check_dict_unchanged",
    "check_dont_overwrite_parameters",
    "check_estimators_overwrite_params",
    "check_estimators_fit_returns_self",
    "check_estimators_pickle",
    "check_f_contiguous_array_estimator",
    "check_fit2d_1feature",
    "check_fit2d_predict1d",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_n_features_in_after_fitting",
    "check_pipeline_consistency",
    "check_positive_only_tag_during_fit",
    "check_readonly_memmap_input",
)


def expected_failures(router):
    if isinstance(router, AnyWidthRouter):
        return ANY_WIDTH_FAILS | {"check_supervised_y_no_nan": LABELS}
    return ANY_WIDTH_FAILS | dict.fromkeys(FIXED_SIZES_FAIL, FIXED_SIZES)


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks([mn.QDARouter([1, 1]), AnyWidthRouter()], expected_failed_checks=expected_failures)
def test_scikit_learns_checks(estimator, check):
    check(estimator)
