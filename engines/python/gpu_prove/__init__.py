"""
Measures the diffusers engine on a GPU without any checkpoint: full-size networks of the real classes, with
random weights that are made on the device. `npm run gpu:prove` runs it; docs/benchmarks.md has the figures.
"""
