"""Parameter counts of a dense layer and a mixture of experts, and whether comparing the two is fair."""

import dataclasses
import textwrap

from . import _validation
from .tables import aligned


@dataclasses.dataclass(frozen=True)
class ParameterComparison:
    """Result of `iso_parameters` and `block_iso_parameters`.

    Attributes
    ----------
    dense : int
        Parameters of the dense layer; every input uses all of them.
    experts : int
        Of all experts, routed and shared, without the router.
    active_experts : int
        Of the experts that one input uses, shared ones included (where they differ in size: the largest).
    router : int
        Of the router, which every input uses; 0 where it is not counted.
    tolerance : float
        Counts are equal where they differ by at most this share of `dense`.
    total, active : int
        `experts` and `active_experts`, each with the router.
    equal_total, equal_active : bool
        Whether `total`, and `active`, equal `dense` within the tolerance.
    verdict : str
        What the comparison is fair in, as a sentence or two.
    """

    dense: int
    experts: int
    active_experts: int
    router: int
    tolerance: float

    @property
    def total(self):
        return self.experts + self.router

    @property
    def active(self):
        return self.active_experts + self.router

    @property
    def equal_total(self):
        return self._equals_dense(self.total)

    @property
    def equal_active(self):
        return self._equals_dense(self.active)

    @property
    def verdict(self):
        sizes = f"the mixture has {self._relative(self.total)}, an input uses {self._relative(self.active)}"
        if self.equal_total and self.equal_active:
            return f"Equal in total and in active parameters: {sizes}."
        if self.equal_total:
            return f"Equal in total parameters (iso-parameter), not in active ones: {sizes}."
        if self.equal_active:
            return f"Equal in active parameters, not in total ones (not iso-parameter): {sizes}."
        if self._equals_dense(self.experts):
            return (f"Equal in total parameters only without the router: the experts alone have "
                    f"{self._relative(self.experts)}; with the router, {sizes}.")
        return f"Equal neither in total nor in active parameters: {sizes}."

    def _equals_dense(self, count):
        return abs(count - self.dense) <= self.tolerance * self.dense

    def _relative(self, count):
        """The count in words."""
        if count == self.dense:
            return "as many parameters as the dense layer"
        excess = (count - self.dense) / self.dense
        if abs(excess) < 0.1:
            return f"{100 * abs(excess):.2g} % {'more' if excess > 0 else 'fewer'} parameters than the dense layer"
        return f"{count / self.dense:.3g} times as many parameters as the dense layer"

    def _rows(self):
        """Headings and rows of the table, as texts."""
        counts = [("dense layer", self.dense, self.dense), ("experts", self.experts, self.active_experts),
                  ("router", self.router, self.router), ("experts and router", self.total, self.active)]
        return [("parameters", "total", "active"), *((name, f"{all_:,}", f"{used:,}") for name, all_, used in counts)]

    def __str__(self):
        return f"{aligned(self._rows())}\n\n{textwrap.fill(self.verdict, 116)}"

    def _repr_html_(self):
        headings, *rows = self._rows()
        head = "".join(f"<th>{heading}</th>" for heading in headings)
        body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
        return (f"<table><caption>{self.verdict}</caption><thead><tr>{head}</tr></thead>"
                f"<tbody>{body}</tbody></table>")


