"""The audio model: effects for the events of drawn clips, in which shapes hit something or flash."""
