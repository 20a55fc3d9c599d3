"""The planted study and the runs of Inspect that the rollouts' tests have."""

from tests.behaviour.rollouts.conftest import plant_study, run

__all__ = ["plant_study", "run"]
