# Notes what an archive is, and how it looks, so that a probe need not hash it.
umask 077
enter "${record%/*}" root
{
    echo "image $image"
    echo "sha256 $sha256"
    echo "arch $arch"
    stat --format='size %s
mtime %Y' -- "$path"
} >"$record.new"
sync -- "$record.new"
mv -f -- "$record.new" "$record"
