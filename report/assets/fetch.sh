#!/usr/bin/env bash
# Fetches the libraries that draw charts, and the licences of what is in them, from the registry that npm is set up with, and
# compares them with SHA256SUMS. `fetch.sh --update` writes that file anew, after a version below was changed.
set -euo pipefail
cd "$(dirname "$0")"

libraries=(vega@6.4.0 vega-lite@6.5.0 vega-embed@7.3.0)
# What the three hold of others, by the packages that they were built from.
bundled=(
  d3-array@3.2.5 d3-color@3.1.1 d3-delaunay@6.0.6 d3-dispatch@3.0.2 d3-dsv@3.0.2 d3-ease@3.0.2 d3-force@3.0.1 d3-format@3.1.3
  d3-geo@3.1.2 d3-geo-projection@4.0.0 d3-hierarchy@3.1.3 d3-interpolate@3.0.2 d3-path@3.1.1 d3-quadtree@3.0.2 d3-scale@4.0.3
  d3-scale-chromatic@3.1.1 d3-shape@3.2.1 d3-time@3.1.1 d3-time-format@4.1.1 d3-timer@3.0.2 delaunator@5.1.0 internmap@2.0.3
  robust-predicates@3.0.3 topojson-client@3.1.0 fast-json-patch@3.1.1 json-stringify-pretty-compact@4.0.0 semver@7.8.6
  tslib@2.9.1 vega-interpreter@2.3.2 vega-themes@3.0.0 vega-tooltip@1.1.0
)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

unpack() { # PACKAGE@VERSION: prints the folder of its content
  local name=${1%@*}
  mkdir -p "$work/$name"
  tar -xzf "$work/$(cd "$work" && npm pack --silent "$1")" -C "$work/$name"
  echo "$work/$name/package"
}

for library in "${libraries[@]}"; do
  name=${library%@*}
  folder=$(unpack "$library")
  cp "$folder/build/$name.min.js" "$name.min.js"
  cp "$folder/LICENSE" "LICENSE.$name"
done
for package in "${bundled[@]}"; do
  folder=$(unpack "$package")
  licence=$(find "$folder" -maxdepth 1 -iname 'licen[sc]e*' | sort | head -n 1)
  printf '== %s ==\n\n' "$package"
  sed 's/\r$//; s/[[:space:]]*$//' "$licence"
  printf '\n\n'
done >LICENSES.bundled

files=(*.min.js LICENSE*)
if [ "${1:-}" = --update ]; then
  sha256sum "${files[@]}" >SHA256SUMS
else
  sha256sum --check --quiet --strict SHA256SUMS
fi
