"""The public API, which `evbench` exports and the command line uses: options, requests, measuring."""
