#!/usr/bin/env bash
# The first five minutes: a 3-node cluster with Seaway, the demo application,
# the connectivity test, and what to try next. Usage: scripts/lab.sh SEAWAY
set -euo pipefail
cd "$(dirname "$0")/.."
seaway=$(realpath "$1")
export PATH="$(dirname "$seaway"):$PATH"

if [ "$(id -u)" -ne 0 ]; then
  echo "the lab makes network namespaces: run as root" >&2
  exit 1
fi

if seaway lab kubeconfig >/dev/null 2>&1; then
  echo "The lab is up already; \`seaway lab down\` removes it"
else
  seaway lab up --nodes 3
fi
KUBECONFIG=$(seaway lab kubeconfig)
export KUBECONFIG

# kubectl of the host, or the one built for the lab.
kubectl=$(command -v kubectl >/dev/null && echo kubectl || seaway lab kubeconfig --kubectl)

echo
echo "Deploying the demo application"
"$kubectl" apply -f examples/bookinfo/bookinfo.yaml
"$kubectl" wait --for=condition=Available --timeout=120s deployment --all

seaway lab test

cat <<NEXT

The lab is running. Try:
  export PATH=$(dirname "$seaway"):\$PATH KUBECONFIG=$KUBECONFIG
  $kubectl get pods -o wide
  curl -s "$(seaway lab url productpage)/productpage"
  seaway lab exec n1 -- seaway status
  seaway lab break --help       break something, then: seaway lab test
  seaway lab heal
  seaway lab down               removes everything
NEXT
