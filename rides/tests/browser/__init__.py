"""The console and the rider's form in a real browser, Debian's Chromium: `make test-browser`."""
