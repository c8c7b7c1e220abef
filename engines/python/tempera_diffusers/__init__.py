"""
An engine that runs pipeline folders of diffusers: `engine: diffusers` of a manifest. docs/real-checkpoints.md says how real
checkpoints are run with it. Nothing heavy is imported before a model is loaded.
"""
