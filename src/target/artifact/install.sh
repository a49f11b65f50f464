# Downloads (unless $url is empty), verifies, unpacks (unless $unpack is `no`) and moves into place. Statuses: see status in install.rs.
enter "$downloads" root
cd /
chmod 0700 -- "$downloads"
download=$downloads/$sha256
part=$download.part

is_wanted() {
    [ -f "$1" ] || return 1
    found=$(sha256sum -- "$1")
    found=${found%% *}
    # A name with odd characters has its line begin with a backslash.
    found=${found#\\}
    [ "$found" = "$sha256" ]
}

out_of_room() {
    [ "$(df --output=avail -- "$downloads" | tail -n 1)" -lt 1024 ]
}

fetch() {
    if command -v curl >/dev/null; then
        curl --fail --location --silent --show-error --connect-timeout 10 --speed-limit 1024 --speed-time 60 \
            --retry 2 --continue-at - --output "$part" -- "$url"
    elif command -v wget >/dev/null; then
        wget --quiet --continue --timeout=60 --tries=3 --output-document="$part" -- "$url"
    elif command -v python3 >/dev/null; then
        python3 -c 'import shutil, sys, urllib.request
with urllib.request.urlopen(sys.argv[1], timeout=60) as source, open(sys.argv[2], "wb") as target:
    shutil.copyfileobj(source, target)' "$url" "$part"
    else
        echo "neither curl nor wget nor python3 is installed" >&2
        exit 13
    fi
}

found=
if ! is_wanted "$download"; then
    if [ -z "$url" ]; then
        echo "$found"
        exit 11
    fi
    if ! is_wanted "$part"; then
        # What is there and isn't the whole may be the beginning of it, or of something else: then once more from nothing.
        resumed=no
        if [ -s "$part" ]; then resumed=yes; fi
        fetch || {
            if out_of_room; then exit 12; fi
            if [ "$resumed" = no ]; then exit 10; fi
            rm -f -- "$part"
            resumed=no
            fetch || exit 10
        }
        if ! is_wanted "$part"; then
            rm -f -- "$part"
            if [ "$resumed" = yes ]; then fetch || exit 10; fi
            if ! is_wanted "$part"; then
                rm -f -- "$part"
                echo "$found"
                exit 11
            fi
        fi
    fi
    mv -f -- "$part" "$download"
fi

new=$folder.new
rm -rf -- "$new"
mkdir -p -- "$new"
trap 'rm -rf -- "$new"' EXIT
packed=$file
if [ "$unpack" = no ]; then packed=; fi
case $packed in
    *.tar.gz | *.tgz) tar --extract --gzip --no-same-owner --file="$download" --directory="$new" ;;
    *.tar.xz | *.tar.bz2) tar --extract --auto-compress --no-same-owner --file="$download" --directory="$new" ;;
    *.tar.zst)
        command -v zstd >/dev/null || {
            echo "unpacking $file takes the package zstd" >&2
            exit 13
        }
        tar --extract --zstd --no-same-owner --file="$download" --directory="$new"
        ;;
    *.zip)
        if command -v unzip >/dev/null; then
            unzip -q "$download" -d "$new"
        elif command -v python3 >/dev/null; then
            python3 -m zipfile -e "$download" "$new"
        else
            echo "unpacking $file takes the package unzip or python3" >&2
            exit 13
        fi
        ;;
    *)
        if [ -n "$member" ]; then name=${member##*/}; else name=$file; fi
        cp -- "$download" "$new/$name"
        ;;
esac
if [ -n "$member" ]; then
    name=${member##*/}
    picked=$(find "$new" -type f -path "$new*/$member" | head -n 1)
    if [ -z "$picked" ]; then
        echo "$file holds no $member" >&2
        exit 1
    fi
    mkdir -- "$new/.picked"
    mv -- "$picked" "$new/.picked/$name"
    find "$new" -mindepth 1 -maxdepth 1 ! -name .picked -exec rm -rf -- {} +
    mv -- "$new/.picked/$name" "$new/$name.foundry"
    rmdir -- "$new/.picked"
    mv -- "$new/$name.foundry" "$new/$name"
    chown -- root:root "$new/$name"
    chmod -- "$mode" "$new/$name"
    sync -- "$new/$name"
else
    sync -f -- "$new"
fi
chmod 0755 -- "$new"
{
    echo "url $source"
    echo "sha256 $sha256"
    echo "arch $arch"
    echo "digests $digests"
    if [ -n "$member" ]; then stat --format='size %s
mtime %Y' -- "$new/${member##*/}"; fi
} >"$new/.foundry"
sync -- "$new/.foundry"
# Programs that run from the old folder keep their open files.
rm -rf -- "$folder.old"
if [ -e "$folder" ]; then mv -T -- "$folder" "$folder.old"; fi
mv -T -- "$new" "$folder"
rm -rf -- "$folder.old"
rm -f -- "$download"
