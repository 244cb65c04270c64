#!/usr/bin/env bash
# Regenerates in a copy and compares: fails when a generated file was edited by hand, or its source without regenerating.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
# What git tracks or would track, as it is in the working tree.
git ls-files --cached --others --exclude-standard -z | while IFS= read -r -d '' file; do
	[[ -e $file ]] && printf '%s\0' "$file"
done | tar --null -T - -cf - | tar -C "$copy" -xf -

if ! "$copy/hack/update-codegen.sh" >"$copy/codegen.log" 2>&1; then
	cat "$copy/codegen.log"
	echo "verify: generating failed" >&2
	exit 1
fi
failed=0
for path in pkg/apis pkg/generated manifests hack/openapi-violations.list; do
	diff -Nru "$path" "$copy/$path" || failed=1
done
if ((failed)); then
	echo "verify: generated files are out of date; run 'make generate' and commit" >&2
	exit 1
fi
for module in . hack/cluster hack/image hack/tools; do
	(cd "$module" && go mod tidy -diff) || { echo "verify: run 'go mod tidy' in $module" >&2; failed=1; }
done
for name in $(grep -oE '`Test[A-Za-z]+`' docs/testing.md | tr -d '`' | sort -u); do
	grep -rqE "^func $name\(" --include=*_test.go pkg test || { echo "verify: docs/testing.md names $name, which does not exist" >&2; failed=1; }
done
exit $failed
