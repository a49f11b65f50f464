# Adds the public key $line to the authorized keys of $user. The home is the user's, who could make a part of the way a link to
# somebody else's: from there on all of this is run once more as that user.
umask 077
entry=$(getent passwd -- "$user") || { echo "there is no user $user" >&2; exit 67; }
home=$(printf '%s' "$entry" | cut -d: -f6)
group=$(id -g -- "$user")
[ -d "$home" ] || { echo "$user has no home directory ($home)" >&2; exit 67; }
enter "$home" "$user" user line
[ -d ./.ssh ] || install -d -m 0700 -o "$user" -g "$group" -- ./.ssh
enter "$home/.ssh" "$user" user line
file=./authorized_keys
blob=$(printf '%s' "$line" | cut -d' ' -f1,2)
if [ -f "$file" ] && grep -qF -- "$blob" "$file"; then exit 0; fi
tmp=$(mktemp -- ./.foundry.XXXXXXXXXX)
trap 'rm -f -- "$tmp"' EXIT
if [ -f "$file" ]; then
  cat -- "$file" > "$tmp"
  [ -z "$(tail -c 1 -- "$file")" ] || echo >> "$tmp"
fi
printf '%s\n' "$line" >> "$tmp" || no_room
chown -- "$user:$group" "$tmp"
chmod 0600 -- "$tmp"
mv -fT -- "$tmp" "$file"
