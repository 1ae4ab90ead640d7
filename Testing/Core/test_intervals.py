"""Intervals: patients drawn whole, closed forms at the ends, and the coverage of 95 %."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from MolSubCore.statistics.intervals import effective_count, estimates, multiplicities, newcombe, share_estimate, wilson
from MolSubCore.statistics.metrics import Ratio, all_ratios, compute, over_classes
from MolSubCore.statistics.scores import Scores

BINARY = ("non-TN", "TN")
FIVE = ("Luminal A", "Luminal B", "HER2+/HR+", "HER2+/HR-", "TN")


def make_scores(positive: list[float], label: list[int], views: int = 2) -> Scores:
    """One patient per label, the same probability in every view."""
    values = np.repeat(np.array(positive, float), views)
    patients = np.repeat([f"S{n}" for n in range(len(label))], views)
    return Scores(np.stack([1 - values, values], axis=1), np.repeat(label, views), patients, np.arange(len(values)))


@st.composite
def cohorts(draw: st.DrawFn) -> tuple[Scores, tuple[str, ...], str | None]:
    """Two or five classes, some perhaps absent, one to three views a patient, scores with ties."""
    classes = draw(st.sampled_from([BINARY, FIVE]))
    count = draw(st.integers(2, 14))
    label = draw(st.lists(st.integers(0, len(classes) - 1), min_size=count, max_size=count))
    views = draw(st.lists(st.integers(1, 3), min_size=count, max_size=count))
    rows = [draw(st.lists(st.integers(0, 4), min_size=len(classes), max_size=len(classes))) for _ in range(sum(views))]
    values = np.array(rows, float) + 0.01
    patients = np.repeat([f"S{n}" for n in range(count)], views)
    scores = Scores(
        values / values.sum(axis=1, keepdims=True), np.repeat(label, views), patients, np.arange(sum(views))
    )
    return scores, classes, "TN" if classes == BINARY else None


@settings(deadline=None, max_examples=25)
@given(cohorts())
def test_values_are_the_metrics_and_intervals_lie_in_order(drawn: tuple[Scores, tuple[str, ...], str | None]) -> None:
    scores, classes, positive = drawn
    found = estimates(scores, classes, positive, resamples=200)
    values = compute(scores.probabilities, scores.label, np.ones((1, len(scores.label))), classes, positive)
    assert list(found) == list(values)
    for name, estimate in found.items():
        if np.isnan(values[name][0]):
            assert (estimate.value, estimate.low, estimate.high) == (None, None, None), name
            assert "why" in estimate.to_dict()
            continue
        assert estimate.value == values[name][0]
        assert estimate.low is not None
        assert estimate.high is not None
        assert 0 <= estimate.low < estimate.high <= 1, name
        assert estimate.low <= estimate.value <= estimate.high, name


@settings(deadline=None, max_examples=40)
@given(cohorts(), st.integers(0, 2**32))
def test_patients_are_drawn_whole_within_their_class(
    drawn: tuple[Scores, tuple[str, ...], str | None], seed: int
) -> None:
    scores = drawn[0]
    weights = multiplicities(scores.patient, scores.label, 60, seed)
    for patient in set(scores.patient.tolist()):
        columns = weights[:, scores.patient == patient]
        assert (columns == columns[:, :1]).all()
    first = np.unique(scores.patient, return_index=True)[1]
    for label in set(scores.label.tolist()):
        members = first[scores.label[first] == label]
        assert (weights[:, members].sum(axis=1) == len(members)).all()
    assert np.array_equal(weights, multiplicities(scores.patient, scores.label, 60, seed))


@given(drawn=cohorts(), salt=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_salted_ids_decide_no_number(drawn: tuple[Scores, tuple[str, ...], str | None], salt: int) -> None:
    """Another study has the same patients under other ids, which sort in another order."""
    scores, classes, positive = drawn
    names = np.unique(scores.patient)
    other = dict(zip(names, np.random.default_rng(salt).permutation(names), strict=True))
    renamed = Scores(scores.probabilities, scores.label, np.array([other[n] for n in scores.patient]), scores.case)
    for one, two in ((scores, renamed), (scores.per_patient(), renamed.per_patient())):
        assert np.array_equal(one.probabilities, two.probabilities)
        found = [estimates(part, classes, positive, resamples=20, seed=1) for part in (one, two)]
        assert found[0] == found[1]


def test_draws_are_those_of_a_bootstrap() -> None:
    """Mean 1, variance (n - 1) / n and covariance -1 / n, as of a multinomial."""
    count = 10
    weights = multiplicities(np.array([f"S{n}" for n in range(count)]), np.zeros(count, np.int64), 40_000, 1)
    covariance = np.cov(weights.T)
    assert np.allclose(weights.mean(axis=0), 1, atol=0.03)
    assert np.allclose(np.diag(covariance), 0.9, atol=0.04)
    assert np.allclose(covariance[~np.eye(count, dtype=bool)], -0.1, atol=0.03)


def test_two_equal_views_are_no_more_than_one() -> None:
    rng = np.random.default_rng(6)
    label = [0] * 25 + [1] * 15
    positive = np.clip(rng.normal(np.array(label) * 0.25 + 0.4, 0.2), 0.01, 0.99).tolist()
    one, two = (estimates(make_scores(positive, label, views), BINARY, "TN") for views in (1, 2))
    for name, estimate in one.items():
        assert two[name].value == pytest.approx(estimate.value), name
        assert two[name].low <= estimate.low + 1e-12, name
        assert two[name].high >= estimate.high - 1e-12, name
        assert two[name].high - two[name].low < 1.1 * (estimate.high - estimate.low), name


def test_shares_per_patient_are_scipys_wilson() -> None:
    label = [1] * 40 + [0] * 25
    found = estimates(make_scores([0.9] * 28 + [0.2] * 12 + [0.1] * 22 + [0.7] * 3, label, 1), BINARY, "TN")
    counts = {"sensitivity": (28, 40), "specificity": (22, 25), "ppv": (28, 31), "npv": (22, 34), "accuracy": (50, 65)}
    for name, (hits, count) in counts.items():
        expected = stats.binomtest(hits, count).proportion_ci(method="wilson")
        assert (found[name].low, found[name].high) == pytest.approx((expected.low, expected.high), abs=1e-12), name


def test_the_effective_number_is_that_of_a_bootstrap() -> None:
    """Share times its complement over the variance, with patients of one to four units drawn by scipy."""
    rng = np.random.default_rng(3)
    units = rng.integers(1, 5, 60)
    hits = rng.binomial(units, np.clip(rng.normal(0.7, 0.35, 60), 0, 1))
    patient = np.repeat(np.arange(60), units)
    counted = np.concatenate([np.arange(n) < h for n, h in zip(units, hits, strict=True)])
    found = effective_count(Ratio(counted, np.ones(len(counted), bool)), patient)
    drawn = stats.bootstrap(
        (hits, units), lambda h, u, axis: h.sum(axis) / u.sum(axis), paired=True, vectorized=True,
        n_resamples=8000, method="percentile", rng=np.random.default_rng(1),
    )  # fmt: skip
    share = hits.sum() / units.sum()
    assert found == pytest.approx(share * (1 - share) / drawn.standard_error**2, rel=0.08)
    assert 60 < found < units.sum()


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 4)), min_size=1, max_size=12))
def test_the_effective_number_has_bounds(rows: list[tuple[int, int]]) -> None:
    units = np.array([n for n, _ in rows])
    counted = np.concatenate([np.arange(n) < h for n, h in rows])
    ratio = Ratio(counted, np.ones(len(counted), bool))
    found = effective_count(ratio, np.repeat(np.arange(len(rows)), units))
    assert 0 < found <= units.sum()
    assert effective_count(ratio, np.arange(len(counted))) == pytest.approx(len(counted))
    twice = Ratio(np.repeat(counted, 2), np.ones(2 * len(counted), bool))
    assert effective_count(twice, np.repeat(np.arange(len(counted)), 2)) == pytest.approx(len(counted))


def test_an_auc_has_the_bootstraps_deviation_on_the_logit_scale() -> None:
    rng = np.random.default_rng(8)
    positive, negative = np.clip(rng.normal(0.6, 0.15, 18), 0, 1), np.clip(rng.normal(0.4, 0.15, 40), 0, 1)
    found = estimates(make_scores([*positive, *negative], [1] * 18 + [0] * 40), BINARY, "TN", resamples=8000)["auc"]

    def area(first: np.ndarray, second: np.ndarray) -> float:
        return float((first[:, None] > second).mean() + 0.5 * (first[:, None] == second).mean())

    drawn = stats.bootstrap(
        (positive, negative), area, vectorized=False, n_resamples=4000, method="percentile", rng=rng
    )  # fmt: skip
    value = area(positive, negative)
    half = np.sqrt(18 / 17) * stats.t.ppf(0.975, 17) * drawn.standard_error / (value * (1 - value))
    ends = [1 / (1 + np.exp(-(np.log(value / (1 - value)) + side * half))) for side in (-1, 1)]
    assert (found.low, found.high) == pytest.approx(tuple(ends), abs=0.012)
    assert found.method == "logit, bootstrap over patients"


@given(st.integers(1, 500), st.data())
def test_wilson_is_scipys(count: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, count))
    expected = stats.binomtest(hits, count).proportion_ci(method="wilson")
    assert wilson(hits / count, count) == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(st.integers(1, 60), st.integers(1, 60), st.data())
def test_newcombes_ends_solve_his_equation(first: int, second: int, data: st.DataObject) -> None:
    """Hanley and McNeil's variance at the end itself, with (m + n) / 2 - 1 for both m - 1 and n - 1."""
    value = data.draw(st.sampled_from([0.0, 1.0]) | st.floats(0.02, 0.98))
    low, high = newcombe(value, first, second)
    assert 0 <= low <= value <= high <= 1
    assert low < high
    more = (first + second) / 2 - 1
    for end in (low, high):
        if 0 < end < 1:
            one, both = end / (2 - end), 2 * end**2 / (1 + end)
            variance = (end * (1 - end) + more * (one - end**2) + more * (both - end**2)) / (first * second)
            assert abs(value - end) == pytest.approx(1.959964 * np.sqrt(variance), abs=1e-5)
        else:
            assert end == value


