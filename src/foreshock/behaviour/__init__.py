"""What steering does to conduct: propensities of paired replies, choices, rollouts."""
