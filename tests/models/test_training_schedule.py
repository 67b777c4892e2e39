"""What a training run does at which step, by hand."""

from __future__ import annotations

import pytest

from fxp.models.common.settings import TrainingSettings


def test_the_last_share_of_the_steps_is_on_the_finishing_loss() -> None:
    settings = TrainingSettings(steps=10, finish=0.3)
    assert [settings.finishing_at(step) for step in range(10)] == [False] * 7 + [True] * 3
    assert not any(TrainingSettings(steps=4, finish=0.0).finishing_at(step) for step in range(4))
    assert all(TrainingSettings(steps=4, finish=1.0).finishing_at(step) for step in range(4))


def test_the_rate_rises_for_a_hundredth_of_the_steps_and_falls_to_zero() -> None:
    settings = TrainingSettings(steps=1000, rate=2.0)
    # Ten steps of warming up; half a cosine: 1 at the start, a half in the middle, 0 at the end.
    assert settings.rate_at(0) == pytest.approx(0.2)
    assert settings.rate_at(4) == pytest.approx(1.0, rel=1e-4)
    assert settings.rate_at(250) == pytest.approx(2.0 * 0.8535533905932737)
    assert settings.rate_at(500) == pytest.approx(1.0)
    assert settings.rate_at(1000) == pytest.approx(0.0)