def test_perfect_ranking_of_few_patients_says_little() -> None:
    """The smaller class decides: 3 against 77 is less than 40 against 40."""
    few = estimates(make_scores([0.9] * 3 + [0.1] * 77, [1] * 3 + [0] * 77), BINARY, "TN")["auc"]
    even = estimates(make_scores([0.9] * 40 + [0.1] * 40, [1] * 40 + [0] * 40), BINARY, "TN")["auc"]
    assert few.value == even.value == 1.0
    assert few.high == even.high == 1.0
    assert few.low is not None
    assert even.low is not None
    assert few.low < 0.8 < 0.93 < even.low < 1


def test_all_right_keeps_a_width() -> None:
    found = estimates(make_scores([0.9] * 12 + [0.2] * 30, [1] * 12 + [0] * 30, 1), BINARY, "TN")
    for name, count in (("sensitivity", 12), ("specificity", 30), ("ppv", 12), ("npv", 30), ("accuracy", 42)):
        expected = stats.binomtest(count, count).proportion_ci(method="wilson")
        assert found[name].value == 1.0
        assert (found[name].low, found[name].high) == pytest.approx((expected.low, 1.0)), name
        assert "Wilson" in found[name].method


def test_five_classes_perfectly_ranked() -> None:
    label = np.repeat(np.arange(5), [20, 30, 10, 4, 10])
    patients = np.array([f"S{n}" for n in range(len(label))])
    found = estimates(Scores(np.eye(5)[label], label, patients, np.arange(len(label))), FIVE, None, resamples=100)
    lows = [found[f"auc: {name}"].low for name in FIVE]
    assert all(low is not None and low < 1 for low in lows)
    assert lows[3] == min(low for low in lows if low is not None)
    assert found["macro auc"].low == lows[3]
    assert found["auc: HER2+/HR-"].low == pytest.approx(newcombe(1.0, 4, 70)[0])


