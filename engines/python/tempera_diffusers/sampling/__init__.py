"""Denoising by a pipeline of diffusers: its noise, its steps, its state, its previews."""
