# The name that the package made for this machine is kept; one that came with an image is not.
file=/etc/iscsi/initiatorname.iscsi
want=iqn.1993-08.org.debian:01:$(sha256sum /etc/machine-id | cut -c1-12)
if ! grep -qx "InitiatorName=$want" "$file" 2>/dev/null; then
    umask 077
    echo "InitiatorName=$want" >"$file.new"
    mv -f -- "$file.new" "$file"
    systemctl try-restart iscsid.service || :
fi
{% if settings.longhorn.enabled %}
mkdir -p -- {{ settings.longhorn.folder | shquote }}
{% endif %}
