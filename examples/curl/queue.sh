#!/bin/sh
# The queue with curl alone: submit, follow the status, fetch the output, save the image.
#
#   export TEMPERA_KEY=$(cat .tempera/key)
#   sh examples/curl/queue.sh ["a large red circle on a blue background"] [image.png]
#
# TEMPERA_URL is the address of the platform; default: http://localhost:8080.
set -eu

url="${TEMPERA_URL:-http://localhost:8080}"
key="${TEMPERA_KEY:?is not set; npm start stores a key in .tempera/key}"
prompt="${1:-a large red circle on a blue background}"
file="${2:-image.png}"

call() { curl --silent --show-error --fail-with-body --header "Authorization: Key $key" "$@"; }
# Prints the platform's error and exits.
refused() { printf "%s\n" "$1" >&2; exit 1; }
# Prints one text field of a JSON response. Enough for ids and addresses; use jq for anything else.
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }

submitted=$(printf '%s' "$prompt" | sed 's/[\\"]/\\&/g; s/.*/{"prompt": "&"}/' |
  call --header "Content-Type: application/json" --data @- "$url/queue/fal-ai/qwen-image") ||
  refused "$submitted"
status_url=$(printf "%s" "$submitted" | field status_url)
response_url=$(printf "%s" "$submitted" | field response_url)
echo "request $(printf "%s" "$submitted" | field request_id)"

# Server-sent events, one for each change. The stream ends with the request.
call --no-buffer "$status_url/stream?logs=1"

# The model's output, or its error with the HTTP status of the error.
output=$(call "$response_url") || refused "$output"
printf "%s\n" "$output"

curl --silent --show-error --fail --output "$file" "$(printf "%s" "$output" | field url)"
echo "saved $file"
