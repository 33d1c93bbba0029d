#!/usr/bin/env bash
# What the browser test needs besides Node: Chromium, and fonts for Chinese on the screenshots. On Debian and Ubuntu
# as root they are installed; elsewhere this says what to install.
set -euo pipefail
cd "$(dirname "$0")"

command -v node >/dev/null || { echo "tests/browser: no node: install Node 18 or later (apt-get install nodejs npm)" >&2; exit 1; }

chromium="${FACELEDGER_CHROMIUM:-}"
for name in chromium chromium-browser google-chrome; do
  [ -n "$chromium" ] || chromium="$(command -v "$name" || true)"
done
fonts=no
if command -v fc-list >/dev/null && fc-list :lang=zh-cn 2>/dev/null | grep -q .; then fonts=yes; fi

if [ -z "$chromium" ] || [ "$fonts" = no ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium fonts-noto-cjk >/dev/null
  elif [ -z "$chromium" ]; then
    echo "tests/browser: no Chromium: install it (Debian: sudo apt-get install chromium fonts-noto-cjk), or name one in FACELEDGER_CHROMIUM" >&2
    exit 1
  else
    echo "tests/browser: no font for Chinese: screenshots will show boxes (Debian: sudo apt-get install fonts-noto-cjk)" >&2
  fi
fi

npm ci --no-audit --no-fund --loglevel=error
