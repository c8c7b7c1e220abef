#!/bin/sh
# Starts an engine written in Python: start.sh <module or file.py> <socket path>. The GPU worker calls it.
# TEMPERA_PYTHON names the interpreter (default: python3), which must have the packages that the engine needs.
here=$(cd "$(dirname "$0")" && pwd)
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
python=${TEMPERA_PYTHON:-python3}
command -v "$python" >/dev/null || {
  echo "$python does not exist; install Python 3.11 or newer, or set TEMPERA_PYTHON to its path." >&2
  exit 1
}
case $1 in
*.py) exec "$python" "$@" ;;
*) exec "$python" -m "$@" ;;
esac
