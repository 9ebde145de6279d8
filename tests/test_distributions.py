"""Families of distributions of forecasts, beside SciPy, and the bits of rows alone and together."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from unspool.errors import UnspoolError
from unspool.tasks.forecaster import counts
from unspool.tasks.forecaster.distributions import (
    ALPHA_FLOOR,
    FAMILIES,
    RATE_FLOOR,
    RATIO_FLOOR,
    SPREAD_FLOOR,
    Family,
    Quantiles,
)
from unspool.tasks.forecaster.special import (
    inverse_softplus,
    normal_quantile,
    softplus,
    stirling_error,
    student_cdf,
    student_quantile,
)

NAN = np.nan
ALL = dict(FAMILIES) | {"quantiles": Quantiles((0.05, 0.3, 0.5, 0.9)), "one quantile": Quantiles([0.4])}
SPREAD = [name for name in ALL if name not in ("point", "one quantile")]
seeds = st.integers(0, 10**6)


def drawn(family: Family, shape: tuple[int, ...], seed: int):
    """Raw numbers (*shape, size), locations and scales, and values near them: counts where they have to be."""
    rng = np.random.default_rng(seed)
    s, scale = rng.normal(0, 3, (*shape, family.size)), 10 ** rng.uniform(-2, 4, shape)
    location = scale * rng.normal(1, 2, shape)
    y = location + scale * rng.normal(0, 3, shape)
    return s, location, scale, np.floor(np.abs(y)) if family.discrete else y


def in_scipy(name: str, parameters):
    """The same distribution, frozen."""
    match name:
        case "normal":
            return stats.norm(*parameters)
        case "student-t":
            return stats.t(parameters[2], *parameters[:2])
        case "poisson":
            return stats.poisson(*parameters)
    mu, alpha = parameters
    return stats.nbinom(1 / alpha, 1 / (1 + alpha * mu))


KNOWN = ["normal", "student-t", "poisson", "negative-binomial"]


@pytest.mark.parametrize("name", KNOWN)
@given(seed=seeds)
def test_density_cdf_and_moments_are_scipys(name, seed):
    family = FAMILIES[name]
    s, location, scale, y = drawn(family, (50,), seed)
    parameters = family.parameters(s, location, scale)
    theirs = in_scipy(name, parameters)
    log = theirs.logpmf if family.discrete else theirs.logpdf
    np.testing.assert_allclose(family.log_density(parameters, y), log(y), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(family.cdf(parameters, y), theirs.cdf(y), rtol=0, atol=1e-9)
    np.testing.assert_allclose(family.mean(parameters), theirs.mean(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["normal", "student-t"])
@given(seed=seeds)
def test_quantiles_are_scipys(name, seed):
    family = FAMILIES[name]
    s, location, scale, _ = drawn(family, (50,), seed)
    parameters = family.parameters(s, location, scale)
    level = np.random.default_rng(seed).random(50)
    expected = in_scipy(name, parameters).ppf(level)
    np.testing.assert_allclose((family.quantile(parameters, level) - expected) / parameters[1], 0, atol=1e-9)
    np.testing.assert_allclose(family.cdf(parameters, family.quantile(parameters, level)), level, rtol=1e-9)


@given(st.floats(1e-12, 0.5), st.floats(-8, 7))
def test_students_quantiles_are_scipys_to_ten_digits(tail, power):
    nu = np.array([2 + 10**power])
    for level in np.array([tail, 1 - tail, 0.5 + tail / 2]):
        found = student_quantile(np.array([level]), nu)
        np.testing.assert_allclose(found, stats.t.ppf(level, nu), rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(student_cdf(found, nu), level, rtol=1e-12)


def test_students_quantiles_where_they_are_known():
    """ν = 2: (2 p − 1) / sqrt(2 p (1 − p));  ν = 4 by its own formula."""
    p = np.concatenate([10.0 ** -np.arange(1, 300, 7), np.linspace(0.01, 0.5, 50)])
    exact = -(1 - 2 * p) / np.sqrt(2 * p * (1 - p))
    np.testing.assert_allclose(student_quantile(p, np.full_like(p, 2)), exact, rtol=1e-12, atol=1e-15)
    root = np.sqrt(4 * p * (1 - p))
    exact = -2 * np.sqrt(np.maximum(np.cos(np.arccos(root) / 3) / root - 1, 0))
    near = p > 1e-6
    np.testing.assert_allclose(student_quantile(p, np.full_like(p, 4))[near], exact[near], rtol=1e-9, atol=1e-7)


@pytest.mark.parametrize("name", ["poisson", "negative-binomial"])
@given(seed=seeds)
def test_quantiles_of_counts_are_the_least_counts(name, seed):
    """Exactly: the cdf reaches the level at them, and not at the count before; the quantile of cdf(k) is k."""
    rng = np.random.default_rng(seed)
    mu = 10 ** rng.uniform(-3, 6, 60)
    alpha = np.zeros(60) if name == "poisson" else 10 ** rng.uniform(-6, 2, 60)
    parameters = (mu,) if name == "poisson" else (mu, alpha)
    family, level = FAMILIES[name], np.where(rng.random(60) < 0.5, rng.random(60), 1 - 10 ** rng.uniform(-9, -1, 60))
    k = family.quantile(parameters, level)
    np.testing.assert_array_equal(k, np.floor(k))
    assert (family.cdf(parameters, k) >= level).all()
    assert ((family.cdf(parameters, k - 1) < level) | (k == 0)).all()
    again = family.quantile(parameters, family.cdf(parameters, k))
    tiny = family.log_density(parameters, k) < -30
    assert ((again == k) | tiny).all()
    theirs = in_scipy(name, parameters)
    slack = 1e-8 * theirs.std() + (0 if name == "poisson" else 1e-9 * k)
    off = np.abs(k - theirs.ppf(level)) > slack
    tied = np.minimum(np.abs(theirs.cdf(k) - level), np.abs(theirs.cdf(k - 1) - level)) < 1e-9
    assert not (off & ~tied).any()


@pytest.mark.parametrize(("mu", "alpha"), [(1e6, 0.0), (1e6, 1e-6), (1e6, 1.0), (3.0, 1e3), (1e15, 0.0), (1e17, 0.5)])
def test_few_steps_find_a_count(mu, alpha, monkeypatch):
    """However large the mean is; from 2^53 on the number next to a count is not the next count."""
    calls, cdf = [], counts.cdf
    monkeypatch.setattr(counts, "cdf", lambda *arguments: calls.append(1) or cdf(*arguments))
    for level in np.array([1e-9, 0.1, 0.5, 0.9, 1 - 1e-9]):
        calls.clear()
        one = np.array([level]), np.array([mu]), np.array([alpha])
        k = counts.quantile(*one)
        assert len(calls) < 80
        assert cdf(k, *one[1:]) >= level
        assert (cdf(np.minimum(k - 1, np.nextafter(k, 0)), *one[1:]) < level) | (k == 0)


def test_masses_of_counts_do_not_lose_digits():
    """Beside sums in exact arithmetic: at means of a million, with any α, and where μ and r are far apart."""
    from mpmath import log, loggamma, mp, mpf

    rng = np.random.default_rng(0)
    mu, alpha = 10 ** rng.uniform(-6, 8, 200), 10 ** rng.uniform(-6, 3, 200)
    k = np.floor(mu * rng.gamma(1 / np.minimum(alpha, 5)) * np.minimum(alpha, 5))
    with mp.workdps(50):
        exact = []
        for n, m, a in zip(k.tolist(), map(mpf, mu.tolist()), map(mpf, alpha.tolist()), strict=True):
            r = 1 / a
            p_log, q_log = -log(1 + a * m), log(a * m / (1 + a * m))
            exact.append(float(loggamma(n + r) - loggamma(n + 1) - loggamma(r) + r * p_log + n * q_log))
    np.testing.assert_allclose(counts.log_mass(k, mu, alpha), exact, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("alpha", [0.0, 1e-6, 1e-3, 0.3, 1.0, 50.0])
@pytest.mark.parametrize("mu", [1e-4, 0.7, 15.5, 16.0, 300.0])
def test_cdf_of_counts_is_the_sum_of_masses(mu, alpha):
    """Over the seam, too, between what is summed and what is integrated."""
    k = np.arange(2000.0)
    mus, alphas = np.full(2000, mu), np.full(2000, alpha)
    sums = np.cumsum(np.exp(counts.log_mass(k, mus, alphas)))
    np.testing.assert_allclose(counts.cdf(k, mus, alphas), sums, rtol=0, atol=2e-13)
    np.testing.assert_array_equal(counts.cdf(k + 0.7, mus, alphas), counts.cdf(k, mus, alphas))


@pytest.mark.parametrize("name", KNOWN)
@given(seed=seeds)
def test_negative_log_density_is_the_equation_of_the_docstring(name, seed):
    """So that the loss, which is written with these equations, is what the saved network is scored with."""
    family = FAMILIES[name]
    s, location, scale, y = drawn(family, (30,), seed)
    lgamma, log = special.gammaln, np.log
    parameters = family.parameters(s, location, scale)
    s0, s1, s2 = (s[:, min(k, family.size - 1)] for k in range(3))
    if family.discrete:
        ratio = np.maximum(location / scale, RATIO_FLOOR)
        μ = scale * (np.logaddexp(0, s0 + ratio + log(-np.expm1(-ratio))) + RATE_FLOOR)
        α = np.logaddexp(0, s1) + ALPHA_FLOOR
        r = 1 / α
        if name == "poisson":
            expected, made = μ - y * log(μ) + lgamma(y + 1), (μ,)
        else:
            expected = lgamma(r) + lgamma(y + 1) - lgamma(y + r) + (r + y) * np.log1p(α * μ) - y * log(α * μ)
            made = (μ, α)
    else:
        μ, σ, ν = location + scale * s0, scale * (np.logaddexp(0, s1) + SPREAD_FLOOR), 2 + np.logaddexp(0, s2)
        z = (y - μ) / σ
        if name == "normal":
            expected, made = z**2 / 2 + log(σ) + log(2 * math.pi) / 2, (μ, σ)
        else:
            expected = (ν + 1) / 2 * np.log1p(z**2 / ν) + log(σ) + log(ν * math.pi) / 2 + lgamma(ν / 2)
            expected, made = expected - lgamma((ν + 1) / 2), (μ, σ, ν)
    for one, other in zip(parameters, made, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    np.testing.assert_allclose(-family.log_density(parameters, y), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", KNOWN)
def test_a_density_integrates_to_one(name):
    family = FAMILIES[name]
    parameters = family.parameters(np.full(family.size, 0.3), 5.0, 2.0)
    if family.discrete:
        assert np.exp(family.log_density(parameters, np.arange(2000.0))).sum() == pytest.approx(1, abs=1e-12)
    else:
        grid = np.linspace(-3000, 3000, 600_001)
        mass = np.trapezoid(np.exp(family.log_density(parameters, grid)), grid)
        assert mass == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_samples_have_the_mean_and_the_quantiles(name):
    family = ALL[name]
    N = 40_000
    parameters = family.parameters(np.full((N, family.size), 0.3) * np.arange(1, family.size + 1), 5.0, 2.0)
    sample = family.sample(parameters, np.random.default_rng(0))
    assert sample.shape == (N,) and sample.dtype == np.float64
    spread = sample.std()
    assert abs(sample.mean() - family.mean(parameters)[0]) <= 4 * spread / math.sqrt(N) + 1e-12
    for level in (0.1, 0.5, 0.8):
        q = family.quantile(parameters, level)[0]
        below, upto = (sample < q).mean(), (sample <= q).mean()
        assert below - 0.012 <= level <= upto + 0.012
        assert upto == pytest.approx(family.cdf(parameters, q)[0], abs=0.012)


def test_samples_of_huge_means():
    for name in ("poisson", "negative-binomial"):
        family = FAMILIES[name]
        parameters = family.parameters(np.full((3, family.size), -20.0), 1e25, 1.0)
        sample = family.sample(parameters, np.random.default_rng(0))
        np.testing.assert_allclose(sample, 1e25, rtol=0.02)


@pytest.mark.parametrize("name", ALL)
@given(n=st.integers(1, 100), seed=seeds)
def test_a_row_has_the_same_bits_alone_and_among_others(name, n, seed):
    family = ALL[name]
    s, location, scale, y = drawn(family, (n,), seed)
    level = np.random.default_rng(seed + 1).random(n)
    parameters = family.parameters(s, location, scale)
    functions = {
        "mean": lambda p, y, level: family.mean(p),
        "quantile": lambda p, y, level: family.quantile(p, level),
        "cdf": lambda p, y, level: family.cdf(p, y),
    }
    if name in SPREAD:
        functions["log_density"] = lambda p, y, level: family.log_density(p, y)
    together = {key: function(parameters, y, level) for key, function in functions.items()}
    for i in {0, n // 2, n - 1, seed % n}:
        row = slice(i, i + 1)
        alone = family.parameters(s[row], location[row], scale[row])
        for one, other in zip(alone, parameters, strict=True):
            assert one[0].tobytes() == other[i].tobytes()
        for key, function in functions.items():
            found = function(alone, y[row], level[row])
            assert found[0].tobytes() == together[key][i].tobytes(), key


@pytest.mark.parametrize("name", SPREAD)
def test_the_layout_in_memory_does_not_matter(name):
    """Strided, reversed, broadcast, more axes: the same bits."""
    family = ALL[name]
    s, location, scale, y = drawn(family, (6, 5), 0)
    location, scale = location[:, :1], scale[:, :1]
    plain = family.parameters(s, np.repeat(location, 5, 1), np.repeat(scale, 5, 1))
    other = family.parameters(np.asfortranarray(s)[::-1], location[::-1], scale[::-1])
    for a, b in zip(plain, other, strict=True):
        assert a.flags.c_contiguous and a.shape == (6, 5)
        np.testing.assert_array_equal(a[::-1], b)
    strided = tuple(np.repeat(a, 2, 1)[:, ::2] for a in plain)
    for function, argument in ((family.quantile, 0.3), (family.cdf, y), (family.log_density, y)):
        np.testing.assert_array_equal(function(plain, argument), function(strided, argument))


@pytest.mark.parametrize("name", ALL)
@given(seed=seeds)
def test_quantiles_rise_and_cdf_turns_them_back(name, seed):
    family = ALL[name]
    s, location, scale, _ = drawn(family, (9,), seed)
    parameters = family.parameters(s, location, scale)
    levels = np.sort(np.random.default_rng(seed).uniform(0.001, 0.999, 7))
    found = np.array([family.quantile(parameters, level) for level in levels])
    assert (np.diff(found, axis=0) >= 0).all()
    for level, q in zip(levels, found, strict=True):
        assert (family.cdf(parameters, q + 1e-9 * np.abs(q)) >= level - 1e-9).all()
        if name in ("normal", "student-t", "quantiles"):
            np.testing.assert_allclose(family.cdf(parameters, q), level, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_units(name):
    """Ten times the location and the scale are ten times the mean, and if it is not of counts the Quantiles, too."""
    family = ALL[name]
    s, location, scale, _ = drawn(family, (20,), 3)
    one, ten = (family.parameters(s, k * location, k * scale) for k in (1, 10))
    np.testing.assert_allclose(family.mean(ten), 10 * family.mean(one), rtol=1e-12)
    if not family.discrete:
        np.testing.assert_allclose(family.quantile(ten, 0.2), 10 * family.quantile(one, 0.2), rtol=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_raw_zeros_are_the_location(name):
    family = ALL[name]
    parameters = family.parameters(np.zeros(family.size), 50.0, 7.0)
    np.testing.assert_allclose(family.mean(parameters), 50.0, rtol=1e-6)


@pytest.mark.parametrize("name", ["poisson", "negative-binomial"])
@pytest.mark.parametrize("location", [0.0, -5.0, 1e-30])
def test_means_of_counts_are_positive(name, location):
    family = FAMILIES[name]
    for s0 in (-1e4, -30.0, 0.0):
        parameters = family.parameters(np.full(family.size, s0), location, 2.0)
        assert 0 < family.mean(parameters) <= 2 * 0.0101
        assert np.isfinite(family.log_density(parameters, np.array([0.0, 1.0, 1e5]))).all()


@pytest.mark.parametrize("name", KNOWN)
def test_ends(name):
    family = FAMILIES[name]
    parameters = family.parameters(np.zeros(family.size), 5.0, 2.0)
    low = 0.0 if family.discrete else -np.inf
    np.testing.assert_array_equal(family.quantile(parameters, np.array([0.0, 1.0])), [low, np.inf])
    values = np.array([-np.inf, -1e300, 1e300, np.inf, NAN])
    np.testing.assert_array_equal(family.cdf(parameters, values)[[0, 3, 4]], [0, 1, NAN])
    assert (family.cdf(parameters, values)[1:3] == [0, 1]).all() or name == "student-t"
    log = family.log_density(parameters, values)
    np.testing.assert_array_equal(log[[0, 3]], -np.inf)
    assert (log[1:3] < -500).all() and np.isnan(log[4])
    with pytest.raises(UnspoolError, match=r"level must be between 0 and 1; got 1\.5"):
        family.quantile(parameters, 1.5)
    with pytest.raises(UnspoolError, match="level must be between 0 and 1; got nan"):
        family.quantile(parameters, NAN)


def test_quantiles_lie_on_straight_lines():
    family = Quantiles((0.1, 0.5, 0.9))
    parameters = family.parameters(np.array([2.0, 0.0, 1.0]), 10.0, 2.0)  # sorted: 10, 12, 14
    found = family.quantile(parameters, np.array([0.1, 0.3, 0.5, 0.9, 0.05, 1.0]))
    np.testing.assert_allclose(found, [10, 11, 12, 14, 9.75, 14.5])
    np.testing.assert_allclose(family.cdf(parameters, np.array([9.0, 9.75, 11, 13, 15])), [0, 0.05, 0.3, 0.7, 1])
    np.testing.assert_allclose(family.mean(parameters), 12)
    density = np.exp(family.log_density(parameters, np.array([9.0, 11, 13, 15])))
    np.testing.assert_allclose(density, [0, 0.2, 0.2, 0])


def test_equal_quantiles_are_a_mass():
    family = Quantiles((0.1, 0.5, 0.9))
    parameters = family.parameters(np.array([0.0, 0.0, 1.0]), 0.0, 1.0)
    np.testing.assert_allclose(family.cdf(parameters, np.array([-1e-9, 0.0, 1.0])), [0, 0.5, 0.9])
    np.testing.assert_array_equal(family.log_density(parameters, np.array([0.0])), np.inf)


@pytest.mark.parametrize("levels", [(), (0.5, 0.1), (0.1, 0.1), (0.0, 0.5), (0.5, 1.0), (0.5, NAN)])
def test_levels_are_refused(levels):
    with pytest.raises(UnspoolError, match="levels must be numbers between 0 and 1 that rise"):
        Quantiles(levels)


def test_a_point_has_no_density():
    for name in ("point", "one quantile"):
        with pytest.raises(UnspoolError, match="no density"):
            ALL[name].log_density(ALL[name].parameters(np.zeros((2, 1)), 0.0, 1.0), 0.0)


def test_softplus_and_its_inverse():
    x = np.array([-700.0, -30, -1, 0, 1, 30, 1e6])
    np.testing.assert_allclose(softplus(x), np.logaddexp(0, x), rtol=1e-15)
    np.testing.assert_allclose(inverse_softplus(softplus(x))[1:], x[1:], rtol=1e-13, atol=1e-13)
    level = np.array([0, 1e-300, 0.3, 1, NAN])
    np.testing.assert_allclose(normal_quantile(level), stats.norm.ppf(level), rtol=1e-14)


def test_stirlings_error():
    x = 10 ** np.linspace(-8, 3, 200)
    expected = special.gammaln(x + 1) - (x + 0.5) * np.log(x) + x - 0.5 * math.log(2 * math.pi)
    np.testing.assert_allclose(stirling_error(x), expected, atol=1e-11)
    far = np.array([1e4, 1e8])
    np.testing.assert_allclose(stirling_error(far), 1 / (12 * far) - 1 / (360 * far**3), rtol=1e-15)


@pytest.mark.parametrize("name", ["normal", "student-t", "poisson", "negative-binomial"])
def test_the_loss_is_the_negative_log_density(name):
    import torch

    from unspool.tasks.forecaster.losses import Loss

    family, random = FAMILIES[name], np.random.default_rng(0)
    s = random.normal(size=(50, 1, 1, family.size))
    base, scale = 5 * np.abs(random.normal(size=(50, 1, 1))), np.exp(random.normal(size=(50, 1, 1)))
    y = random.poisson(9, size=(50, 1, 1)).astype(float)
    y[3] = np.nan
    wanted = -family.log_density(family.parameters(s, base, scale), y)
    if family.discrete:
        targets, parts, constant = (
            np.concatenate([y, np.where(np.isnan(y), y, base), np.where(np.isnan(y), y, scale)], -1),
            3,
            0.0,
        )
    else:
        targets, parts, constant = (y - base) / scale, 1, np.log(scale[~np.isnan(y)]).sum()
    found = Loss(family)(torch.from_numpy(s.reshape(50, 1, -1)), torch.from_numpy(targets)).item()
    assert found / parts + constant == pytest.approx(np.nansum(wanted), rel=1e-6)


def test_the_loss_of_quantiles_is_that_of_the_pinball():
    import torch

    from unspool.tasks.forecaster.losses import Loss
    from unspool.tasks.forecaster.measures import crps

    levels, random = (0.1, 0.5, 0.9), np.random.default_rng(0)
    s, y = random.normal(size=(20, 1, 3)), random.normal(size=(20, 1, 1))
    found = Loss(Quantiles(levels))(torch.from_numpy(s), torch.from_numpy(y)).item()
    assert found == pytest.approx(20 * crps(y[:, :, 0].T, s.transpose(1, 0, 2), levels).item())
    point = Loss(FAMILIES["point"])(torch.from_numpy(s[..., :1].copy()), torch.from_numpy(y)).item()
    assert point == pytest.approx(np.abs(y - s[..., :1]).sum())
