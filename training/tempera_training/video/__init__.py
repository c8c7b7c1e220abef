"""The video model: drawn clips of one moving shape, a 3-D autoencoder, a diffusion transformer over space and
time.
"""
