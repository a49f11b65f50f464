# Prints a small text from the net.
if command -v curl >/dev/null; then
    exec curl --fail --location --silent --show-error --connect-timeout 10 --max-time 50 -- "$url"
elif command -v wget >/dev/null; then
    exec wget --quiet --timeout=20 --output-document=- -- "$url"
else
    exec python3 -c 'import sys, urllib.request; sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[1], timeout=20).read())' "$url"
fi
