"""What is fitted on pseudo-ensemble scores fits the ensemble: simulations in which the truth is known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from predicted import BINARY
from scipy import special

from MolSubCore.evaluation.drift import class_calibration
from MolSubCore.statistics.calibration import fit_calibration
from MolSubCore.statistics.pseudo_ensemble import LEAST_TEST, PseudoEnsemble, pseudo_ensemble
from MolSubCore.statistics.scores import Scores
from MolSubCore.statistics.thresholds import Threshold, choose_threshold

FIVE = ("Luminal A", "Luminal B", "HER2+/HR+", "HER2+/HR-", "TN")
SHARES = {2: [0.6, 0.4], 5: [0.3, 0.25, 0.15, 0.1, 0.2]}


@dataclass(frozen=True)
class Setting:
    """Networks of a cross-validation: a signal that all share, an error of each one's own, and other scales of theirs.

    `noise` is the error's standard deviation in units of the signal's within a class; `offsets` and `scales` are the
    standard deviations over networks of their mean log-odds, and of the logarithm of their scale.
    """

    members: int
    patients: int
    noise: float = 1.0
    classes: int = 2
    offsets: float = 0.0
    scales: float = 0.0


def cohort(rng: np.random.Generator, count: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and the signal in all networks' log-odds."""
    label = rng.choice(classes, size=count, p=SHARES[classes])
    if classes == 2:
        signal = np.stack([np.zeros(count), 2.0 * label - 1 + rng.normal(size=count)], axis=1)
    else:
        signal = 1.2 * np.eye(classes)[label] + rng.normal(size=(count, classes))
    return label, signal


