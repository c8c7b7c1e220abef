"""
An engine that runs pipeline folders of diffusers: `engine: diffusers` of a manifest. docs/real-checkpoints.md
describes how to run real checkpoints with it. Nothing heavy is imported before a model is loaded.
"""
