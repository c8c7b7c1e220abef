"""`python -m tempera_diffusers <socket>`: the engine as a process."""

from tempera_engine import serve

from .engine import DiffusersEngine

serve(DiffusersEngine())
