# An init began here, and its answer never came whole: nobody ever had a key or a token of this cluster, so nothing can be in
# it. Its data is moved aside, never deleted, and OpenBAO starts as new.
if [ -s "$answer" ] || [ ! -e "$answer.part" ] || [ "$(tail -n 1 -- "$answer.part")" = '}' ]; then
    echo "the mark of the broken init is no longer there: nothing was touched" >&2
    exit 1
fi
systemctl stop -- "$unit"
aside=$data.broken-init-$(date +%Y%m%d%H%M%S)
owner=$(stat -c %U:%G -- "$data")
mode=$(stat -c %a -- "$data")
mv -T -- "$data" "$aside"
mkdir -m 0700 -- "$data"
chown -- "$owner" "$data"
chmod -- "$mode" "$data"
mv -f -- "$answer.part" "$aside.answer"
systemctl start -- "$unit"
echo "$aside"
