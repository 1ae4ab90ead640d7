"""The plan: its file form, its ranges, the learning rate, the seeds."""

from __future__ import annotations

import json

import pytest
import torch

from MolSubCore.errors import TrainingError
from MolSubCore.training.plan import Augmentation, Plan, derive_seed


def make_plan(**changes: object) -> Plan:
    values: dict[str, object] = {
        "task": "tn",
        "architecture": "densenet121-cbam",
        "recipe": {"name": "default"},
        "data_hash": "d",
        "split_hash": "s",
    }
    return Plan(**(values | changes))  # type: ignore[arg-type]


def test_defaults_are_the_papers() -> None:
    plan = make_plan()
    assert (plan.learning_rate, plan.weight_decay, plan.batch_size, plan.epochs) == (1e-4, 0.005, 8, 300)
    assert (plan.dropout, plan.folds, plan.beta1, plan.seed, plan.patience) == (0.3, 5, 0.9, 21, 100)
    shape = plan.augmentation
    assert (shape.horizontal_flip, shape.vertical_flip) == (0.5, 0.5)
    assert (shape.rotation_degrees, shape.shear_degrees) == (20.0, 10.0)


def test_survives_its_file() -> None:
    plan = make_plan(augmentation=Augmentation(rotation_degrees=5.0), epochs=7)
    again = Plan.from_dict(json.loads(json.dumps(plan.to_dict() | {"software": {"torch": "2"}})))
    assert again == plan
    assert again.key() == plan.key()


def test_every_field_changes_the_key() -> None:
    plan = make_plan()
    assert make_plan(seed=22).key() != plan.key()
    assert make_plan(augmentation=Augmentation(padding="zeros")).key() != plan.key()


@pytest.mark.parametrize("change", [{"epochs": 0}, {"oversampling": 0.5}, {"dropout": 1.0}, {"threads": 0}])
def test_values_out_of_range_are_named(change: dict[str, object]) -> None:
    with pytest.raises(TrainingError, match=next(iter(change))):
        make_plan(**change)


@pytest.mark.parametrize(("schedule", "t_max", "floor"), [("cosine", 50, 0.0), ("cosine-published", 20, 1e-5)])
def test_learning_rate_is_torchs(schedule: str, t_max: int, floor: float) -> None:
    plan = make_plan(schedule=schedule, epochs=50)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=plan.learning_rate)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=t_max, eta_min=floor)
    for epoch in range(50):
        assert plan.learning_rate_at(epoch) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6, abs=1e-12)
        optimizer.step()
        theirs.step()


def test_seeds_differ_by_purpose_and_epoch() -> None:
    seeds = {
        derive_seed(21, "fold", f, "epoch", e, p) for f in range(5) for e in range(100) for p in ("order", "dropout")
    }
    assert len(seeds) == 1000
    assert derive_seed(21, "a") == derive_seed(21, "a") >= 0