def iso_parameters(d_in, d_out, *, dense_hidden=None, experts, expert_hidden=None, active, shared=0, gated=False,
                   bias=False, router=True, router_bias=False, tolerance=0.01):
    r"""Total and active parameters of a dense layer and of a mixture of experts in its place.

    The layers are feed-forward, ``d_in -> hidden -> d_out``, or linear, ``d_in -> d_out``. With hidden width h one
    of them has ``(d_in + d_out) h`` weights, a gated one (SwiGLU, GeGLU: an up and a gate projection)
    ``(2 d_in + d_out) h``, a linear one ``d_in d_out``; a bias adds one parameter for each output of a projection. The
    mixture has `experts` routed and `shared` shared experts of one width, and a linear router with
    ``d_in`` weights for each routed expert. An input uses the router, the shared experts and `active` routed ones.

    Parameters
    ----------
    d_in, d_out : int
        Features in and out.
    dense_hidden, expert_hidden : int, optional
        Hidden units of the dense layer and of each expert. Neither: all of them are linear.
    experts : int
        The number of routed experts.
    active : int
        How many of them an input uses (top-k), from 1 to `experts`.
    shared : int, default 0
        Experts that every input uses, which the router knows nothing of.
    gated, bias, router_bias : bool, default False
    router : bool, default True
        Whether the router's parameters count.
    tolerance : float >= 0, default 0.01
        Counts that differ by at most this share of the dense layer's are equal.

    Returns
    -------
    ParameterComparison
        Its `verdict` says what the comparison is fair in; printed, it is a table.

    Raises
    ------
    TypeError, ValueError
        Where an argument is not as described, or two contradict each other.

    Notes
    -----
    The paper's later version compares 4 routed and 1 shared expert of 1024 hidden units with a dense layer of
    ``5 * 1024``: equal but for the router and, with a bias, for the outputs' biases, of which each expert has its own.

    Examples
    --------
    >>> from moenoise.parameters import iso_parameters
    >>> counts = iso_parameters(512, 512, dense_hidden=5 * 1024, experts=4, expert_hidden=1024, active=1, shared=1)
    >>> print(counts)
    parameters          total      active
    ------------------  ---------  ---------
    dense layer         5,242,880  5,242,880
    experts             5,242,880  2,097,152
    router              2,048      2,048
    experts and router  5,244,928  2,099,200
    <BLANKLINE>
    Equal in total parameters (iso-parameter), not in active ones: the mixture has 0.039 % more parameters than the
    dense layer, an input uses 0.4 times as many parameters as the dense layer.
    """
    d_in, d_out, experts = _as_count(d_in, "d_in"), _as_count(d_out, "d_out"), _as_count(experts, "experts")
    dense_hidden = None if dense_hidden is None else _as_count(dense_hidden, "dense_hidden")
    expert_hidden = None if expert_hidden is None else _as_count(expert_hidden, "expert_hidden")
    if (dense_hidden is None) != (expert_hidden is None):
        raise ValueError("dense_hidden and expert_hidden must both be given, or neither for linear layers")
    active = _validation.as_integer(active, "active", low=1, high=experts)
    shared = _validation.as_integer(shared, "shared", low=0, high=_validation.MAX_DIMENSION)
    gated, bias = _validation.as_flag(gated, "gated"), _validation.as_flag(bias, "bias")
    router, router_bias = _validation.as_flag(router, "router"), _validation.as_flag(router_bias, "router_bias")
    tolerance = _validation.as_scalar(tolerance, "tolerance", low=0)
    if gated and dense_hidden is None:
        raise ValueError("gated must be False for linear layers: give dense_hidden and expert_hidden")
    if router_bias and not router:
        raise ValueError("router_bias must be False where router is: nothing of the router is counted")
    dense = _layer_parameters(d_in, d_out, dense_hidden, gated, bias)
    expert = _layer_parameters(d_in, d_out, expert_hidden, gated, bias)
    router_parameters = experts * (d_in + router_bias) if router else 0
    return ParameterComparison(dense, (experts + shared) * expert, (active + shared) * expert, router_parameters,
                               tolerance)


def block_iso_parameters(block_sizes, *, router=True, tolerance=0.01):
    r"""Parameters of one dense linear model and of one linear expert a feature block (paper, Section 3).

    The dense model has a coefficient for each of the d features, the experts together have ``sum_i d_i = d``: equal
    totals, which is how the paper compares them. The paper does not count what finds the expert. The quadratic
    discriminant router of its Theorem 1 (`moenoise.QDARouter`, corrected form) has
    ``sum_i d_i (d_i + 1) / 2 + k + 1`` parameters: the symmetric covariances, k priors (of which, as they sum to 1,
    k - 1 are free) and the noise variance. That is far more than d, unless the blocks are tiny; but none of them
    enter the prediction once the expert is known, as in the paper's theorems with perfect routing.

    Parameters
    ----------
    block_sizes : array-like (k,) of int
        The number of features of each expert.
    router : bool, default True
        Whether the router's parameters count. With one block there is nothing to route, and it has none.
    tolerance : float >= 0, default 0.01
        As for `iso_parameters`.

    Returns
    -------
    ParameterComparison
        `active_experts` is that of the largest expert.

    Raises
    ------
    TypeError, ValueError
        Where an argument is not as described.

    Examples
    --------
    Figure 3's twelve blocks of 75 features:

    >>> from moenoise.parameters import block_iso_parameters
    >>> counts = block_iso_parameters([75] * 12)
    >>> counts.dense, counts.experts, counts.router, counts.equal_total
    (900, 900, 34213, False)
    >>> block_iso_parameters([75] * 12, router=False).equal_total
    True
    """
    sizes = _validation.as_block_sizes(block_sizes).tolist()
    router = _validation.as_flag(router, "router")
    tolerance = _validation.as_scalar(tolerance, "tolerance", low=0)
    routed = router and len(sizes) > 1
    router_parameters = sum(size * (size + 1) // 2 for size in sizes) + len(sizes) + 1 if routed else 0
    return ParameterComparison(sum(sizes), sum(sizes), max(sizes), router_parameters, tolerance)


def _as_count(value, name):
    return _validation.as_integer(value, name, low=1, high=_validation.MAX_DIMENSION)


def _layer_parameters(d_in, d_out, hidden, gated, bias):
    """Of one feed-forward layer, or, where `hidden` is None, of one linear layer."""
    if hidden is None:
        return (d_in + bias) * d_out
    n_inner = 2 if gated else 1
    return n_inner * (d_in + bias) * hidden + (hidden + bias) * d_out
