#!/bin/sh
# The queue, with curl alone: submit, follow, collect the output, save the picture.
#
#   export TEMPERA_KEY=$(cat .tempera/key)
#   sh examples/curl/queue.sh ["a large red circle on a blue background"] [picture.png]
#
# TEMPERA_URL says where the platform is; default http://localhost:8080.
set -eu

url="${TEMPERA_URL:-http://localhost:8080}"
key="${TEMPERA_KEY:?is not set; npm start prints a key and keeps it in .tempera/key}"
prompt="${1:-a large red circle on a blue background}"
file="${2:-picture.png}"

call() { curl --silent --show-error --fail-with-body --header "Authorization: Key $key" "$@"; }
# What the platform answered when it refused, then the end.
refused() { printf "%s\n" "$1" >&2; exit 1; }
# One text field of a JSON answer. Enough for ids and addresses; use jq for anything else.
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }

submitted=$(printf '%s' "$prompt" | sed 's/[\\"]/\\&/g; s/.*/{"prompt": "&"}/' |
  call --header "Content-Type: application/json" --data @- "$url/queue/fal-ai/qwen-image") || refused "$submitted"
status_url=$(printf "%s" "$submitted" | field status_url)
response_url=$(printf "%s" "$submitted" | field response_url)
echo "request $(printf "%s" "$submitted" | field request_id)"

# Server-sent events, one for each change; the stream ends when the request has ended.
call --no-buffer "$status_url/stream?logs=1"

# The model's output, or its error with the error's own HTTP status.
output=$(call "$response_url") || refused "$output"
printf "%s\n" "$output"

curl --silent --show-error --fail --output "$file" "$(printf "%s" "$output" | field url)"
echo "saved $file"