def clustered(rng: np.random.Generator, counts: tuple[int, int], shift: float) -> Scores:
    """Two views a patient that share 64 % of their variance; the score is linear in a normal variable."""
    label = np.repeat([1, 0], counts)
    patient = rng.normal(0, 0.8, len(label))
    value = shift * (np.repeat(label, 2) - 0.5) + np.repeat(patient, 2) + rng.normal(0, 0.6, 2 * len(label))
    positive = 0.5 + value / 40  # far from 0 and 1, so that means over views stay linear
    patients = np.repeat([f"S{n}" for n in range(len(label))], 2)
    return Scores(np.stack([1 - positive, positive], axis=1), np.repeat(label, 2), patients, np.arange(len(value)))


def truth(shift: float, unit: str) -> dict[str, float]:
    """Closed forms for two normal distributions of equal deviation with the threshold between them."""
    deviation = np.sqrt(0.64 + (0.36 if unit == "image" else 0.18))
    share = float(stats.norm.cdf(shift / 2 / deviation))
    return {"auc": float(stats.norm.cdf(shift / deviation / np.sqrt(2))), "sensitivity": share, "accuracy": share}


def test_one_class_only_of_five() -> None:
    label = np.zeros(6, np.int64)
    found = estimates(Scores(np.eye(5)[label], label, np.arange(6).astype(str), np.arange(6)), FIVE, None)
    assert found["macro auc"].value is None
    assert found["macro sensitivity"].value == 1.0
    assert (found["macro sensitivity"].low, found["macro sensitivity"].high) == pytest.approx(wilson(1.0, 6))
    assert found["macro sensitivity"].classes == "1 of 5"


