#!/bin/sh
# A pipeline, with curl alone; then the same again with another sound: what the change does not touch is kept.
#
#   export TEMPERA_KEY=$(cat .tempera/key)
#   sh examples/curl/rerun.sh ["a large red circle on a blue background"]
#
# TEMPERA_URL says where the platform is; default http://localhost:8080.
set -eu

url="${TEMPERA_URL:-http://localhost:8080}"
key="${TEMPERA_KEY:?is not set; npm start prints a key and keeps it in .tempera/key}"
prompt="${1:-a large red circle on a blue background}"
pipeline="$url/queue/tempera/film-with-sound"

call() { curl --silent --show-error --fail-with-body --header "Authorization: Key $key" --header "Content-Type: application/json" "$@"; }
# What the platform answered when it refused, then the end.
refused() { printf "%s\n" "$1" >&2; exit 1; }
# One text field of a JSON answer. Enough for ids and addresses; use jq for anything else.
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
# Server-sent events, one for each change of the request and, for who asks, of its nodes; the last one is shown.
follow() { call --no-buffer "$pipeline/requests/$1/status/stream?nodes=1" | sed -n 's/^data: //p' | tail -n 1; }

submitted=$(printf '%s' "$prompt" | sed 's/[\\"]/\\&/g; s/.*/{"prompt": "&", "num_frames": 17, "seed": 7}/' |
  call --data @- "$pipeline") || refused "$submitted"
first=$(printf "%s" "$submitted" | field request_id)
echo "request $first"
follow "$first"

# The picture and the film are as they were, so only the sound is made.
submitted=$(call --data '{"overrides": {"input": {"sound_prompt": "bell"}}}' "$pipeline/requests/$first/rerun") || refused "$submitted"
again=$(printf "%s" "$submitted" | field request_id)
echo "rerun $again"
follow "$again"

call "$pipeline/requests/$again"
echo
