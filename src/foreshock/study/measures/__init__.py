"""What several experiments measure with: readings at places, replies, dialogues, choices, steered next words."""