def test_a_macro_mean_says_over_how_many_classes_it_is() -> None:
    rng = np.random.default_rng(3)
    for label, classes in ((np.arange(40) % 4, "4 of 5"), (np.arange(40) % 5, "")):
        scores = Scores(rng.dirichlet(np.ones(5), 40), label, np.arange(40).astype(str), np.arange(40))
        found = estimates(scores, FIVE, None, resamples=20)
        assert {metric.classes for name, metric in found.items() if name.startswith("macro")} == {classes}
        assert {metric.classes for name, metric in found.items() if not name.startswith("macro")} == {""}
        told = {name: metric.to_dict().get("classes", "") for name, metric in found.items()}
        assert over_classes(found["macro ppv"].to_dict()) == (f" over {classes} classes" if classes else "")
        assert told["macro auc"] == classes


def coverage_of_shares(patients: int, images: int, share: float, cohorts: int, seed: int) -> dict[str, float]:
    """Share of cohorts whose intervals per image hold the truth; images of a patient share half of their variance.

    `share` of the patients are positive, on average, and each has `images`; sensitivity and specificity are 0.79.
    """
    rng, deviation, true = np.random.default_rng(seed), np.sqrt(0.5), float(stats.norm.cdf(0.8))
    right = {"sensitivity": true, "specificity": true, "accuracy": true}
    right["ppv"] = share * true / (share * true + (1 - share) * (1 - true))
    right["npv"] = (1 - share) * true / ((1 - share) * true + share * (1 - true))
    held: dict[str, list[bool]] = {name: [] for name in right}
    patient = np.repeat(np.arange(patients), images)
    for _ in range(cohorts):
        label = (rng.random(patients) < share)[patient].astype(np.int64)
        value = 1.6 * (label - 0.5) + rng.normal(0, deviation, patients)[patient]
        called = (value + rng.normal(0, deviation, len(patient)) > 0).astype(np.int64)
        for name, ratio in all_ratios(label, called, BINARY, "TN").items():
            found = share_estimate(ratio, patient)
            if found.low is not None and found.high is not None:
                held[name].append(found.low <= right[name] <= found.high)
    return {name: float(np.mean(values)) for name, values in held.items()}


def coverage_of_auc(patients: int, images: int, share: float, cohorts: int, seed: int) -> float:
    """The same of the AUC per patient, among cohorts with two patients or more of either class."""
    rng, deviation = np.random.default_rng(seed), np.sqrt(0.5)
    right, held = float(stats.norm.cdf(1.6 / np.sqrt(2 * (0.5 + 0.5 / images)))), []
    patient = np.repeat(np.arange(patients), images)
    for number in range(cohorts):
        label = (rng.random(patients) < share).astype(np.int64)
        value = 1.6 * (label - 0.5) + rng.normal(0, deviation, patients)
        value = 0.5 + (value[patient] + rng.normal(0, deviation, len(patient))) / 40  # far from 0 and 1
        if not 2 <= label.sum() <= patients - 2:
            continue
        units = np.stack([1 - value, value], axis=1), label[patient], patient.astype(str), np.arange(len(patient))
        found = estimates(Scores(*units).per_patient(), BINARY, "TN", resamples=300, seed=number)["auc"]
        held.append(found.low <= right <= found.high)
    return float(np.mean(held))


