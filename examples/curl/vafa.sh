#!/usr/bin/env bash
# Calls a suite that `make run` serves, as JSON over HTTP: examples/curl/vafa.sh
# The page /docs of the edge lists all paths and fields.
set -euo pipefail

edge="${VAFA_EDGE:-http://127.0.0.1:8080}"
token_file="${VAFA_TOKEN_FILE:-$(dirname "${BASH_SOURCE[0]}")/../../.vafa/tokens/admin.jwt}"

# A token lasts for minutes, so its file is read for each call. A refusal is printed like an answer.
vafa() {
  curl --silent --show-error --header "authorization: Bearer $(<"$token_file")" "$@"
}

echo "# Where the feed of the contacts ends now"
latest="$(vafa "$edge/v1/feeds/contacts/events?page_size=1")"
epoch="$(sed -E 's/.*"head":\{"epoch":"([^"]*)".*/\1/' <<<"$latest")"
position="$(sed -E 's/.*"head":\{[^}]*"position":"([0-9]*)".*|.*/\1/' <<<"$latest")"
echo "${position:-0}"

echo "# Create a contact under a request_id of its own: sent again, it is answered as at first"
request_id="$(python3 -c 'import uuid; print(uuid.uuid4())')"
contact_id="curl-${request_id%%-*}"
vafa "$edge/v1/contacts?contact_id=$contact_id&request_id=$request_id" --json '{
  "displayName": "علی‌رضا مؤمنی",
  "phones": [{"number": "+98 912 123 4567", "label": "mobile"}],
  "labels": {"city": "شیراز"}
}'
echo

echo "# Get it"
vafa "$edge/v1/contacts/$contact_id"
echo

echo "# List, in pages: the nextPageToken of one is the page_token of the next"
vafa --get "$edge/v1/contacts" --data-urlencode 'filter=labels.city = "شیراز"' --data page_size=2
echo

echo "# What is refused says why: a reason to act on, and the fields that are to blame"
vafa "$edge/v1/contacts" --json '{"displayName": "", "phones": [{"number": "12"}]}'
echo

echo "# The feed tells what was changed since, one JSON object a line, for as long as you read"
vafa --no-show-error --get --max-time 2 "$edge/v1/feeds/contacts/events:stream" \
  --data "after.epoch=$epoch" --data "after.position=${position:-0}" || [[ $? == 28 ]]