def simulate(setting: Setting, seed: int) -> tuple[dict[int, Scores], dict[int, Scores], Scores]:
    """Validation by fold, the test set by network, and many new patients by the ensemble."""
    rng = np.random.default_rng(seed)
    places = np.arange(setting.classes) / (setting.classes - 1)
    offset = setting.offsets * rng.normal(size=setting.members)
    scale = 1.5 * np.exp(setting.scales * rng.normal(size=setting.members))

    def network(number: int, label: np.ndarray, signal: np.ndarray, prefix: str) -> Scores:
        error = setting.noise * rng.normal(size=signal.shape) * (places > 0 if setting.classes == 2 else 1)
        logits = scale[number] * (signal + error) + offset[number] * places
        names = np.array([f"{prefix}{n}" for n in range(len(label))])
        cases = np.arange(len(label)) + 10_000 * number  # an image is of one fold
        return Scores(special.softmax(logits, axis=1), label, names, cases)

    label, signal = cohort(rng, setting.patients, setting.classes)
    fold = np.arange(setting.patients) % setting.members
    parts = {
        n + 1: network(n, label[fold == n], signal[fold == n], f"fold {n} patient ") for n in range(setting.members)
    }
    tested = cohort(rng, max(setting.patients // 4, LEAST_TEST), setting.classes)
    test = {n + 1: network(n, *tested, "T") for n in range(setting.members)}
    new = cohort(rng, 4000, setting.classes)
    alone = [network(n, *new, "N") for n in range(setting.members)]
    mean = np.mean([one.probabilities for one in alone], axis=0)
    return parts, test, replace(alone[0], probabilities=mean)


def outcome(setting: Setting, seed: int) -> tuple[float, ...]:
    """Log of the slope after calibration; E/O; specificity at sensitivity >= 0.9, promised and given; the reverse."""
    validation, test, new = simulate(setting, seed)
    classes = BINARY if setting.classes == 2 else FIVE
    found = pseudo_ensemble(validation, test)
    assert isinstance(found, PseudoEnsemble)
    fitted = fit_calibration(found.scores, classes)
    after = fitted.apply(new)
    measures = class_calibration(after, classes, "TN")
    result = [np.log(measures["slope"]["value"]), measures["expected_observed"]["value"]]
    for rule, other in (("sensitivity", "specificity"), ("specificity", "sensitivity")):
        chosen: Threshold = choose_threshold(found.scores.calibrated(fitted), classes, "TN", rule, 0.9)  # type: ignore[arg-type]
        result += [getattr(chosen, other), chosen.apply(after)[other].value]
    return tuple(result)


SETTINGS = [
    (Setting(2, 400), 40),
    (Setting(3, 400, noise=0.5), 40),
    (Setting(5, 400), 40),
    (Setting(5, 400, noise=2.0), 40),
    (Setting(10, 400, noise=1.5), 30),
    (Setting(5, 60), 120),
    (Setting(5, 2000), 10),
    (Setting(5, 312, offsets=1.0, scales=0.4), 40),
    (Setting(5, 400, classes=5), 30),
    (Setting(3, 2000, noise=2.0, classes=5), 10),
]


@pytest.mark.parametrize(("setting", "cohorts"), SETTINGS, ids=[str(setting) for setting, _ in SETTINGS])
def test_calibration_and_promise_hold_for_the_ensemble(setting: Setting, cohorts: int) -> None:
    found = np.mean([outcome(setting, seed) for seed in range(cohorts)], axis=0)
    assert 0.75 < np.exp(found[0]) < 1.33
    assert 0.8 < found[1] < 1.25
    assert found[2] == pytest.approx(found[3], abs=0.03)
    assert found[4] == pytest.approx(found[5], abs=0.03)


def test_without_it_neither_holds() -> None:
    """The single networks' scores as they are, with five equal networks: the test above can fail."""
    slopes, promised, given = [], [], []
    for seed in range(20):
        validation, _, new = simulate(Setting(5, 400), seed)
        pooled = Scores.pooled(list(validation.values()))
        fitted = fit_calibration(pooled, BINARY)
        slopes.append(class_calibration(fitted.apply(new), BINARY, "TN")["slope"]["value"])
        chosen = choose_threshold(pooled.calibrated(fitted), BINARY, "TN", "sensitivity", 0.9)
        promised.append(chosen.specificity)
        given.append(chosen.apply(fitted.apply(new))["specificity"].value)
    assert np.mean(slopes) > 1.7
    assert abs(np.mean(promised) - np.mean(given)) > 0.05


def test_the_classes_of_test_patients_do_not_matter() -> None:
    validation, test, _ = simulate(Setting(3, 90), 1)
    scrambled = {number: replace(part, label=np.zeros_like(part.label)) for number, part in test.items()}
    first, second = (pseudo_ensemble(validation, part) for part in (test, scrambled))
    assert isinstance(first, PseudoEnsemble)
    assert isinstance(second, PseudoEnsemble)
    assert np.array_equal(first.scores.probabilities, second.scores.probabilities)


def test_networks_that_agree_are_one() -> None:
    """Their mean is each of them: nothing is drawn together."""
    validation, test, _ = simulate(Setting(3, 90, noise=0.0), 2)
    found = pseudo_ensemble(validation, test)
    assert isinstance(found, PseudoEnsemble)
    assert (found.members, found.test_patients, found.drawn) == (3, 22, pytest.approx(1.0))
    own = np.concatenate([part.probabilities for part in validation.values()])
    assert found.scores.probabilities == pytest.approx(own, abs=1e-9)


def test_where_the_disagreement_is_not_known() -> None:
    validation, test, _ = simulate(Setting(3, 90), 3)
    few = {number: part.select(np.arange(LEAST_TEST - 1)) for number, part in test.items()}
    assert pseudo_ensemble(validation, few) == (
        "how far the networks disagree is not known (9 test patients, at least 10 needed)"
    )
    flat = test | {2: replace(test[2], probabilities=np.full_like(test[2].probabilities, 0.5))}
    assert pseudo_ensemble(validation, flat) == "a network gives all patients the same probabilities"