def test_shares_of_images_hold_their_level_in_small_cohorts() -> None:
    """12 to 120 patients with 1 to 6 images, 10 to 50 % positive: PPV and NPV with the normal quantile held 0.88."""
    for patients, images, share in ((12, 6, 0.3), (40, 6, 0.1), (40, 2, 0.5), (120, 4, 0.3)):
        covered = coverage_of_shares(patients, images, share, 400, 1)
        assert all(one >= 0.91 for one in covered.values()), (patients, images, share, covered)
        # Of 12 patients the shares are lumpy.
        assert patients == 12 or 0.93 <= np.mean(list(covered.values())) <= 0.98, covered


@pytest.mark.slow
@pytest.mark.parametrize(("counts", "shift"), [((30, 50), 1.19), ((12, 66), 1.19), ((30, 50), 2.6)])
def test_coverage(counts: tuple[int, int], shift: float) -> None:
    """95 % CIs hold the true value in 92 to 98 % of cohorts, per image and per patient.

    The half per cent above is the simulation's own error; the coverage of a share of 30 patients is lumpy.
    """
    rng = np.random.default_rng(2024)
    times = 600
    held = {(unit, name): 0 for unit in ("image", "patient") for name in ("auc", "sensitivity", "accuracy")}
    for seed in range(times):
        scores = clustered(rng, counts, shift)
        for unit, part in (("image", scores.per_image()), ("patient", scores.per_patient())):
            found = estimates(part, BINARY, "TN", resamples=400, seed=seed)
            for name, value in truth(shift, unit).items():
                estimate = found[name]
                assert estimate.low is not None
                assert estimate.high is not None
                held[unit, name] += estimate.low <= value <= estimate.high
    shares = {key: count / times for key, count in held.items()}
    assert all(0.92 <= share <= 0.985 for share in shares.values()), shares


def fold_scores(rng: np.random.Generator, offsets: tuple[float, ...], patients: int, shift: float) -> Scores:
    """Validation patients of as many folds, 30 % positive; the log-odds of each fold's model have its own offset."""
    folds = []
    for number, offset in enumerate(offsets):
        label = (np.arange(patients) % 10 < 3).astype(np.int64)
        share = 1 / (1 + np.exp(-(shift * label + rng.normal(size=patients) + offset)))
        names = np.array([f"S{number}-{n}" for n in range(patients)])
        folds.append(Scores(np.stack([1 - share, share], axis=1), label, names, np.arange(patients) + 1000 * number))
    return Scores.pooled(folds)


def test_an_auc_out_of_fold_counts_pairs_of_one_fold_by_hand() -> None:
    scores = fold_scores(np.random.default_rng(3), (-2.0, 0.0, 2.0), 12, 1.0)
    won = pairs = 0.0
    for one in np.flatnonzero(scores.label == 1):
        for other in np.flatnonzero((scores.label == 0) & (np.arange(36) // 12 == one // 12)):
            first, second = scores.probabilities[[one, other], 1]
            won, pairs = won + (first > second) + (first == second) / 2, pairs + 1
    found = estimates(scores.per_patient(), BINARY, "TN", resamples=50)["auc"].value
    assert found == pytest.approx(won / pairs)
    assert found != pytest.approx(estimates(replace(scores, fold=None), BINARY, "TN", resamples=50)["auc"].value)


def out_of_fold(cohorts: int) -> tuple[float, float, float]:
    """Mean AUC out of fold, share of intervals that hold the true one of 0.80, and the mean of pairs across folds.

    Five networks whose log-odds are offset by a standard normal; 40 patients a fold.
    """
    rng, true = np.random.default_rng(0), stats.norm.cdf(1.19 / 2**0.5)
    covered, values, pooled = 0, [], []
    for _ in range(cohorts):
        scores = fold_scores(rng, tuple(rng.normal(size=5)), 40, 1.19)
        found = estimates(scores, BINARY, "TN", resamples=200)["auc"]
        covered += found.low <= true <= found.high
        values.append(found.value)
        pooled.append(estimates(replace(scores, fold=None), BINARY, "TN", resamples=1)["auc"].value)
    return float(np.mean(values)), covered / cohorts, float(np.mean(pooled))


def test_an_auc_out_of_fold_is_that_of_the_models_whatever_their_offsets() -> None:
    """True AUC of normal scores 1.19 apart: 0.80. Pairs across folds, 1 apart in offset, give 0.74."""
    mean, covered, pooled = out_of_fold(200)
    assert mean == pytest.approx(stats.norm.cdf(1.19 / 2**0.5), abs=0.01)
    assert 0.90 <= covered <= 0.99
    assert pooled < 0.76
