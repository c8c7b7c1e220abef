#!/bin/sh
# Creates the namespace `tempera` and its search attributes on the server at TEMPORAL_ADDRESS, unless they
# exist.
set -eu

namespace=tempera

until temporal operator cluster health; do sleep 1; done

temporal operator namespace describe --namespace "$namespace" ||
  temporal operator namespace create --namespace "$namespace" --retention 72h

# The namespace takes a few seconds to be known everywhere.
until temporal operator search-attribute list --namespace "$namespace" >/tmp/attributes; do sleep 1; done
for attribute in TemperaEndpoint TemperaVersion TemperaOwner; do
  grep -q "$attribute" /tmp/attributes ||
    temporal operator search-attribute create --namespace "$namespace" --name "$attribute" --type Keyword
done
