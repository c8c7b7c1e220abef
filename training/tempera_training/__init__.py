"""Recipes that train Tempera's demonstration models from nothing, on a CPU. Start with README.md."""
