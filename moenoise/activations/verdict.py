"""The four questions of an audit, each with its answer, its numbers and its threshold."""

import math
from typing import NamedTuple

from scipy.special import ndtr, stdtrit

from .interference import MOST_INTERFERENCE
from .modularity import LEAST_RATIO, LEAST_Z

MOST_ERROR = 0.25
"""The model predicts where it is within this share of the measured risk, dense and sparse."""

JUDGED_NOISE = (0.0, 0.5)
"""Predictions and help are judged at these standard deviations of added noise; the rest is shown."""

ERRORS = 2
"""Standard errors by which a number has to be beyond a threshold, of infinitely many groups; see `reach`."""

RIVALS = ("ridge", "random blocks")

COUNTED = ("experts", "ridge")
"""Where neither of these beats the mean of the response, nothing was learnt, and nothing can be told."""

ANSWERS = {True: "yes", False: "no", None: "cannot be told"}


class Answer(NamedTuple):
    """One line of the verdict."""

    question: str
    answer: bool | None
    reason: str
    weak: bool = False
    """Whether there is something, for certain, but less than counts."""

    def __str__(self):
        return f"{self.question} {ANSWERS[self.answer]}: {self.reason}"


class Verdict(NamedTuple):
    """What an audit found; each attribute True, False, or None where it cannot be told. ``str()`` is one sentence.

    Attributes
    ----------
    modular : bool
        Whether features come in modules beyond what their correlations explain.
    off_block_is_noise : bool or None
        Whether an expert gains nothing from the features outside of its block.
    model_predicts : bool or None
        Whether the fitted block model predicts the risks of dense and sparse least squares.
    experts_help : bool or None
        Whether experts beat a tuned ridge, and experts on random blocks.
    answers : tuple of Answer
        The same, with the numbers and thresholds that they rest on.
    """

    modular: bool
    off_block_is_noise: bool | None
    model_predicts: bool | None
    experts_help: bool | None
    answers: tuple

    @classmethod
    def of(cls, answers):
        """From the four `Answer`."""
        return cls(*(each.answer for each in answers), tuple(answers))

    def __str__(self):
        found = {True: "The activations come in modules",
                 False: f"The activations do not come in modules{self._excuse}",
                 None: "Whether the activations come in modules cannot be told"}[self.modular]
        if self.experts_help is None:
            return f"{found}; whether experts help cannot be told{self._without}."
        helped = "beat both a tuned ridge and random blocks"
        whose = "them" if self.modular else "what was found"
        experts = f"experts on {whose} {'' if self.experts_help else 'do not '}{helped}"
        model = {True: "; the block model predicts the risks", False: "; the block model does not predict the risks",
                 None: ""}[self.model_predicts]
        return f"{found}, {'and' if self.modular == self.experts_help else 'but'} {experts}{model}."

    @property
    def _excuse(self):
        """What there is instead of modules."""
        return (" beyond what their correlations explain" if not self.answers[0].weak else
                ": what there is beyond their correlations is too weak")

    @property
    def _without(self):
        reason = self.answers[3].reason
        if reason == NO_TARGETS:
            return " without targets"
        return f", since {NOTHING_LEARNT}" if reason.startswith(NOTHING_LEARNT) else ""


NO_TARGETS = "no targets were given"


NOTHING_LEARNT = "neither experts nor the ridge predict better than the mean does"


def reach(n_groups):
    """How many standard errors of so many groups are as unlikely to be passed by chance as `ERRORS` of normal ones."""
    return float(stdtrit(n_groups - 1, ndtr(ERRORS)))


def judge(modularity, interference=None, measurements=(), predictions=(), *, n_groups=10**6):
    """The `Verdict`; without targets only the first question has an answer."""
    errors = reach(n_groups)
    answers = [_off_block(interference, errors), _model(predictions), _help(measurements, errors)]
    if measurements and not _learnt(measurements, errors):
        answers = [answer._replace(answer=None, reason=f"{NOTHING_LEARNT}; {answer.reason}") for answer in answers]
    return Verdict.of([_modular(modularity), *answers])


def _learnt(measurements, errors):
    """Whether anything beats the mean of the response, at the lowest noise."""
    least = min(record["noise"] for record in measurements)
    leads = [record for record in measurements
             if record["noise"] == least and record["quantity"] in [f"mean - {name}" for name in COUNTED]]
    return any(record["value"] > errors * record["standard_error"] for record in leads)


def _modular(found):
    kept = "" if found.modular is not None else (f"; but these have only {found.correlation_kept:.0%} of the "
                                                 "correlations: the columns are too sparse for a null")
    return Answer("Do the features come in modules?", found.modular,
                  f"modularity {found.score:.3f} on held-out rows, {found.null.mean():.3f} in draws without modules "
                  f"(of the same {found.null_kind}): z = {found.z:.1f} (above {LEAST_Z:g}: modular), ratio "
                  f"{found.ratio:.2f} (above {LEAST_RATIO:g}){kept}", weak=found.z > LEAST_Z and found.modular is False)


def _off_block(found, errors):
    question = "Is what lies outside a row's block noise?"
    if found is None:
        return Answer(question, None, NO_TARGETS)
    certain = abs(found.value - MOST_INTERFERENCE) >= errors * found.standard_error
    return Answer(question, found.value < MOST_INTERFERENCE if certain else None,
                  f"seeing all features takes {found.value:.1%} +- {found.standard_error:.1%} off an expert's error "
                  f"(below {MOST_INTERFERENCE:.0%}: noise)")


def _judged(records, quantities):
    """The records of these quantities at the noise that is judged; none where one is missing."""
    found = [record for record in records if record["noise"] in JUDGED_NOISE and record["quantity"] in quantities]
    return found if len(found) == len(JUDGED_NOISE) * len(quantities) else []


UNJUDGED = f"noise must hold {JUDGED_NOISE[0]:g} and {JUDGED_NOISE[1]:g} for that"


def _model(predictions):
    question = "Does the block model predict the risks?"
    judged = _judged(predictions, ("dense", "sparse"))
    if not judged:
        return Answer(question, None, UNJUDGED if predictions else NO_TARGETS)
    texts = ", ".join(f"{record['quantity']} {_number(record['predicted'])} for {record['measured']:.3g} at noise "
                      f"{record['noise']:g}" for record in judged)
    excesses = [abs(record["predicted"] - record["measured"]) - MOST_ERROR * record["measured"] for record in judged]
    answer = all(excess <= 0 for excess in excesses)
    if not answer and not any(excess > 0 for excess in excesses):  # some are NaN
        return Answer(question, None, f"too few rows or signals to predict all: {texts}")
    return Answer(question, answer, f"predicted {texts} (within {MOST_ERROR:.0%}: yes)")


def _number(value):
    return f"{value:.3g}" if math.isfinite(value) else "nothing"


def _help(measurements, errors):
    question = "Do experts help?"
    judged = _judged(measurements, [f"{rival} - experts" for rival in RIVALS])
    if not judged:
        return Answer(question, None, UNJUDGED if measurements else NO_TARGETS)
    texts = ", ".join(f"{record['quantity'].split(' - ')[0]} at noise {record['noise']:g} by {record['value']:.3g} "
                      f"+- {record['standard_error']:.2g}" for record in judged)
    answer = all(record["value"] > errors * record["standard_error"] for record in judged)
    return Answer(question, answer, f"experts' risk is lower than that of {texts}, of the response's variance (all by "
                                    f"more than {errors:.3g} standard errors: yes)")
