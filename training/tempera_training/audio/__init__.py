"""The sound model: what is heard when the shapes of drawn clips hit something or flash."""
