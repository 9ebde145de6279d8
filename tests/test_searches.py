"""What scikit-learn does with estimators, on sequences of unequal lengths."""

from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, StackingRegressor, VotingClassifier
from sklearn.experimental import enable_halving_search_cv as enable_halving_search_cv
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingRandomSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_validate,
    learning_curve,
    permutation_test_score,
    validation_curve,
)
from sklearn.pipeline import make_pipeline

from unspool import Classifier, Regressor
from unspool.data import Ragged
from unspool.data.sequences import Places, Sequences

RNG = np.random.default_rng(0)
Y = np.arange(40) % 2
X = [RNG.standard_normal((T, 2)) * 0.3 + y for T, y in zip(RNG.integers(2, 7, 40), Y, strict=True)]
RESOURCES: Any = {"n_candidates": 2, "factor": 2, "min_resources": 2, "max_resources": 4}
SIZES: Any = {"hidden_size": [3, 4]}


def small(task: Any = Classifier, **options):
    return task(**{"hidden_size": 4, "epochs": 3, "learning_rate": 0.05, "dropout": 0.0} | options)


def columns():
    ragged = Ragged.of(X)
    columns = {name: Ragged(ragged.values[:, k], ragged.offsets) for k, name in enumerate("ab")}
    return Sequences(columns, Places.of("x", np.arange(40)))


@pytest.mark.parametrize("X", [X, Ragged.of(X), columns()], ids=lambda X: type(X).__name__)
def test_grid_search(X):
    search = GridSearchCV(small(), SIZES, cv=2).fit(X, Y)
    assert search.best_params_["hidden_size"] in (3, 4) and search.best_score_ > 0.8
    assert search.predict(X).shape == (40,)


def test_columns_of_a_file_are_taken_by_numbers_and_by_masks():
    of = columns()
    for key in ([3, 1], np.array([3, 1]), np.arange(40) == 3, slice(3, 4)):
        assert np.array_equal(of[key]["a"][0], X[3][:, 0])
    assert of.shape == (40,) and len(of[[3, 1]]) == 2


def test_random_search_with_groups():
    search = RandomizedSearchCV(small(), SIZES, n_iter=2, cv=GroupKFold(2), random_state=0)
    assert search.fit(X, Y, groups=np.arange(40) // 4).best_score_ > 0.8


def test_halving_search_by_epochs():
    search = HalvingRandomSearchCV(
        small(),
        SIZES,
        resource="epochs",
        **RESOURCES,
        cv=2,
        random_state=0,
    )
    assert search.fit(X, Y).best_estimator_.epochs == 4


@pytest.mark.parametrize("task", [Classifier, Regressor])
def test_cross_validation(task):
    found = cross_validate(small(task), X, Y, cv=2, return_train_score=True)
    assert len(found["test_score"]) == 2 and found["train_score"].mean() > 0.5
    assert len(cross_val_predict(small(task), X, Y, cv=2)) == 40


def test_curves():
    parts = np.array([0.5, 1.0])
    sizes, train, test, *_ = learning_curve(small(), X, Y, cv=2, train_sizes=parts, shuffle=True, random_state=0)
    assert sizes.tolist() == [10, 20] and train.shape == test.shape == (2, 2)
    _, test = validation_curve(small(), X, Y, cv=2, param_name="epochs", param_range=[1, 3])
    assert test.shape == (2, 2)


def test_permutations():
    score, others, p = permutation_test_score(small(), X, Y, cv=2, n_permutations=3, random_state=0)
    assert score > others.mean() and 0 < p <= 1


@pytest.mark.parametrize(
    "made",
    [
        lambda: VotingClassifier([("a", small()), ("b", small(cell="mlp"))], voting="soft"),
        lambda: StackingClassifier([("a", small()), ("b", small(cell="elman"))], cv=2),
        lambda: CalibratedClassifierCV(small(), cv=2),
        lambda: TunedThresholdClassifierCV(small(), cv=2),
        lambda: make_pipeline(small(), LogisticRegression()),
    ],
    ids=["voting", "stacking", "calibrated", "threshold", "pipeline"],
)
def test_estimators_of_estimators(made):
    assert made().fit(X, Y).score(X, Y) > 0.8


def test_stacked_regressors():
    assert StackingRegressor([("a", small(Regressor)), ("b", small(Regressor, cell="tdnn"))], cv=2).fit(X, Y).predict(
        X
    ).shape == (40,)
