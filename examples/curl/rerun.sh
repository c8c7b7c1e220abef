#!/bin/sh
# A pipeline with curl alone, then a rerun with other audio. Nodes that the change does not affect are reused.
#
#   export TEMPERA_KEY=$(cat .tempera/key)
#   sh examples/curl/rerun.sh ["a large red circle on a blue background"]
#
# TEMPERA_URL is the address of the platform; default: http://localhost:8080.
set -eu

url="${TEMPERA_URL:-http://localhost:8080}"
key="${TEMPERA_KEY:?is not set; npm start stores a key in .tempera/key}"
prompt="${1:-a large red circle on a blue background}"
pipeline="$url/queue/tempera/text-to-video-with-audio"

call() {
  curl --silent --show-error --fail-with-body --header "Authorization: Key $key" \
    --header "Content-Type: application/json" "$@"
}
# Prints the platform's error and exits.
refused() { printf "%s\n" "$1" >&2; exit 1; }
# Prints one text field of a JSON response. Enough for ids and addresses; use jq for anything else.
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
# Follows the server-sent events of a request and its nodes (`nodes=1`) to the end. Prints the last one.
follow() {
  call --no-buffer "$pipeline/requests/$1/status/stream?nodes=1" | sed -n 's/^data: //p' | tail -n 1
}

submitted=$(printf '%s' "$prompt" | sed 's/[\\"]/\\&/g; s/.*/{"prompt": "&", "num_frames": 17, "seed": 7}/' |
  call --data @- "$pipeline") || refused "$submitted"
first=$(printf "%s" "$submitted" | field request_id)
echo "request $first"
follow "$first"

# The image and the video are reused, so only the audio is generated.
submitted=$(call --data '{"overrides": {"input": {"audio_prompt": "bell"}}}' \
  "$pipeline/requests/$first/rerun") || refused "$submitted"
again=$(printf "%s" "$submitted" | field request_id)
echo "rerun $again"
follow "$again"

call "$pipeline/requests/$again"
echo
