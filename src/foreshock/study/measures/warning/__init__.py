"""What the early-warning measurements share: conversations as read, what could warn, and what came of it."""
